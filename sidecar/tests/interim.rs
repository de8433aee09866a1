//! Interim answers (1xx) of the app on their way to visitors, byte by byte.
#![allow(clippy::unwrap_used)] // a test may panic

mod support;

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture};
use http::{Method, Request, Response};
use rstest::rstest;
use support::{Peer, app, before, soon};
use tokio::sync::Notify;

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An app that says `interim`, and the answer when it is told to.
async fn hinting(interim: &'static str, answer: &'static str) -> (String, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = go.clone();
    let address = app(move |mut peer| {
        let told = told.clone();
        async move {
            while peer.head_or_end().await.is_some() {
                peer.say(interim).await;
                told.notified().await;
                peer.say(answer).await;
            }
        }
    })
    .await;
    (address, go)
}

async fn is_hint(visitor: &mut Peer) {
    let head = visitor.head().await;
    assert_eq!(
        head,
        "http/1.1 103 early hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
    );
}

async fn is_ok(visitor: &mut Peer) {
    let head = visitor.head().await;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    visitor.until("ok").await;
}

#[tokio::test]
async fn interim_answers_come_before_the_answer_does() {
    let (app, go) = hinting(HINT, OK).await;
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    for method in ["GET", "GET", "QUERY"] {
        visitor
            .say(&format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .await;
        // The app has said no more than this.
        is_hint(&mut visitor).await;
        go.notify_one();
        is_ok(&mut visitor).await;
    }
}

#[tokio::test]
async fn interim_answers_may_be_several_and_leave_the_apps_connection_behind() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\
                   Connection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let (app, go) = hinting(interim, OK).await;
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    visitor.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(visitor.head().await, "http/1.1 102 processing\r\n\r\n");
    is_hint(&mut visitor).await;
    go.notify_one();
    is_ok(&mut visitor).await;
}

