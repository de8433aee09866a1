//! What is held of answers that pass through to visitors who do not read them, counted: no budget knows of it, so it is to be
//! little.
#![allow(clippy::unwrap_used)] // a test may panic

mod support;

use std::{net::SocketAddr, thread, time::Duration};

use coppice_sidecar::Sidecar;
use http::Request;
use rstest::rstest;
use support::{Peer, run, settings, soon};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
    time::timeout,
};

const READERS: u32 = 32;
/// Who has written nothing for so long cannot.
const STUCK: Duration = Duration::from_millis(300);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Answers without an end, each as fast as it is taken, and says when it is taken no more.
async fn endless(stuck: mpsc::UnboundedSender<()>) -> String {
    support::app(move |mut peer| {
        let stuck = stuck.clone();
        async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
            let chunk = vec![b'x'; 1 << 20];
            while let Ok(Ok(_)) = timeout(STUCK, peer.stream.write(&chunk)).await {}
            let _ = stuck.send(());
            std::future::pending::<()>().await;
        }
    })
    .await
}

async fn h1(address: SocketAddr) -> Vec<Peer> {
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = Peer::over(TcpStream::connect(address).await.unwrap());
        reader.say("GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        readers.push(reader);
    }
    readers
}

/// One connection whose windows are as large as they can be.
async fn h2(address: SocketAddr) -> impl Sized {
    let stream = TcpStream::connect(address).await.unwrap();
    let most = (1 << 31) - 1;
    let builder = h2::client::Builder::new()
        .initial_window_size(most)
        .initial_connection_window_size(most)
        .to_owned();
    let (mut sender, connection) = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let mut connection = Box::pin(connection);
    let mut answers = Vec::new();
    for _ in 0..READERS {
        let request = Request::get("http://a.test/endless").body(()).unwrap();
        answers.push(sender.send_request(request, true).unwrap());
    }
    // Long enough to ask, and then nobody reads.
    let _ = timeout(Duration::from_millis(100), &mut connection).await;
    (sender, connection, answers)
}

#[rstest]
#[case::h1(false)]
#[case::h2(true)]
fn who_reads_nothing_has_little_held_for_them(#[case] one_connection: bool) {
    // App and visitors are in a thread of their own, and not counted.
    let (tell_app, app) = oneshot::channel();
    let (tell_sidecar, sidecar) = oneshot::channel();
    let (tell_stuck, mut stuck) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel::<()>();
    let outside = thread::spawn(move || {
        runtime().block_on(async move {
            tell_app.send(endless(tell_stuck).await).unwrap();
            let address = sidecar.await.unwrap();
            let (_h1, _h2);
            if one_connection {
                _h2 = h2(address).await;
            } else {
                _h1 = h1(address).await;
            }
            let _ = ended.await;
        });
    });
    let inside = runtime();
    let counted = allocation_counter::measure(|| {
        inside.block_on(async {
            let running = run(Sidecar::bind(settings(app.await.unwrap())).unwrap());
            tell_sidecar.send(running.address).unwrap();
            for _ in 0..READERS {
                soon(stuck.recv()).await.unwrap();
            }
            drop(running);
        });
    });
    let each = counted.bytes_current / i64::from(READERS) / 1024;
    println!("{each} KiB for each who reads nothing");
    assert!(each < 250, "{each} KiB for each who reads nothing");
    end.send(()).unwrap();
    outside.join().unwrap();
}
