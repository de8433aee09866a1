use super::*;
use crate::{
    ledger::{Ledger, Line, Selector, Strategy},
    mk::{mk_page, mk_plan},
    outcome::Outcome,
};

fn purge(ledger: &Ledger, sequence: u64, path: &str, strategy: Strategy) {
    let line = Line {
        sequence,
        selector: Selector {
            paths: vec![path.to_owned()],
            ..Selector::default()
        },
        strategy,
    };
    ledger.append([line], sequence, 0);
}

/// A purge is a line: purging reads no page, and a page compares itself with a line only once.
#[test]
fn invariant_4_a_page_looks_at_each_line_once() {
    let (ledger, page) = (Ledger::new(), mk_page(&mk_plan(|_| ()), "/a", 0, 1));
    purge(&ledger, 1, "/b", Strategy::Delete);
    assert_eq!(page.check(&ledger), None);
    assert_eq!(page.head().checked.load(Ordering::Relaxed), 1);
    purge(&ledger, 2, "/a", Strategy::Expire);
    assert_eq!(page.effect(), None);
    assert_eq!(page.check(&ledger), Some(Strategy::Expire));
    purge(&ledger, 3, "/a", Strategy::Refresh);
    assert_eq!(page.check(&ledger), Some(Strategy::Expire));
    assert_eq!(page.head().checked.load(Ordering::Relaxed), 3);
}

#[test]
fn page_is_asked_for_again_at_once_after_a_purge() {
    let (ledger, page) = (Ledger::new(), mk_page(&mk_plan(|_| ()), "/a", 0, 1));
    page.back_off(Moment(1000), BackOff::Failed);
    purge(&ledger, 1, "/b", Strategy::Expire);
    page.check(&ledger);
    assert!(page.backs_off(Moment(999)).is_some());
    assert!(page.backs_off(Moment(1000)).is_none());
    purge(&ledger, 2, "/a", Strategy::Expire);
    page.check(&ledger);
    assert!(page.backs_off(Moment(999)).is_none());
}

#[test]
fn page_is_foreseen_without_a_trace() {
    let (ledger, page) = (Ledger::new(), mk_page(&mk_plan(|_| ()), "/a", 0, 1));
    page.back_off(Moment(1000), BackOff::Failed);
    purge(&ledger, 1, "/b", Strategy::Expire);
    assert_eq!(page.foresee(&ledger), (None, false));
    purge(&ledger, 2, "/a", Strategy::Refresh);
    assert_eq!(page.foresee(&ledger), (Some(Strategy::Refresh), true));
    assert_eq!(
        (page.head().checked.load(Ordering::Relaxed), page.effect()),
        (0, None)
    );
    assert!(page.backs_off(Moment(999)).is_some());
    assert_eq!(page.check(&ledger), Some(Strategy::Refresh));
    assert_eq!(page.foresee(&ledger), (Some(Strategy::Refresh), false));
}

#[test]
fn page_knows_what_its_last_visitor_got() {
    let (old, new) = (
        mk_page(&mk_plan(|_| ()), "/a", 0, 1),
        mk_page(&mk_plan(|_| ()), "/a", 1, 1),
    );
    assert_eq!(old.last_outcome(), None);
    old.note(Outcome::Stale);
    old.visit(Moment(5));
    new.inherit(&old);
    assert_eq!(
        (new.last_outcome(), new.visited()),
        (Some(Outcome::Stale), Moment(1000))
    );
}

#[test]
fn page_has_each_coding_tried_once() {
    let page = mk_page(&mk_plan(|_| ()), "/a", 0, 1);
    assert!(page.want(Coding::Gzip) && !page.want(Coding::Gzip));
    assert!(!page.try_out(Coding::Gzip));
    // Made ahead of those who want it.
    assert!(page.try_out(Coding::Zstd));
    assert_eq!(page.wanted().collect::<Vec<_>>(), [Coding::Gzip]);
    assert!(!page.want(Coding::Zstd));
    assert_eq!(page.wanted().collect::<Vec<_>>(), [Coding::Zstd, Coding::Gzip]);
    page.give_up(Coding::Gzip);
    assert!(page.want(Coding::Gzip));
    let page = page.with(Coding::Brotli, Bytes::from_static(b"b"));
    assert!(!Coding::ALL.into_iter().any(|coding| page.want(coding)));
}

#[test]
fn page_weighs_all_of_itself() {
    let plan = mk_plan(|_| ());
    let light = mk_page(&plan, "/a", 0, 0);
    assert!(light.weight() > BESIDE as u64);
    assert_eq!(mk_page(&plan, "/a", 0, 800).weight() - light.weight(), 800);
    assert_eq!(mk_page(&plan, "/abc", 0, 0).weight() - light.weight(), 2);
}

#[test]
fn page_notes_visits_to_the_second() {
    let page = mk_page(&mk_plan(|_| ()), "/a", 0, 1);
    assert_eq!(page.visited(), Moment(0));
    for (visit, visited) in [(0, 1000), (999, 1000), (1000, 2000), (7, 2000), (5500, 6000)] {
        page.visit(Moment(visit));
        assert_eq!(page.visited(), Moment(visited), "{visit}");
    }
}

#[test]
fn page_is_asked_for_again_no_sooner_than_it_may_be() {
    let page = mk_page(&mk_plan(|_| ()), "/a", 0, 1);
    assert_eq!(page.retry_at(), None);
    page.back_off(Moment(1001), BackOff::Failed);
    assert!(page.backs_off(Moment(1001)).is_some() && page.backs_off(Moment(1100)).is_none());
    page.back_off(Moment(u64::MAX), BackOff::Failed);
    assert!(page.backs_off(Moment(1 << 37)).is_some());
}
