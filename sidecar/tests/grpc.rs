//! Calls of gRPC, which pass through over HTTP/2: all of it, for as long as it takes, and none at another's cost.
#![allow(clippy::unwrap_used)] // a test may panic

mod support;

use std::{
    convert::Infallible,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use coppice_sidecar::serve::Limits;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{before, settings, soon, start};
use tokio::net::TcpStream;

/// An app that answers each call by this; where it is.
async fn app<F, B>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static) -> String
where
    F: Future<Output = B> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (listener, address) = support::port().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(Response::new(answering.await)) }
            });
            let builder = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// An app that serves each connection by this; where it is, and how many it has had.
async fn counted<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (String, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    let (listener, address) = support::port().await;
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream));
        }
    });
    (address, connections)
}

fn call<B>(path: &str, body: B) -> Request<B> {
    Request::post(format!("http://a.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn grpc_goes_over_http2_with_its_trailers() {
    let address = app(|request| async move {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.uri().authority().unwrap(), "a.test");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [
            Ok::<_, Infallible>(Frame::data(body)),
            Ok(Frame::trailers(trailers)),
        ];
        StreamBody::new(futures::stream::iter(frames))
    })
    .await;
    let sidecar = before(address);
    let mut sender = sidecar.h2().await;
    for _ in 0..2 {
        let request = call("/pkg.Service/Call", Full::new(Bytes::from_static(b"ping")));
        let response = soon(sender.send_request(request)).await.unwrap();
        let body = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "ping");
    }
}

/// A stream of events begins with the first one, whenever that is; who calls says how long that may be.
#[tokio::test]
async fn grpc_may_have_nothing_to_say_for_longer_than_others_have_patience() {
    const PATIENCE: Duration = Duration::from_secs(1);
    let address = app(|_| async {
        tokio::time::sleep(2 * PATIENCE).await;
        Full::new(Bytes::from_static(b"at last"))
    })
    .await;
    let limits = Limits {
        patience: PATIENCE,
        ..Limits::default()
    };
    let sidecar = start(settings(address), limits);
    let mut sender = sidecar.h2().await;
    let request = call("/pkg.Service/Watch", String::new());
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "at last");
}

/// All calls share a connection to the app, and what one visitor does not take stays in it.
#[tokio::test]
async fn grpc_that_nobody_reads_does_not_hold_others_up() {
    let address = app(|request| async move {
        let large = request.uri().path() == "/large";
        Full::new(Bytes::from(vec![b'x'; if large { 4 << 20 } else { 2 }]))
    })
    .await;
    let sidecar = before(address);
    let mut idler = sidecar.streams(&h2::client::Builder::new()).await;
    let mut unread = Vec::new();
    for _ in 0..20 {
        let answer = idler.send_request(call("/large", ()), true).unwrap().0;
        unread.push(soon(answer).await.unwrap());
    }
    // What it may have ahead is on its way to nobody.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut sender = sidecar.h2().await;
    let response = soon(sender.send_request(call("/small", String::new())))
        .await
        .unwrap();
    let body = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "xx");
    drop(unread);
}

/// An app takes so many streams at a time, often 100, and what comes beyond that would wait for one to end.
#[tokio::test]
async fn grpc_that_streams_does_not_hold_others_up() {
    const STREAMS: usize = 100;
    let (address, connections) = counted(|stream| async move {
        let mut app = h2::server::Builder::new()
            .max_concurrent_streams(STREAMS as u32)
            .handshake::<_, Bytes>(stream)
            .await
            .unwrap();
        let mut streaming = Vec::new();
        while let Some(Ok((request, mut answer))) = app.accept().await {
            let streams = request.uri().path() == "/stream";
            let body = answer.send_response(Response::new(()), !streams).unwrap();
            streaming.push((request, body));
        }
    })
    .await;
    let sidecar = before(address);
    let mut visitor = sidecar.streams(&h2::client::Builder::new()).await;
    let mut ask = async |path: &str| {
        let (answer, _) = visitor.send_request(call(path, ()), true).unwrap();
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer
    };
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(ask("/stream").await);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    for _ in 0..3 {
        ask("/unary").await;
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    drop(open);
}

/// Messages of some bytes, each in a frame of its own, are more to hold than their bytes: no reason to end all calls.
#[tokio::test]
async fn grpc_of_small_messages_that_nobody_reads_does_not_end_others() {
    const CALLS: usize = 20;
    let (address, connections) = counted(|stream| async move {
        let mut app = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut answer))) = app.accept().await {
            let mut body = answer.send_response(Response::new(()), false).unwrap();
            if request.uri().path() == "/small" {
                body.send_data("xx".into(), true).unwrap();
                continue;
            }
            tokio::spawn(async move {
                loop {
                    body.reserve_capacity(5);
                    let Some(Ok(_)) = poll_fn(|cx| body.poll_capacity(cx)).await else {
                        return;
                    };
                    if body.send_data("event".into(), false).is_err() {
                        return;
                    }
                }
            });
        }
    })
    .await;
    let sidecar = before(address);
    let mut closed = h2::client::Builder::new();
    closed.initial_window_size(0);
    let mut idler = sidecar.streams(&closed).await;
    let mut unread = Vec::new();
    for _ in 0..CALLS {
        let answer = idler.send_request(call("/events", ()), true).unwrap().0;
        unread.push(soon(answer).await.unwrap().into_body());
    }
    // All that may be ahead is.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut sender = sidecar.h2().await;
    let response = soon(sender.send_request(call("/small", String::new())))
        .await
        .unwrap();
    let body = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "xx");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    for body in &mut unread {
        assert!(futures::poll!(Box::pin(body.data())).is_pending(), "it goes on");
    }
}
