//! The promises of the cache, each with a test that fails when it is broken; over real sockets, with an app that does
//! what the test says at the moment that the test says.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::{collections::HashSet, sync::Arc, time::Duration};

use coppice_cache::{
    config::{Interval, Overrides},
    ledger::Strategy,
    routes::Routes,
};
use rstest::rstest;
use support::{
    nobody, run, settings,
    stage::{Asked, LONG, SHORT, Stage, config, config_within, end, rule},
    until,
};

const VISITORS: i64 = 24;

#[tokio::test]
async fn invariant_1_one_flight_for_all_who_wait() {
    let mut stage = Stage::new().await;
    let visits: Vec<_> = (0..VISITORS).map(|_| stage.begin("GET", "/a", "")).collect();
    let asked = stage.app.asked().await;
    until("all visitors are connected", async || {
        stage.site.metrics.connections.get() == VISITORS
    })
    .await;
    asked.page("one").await;
    let mut alone = 0;
    for visit in visits {
        let got = end(visit).await;
        assert_eq!((got.status, got.body.as_str(), got.whole), (200, "one", true));
        assert!(matches!(got.outcome(), "MISS" | "HIT"), "{got:?}");
        alone += usize::from(got.outcome() == "MISS" && !got.cache_status().contains("collapsed"));
    }
    assert_eq!(alone, 1);
    assert!(stage.app.is_idle());
}

/// Who waits for the app that fails shares its failure: asking it once more for each would bury it.
#[rstest]
#[case::silent(504, "it took the request and did not begin to answer in time")]
#[case::closing(502, "it closed the connection without an answer")]
#[tokio::test]
async fn invariant_1_one_failure_for_all_who_wait(#[case] status: u16, #[case] words: &str) {
    let mut stage = Stage::new().await;
    let routes = Routes::compile(&config_within(rule(), Duration::from_secs(2))).unwrap();
    stage.site.routes.store(Arc::new(routes));
    let visits: Vec<_> = (0..8).map(|_| stage.begin("GET", "/a", "")).collect();
    let asked = stage.app.asked().await;
    until("all wait for one flight", async || {
        let (_, flights) = stage.site.fetcher.flights(2);
        matches!(&flights[..], [flight] if flight.waiting == 8)
    })
    .await;
    // Who is silent stays connected.
    let asked = (status == 504).then_some(asked);
    let mut collapsed = 0;
    for visit in visits {
        let got = end(visit).await;
        let said = format!("The app did not answer: {words}.\n");
        assert_eq!((got.status, &got.body, got.outcome()), (status, &said, "MISS"));
        collapsed += usize::from(got.cache_status().contains("collapsed"));
    }
    assert_eq!(collapsed, 7);
    assert!(stage.app.is_idle());
    drop(asked);
}

#[tokio::test]
async fn invariant_1_one_regeneration_behind_a_stale_page() {
    let mut stage = Stage::new().await;
    stage.store("/a", "one").await;
    stage.revalidate(SHORT);
    stage.until("/a", |got| got.outcome() == "STALE").await;
    let asked = stage.app.asked().await;
    for _ in 0..VISITORS {
        let got = stage.get("/a").await;
        assert_eq!((got.outcome(), got.body.as_str()), ("STALE", "one"));
    }
    assert!(stage.app.is_idle());
    stage.revalidate(LONG);
    asked.page("two").await;
    stage.until("/a", |got| got.body == "two").await;
    assert!(stage.app.is_idle());
}

#[tokio::test]
async fn invariant_1_a_flight_belongs_to_no_visitor() {
    let mut stage = Stage::new().await;
    let leaver = stage.begin("GET", "/a", "");
    let asked = stage.app.asked().await;
    let stayer = stage.begin("GET", "/a", "");
    until("both are connected", async || {
        stage.site.metrics.connections.get() == 2
    })
    .await;
    leaver.abort();
    until("it has left", async || stage.site.metrics.connections.get() == 1).await;
    asked.page("one").await;
    assert_eq!(end(stayer).await.body, "one");
    stage.settled().await;
    assert_eq!(stage.get("/a").await.outcome(), "HIT");
    assert!(stage.app.is_idle());
}

