//! Where the app's own word decides: freshness, validation, staleness and authorization, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use coppice_cache::{config::Rule, ledger::Strategy};
use rstest::rstest;
use support::stage::{Asked, Stage, end};

async fn stage() -> Stage {
    stage_with(|_| ()).await
}

async fn stage_with(change: impl FnOnce(&mut Rule)) -> Stage {
    Stage::with(|rule| {
        rule.revalidate = None;
        change(rule);
    })
    .await
}

fn answer(headers: &'static str, body: &'static str) -> impl FnOnce(Asked) -> support::stage::Said {
    move |asked| Box::pin(asked.answer("200 OK", headers, body))
}

/// Fresh for a millisecond's worth: its age is its whole lifetime when it arrives.
const STALE_WITH_TAG: &str = "cache-control: max-age=60\r\nage: 60\r\netag: \"one\"\r\n";

#[tokio::test]
async fn freshness_of_the_app_makes_hits_and_its_word_stays() {
    let mut stage = stage().await;
    let headers = "cache-control: max-age=60\r\nexpires: 0\r\nage: 7\r\npragma: x\r\n";
    let got = stage.ask("GET", "/a", "", answer(headers, "one")).await;
    assert_eq!(got.outcome(), "MISS");
    // What the app said of its age counts, and the time that the answer took.
    let age: i64 = got.header("age").parse().unwrap();
    let ttl = got.cache_status().strip_prefix("coppice; fwd=uri-miss; ttl=");
    let ttl = ttl.and_then(|rest| rest.strip_suffix("; stored")).unwrap();
    let ttl: i64 = ttl.parse().unwrap();
    assert!(
        age >= 7 && ttl <= 53 && (59..=60).contains(&(age + ttl)),
        "{got:?}"
    );
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.body.as_str()), ("HIT", "one"));
    for (name, value) in [("cache-control", "max-age=60"), ("expires", "0"), ("pragma", "x")] {
        assert_eq!(got.header(name), value);
    }
    assert!(got.header("age").parse::<u64>().unwrap() >= 7);
    assert!(!got.header("date").is_empty());
}

#[rstest]
#[case("", "no-freshness")]
#[case("etag: \"a\"\r\n", "no-freshness")]
#[case("cache-control: no-cache\r\n", "no-freshness")]
#[case("cache-control: max-age=60\r\nage: old\r\n", "no-freshness")]
#[case("cache-control: max-age=60, private\r\n", "private")]
#[case("cache-control: max-age=60\r\ncdn-cache-control: no-store\r\n", "no-store")]
#[case("cdn-cache-control: max-age=60, private=\"x-user\"\r\n", "private")]
#[case("cdn-cache-control: max-age=60, private=(a b)\r\n", "private")]
#[case("cdn-cache-control: max-age=60, no-cache=x-user\r\n", "no-freshness")]
#[tokio::test]
async fn freshness_that_is_none_passes_through(#[case] headers: &'static str, #[case] reason: &str) {
    let mut stage = stage().await;
    let visit = stage.begin("GET", "/a", "cookie: session=mine\r\n");
    stage
        .app
        .asked()
        .await
        .answer("200 OK", headers, "for nobody")
        .await;
    let own = stage.app.asked().await;
    assert!(own.head.contains("session=mine"));
    own.answer("200 OK", headers, "mine").await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "mine"));
    assert_eq!(
        got.cache_status(),
        format!("coppice; fwd=bypass; detail={reason}")
    );
}

#[tokio::test]
async fn freshness_is_renewed_by_a_304_with_the_headers_that_it_brings() {
    let mut stage = stage().await;
    let headers = "cache-control: max-age=60\r\nage: 60\r\netag: \"one\"\r\nx-kept: 1\r\nx-new: 1\r\n";
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    let asked = stage.app.asked().await;
    assert!(asked.head.contains("if-none-match: \"one\""), "{}", asked.head);
    asked
        .answer_nothing(
            "304 Not Modified",
            "etag: \"one\"\r\nx-new: 2\r\ncache-control: max-age=90\r\n",
        )
        .await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "one"));
    stage.settled().await;
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.body.as_str()), ("HIT", "one"));
    assert_eq!((got.header("x-kept"), got.header("x-new")), ("1", "2"));
    assert_eq!(got.header("cache-control"), "max-age=90");
    assert!(stage.app.is_idle());
}

/// Answers with a 304 that names another page than the one that is asked about.
async fn confirm_another(asked: Asked, headers: &str) {
    assert!(asked.head.contains("if-none-match: \"one\""), "{}", asked.head);
    let headers = format!("etag: \"two\"\r\nx-new: 1\r\n{headers}");
    asked.answer_nothing("304 Not Modified", &headers).await;
}

