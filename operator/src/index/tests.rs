//! The index by plain values.

use std::sync::Arc;

use coppice_api::names::reason::Reason;
use coppice_cache::config::{self, Config};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::testing::{at, mk_pod, mk_route};

fn name(route: &str) -> ObjectName {
    ObjectName::new("shop", route)
}

/// An index with these routes and the pod `web-1`.
fn mk_index(routes: &[IsrRoute]) -> Index {
    let mut index = Index::new(Selecting::Labels);
    for route in routes {
        assert!(index.apply_route(route));
    }
    index.apply_pod(mk_pod("web-1"), at(0));
    index
}

fn config_of(index: &Index, pod: &str) -> Arc<Compiled> {
    index.namespaces["shop"].pods[pod].config.borrow().clone()
}

fn names(compiled: &Compiled) -> Vec<&str> {
    compiled
        .config
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect()
}

fn connect(index: &mut Index, pod: &str, version: &str, now: i64) -> Connection {
    index
        .connect("shop", pod, &format!("uid-{pod}"), version, at(now))
        .unwrap()
}

/// Connects a pod and lets it acknowledge what it is told.
fn serve(index: &mut Index, pod: &str, now: i64) -> Connection {
    let connection = connect(index, pod, "", now);
    let compiled = connection.config.borrow().clone();
    assert!(index.ack(&connection.key, compiled));
    connection
}

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
fn nothing_is_published_when_nothing_changed() {
    let route = mk_route("a", 1, json!({}));
    let mut index = mk_index(std::slice::from_ref(&route));
    let mut seen = index.namespaces["shop"].pods["web-1"].config.subscribe();
    seen.mark_unchanged();
    index.take_dirty();

    assert!(!index.apply_route(&route));
    assert!(!index.apply_pod(mk_pod("web-1"), at(1)));
    assert!(!index.reset_routes(std::slice::from_ref(&route)));
    assert!(!index.reset_pods(vec![mk_pod("web-1")], at(1)));
    assert!(index.take_dirty().is_empty(), "no status is looked at");

    // Changes that say nothing new to a sidecar: a label, a selector that selects the same, a route of other pods.
    let mut labelled = mk_pod("web-1");
    labelled
        .labels
        .insert("pod-template-hash".to_owned(), "1".to_owned());
    assert!(index.apply_pod(labelled, at(1)));
    assert!(index.apply_route(&mk_route(
        "a",
        2,
        json!({"podSelector": {"matchExpressions": [
        {"key": "app", "operator": "Exists"}]}})
    )));
    assert!(index.apply_route(&mk_route(
        "b",
        1,
        json!({"podSelector": {"matchLabels": {"app": "other"}}})
    )));
    assert!(!seen.has_changed().unwrap());

    assert!(index.apply_route(&mk_route("a", 3, json!({"suspend": true}))));
    assert!(seen.has_changed().unwrap());
}

#[test]
fn pods_of_the_same_routes_share_one_snapshot() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    index.apply_pod(mk_pod("web-2"), at(0));
    assert!(Arc::ptr_eq(
        &config_of(&index, "web-1"),
        &config_of(&index, "web-2")
    ));
    let mut other = mk_pod("web-3");
    other.labels.clear();
    index.apply_pod(other, at(0));
    assert!(config_of(&index, "web-3").config.routes.is_empty());
    assert_eq!(
        config_of(&index, "web-3").version,
        Compiled::new(Config::default()).version
    );
}

#[test]
fn a_pod_gets_the_routes_that_select_it() {
    let blog = mk_route(
        "blog",
        1,
        json!({"podSelector": {"matchLabels": {"app": "blog"}}}),
    );
    let mut index = mk_index(&[blog.clone(), mk_route("shop", 1, json!({}))]);
    assert_eq!(names(&config_of(&index, "web-1")), ["shop"]);
    let mut pod = mk_pod("web-1");
    pod.labels.insert("app".to_owned(), "blog".to_owned());
    index.apply_pod(pod, at(0));
    assert_eq!(names(&config_of(&index, "web-1")), ["blog"]);
    index.delete_route("shop", "blog");
    assert!(config_of(&index, "web-1").config.routes.is_empty());

    let mut everything = Index::new(Selecting::Everything);
    everything.apply_pod(Pod::local("shop"), at(0));
    everything.apply_route(&blog);
    assert_eq!(names(&config_of(&everything, "local")), ["blog"]);
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
fn a_pod_of_the_same_name_is_another_pod() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let connection = serve(&mut index, "web-1", 0);
    let mut next = mk_pod("web-1");
    next.uid = "uid-next".to_owned();
    assert!(index.apply_pod(next, at(1)));
    assert_eq!(index.take_gone(), [("shop".to_owned(), "uid-web-1".to_owned())]);
    assert!(connection.config.has_changed().is_err(), "its session ends");
    assert_eq!(index.facts(&name("a"), at(1)).unwrap().applied, 0);
    assert!(
        !index.ack(&connection.key, Arc::new(Compiled::new(Config::default()))),
        "it is not heard any more"
    );
    let refused = index
        .connect("shop", "web-1", "uid-web-1", "", at(1))
        .unwrap_err();
    assert_eq!(refused, ConnectError::OtherUid);
}

