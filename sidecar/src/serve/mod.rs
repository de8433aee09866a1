//! Visitors: connections in, requests through [`answer`], answers out.
//!
//! ```text
//! listen ─► connection (limits, drain) ─► answer ─► visit (a rule?) ─► from the store, or fetched
//!             └ HTTP/1.1: hyper; HTTP/2: h2           └─► pass: streams both ways
//! ```

pub mod answer;
pub mod h2;
pub mod interim;
pub mod own;
pub mod pass;
mod preface;
mod shape;
pub mod socket;
mod told;
pub mod upgrade;
pub mod visit;
mod websocket;

use std::{
    convert::Infallible,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use coppice_cache::outcome::{Outcome, PassReason};
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH},
};
use http_body::Body as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};

use self::{
    answer::{CACHE_STATUS, X_COPPICE_CACHE},
    interim::{Interim, Way},
    preface::Begins,
    socket::{Exchanges, Socket},
    told::Told,
};
use crate::{
    body::{Body, BoxError},
    config::VisitLine,
    control,
    drain::{self, Stage},
    site::Site,
};

/// What one visitor, or all of them, may take, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; more wait in the kernel until one ends.
    pub connections: usize,
    /// Connections that have changed their protocol, or are asking the app for it; more are refused: each holds two sockets
    /// and the buffers between them.
    pub tunnels: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Time for a request's head, idle time before it included (twice that after an answer at most): above the 60 s for
    /// which load balancers keep idle connections, so that it is they who close.
    pub head_time: Duration,
    /// How long a connection lasts of whose bytes the visitor takes none, because it is gone or does not read (TCP user
    /// timeout, RFC 5482). A receiver opens its window only once it has read most of a small buffer, or half a MiB of a
    /// large one: in the 15 minutes for which Linux goes on without an acknowledgement anyway, a visitor has to read some
    /// hundred bytes a second. A stream of HTTP/2 lasts as long whose window the visitor does not open: it is reset then.
    pub user_timeout: Duration,
    /// Concurrent requests on one HTTP/2 connection.
    pub streams: u32,
    /// How long the app may take to begin an answer that is only passed through; not to a call of gRPC, which says so itself.
    pub patience: Duration,
    /// How long requests in hand have once the sidecar has stopped accepting.
    pub drain: Duration,
    /// A stream to the operator that ended is opened again within this, at random.
    pub reconnect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            tunnels: 10_000,
            head_bytes: 64 << 10,
            head_time: Duration::from_secs(75),
            user_timeout: Duration::from_mins(15),
            streams: 256,
            patience: pass::PATIENCE,
            drain: drain::LIMIT,
            reconnect: control::RECONNECT,
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Visitor {
    /// Where from, as `X-Forwarded-For` says it.
    pub address: HeaderValue,
    /// Where that goes which is said before an answer.
    pub interim: Way,
    /// The requests that are being answered.
    pub exchanges: Exchanges,
}

/// An answer, with what became of the request.
#[derive(Debug)]
pub struct Answered {
    /// What the visitor gets.
    pub response: Response<Body>,
    /// What became of the request.
    pub outcome: Outcome,
    /// Why, in a word of a closed enum; empty where the outcome says it all.
    pub reason: &'static str,
    /// Age of the page that was served.
    pub age: Option<Duration>,
}

