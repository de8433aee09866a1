//! Purges by plain values: every rule from request to `Ready`.

use coppice_api::{IsrRoute, status::Conditions as _};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    index::{Pod, Selecting},
    testing::{at, mk_pod, mk_request, mk_route},
};

fn name(request: &str) -> ObjectName {
    ObjectName::new("shop", request)
}

/// A route `web`, these pods, and purges that may be planned.
fn world(pods: &[&str]) -> (Index, Purges) {
    let mut index = Index::new(Selecting::Labels);
    index.apply_route(&mk_route("web", 1, json!({})));
    for pod in pods {
        index.apply_pod(mk_pod(pod), at(0));
    }
    let mut purges = Purges::default();
    purges.reset(&[]);
    purges.sync(&index, at(0));
    (index, purges)
}

fn plan(purges: &mut Purges, index: &Index, request: &str, now: i64) -> Option<Commit> {
    purges.plan(&name(request), index, None, at(now))
}

/// Applies a request and commits its line.
fn commit(purges: &mut Purges, index: &Index, request: &RevalidationRequest, now: i64) -> Commit {
    purges.apply(request);
    let commit = plan(purges, index, request.metadata.name.as_deref().unwrap(), now).unwrap();
    purges.committed(&commit, index, at(now));
    commit
}

fn status(purges: &Purges, request: &str, now: i64) -> RevalidationRequestStatus {
    status::request(&purges.facts(&name(request), at(now)).unwrap(), None, at(now))
}

fn reason<'a>(status: &'a RevalidationRequestStatus, kind: &str) -> (bool, &'a str) {
    let condition = status
        .condition(kind)
        .unwrap_or_else(|| panic!("{kind} in {status:?}"));
    (condition.status == "True", condition.reason.as_str())
}

fn done(sequence: u64, matched: u64) -> Report {
    Report {
        sequence,
        matched,
        regenerated: 1,
        failed: 0,
        origin_cached: 0,
        finished: true,
    }
}

fn everything() -> Value {
    json!({"everything": true})
}

#[rstest]
#[case("routeRef", json!({"tags": ["a", "b"], "routeRef": {"name": "web"}}), true)]
#[case("paths", json!({"tags": ["a", "b"], "paths": ["/a"]}), true)]
#[case("patterns", json!({"tags": ["a", "b"], "patterns": ["/[a]"]}), true)]
#[case("tags", json!({"tags": ["a"]}), true)]
#[case("hostnames", json!({"tags": ["a", "b"], "hostnames": ["a.example"]}), true)]
#[case("strategy", json!({"tags": ["a", "b"], "strategy": "Delete"}), true)]
#[case("nonce", json!({"tags": ["a", "b"], "nonce": "2"}), true)]
#[case("order", json!({"tags": ["b", "a"]}), false)]
#[case("deadline", json!({"tags": ["a", "b"], "deadline": "1m"}), false)]
#[case("ttlAfterFinished", json!({"tags": ["a", "b"], "ttlAfterFinished": "1m"}), false)]
#[case("repeatAfter", json!({"tags": ["a", "b"], "repeatAfter": "1m"}), false)]
fn a_purge_is_what_it_selects(#[case] change: &str, #[case] spec: Value, #[case] new: bool) {
    let (index, mut purges) = world(&["web-1"]);
    let first = commit(
        &mut purges,
        &index,
        &mk_request("r", json!({"tags": ["a", "b"]})),
        1,
    );
    let mut edited = mk_request("r", spec);
    edited.metadata.generation = Some(2);
    assert!(
        purges.apply(&edited),
        "{change}: the status speaks of generation 2"
    );
    let second = plan(&mut purges, &index, "r", 2);
    assert_eq!(second.is_some(), new, "{change}");
    if let Some(second) = second {
        assert_ne!(first.identity, second.identity);
        assert!(second.line.sequence > first.line.sequence);
    }
}