#[tokio::test]
async fn invariant_1_waiting_visitors_are_streamed_to() {
    let mut stage = Stage::new().await;
    let mut visitor = stage.sidecar.connect().await;
    visitor.say("GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let mut asked = stage.app.asked().await;
    asked
        .say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\none")
        .await;
    // The second half is sent only after the visitor has the first.
    visitor.until("one").await;
    asked.say("two").await;
    visitor.until("two").await;
    let got = stage.until("/a", |got| got.outcome() == "HIT").await;
    assert_eq!(got.body, "onetwo");
}

/// What an app may do instead of giving a page.
#[derive(Debug, Clone, Copy)]
enum BadDay {
    Says500,
    Closes,
    BreaksOff,
    BreaksOffChunked,
    /// As Next.js: the head had left when a server component failed.
    SaysSoInTheBody,
}

impl BadDay {
    async fn happen(self, mut asked: Asked) {
        match self {
            Self::Says500 => asked.answer("500 Oh", "", "sorry").await,
            Self::Closes => drop(asked),
            Self::BreaksOff => {
                asked
                    .say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                    .await;
            }
            Self::BreaksOffChunked => {
                asked
                    .say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
                    .await;
            }
            Self::SaysSoInTheBody => {
                let row = "9:E{\"digest\":\"1245851783\"}\n";
                asked
                    .answer("200 OK", "content-type: text/x-component\r\n", row)
                    .await;
            }
        }
    }
}

#[rstest]
#[case(BadDay::Says500)]
#[case(BadDay::Closes)]
#[case(BadDay::BreaksOff)]
#[case(BadDay::BreaksOffChunked)]
#[case(BadDay::SaysSoInTheBody)]
#[tokio::test]
async fn invariant_2_a_failure_keeps_the_old_page_and_is_not_retried_at_once(#[case] day: BadDay) {
    let mut stage = Stage::new().await;
    stage.store("/a", "one").await;
    stage.revalidate(SHORT);
    stage.until("/a", |got| got.outcome() == "STALE").await;
    day.happen(stage.app.asked().await).await;
    until("the failure is noted", async || {
        stage.site.fetcher.in_the_air() == 0
    })
    .await;
    for _ in 0..5 {
        let got = stage.get("/a").await;
        assert_eq!(
            (got.status, got.outcome(), got.body.as_str()),
            (200, "STALE", "one")
        );
    }
    assert!(stage.app.is_idle());
    // A purge is tried at once, and Expire falls back on the old page.
    stage.purge_path(Strategy::Expire, "/a");
    let old = stage.ask("GET", "/a", "", |asked| day.happen(asked)).await;
    assert_eq!(
        (old.status, old.outcome(), old.body.as_str()),
        (200, "STALE", "one")
    );
    assert!(old.cache_status().ends_with("; detail=app-failed"), "{old:?}");
    let rested = stage.get("/a").await;
    assert_eq!((rested.outcome(), rested.body.as_str()), ("STALE", "one"));
    assert!(stage.app.is_idle());
    // A success replaces it.
    stage.revalidate(LONG);
    stage.purge_path(Strategy::Expire, "/a");
    let new = stage.ask("GET", "/a", "", |asked| asked.page("two")).await;
    assert_eq!((new.outcome(), new.body.as_str()), ("REVALIDATED", "two"));
}

#[tokio::test]
async fn invariant_2_after_delete_the_app_s_error_is_the_answer() {
    let mut stage = Stage::new().await;
    stage.store("/a", "one").await;
    stage.purge_path(Strategy::Delete, "/a");
    let error = stage
        .ask("GET", "/a", "", |asked| asked.answer("500 Oh", "", "sorry"))
        .await;
    assert_eq!(
        (error.status, error.outcome(), error.body.as_str()),
        (500, "MISS", "sorry")
    );
    assert!(!error.cache_status().contains("stored"), "{error:?}");
}

#[tokio::test]
async fn invariant_2_past_expire_the_app_s_error_is_the_answer() {
    let mut stage = Stage::new().await;
    stage.store("/a", "one").await;
    stage.rule(|rule| {
        rule.revalidate = Some(Interval::After(SHORT));
        rule.expire = SHORT;
    });
    until("it is past expire", async || {
        let now = stage.site.clock.now();
        let pages: Vec<_> = stage.site.fetcher.store().pages().collect();
        pages.iter().all(|page| now.since(page.stored()) > SHORT)
    })
    .await;
    let error = stage
        .ask("GET", "/a", "", |asked| asked.answer("500 Oh", "", "sorry"))
        .await;
    assert_eq!(
        (error.status, error.outcome(), error.body.as_str()),
        (500, "MISS", "sorry")
    );
    assert_eq!(error.cache_status(), "coppice; fwd=stale");
    let new = stage.ask("GET", "/a", "", |asked| asked.page("two")).await;
    assert_eq!(
        (new.status, new.outcome(), new.body.as_str()),
        (200, "REVALIDATED", "two")
    );
}

#[tokio::test]
async fn invariant_2_waiters_share_a_failure() {
    let mut stage = Stage::new().await;
    let visits: Vec<_> = (0..8).map(|_| stage.begin("GET", "/a", "")).collect();
    let asked = stage.app.asked().await;
    until("they all wait", async || {
        stage.site.metrics.connections.get() == 8
    })
    .await;
    let second = stage.begin("GET", "/b", "");
    // Who visits another page after them has been read after them.
    stage.app.asked().await.page("b").await;
    end(second).await;
    asked.answer("503 Busy", "retry-after: 1\r\n", "busy").await;
    for visit in visits {
        let got = end(visit).await;
        assert_eq!(
            (got.status, got.outcome(), got.body.as_str()),
            (503, "MISS", "busy")
        );
    }
}

#[tokio::test]
async fn invariant_2_a_body_that_breaks_off_never_ends_as_if_it_were_whole() {
    for framing in [
        "content-length: 100\r\n\r\nhalf",
        "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut stage = Stage::new().await;
        let mut visitor = stage.sidecar.connect().await;
        visitor.say("GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        let mut asked = stage.app.asked().await;
        asked.say(&format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        visitor.until("half").await;
        drop(asked);
        let rest = visitor.rest().await;
        assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
        assert!(stage.site.fetcher.store().is_empty());
    }
}

#[tokio::test]
async fn invariant_2_an_app_that_hangs_is_a_504_and_a_page_in_its_store_serves() {
    let mut stage = Stage::new().await;
    stage.store("/old", "one").await;
    let routes = Routes::compile(&config_within(rule(), Duration::from_millis(50))).unwrap();
    stage.site.routes.store(Arc::new(routes));
    let visit = stage.begin("GET", "/new", "");
    let _hangs = stage.app.asked().await;
    let got = end(visit).await;
    assert_eq!((got.status, got.outcome()), (504, "MISS"));
    assert!(got.body.contains("The app did not answer"), "{got:?}");
    assert_eq!(got.cache_status(), "coppice; fwd=uri-miss; detail=timeout");

    stage.purge_path(Strategy::Expire, "/old");
    let visit = stage.begin("GET", "/old", "");
    let _hangs = stage.app.asked().await;
    let got = end(visit).await;
    assert_eq!(
        (got.status, got.outcome(), got.body.as_str()),
        (200, "STALE", "one")
    );
}

#[tokio::test]
async fn invariant_2_an_app_that_is_not_up_is_a_502_that_says_so() {
    let sidecar = coppice_sidecar::Sidecar::bind(settings(nobody().await)).unwrap();
    sidecar
        .site()
        .routes
        .store(Arc::new(Routes::compile(&config(rule())).unwrap()));
    let sidecar = run(sidecar);
    let got = support::get(sidecar.address, "/a").await;
    assert!(got.starts_with("HTTP/1.1 502 "), "{got}");
    assert!(got.contains("it refused the connection"), "{got}");
}

#[rstest]
#[case(Strategy::Refresh)]
#[case(Strategy::Expire)]
#[case(Strategy::Delete)]
#[tokio::test]
async fn invariant_3_a_purge_overtakes_a_flight(#[case] strategy: Strategy) {
    let mut stage = Stage::new().await;
    let before = stage.begin("GET", "/a", "");
    let first = stage.app.asked().await;
    stage.purge_path(strategy, "/a");
    // Who comes after the purge flies anew, although the first flight is still in the air.
    let after = stage.begin("GET", "/a", "");
    let second = stage.app.asked().await;
    second.page("new").await;
    assert_eq!(end(after).await.body, "new");
    first.page("old").await;
    let got = end(before).await;
    assert_eq!(got.body, "old");
    stage.settled().await;
    for _ in 0..3 {
        let got = stage.get("/a").await;
        assert_eq!((got.outcome(), got.body.as_str()), ("HIT", "new"));
    }
    assert!(stage.app.is_idle());
}

#[tokio::test]
async fn invariant_3_an_overtaken_answer_is_never_stored_as_valid() {
    let mut stage = Stage::new().await;
    let before = stage.begin("GET", "/a", "");
    let first = stage.app.asked().await;
    // The flight does not know its tags yet: any tag counts.
    stage.purge(Strategy::Refresh, |selector| {
        selector.tags.push("whatever".to_owned());
    });
    first.answer("200 OK", "cache-tag: whatever\r\n", "old").await;
    let got = end(before).await;
    assert_eq!(got.body, "old");
    stage.settled().await;
    let got = stage.ask("GET", "/a", "", |asked| asked.page("new")).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "new"));
    assert_eq!(stage.get("/a").await.body, "new");
}

#[tokio::test]
async fn invariant_3_a_regeneration_that_a_purge_overtakes_leaves_the_page_stale() {
    let mut stage = Stage::new().await;
    stage.store("/a", "one").await;
    stage.purge_path(Strategy::Refresh, "/a");
    assert_eq!(stage.get("/a").await.outcome(), "STALE");
    let regeneration = stage.app.asked().await;
    stage.purge_path(Strategy::Expire, "/a");
    let after = stage.begin("GET", "/a", "");
    let second = stage.app.asked().await;
    regeneration.page("outdated").await;
    until("it has landed", async || stage.site.fetcher.waiting() == 0).await;
    second.page("new").await;
    let got = end(after).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("REVALIDATED", "new"));
    stage.settled().await;
    let got = stage.get("/a").await;
    assert_eq!((got.outcome(), got.body.as_str()), ("HIT", "new"));
}

