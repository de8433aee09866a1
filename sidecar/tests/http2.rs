//! Visitors of HTTP/2: what a stream carries, how it ends, and how long it may stand still.
#![allow(clippy::unwrap_used)] // a test may panic

mod support;

use std::time::Duration;

use bytes::Bytes;
use coppice_sidecar::serve::Limits;
use h2::{
    Reason, RecvStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use rstest::rstest;
use support::{answering, app, before, settings, soon, start, until};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{mpsc, oneshot},
};

const LARGE: usize = 3_000_000;

fn request(method: &Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://a.test{path}"))
        .body(())
        .unwrap()
}

fn get(visitor: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    visitor.send_request(request(&Method::GET, path), true).unwrap().0
}

/// All of an answer's body, for which the windows open as it comes; or why it is not whole.
async fn whole(answer: Response<RecvStream>) -> Result<String, Option<Reason>> {
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(piece) = soon(body.data()).await {
        let piece = piece.map_err(|error| error.reason())?;
        body.flow_control().release_capacity(piece.len()).unwrap();
        text.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(text).unwrap())
}

/// Both are larger than any window.
#[tokio::test]
async fn large_bodies_go_both_ways() {
    let address = app(|mut peer| async move {
        let head = peer.head().await;
        assert!(head.contains(&format!("content-length: {LARGE}\r\n")), "{head}");
        let body = peer.exactly(LARGE).await.unwrap();
        peer.say(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n{body}"
        ))
        .await;
    })
    .await;
    let mut visitor = before(address).h2().await;
    let body = "0123456789".repeat(LARGE / 10);
    let request = Request::post("http://a.test/").body(body.clone()).unwrap();
    let answer = soon(visitor.send_request(request)).await.unwrap();
    let echoed = soon(http_body_util::BodyExt::collect(answer.into_body())).await;
    assert!(echoed.unwrap().to_bytes() == body);
}

#[tokio::test]
async fn trailers_of_a_request_reach_the_app() {
    let address = app(|mut peer| async move {
        let head = peer.head().await;
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        let rest = peer.until("x-sum: 1\r\n\r\n").await;
        assert_eq!(rest, "4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n");
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let mut visitor = before(address).streams(&Builder::new()).await;
    let request = Request::post("http://a.test/")
        .header("trailer", "x-sum")
        .body(())
        .unwrap();
    let (answer, mut body) = visitor.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"body"), false).unwrap();
    let sum = HeaderValue::from_static("1");
    body.send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), sum)]))
        .unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
}

/// Envoy resets with `NO_ERROR` what its own visitor has left: that is no end of a body, and the app must not take it for one.
#[rstest]
#[case(Reason::NO_ERROR)]
#[case(Reason::CANCEL)]
#[tokio::test]
async fn a_request_that_is_cut_off_is_never_whole_to_the_app(#[case] reason: Reason) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = app(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.until("4\r\npart\r\n").await;
            tell.send(String::new()).unwrap();
            tell.send(peer.rest().await).unwrap();
        }
    })
    .await;
    let mut visitor = before(address).streams(&Builder::new()).await;
    let (_answer, mut body) = visitor.send_request(request(&Method::POST, "/"), false).unwrap();
    body.send_data(Bytes::from_static(b"part"), false).unwrap();
    soon(told.recv()).await.unwrap();
    body.send_reset(reason);
    assert_eq!(soon(told.recv()).await.unwrap(), "");
}

/// An app's `NO_ERROR` in the middle of an answer is no end of it either. One of HTTP/2 to the app is one of gRPC.
#[rstest]
#[case::reset(false, Some(Reason::INTERNAL_ERROR))]
#[case::ended(true, None)]
#[tokio::test]
async fn an_answer_of_grpc_that_is_cut_off_is_never_whole_to_the_visitor(
    #[case] ends: bool,
    #[case] expected: Option<Reason>,
) {
    let (listener, address) = support::port().await;
    let (begun, beginning) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut answer) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let mut body = answer.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"part"), ends).unwrap();
        // Behind the bytes, which a reset throws away while they wait.
        beginning.await.unwrap();
        body.send_reset(Reason::NO_ERROR);
    });
    let mut visitor = before(address).streams(&Builder::new()).await;
    let mut request = request(&Method::POST, "/pkg.Service/Call");
    let grpc = HeaderValue::from_static("application/grpc");
    request.headers_mut().insert(CONTENT_TYPE, grpc);
    let answer = visitor.send_request(request, true).unwrap().0;
    let mut body = soon(answer).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "part");
    begun.send(()).unwrap();
    let end = soon(body.data()).await;
    assert_eq!(end.and_then(|end| end.unwrap_err().reason()), expected);
}

#[rstest]
#[case::head(Method::HEAD, "200 OK\r\nContent-Length: 5", Some("5"))]
#[case::no_content(Method::GET, "204 No Content", None)]
#[case::not_modified(Method::GET, "304 Not Modified", None)]
#[case::empty(Method::GET, "200 OK\r\nContent-Length: 0", Some("0"))]
#[tokio::test]
async fn answers_without_a_body_end_with_their_head(
    #[case] method: Method,
    #[case] head: &'static str,
    #[case] length: Option<&str>,
) {
    let app = answering(move |_| format!("HTTP/1.1 {head}\r\n\r\n"));
    let mut visitor = before(app.await).streams(&Builder::new()).await;
    let (answer, _) = visitor.send_request(request(&method, "/"), true).unwrap();
    let answer = soon(answer).await.unwrap();
    let said = answer.headers().get("content-length");
    assert_eq!(said.map(|length| length.to_str().unwrap()), length);
    assert!(answer.body().is_end_stream());
}