/// RFC 9111 section 4.3.4: nothing stored is updated with it. The app has said all the same that the page has not changed.
#[tokio::test]
async fn freshness_is_not_renewed_by_a_304_about_another_page() {
    let mut stage = stage().await;
    stage.ask("GET", "/a", "", answer(STALE_WITH_TAG, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    confirm_another(stage.app.asked().await, "cache-control: max-age=90\r\n").await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "one"));
    assert_eq!((got.header("etag"), got.header("x-new")), ("\"one\"", ""));
    assert_eq!(got.header("cache-control"), "max-age=60");
    assert!(got.header("age").parse::<u64>().unwrap() >= 60, "{got:?}");
    assert_eq!(got.cache_status(), "coppice; fwd=stale");
    stage.settled().await;
    // It is as stale as it was, and the app is left alone for a while.
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.body.as_str()), ("STALE", "one"));
    assert_eq!((got.header("etag"), got.header("x-new")), ("\"one\"", ""));
    assert!(got.header("age").parse::<u64>().unwrap() >= 60, "{got:?}");
    assert!(stage.app.is_idle());
}

/// By `Vary` and tags a page is chosen and purged, so what a 304 says of them cannot be written into the page alone.
#[rstest]
#[case("vary: cookie\r\n")]
#[case("vary: *\r\n")]
#[case("vary: accept-language\r\n")]
#[case("cache-tag: other\r\n")]
#[case("surrogate-key: one other\r\n")]
#[tokio::test]
async fn freshness_by_a_304_that_makes_it_another_page_is_asked_for_again(#[case] says: &'static str) {
    let mut stage = stage().await;
    let headers = "cache-control: max-age=60\r\nage: 60\r\netag: \"one\"\r\ncache-tag: one\r\n";
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    let asked = stage.app.asked().await;
    assert!(asked.has("if-none-match"), "{}", asked.head);
    asked
        .answer_nothing(
            "304 Not Modified",
            &format!("etag: \"one\"\r\ncache-control: max-age=90\r\n{says}"),
        )
        .await;
    let asked = stage.app.asked().await;
    assert!(!asked.has("if-none-match"), "{}", asked.head);
    asked
        .answer(
            "200 OK",
            "etag: \"one\"\r\ncache-control: max-age=90\r\ncache-tag: other\r\n",
            "one",
        )
        .await;
    assert_eq!(end(visit).await.outcome(), "REVALIDATED");
    stage.settled().await;
    stage.purge(Strategy::Expire, |selector| {
        selector.tags.push("other".to_owned());
    });
    let got = stage
        .ask("GET", "/a", "", answer("cache-control: max-age=90\r\n", "two"))
        .await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "two"));
}

/// What it has said before it says again.
#[tokio::test]
async fn freshness_is_renewed_by_a_304_that_says_what_was_said() {
    let mut stage = stage().await;
    let headers = "cache-control: max-age=60\r\nage: 60\r\netag: \"one\"\r\nvary: accept-language\r\ncache-tag: a, b\r\n";
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    let headers = "etag: \"one\"\r\nvary: Accept-Language, accept-encoding\r\ncache-tag: b, a\r\ncache-control: max-age=90\r\n";
    stage
        .app
        .asked()
        .await
        .answer_nothing("304 Not Modified", headers)
        .await;
    assert_eq!(end(visit).await.outcome(), "REVALIDATED");
    stage.settled().await;
    assert_eq!(stage.get("/a").await.outcome(), "HIT");
    assert!(stage.app.is_idle());
}

/// Caches that the app addresses by a field of their own go by that, and would keep what is purged here.
#[tokio::test]
async fn freshness_of_what_is_stale_is_nobodys() {
    let mut stage = stage().await;
    let headers =
        "cache-control: max-age=60\r\ncdn-cache-control: max-age=600\r\nsurrogate-control: max-age=600\r\n";
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    assert_eq!(stage.get("/a").await.header("cdn-cache-control"), "max-age=600");
    stage.purge_path(Strategy::Refresh, "/a");
    let got = stage.get("/a").await;
    assert_eq!(
        (got.outcome(), got.header("cache-control")),
        ("STALE", "max-age=0, must-revalidate")
    );
    for name in ["cdn-cache-control", "surrogate-control"] {
        assert_eq!(got.header(name), "", "{name}");
    }
    stage.app.asked().await.answer("200 OK", headers, "two").await;
}

