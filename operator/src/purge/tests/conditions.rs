//! What a request's status says, from its line to `Ready`.

use super::*;

#[test]
fn acknowledged_when_all_hold_it_ready_when_all_have_looked() {
    let (index, mut purges) = world(&["web-1", "web-2"]);
    let line = commit(&mut purges, &index, &mk_request("r", everything()), 1).line;
    let at_first = status(&purges, "r", 1);
    assert_eq!(at_first.sidecars.unwrap().summary, "0/2");
    assert!(purges.ack("shop", "uid-web-1", line.sequence, at(2)));
    assert!(
        !purges.ack("shop", "uid-web-1", line.sequence, at(2)),
        "a second time changes nothing"
    );
    assert!(
        !purges.ack("shop", "uid-web-2", line.sequence - 1, at(2)),
        "an earlier head is not this line"
    );
    let half = status(&purges, "r", 2);
    assert_eq!(reason(&half, "Acknowledged"), (false, "Pending"));
    assert!(half.condition("Reconciling").unwrap().message.contains("web-2"));
    purges.ack("shop", "uid-web-2", line.sequence + 5, at(3));
    let held = status(&purges, "r", 3);
    assert_eq!(reason(&held, "Acknowledged"), (true, "Acknowledged"));
    assert_eq!(reason(&held, "Ready"), (false, "Sweeping"));
    purges.report("shop", "uid-web-1", &done(line.sequence, 3), at(4));
    purges.report("shop", "uid-web-2", &done(line.sequence, 4), at(5));
    let ready = status(&purges, "r", 6);
    assert_eq!(reason(&ready, "Ready"), (true, "Ready"));
    assert!(ready.condition("Reconciling").is_none() && ready.condition("Stalled").is_none());
    assert_eq!(ready.pages.unwrap().matched, 7);
    assert_eq!(ready.completion_time.unwrap().0, at(5));
    assert_eq!(purges.open(), 0);
}

#[test]
fn who_starts_later_is_no_target_and_who_is_deleted_is_none_any_more() {
    let (mut index, mut purges) = world(&["web-1", "web-2"]);
    index.apply_pod(
        Pod {
            ending: true,
            ..mk_pod("ending")
        },
        at(0),
    );
    let line = commit(&mut purges, &index, &mk_request("r", everything()), 1).line;
    index.apply_pod(mk_pod("later"), at(2));
    assert_eq!(
        status(&purges, "r", 2).sidecars.unwrap().summary,
        "0/3",
        "ending ones count until they are deleted"
    );
    for (pod, matched) in [("web-1", 1), ("ending", 10)] {
        purges.ack("shop", &format!("uid-{pod}"), line.sequence, at(3));
        purges.report(
            "shop",
            &format!("uid-{pod}"),
            &done(line.sequence, matched),
            at(3),
        );
    }
    assert!(purges.gone("shop", "uid-ending", at(4)));
    assert_eq!(reason(&status(&purges, "r", 4), "Ready"), (false, "Pending"));
    assert!(
        purges.gone("shop", "uid-web-2", at(5)),
        "the one that never answered"
    );
    let ready = status(&purges, "r", 5);
    assert_eq!(reason(&ready, "Ready"), (true, "Ready"));
    assert_eq!(ready.sidecars.unwrap().summary, "1/1");
    assert_eq!(
        ready.pages.unwrap().matched,
        11,
        "what a deleted pod did was done"
    );
}

#[test]
fn without_pods_there_is_nothing_to_wait_for() {
    let (index, mut purges) = world(&[]);
    commit(&mut purges, &index, &mk_request("r", everything()), 1);
    let status = status(&purges, "r", 1);
    assert_eq!(reason(&status, "Acknowledged"), (true, "NoPods"));
    assert_eq!(reason(&status, "Ready"), (true, "NoPods"));
    assert_eq!(
        purges.lines("shop").since(0).len(),
        1,
        "the line is there for who comes back"
    );
}

#[test]
fn a_missing_route_is_waited_for() {
    let (mut index, mut purges) = world(&["web-1"]);
    purges.apply(&mk_request(
        "r",
        json!({"everything": true, "routeRef": {"name": "late"}}),
    ));
    assert!(plan(&mut purges, &index, "r", 1).is_none());
    let refused = status(&purges, "r", 1);
    for kind in ["Accepted", "Acknowledged", "Ready"] {
        assert_eq!(reason(&refused, kind), (false, "RouteNotFound"));
    }
    assert!(
        refused
            .condition("Accepted")
            .unwrap()
            .message
            .contains("\"late\"")
    );
    assert_eq!(refused.sequence, None);
    purges.take_dirty();
    let route: IsrRoute = mk_route("late", 1, json!({}));
    index.apply_route(&route);
    purges.route_appeared(&ObjectName::new("shop", "web"));
    assert!(purges.take_dirty().is_empty());
    purges.route_appeared(&ObjectName::new("shop", "late"));
    assert!(purges.take_dirty().contains(&name("r")));
    assert!(plan(&mut purges, &index, "r", 2).is_some());
}

