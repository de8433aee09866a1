//! The way to the app: [`Upstream::send`] takes an idle connection or dials one, and hands the answer's body out as it
//! arrives.
//!
//! ```text
//! send ─► take the connection used last ─► try ──answer──► body ──whole──► idle again
//!           └─ none: dial                   ├─ closed before a byte was written: the next one
//!                                           └─ closed without an answer: once more, dialled
//! ```
//!
//! A request is tried again where none of it was written, and once where doing it twice does no harm: an app may close an
//! idle connection at the very moment that it is used again, and that is no failure of the app. Last in, first out: few
//! connections stay warm, the others run into [`IDLE`]. HTTP/2 requests (gRPC) share connections of HTTP/2 with prior
//! knowledge.

mod connection;
mod error;
mod pool;
mod repeat;
mod shared;
mod upload;

use std::{
    error::Error as _,
    future::poll_fn,
    io,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use coppice_cache::control;
use http::{Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

pub use self::error::UpstreamError;
use self::{
    connection::Connection,
    pool::{Lease, Leased, Pool},
    repeat::Repeat,
    shared::{Place, Shared},
    upload::{Patience, Timer, Upload, watch_upload, within},
};
use crate::{body::Body, hop};

/// How long a connection stays idle. Below the 5 s of Node.js and uvicorn, so that it is the sidecar that closes.
pub const IDLE: Duration = Duration::from_secs(4);
/// Bounds looking up and connecting.
pub const CONNECT: Duration = Duration::from_secs(5);
/// What is read of an answer ahead of who reads it, in bytes; no head is larger. Of an answer that passes through to somebody
/// who is slow it is held for as long as that takes, and nobody accounts for it.
const AHEAD: usize = 64 << 10;

/// The same of a stream of HTTP/2. Less, since a window full of small frames is many times its size in memory.
const STREAM_AHEAD: u32 = 16 << 10;

/// The app and the connections to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    app: Arc<str>,
    pool: Arc<Pool>,
    shared: Arc<Shared>,
}

/// What one try came to, beside an answer.
enum Missed {
    /// Nothing was written: the request may go elsewhere.
    Unwritten(Box<Request<Body>>),
    Failed(UpstreamError),
}

impl Upstream {
    /// The app at `host:port`; nothing is dialled yet.
    pub fn new(app: &str) -> Self {
        Self {
            app: app.into(),
            pool: Arc::default(),
            shared: Arc::default(),
        }
    }

    /// The app's address as it was given.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Sends a request and returns when the answer's head is there; `timeout` bounds the time from the last byte of
    /// the request's body that moved, or from now, to the answer's first, over all tries; over HTTP/2 that to a connection. Dropping the future, or the
    /// answer's body before its end, closes the connection, so that the app learns that nobody waits.
    ///
    /// `request` is in origin form with a `Host`, free of hop-by-hop fields; a request of HTTP/2 goes over HTTP/2. It is
    /// boxed, since every future on its way would have room for it, and be moved with it.
    pub async fn send(
        &self,
        mut request: Box<Request<Body>>,
        timeout: Duration,
    ) -> Result<Response<Body>, UpstreamError> {
        let upload = watch_upload(&mut request);
        let patience = Patience::new(timeout);
        let sent = if request.version() == Version::HTTP_2 {
            // Of the two the larger future, and seldom needed.
            Box::pin(self.send_h2(request, patience)).await
        } else {
            self.send_h1(request, patience, &upload).await
        };
        sent.map_err(|error| {
            let broken = upload.broken.load(Ordering::Acquire);
            if broken { UpstreamError::Upload } else { error }
        })
    }

    async fn send_h1(
        &self,
        mut request: Box<Request<Body>>,
        patience: Patience,
        upload: &Arc<Upload>,
    ) -> Result<Response<Body>, UpstreamError> {
        *request.version_mut() = Version::HTTP_11;
        let mut repeats = false;
        loop {
            // One that was idle may end like the one before it.
            let reused = if repeats { None } else { self.pool.take() };
            let fresh = reused.is_none();
            let again = reused.as_ref().and_then(|_| Repeat::of(&request));
            let connection = match reused {
                Some(connection) => connection,
                None => self.connect(patience).await?,
            };
            match self.attempt(connection, request, patience, upload).await {
                Ok(response) => return Ok(response),
                Err(Missed::Unwritten(unwritten)) if !fresh => request = unwritten,
                Err(Missed::Unwritten(_)) => return Err(self.closed()),
                Err(Missed::Failed(error)) => match again {
                    Some(again)
                        if matches!(error, UpstreamError::Closed { .. }) && !patience.left().is_zero() =>
                    {
                        request = Box::new(again.request());
                        repeats = true;
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    async fn attempt(
        &self,
        mut connection: Connection,
        request: Box<Request<Body>>,
        patience: Patience,
        upload: &Arc<Upload>,
    ) -> Result<Response<Body>, Missed> {
        // One that the app has closed meanwhile says so.
        let is_ready = poll_fn(|cx| connection.poll_ready(cx)).await;
        if is_ready.is_err() {
            return Err(Missed::Unwritten(request));
        }
        // It is polled with a waker that wakes nobody, which is no way to be told that this task's turn is over.
        let answer = connection.sender.try_send_request(*request);
        let mut answer = pin!(tokio::task::unconstrained(answer));
        let mut timer = (connection.timer.take()).unwrap_or_else(|| Timer::new(patience.limit));
        let answer = poll_fn(|cx| connection.poll_answer(cx, answer.as_mut()));
        let Some(answer) = within(patience, &mut timer, upload, answer).await else {
            return Err(Missed::Failed(self.timed_out(patience.limit)));
        };
        connection.timer = Some(timer);
        match answer {
            Ok(mut response) => {
                if control::is_coded(response.headers()) && !hop::ignore_coding(response.headers_mut()) {
                    let app = self.app.clone();
                    return Err(Missed::Failed(UpstreamError::Coded { app }));
                }
                Ok(self.leased(response, connection, upload))
            }
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Missed::Unwritten(Box::new(request)),
                None => Missed::Failed(self.failed(error.into_error())),
            }),
        }
    }

    /// Lets the connection go back to the pool when the answer's body has ended: at once, where all of it came with the head.
    fn leased(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        upload: &Arc<Upload>,
    ) -> Response<Body> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            connection.let_go();
            return response.map(Body::from);
        }
        response.map(|body| {
            let lease = Lease {
                connection,
                pool: Arc::downgrade(&self.pool),
                upload: upload.clone(),
            };
            Leased::body(body, lease)
        })
    }

    async fn connect(&self, patience: Patience) -> Result<Connection, UpstreamError> {
        let stream = self.dial(patience).await?;
        Connection::new(stream).await.map_err(|error| self.failed(error))
    }

    async fn dial(&self, patience: Patience) -> Result<TcpStream, UpstreamError> {
        let app = || self.app.clone();
        let dialled = tokio::time::timeout(patience.left().min(CONNECT), async {
            let addresses = tokio::net::lookup_host(&*self.app).await;
            let addresses = addresses.map_err(|source| UpstreamError::Unknown {
                app: app(),
                source: Arc::new(source),
            })?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(match last.kind() {
                io::ErrorKind::ConnectionRefused => UpstreamError::Refused { app: app() },
                _ => UpstreamError::Unreachable {
                    app: app(),
                    source: Arc::new(last),
                },
            })
        });
        let stream = dialled
            .await
            .unwrap_or_else(|_| Err(self.connect_timed_out(patience)))?;
        // Small writes of a stream must not wait for each other; a socket that refuses this still works.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// The patience is for a place on a connection alone: a call of gRPC may have nothing to say for as long as it likes, or
    /// wait until the app takes another, who makes it says how long, and pings find out whether the app is there.
    async fn send_h2(
        &self,
        mut request: Box<Request<Body>>,
        patience: Patience,
    ) -> Result<Response<Body>, UpstreamError> {
        absolute(&mut request);
        let mut again = true;
        loop {
            let mut place = self.place(patience).await?;
            match place.sender.try_send_request(*request).await {
                Ok(response) => return Ok(response.map(|body| place.until_the_end_of(body))),
                Err(mut error) => match error.take_message() {
                    // The app closed the connection before any of it was written.
                    Some(unwritten) if again => {
                        again = false;
                        *request = unwritten;
                    }
                    _ => return Err(self.failed(error.into_error())),
                },
            }
        }
    }

    async fn place(&self, patience: Patience) -> Result<Place, UpstreamError> {
        // Others may be dialling, one after the other.
        let place = self.shared.take(self.connect_h2(patience));
        let place = tokio::time::timeout(patience.left().min(CONNECT), place).await;
        place.unwrap_or_else(|_| Err(self.connect_timed_out(patience)))
    }

    async fn connect_h2(&self, patience: Patience) -> Result<http2::SendRequest<Body>, UpstreamError> {
        let stream = self.dial(patience).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // A stream that nobody reads takes nothing of what the others have: its own window alone bounds it. Nor does one
            // of small frames, whose cost `h2` bounds by half of the connection's window, and ends all of it beyond.
            .initial_stream_window_size(STREAM_AHEAD)
            .initial_connection_window_size(i32::MAX as u32)
            .keep_alive_interval(Duration::from_secs(30))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.failed(error))?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn closed(&self) -> UpstreamError {
        UpstreamError::Closed {
            app: self.app.clone(),
        }
    }

    fn connect_timed_out(&self, patience: Patience) -> UpstreamError {
        UpstreamError::ConnectTimeout {
            app: self.app.clone(),
            after: patience.limit.min(CONNECT),
        }
    }

    fn timed_out(&self, after: Duration) -> UpstreamError {
        UpstreamError::Timeout {
            app: self.app.clone(),
            after,
        }
    }

    fn failed(&self, error: hyper::Error) -> UpstreamError {
        let reset = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>())
            .is_some_and(|source| {
                matches!(
                    source.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                )
            });
        if reset || error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return self.closed();
        }
        if error.is_parse_too_large() {
            return UpstreamError::Head {
                app: self.app.clone(),
            };
        }
        UpstreamError::Broken {
            app: self.app.clone(),
            source: Arc::new(error),
        }
    }
}

/// HTTP/2 says scheme and authority in the request's target.
fn absolute(request: &mut Request<Body>) {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(host.unwrap_or("localhost"))
        .path_and_query(path);
    if let Ok(uri) = uri.build() {
        *request.uri_mut() = uri;
        request.headers_mut().remove(header::HOST);
    }
}
