//! After a restart: what the requests in the API server say of the ledger.

use super::*;

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
