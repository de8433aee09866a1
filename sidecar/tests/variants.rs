//! Variants of a page over real sockets: what `Vary` names, what Next.js's router sends, and whose answer is whose.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use coppice_cache::ledger::Strategy;
use support::{
    stage::{Asked, Stage, end},
    until,
};

const DE: &str = "accept-language: de\r\n";
const EN: &str = "accept-language: en\r\n";
const BY_LANGUAGE: &str = "vary: accept-language, accept-encoding\r\n";

async fn in_a_language(asked: Asked, body: &str) {
    asked.answer("200 OK", BY_LANGUAGE, body).await;
}

/// Has a page stored that varies by language, in German; the app is asked twice, since nobody knew.
async fn german(stage: &mut Stage, path: &str) {
    let visit = stage.begin("GET", path, DE);
    let first = stage.app.asked().await;
    assert!(
        !first.has("accept-language"),
        "nothing unkeyed is sent: {}",
        first.head
    );
    in_a_language(first, "default").await;
    let own = stage.app.asked().await;
    assert!(own.head.contains("accept-language: de\r\n"), "{}", own.head);
    in_a_language(own, "deutsch").await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "deutsch"));
    assert!(
        got.cache_status().contains("fwd=uri-miss"),
        "nothing was stored: {got:?}"
    );
    stage.settled().await;
}

#[tokio::test]
async fn variants_are_learned_and_kept_apart() {
    let mut stage = Stage::new().await;
    german(&mut stage, "/a").await;
    let got = stage.get_with("/a", DE).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("HIT", "deutsch"));
    // Now it is known: one request.
    let got = stage
        .ask("GET", "/a", EN, |asked| in_a_language(asked, "english"))
        .await;
    assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "english"));
    assert!(got.cache_status().contains("fwd=vary-miss"), "{got:?}");
    // By what the first answer was learned; it was nobody's.
    assert_eq!(stage.site.fetcher.store().len(), 2);
    let got = stage
        .ask("GET", "/a", "", |asked| in_a_language(asked, "default"))
        .await;
    assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "default"));
    for (headers, body) in [(DE, "deutsch"), (EN, "english"), ("", "default")] {
        let got = stage.get_with("/a", &format!("{headers}x-other: 1\r\n")).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("HIT", body));
    }
    assert!(stage.app.is_idle());
}

/// What Next.js's router sends chooses without any `Vary`.
#[tokio::test]
async fn variants_that_are_missing_are_told_from_pages_that_are() {
    let mut stage = Stage::new().await;
    let rsc = "rsc: 1\r\n";
    for (path, first, second) in [("/a", "", rsc), ("/b", rsc, "")] {
        for (headers, why) in [(first, "fwd=uri-miss"), (second, "fwd=vary-miss")] {
            let got = stage.ask("GET", path, headers, |asked| asked.page("one")).await;
            assert!(got.cache_status().contains(why), "{got:?}");
        }
    }
}

#[tokio::test]
async fn variants_of_a_herd_take_one_flight_each() {
    let mut stage = Stage::new().await;
    let herd: Vec<_> = [DE, DE, EN, EN, DE]
        .map(|headers| (headers, stage.begin("GET", "/a", headers)))
        .into();
    let first = stage.app.asked().await;
    until("all wait", async || stage.site.metrics.connections.get() == 5).await;
    in_a_language(first, "default").await;
    for _ in 0..2 {
        let asked = stage.app.asked().await;
        let language = if asked.head.contains("accept-language: de") {
            "deutsch"
        } else {
            "english"
        };
        in_a_language(asked, language).await;
    }
    for (headers, visit) in herd {
        let got = end(visit).await;
        assert_eq!(got.body, if headers == DE { "deutsch" } else { "english" });
    }
    assert!(stage.app.is_idle());
}