#[test]
fn another_object_is_another_purge() {
    let (index, mut purges) = world(&["web-1"]);
    commit(&mut purges, &index, &mk_request("r", everything()), 1);
    let mut again = mk_request("r", everything());
    again.metadata.uid = Some("another".to_owned());
    purges.apply(&again);
    assert!(plan(&mut purges, &index, "r", 2).is_some());
}

#[test]
fn a_sequence_is_the_time_or_one_more_than_the_last() {
    let (index, mut purges) = world(&["web-1"]);
    let sequences: Vec<_> = [("a", 10), ("b", 10), ("c", 5), ("d", 11)]
        .iter()
        .map(|(request, now)| {
            commit(&mut purges, &index, &mk_request(request, everything()), *now)
                .line
                .sequence
        })
        .collect();
    let ms = |seconds| u64::try_from(at(seconds).as_millisecond()).unwrap();
    assert_eq!(sequences, [ms(10), ms(10) + 1, ms(10) + 2, ms(11)]);
}

#[test]
fn a_line_goes_out_when_it_is_durable_and_not_before() {
    let (index, mut purges) = world(&["web-1"]);
    let request = mk_request(
        "r",
        json!({"paths": ["/a"], "routeRef": {"name": "web"}, "strategy": "Expire"}),
    );
    purges.apply(&request);
    let commit = plan(&mut purges, &index, "r", 1).unwrap();
    assert_eq!(commit.status.sequence, Some(commit.line.sequence.cast_signed()));
    assert_eq!(commit.status.identity, Some(identity(&request)));
    assert_eq!(reason(&commit.status, "Acknowledged"), (false, "Pending"));
    assert!(plan(&mut purges, &index, "r", 2).is_none(), "one in flight");
    assert!(
        purges.facts(&name("r"), at(2)).is_none(),
        "only the commit writes the status"
    );
    assert!(purges.lines("shop").since(0).is_empty());

    purges.committed(&commit, &index, at(3));
    let lines = purges.lines("shop");
    assert_eq!(*lines.since(0)[0], commit.line);
    assert_eq!(commit.line.selector.route.as_deref(), Some("web"));
    assert_eq!(lines.head(), commit.line.sequence);
    assert!(plan(&mut purges, &index, "r", 4).is_none(), "once");
}

#[test]
fn a_line_under_way_holds_back_the_later_ones() {
    let (index, mut purges) = world(&["web-1"]);
    for request in ["a", "b", "c"] {
        purges.apply(&mk_request(request, everything()));
    }
    let [a, b, c] = ["a", "b", "c"].map(|request| plan(&mut purges, &index, request, 1).unwrap());
    purges.committed(&b, &index, at(2));
    purges.committed(&c, &index, at(2));
    assert_eq!(purges.lines("shop").head(), 0, "who held b would seem to hold a");
    purges.abandoned(&a);
    let sequences: Vec<_> = purges
        .lines("shop")
        .since(0)
        .iter()
        .map(|line| line.sequence)
        .collect();
    assert_eq!(sequences, [b.line.sequence, c.line.sequence]);
    let again = plan(&mut purges, &index, "a", 1).unwrap();
    assert!(again.line.sequence > c.line.sequence, "a number is given once");
}

#[test]
fn an_edit_while_a_line_is_written_is_the_next_purge() {
    let (index, mut purges) = world(&["web-1"]);
    purges.apply(&mk_request("r", json!({"tags": ["a"]})));
    let first = plan(&mut purges, &index, "r", 1).unwrap();
    purges.apply(&mk_request("r", json!({"tags": ["b"]})));
    assert!(plan(&mut purges, &index, "r", 2).is_none());
    purges.committed(&first, &index, at(3));
    assert_eq!(purges.lines("shop").since(0).len(), 1, "what is durable goes out");
    let shown = status(&purges, "r", 3);
    assert_eq!(shown.sequence, first.status.sequence, "the last line stays known");
    assert_eq!(reason(&shown, "Acknowledged"), (false, "Pending"));
    let second = plan(&mut purges, &index, "r", 4).unwrap();
    assert_eq!(second.line.selector.tags, ["b"]);
}

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
fn a_deleted_request_leaves_its_line() {
    let (index, mut purges) = world(&["web-1"]);
    let line = commit(&mut purges, &index, &mk_request("r", everything()), 1).line;
    purges.apply(&mk_request("flying", everything()));
    let flying = plan(&mut purges, &index, "flying", 2).unwrap();
    assert!(purges.delete("shop", "r") && purges.delete("shop", "flying"));
    assert!(!purges.delete("shop", "r"));
    purges.committed(&flying, &index, at(3));
    let lines = purges.lines("shop");
    assert_eq!(lines.since(0).len(), 2, "also the one whose write was under way");
    assert_eq!(*lines.since(0)[0], line);
    assert!(purges.facts(&name("r"), at(3)).is_none());
    assert_eq!(purges.open(), 0);
}