#[test]
fn a_pod_that_has_ended_is_gone() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let mut ended = mk_pod("web-1");
    ended.phase = Phase::Ended;
    assert!(index.apply_pod(ended, at(1)));
    assert_eq!(index.take_gone().len(), 1);
    assert_eq!(index.facts(&name("a"), at(1)).unwrap().desired, 0);
}

#[test]
fn a_newer_stream_replaces_the_older() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let first = serve(&mut index, "web-1", 0);
    let second = connect(&mut index, "web-1", "", 1);
    assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled());
    assert!(!index.is_current(&first.key) && index.is_current(&second.key));
    assert!(
        !index.disconnect(&first.key, at(2)),
        "the older one's end is no end"
    );
    assert_eq!(index.connected(), 1);
    assert_eq!(
        index.facts(&name("a"), at(2)).unwrap().applied,
        0,
        "it came back with nothing"
    );
}

#[test]
fn who_comes_back_with_the_same_version_has_applied_it() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let version = config_of(&index, "web-1").version.clone();
    connect(&mut index, "web-1", &version, 0);
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().applied, 1);
}

#[test]
fn only_injected_pods_connect() {
    let mut index = mk_index(&[]);
    index.apply_pod(
        Pod {
            injected: false,
            ..mk_pod("plain")
        },
        at(0),
    );
    let mut connect = |pod: &str| {
        index
            .connect("shop", pod, &format!("uid-{pod}"), "", at(0))
            .map(drop)
    };
    assert_eq!(connect("plain"), Err(ConnectError::NotInjected));
    assert_eq!(connect("nobody"), Err(ConnectError::UnknownPod));
    assert_eq!(connect("web-1"), Ok(()));
}

#[test]
fn a_refusal_concerns_the_routes_that_changed() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let connection = serve(&mut index, "web-1", 0);
    index.apply_route(&mk_route(
        "b",
        1,
        json!({"rules": [{"paths": ["/b"], "revalidate": 1}]}),
    ));
    let version = config_of(&index, "web-1").version.clone();
    assert!(index.nack(&connection.key, &version, "cannot"));
    let (a, b) = (
        index.facts(&name("a"), at(0)).unwrap(),
        index.facts(&name("b"), at(0)).unwrap(),
    );
    assert_eq!(
        (a.applied, a.waiting, a.rejected),
        (1, 0, None),
        "it still serves this one"
    );
    let rejection = b.rejected.unwrap();
    assert_eq!(
        (rejection.count, rejection.pods, rejection.reason.as_str()),
        (1, vec!["web-1".to_owned()], "cannot")
    );

    index.apply_route(&mk_route(
        "b",
        2,
        json!({"rules": [{"paths": ["/c"], "revalidate": 1}]}),
    ));
    assert_eq!(
        index.facts(&name("b"), at(0)).unwrap().rejected,
        None,
        "the next version is not refused yet"
    );
}

#[test]
fn a_sidecar_counts_as_gone_a_minute_after_its_stream_ended() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let connection = serve(&mut index, "web-1", 0);
    index.disconnect(&connection.key, at(100));
    index.take_dirty();
    let applied = |index: &Index, now| {
        let facts = index.facts(&name("a"), at(now)).unwrap();
        (facts.desired, facts.applied)
    };
    assert_eq!(applied(&index, 159), (1, 1));
    assert!(!index.tick(at(159)));
    assert!(index.tick(at(160)), "its routes are looked at again");
    assert!(index.take_dirty().contains(&name("a")));
    assert_eq!(applied(&index, 160), (1, 0));
    assert!(!index.tick(at(161)), "once");
}