/// One who waits for the answer by which `Vary` is learned, and whose it is, has it stored.
#[tokio::test]
async fn variants_that_somebody_waits_for_are_stored_whoever_asked() {
    let mut stage = Stage::new().await;
    let german = stage.begin("GET", "/a", DE);
    let first = stage.app.asked().await;
    let default = stage.begin("GET", "/a", "");
    until("both wait", async || stage.site.metrics.connections.get() == 2).await;
    in_a_language(first, "default").await;
    in_a_language(stage.app.asked().await, "deutsch").await;
    assert_eq!(end(german).await.body, "deutsch");
    let got = end(default).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "default"));
    stage.settled().await;
    assert_eq!(stage.get("/a").await.outcome(), "HIT");
    assert_eq!(stage.site.fetcher.store().len(), 2);
}

/// Slow apps have impatient visitors: what they left before it said whose it is, is for the next one.
#[tokio::test]
async fn variants_that_a_visitor_left_are_stored() {
    let mut stage = Stage::new().await;
    let visit = stage.begin("GET", "/a", DE);
    let first = stage.app.asked().await;
    visit.abort();
    until("nobody waits", async || {
        stage
            .site
            .fetcher
            .flights(1)
            .1
            .iter()
            .all(|flight| flight.waiting == 0)
    })
    .await;
    in_a_language(first, "default").await;
    stage.settled().await;
    assert_eq!(stage.get("/a").await.outcome(), "HIT");
}

/// What was learned is known while the visitor's own variant is in the air yet, and where it turns out to be for one alone.
#[tokio::test]
async fn variants_are_known_before_one_is_stored() {
    let mut stage = Stage::new().await;
    let first = stage.begin("GET", "/a", DE);
    in_a_language(stage.app.asked().await, "default").await;
    let own = stage.app.asked().await;
    until("it has landed", async || stage.site.fetcher.in_the_air() == 1).await;
    let second = stage.begin("GET", "/a", DE);
    until("both wait", async || {
        stage
            .site
            .fetcher
            .flights(1)
            .1
            .iter()
            .all(|flight| flight.waiting == 2)
    })
    .await;
    own.answer(
        "200 OK",
        "vary: accept-language\r\nset-cookie: a=b\r\n",
        "nobody's",
    )
    .await;
    // Their own requests pass, and that of the next one too.
    let third = stage.begin("GET", "/a", DE);
    for _ in 0..3 {
        let asked = stage.app.asked().await;
        assert!(asked.has("accept-language"), "{}", asked.head);
        asked.page("own").await;
    }
    for visit in [first, second, third] {
        let got = end(visit).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "own"));
    }
    assert!(stage.app.is_idle());
    assert!(stage.site.fetcher.store().is_empty());
}

/// One variant that is for one visitor alone says nothing of the others.
#[tokio::test]
async fn variants_are_marked_each_for_itself() {
    let mut stage = Stage::new().await;
    let visit = stage.begin("GET", "/a", DE);
    in_a_language(stage.app.asked().await, "default").await;
    let private = "vary: accept-language\r\ncache-control: private\r\n";
    stage
        .app
        .asked()
        .await
        .answer("200 OK", private, "nobody's")
        .await;
    stage.app.asked().await.page("own").await;
    assert_eq!(end(visit).await.outcome(), "BYPASS");
    stage.settled().await;

    for headers in [EN, ""] {
        let herd = [(); 3].map(|()| stage.begin("GET", "/a", headers));
        let asked = stage.app.asked().await;
        until("all wait for one flight", async || {
            let (_, flights) = stage.site.fetcher.flights(2);
            matches!(&flights[..], [flight] if flight.waiting == 3)
        })
        .await;
        in_a_language(asked, "for all").await;
        let mut collapsed = 0;
        for visit in herd {
            let got = end(visit).await;
            assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "for all"));
            collapsed += usize::from(got.cache_status().contains("collapsed"));
        }
        assert_eq!(collapsed, 2);
        stage.settled().await;
        assert_eq!(stage.get_with("/a", headers).await.outcome(), "HIT");
    }
    let got = stage.ask("GET", "/a", DE, |asked| asked.page("own")).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "own"));
    assert!(stage.app.is_idle());
}

