//! Flights and regenerations before an app that a test scripts, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::{sync::Arc, time::Duration};

use coppice_cache::{
    config::Rule, flights::UNSAFE_TTL, judge::Unstorable, ledger::Strategy, outcome::PassReason,
    routes::Routes, time::Moment, verdict::Verdict,
};
use coppice_sidecar::fetch::{Failure, Fallback, Fetched};
use http_body_util::BodyExt;
use rstest::rstest;
use support::{
    nobody,
    rig::{Asked, CHUNKED, OK, Rig, body, everything, old, path, read, routes, rule, streamed, tagged},
    soon,
    stage::Stage,
    until,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

#[tokio::test]
async fn fetch_shares_one_flight_and_streams_while_it_stores() {
    let mut rig = Rig::new().await;
    let first = rig.wait("/a", None);
    let mut app = rig.asked().await;
    assert_eq!(app.path, "/a");
    let second = rig.wait("/a", None);
    app.head(CHUNKED).await;
    app.chunk("hel").await;
    let mut first = streamed(soon(first).await.unwrap());
    let second = streamed(soon(second).await.unwrap());
    assert!(!first.joined && second.joined && first.stored);
    let frame = soon(first.body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hel");
    assert!(rig.fetcher.store().is_empty());
    // Who comes late gets all of it; who leaves harms nobody.
    let third = streamed(soon(rig.wait("/a", None)).await.unwrap());
    drop(first);
    app.chunk("lo").await;
    app.chunk("").await;
    assert_eq!(read(second).await.unwrap(), "hello");
    assert_eq!(read(third).await.unwrap(), "hello");
    assert_eq!(rig.stored("/a").await.body(), "hello");
    assert_eq!(rig.look_up("/a").1, Verdict::Hit);
    assert!(rig.is_quiet());
}

#[tokio::test]
async fn fetch_goes_on_when_all_visitors_have_left() {
    let mut rig = Rig::new().await;
    let visitor = rig.wait("/a", None);
    let app = rig.asked().await;
    visitor.abort();
    app.answer(OK, "hello").await;
    assert_eq!(rig.stored("/a").await.body(), "hello");
}

#[tokio::test]
async fn fetch_aborts_all_streams_when_the_body_breaks_off() {
    let mut rig = Rig::new().await;
    let visitors = [rig.wait("/a", None), rig.wait("/a", None)];
    let mut app = rig.asked().await;
    app.head("200 OK\r\nContent-Length: 10\r\n").await;
    app.peer.say("hel").await;
    let mut streams = Vec::new();
    for visitor in visitors {
        streams.push(streamed(soon(visitor).await.unwrap()));
    }
    drop(app);
    for stream in streams {
        assert_eq!(read(stream).await, None);
    }
    rig.landed().await;
    assert!(rig.fetcher.store().is_empty());
}

#[tokio::test]
async fn fetch_shares_the_apps_error() {
    let mut rig = Rig::new().await;
    let visitors = [rig.wait("/a", None), rig.wait("/a", None)];
    let app = rig.asked().await;
    app.answer("500 Oops\r\nSet-Cookie: a=b\r\nX-Own: 1\r\n", "sorry")
        .await;
    for visitor in visitors {
        let answer = streamed(soon(visitor).await.unwrap());
        assert_eq!((answer.status.as_u16(), answer.stored), (500, false));
        assert!(answer.headers.contains_key("x-own") && !answer.headers.contains_key("set-cookie"));
        assert_eq!(read(answer).await.unwrap(), "sorry");
    }
    rig.landed().await;
    assert!(rig.fetcher.store().is_empty());
    assert!(rig.is_quiet());
}

#[tokio::test]
async fn fetch_promises_nothing_of_a_page_that_says_in_its_body_that_it_failed() {
    let mut rig = Rig::new().await;
    let visitor = rig.wait("/a", None);
    let row = "9:E{\"digest\":\"1245851783\"}\n";
    let head = format!("Content-Type: text/x-component\r\nContent-Length: {}", row.len());
    // In one piece: it has all come before the visitor looks.
    let whole = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{row}");
    rig.asked().await.peer.say(&whole).await;
    let got = streamed(soon(visitor).await.unwrap());
    assert!(!got.stored);
    assert_eq!(read(got).await.as_deref(), Some(row));
    assert!(rig.fetcher.store().is_empty());
}

#[tokio::test]
async fn fetch_says_why_there_is_no_answer() {
    let failed = |fetched| match fetched {
        Fetched::Failed { error, .. } => error,
        other => panic!("not failed: {other:?}"),
    };
    let mut rig = Rig::with(|_| (), Duration::from_millis(50)).await;
    let visitor = rig.wait("/a", None);
    let app = rig.asked().await;
    let error: Failure = failed(soon(visitor).await.unwrap());
    assert_eq!((error.status().as_u16(), error.as_str()), (504, "timeout"));
    drop(app);
    let visitor = rig.wait("/a", None);
    drop(rig.asked().await);
    let error = failed(soon(visitor).await.unwrap());
    assert_eq!((error.status().as_u16(), error.as_str()), (502, "closed"));
    let (_, asked) = mpsc::unbounded_channel();
    let rig = Rig::before(&nobody().await, asked, |_| (), Duration::from_secs(30));
    let error = failed(soon(rig.wait("/a", None)).await.unwrap());
    assert_eq!((error.status().as_u16(), error.as_str()), (502, "refused"));
}

#[tokio::test]
async fn fetch_bounds_silence_in_the_middle() {
    let mut rig = Rig::with(|_| (), Duration::from_millis(100)).await;
    let visitor = rig.wait("/a", None);
    let mut app = rig.asked().await;
    app.head(CHUNKED).await;
    app.chunk("hel").await;
    assert_eq!(body(soon(visitor).await.unwrap()).await, None);
}

#[tokio::test]
async fn fetch_gives_the_whole_new_page_where_the_old_one_may_serve() {
    let mut rig = Rig::new().await;
    let page = rig.store("/a", "old").await;
    rig.purge(1, everything(), Strategy::Expire);
    assert_eq!(rig.look_up("/a").1, Verdict::Wait { fallback: true });
    let visitor = rig.wait("/a", Some(page));
    let mut app = rig.asked().await;
    app.head(CHUNKED).await;
    app.chunk("ne").await;
    // Somebody without an old page streams from the same flight: the head is there, and the other one still waits.
    let beside = streamed(soon(rig.wait("/a", None)).await.unwrap());
    assert!(!visitor.is_finished());
    app.chunk("w").await;
    app.chunk("").await;
    match soon(visitor).await.unwrap() {
        Fetched::Page { page, stored, .. } => assert_eq!((page.bytes(), stored), (&b"new"[..], true)),
        other => panic!("not the new page: {other:?}"),
    }
    assert_eq!(read(beside).await.unwrap(), "new");
    assert_eq!(rig.look_up("/a").1, Verdict::Hit);
}

#[tokio::test]
async fn fetch_keeps_the_old_page_through_failures() {
    for failure in ["sorry", "large", "half"] {
        let mut rig = Rig::with(|rule| rule.max_body_bytes = 1000, Duration::from_secs(30)).await;
        let page = rig.store("/a", "old").await;
        rig.purge(1, everything(), Strategy::Expire);
        rig.look_up("/a");
        let visitor = rig.wait("/a", Some(page.clone()));
        let mut app = rig.asked().await;
        // One that does not select it changes nothing.
        rig.purge(2, tagged("other"), Strategy::Refresh);
        match failure {
            "half" => {
                app.head("200 OK\r\nContent-Length: 10\r\n").await;
                app.peer.say("hel").await;
                drop(app);
            }
            "large" => app.answer("500 Oops\r\n", &"sorry".repeat(1000)).await,
            _ => app.answer("500 Oops\r\n", failure).await,
        }
        let (served, why) = old(soon(visitor).await.unwrap());
        assert!(served.is(&page) && why == Fallback::Failed);
        rig.landed().await;
        // Unaltered, and for a while served at once; a purge is tried at once.
        let (stored, verdict) = rig.look_up("/a");
        assert!(stored.unwrap().is(&page));
        assert_eq!(verdict, Verdict::Stale { regenerate: false });
        rig.purge(3, everything(), Strategy::Refresh);
        assert_eq!(rig.look_up("/a").1, Verdict::Wait { fallback: true });
        let visitor = rig.wait("/a", Some(page));
        rig.asked().await.answer(OK, "new").await;
        assert_eq!(body(soon(visitor).await.unwrap()).await.as_deref(), Some("new"));
    }
}

/// Where the app decides, its errors may be stored: none takes the place of a page, whatever its size.
#[tokio::test]
async fn fetch_keeps_the_old_page_through_failures_that_may_be_stored() {
    let decides = |rule: &mut Rule| (rule.revalidate, rule.max_body_bytes) = (None, 1000);
    for size in [10, 5000] {
        let mut rig = Rig::with(decides, Duration::from_secs(30)).await;
        let fresh = "Cache-Control: max-age=600\r\n";
        let visitor = rig.wait("/a", None);
        rig.asked().await.answer(&format!("{OK}{fresh}"), "old").await;
        body(soon(visitor).await.unwrap()).await;
        let page = rig.stored("/a").await;
        rig.purge(1, everything(), Strategy::Expire);
        rig.look_up("/a");
        let visitor = rig.wait("/a", Some(page.clone()));
        let error = format!("500 Oops\r\n{fresh}");
        rig.asked().await.answer(&error, &"x".repeat(size)).await;
        let (served, why) = old(soon(visitor).await.unwrap());
        assert!(served.is(&page) && why == Fallback::Failed, "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn fetch_gives_the_old_page_after_ten_seconds() {
    let mut rig = Rig::new().await;
    let page = rig.store("/a", "old").await;
    rig.purge(1, everything(), Strategy::Expire);
    let began = tokio::time::Instant::now();
    let visitor = rig.wait("/a", Some(page));
    let app = rig.asked().await;
    let (_, why) = old(visitor.await.unwrap());
    assert_eq!(why, Fallback::Slow);
    assert!(began.elapsed() >= Duration::from_secs(10));
    // The flight goes on.
    app.answer(OK, "new").await;
    let key = rig.lookup("/a").key;
    until("the new page is stored", async || {
        rig.fetcher
            .store()
            .get(&key)
            .is_some_and(|page| page.body() == "new")
    })
    .await;
}

#[tokio::test]
async fn fetch_lets_pass_what_is_not_to_be_shared() {
    let mut rig = Rig::new().await;
    let visitors = [rig.wait("/a", None), rig.wait("/a", None)];
    rig.asked()
        .await
        .answer("200 OK\r\nSet-Cookie: a=b\r\n", "yours")
        .await;
    for visitor in visitors {
        assert!(matches!(
            soon(visitor).await.unwrap(),
            Fetched::Pass(PassReason::Unstorable(Unstorable::SetCookie))
        ));
    }
    // The next ones skip the queue.
    assert!(matches!(
        rig.wait("/a", None).await.unwrap(),
        Fetched::Pass(PassReason::Unstorable(Unstorable::SetCookie))
    ));
    assert!(rig.is_quiet());
    assert!(rig.fetcher.store().is_empty());
    // Until the rules change.
    rig.fetcher.settle(&rig.routes.load()).await;
    let _visitor = rig.wait("/a", None);
    rig.asked().await;
}

#[tokio::test]
async fn fetch_leaves_an_overtaken_answer_to_those_who_waited() {
    let mut rig = Rig::new().await;
    let before = rig.wait("/a", None);
    let first = rig.asked().await;
    rig.purge(1, path("/a"), Strategy::Refresh);
    let after = rig.wait("/a", None);
    let second = rig.asked().await;
    first.answer(OK, "old").await;
    assert_eq!(body(soon(before).await.unwrap()).await.unwrap(), "old");
    assert!(rig.fetcher.store().is_empty());
    second.answer(OK, "new").await;
    assert_eq!(body(soon(after).await.unwrap()).await.unwrap(), "new");
    assert_eq!(rig.stored("/a").await.body(), "new");
    assert!(rig.is_quiet());
}

#[tokio::test]
async fn fetch_stores_nothing_that_was_purged_or_reset_while_it_arrived() {
    let mut rig = Rig::new().await;
    for reset in [false, true] {
        let visitor = rig.wait("/a", None);
        let mut app = rig.asked().await;
        app.head(CHUNKED).await;
        app.chunk("old").await;
        let stream = streamed(soon(visitor).await.unwrap());
        if reset {
            rig.fetcher.reset();
        } else {
            rig.purge(1, path("/a"), Strategy::Delete);
        }
        app.chunk("").await;
        assert_eq!(read(stream).await.unwrap(), "old");
        rig.landed().await;
        assert!(rig.fetcher.store().is_empty());
    }
}

#[tokio::test]
async fn fetch_streams_what_is_too_large_to_those_who_read_it() {
    let mut rig = Rig::with(|rule| rule.max_body_bytes = 1000, Duration::from_secs(30)).await;
    let visitor = rig.wait("/a", None);
    let mut app = rig.asked().await;
    app.head(CHUNKED).await;
    app.chunk("x").await;
    let mut stream = streamed(soon(visitor).await.unwrap());
    soon(stream.body.frame()).await.unwrap().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let chunk = "y".repeat(1 << 20);
        app.chunk(&chunk).await;
        app.chunk(&chunk).await;
        let _ = ended.await;
        app.chunk("").await;
    });
    soon(stream.body.frame()).await.unwrap().unwrap();
    // Nobody joins, and the next ones do not wait.
    assert!(matches!(
        rig.wait("/a", None).await.unwrap(),
        Fetched::Pass(PassReason::Unstorable(Unstorable::TooLarge))
    ));
    end.send(()).unwrap();
    let rest = read(stream).await.unwrap();
    assert!(rest.len() > 1 << 20 && rest.bytes().all(|byte| byte == b'y'));
    rig.landed().await;
    assert!(rig.fetcher.store().is_empty());
    assert_eq!(rig.fetcher.store().bytes(), 0);
    // Where the length is known before, nothing is read.
    let visitor = rig.wait("/b", None);
    rig.asked().await.head("200 OK\r\nContent-Length: 1001\r\n").await;
    assert!(matches!(
        soon(visitor).await.unwrap(),
        Fetched::Pass(PassReason::Unstorable(Unstorable::TooLarge))
    ));
}

#[tokio::test]
async fn fetch_leaves_a_reader_who_is_slow_and_alone_its_time() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let mut rig = Rig::with(|rule| rule.max_body_bytes = 1000, TIMEOUT).await;
    let visitor = rig.wait("/a", None);
    let mut app = rig.asked().await;
    app.head(CHUNKED).await;
    app.chunk("x").await;
    let mut stream = streamed(soon(visitor).await.unwrap());
    soon(stream.body.frame()).await.unwrap().unwrap();
    tokio::spawn(async move {
        app.chunk(&"y".repeat(1 << 20)).await;
        app.chunk("").await;
    });
    tokio::time::sleep(2 * TIMEOUT).await;
    assert_eq!(read(stream).await.map(|rest| rest.len()), Some(1 << 20));
    rig.landed().await;
}

const OUTDATED: &str = "200 OK\r\nX-Nextjs-Cache: STALE\r\n";

/// The app is asked again after each of these pauses, in seconds, and is out of date each time.
async fn is_asked_again(rig: &mut Rig, pauses: impl IntoIterator<Item = u64>) {
    for pause in pauses {
        let before = Instant::now();
        let asked = rig.asked().await;
        assert_eq!(before.elapsed().as_secs(), pause);
        asked.answer(OUTDATED, "outdated").await;
    }
}

#[tokio::test(start_paused = true)]
async fn fetch_asks_again_for_so_many_at_a_time() {
    let mut rig = Rig::regenerating(1).await;
    for path in ["/a", "/b"] {
        let visitor = rig.wait(path, None);
        rig.asked().await.answer(OUTDATED, "outdated").await;
        body(visitor.await.unwrap()).await;
    }
    let first = rig.asked().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(rig.is_quiet(), "the other waits for its turn");
    first.answer(OK, "new").await;
    rig.asked().await.answer(OK, "new").await;
    rig.stored("/a").await;
    rig.stored("/b").await;
}

/// With nothing stored an outdated answer is what the app itself would show; it is not kept, and behind it the app is asked
/// until it has another one.
#[tokio::test(start_paused = true)]
async fn fetch_asks_again_behind_an_answer_that_is_out_of_date() {
    let mut rig = Rig::new().await;
    let visitor = rig.wait("/a", None);
    rig.asked().await.answer(OUTDATED, "outdated").await;
    let answer = streamed(visitor.await.unwrap());
    assert!(!answer.stored);
    assert_eq!(read(answer).await.unwrap(), "outdated");
    is_asked_again(&mut rig, [1, 2, 4]).await;
    rig.landed().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(rig.is_quiet(), "it stays so");
    assert!(rig.fetcher.store().is_empty());
}

/// Where an old page may serve, and behind a purge, an outdated answer helps nobody.
#[rstest]
#[case::at_last(true)]
#[case::never(false)]
#[tokio::test(start_paused = true)]
async fn fetch_waits_for_an_answer_that_is_not_out_of_date(#[case] catches_up: bool) {
    let mut rig = Rig::new().await;
    let page = rig.store("/a", "old").await;
    rig.purge(1, everything(), Strategy::Expire);
    let visitor = rig.wait("/a", Some(page.clone()));
    rig.asked().await.answer(OUTDATED, "outdated").await;
    if catches_up {
        is_asked_again(&mut rig, [1, 2]).await;
        rig.asked().await.answer(OK, "new").await;
        match visitor.await.unwrap() {
            Fetched::Page { page, .. } => assert_eq!(page.body(), "new"),
            other => panic!("not the new page: {other:?}"),
        }
    } else {
        is_asked_again(&mut rig, [1, 2, 4]).await;
        // It brings nothing newer than the old page: that is a failure.
        let (served, why) = old(visitor.await.unwrap());
        assert!(served.is(&page) && why == Fallback::Failed);
    }
    rig.landed().await;
    assert!(rig.is_quiet());
}

/// Letting all through who wait would bury a slow app: without an old page they wait on.
#[rstest]
#[case::answered(Some(29))]
#[case::never_answered(None)]
#[tokio::test(start_paused = true)]
async fn fetch_without_an_old_page_waits_as_long_as_the_app_may_take(#[case] answered: Option<u64>) {
    let mut stage = Stage::new().await;
    let began = Instant::now();
    let visits = [(); 3].map(|()| stage.begin("GET", "/a", ""));
    let asked = stage.app.asked().await;
    tokio::time::sleep_until(began + Duration::from_secs(25)).await;
    assert!(visits.iter().all(|visit| !visit.is_finished()));
    assert!(stage.app.is_idle(), "it is asked once");
    let asked = match answered {
        Some(seconds) => {
            tokio::time::sleep_until(began + Duration::from_secs(seconds)).await;
            asked.page("late").await;
            None
        }
        None => Some(asked),
    };
    for visit in visits {
        let got = visit.await.unwrap();
        match answered {
            Some(_) => assert_eq!((got.outcome(), got.body.as_str()), ("MISS", "late")),
            None => assert_eq!((got.outcome(), got.status), ("MISS", 504)),
        }
    }
    assert_eq!(began.elapsed().as_secs(), answered.unwrap_or(30));
    assert!(stage.app.is_idle(), "it is asked once");
    drop(asked);
}

#[rstest]
#[case::the_default(10)]
#[case(2)]
#[tokio::test]
async fn regenerations_go_so_many_at_a_time_the_hottest_first(#[case] at_once: u16) {
    let mut rig = Rig::regenerating(at_once).await;
    let paths: Vec<_> = (0..at_once + 4).map(|page| format!("/{page:02}")).collect();
    for path in &paths {
        rig.store(path, "old").await;
    }
    rig.purge(1, everything(), Strategy::Refresh);
    for (visited, path) in paths.iter().enumerate() {
        rig.fetcher
            .regenerate(&rig.lookup(path).key, Moment(visited as u64));
        // Asking twice changes nothing.
        rig.fetcher
            .regenerate(&rig.lookup(path).key, Moment(visited as u64));
    }
    let mut aloft = Vec::new();
    for _ in 0..at_once {
        aloft.push(rig.asked().await);
    }
    assert_eq!(rig.fetcher.waiting(), 4);
    assert!(rig.is_quiet());
    for expected in (at_once..at_once + 4).rev() {
        aloft.swap_remove(0).answer(OK, "new").await;
        let next = rig.asked().await;
        assert_eq!(next.path, format!("/{expected:02}"));
        assert!(rig.is_quiet());
        aloft.push(next);
    }
    for asked in aloft {
        asked.answer(OK, "new").await;
    }
    rig.landed().await;
    for path in &paths {
        assert_eq!(rig.look_up(path).1, Verdict::Hit);
    }
    assert!(rig.is_quiet());
}

/// Two pages, of which one is being regenerated and the other waits for its turn, while other routes come into force.
async fn waiting_while_routes_change(routes: Routes) -> (Rig, Asked) {
    let mut rig = Rig::regenerating(1).await;
    for path in ["/first", "/a"] {
        rig.store(path, "old").await;
    }
    rig.purge(1, everything(), Strategy::Refresh);
    rig.fetcher.regenerate(&rig.lookup("/first").key, Moment(2));
    let first = rig.asked().await;
    rig.fetcher.regenerate(&rig.lookup("/a").key, Moment(1));
    rig.routes.store(Arc::new(routes));
    rig.fetcher.settle(&rig.routes.load()).await;
    (rig, first)
}

#[tokio::test]
async fn regenerations_go_by_the_rule_that_is_in_force_when_their_turn_comes() {
    let mut tagged = rule();
    tagged.tags.push("new".to_owned());
    let tagged = routes("shop", tagged, Duration::from_secs(30));
    let (mut rig, first) = waiting_while_routes_change(tagged).await;
    first.answer(OK, "new").await;
    rig.asked().await.answer(OK, "new").await;
    rig.landed().await;
    let page = rig.stored("/a").await;
    assert_eq!(page.body(), "new");
    assert!(page.tags().iter().any(|tag| tag == "new"), "{page:?}");
}

#[tokio::test]
async fn regenerations_for_a_route_that_has_left_harm_no_page_of_the_next() {
    let other = routes("other", rule(), Duration::from_secs(30));
    let (mut rig, first) = waiting_while_routes_change(other).await;
    rig.store("/a", "other").await;
    first.answer(OK, "new").await;
    rig.landed().await;
    until("all have had their turn", async || rig.fetcher.waiting() == 0).await;
    assert_eq!(rig.look_up("/a").1, Verdict::Hit);
    assert!(rig.is_quiet());
}

#[tokio::test(start_paused = true)]
async fn unsafe_requests_expire_a_page_and_overtake_its_flight() {
    let mut rig = Rig::new().await;
    rig.store("/a", "old").await;
    let lookup = rig.lookup("/a");
    rig.fetcher.invalidate(&lookup);
    assert_eq!(rig.look_up("/a").1, Verdict::Wait { fallback: true });
    rig.store("/a", "new").await;
    until("the new page serves", async || {
        rig.look_up("/a").1 == Verdict::Hit
    })
    .await;
    // At most once in three seconds, and then for all that have come.
    for _ in 0..3 {
        rig.fetcher.invalidate(&lookup);
        assert_eq!(rig.look_up("/a").1, Verdict::Hit);
    }
    tokio::time::sleep(UNSAFE_TTL).await;
    until("it expires once more", async || {
        rig.look_up("/a").1 == Verdict::Wait { fallback: true }
    })
    .await;
}

/// Who comes by a link is to see what somebody did there no later than who opens the page.
#[rstest]
#[case("/a?_rsc=hash", true)]
#[case("/_next/data/build/a.json?slug=a", true)]
#[case("/a?page=2", false)]
#[tokio::test]
async fn unsafe_requests_expire_what_the_routers_of_nextjs_ask_for(
    #[case] form: &str,
    #[case] expires: bool,
) {
    let mut rig = Rig::new().await;
    rig.store(form, "old").await;
    rig.fetcher.invalidate(&rig.lookup("/a"));
    let verdict = rig.look_up(form).1;
    assert_eq!(
        verdict == Verdict::Wait { fallback: true },
        expires,
        "{verdict:?}"
    );

    let mut rig = Rig::new().await;
    let early = rig.wait(form, None);
    let asked = rig.asked().await;
    rig.fetcher.invalidate(&rig.lookup("/a"));
    asked.answer(OK, "old").await;
    assert_eq!(body(soon(early).await.unwrap()).await.as_deref(), Some("old"));
    rig.landed().await;
    assert_eq!(rig.fetcher.store().is_empty(), expires, "it was asked for before");
}

#[tokio::test]
async fn settle_drops_the_pages_of_routes_that_have_left() {
    let mut rig = Rig::new().await;
    rig.store("/a", "old").await;
    rig.fetcher.settle(&rig.routes.load()).await;
    assert_eq!(rig.fetcher.store().len(), 1);
    rig.fetcher
        .settle(&routes("other", rule(), Duration::from_secs(30)))
        .await;
    assert!(rig.fetcher.store().is_empty());
}

#[tokio::test]
async fn settle_lets_no_page_of_a_route_that_has_left_land_later() {
    let mut rig = Rig::new().await;
    let visitor = rig.wait("/a", None);
    let asked = rig.asked().await;
    let other = routes("other", rule(), Duration::from_secs(30));
    rig.fetcher.settle(&other).await;
    asked.answer(OK, "left").await;
    // For who waited before, it is the page that was asked for.
    assert_eq!(body(soon(visitor).await.unwrap()).await.unwrap(), "left");
    rig.landed().await;
    assert!(rig.fetcher.store().is_empty());
}

#[tokio::test]
async fn fetch_joins_no_flight_of_a_rule_with_other_tags() {
    let mut rig = Rig::new().await;
    let early = rig.wait("/a", None);
    let first = rig.asked().await;
    let mut tagged = rule();
    tagged.tags.push("new".to_owned());
    rig.routes
        .store(Arc::new(routes("shop", tagged, Duration::from_secs(30))));
    let late = rig.wait("/a", None);
    let second = rig.asked().await;
    first.answer(OK, "old").await;
    second.answer(OK, "new").await;
    assert_eq!(body(soon(early).await.unwrap()).await.unwrap(), "old");
    assert_eq!(body(soon(late).await.unwrap()).await.unwrap(), "new");
    let page = rig.stored("/a").await;
    assert!(page.tags().iter().any(|tag| tag == "new"), "{page:?}");
}

/// What the app's own cache holds may be what the purge was to take away.
#[rstest]
#[case(Strategy::Expire)]
#[case(Strategy::Delete)]
#[tokio::test]
async fn fetch_shares_nothing_outdated_behind_a_purge(#[case] strategy: Strategy) {
    const OUTDATED: &str = "200 OK\r\ncache-tag: a\r\nx-nextjs-cache: STALE\r\n";
    let mut rig = Rig::new().await;
    let mut tag = path("/other");
    tag.tags.push("a".to_owned());
    rig.purge(1, tag, strategy);
    let visitor = rig.wait("/a", None);
    rig.asked().await.answer(OUTDATED, "old").await;
    rig.asked()
        .await
        .answer("200 OK\r\nx-nextjs-cache: HIT\r\n", "new")
        .await;
    assert_eq!(body(soon(visitor).await.unwrap()).await.as_deref(), Some("new"));
}

#[tokio::test]
async fn fetch_asks_a_cold_app_again_until_its_own_cache_has_caught_up() {
    const OUTDATED: &str = "200 OK\r\nx-nextjs-cache: STALE\r\n";
    let mut rig = Rig::new().await;
    let visitor = rig.wait("/a", None);
    rig.asked().await.answer(OUTDATED, "old").await;
    let got = body(soon(visitor).await.unwrap()).await;
    assert_eq!(got.as_deref(), Some("old"), "as the app itself would show it");
    // Who comes meanwhile does not wait for the pause.
    let visitor = rig.wait("/a", None);
    rig.asked().await.answer(OUTDATED, "old").await;
    assert_eq!(body(soon(visitor).await.unwrap()).await.as_deref(), Some("old"));
    assert!(rig.fetcher.store().is_empty());
    rig.asked()
        .await
        .answer("200 OK\r\nx-nextjs-cache: HIT\r\n", "new")
        .await;
    assert_eq!(rig.stored("/a").await.body(), "new");
}