#[rstest]
#[case("set-cookie: session=1\r\n", "set-cookie")]
#[case("cache-control: private\r\n", "private")]
#[case("cache-control: max-age=60, no-store\r\n", "no-store")]
#[case("vary: *\r\n", "vary")]
#[case("content-type: text/event-stream\r\n", "event-stream")]
#[tokio::test]
async fn invariant_5_what_is_private_is_not_stored(#[case] headers: &str, #[case] word: &str) {
    let mut stage = Stage::new().await;
    let visit = stage.begin("GET", "/a", "cookie: session=mine\r\n");
    let shared = stage.app.asked().await;
    assert!(!shared.has("cookie"), "{}", shared.head);
    shared.answer("200 OK", headers, "for nobody").await;
    // Thrown away; the visitor's own request passes through, and so do the next ones, without asking first.
    let own = stage.app.asked().await;
    assert!(own.head.contains("cookie: session=mine"), "{}", own.head);
    own.answer("200 OK", headers, "mine").await;
    let got = end(visit).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "mine"));
    assert_eq!(got.cache_status(), format!("coppice; fwd=bypass; detail={word}"));

    let other = stage.begin("GET", "/a", "cookie: session=yours\r\n");
    let own = stage.app.asked().await;
    assert!(own.head.contains("cookie: session=yours"), "{}", own.head);
    own.answer("200 OK", headers, "yours").await;
    let got = end(other).await;
    assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "yours"));
    assert!(stage.site.fetcher.store().is_empty());
}