/// A page that is stored has been asked for by somebody, and is replaced even where that is learned from another's visit.
#[tokio::test]
async fn variants_learned_from_a_page_s_successor_leave_no_old_page() {
    let mut stage = Stage::new().await;
    stage.store("/a", "for all").await;
    stage.purge_path(Strategy::Expire, "/a");
    let visit = stage.begin("GET", "/a", DE);
    in_a_language(stage.app.asked().await, "default").await;
    in_a_language(stage.app.asked().await, "deutsch").await;
    assert_eq!(end(visit).await.body, "deutsch");
    stage.settled().await;
    for (headers, body) in [("", "default"), (DE, "deutsch")] {
        let got = stage.get_with("/a", headers).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("HIT", body));
    }
}

/// What a purge has overtaken teaches nothing, and is not stored.
#[tokio::test]
async fn invariant_3_variants_are_not_learned_from_before_a_purge() {
    let mut stage = Stage::new().await;
    let visit = stage.begin("GET", "/a", DE);
    let first = stage.app.asked().await;
    stage.purge_path(Strategy::Delete, "/a");
    in_a_language(first, "old").await;
    in_a_language(stage.app.asked().await, "deutsch").await;
    assert_eq!(end(visit).await.body, "deutsch");
    stage.settled().await;
    assert_eq!(stage.get_with("/a", DE).await.outcome(), "HIT");
    assert_eq!(stage.site.fetcher.store().len(), 1);
}

#[tokio::test]
async fn variants_are_purged_together_and_regenerate_as_they_were_asked() {
    let mut stage = Stage::new().await;
    german(&mut stage, "/a").await;
    stage
        .ask("GET", "/a", "", |asked| in_a_language(asked, "default"))
        .await;
    stage.purge_path(Strategy::Expire, "/a");
    for (headers, body) in [(DE, "neu"), ("", "new default")] {
        let visit = stage.begin("GET", "/a", headers);
        let asked = stage.app.asked().await;
        assert_eq!(asked.has("accept-language"), headers == DE);
        in_a_language(asked, body).await;
        let got = end(visit).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", body));
    }
}

#[tokio::test]
async fn variants_expire_together_when_their_url_is_written() {
    let mut stage = Stage::new().await;
    german(&mut stage, "/a").await;
    stage
        .ask("POST", "/a", "content-length: 0\r\n", |asked| {
            asked.page("written")
        })
        .await;
    let got = stage
        .ask("GET", "/a", DE, |asked| in_a_language(asked, "neu"))
        .await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "neu"));
}

/// Whoever writes has cookies of their own.
#[tokio::test]
async fn variants_by_cookies_of_the_rule_expire_together_when_their_url_is_written() {
    let mut stage = Stage::with(|rule| rule.key_cookies = vec!["locale".to_owned()]).await;
    let (de, fr) = ("cookie: locale=de\r\n", "cookie: locale=fr\r\n");
    for (path, cookie) in [("/a", de), ("/a", fr), ("/a", ""), ("/a?q=1", fr), ("/b", fr)] {
        stage.ask("GET", path, cookie, |asked| asked.page("old")).await;
        stage.settled().await;
    }
    let written = "cookie: locale=de\r\ncontent-length: 0\r\n";
    stage
        .ask("POST", "/c", written, |asked| {
            asked.answer("303 See Other", "location: /b\r\n", "")
        })
        .await;
    stage
        .ask("POST", "/a", written, |asked| asked.page("written"))
        .await;
    for (path, cookie) in [("/a", de), ("/a", fr), ("/a", ""), ("/b", fr)] {
        let got = stage.ask("GET", path, cookie, |asked| asked.page("new")).await;
        assert_eq!(
            (got.outcome(), got.body.as_str()),
            ("REVALIDATED", "new"),
            "{path} {cookie}"
        );
    }
    assert_eq!(stage.get_with("/a?q=1", fr).await.outcome(), "HIT");
}