/// Accepts visitors until the drain closes.
pub async fn listen(site: Arc<Site>, listener: TcpListener, limits: Limits) {
    let room = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = async {
            // The semaphore is never closed; `None` would only mean that nothing is counted.
            let permit = room.clone().acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            biased;
            () = site.drain.closing.reached() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let task = connection(site.clone(), stream, peer, limits);
                site.drain.connections.spawn(async move {
                    task.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, or a peer that left at once: neither ends the listener.
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(site: Arc<Site>, stream: TcpStream, peer: SocketAddr, limits: Limits) {
    // Small writes of a stream must not wait for each other; a socket that refuses this still works.
    let _ = stream.set_nodelay(true);
    site.metrics.connections.inc();
    let (interim, exchanges) = (Interim::default(), Exchanges::default());
    let mut socket = Socket::new(stream, limits.head_time, interim.clone(), exchanges.clone());
    let address = address(peer.ip());
    let begun = unless(&site.drain.closing, pin!(preface::begin(&mut socket))).await;
    let ended: Result<(), BoxError> = match begun {
        None => Ok(()),
        Some(Err(error)) => Err(error.into()),
        Some(Ok((begins, first))) => {
            socket.unread(first);
            match begins {
                Begins::Http2 => {
                    let peer = h2::Peer {
                        site: &site,
                        address,
                        exchanges,
                        limits,
                    };
                    h2::serve(peer, socket).await.map_err(Into::into)
                }
                Begins::Http1 => {
                    let visitor = Visitor {
                        address,
                        interim: Way::Http1(interim),
                        exchanges,
                    };
                    http1(&site, visitor, socket, limits).await.map_err(Into::into)
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a connection broke");
    }
    site.metrics.connections.dec();
}

async fn http1(
    site: &Arc<Site>,
    visitor: Visitor,
    socket: Socket<TcpStream>,
    limits: Limits,
) -> hyper::Result<()> {
    let visitor = Arc::new(visitor);
    let service = service_fn(|request: Request<Incoming>| {
        let (site, visitor) = (site.clone(), visitor.clone());
        async move { Ok::<_, Infallible>(answer(&site, &visitor, request.map(Body::from)).await) }
    });
    let connection = http1::Builder::new()
        // See `socket`.
        .header_read_timeout(None)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    if let Some(ended) = unless(&site.drain.closing, connection.as_mut()).await {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    unless(&site.drain.ended, connection).await.unwrap_or(Ok(()))
}

fn address(peer: IpAddr) -> HeaderValue {
    let text = peer.to_canonical().to_string();
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("digits, letters, dots and colons")
}

/// What `work` comes to; `None`: the stage is reached before.
async fn unless<F: Future>(stage: &Stage, mut work: Pin<&mut F>) -> Option<F::Output> {
    let mut reached = pin!(stage.reached());
    let mut told = Told::default();
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => (told.poll(cx, stage.is_reached(), |cx| reached.as_mut().poll(cx))).map(|()| None),
    })
    .await
}

/// Answers one request, and tells those who count or watch.
pub async fn answer(site: &Arc<Site>, visitor: &Visitor, request: Request<Body>) -> Response<Body> {
    let mut exchange = visitor.exchanges.begin(!request.body().is_end_stream());
    let takes_chunks = request.version() >= Version::HTTP_11 || request.method() == Method::HEAD;
    let watched = site.visits.as_ref().map(|visits| {
        let path = request.uri().path_and_query().map_or("*", |path| path.as_str());
        (visits, Instant::now(), request.method().clone(), path.to_owned())
    });
    let answered = visit::visit(site, visitor, request).await;
    site.metrics.answered(answered.outcome, answered.reason);
    let mut response = answered.response;
    if site.drain.leaving.is_reached() {
        leave(&mut response);
    }
    if let Some((visits, started, method, path)) = watched {
        // A watcher that is too slow misses lines; a visitor never waits for it.
        let _ = visits.try_send(VisitLine {
            outcome: answered.outcome,
            reason: answered.reason,
            status: response.status(),
            age: answered.age,
            duration: started.elapsed(),
            method,
            path,
        });
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        exchange.never_ends();
        return response;
    }
    if !takes_chunks
        && response.body().size_hint().exact().is_none()
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        exchange.ends_with_connection();
    }
    response.map(|body| body.ends(exchange))
}

impl Answered {
    /// An answer to a request that passed through.
    pub const fn passed(response: Response<Body>, reason: PassReason) -> Self {
        Self {
            response,
            outcome: Outcome::Bypass,
            reason: reason.as_str(),
            age: None,
        }
    }
}

/// While the sidecar leaves, the app may have left already: what it cannot give is not its failure but the pod's end.
fn leave(response: &mut Response<Body>) {
    if response.status() == StatusCode::BAD_GATEWAY && response.extensions().get::<own::Own>().is_some() {
        let headers = std::mem::take(response.headers_mut());
        *response = own::leaving();
        for name in [X_COPPICE_CACHE, CACHE_STATUS] {
            let said = headers.get_all(&name).iter();
            let said: Vec<_> = said.map(|value| (name.clone(), value.clone())).collect();
            response.headers_mut().extend(said);
        }
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        // For HTTP/1.1: of HTTP/2, which says it in frames, `h2` takes it off.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
