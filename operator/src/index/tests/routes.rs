//! Routes as users write them: defaults, problems, conflicts.

use super::*;

#[test]
fn defaults_are_filled_in() {
    let verdict = compile::compile("a", &mk_route("a", 1, json!({})).spec, Secrets::Unwatched);
    assert_eq!(verdict.reason, Reason::Accepted);
    let route = verdict.compiled.unwrap().route;
    let rule = &route.rules[0];
    assert_eq!(route.origin.timeout.as_secs(), 30);
    assert_eq!(route.origin.scheme, config::Scheme::Https);
    assert_eq!(rule.name, "rules[0]");
    assert_eq!(rule.expire.as_secs(), 365 * 86_400);
    assert_eq!(rule.negative.as_secs(), 10);
    assert_eq!(rule.max_body_bytes, 10 << 20);
    assert_eq!(rule.cache_control, "public, max-age=0, must-revalidate");
    assert_eq!(rule.query, config::Query::AllButTracking);
    assert!(!route.suspend);
}

#[rstest]
#[case("trigger", json!({"trigger": {"secretRefs": [{"name": "s", "key": "k"}]}}))]
#[case("origin.headers", json!({"origin": {"headers": [
    {"name": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}}))]
fn a_field_that_is_not_built_makes_the_route_pass_through(#[case] field: &str, #[case] spec: Value) {
    let index = mk_index(&[mk_route("a", 1, spec)]);
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!(facts.accepted, Reason::Unsupported);
    assert!(facts.message.contains(field), "{}", facts.message);
    assert!(
        config_of(&index, "web-1").config.routes[0].suspend,
        "its paths pass through, and no other route catches them"
    );
}

#[test]
fn every_problem_is_named_with_its_field() {
    let spec = json!({
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "Like"}]},
        "hostnames": ["10.0.0.1"],
        "origin": {"timeout": 0},
        "rules": [
            {"name": "x", "paths": ["blog"], "maxBodyBytes": "1Q", "revalidate": 1},
            {"name": "x", "paths": ["/a/[slug]"], "tags": ["post:[id]"], "revalidate": 1},
        ],
    });
    let index = mk_index(&[mk_route("a", 1, spec)]);
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!(facts.accepted, Reason::Invalid);
    for field in [
        "podSelector: matchExpressions[0]",
        "hostnames[0]",
        "origin.timeout",
        "rules[0].paths[0]",
        "rules[0].maxBodyBytes",
        "rules[1].name",
        "tags[0]",
    ] {
        assert!(facts.message.contains(field), "{field} in {}", facts.message);
    }
}

#[test]
fn a_bad_route_disturbs_no_other() {
    let bad = mk_route(
        "bad",
        1,
        json!({"rules": [{"paths": ["no-slash"], "revalidate": 1}]}),
    );
    let index = mk_index(&[bad, mk_route("good", 1, json!({}))]);
    assert_eq!(names(&config_of(&index, "web-1")), ["good"]);
    assert_eq!(
        index.facts(&name("good"), at(0)).unwrap().accepted,
        Reason::Accepted
    );
}

#[test]
fn an_invalid_edit_leaves_the_former_version_in_force() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let before = config_of(&index, "web-1");
    let bad = mk_route(
        "a",
        2,
        json!({"rules": [{"paths": ["no-slash"], "revalidate": 1}]}),
    );
    assert!(index.apply_route(&bad));
    assert!(
        Arc::ptr_eq(&before, &config_of(&index, "web-1")),
        "nothing was published"
    );
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!((facts.accepted, facts.in_force), (Reason::Invalid, Some(1)));
    assert!(
        facts.message.contains("generation 1 stays in force"),
        "{}",
        facts.message
    );

    let mut recreated = bad.clone();
    recreated.metadata.uid = Some("another".to_owned());
    assert!(index.apply_route(&recreated));
    assert!(
        config_of(&index, "web-1").config.routes.is_empty(),
        "another object of the same name inherits nothing"
    );
}

#[test]
fn the_older_route_wins_a_path_then_the_name() {
    let mut older = mk_route("z", 1, json!({}));
    older.metadata.creation_timestamp = Some(crate::status::time(at(-10)));
    let younger = mk_route(
        "a",
        1,
        json!({"rules": [{"paths": ["/blog/[id]", "/other"], "revalidate": 1}]}),
    );
    let mut index = mk_index(&[
        younger.clone(),
        older.clone(),
        mk_route("b", 1, json!({"hostnames": ["b.example"]})),
    ]);
    assert_eq!(
        names(&config_of(&index, "web-1")),
        ["z", "a", "b"],
        "precedence is the order"
    );
    let loser = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!(loser.accepted, Reason::Conflicted);
    assert!(
        loser.message.contains("\"/blog/[id]\"") && loser.message.contains("\"z\""),
        "{}",
        loser.message
    );
    for winner in ["z", "b"] {
        assert_eq!(
            index.facts(&name(winner), at(0)).unwrap().accepted,
            Reason::Accepted
        );
    }

    index.delete_pod("shop", "web-1");
    assert_eq!(
        index.facts(&name("a"), at(0)).unwrap().accepted,
        Reason::Conflicted,
        "a pod that goes changes no verdict"
    );
    index.take_dirty();
    index.delete_route("shop", "z");
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().accepted, Reason::Accepted);
    assert!(
        index.take_dirty().contains(&name("a")),
        "the former loser is looked at"
    );

    let mut same_age = older;
    same_age.metadata.creation_timestamp = younger.metadata.creation_timestamp.clone();
    let index = mk_index(&[same_age, younger]);
    assert_eq!(
        index.facts(&name("z"), at(0)).unwrap().accepted,
        Reason::Conflicted,
        "then the name"
    );
}

#[test]
fn routes_of_different_pods_do_not_conflict() {
    let other = mk_route("b", 1, json!({"podSelector": {"matchLabels": {"app": "other"}}}));
    let mut index = mk_index(&[mk_route("a", 1, json!({})), other]);
    assert_eq!(index.facts(&name("b"), at(0)).unwrap().accepted, Reason::Accepted);
    let mut pod = mk_pod("other-1");
    pod.labels.insert("app".to_owned(), "other".to_owned());
    index.apply_pod(pod, at(0));
    assert_eq!(index.facts(&name("b"), at(0)).unwrap().accepted, Reason::Accepted);
}

#[test]
fn a_prerender_path_outside_its_rule_is_invalid() {
    let rules = json!([{"paths": ["/a"], "revalidate": 1, "prerender": ["/b"]}]);
    let index = mk_index(&[mk_route("a", 1, json!({"hostnames": ["a.test"], "rules": rules}))]);
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!(facts.accepted, Reason::Invalid);
    assert!(
        facts
            .message
            .contains("rules[0].prerender[0]: \"/b\" names no page: no path of this rule"),
        "{}",
        facts.message
    );
}
