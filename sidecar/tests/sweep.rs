//! Sweeps after purges, before an app that a test scripts, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::time::Duration;

use coppice_cache::{ledger::Strategy, verdict::Verdict};
use coppice_sidecar::sweep::{HOT, Report, Sweeper};
use support::{
    rig::{OK, Rig, everything, path},
    soon,
};

/// Waits until the counts of a line are final.
async fn finished(sweeper: &Sweeper, sequence: u64) -> Report {
    let mut updates = sweeper.reports();
    loop {
        let news = soon(updates.next()).await;
        if let Some(report) = news
            .into_iter()
            .find(|report| report.sequence == sequence && report.finished)
        {
            return report;
        }
    }
}

fn counts(report: Report) -> (u64, u64, u64) {
    (report.matched, report.regenerated, report.failed)
}

#[tokio::test]
async fn sweep_regenerates_what_is_hot_and_counts() {
    let mut rig = Rig::new().await;
    let sweeper = Sweeper::start(rig.clock, rig.fetcher.clone());
    for path in ["/a", "/b", "/c"] {
        rig.store(path, "old").await;
    }
    let mut selector = path("/a");
    selector.paths.push("/b".to_owned());
    sweeper.sweep(vec![rig.purge(1, selector, Strategy::Refresh)]);
    for _ in 0..2 {
        let asked = rig.asked().await;
        if asked.path == "/a" {
            asked.answer(OK, "new").await;
        } else {
            asked.answer("500 Oops\r\n", "sorry").await;
        }
    }
    assert_eq!(counts(finished(&sweeper, 1).await), (2, 1, 1));
    assert_eq!(rig.stored("/a").await.body(), "new");
    assert_eq!(rig.stored("/b").await.body(), "old");
    // Nothing is fetched for what waits for its next visitor, and what is deleted goes.
    sweeper.sweep(vec![rig.purge(2, path("/a"), Strategy::Expire)]);
    assert_eq!(counts(finished(&sweeper, 2).await), (1, 0, 0));
    sweeper.sweep(vec![rig.purge(3, everything(), Strategy::Delete)]);
    assert_eq!(counts(finished(&sweeper, 3).await), (3, 0, 0));
    assert!(rig.fetcher.store().is_empty());
    sweeper.sweep(vec![rig.purge(4, everything(), Strategy::Refresh)]);
    assert_eq!(counts(finished(&sweeper, 4).await), (0, 0, 0));
    assert!(rig.is_quiet());
    // A stream that begins now gets them all again.
    assert_eq!(soon(sweeper.reports().next()).await.len(), 4);
}

#[tokio::test]
async fn sweep_keeps_as_many_regenerations_going_as_may() {
    const AT_ONCE: u16 = 40;
    let mut rig = Rig::regenerating(AT_ONCE).await;
    let sweeper = Sweeper::start(rig.clock, rig.fetcher.clone());
    for page in 0..AT_ONCE {
        rig.store(&format!("/{page}"), "old").await;
    }
    sweeper.sweep(vec![rig.purge(1, everything(), Strategy::Refresh)]);
    let mut aloft = Vec::new();
    for _ in 0..AT_ONCE {
        aloft.push(rig.asked().await);
    }
    for asked in aloft {
        asked.answer(OK, "new").await;
    }
    assert_eq!(counts(finished(&sweeper, 1).await), (40, 40, 0));
}

#[tokio::test(start_paused = true)]
async fn sweep_leaves_cold_pages_to_their_next_visit() {
    let mut rig = Rig::new().await;
    let sweeper = Sweeper::start(rig.clock, rig.fetcher.clone());
    rig.store("/a", "old").await;
    tokio::time::advance(HOT + Duration::from_secs(1)).await;
    sweeper.sweep(vec![rig.purge(1, everything(), Strategy::Refresh)]);
    assert_eq!(counts(finished(&sweeper, 1).await), (1, 0, 0));
    assert!(rig.is_quiet());
    assert_eq!(rig.look_up("/a").1, Verdict::Stale { regenerate: true });
}

#[tokio::test]
async fn sweep_counts_what_a_later_purge_overtakes_as_done() {
    let mut rig = Rig::new().await;
    let sweeper = Sweeper::start(rig.clock, rig.fetcher.clone());
    rig.store("/a", "old").await;
    sweeper.sweep(vec![rig.purge(1, everything(), Strategy::Refresh)]);
    let first = rig.asked().await;
    sweeper.sweep(vec![rig.purge(2, everything(), Strategy::Refresh)]);
    let second = rig.asked().await;
    first.answer(OK, "overtaken").await;
    assert_eq!(counts(finished(&sweeper, 1).await), (1, 1, 0));
    assert_eq!(rig.stored("/a").await.body(), "old");
    second.answer(OK, "new").await;
    assert_eq!(counts(finished(&sweeper, 2).await), (1, 1, 0));
    assert_eq!(rig.stored("/a").await.body(), "new");
    assert!(rig.is_quiet());
}