#[test]
fn targets_are_the_running_sidecars_of_the_selected_routes() {
    let mut index = mk_index(&[
        mk_route("a", 1, json!({})),
        mk_route(
            "none",
            1,
            json!({"podSelector": {
        "matchLabels": {"app": "none"}}}),
        ),
    ]);
    let pods = [
        Pod {
            ending: true,
            ..mk_pod("ending")
        },
        Pod {
            sidecar_since: None,
            ..mk_pod("starting")
        },
        Pod {
            injected: false,
            ..mk_pod("plain")
        },
        Pod {
            labels: BTreeMap::new(),
            ..mk_pod("unselected")
        },
    ];
    for pod in pods {
        index.apply_pod(pod, at(0));
    }
    let targets = |index: &Index, route: Option<&str>| {
        let mut pods: Vec<_> = index
            .targets("shop", route)
            .unwrap()
            .into_iter()
            .map(|(_, pod)| pod)
            .collect();
        pods.sort();
        pods
    };
    assert_eq!(targets(&index, Some("a")), ["ending", "web-1"]);
    assert_eq!(targets(&index, None), ["ending", "web-1"]);
    assert!(targets(&index, Some("none")).is_empty());
    assert!(index.targets("shop", Some("missing")).is_err());
    connect(&mut index, "starting", "", 0);
    assert_eq!(
        targets(&index, Some("a")),
        ["ending", "starting", "web-1"],
        "who speaks runs"
    );
    assert_eq!(
        index.facts(&name("a"), at(0)).unwrap().desired,
        2,
        "the ending one is not waited for"
    );
}

#[test]
fn a_sidecar_is_a_target_until_it_has_let_go_of_the_route() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let connection = serve(&mut index, "web-1", 0);
    let elsewhere = json!({"podSelector": {"matchLabels": {"app": "other"}}});
    index.apply_route(&mk_route("a", 2, elsewhere));
    let targets = |index: &Index, route| index.targets("shop", route).unwrap().len();
    assert_eq!((targets(&index, Some("a")), targets(&index, None)), (1, 1));
    let compiled = connection.config.borrow().clone();
    index.ack(&connection.key, compiled);
    assert_eq!((targets(&index, Some("a")), targets(&index, None)), (0, 0));
}

#[test]
fn a_route_that_was_made_anew_has_lost_nothing() {
    let mut index = mk_index(&[mk_route("a", 1, json!({})), mk_route("b", 1, json!({}))]);
    let accepted = |index: &Index| index.facts(&name("b"), at(0)).unwrap().accepted;
    assert_eq!(accepted(&index), Reason::Conflicted);
    // Its deletion was missed, and generations begin anew.
    let mut anew = mk_route(
        "b",
        1,
        json!({"rules": [{"paths": ["/docs/[slug]"], "revalidate": 60}]}),
    );
    anew.metadata.uid = Some("another".to_owned());
    index.apply_route(&anew);
    assert_eq!(accepted(&index), Reason::Accepted);
}

