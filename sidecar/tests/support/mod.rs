//! Apps that do as they are told, sidecars before them, and visitors that speak byte by byte.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each test binary uses its part; a test may panic

pub mod hot;
pub mod operator;
pub mod rig;
pub mod stage;

use std::{error::Error, future::Future, net::SocketAddr, time::Duration};

use bytes::Bytes;
use coppice_sidecar::{Sidecar, config::Settings, drain::Drained, serve::Limits};
use http_body::Body as HttpBody;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Nothing here takes this long unless it hangs.
pub const HANG: Duration = Duration::from_secs(20);

/// Fails the test instead of hanging it.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, what).await.expect("in time")
}

/// A listener for an app, and its address.
pub async fn port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// An address on which nobody listens.
pub async fn nobody() -> String {
    port().await.1
}

/// An app that runs `each` for every connection; returns its address.
pub async fn app<F, Fut>(each: F) -> String
where
    F: Fn(Peer) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = port().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(Peer::over(stream)));
        }
    });
    address
}

/// An app that answers every request with `answer(head)`.
pub async fn answering(answer: impl Fn(&str) -> String + Clone + Send + Sync + 'static) -> String {
    app(move |mut peer| {
        let answer = answer.clone();
        async move {
            while let Some(head) = peer.head_or_end().await {
                peer.say(&answer(&head)).await;
            }
        }
    })
    .await
}

pub fn settings(app: impl Into<String>) -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin: None,
        app: app.into(),
        memory: 16 << 20,
        regenerations: 10.try_into().unwrap(),
        drain: Duration::ZERO,
        control: None,
        dev: false,
        names_key: false,
        visits: None,
    }
}

/// A sidecar that runs.
pub struct Running {
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub told: CancellationToken,
    pub run: JoinHandle<Drained>,
}

pub fn start(settings: Settings, limits: Limits) -> Running {
    run(Sidecar::bind_with(settings, limits).unwrap())
}

pub fn run(sidecar: Sidecar) -> Running {
    let told = CancellationToken::new();
    Running {
        address: sidecar.local_addr().unwrap(),
        admin: sidecar.admin_addr(),
        told: told.clone(),
        run: tokio::spawn(async move { sidecar.run(told).await.unwrap() }),
    }
}

pub fn before(app: impl Into<String>) -> Running {
    start(settings(app), Limits::default())
}

impl Running {
    pub async fn connect(&self) -> Peer {
        Peer::over(TcpStream::connect(self.address).await.unwrap())
    }

    /// A connection of HTTP/2 with prior knowledge.
    pub async fn h2<B>(&self) -> http2::SendRequest<B>
    where
        B: HttpBody<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// The same, with streams and windows in the visitor's hand.
    pub async fn streams(&self, builder: &h2::client::Builder) -> h2::client::SendRequest<Bytes> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.ready().await.unwrap()
    }

    /// One request on a connection of its own; everything up to its end.
    pub async fn ask(&self, request: &str) -> String {
        ask(self.address, request).await
    }
}

/// One request on a connection of its own; everything up to its end.
pub async fn ask(address: SocketAddr, request: &str) -> String {
    let mut peer = Peer::over(TcpStream::connect(address).await.unwrap());
    peer.say(request).await;
    peer.rest().await
}

pub async fn get(address: SocketAddr, path: &str) -> String {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// One end of a connection, read and written byte by byte.
pub struct Peer {
    pub stream: TcpStream,
    buffered: Vec<u8>,
}

impl Peer {
    pub fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            buffered: Vec::new(),
        }
    }

    pub async fn say(&mut self, text: &str) {
        soon(self.stream.write_all(text.as_bytes())).await.unwrap();
    }

    /// Reads up to and including `end`.
    pub async fn until(&mut self, end: &str) -> String {
        self.until_or_end(end)
            .await
            .expect("more before the connection ended")
    }

    pub async fn until_or_end(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self
                .buffered
                .windows(end.len())
                .position(|part| part == end.as_bytes());
            if let Some(at) = found {
                let rest = self.buffered.split_off(at + end.len());
                let text = std::mem::replace(&mut self.buffered, rest);
                return Some(String::from_utf8_lossy(&text).into_owned());
            }
            match soon(self.stream.read_buf(&mut self.buffered)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// A message's head, in lower case.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await.to_lowercase()
    }

    pub async fn head_or_end(&mut self) -> Option<String> {
        self.until_or_end("\r\n\r\n").await
    }

    /// So many bytes, unless the connection ends before.
    pub async fn exactly(&mut self, count: usize) -> Option<String> {
        while self.buffered.len() < count {
            match soon(self.stream.read_buf(&mut self.buffered)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
        let rest = self.buffered.split_off(count);
        let bytes = std::mem::replace(&mut self.buffered, rest);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Everything up to the end of the connection, however it ends.
    pub async fn rest(&mut self) -> String {
        while let Ok(1..) = soon(self.stream.read_buf(&mut self.buffered)).await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffered)).into_owned()
    }
}

/// Waits until `condition` holds.
pub async fn until<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
