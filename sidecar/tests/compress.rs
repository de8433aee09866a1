//! Compression over real sockets: who gets which coding, and what is never compressed.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::io::Read;

use coppice_cache::{coding::Coding, ledger::Strategy};
use rstest::rstest;
use support::{
    soon,
    stage::{Asked, Got, Stage, end},
};

const HTML: &str = "etag: \"x\"\r\ncontent-type: text/html\r\nvary: RSC\r\n";

fn text() -> String {
    "<li>a page about something</li>\n".repeat(100)
}

async fn stored(stage: &mut Stage, headers: &str, body: &str) -> Got {
    let answer = async |asked: Asked| {
        assert!(asked.head.contains("accept-encoding: identity"), "{}", asked.head);
        asked.answer("200 OK", headers, body).await;
    };
    stage.ask("GET", "/a", "", answer).await
}

/// Visits until the page comes in a coding.
async fn encoded(stage: &Stage, accept: &str) -> Got {
    soon(async {
        loop {
            let got = stage
                .get_with("/a", &format!("accept-encoding: {accept}\r\n"))
                .await;
            if got.headers.contains_key("content-encoding") {
                return got;
            }
            // Who asks first is not kept waiting.
            assert_eq!((got.status, got.body.as_str()), (200, text().as_str()));
        }
    })
    .await
}

fn decoded(coding: &str, raw: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(raw).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(raw, 4096).read_to_string(&mut text),
        "zstd" => zstd::Decoder::new(raw).unwrap().read_to_string(&mut text),
        other => panic!("no coding of ours: {other}"),
    }
    .unwrap();
    text
}

#[rstest]
#[case("gzip, deflate, br, zstd", "br")]
#[case("gzip, zstd;q=0.5", "gzip")]
#[case("zstd", "zstd")]
#[case("x-gzip", "gzip")]
#[tokio::test]
async fn compress_as_the_visitor_likes(#[case] accept: &str, #[case] coding: &str) {
    let mut stage = Stage::new().await;
    let miss = stored(&mut stage, HTML, &text()).await;
    assert_eq!((miss.outcome(), miss.header("content-encoding")), ("MISS", ""));
    assert_eq!(miss.header("vary"), "RSC, Accept-Encoding");
    let got = encoded(&stage, accept).await;
    assert_eq!((got.header("content-encoding"), got.outcome()), (coding, "HIT"));
    assert_eq!(
        (got.header("etag"), got.header("vary")),
        ("W/\"x\"", "RSC, Accept-Encoding")
    );
    assert_eq!(got.header("content-length"), got.raw.len().to_string());
    assert!(got.raw.len() < 300, "{}", got.raw.len());
    assert_eq!(decoded(coding, &got.raw), text());

    let head = end(stage.begin("HEAD", "/a", &format!("accept-encoding: {accept}\r\n"))).await;
    assert_eq!(
        head.headers.get("content-length"),
        got.headers.get("content-length")
    );
    assert_eq!((head.header("content-encoding"), head.raw.len()), (coding, 0));

    // Others get it as it is.
    let plain = stage.get("/a").await;
    assert_eq!(
        (plain.header("content-encoding"), plain.header("etag")),
        ("", "\"x\"")
    );
    assert_eq!(plain.header("vary"), "RSC, Accept-Encoding");
    assert!(stage.app.is_idle());
}

/// RFC 9110 section 7.7. The app may come to forbid it when it confirms a page.
#[tokio::test]
async fn compress_ends_where_a_304_forbids_it() {
    let mut stage = Stage::with(|rule| rule.revalidate = None).await;
    // It is asked about at every visit.
    let headers = "content-type: text/html\r\netag: \"x\"\r\ncache-control: no-cache\r\n";
    stored(&mut stage, headers, &text()).await;
    let mut confirmed = async |control: &str| {
        let control = format!("cache-control: {control}\r\n");
        let answer = async |asked: Asked| asked.answer_nothing("304 Not Modified", &control).await;
        stage.ask("GET", "/a", "accept-encoding: gzip\r\n", answer).await
    };
    let compressed = async { while confirmed("no-cache").await.header("content-encoding") != "gzip" {} };
    soon(compressed).await;
    for _ in 0..2 {
        let got = confirmed("no-cache, no-transform").await;
        assert_eq!(
            (got.header("content-encoding"), got.body.as_str()),
            ("", text().as_str())
        );
    }
}

