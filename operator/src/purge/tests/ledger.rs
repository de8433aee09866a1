//! What the ledger holds, and which heads it can have given.

use super::*;

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
