//! Visitors who take their time, and apps that do: each holds what is theirs, and nobody else waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coppice_cache::ledger::{Line, Selector, Strategy};
use coppice_sidecar::serve::Limits;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::{
    support::{Peer, answering, before, settings, soon, start, until},
    world::{OK, World},
};

const HEAD_TIME: Duration = Duration::from_millis(300);

/// A byte now and then, for ever: until the other side has had enough.
async fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn slow_heads_are_cut_off() {
    let limits = Limits {
        head_time: HEAD_TIME,
        ..Limits::default()
    };
    let sidecar = start(settings(answering(|_| OK.to_owned()).await), limits);
    // Silent; a request line and no more; a header that never ends; between two requests.
    for beginning in [
        "",
        "GET /a HT",
        "GET /a HTTP/1.1\r\nhost: a.test\r\nx: ",
        "GET /a HTTP/1.1\r\nhost: a.test\r\n\r\nGET /b",
    ] {
        let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let dripping = tokio::spawn(async move {
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut said = Vec::new();
        let _ = soon(read.read_to_end(&mut said)).await;
        dripping.abort();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("502"), "{beginning:?}: {said}");
    }
    assert!(
        sidecar
            .ask("GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn slow_bodies_hold_one_connection_to_the_app_and_nobody_else() {
    let limits = Limits {
        patience: HEAD_TIME,
        ..Limits::default()
    };
    let sidecar = start(settings(answering(|_| OK.to_owned()).await), limits);
    let mut dripping = TcpStream::connect(sidecar.address).await.unwrap();
    dripping
        .write_all(b"POST /b HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1000000\r\n\r\n")
        .await
        .unwrap();
    let dripping = tokio::spawn(async move { drip(&mut dripping, b"x").await });
    for _ in 0..20 {
        assert!(
            sidecar
                .ask("GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 200")
        );
    }
    dripping.abort();
}

/// The app waits for the rest of the body: neither it nor its connection is held for ever.
#[tokio::test]
async fn slow_bodies_that_stop_are_given_up() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = crate::support::app(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.until("half").await;
            let rest = peer.rest().await;
            tell.send(rest).unwrap();
        }
    })
    .await;
    let limits = Limits {
        patience: HEAD_TIME,
        ..Limits::default()
    };
    let sidecar = start(settings(address), limits);
    let mut stopped = sidecar.connect().await;
    stopped
        .say("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\nhalf")
        .await;
    let answer = stopped.head().await;
    assert!(answer.starts_with("http/1.1 504 "), "{answer}");
    assert!(answer.contains("x-coppice-cache: bypass"), "{answer}");
    stopped.until("did not begin to answer in time").await;
    assert_eq!(soon(told.recv()).await.unwrap(), "", "its connection has ended");
}

#[tokio::test]
async fn slow_readers_of_a_page_share_it() {
    // More than the system takes in advance.
    const LENGTH: usize = 6 << 20;
    let asked = Arc::new(AtomicUsize::new(0));
    let world = World::within(
        32 << 20,
        move |_| {
            let version = asked.fetch_add(1, Ordering::Relaxed).to_string();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n{}",
                version.repeat(LENGTH)
            )
        },
        |rule| rule.max_body_bytes = LENGTH as u64,
    )
    .await;
    world.get("/large", "").await;
    let mut readers = Vec::new();
    for _ in 0..16 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let mut reader = Peer::over(socket.connect(world.sidecar.address).await.unwrap());
        reader.say("GET /large HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        reader.head().await;
        readers.push(reader);
    }
    let store = world.site.fetcher.store();
    assert!(store.bytes() < 2 * LENGTH as u64, "{}", store.bytes());
    assert_eq!(world.get("/large", "").await.outcome(), "HIT");
    // A purge and another page in its place take nothing away from who is reading.
    let selector = Selector {
        paths: vec!["/large".to_owned()],
        ..Selector::default()
    };
    let line = Line {
        sequence: 1,
        selector,
        strategy: Strategy::Delete,
    };
    world.site.fetcher.ledger().append([line], 1, 0);
    let new = world.get("/large", "").await;
    assert_eq!((new.outcome(), new.whole, &new.body[..1]), ("MISS", true, "1"));
    assert_eq!(world.get("/large", "").await.outcome(), "HIT");
    for reader in &mut readers {
        let old = reader.exactly(LENGTH).await.expect("it does not break off");
        assert!(old.bytes().all(|byte| byte == b'0'));
    }
    drop(readers);
    until("nobody is connected", async || {
        world.site.metrics.connections.get() == 0
    })
    .await;
}