#[tokio::test]
async fn variants_of_next_js_are_separate_without_vary() {
    let mut stage = Stage::new().await;
    stage.store("/a", "html").await;
    let rsc = "rsc: 1\r\nnext-router-state-tree: x\r\nx-middleware-prefetch: 1\r\n";
    let visit = stage.begin("GET", "/a", rsc);
    let asked = stage.app.asked().await;
    assert!(asked.has("rsc") && asked.has("next-router-state-tree") && !asked.has("x-middleware-prefetch"));
    asked
        .answer("200 OK", "content-type: text/x-component\r\n", "payload")
        .await;
    assert_eq!(end(visit).await.outcome(), "MISS");
    stage.settled().await;
    assert_eq!(stage.get_with("/a", rsc).await.body, "payload");
    assert_eq!(stage.get("/a").await.body, "html");
    let prefetch = "rsc: 1\r\nnext-router-prefetch: 1\r\n";
    let got = stage
        .ask("GET", "/a", prefetch, |asked| asked.page("prefetched"))
        .await;
    assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "prefetched"));
}

#[tokio::test]
async fn variants_of_a_url_are_bounded() {
    let mut stage = Stage::new().await;
    stage.store("/a", "html").await;
    for value in 0..40 {
        let headers = format!("rsc: {value}\r\n");
        stage
            .ask("GET", "/a", &headers, |asked| asked.page("payload"))
            .await;
    }
    assert_eq!(stage.site.fetcher.store().len(), 1 + 32);
    assert_eq!(stage.get_with("/a", "rsc: 39\r\n").await.outcome(), "HIT");
    assert_eq!(stage.get("/a").await.outcome(), "HIT", "the page itself stays");
}

#[tokio::test]
async fn variants_by_cookie_are_for_those_without() {
    let mut stage = Stage::with(|rule| rule.key_cookies = vec!["theme".to_owned()]).await;
    let vary = |body: &'static str| move |asked: Asked| asked.answer("200 OK", "vary: cookie\r\n", body);
    let got = stage
        .ask("GET", "/a", "cookie: theme=dark\r\n", vary("dark"))
        .await;
    assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "dark"));
    assert_eq!(
        stage.get_with("/a", "cookie: theme=dark\r\n").await.outcome(),
        "HIT"
    );
    let visit = stage.begin("GET", "/a", "cookie: theme=dark; session=mine\r\n");
    let asked = stage.app.asked().await;
    assert!(
        asked.head.contains("session=mine"),
        "its own request: {}",
        asked.head
    );
    asked.page("mine").await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "mine"));
    assert_eq!(got.cache_status(), "coppice; fwd=request; detail=vary-cookie");
}

/// One whose cookies the key does not hold learns that by one request, and leaves no page.
#[tokio::test]
async fn variants_by_cookie_are_learned_once() {
    let mut stage = Stage::new().await;
    let mine = "cookie: session=mine\r\n";
    for number in 0..2 {
        let visit = stage.begin("GET", "/a", mine);
        if number == 0 {
            let first = stage.app.asked().await;
            assert!(!first.has("cookie"), "{}", first.head);
            first.answer("200 OK", "vary: cookie\r\n", "default").await;
        }
        let asked = stage.app.asked().await;
        assert!(asked.has("cookie"), "{}", asked.head);
        asked.page("mine").await;
        let got = end(visit).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "mine"));
        stage.settled().await;
    }
    assert!(stage.site.fetcher.store().is_empty());
}

#[tokio::test]
async fn variants_by_the_rule_need_no_vary() {
    let mut stage = Stage::with(|rule| rule.key_headers = vec!["accept-language".to_owned()]).await;
    for (headers, body) in [(DE, "deutsch"), (EN, "english"), ("", "default")] {
        let got = stage.ask("GET", "/a", headers, |asked| asked.page(body)).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("MISS", body));
    }
    assert_eq!(stage.get_with("/a", DE).await.body, "deutsch");
    assert_eq!(stage.get("/a").await.body, "default");
}
