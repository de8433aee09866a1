//! Visits over real sockets: what is answered from the store, what its headers say, and what passes through.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use coppice_cache::{config::Interval, ledger::Strategy};
use rstest::rstest;
use support::stage::{LONG, SHORT, Stage, end};

#[tokio::test]
async fn visit_miss_hit_stale_and_the_new_page() {
    let mut stage = Stage::new().await;
    let miss = stage.ask("GET", "/a", "", |asked| asked.page("one")).await;
    assert_eq!(
        (miss.status, miss.outcome(), miss.body.as_str()),
        (200, "MISS", "one")
    );
    assert!(
        miss.cache_status().starts_with("coppice; fwd=uri-miss; ttl=3"),
        "{miss:?}"
    );
    assert!(miss.cache_status().ends_with("; stored"), "{miss:?}");
    assert_eq!(miss.header("cache-control"), "public, max-age=7");

    let hit = stage.get("/a").await;
    assert_eq!(
        (hit.status, hit.outcome(), hit.body.as_str()),
        (200, "HIT", "one")
    );
    assert!(hit.cache_status().starts_with("coppice; hit; ttl=3"), "{hit:?}");
    assert_eq!(hit.header("cache-control"), "public, max-age=7");
    assert_eq!(hit.header("content-type"), "text/html");
    assert!(hit.header("age").parse::<u64>().unwrap() < 20);

    // A changed interval applies to stored pages; the old one is served while the new one is fetched.
    stage.revalidate(SHORT);
    let old = stage.until("/a", |got| got.outcome() == "STALE").await;
    assert_eq!(old.body, "one");
    assert!(old.cache_status().starts_with("coppice; hit; ttl=-"), "{old:?}");
    assert_eq!(old.header("cache-control"), "max-age=0, must-revalidate");
    let asked = stage.app.asked().await;
    assert_eq!(stage.get("/a").await.outcome(), "STALE");
    stage.revalidate(LONG);
    asked.page("two").await;
    stage
        .until("/a", |got| got.outcome() == "HIT" && got.body == "two")
        .await;
    assert!(stage.app.is_idle());
}

#[tokio::test]
async fn visit_never_has_no_ttl() {
    let mut stage = Stage::with(|rule| rule.revalidate = Some(Interval::Never)).await;
    stage.store("/a", "one").await;
    assert_eq!(stage.get("/a").await.cache_status(), "coppice; hit");
    stage.purge_path(Strategy::Refresh, "/a");
    assert_eq!(stage.get("/a").await.cache_status(), "coppice; hit; ttl=-1");
}

#[tokio::test]
async fn visit_purges_do_what_their_strategy_says() {
    let mut stage = Stage::new().await;
    stage.store("/a", "one").await;

    stage.purge_path(Strategy::Refresh, "/a");
    let old = stage.get("/a").await;
    assert_eq!((old.outcome(), old.body.as_str()), ("STALE", "one"));
    assert!(old.cache_status().contains("ttl=-1"), "{old:?}");
    stage.app.asked().await.page("two").await;
    stage
        .until("/a", |got| got.outcome() == "HIT" && got.body == "two")
        .await;

    stage.purge(Strategy::Expire, |selector| selector.tags.push("site".to_owned()));
    let new = stage.ask("GET", "/a", "", |asked| asked.page("three")).await;
    assert_eq!((new.outcome(), new.body.as_str()), ("REVALIDATED", "three"));
    assert!(
        new.cache_status().starts_with("coppice; fwd=stale; ttl=3"),
        "{new:?}"
    );
    assert!(new.cache_status().ends_with("; stored"), "{new:?}");
    assert_eq!(stage.get("/a").await.outcome(), "HIT");

    stage.purge(Strategy::Delete, |selector| selector.everything = true);
    let new = stage.ask("GET", "/a", "", |asked| asked.page("four")).await;
    assert_eq!((new.outcome(), new.body.as_str()), ("MISS", "four"));
    assert_eq!(stage.get("/a").await.body, "four");
}

#[tokio::test]
async fn visit_head_is_answered_from_the_store() {
    let mut stage = Stage::new().await;
    let asked = |asked: support::stage::Asked| {
        assert!(asked.head.starts_with("get /a http/1.1"), "{}", asked.head);
        asked.page("three")
    };
    let visit = stage.begin("HEAD", "/a", "");
    asked(stage.app.asked().await).await;
    let miss = end(visit).await;
    assert_eq!(
        (miss.outcome(), miss.header("content-length"), miss.body.as_str()),
        ("MISS", "5", "")
    );
    let hit = stage.until("/a", |got| got.outcome() == "HIT").await;
    assert_eq!(hit.body, "three");
    let head = end(stage.begin("HEAD", "/a", "")).await;
    assert_eq!(
        (head.outcome(), head.header("content-length"), head.body.as_str()),
        ("HIT", "5", "")
    );
    assert_eq!(head.header("content-type"), hit.header("content-type"));
    assert!(stage.app.is_idle());
}