#[tokio::test]
async fn invariant_5_an_authenticated_request_passes() {
    let mut stage = Stage::new().await;
    stage.store("/a", "public").await;
    let got = stage
        .ask("GET", "/a", "authorization: Bearer x\r\n", |asked| {
            assert!(asked.head.contains("authorization: bearer x"), "{}", asked.head);
            asked.page("mine")
        })
        .await;
    assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", "mine"));
    assert_eq!(got.cache_status(), "coppice; fwd=request; detail=authorization");
    assert_eq!(stage.get("/a").await.body, "public");
}

#[tokio::test]
async fn invariant_5_overridden_set_cookie_and_authorization_are_shared_with_nobody() {
    let all = Overrides {
        no_store: true,
        private: true,
        set_cookie: true,
        authorization: true,
    };
    let mut stage = Stage::with(|rule| rule.overrides = all).await;
    let headers = "set-cookie: session=1\r\ncache-control: private, no-store\r\n";
    let got = stage
        .ask("GET", "/a", "authorization: Bearer x\r\n", |asked| {
            assert!(!asked.has("authorization"), "{}", asked.head);
            asked.answer("200 OK", headers, "page")
        })
        .await;
    assert_eq!(got.outcome(), "MISS");
    let hit = stage.get("/a").await;
    assert_eq!((hit.outcome(), hit.body.as_str()), ("HIT", "page"));
    for got in [got, hit] {
        assert!(!got.headers.contains_key("set-cookie"), "{got:?}");
    }
}