#[tokio::test]
async fn slow_readers_of_what_passes_through_slow_down_the_app_and_not_the_memory() {
    // What the system holds on three connections is no more than this.
    const MOST: usize = 16 << 20;
    let (tell, mut told) = mpsc::unbounded_channel();
    // Without an end, as fast as it is read; says how much that was whenever it cannot go on.
    let address = crate::support::app(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            let (chunk, mut written) = (vec![b'x'; 0x1_0000], 0);
            loop {
                match timeout(HEAD_TIME, peer.stream.write(&chunk)).await {
                    Ok(Ok(bytes)) => written += bytes,
                    Ok(Err(_)) => return,
                    Err(_) => tell.send(written).unwrap(),
                }
                if written > 2 * MOST {
                    tell.send(written).unwrap();
                    return;
                }
            }
        }
    })
    .await;
    let sidecar = before(address);
    let mut reader = sidecar.connect().await;
    reader.say("GET /endless HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let written = soon(told.recv()).await.unwrap();
    assert!(written < MOST, "{written} bytes for a visitor who reads nothing");
    // It goes on as soon as somebody reads.
    reader.head().await;
    assert!(reader.exactly(written + 1).await.is_some());
    drop(reader);
}

#[cfg(target_os = "linux")] // elsewhere nothing ends them
#[tokio::test]
async fn slow_readers_that_have_stopped_are_let_go() {
    let (told, let_go) = tokio::sync::oneshot::channel();
    let told = Arc::new(Mutex::new(Some(told)));
    let address = crate::support::app(move |mut peer| {
        let told = told.clone();
        async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            let chunk = "x".repeat(0x1_0000);
            while peer.stream.write_all(chunk.as_bytes()).await.is_ok() {}
            let told = told.lock().take();
            told.unwrap().send(()).unwrap();
        }
    })
    .await;
    let limits = Limits {
        user_timeout: HEAD_TIME,
        ..Limits::default()
    };
    let sidecar = start(settings(address), limits);
    let mut reader = sidecar.connect().await;
    reader.say("GET /endless HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    reader.head().await;
    soon(let_go).await.unwrap();
}

#[tokio::test]
async fn slow_pages_are_waited_for_and_hot_ones_are_not() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let address = crate::support::app(move |mut peer| {
        let mut gone = gone.clone();
        async move {
            while let Some(head) = peer.head_or_end().await {
                if head.starts_with("GET /slow") {
                    gone.wait_for(|gone| *gone).await.unwrap();
                }
                peer.say(OK).await;
            }
        }
    })
    .await;
    let world = World::before(&address);
    assert_eq!(world.get("/hot", "").await.outcome(), "MISS");
    let world = Arc::new(world);
    let waiting: Vec<_> = (0..100)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move { world.get(&format!("/slow/{}", number % 50), "").await })
        })
        .collect();
    until("all have taken off", async || {
        world.site.fetcher.in_the_air() == 50
    })
    .await;
    assert_eq!(world.get("/hot", "").await.outcome(), "HIT");
    assert_eq!(world.get("/other", "").await.outcome(), "MISS");
    go.send_replace(true);
    for visit in waiting {
        assert_eq!(soon(visit).await.unwrap().body, "ok");
    }
    until("all have landed", async || world.site.fetcher.in_the_air() == 0).await;
}

#[tokio::test]
async fn slow_connections_beyond_the_limit_wait_for_room() {
    let limits = Limits {
        connections: 2,
        head_time: HEAD_TIME,
        ..Limits::default()
    };
    let sidecar = start(settings(answering(|_| OK.to_owned()).await), limits);
    let silent = [sidecar.connect().await, sidecar.connect().await];
    // Served as soon as the silent ones have had their time.
    let answer = sidecar
        .ask("GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(silent);
}