#[rstest]
#[case(json!({}), "spec: nothing is selected")]
#[case(json!({"everything": true, "tags": ["a"]}), "everything: it stands alone")]
#[case(json!({"patterns": ["/a", "/[...x]/b"]}), "patterns[1]")]
#[case(json!({"paths": ["/a//b"]}), "paths[0]")]
#[case(json!({"paths": ["/a?b=c"]}), "paths[0]")]
#[case(json!({"tags": ["a"], "hostnames": ["a_b"]}), "hostnames[0]")]
#[case(json!({"tags": ["a", ""]}), "tags[1]")]
#[case(json!({"tags": (0..40).map(|n| format!("{n:0>250}")).collect::<Vec<_>>()}), "at most 8192")]
fn a_malformed_request_is_a_condition(#[case] spec: Value, #[case] words: &str) {
    let (index, mut purges) = world(&["web-1"]);
    purges.apply(&mk_request("r", spec));
    assert!(plan(&mut purges, &index, "r", 1).is_none());
    let status = status(&purges, "r", 1);
    assert_eq!(reason(&status, "Accepted"), (false, "Invalid"));
    assert_eq!(reason(&status, "Stalled"), (true, "Invalid"));
    let message = &status.condition("Accepted").unwrap().message;
    assert!(message.contains(words), "{message}");
}

#[test]
fn fields_without_effect_are_named() {
    let (index, mut purges) = world(&["web-1"]);
    let spec = json!({"everything": true, "repeatAfter": "15s", "ttlAfterFinished": "1h"});
    commit(&mut purges, &index, &mk_request("r", spec), 1);
    let status = status(&purges, "r", 1);
    let message = &status.condition("Accepted").unwrap().message;
    assert!(
        message.contains("repeatAfter and ttlAfterFinished have no effect"),
        "{message}"
    );
}

#[test]
fn past_the_deadline_it_says_so_and_goes_on() {
    let (index, mut purges) = world(&["web-1", "web-2", "web-3", "web-4", "web-5"]);
    let line = commit(
        &mut purges,
        &index,
        &mk_request("r", json!({"everything": true, "deadline": "1m"})),
        0,
    )
    .line;
    purges.ack("shop", "uid-web-1", line.sequence, at(1));
    purges.report("shop", "uid-web-1", &done(line.sequence, 1), at(1));
    purges.take_dirty();
    assert!(!purges.tick(at(59)));
    assert!(status(&purges, "r", 59).condition("Stalled").is_none());
    assert!(purges.tick(at(60)));
    assert!(purges.take_dirty().contains(&name("r")));
    assert!(!purges.tick(at(61)), "it is said once");
    let late = status(&purges, "r", 61);
    assert_eq!(reason(&late, "Stalled"), (true, "DeadlineExceeded"));
    let message = &late.condition("Stalled").unwrap().message;
    assert!(
        message.contains("1m") && message.contains("web-2, web-3, web-4 and 1 more"),
        "{message}"
    );
    assert!(reason(&late, "Reconciling").0, "delivery goes on");
    for pod in 2..=5 {
        purges.ack("shop", &format!("uid-web-{pod}"), line.sequence, at(90));
        purges.report("shop", &format!("uid-web-{pod}"), &done(line.sequence, 1), at(90));
    }
    let ready = status(&purges, "r", 91);
    assert!(reason(&ready, "Ready").0);
    assert!(ready.condition("Stalled").is_none());
}

#[test]
fn the_default_deadline_is_five_minutes_and_a_later_one_ends_the_alarm() {
    let (index, mut purges) = world(&["web-1"]);
    commit(&mut purges, &index, &mk_request("r", everything()), 0);
    assert!(!purges.tick(at(299)) && purges.tick(at(300)));
    purges.apply(&mk_request("r", json!({"everything": true, "deadline": "1h"})));
    assert!(status(&purges, "r", 301).condition("Stalled").is_none());
    assert!(purges.tick(at(3600)));
}
