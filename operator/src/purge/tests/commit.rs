//! What is a purge, and when its line goes out.

use super::*;

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