/// RFC 9110 section 15.2.
#[tokio::test]
async fn interim_answers_are_not_for_http_1_0() {
    let (app, go) = hinting(HINT, OK).await;
    go.notify_one();
    let sidecar = before(app);
    let answer = sidecar.ask("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("103"), "{answer}");
}

#[tokio::test]
async fn interim_answers_keep_their_place_among_pipelined_requests() {
    let (app, go) = hinting(HINT, OK).await;
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    visitor.say(&request.repeat(3)).await;
    for _ in 0..3 {
        is_hint(&mut visitor).await;
        go.notify_one();
        is_ok(&mut visitor).await;
    }
}

#[tokio::test]
async fn interim_answers_do_not_say_100_twice() {
    let address = app(|mut peer| async move {
        let head = peer.head().await;
        assert!(!head.contains("expect:"), "{head}");
        peer.say(HINT).await;
        peer.until("body").await;
        peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        peer.say(OK).await;
    })
    .await;
    let sidecar = before(address);
    let mut visitor = sidecar.connect().await;
    visitor
        .say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    // Both come on their own time.
    let mut heads = [visitor.head().await, visitor.head().await];
    heads.sort();
    assert_eq!(heads[0], "http/1.1 100 continue\r\n\r\n");
    assert!(heads[1].starts_with("http/1.1 103 early hints\r\n"), "{heads:?}");
    visitor.say("body").await;
    is_ok(&mut visitor).await;
}

#[tokio::test]
async fn interim_answers_come_before_a_change_of_protocol() {
    let address = app(|mut peer| async move {
        peer.head().await;
        peer.say(HINT).await;
        peer.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            .await;
        peer.until("ping").await;
        peer.say("pong").await;
    })
    .await;
    let sidecar = before(address);
    let mut visitor = sidecar.connect().await;
    visitor
        .say("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    is_hint(&mut visitor).await;
    let head = visitor.head().await;
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    visitor.say("ping").await;
    visitor.until("pong").await;
}

#[tokio::test]
async fn interim_answers_of_an_app_that_gives_up_come_before_our_own() {
    let address = app(|mut peer| async move {
        peer.head().await;
        peer.say(HINT).await;
    })
    .await;
    let sidecar = before(address);
    let mut visitor = sidecar.connect().await;
    visitor
        .say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await;
    is_hint(&mut visitor).await;
    let rest = visitor.rest().await;
    assert!(rest.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{rest}");
}

/// More hints than a visitor who does not read has room for: some are left out, none is cut, and the answer comes.
#[tokio::test]
async fn interim_answers_that_are_not_read_hold_nothing_up() {
    const MANY: usize = 200;
    let long = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n",
        "a".repeat(12_000)
    );
    let hint: &'static str = Box::leak(long.into_boxed_str());
    let all: &'static str = Box::leak(hint.repeat(MANY).into_boxed_str());
    let (app, go) = hinting(all, OK).await;
    go.notify_one();
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    visitor
        .say("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    let mut hints = 0;
    loop {
        let head = visitor.head().await;
        if head.starts_with("http/1.1 200") {
            break;
        }
        assert_eq!(head, hint.to_lowercase());
        hints += 1;
    }
    assert!((1..=MANY).contains(&hints), "{hints}");
    assert_eq!(visitor.rest().await, "ok");
}

/// A visitor's request over HTTP/2, without a body.
fn over_http2(method: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri("http://a.test/")
        .body(())
        .unwrap()
}

async fn interim(answer: &mut ResponseFuture) -> Response<()> {
    let interim = poll_fn(|cx| answer.poll_informational(cx));
    soon(interim).await.unwrap().unwrap()
}

async fn is_hint_over_http2(answer: &mut ResponseFuture) {
    let hint = interim(answer).await;
    assert_eq!(hint.status(), 103);
    assert_eq!(hint.headers()["link"], "</a.css>; rel=preload");
    assert_eq!(hint.headers().len(), 1, "{hint:?}");
}

#[tokio::test]
async fn interim_answers_over_http2_come_before_the_answer_does() {
    let (app, go) = hinting(HINT, OK).await;
    let mut visitor = before(app).streams(&Builder::new()).await;
    for method in ["GET", "GET", "QUERY"] {
        let (mut answer, _) = visitor.send_request(over_http2(method), true).unwrap();
        // The app has said no more than this.
        is_hint_over_http2(&mut answer).await;
        go.notify_one();
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = soon(answer.into_body().data()).await;
        assert_eq!(body.unwrap().unwrap(), "ok");
    }
}

#[tokio::test]
async fn interim_answers_over_http2_may_be_several_and_leave_the_apps_connection_behind() {
    let interims = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\
                    Connection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\
                    Link: </a.css>; rel=preload\r\n\r\n";
    let (app, go) = hinting(interims, OK).await;
    let mut visitor = before(app).streams(&Builder::new()).await;
    let (mut answer, _) = visitor.send_request(over_http2("GET"), true).unwrap();
    assert_eq!(interim(&mut answer).await.status(), 102);
    is_hint_over_http2(&mut answer).await;
    go.notify_one();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
}

#[tokio::test]
async fn interim_answers_over_http2_of_an_app_that_gives_up_come_before_our_own() {
    let address = app(|mut peer| async move {
        peer.head().await;
        peer.say(HINT).await;
    })
    .await;
    let mut visitor = before(address).streams(&Builder::new()).await;
    let (mut answer, _) = visitor.send_request(over_http2("POST"), true).unwrap();
    is_hint_over_http2(&mut answer).await;
    assert_eq!(soon(answer).await.unwrap().status(), 502);
}

/// What one stream gets of them is bounded, since nobody sees whether they are read; the answer comes.
#[tokio::test]
async fn interim_answers_over_http2_hold_nothing_up() {
    let many: &'static str = Box::leak(HINT.repeat(1000).into_boxed_str());
    let (app, go) = hinting(many, OK).await;
    go.notify_one();
    let mut visitor = before(app).streams(&Builder::new()).await;
    let (mut answer, _) = visitor.send_request(over_http2("GET"), true).unwrap();
    let mut hints = 0;
    while let Some(hint) = soon(poll_fn(|cx| answer.poll_informational(cx))).await {
        assert_eq!(hint.unwrap().status(), 103);
        hints += 1;
    }
    assert!((1..200).contains(&hints), "{hints}");
    assert_eq!(soon(answer).await.unwrap().status(), 200);
}

/// RFC 9110 section 10.1.1.
#[rstest]
#[case::expected(Some("100-continue"))]
#[case::not_expected(None)]
#[tokio::test]
async fn interim_answers_over_http2_say_100_to_who_waits_for_it(#[case] expect: Option<&str>) {
    let address = app(|mut peer| async move {
        let head = peer.head().await;
        assert!(!head.contains("expect:"), "{head}");
        peer.until("body").await;
        peer.say(OK).await;
    })
    .await;
    let mut visitor = before(address).streams(&Builder::new()).await;
    let mut request = Request::builder().method(Method::POST).uri("http://a.test/");
    if let Some(expect) = expect {
        request = request.header("expect", expect);
    }
    let request = request.header("content-length", 4).body(()).unwrap();
    let (mut answer, mut body) = visitor.send_request(request, false).unwrap();
    if expect.is_some() {
        assert_eq!(interim(&mut answer).await.status(), 100);
    }
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    let further = soon(poll_fn(|cx| answer.poll_informational(cx))).await;
    assert!(further.is_none(), "{further:?}");
    assert_eq!(soon(answer).await.unwrap().status(), 200);
}
