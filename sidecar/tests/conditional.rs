//! Conditional requests over real sockets: what a visitor gets who has the page already.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use coppice_cache::ledger::Strategy;
use rstest::rstest;
use support::stage::{Asked, Got, SHORT, Stage, end};

const PAGE: &str = "etag: \"x\"\r\nlast-modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n\
                    date: Sun, 22 Nov 2026 10:00:00 GMT\r\ncontent-type: text/html\r\nvary: RSC\r\n\
                    content-location: /a.html\r\nx-own: 1\r\n";

async fn stored(stage: &mut Stage, headers: &str, body: &str) -> Got {
    let answer = async |asked: Asked| asked.answer("200 OK", headers, body).await;
    stage.ask("GET", "/a", "", answer).await
}

#[tokio::test]
async fn conditional_hit_is_a_304_with_what_it_needs() {
    let mut stage = Stage::new().await;
    stored(&mut stage, PAGE, "page").await;
    for method in ["GET", "HEAD"] {
        let got = end(stage.begin(method, "/a", "if-none-match: \"w\", W/\"x\"\r\n")).await;
        assert_eq!((got.status, got.outcome(), got.body.as_str()), (304, "HIT", ""));
        assert!(got.cache_status().starts_with("coppice; hit; ttl=3"), "{got:?}");
        for (name, value) in [
            ("etag", "\"x\""),
            ("cache-control", "public, max-age=7"),
            ("content-location", "/a.html"),
            ("date", "Sun, 22 Nov 2026 10:00:00 GMT"),
            ("vary", "RSC"),
        ] {
            assert!(got.header(name).contains(value), "{name}: {got:?}");
        }
        assert!(got.headers.contains_key("age"));
        for gone in [
            "content-type",
            "content-length",
            "last-modified",
            "x-own",
            "accept-ranges",
        ] {
            assert!(!got.headers.contains_key(gone), "{gone}: {got:?}");
        }
    }
    assert!(stage.app.is_idle());
}

#[rstest]
#[case("if-none-match: \"y\"\r\n", 200)]
#[case("if-none-match: *\r\n", 304)]
#[case("if-modified-since: Sat, 21 Nov 2026 10:00:00 GMT\r\n", 304)]
#[case("if-modified-since: Saturday, 21-Nov-26 10:00:00 GMT\r\n", 304)]
#[case("if-modified-since: Sat Nov 21 10:00:00 2026\r\n", 304)]
#[case("if-modified-since: Fri, 20 Nov 2026 10:00:00 GMT\r\n", 200)]
#[case(
    "if-none-match: \"y\"\r\nif-modified-since: Sun, 22 Nov 2026 10:00:00 GMT\r\n",
    200
)]
#[case("if-match: \"x\"\r\n", 200)]
#[case("if-match: \"y\"\r\n", 412)]
#[case("if-unmodified-since: Fri, 20 Nov 2026 10:00:00 GMT\r\n", 412)]
#[case("cache-control: no-cache\r\npragma: no-cache\r\n", 200)]
#[tokio::test]
async fn conditional_by_each_field(#[case] headers: &str, #[case] status: u16) {
    let mut stage = Stage::new().await;
    stored(&mut stage, PAGE, "page").await;
    let got = stage.get_with("/a", headers).await;
    assert_eq!((got.status, got.outcome()), (status, "HIT"), "{got:?}");
    assert_eq!(got.body == "page", status == 200, "{got:?}");
    if status == 412 {
        assert_eq!(got.header("cache-control"), "no-store");
        let head = end(stage.begin("HEAD", "/a", headers)).await;
        assert_eq!((head.status, head.body.as_str()), (412, ""));
    }
}

#[tokio::test]
async fn conditional_page_without_a_tag_gets_one() {
    let mut stage = Stage::new().await;
    stored(&mut stage, "date: Sun, 22 Nov 2026 10:00:00 GMT\r\n", "one").await;
    let etag = stage.get("/a").await.header("etag").to_owned();
    assert_eq!(etag.len(), 34, "{etag}");
    let headers = format!("if-none-match: {etag}\r\n");
    let got = stage.get_with("/a", &headers).await;
    assert_eq!((got.status, got.header("etag")), (304, etag.as_str()));
    // By its date, as it has no other.
    let since = "if-modified-since: Sun, 22 Nov 2026 10:00:01 GMT\r\n";
    assert_eq!(stage.get_with("/a", since).await.status, 304);

    stage.purge_path(Strategy::Delete, "/a");
    stored(&mut stage, "", "two").await;
    let got = stage.get_with("/a", &headers).await;
    assert_eq!((got.status, got.body.as_str()), (200, "two"));
    assert_ne!(got.header("etag"), etag);

    // The same content has the same tag again.
    stage.purge_path(Strategy::Delete, "/a");
    stored(&mut stage, "", "one").await;
    assert_eq!(stage.get_with("/a", &headers).await.status, 304);
}

#[tokio::test]
async fn conditional_is_answered_by_stale_and_new_pages() {
    let mut stage = Stage::new().await;
    stored(&mut stage, PAGE, "page").await;
    let condition = "if-none-match: \"x\"\r\n";
    stage.revalidate(SHORT);
    stage.until("/a", |got| got.outcome() == "STALE").await;
    let got = stage.get_with("/a", condition).await;
    assert_eq!((got.status, got.outcome()), (304, "STALE"));
    assert_eq!(got.header("cache-control"), "max-age=0, must-revalidate");
    stage.app.asked().await.answer("200 OK", PAGE, "page").await;
    stage.settled().await;

    // The new page has the tag that the visitor has, as its head says already.
    stage.revalidate(support::stage::LONG);
    stage.purge_path(Strategy::Expire, "/a");
    let answer = async |asked: Asked| asked.answer("200 OK", PAGE, "page").await;
    let got = stage.ask("GET", "/a", condition, answer).await;
    assert_eq!(
        (got.status, got.outcome(), got.body.as_str()),
        (304, "REVALIDATED", "")
    );
    assert_eq!(got.header("etag"), "\"x\"");
    stage.purge_path(Strategy::Delete, "/a");
    let got = stage.ask("GET", "/a", condition, answer).await;
    assert_eq!((got.status, got.outcome(), got.body.as_str()), (304, "MISS", ""));
    assert_eq!(stage.get("/a").await.body, "page");
}

#[tokio::test]
async fn conditional_concerns_no_error() {
    let mut stage = Stage::new().await;
    let answer = async |asked: Asked| asked.answer("404 Not Found", PAGE, "none").await;
    stage.ask("GET", "/a", "", answer).await;
    let got = stage
        .get_with("/a", "if-none-match: \"x\"\r\nrange: bytes=0-1\r\n")
        .await;
    assert_eq!(
        (got.status, got.outcome(), got.body.as_str()),
        (404, "HIT", "none")
    );
    assert_eq!(got.header("accept-ranges"), "");
}