/// Not for ever with the validators that bring nothing: the next one is asked for without, until there is a new page.
#[tokio::test]
async fn freshness_after_a_304_about_another_page_is_asked_for_without_conditions() {
    const NO_STALE: &str = "cache-control: max-age=60, must-revalidate\r\nage: 60\r\netag: \"one\"\r\n";
    let mut stage = stage().await;
    stage.ask("GET", "/a", "", answer(NO_STALE, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    confirm_another(stage.app.asked().await, "").await;
    assert_eq!(end(visit).await.body, "one");
    for (status, body) in [("503 Service Unavailable", "down"), ("200 OK", "new")] {
        stage.settled().await;
        let visit = stage.begin("GET", "/a", "");
        let asked = stage.app.asked().await;
        assert!(!asked.has("if-none-match"), "{}", asked.head);
        asked.answer(status, NO_STALE, body).await;
        assert_eq!(end(visit).await.body, body);
    }
    stage.settled().await;
    let visit = stage.begin("GET", "/a", "");
    confirm_another(stage.app.asked().await, "").await;
    assert_eq!(end(visit).await.body, "new");
}

/// Whose it is may have changed, and that is heard.
#[tokio::test]
async fn freshness_of_a_304_that_forbids_to_store_is_asked_for_again() {
    let mut stage = stage().await;
    stage.ask("GET", "/a", "", answer(STALE_WITH_TAG, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    confirm_another(stage.app.asked().await, "cache-control: private\r\n").await;
    let again = stage.app.asked().await;
    assert!(!again.has("if-none-match"), "{}", again.head);
    again
        .answer("200 OK", "cache-control: max-age=60\r\n", "two")
        .await;
    assert_eq!(end(visit).await.body, "two");
}

#[tokio::test]
async fn freshness_after_a_purge_is_asked_for_without_conditions() {
    let mut stage = stage().await;
    let headers = "cache-control: max-age=60\r\netag: \"one\"\r\n";
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    stage.purge_path(Strategy::Expire, "/a");
    let visit = stage.begin("GET", "/a", "");
    let asked = stage.app.asked().await;
    assert!(!asked.has("if-none-match"), "{}", asked.head);
    asked.answer("200 OK", headers, "two").await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "two"));
}

/// A page that is confirmed is as old as it was, whichever page the app names: a purge that comes while the app is asked
/// still finds it.
#[rstest]
#[case("one")]
#[case("two")]
#[tokio::test]
async fn invariant_3_a_304_never_makes_a_page_newer_than_a_purge(#[case] tag: &str) {
    let mut stage = stage().await;
    stage.ask("GET", "/a", "", answer(STALE_WITH_TAG, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    let asked = stage.app.asked().await;
    assert!(asked.has("if-none-match"));
    stage.purge_path(Strategy::Delete, "/a");
    let headers = format!("etag: \"{tag}\"\r\ncache-control: max-age=90\r\n");
    asked.answer_nothing("304 Not Modified", &headers).await;
    assert_eq!(end(visit).await.body, "one", "it was asked for before the purge");
    stage.settled().await;
    let got = stage.ask("GET", "/a", "", answer(STALE_WITH_TAG, "two")).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "two"));
}

/// What a purge has made of it, a word on another page does not undo.
#[tokio::test]
async fn invariant_3_a_304_about_another_page_holds_no_purge_off() {
    let mut stage = stage().await;
    stage.ask("GET", "/a", "", answer(STALE_WITH_TAG, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    confirm_another(stage.app.asked().await, "").await;
    assert_eq!(end(visit).await.body, "one");
    stage.settled().await;
    stage.purge_path(Strategy::Expire, "/a");
    let visit = stage.begin("GET", "/a", "");
    let asked = stage.app.asked().await;
    assert!(!asked.has("if-none-match"), "{}", asked.head);
    asked.answer("200 OK", STALE_WITH_TAG, "two").await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "two"));
}

#[tokio::test]
async fn freshness_may_be_stale_while_it_is_renewed() {
    let mut stage = stage().await;
    let headers = "cache-control: max-age=60, stale-while-revalidate=60\r\nage: 61\r\n";
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.body.as_str()), ("STALE", "one"));
    assert_eq!(got.header("cache-control"), "max-age=0, must-revalidate");
    stage
        .app
        .asked()
        .await
        .answer("200 OK", "cache-control: max-age=60\r\n", "two")
        .await;
    let got = stage.until("/a", |got| got.outcome() == "HIT").await;
    assert_eq!(got.body, "two");
}

