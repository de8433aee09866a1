//! The old page where no new one is stored: to whom it still serves, and for how long.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::time::Duration;

use coppice_cache::{config::Rule, ledger::Strategy};
use rstest::rstest;
use support::{
    rig::{Rig, everything},
    soon,
    stage::{Asked, Stage, end},
};

const WITH_TAG: &str = "cache-control: max-age=60\r\nage: 60\r\netag: \"one\"\r\n";

/// The app has answered, and what it says is for one visitor alone: no failure, which the old page would stand in for.
#[rstest]
#[case::by_the_app(None, "cache-control: private\r\n", "private")]
#[case::by_the_app(None, "", "no-freshness")]
#[case::by_the_rule(Some(Strategy::Expire), "set-cookie: a=b\r\n", "set-cookie")]
#[case::by_the_rule(Some(Strategy::Expire), "cache-control: no-store\r\n", "no-store")]
#[tokio::test]
async fn old_page_does_not_serve_where_the_app_has_answered(
    #[case] purge: Option<Strategy>,
    #[case] headers: &'static str,
    #[case] reason: &str,
) {
    let mut stage = Stage::with(|rule| {
        if purge.is_none() {
            rule.revalidate = None;
        }
    })
    .await;
    let first = |asked: Asked| asked.answer("200 OK", WITH_TAG, "one");
    stage.ask("GET", "/a", "", first).await;
    if let Some(strategy) = purge {
        stage.purge_path(strategy, "/a");
    }
    let visit = stage.begin("GET", "/a", "");
    stage.app.asked().await.answer("200 OK", headers, "shared").await;
    stage.app.asked().await.answer("200 OK", headers, "own").await;
    assert_eq!(end(visit).await.body, "own");
    stage.settled().await;
    for body in ["second", "third"] {
        let got = stage
            .ask("GET", "/a", "", |asked| asked.answer("200 OK", headers, body))
            .await;
        assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", body));
        assert!(
            got.cache_status().ends_with(&format!("detail={reason}")),
            "{got:?}"
        );
    }
}

/// With a page at `/a` that a visitor has just got stale, so that the app is asked behind it.
async fn stale(change: impl FnOnce(&mut Rule)) -> Stage {
    let mut stage = Stage::with(change).await;
    stage.store("/a", "one").await;
    stage.purge_path(Strategy::Refresh, "/a");
    assert_eq!(stage.get("/a").await.outcome(), "STALE");
    stage
}

/// Behind those to whom it may serve, the app is not asked at each visit.
#[tokio::test]
async fn old_page_that_may_serve_is_not_asked_for_at_each_visit() {
    let mut stage = stale(|_| ()).await;
    let private = |asked: Asked| asked.answer("200 OK", "set-cookie: a=b\r\n", "two");
    private(stage.app.asked().await).await;
    stage.settled().await;
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.body.as_str()), ("STALE", "one"));
    assert!(stage.app.is_idle());
}

/// A 404 takes the place of a page as any success does, also where the rule keeps none.
#[tokio::test]
async fn old_page_goes_where_a_404_is_kept_for_no_time() {
    let mut stage = stale(|rule| rule.negative = Duration::ZERO).await;
    let gone = |asked: Asked| asked.answer("404 Not Found", "", "gone");
    gone(stage.app.asked().await).await;
    stage.settled().await;
    assert!(stage.site.fetcher.store().is_empty());
    let got = stage.ask("GET", "/a", "", gone).await;
    assert_eq!((got.status, got.outcome()), (404, "BYPASS"));
}

/// An app's own cache that is about to be brought up to date confirms nothing.
#[tokio::test]
async fn old_page_is_not_renewed_by_a_304_from_an_outdated_cache() {
    let mut stage = Stage::with(|rule| rule.revalidate = None).await;
    stage
        .ask("GET", "/a", "", |asked| asked.answer("200 OK", WITH_TAG, "one"))
        .await;
    let visit = stage.begin("GET", "/a", "");
    let asked = stage.app.asked().await;
    assert!(asked.has("if-none-match"), "{}", asked.head);
    asked
        .answer_nothing("304 Not Modified", "x-nextjs-cache: STALE\r\n")
        .await;
    let again = stage.app.asked().await;
    again
        .answer("200 OK", "cache-control: max-age=60\r\n", "two")
        .await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "two"));
}

/// It may serve while the app fails as long as its time lasts, and that goes on while a visitor waits.
#[rstest]
#[case("max-age=60, must-revalidate", 55)]
#[case("s-maxage=60", 55)]
#[case("max-age=60, stale-if-error=5", 59)]
#[tokio::test(start_paused = true)]
async fn old_page_does_not_serve_beyond_its_time(#[case] control: &str, #[case] age: u64) {
    let change = |rule: &mut Rule| rule.revalidate = None;
    let mut rig = Rig::with(change, Duration::from_secs(30)).await;
    let visitor = rig.wait("/a", None);
    let head = format!("200 OK\r\nCache-Control: {control}\r\nAge: {age}\r\n");
    rig.asked().await.answer(&head, "old").await;
    assert_eq!(support::rig::body(visitor.await.unwrap()).await.unwrap(), "old");
    let page = rig.stored("/a").await;
    rig.purge(1, everything(), Strategy::Expire);
    assert!(rig.look_up("/a").0.is_some());
    let began = tokio::time::Instant::now();
    let visitor = rig.wait("/a", Some(page));
    let _app = rig.asked().await;
    let fetched = visitor.await.unwrap();
    assert!(
        matches!(&fetched, coppice_sidecar::fetch::Fetched::Failed { .. }),
        "{fetched:?}"
    );
    assert!(began.elapsed() >= Duration::from_secs(30), "it waits on");
}

/// RFC 9111 section 4.2.3: a page is as old as its head, however long its body takes.
#[tokio::test]
async fn old_page_is_as_old_as_its_head() {
    let mut stage = Stage::new().await;
    let first = stage.begin("GET", "/a", "");
    let mut asked = stage.app.asked().await;
    asked
        .say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nha")
        .await;
    support::until("its head is there", async || {
        let (_, seen) = stage.site.fetcher.flights(1);
        seen.first().is_some_and(|flight| flight.arrived == 2)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut second = stage.sidecar.connect().await;
    second
        .say("GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        .await;
    let head = second.head().await.to_lowercase();
    assert!(
        head.contains("collapsed") && head.contains("\r\nage: 1\r\n"),
        "{head}"
    );
    asked.say("lf").await;
    drop(asked);
    assert_eq!(soon(first).await.unwrap().header("age"), "");
    assert_eq!(second.rest().await, "half");
    stage.settled().await;
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.body.as_str()), ("HIT", "half"));
    assert!(got.header("age").parse::<u64>().unwrap() >= 1, "{got:?}");
}

/// Whoever reads a page slowly holds it, also once it is stored no more: that is memory, and counts.
#[tokio::test]
async fn old_page_counts_as_long_as_somebody_reads_it() {
    let mut rig = Rig::new().await;
    let visitor = rig.wait("/a", None);
    let text = "x".repeat(100_000);
    let mut app = rig.asked().await;
    app.head(support::rig::CHUNKED).await;
    let streamed = support::rig::streamed(soon(visitor).await.unwrap());
    app.chunk(&text).await;
    app.chunk("").await;
    rig.stored("/a").await;
    rig.landed().await;
    let store = rig.fetcher.store().clone();
    store.clear();
    assert!(store.is_empty());
    assert!(store.bytes() >= 100_000, "{}", store.bytes());
    assert_eq!(support::rig::read(streamed).await.unwrap(), text);
    support::until("nothing is held", async || store.bytes() == 0).await;
}