#[test]
fn nothing_is_planned_before_everything_is_known() {
    let mut purges = Purges::default();
    let mut index = Index::new(Selecting::Labels);
    purges.reset(&[mk_request("r", everything())]);
    assert!(plan(&mut purges, &index, "r", 1).is_none());
    index.apply_pod(mk_pod("web-1"), at(1));
    purges.sync(&index, at(2));
    assert!(purges.take_dirty().contains(&name("r")));
    assert!(plan(&mut purges, &index, "r", 3).is_some());
}

/// What a request looks like after an operator that wrote this status.
fn written(request: &str, spec: Value, status: &RevalidationRequestStatus) -> RevalidationRequest {
    let mut request = mk_request(request, spec);
    request.status = Some(status.clone());
    request
}

#[test]
fn a_restart_finds_the_ledger_in_the_requests() {
    let (index, mut before) = world(&["web-1"]);
    let mut statuses = Vec::new();
    for (position, request) in ["b", "a", "c"].iter().enumerate() {
        let line = commit(
            &mut before,
            &index,
            &mk_request(request, json!({"tags": [request]})),
            1 + position as i64,
        )
        .line;
        if *request == "a" {
            before.ack("shop", "uid-web-1", line.sequence, at(5));
            before.report("shop", "uid-web-1", &done(line.sequence, 3), at(5));
        }
        statuses.push(status(&before, request, 6));
    }
    let [b, a, c] = <[_; 3]>::try_from(statuses).unwrap();

    let mut purges = Purges::default();
    purges.reset(&[
        written("a", json!({"tags": ["a"]}), &a),
        written("b", json!({"tags": ["b"]}), &b),
        written("c", json!({"tags": ["c"]}), &c),
        mk_request("new", everything()),
    ]);
    let tags: Vec<_> = (purges.lines("shop").since(0).iter())
        .map(|line| line.selector.tags[0].clone())
        .collect();
    assert_eq!(tags, ["b", "a", "c"], "in the order of their numbers");
    assert_eq!(purges.lines("shop"), before.lines("shop"));

    let mut index = index;
    index.apply_pod(
        Pod {
            sidecar_since: Some(at(100)),
            ..mk_pod("later")
        },
        at(100),
    );
    assert_eq!(
        reason(&status(&purges, "b", 100), "Acknowledged"),
        (false, "Pending"),
        "its targets are not known yet"
    );
    purges.sync(&index, at(100));
    for restored in ["a", "b", "c"] {
        assert!(
            plan(&mut purges, &index, restored, 101).is_none(),
            "nothing is purged again"
        );
    }
    assert!(plan(&mut purges, &index, "new", 101).is_some());
    let finished = status::request(&purges.facts(&name("a"), at(101)).unwrap(), Some(&a), at(101));
    assert!(
        status::same(Some(&a), &finished),
        "what was finished stays written as it is"
    );
    assert_eq!(
        status(&purges, "b", 101).sidecars.unwrap().summary,
        "0/1",
        "who started later is no target"
    );
    purges.connect("shop", "uid-web-1", c.sequence.unwrap().cast_unsigned(), at(102));
    assert_eq!(
        status(&purges, "b", 102).sidecars.unwrap().summary,
        "1/1",
        "its head says what it holds"
    );
}