#[test]
fn a_pod_is_read_from_what_the_api_server_says() {
    let object = json!({
        "metadata": {"namespace": "shop", "name": "web-1", "uid": "u", "labels": {"coppice.dev/injected": "true"},
            "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "containers": [{"name": "app", "ports": [{"containerPort": 3000}]}],
            "initContainers": [{"name": "coppice-sidecar", "restartPolicy": "Always",
                "ports": [{"name": "http", "containerPort": 15080}],
                "env": [{"name": "COPPICE_APP", "value": "$(POD_IP):3000"}]}],
        },
        "status": {"phase": "Running", "initContainerStatuses": [{"name": "coppice-sidecar", "image": "", "imageID": "",
            "ready": true, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]},
    });
    let read = |object: &Value| {
        Pod::try_from(&serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(object.clone()).unwrap())
            .unwrap()
    };
    let pod = read(&object);
    let mut copied = object.clone();
    copied["spec"]["initContainers"] = json!([]);
    assert!(!read(&copied).injected, "a label alone is no sidecar");
    assert!(pod.injected && pod.ending && pod.serving());
    assert_eq!(
        (pod.phase, pod.app_port, pod.sidecar_since),
        (Phase::Running, Some(3000), Some(at(0)))
    );
    assert!(
        pod.ports
            .iter()
            .any(|port| port.of_sidecar && port.name.as_deref() == Some("http"))
    );
    assert!(Pod::try_from(&k8s_openapi::api::core::v1::Pod::default()).is_err());
}

/// A Secret of namespace `shop` that consents.
fn mk_secret(name: &str, data: &[(&str, &str)]) -> Secret {
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    Secret {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        allowed: true,
        data: data.collect(),
    }
}

/// A route that sends the key `bypass` of the Secret `isr`, and that says something else in each generation.
fn mk_referring(generation: i64) -> IsrRoute {
    let header = json!({"name": "X-Prerender-Revalidate", "valueFrom": {"secretKeyRef": {"name": "isr", "key": "bypass"}}});
    let rule = json!({"paths": ["/a"], "revalidate": generation});
    mk_route(
        "a",
        generation,
        json!({"origin": {"headers": [header]}, "rules": [rule]}),
    )
}

fn sent(index: &Index) -> Vec<(String, String)> {
    let compiled = config_of(index, "web-1");
    let headers = compiled
        .config
        .routes
        .iter()
        .flat_map(|route| &route.origin.headers);
    headers
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}

#[test]
fn a_secret_reaches_the_route_that_refers_to_it_and_its_change_too() {
    let mut index = mk_index(&[]);
    index.reset_secrets(vec![mk_secret("isr", &[("bypass", "one\n")])]);
    index.apply_route(&mk_referring(1));
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!((facts.accepted, facts.in_force), (Reason::Accepted, Some(1)));
    assert!(facts.refers && facts.unresolved.is_empty());
    let header = |value: &str| vec![("x-prerender-revalidate".to_owned(), value.to_owned())];
    assert_eq!(sent(&index), header("one"), "without the line break at its end");

    index.take_dirty();
    assert!(index.apply_secret(mk_secret("isr", &[("bypass", "two")])));
    assert_eq!(sent(&index), header("two"));
    assert_eq!(index.take_dirty(), [name("a")].into());
    assert!(
        !index.apply_secret(mk_secret("isr", &[("bypass", "two")])),
        "no news"
    );
    index.apply_secret(mk_secret("other", &[("bypass", "two")]));
    assert!(index.take_dirty().is_empty(), "it concerns nobody");
    assert!(!format!("{index:?}").contains("two"), "no secret in Debug");
}

#[rstest]
#[case(None, Reason::SecretNotFound, "there is no Secret \"isr\"")]
#[case(Some(mk_secret("isr", &[("token", "x")])), Reason::SecretKeyNotFound, "has no key \"bypass\"")]
#[case(Some(Secret { allowed: false, ..mk_secret("isr", &[("bypass", "x")]) }), Reason::RefNotPermitted, "label it coppice.dev/allow-reference=true")]
#[case(Some(mk_secret("isr", &[("bypass", "caf\u{e9}")])), Reason::InvalidSecretValue, "visible ASCII")]
#[case(Some(mk_secret("isr", &[("bypass", "a\nb")])), Reason::InvalidSecretValue, "visible ASCII")]
#[case(Some(mk_secret("isr", &[("bypass", " \n")])), Reason::InvalidSecretValue, "visible ASCII")]
fn a_reference_that_leads_nowhere_is_said_and_nothing_is_cached_without_it(
    #[case] secret: Option<Secret>,
    #[case] reason: Reason,
    #[case] words: &str,
) {
    let mut index = mk_index(&[]);
    index.reset_secrets(secret.into_iter().collect());
    index.apply_route(&mk_referring(1));
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!((facts.accepted, facts.in_force), (Reason::Accepted, None));
    assert_eq!(facts.unresolved.len(), 1);
    let Unresolved {
        reason: said,
        message,
    } = &facts.unresolved[0];
    assert_eq!(*said, reason);
    assert!(
        message.contains("origin.headers[X-Prerender-Revalidate]") && message.contains(words),
        "{message}"
    );
    assert!(
        names(&config_of(&index, "web-1")).is_empty(),
        "its paths pass through"
    );

    index.apply_secret(mk_secret("isr", &[("bypass", "x")]));
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().in_force, Some(1));
    assert_eq!(
        sent(&index).len(),
        1,
        "it follows as soon as the Secret is as it should be"
    );
}

#[test]
fn what_was_in_force_stays_so_while_a_reference_leads_nowhere() {
    let mut index = mk_index(&[]);
    index.reset_secrets(vec![mk_secret("isr", &[("bypass", "one")])]);
    index.apply_route(&mk_referring(1));
    let before = config_of(&index, "web-1");
    assert!(index.delete_secret("shop", "isr"));
    let facts = index.facts(&name("a"), at(0)).unwrap();
    assert_eq!((facts.in_force, facts.unresolved.len()), (Some(1), 1));
    assert_eq!(
        config_of(&index, "web-1").version,
        before.version,
        "with the value that it had"
    );

    index.apply_route(&mk_referring(2));
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().in_force, Some(1));
    assert_eq!(config_of(&index, "web-1").version, before.version);

    index.reset_secrets(vec![mk_secret("isr", &[("bypass", "two")])]);
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().in_force, Some(2));
    assert_eq!(sent(&index)[0].1, "two");
}

#[test]
fn routes_that_were_there_before_the_secrets_are_compiled_with_them() {
    let mut index = mk_index(&[mk_referring(1)]);
    assert_eq!(
        index.facts(&name("a"), at(0)).unwrap().accepted,
        Reason::Unsupported
    );
    assert!(index.reset_secrets(vec![mk_secret("isr", &[("bypass", "one")])]));
    assert_eq!(index.facts(&name("a"), at(0)).unwrap().accepted, Reason::Accepted);
    assert_eq!(sent(&index).len(), 1);
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
