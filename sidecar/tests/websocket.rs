//! WebSocket over HTTP/2 before an app of HTTP/1.1 (RFC 8441), over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::time::Duration;

use coppice_sidecar::serve::Limits;
use futures::{SinkExt, StreamExt};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, ext::Protocol, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use rstest::rstest;
use support::{Running, answering, before, port, settings, soon, start};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request as Asked, Response as Accepted},
        protocol::Role,
    },
};

type Client = WebSocketStream<TokioIo<Upgraded>>;

/// An app that echoes messages, with a WebSocket library's own idea of the handshake.
async fn echo() -> String {
    let (listener, address) = port().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut app = accept_hdr_async(stream, accepted).await.unwrap();
                while let Some(Ok(message)) = app.next().await {
                    if message.is_text() {
                        app.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

#[allow(clippy::result_large_err, clippy::unnecessary_wraps)] // the library's signature
fn accepted(
    asked: &Asked,
    mut answer: Accepted,
) -> Result<Accepted, tokio_tungstenite::tungstenite::handshake::server::ErrorResponse> {
    assert_eq!(asked.uri(), "/chat?room=1");
    let headers = asked.headers();
    assert_eq!(headers["host"], "a.test");
    assert_eq!(headers["cookie"], "a=1; b=2");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_ne!(headers["sec-websocket-key"], "the visitor's own");
    let headers = answer.headers_mut();
    headers.insert("sec-websocket-protocol", "chat".parse().unwrap());
    Ok(answer)
}

/// A visitor's CONNECT; with a protocol it is an extended one.
async fn connect(sidecar: &Running, protocol: Option<&'static str>) -> Response<Incoming> {
    let mut sender = sidecar.h2().await;
    let request = Request::builder().method(Method::CONNECT);
    let request = match protocol {
        Some(protocol) => request
            .uri("http://a.test/chat?room=1")
            .extension(Protocol::from_static(protocol))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "chat")
            .header("sec-websocket-key", "the visitor's own"),
        None => request.uri("a.test:443"),
    };
    let request = request.body(String::new()).unwrap();
    soon(sender.send_request(request)).await.unwrap()
}

async fn open(sidecar: &Running) -> Client {
    let answer = connect(sidecar, Some("websocket")).await;
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(headers["sec-websocket-protocol"], "chat");
    assert_eq!(headers["x-coppice-cache"], "BYPASS");
    for gone in [
        "sec-websocket-accept",
        "connection",
        "upgrade",
        "content-length",
        "transfer-encoding",
    ] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    let upgraded = soon(hyper::upgrade::on(answer)).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

async fn text(answer: Response<Incoming>) -> String {
    let body = soon(answer.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn websocket_over_http2_carries_messages_both_ways() {
    let sidecar = before(echo().await);
    let mut client = open(&sidecar).await;
    for message in ["marco".to_owned(), "polo".repeat(100_000)] {
        soon(client.send(Message::text(message.clone()))).await.unwrap();
        let echoed = soon(client.next()).await.unwrap().unwrap();
        assert_eq!(echoed.into_text().unwrap(), message);
    }
    soon(client.close(None)).await.unwrap();
    assert!(soon(client.next()).await.unwrap().unwrap().is_close());
    assert!(soon(client.next()).await.is_none());
}

#[tokio::test]
async fn websocket_over_http2_that_the_app_refuses() {
    let app = answering(|_| "HTTP/1.1 403 Forbidden\r\nX-Why: origin\r\nContent-Length: 2\r\n\r\nno".into());
    let answer = connect(&before(app.await), Some("websocket")).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["x-why"], "origin");
    assert_eq!(text(answer).await, "no");
}

/// None of them is an open WebSocket, which is what a visitor of HTTP/2 would take a success for.
#[rstest]
#[case::a_page("200 OK\r\nContent-Length: 0")]
#[case::no_proof("101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket")]
#[case::another_proof(
    "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)]
#[case::another_protocol("101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat")]
#[tokio::test]
async fn websocket_over_http2_that_the_app_did_not_open(#[case] head: &'static str) {
    let app = answering(move |_| format!("HTTP/1.1 {head}\r\n\r\n"));
    let answer = connect(&before(app.await), Some("websocket")).await;
    assert_eq!(answer.status(), 502);
    assert!(text(answer).await.starts_with("The app"));
}

#[tokio::test]
async fn other_tunnels_over_http2_are_refused() {
    let app = answering(|head| panic!("the app is asked: {head}"));
    let sidecar = before(app.await);
    let answer = connect(&sidecar, Some("connect-udp")).await;
    assert_eq!(answer.status(), 501);
    assert!(text(answer).await.contains("websocket"));
    let answer = connect(&sidecar, None).await;
    assert_eq!(answer.status(), 405);
    assert!(text(answer).await.contains("forward proxy"));
}

#[tokio::test]
async fn a_websocket_over_http2_may_be_silent() {
    let limits = Limits {
        head_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let sidecar = start(settings(echo().await), limits);
    let mut client = open(&sidecar).await;
    // A connection without a request has had its time by now, several times over.
    for _ in 0..3 {
        sidecar.connect().await.rest().await;
    }
    soon(client.send(Message::text("still here"))).await.unwrap();
    let echoed = soon(client.next()).await.unwrap().unwrap();
    assert_eq!(echoed.into_text().unwrap(), "still here");
}

#[tokio::test]
async fn a_websocket_over_http2_that_does_not_end_is_cut_off() {
    let limits = Limits {
        drain: Duration::from_millis(200),
        ..Limits::default()
    };
    let sidecar = start(settings(echo().await), limits);
    let mut client = open(&sidecar).await;
    sidecar.told.cancel();
    // The connection, and the tunnel in it.
    assert_eq!(soon(sidecar.run).await.unwrap().cut_off, 2);
    while let Some(Ok(_)) = soon(client.next()).await {}
}