#[test]
fn a_restart_purges_what_was_edited_meanwhile_and_doubts_what_it_replaced() {
    let (index, mut before) = world(&["web-1"]);
    let line = commit(&mut before, &index, &mk_request("r", json!({"tags": ["old"]})), 1).line;
    let old = status(&before, "r", 1);
    let mut purges = Purges::default();
    purges.reset(&[written("r", json!({"tags": ["new"]}), &old)]);
    purges.sync(&index, at(2));
    let lines = purges.lines("shop");
    assert_eq!(
        lines.floor_for(line.sequence - 1),
        line.sequence,
        "who does not hold the old line must doubt its pages"
    );
    assert_eq!(lines.floor_for(line.sequence), 0, "who holds it need not");
    let next = plan(&mut purges, &index, "r", 1).unwrap();
    assert_eq!(next.line.selector.tags, ["new"]);
    assert!(next.line.sequence > line.sequence);
}

#[test]
fn a_number_that_nobody_here_gave_is_not_believed() {
    let (index, mut purges) = world(&["web-1"]);
    let request = mk_request("r", everything());
    let status = RevalidationRequestStatus {
        sequence: Some(7),
        identity: Some(identity(&request)),
        ..RevalidationRequestStatus::default()
    };
    purges.apply(&written("r", everything(), &status));
    assert!(
        plan(&mut purges, &index, "r", 1).is_some(),
        "a write of which nobody heard is repeated"
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

#[test]
fn a_bounded_ledger_raises_its_floor() {
    let (index, mut purges) = world(&["web-1", "web-2"]);
    let first = commit(&mut purges, &index, &mk_request("first", everything()), 1).line;
    purges.ack("shop", "uid-web-2", first.sequence, at(1));
    let mut second = None;
    for number in 0..MAX_LINES {
        let line = commit(
            &mut purges,
            &index,
            &mk_request(&format!("r{number}"), everything()),
            1,
        )
        .line;
        second.get_or_insert(line);
    }
    let lines = purges.lines("shop");
    assert_eq!(lines.since(0).len(), MAX_LINES);
    assert_eq!(lines.floor(), first.sequence);
    assert_eq!(
        (
            lines.floor_for(first.sequence - 1),
            lines.floor_for(first.sequence)
        ),
        (first.sequence, 0)
    );

    // web-1 was cut off: it will never look through its pages for that line, the floor does it.
    purges.connect("shop", "uid-web-1", 0, at(2));
    purges.connect("shop", "uid-web-2", first.sequence, at(2));
    purges.ack("shop", "uid-web-1", lines.head(), at(3));
    let half = status(&purges, "first", 3);
    assert_eq!(
        reason(&half, "Ready"),
        (false, "Sweeping"),
        "web-2 holds the line itself and has not reported"
    );
    purges.report("shop", "uid-web-2", &done(first.sequence, 1), at(4));
    assert_eq!(reason(&status(&purges, "first", 4), "Ready"), (true, "Ready"));
    assert!(
        purges.ack("shop", "uid-web-2", second.unwrap().sequence, at(5)),
        "the others go on"
    );
}

#[test]
fn bytes_bound_the_ledger_too() {
    let (index, mut purges) = world(&[]);
    let tags: Vec<_> = (0..32).map(|n| format!("{n:0>250}")).collect();
    for number in 0..200 {
        commit(
            &mut purges,
            &index,
            &mk_request(&format!("r{number}"), json!({"tags": tags})),
            1,
        );
    }
    let lines = purges.lines("shop");
    assert_eq!(lines.since(0).len(), MAX_BYTES / 8000);
    assert!(lines.floor() > 0 && lines.floor() < lines.since(0)[0].sequence);
}

#[test]
fn a_head_that_no_ledger_gave_is_refused() {
    let (index, mut purges) = world(&["web-1"]);
    let ms = |seconds| u64::try_from(at(seconds).as_millisecond()).unwrap();
    let believed = |purges: &mut Purges, head| purges.connect("shop", "uid-web-1", head, at(0)).1;
    assert!(believed(&mut purges, 0));
    assert!(
        believed(&mut purges, ms(0) + MAX_AHEAD_MS),
        "clocks differ a little"
    );
    assert!(!believed(&mut purges, ms(0) + MAX_AHEAD_MS + 1));
    assert!(!believed(&mut purges, u64::MAX));
    let line = commit(&mut purges, &index, &mk_request("r", everything()), 0).line;
    assert_eq!(
        line.sequence,
        ms(0) + MAX_AHEAD_MS + 1,
        "no line is given a number that a sidecar believes to hold"
    );
    assert!(
        believed(&mut purges, line.sequence),
        "its own head is its own, however far ahead"
    );
}

#[test]
fn a_refused_head_acknowledges_nothing() {
    let (index, mut purges) = world(&["web-1"]);
    commit(&mut purges, &index, &mk_request("r", everything()), 0);
    purges.connect("shop", "uid-web-1", u64::MAX, at(1));
    assert_eq!(status(&purges, "r", 1).sidecars.unwrap().acknowledged, 0);
}

#[test]
fn what_was_there_at_the_start_of_dev_purges_nothing() {
    let (index, mut purges) = world(&["web-1"]);
    assert!(purges.adopt(&mk_request("r", everything()), at(1)));
    assert!(plan(&mut purges, &index, "r", 1).is_none());
    assert_eq!(reason(&status(&purges, "r", 1), "Ready"), (true, "NoPods"));
    assert!(purges.adopt(&mk_request("bad", json!({})), at(1)));
    assert_eq!(reason(&status(&purges, "bad", 1), "Accepted"), (false, "Invalid"));
    let mut edited = mk_request("r", json!({"tags": ["a"]}));
    edited.metadata.generation = Some(2);
    purges.apply(&edited);
    assert!(plan(&mut purges, &index, "r", 2).is_some());
}

#[test]
fn the_annotation_asks_once_for_a_purge_of_the_route() {
    let mut route = mk_route("web", 1, json!({}));
    assert_eq!(requested(&route), None);
    let annotate = |route: &mut IsrRoute, value: &str| {
        route.metadata.annotations = Some([("coppice.dev/requested-at".to_owned(), value.to_owned())].into());
    };
    annotate(&mut route, "");
    assert_eq!(requested(&route), None);
    annotate(&mut route, "2026-01-01T00:00:00Z");
    let request = requested(&route).unwrap();
    assert_eq!(
        requested(&route),
        Some(request.clone()),
        "making it twice makes it once: the name is the same"
    );
    assert!(request.spec.everything && selector(&request.spec).is_ok());
    assert_eq!(request.spec.route_ref.as_ref().unwrap().name, "web");
    let owner = &request.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("IsrRoute", "uid-web"));
    annotate(&mut route, "again");
    assert_ne!(requested(&route).unwrap().metadata.name, request.metadata.name);
    route.status = Some(coppice_api::IsrRouteStatus {
        last_handled_requested_at: Some("again".to_owned()),
        ..Default::default()
    });
    assert_eq!(requested(&route), None);

    let long = request_name(&"a".repeat(253), "uid", "v");
    assert!(long.len() <= 253);
    let dotted = request_name(&format!("{}.{}", "a".repeat(239), "b".repeat(13)), "uid", "v");
    assert!(!dotted.contains(".-"), "{dotted}");
}

#[test]
fn a_value_longer_than_a_status_takes_is_echoed_short() {
    assert_eq!(echo("now"), "now");
    let (one, other) = ("ä".repeat(256), format!("{}b", "ä".repeat(256)));
    assert_eq!(echo(&one), one);
    assert_eq!(echo(&other).chars().count(), 256);
    assert_ne!(echo(&other), echo(&format!("{}c", "ä".repeat(256))));
    let mut route = mk_route("web", 1, json!({}));
    route.metadata.annotations = Some([("coppice.dev/requested-at".to_owned(), other.clone())].into());
    assert!(requested(&route).is_some());
    route.status = Some(coppice_api::IsrRouteStatus {
        last_handled_requested_at: Some(echo(&other)),
        ..Default::default()
    });
    assert_eq!(requested(&route), None, "it was handled");
}

/// What can happen to an open purge, in any order and any number of times.
#[derive(Debug, Clone)]
enum Event {
    Ack { pod: usize, enough: bool },
    Report { pod: usize, pages: u64, finished: bool },
    Gone { pod: usize },
    Reconnect { pod: usize, holds: bool },
}

fn event() -> impl Strategy<Value = Event> {
    let pod = 0..4_usize;
    prop_oneof![
        4 => (pod.clone(), any::<bool>()).prop_map(|(pod, enough)| Event::Ack { pod, enough }),
        4 => (pod.clone(), 0..5_u64, any::<bool>())
            .prop_map(|(pod, pages, finished)| Event::Report { pod, pages, finished }),
        1 => pod.clone().prop_map(|pod| Event::Gone { pod }),
        1 => (pod, any::<bool>()).prop_map(|(pod, holds)| Event::Reconnect { pod, holds }),
    ]
}

/// The obvious model of one target.
#[derive(Debug, Clone, Copy, Default)]
struct Model {
    acked: bool,
    finished: bool,
    pages: u64,
    gone: bool,
}

proptest! {
    /// Whatever the order, the repetition and the deletions: the counts are those of the obvious model, nothing that
    /// was true becomes false, and the purge is complete exactly when every pod that is left has done it.
    #[test]
    fn progress_is_true_in_any_order(events in prop::collection::vec(event(), 0..60)) {
        let pods = ["web-0", "web-1", "web-2"]; // pod 3 is no target
        let (index, mut purges) = world(&pods);
        let sequence = commit(&mut purges, &index, &mk_request("r", everything()), 0).line.sequence;
        let mut model = [Model::default(); 3];
        let mut complete = false;
        for (step, event) in events.iter().enumerate() {
            let now = at(1 + i64::try_from(step).unwrap());
            let uid = |pod: &usize| format!("uid-web-{pod}");
            let apply = |purges: &mut Purges| match event {
                Event::Ack { pod, enough } => {
                    purges.ack("shop", &uid(pod), if *enough { sequence } else { sequence - 1 }, now);
                }
                Event::Report { pod, pages, finished } => {
                    let report = Report { sequence, matched: *pages, regenerated: *pages, failed: 0, origin_cached: 0, finished: *finished };
                    purges.report("shop", &uid(pod), &report, now);
                }
                Event::Gone { pod } => {
                    purges.gone("shop", &uid(pod), now);
                }
                Event::Reconnect { pod, holds } => {
                    purges.connect("shop", &uid(pod), if *holds { sequence } else { 0 }, now);
                }
            };
            apply(&mut purges);
            let once = purges.facts(&name("r"), now);
            apply(&mut purges);
            prop_assert_eq!(&once, &purges.facts(&name("r"), now), "a second time changes nothing");

            if !complete {
                match *event {
                    Event::Ack { pod, enough: true } | Event::Reconnect { pod, holds: true } if pod < 3 => model[pod].acked = true,
                    Event::Report { pod, pages, finished } if pod < 3 && !model[pod].gone => {
                        model[pod].pages = model[pod].pages.max(pages);
                        model[pod].finished |= finished;
                    }
                    Event::Gone { pod } if pod < 3 => model[pod].gone = true,
                    _ => {}
                }
                complete = model.iter().all(|pod| pod.gone || (pod.acked && pod.finished));
            }
            let Some(Stage::Committed(facts)) = once.map(|facts| facts.stage) else {
                return Err(TestCaseError::fail("it has a line"));
            };
            let left = || model.iter().filter(|pod| !pod.gone);
            prop_assert_eq!(facts.targeted, left().count());
            prop_assert_eq!(facts.acknowledged, left().filter(|pod| pod.acked).count());
            prop_assert_eq!(facts.matched, model.iter().map(|pod| pod.pages).sum::<u64>());
            prop_assert_eq!(facts.completed.is_some(), complete);
            prop_assert_eq!(purges.open(), usize::from(!complete));
            prop_assert_eq!(facts.missing.is_empty(), complete);
        }
    }
}