#[tokio::test]
async fn invariant_5_a_shared_fetch_has_nothing_of_a_visitor() {
    let mut stage = Stage::new().await;
    let visitor = "cookie: session=1\r\nuser-agent: a browser\r\naccept-language: de\r\naccept-encoding: br\r\n\
                   x-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.1\r\nreferer: http://x/\r\nrange: bytes=0-1\r\n\
                   if-none-match: \"x\"\r\nx-middleware-prefetch: 1\r\nx-middleware-subrequest: x\r\nx-custom: 1\r\n\
                   x-forwarded-proto: https\r\nx-forwarded-host: shop.test\r\n";
    let visit = stage.begin("GET", "/a?utm_source=x&b=1", visitor);
    let asked = stage.app.asked().await;
    let mut lines = asked.head.trim_end().split("\r\n");
    assert_eq!(lines.next(), Some("get /a?b=1 http/1.1"));
    let names: HashSet<&str> = lines.filter_map(|line| line.split(':').next()).collect();
    let expected = [
        "accept",
        "accept-encoding",
        "host",
        "user-agent",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    assert_eq!(names, HashSet::from(expected));
    assert!(asked.head.contains("user-agent: coppice/"), "{}", asked.head);
    assert!(asked.head.contains("accept-encoding: identity"), "{}", asked.head);
    assert!(
        asked.head.contains("x-forwarded-host: shop.test"),
        "{}",
        asked.head
    );
    assert!(asked.head.contains("x-forwarded-proto: https"), "{}", asked.head);
    asked.page("page").await;
    end(visit).await;
}

#[tokio::test]
async fn invariant_7_without_a_configuration_everything_passes() {
    let mut stage = Stage::bare(|_| ()).await;
    for body in ["one", "two"] {
        let got = stage.ask("GET", "/a", "", |asked| asked.page(body)).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("BYPASS", body));
        assert_eq!(got.cache_status(), "coppice; fwd=bypass; detail=no-route");
    }
}

#[tokio::test]
async fn invariant_7_odd_bytes_reach_the_app_and_do_not_trouble_the_cache() {
    let mut stage = Stage::new().await;
    let odd = |name: &str| {
        let mut request =
            format!("GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{name}: ").into_bytes();
        request.extend_from_slice(b"\xFF\xFE\r\n\r\n");
        request
    };
    let visit = stage.begin_raw(odd("x-forwarded-host"));
    let asked = stage.app.asked().await;
    assert!(asked.has("x-forwarded-host"), "{}", asked.head);
    asked.page("passed").await;
    let got = end(visit).await;
    assert_eq!(got.cache_status(), "coppice; fwd=request; detail=host-unknown");

    let visit = stage.begin_raw(odd("cookie"));
    stage.app.asked().await.page("page").await;
    assert_eq!(end(visit).await.outcome(), "MISS");
    stage.settled().await;
    assert_eq!(end(stage.begin_raw(odd("x-custom"))).await.outcome(), "HIT");
}

#[tokio::test]
async fn invariant_7_an_app_s_odd_headers_are_stored_as_they_are() {
    let mut stage = Stage::new().await;
    let visit = stage.begin("GET", "/a", "");
    let mut asked = stage.app.asked().await;
    asked
        .say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\nx-odd: ")
        .await;
    tokio::io::AsyncWriteExt::write_all(&mut asked.stream, b"\xE9\r\n\r\nok")
        .await
        .unwrap();
    let miss = end(visit).await;
    stage.settled().await;
    let hit = stage.get("/a").await;
    assert_eq!(
        (hit.outcome(), hit.header("x-odd")),
        ("HIT", miss.header("x-odd"))
    );
    assert_eq!(hit.header("x-odd"), "\u{FFFD}");
}