#[tokio::test]
async fn visit_sees_the_rules_word_on_freshness_and_no_tags() {
    let mut stage = Stage::new().await;
    let app = "cache-control: s-maxage=1\r\nexpires: 0\r\npragma: no-cache\r\ncdn-cache-control: max-age=1\r\n\
               surrogate-control: max-age=1\r\ncache-tag: a, b\r\nsurrogate-key: c d\r\nage: 9\r\nx-kept: yes\r\n\
               cache-status: inner; hit\r\n";
    for outcome in ["MISS", "HIT"] {
        let got = if outcome == "MISS" {
            stage
                .ask("GET", "/a", "", |asked| asked.answer("200 OK", app, "page"))
                .await
        } else {
            stage.get("/a").await
        };
        assert_eq!(got.outcome(), outcome);
        assert_eq!(got.header("cache-control"), "public, max-age=7");
        for gone in [
            "expires",
            "pragma",
            "cdn-cache-control",
            "surrogate-control",
            "cache-tag",
            "surrogate-key",
        ] {
            assert!(!got.headers.contains_key(gone), "{gone}: {got:?}");
        }
        assert_ne!(got.header("age"), "9");
        assert_eq!(got.header("x-kept"), "yes");
        assert!(got.cache_status().starts_with("inner; hit, coppice; "), "{got:?}");
    }
    stage.purge(Strategy::Expire, |selector| selector.tags.push("d".to_owned()));
    let new = stage.ask("GET", "/a", "", |asked| asked.page("new")).await;
    assert_eq!(new.outcome(), "REVALIDATED");
}

#[tokio::test]
async fn visit_keeps_tags_where_the_rule_says_so() {
    let mut stage = Stage::with(|rule| rule.keep_tags = true).await;
    let tags = "cache-tag: a, b\r\nsurrogate-key: c d\r\n";
    stage
        .ask("GET", "/a", "", |asked| asked.answer("200 OK", tags, "page"))
        .await;
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.header("cache-tag")), ("HIT", "a, b"));
    assert_eq!(got.header("surrogate-key"), "c d");
    // And no longer than that, also of what is stored.
    stage.rule(|_| ());
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.body.as_str()), ("HIT", "page"));
    assert_eq!((got.header("cache-tag"), got.header("surrogate-key")), ("", ""));
    stage.purge(Strategy::Expire, |selector| selector.tags.push("d".to_owned()));
    let new = stage.ask("GET", "/a", "", |asked| asked.page("new")).await;
    assert_eq!(new.outcome(), "REVALIDATED");
}