#[tokio::test]
async fn compress_knows_conditions_and_ranges() {
    let mut stage = Stage::new().await;
    stored(&mut stage, HTML, &text()).await;
    encoded(&stage, "gzip").await;
    let gzip = "accept-encoding: gzip\r\n";
    let got = stage
        .get_with("/a", &format!("{gzip}if-none-match: W/\"x\"\r\n"))
        .await;
    assert_eq!((got.status, got.header("etag")), (304, "W/\"x\""));
    assert_eq!(
        (got.header("vary"), got.header("content-encoding")),
        ("RSC, Accept-Encoding", "")
    );
    // Ranges are of the body as it is, for those who take that.
    let got = stage.get_with("/a", &format!("{gzip}range: bytes=0-3\r\n")).await;
    assert_eq!(
        (got.status, got.body.as_str(), got.header("etag")),
        (206, "<li>", "\"x\"")
    );
    assert_eq!(got.header("content-encoding"), "");
    let refusing = "accept-encoding: gzip, identity;q=0\r\nrange: bytes=0-3\r\n";
    let got = stage.get_with("/a", refusing).await;
    assert_eq!((got.status, got.header("content-encoding")), (200, "gzip"));
}

#[tokio::test]
async fn compress_a_new_page_anew() {
    let mut stage = Stage::new().await;
    stored(&mut stage, HTML, &text()).await;
    encoded(&stage, "gzip").await;
    let new = text().replace("page", "newer page");
    stage.purge_path(Strategy::Expire, "/a");
    let answer = async |asked: Asked| asked.answer("200 OK", HTML, &new).await;
    stage.ask("GET", "/a", "", answer).await;
    // Made ahead of those who want it, since some did before.
    let store = stage.site.fetcher.store().clone();
    let has = |coding| store.pages().any(|page| page.encoded(coding).is_some());
    support::until("the new page is compressed", async || has(Coding::Gzip)).await;
    assert!(!has(Coding::Brotli));
    let got = stage.get_with("/a", "accept-encoding: gzip\r\n").await;
    assert_eq!(decoded("gzip", &got.raw), new);
}

#[rstest]
#[case("content-type: image/png\r\n", 4000)]
#[case("content-type: text/html\r\ncache-control: no-transform\r\n", 4000)]
#[case("content-type: text/html\r\ncontent-encoding: aes128gcm\r\n", 4000)]
#[case::a_digest_would_be_wrong("content-type: text/html\r\nrepr-digest: sha-256=:AA==:\r\n", 4000)]
#[case("content-type: text/html\r\n", 1000)]
#[tokio::test]
async fn compress_leaves_alone(#[case] headers: &str, #[case] length: usize) {
    let mut stage = Stage::new().await;
    stored(&mut stage, headers, &"x".repeat(length)).await;
    for _ in 0..3 {
        let got = stage.get_with("/a", "accept-encoding: br, gzip\r\n").await;
        assert_eq!((got.outcome(), got.raw.len()), ("HIT", length));
        assert_eq!(got.header("vary"), "");
    }
    let page = stage.site.fetcher.store().pages().next().unwrap();
    assert!(!page.is_compressible());
}

#[tokio::test]
async fn compress_counts_against_the_budget() {
    let mut stage = Stage::new().await;
    stored(&mut stage, HTML, &text()).await;
    let store = stage.site.fetcher.store().clone();
    let weight = || store.pages().map(|page| page.weight()).sum::<u64>();
    let before = weight();
    let got = encoded(&stage, "gzip").await;
    let more = weight() - before;
    let expected = got.raw.len() as u64..got.raw.len() as u64 + 400;
    assert!(expected.contains(&more), "{more}");
    // The work itself gives its room back.
    support::until("only the page is accounted for", async || {
        store.bytes() == weight()
    })
    .await;
}
