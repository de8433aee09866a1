//! What sidecars acknowledge and refuse, and which of them a purge waits for.

use super::*;

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