#[tokio::test]
async fn visit_names_the_key_only_for_developers() {
    let mut stage = Stage::bare(|settings| settings.names_key = true).await;
    stage.rule(|_| ());
    let got = stage
        .ask("GET", "/a?b=2&a=1&utm_source=x", "", |asked| asked.page("page"))
        .await;
    assert!(
        got.cache_status()
            .ends_with(r#"; stored; key="http://a.test/a?a=1&b=2""#),
        "{got:?}"
    );
    let mut stage = Stage::new().await;
    let got = stage.ask("GET", "/a", "", |asked| asked.page("page")).await;
    assert!(!got.cache_status().contains("key="), "{got:?}");
}

#[tokio::test]
async fn visit_shares_a_page_between_equal_keys() {
    let mut stage = Stage::new().await;
    stage.store("/a?x=1&y=2", "page").await;
    for path in ["/a?y=2&x=1", "/a?utm_source=mail&x=1&y=2", "/a?&x=1&&y=2"] {
        assert_eq!(stage.get(path).await.outcome(), "HIT", "{path}");
    }
    for (path, headers) in [
        ("/a?x=1&y=2&_rsc=1", ""),
        ("/A?x=1&y=2", ""),
        ("/a?x=1&y=2", "x-forwarded-proto: https\r\n"),
        ("/a?x=1&y=2", "x-forwarded-host: b.test\r\n"),
    ] {
        let got = stage.ask("GET", path, headers, |asked| asked.page("other")).await;
        assert_eq!(
            (got.outcome(), got.body.as_str()),
            ("MISS", "other"),
            "{path} {headers}"
        );
    }
}

#[rstest]
#[case("GET", "/a//b", "", "path-not-normal", "request")]
#[case("GET", "/a/%2e%2e/b", "", "path-not-normal", "request")]
#[case("GET", "/a;b", "", "path-not-normal", "request")]
#[case("GET", "/a%2Fb", "", "path-not-normal", "request")]
#[case("GET", "/a%FF", "", "path-not-normal", "request")]
#[case("GET", "/a", "cookie: __prerender_bypass=1\r\n", "bypass-cookie", "request")]
#[case("GET", "/a", "next-action: x\r\n", "bypass-header", "request")]
#[case("GET", "/a", "x-forwarded-proto: gopher\r\n", "scheme-unknown", "request")]
#[case("OPTIONS", "/a", "", "method", "method")]
#[tokio::test]
async fn visit_passes_and_says_why(
    #[case] method: &str,
    #[case] path: &str,
    #[case] headers: &str,
    #[case] detail: &str,
    #[case] fwd: &str,
) {
    let mut stage = Stage::new().await;
    for body in ["one", "two"] {
        let visit = stage.begin(method, path, headers);
        let asked = stage.app.asked().await;
        let line = format!("{method} {path} http/1.1").to_lowercase();
        assert!(asked.head.starts_with(&line), "{}", asked.head);
        asked.page(body).await;
        let got = end(visit).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", body));
        assert_eq!(got.cache_status(), format!("coppice; fwd={fwd}; detail={detail}"));
    }
    assert!(stage.site.fetcher.store().is_empty());
}

#[tokio::test]
async fn visit_of_two_hosts_is_refused() {
    let mut stage = Stage::new().await;
    let request = "GET http://b.test/a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    let got = end(stage.begin_raw(request.into())).await;
    assert_eq!(got.status, 400);
    assert!(got.body.contains("two hosts that differ"), "{got:?}");
    assert!(stage.app.is_idle());
}

/// A status that is no success is no word on the page that may serve in its place.
#[tokio::test]
async fn visit_after_a_purge_does_not_pass_by_what_a_failed_regeneration_left() {
    let mut stage = Stage::new().await;
    stage.store("/a", "one").await;
    stage.revalidate(SHORT);
    assert_eq!(stage.get("/a").await.outcome(), "STALE");
    stage
        .app
        .asked()
        .await
        .answer("429 Too Many Requests", "", "later")
        .await;
    stage.settled().await;
    stage.purge_path(Strategy::Expire, "/a");
    let visit = stage.begin("GET", "/a", "cookie: session=mine\r\n");
    let asked = stage.app.asked().await;
    assert!(!asked.has("cookie"), "{}", asked.head);
    asked.answer("429 Too Many Requests", "", "later").await;
    let got = end(visit).await;
    assert_eq!(
        (got.status, got.outcome(), got.body.as_str()),
        (200, "STALE", "one")
    );
}

#[tokio::test]
async fn visit_by_an_unsafe_method_expires_its_own_page() {
    let mut stage = Stage::new().await;
    stage.store("/a", "one").await;
    stage.store("/b", "other").await;
    let failed = stage
        .ask("POST", "/a", "content-length: 0\r\n", |asked| {
            asked.answer("422 No", "", "no")
        })
        .await;
    assert_eq!((failed.status, failed.outcome()), (422, "BYPASS"));
    assert_eq!(stage.get("/a").await.outcome(), "HIT");
    let done = stage
        .ask("POST", "/a", "content-length: 0\r\n", |asked| {
            assert!(asked.head.starts_with("post /a"));
            asked.answer("303 See Other", "location: /a\r\n", "")
        })
        .await;
    assert_eq!(
        (done.status, done.cache_status()),
        (303, "coppice; fwd=method; detail=method")
    );
    let new = stage.ask("GET", "/a", "", |asked| asked.page("two")).await;
    assert_eq!((new.outcome(), new.body.as_str()), ("REVALIDATED", "two"));
    assert_eq!(stage.get("/b").await.outcome(), "HIT");
}

#[tokio::test]
async fn visit_with_a_body_passes() {
    let mut stage = Stage::new().await;
    let got = stage
        .ask("GET", "/a", "content-length: 0\r\n", |asked| asked.page("page"))
        .await;
    assert_eq!(got.outcome(), "MISS");
    let visit = stage.begin_raw(
        b"GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
    );
    stage.app.asked().await.page("mine").await;
    let got = end(visit).await;
    assert_eq!(
        (got.cache_status(), got.body.as_str()),
        ("coppice; fwd=request; detail=body", "mine")
    );
}