#[tokio::test]
async fn heads_have_a_date_and_nothing_of_the_apps_connection() {
    let app = answering(|_| {
        "HTTP/1.1 200 OK\r\nConnection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok".into()
    });
    let mut visitor = before(app.await).streams(&Builder::new()).await;
    let answer = soon(get(&mut visitor, "/")).await.unwrap();
    let headers = answer.headers();
    let date = headers["date"].to_str().unwrap();
    assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
    for gone in ["connection", "keep-alive", "x-mine", "transfer-encoding"] {
        assert!(!headers.contains_key(gone), "{headers:?}");
    }
    assert_eq!(whole(answer).await.unwrap(), "ok");
}

/// An answer that breaks off is never taken for a whole one.
#[rstest]
#[case::length("Content-Length: 10\r\n\r\nhalf")]
#[case::chunks("Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")]
#[tokio::test]
async fn answers_that_break_off_are_reset(#[case] half: &'static str) {
    let address = app(move |mut peer| async move {
        peer.head().await;
        peer.say(&format!("HTTP/1.1 200 OK\r\n{half}")).await;
    })
    .await;
    let mut visitor = before(address).streams(&Builder::new()).await;
    let answer = soon(get(&mut visitor, "/")).await.unwrap();
    assert_eq!(whole(answer).await, Err(Some(Reason::INTERNAL_ERROR)));
}

/// Before the answer and within it.
#[rstest]
#[case::before("")]
#[case::within("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")]
#[tokio::test]
async fn the_app_learns_that_a_visitor_has_reset_its_stream(#[case] said: &'static str) {
    let (tell, mut told) = mpsc::channel(2);
    let address = app(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            peer.say(said).await;
            tell.send("asked").await.unwrap();
            peer.rest().await;
            tell.send("left").await.unwrap();
        }
    })
    .await;
    let mut visitor = before(address).streams(&Builder::new()).await;
    let answer = get(&mut visitor, "/");
    assert_eq!(soon(told.recv()).await, Some("asked"));
    if said.is_empty() {
        drop(answer);
    } else {
        drop(soon(answer).await.unwrap());
    }
    assert_eq!(soon(told.recv()).await, Some("left"));
}

/// An app would take it for the length of a body.
#[tokio::test]
async fn a_tunnel_has_no_length() {
    let app = answering(|head| unreachable!("the app is asked: {head}"));
    let sidecar = before(app.await);
    let mut visitor = sidecar.streams(&Builder::new()).await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://a.test/chat")
        .extension(h2::ext::Protocol::from_static("websocket"))
        .header("content-length", "5")
        .body(())
        .unwrap();
    let (answer, _tunnel) = visitor.send_request(request, false).unwrap();
    let error = soon(answer).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
}

#[tokio::test]
async fn while_it_leaves_what_has_begun_is_finished() {
    let (begun, mut beginning) = mpsc::channel::<mpsc::Sender<()>>(1);
    let address = app(move |mut peer| {
        let begun = begun.clone();
        async move {
            peer.head().await;
            let (go, mut wait) = mpsc::channel(1);
            begun.send(go).await.unwrap();
            wait.recv().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let sidecar = before(address);
    let mut visitor = sidecar.streams(&Builder::new()).await;
    let answer = get(&mut visitor, "/");
    let go = soon(beginning.recv()).await.unwrap();
    sidecar.told.cancel();
    until("it stops accepting", || async {
        TcpStream::connect(sidecar.address).await.is_err()
    })
    .await;
    assert!(!sidecar.run.is_finished(), "a request is still in hand");
    go.send(()).await.unwrap();
    assert_eq!(whole(soon(answer).await.unwrap()).await.unwrap(), "ok");
    assert_eq!(soon(sidecar.run).await.unwrap().cut_off, 0);
}

/// Others on the connection are served meanwhile and afterwards, and the app is let go.
#[tokio::test]
async fn a_stream_whose_window_stays_closed_is_reset() {
    let (let_go, mut gone) = mpsc::channel(1);
    let address = app(move |mut peer| {
        let let_go = let_go.clone();
        async move {
            while let Some(head) = peer.head_or_end().await {
                if head.starts_with("GET /small ") {
                    peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                    continue;
                }
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n")
                    .await;
                let some = vec![b'x'; 100_000];
                while peer.stream.write_all(&some).await.is_ok() {}
                let_go.send(()).await.unwrap();
            }
        }
    })
    .await;
    let limits = Limits {
        user_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let sidecar = start(settings(address), limits);
    let mut visitor = sidecar.streams(Builder::new().initial_window_size(10)).await;
    let large = soon(get(&mut visitor, "/large")).await.unwrap();
    assert_eq!(
        whole(soon(get(&mut visitor, "/small")).await.unwrap())
            .await
            .unwrap(),
        "ok"
    );
    soon(gone.recv()).await.unwrap();
    // Ten bytes came, and no window is opened for more.
    let mut body = large.into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap().len(), 10);
    let error = soon(body.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert_eq!(
        whole(soon(get(&mut visitor, "/small")).await.unwrap())
            .await
            .unwrap(),
        "ok"
    );
}