#[rstest]
#[case("cache-control: max-age=60\r\nage: 60\r\netag: \"one\"\r\n", "one")]
#[case(
    "cache-control: max-age=60, stale-if-error=60\r\nage: 61\r\netag: \"one\"\r\n",
    "one"
)]
#[case(
    "cache-control: max-age=60, stale-if-error=0\r\nage: 61\r\netag: \"one\"\r\n",
    "down"
)]
#[case(
    "cache-control: max-age=60, must-revalidate\r\nage: 60\r\netag: \"one\"\r\n",
    "down"
)]
#[case("cache-control: s-maxage=60\r\nage: 60\r\netag: \"one\"\r\n", "down")]
#[case("cache-control: no-cache\r\netag: \"one\"\r\n", "down")]
#[tokio::test]
async fn freshness_where_the_app_fails(#[case] headers: &'static str, #[case] expected: &str) {
    let mut stage = stage().await;
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    let visit = stage.begin("GET", "/a", "");
    stage
        .app
        .asked()
        .await
        .answer("503 Service Unavailable", "", "down")
        .await;
    let got = end(visit).await;
    assert_eq!(got.body, expected);
    assert_eq!(got.outcome(), if expected == "one" { "STALE" } else { "MISS" });
}

/// Where stale is forbidden, `Refresh` acts as `Expire`.
#[rstest]
#[case("cache-control: max-age=60\r\n", "STALE")]
#[case("cache-control: max-age=60, must-revalidate\r\n", "REVALIDATED")]
#[tokio::test]
async fn freshness_under_a_refresh(#[case] headers: &'static str, #[case] outcome: &str) {
    let mut stage = stage().await;
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    stage.purge_path(Strategy::Refresh, "/a");
    let visit = stage.begin("GET", "/a", "");
    stage.app.asked().await.answer("200 OK", headers, "two").await;
    assert_eq!(end(visit).await.outcome(), outcome);
}

#[tokio::test]
async fn freshness_of_a_failure_takes_no_success_s_place() {
    let mut stage = stage().await;
    let fresh = "cache-control: max-age=60\r\n";
    let got = stage
        .ask("GET", "/down", "", |asked| {
            asked.answer("503 Service Unavailable", fresh, "down")
        })
        .await;
    assert_eq!((got.status, got.outcome()), (503, "MISS"));
    assert_eq!(
        stage.get("/down").await.outcome(),
        "HIT",
        "it may be stored where there is nothing better"
    );
    stage
        .ask(
            "GET",
            "/a",
            "",
            answer("cache-control: max-age=60\r\nage: 60\r\netag: \"a\"\r\n", "one"),
        )
        .await;
    let got = stage
        .ask("GET", "/a", "", |asked| {
            asked.answer("503 Service Unavailable", fresh, "down")
        })
        .await;
    assert_eq!((got.outcome(), got.body.as_str()), ("STALE", "one"));
}

#[tokio::test]
async fn freshness_by_guess_only_where_the_rule_says_so() {
    let headers = "last-modified: Tue, 24 Nov 2015 11:00:00 GMT\r\n";
    let mut stage = stage_with(|rule| rule.heuristic = true).await;
    stage.ask("GET", "/a", "", answer(headers, "one")).await;
    assert_eq!(stage.get("/a").await.outcome(), "HIT");
}

#[tokio::test]
async fn freshness_for_the_authorized_needs_the_apps_word() {
    let mut stage = stage_with(|rule| rule.overrides.authorization = true).await;
    let authorized = "authorization: Bearer x\r\n";
    for (path, headers, outcome) in [
        ("/a", "cache-control: max-age=60\r\n", "BYPASS"),
        ("/b", "cache-control: max-age=60, public\r\n", "HIT"),
    ] {
        // Nobody's token makes a page.
        let got = stage.ask("GET", path, authorized, answer(headers, "own")).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "own"));
        stage.ask("GET", path, "", answer(headers, "shared")).await;
        let visit = stage.begin("GET", path, authorized);
        if outcome == "BYPASS" {
            let asked = stage.app.asked().await;
            assert!(asked.has("authorization"));
            asked.page("own").await;
        }
        assert_eq!(end(visit).await.outcome(), outcome);
    }
}

#[rstest]
#[case("location: /b\r\n")]
#[case("content-location: b\r\n")]
#[tokio::test]
async fn freshness_ends_where_a_write_says_what_it_changed(#[case] named: &'static str) {
    let mut stage = stage().await;
    let fresh = "cache-control: max-age=60\r\n";
    stage.ask("GET", "/b", "", answer(fresh, "old")).await;
    stage
        .ask("POST", "/a", "content-length: 0\r\n", |asked| {
            asked.answer("201 Created", named, "")
        })
        .await;
    let got = stage.ask("GET", "/b", "", answer(fresh, "new")).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "new"));
}
