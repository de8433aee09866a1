//! Leaving: nobody who came in time loses an answer, and nobody holds the pod up for ever.
#![allow(clippy::unwrap_used)] // a test may panic

mod support;

use std::{io::ErrorKind, time::Duration};

use coppice_sidecar::serve::Limits;
use support::{app, nobody, settings, soon, start, until};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::mpsc};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn it_goes_on_accepting_and_finishes_what_has_begun() {
    let (begun, mut beginning) = mpsc::channel::<mpsc::Sender<()>>(8);
    let app = app(move |mut peer| {
        let begun = begun.clone();
        async move {
            let head = peer.head().await;
            if head.starts_with("get /slow") {
                let (go, mut wait) = mpsc::channel(1);
                begun.send(go).await.unwrap();
                wait.recv().await;
            }
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let mut settings = settings(app);
    settings.drain = Duration::from_millis(400);
    let sidecar = start(settings, Limits::default());

    let mut slow = sidecar.connect().await;
    slow.say("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let go = soon(beginning.recv()).await.unwrap();
    sidecar.told.cancel();

    // Told, and still accepting: a new visitor is served, and told not to stay.
    let mut visitor = sidecar.connect().await;
    visitor.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let answer = visitor.rest().await.to_lowercase();
    assert!(
        answer.starts_with("http/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );

    until("it stops accepting", || async {
        TcpStream::connect(sidecar.address).await.is_err()
    })
    .await;
    assert!(!sidecar.run.is_finished(), "a request is still in hand");
    go.send(()).await.unwrap();
    let answer = slow.rest().await;
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(soon(sidecar.run).await.unwrap().cut_off, 0);
}

#[tokio::test]
async fn an_app_that_left_first_is_the_pods_end_not_a_bad_gateway() {
    let mut settings = settings(nobody().await);
    settings.drain = Duration::from_secs(10);
    let sidecar = start(settings, Limits::default());
    assert!(sidecar.ask(GET).await.starts_with("HTTP/1.1 502"));
    sidecar.told.cancel();
    until("the answer speaks of the end", || async {
        let answer = sidecar.ask(GET).await;
        answer.starts_with("HTTP/1.1 503") && answer.to_lowercase().contains("connection: close")
    })
    .await;
    sidecar.run.abort();
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let app = app(|mut peer| async move {
        let head = peer.head().await;
        if head.contains("upgrade: websocket") {
            peer.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await;
        } else {
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
                .await;
        }
        peer.rest().await;
    })
    .await;
    let limits = Limits {
        drain: Duration::from_millis(200),
        ..Limits::default()
    };
    let sidecar = start(settings(app), limits);
    let mut endless = sidecar.connect().await;
    endless.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    endless.until("ok").await;
    let mut tunnel = sidecar.connect().await;
    tunnel
        .say("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    tunnel.head().await;
    sidecar.told.cancel();
    assert_eq!(soon(sidecar.run).await.unwrap().cut_off, 2);
    tunnel.rest().await;
    assert!(!endless.rest().await.contains("\r\n0\r\n"));
}

#[tokio::test]
async fn what_is_cut_off_does_not_look_whole_where_the_connection_ends_it() {
    let app = app(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            .await;
        peer.rest().await;
    })
    .await;
    let limits = Limits {
        drain: Duration::from_millis(200),
        ..Limits::default()
    };
    let sidecar = start(settings(app), limits);
    let mut endless = sidecar.connect().await;
    endless.say("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    endless.until("ok").await;
    sidecar.told.cancel();
    assert_eq!(soon(sidecar.run).await.unwrap().cut_off, 1);
    let end = soon(endless.stream.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_idle_connection_holds_nothing_up() {
    let sidecar = start(settings(nobody().await), Limits::default());
    let mut idle = sidecar.connect().await;
    let mut used = sidecar.connect().await;
    used.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    used.until("port.\n").await;
    sidecar.told.cancel();
    assert_eq!(soon(sidecar.run).await.unwrap().cut_off, 0);
    idle.rest().await;
    used.rest().await;
}
