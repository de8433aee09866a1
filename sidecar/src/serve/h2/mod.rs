//! Connections of HTTP/2, on the `h2` crate itself: hyper's server on top of it can neither send interim answers nor let go
//! of a stream whose visitor takes nothing of it.
//!
//! ```text
//! serve ─► a task per stream: exchange ─► answer ─► send: as the visitor's windows allow
//!   │ pings, drain               │                └─► tunnel: a WebSocket, both ways
//!   └ until no stream is left    └─► reply: interim answers, until the answer begins
//! ```

mod exchange;
mod reply;
mod send;
mod signs;
mod tunnel;
mod upload;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::h2::{
    Error, Ping, PingPong, Reason,
    server::{Builder, Connection},
};
use bytes::Bytes;
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::reply::Reply;
use self::signs::{Heard, Signs};
use super::{Limits, socket::Exchanges, unless};
use crate::site::Site;

/// Bytes of a request's body that a visitor may send ahead: up to sixteen that the app does not take leave room for others, and
/// nobody accounts for more.
const WINDOW: u32 = 64 << 10;
/// The same for all requests of a connection.
const WINDOWS: u32 = 17 * WINDOW;
/// What small frames may cost that the app has not taken yet, as `h2` reckons: up to 256 each, which is about their memory.
/// Beyond it the connection ends for all who share it, so it is what sixteen windows full of messages of 28 bytes cost.
const FRAMES: usize = 8 << 20;
/// Bytes of an answer that wait for the connection: of each stream, and nobody accounts for them.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that a visitor may have us reset by what it does wrong.
const ERROR_RESETS: usize = 1024;
/// A visitor who has been silent for so long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(30);
/// How long it then has to answer.
const PONG: Duration = Duration::from_secs(20);

/// Of whom the requests of a connection are.
pub(super) struct Peer<'a> {
    pub(super) site: &'a Arc<Site>,
    pub(super) address: HeaderValue,
    pub(super) exchanges: Exchanges,
    pub(super) limits: Limits,
}

/// Serves a connection until it ends, or the drain does.
pub(super) async fn serve<S>(peer: Peer<'_>, io: S) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let drain = &peer.site.drain;
    let io = Heard::new(io);
    let signs = io.signs();
    let handshake = pin!(builder(&peer.limits).handshake(io));
    let Some(connection) = unless(&drain.ended, handshake).await else {
        return Ok(());
    };
    let mut connection = connection?;
    let gone = gone(connection.ping_pong(), signs);
    let mut serving = Serving {
        peer: &peer,
        connection,
        gone: Box::pin(gone),
    };
    if let Some(ended) = unless(&drain.closing, pin!(poll_fn(|cx| serving.poll(cx)))).await {
        return ended;
    }
    peer.exchanges.end_while_read();
    serving.connection.graceful_shutdown();
    let ended = unless(&drain.ended, pin!(poll_fn(|cx| serving.poll(cx)))).await;
    ended.unwrap_or(Ok(()))
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOWS)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(FRAMES)
        .max_local_error_reset_streams(Some(ERROR_RESETS))
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .enable_connect_protocol();
    builder
}

struct Serving<'a, S, G> {
    peer: &'a Peer<'a>,
    connection: Connection<Heard<S>, Bytes>,
    /// Ends when the visitor does not answer any more.
    gone: Pin<Box<G>>,
}

impl<S, G> Serving<'_, S, G>
where
    S: AsyncRead + AsyncWrite + Unpin,
    G: Future<Output = ()>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.gone.as_mut().poll(cx).is_ready() {
            // It may be read; nobody waits for that.
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
            let _ = self.connection.poll_closed(cx);
            return Poll::Ready(Ok(()));
        }
        loop {
            let accepted = ready!(pin!(self.connection.accept()).poll(cx));
            let Some(accepted) = accepted else {
                return Poll::Ready(Ok(()));
            };
            let (request, stream) = accepted?;
            tokio::spawn(exchange::run(self.peer.visitor(stream), request));
        }
    }
}

/// Returns when the visitor is gone: it gave no sign of life for a while, and none after it was asked for one.
async fn gone(pings: Option<PingPong>, signs: Signs) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(SILENCE).await;
        if signs.take() {
            continue;
        }
        // Where an earlier one is still on its way, that one does as well.
        let _ = pings.send_ping(Ping::opaque());
        tokio::time::sleep(PONG).await;
        let _ = poll_fn(|cx| Poll::Ready(pings.poll_pong(cx))).await;
        if !signs.take() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use ::h2::{client, server};
    use tokio::{io::DuplexStream, time::Instant};

    use super::*;

    /// A connection, whose visitor's end has yet to be driven, and the future that ends when the visitor is gone.
    async fn connected() -> (
        client::Connection<DuplexStream>,
        client::SendRequest<Bytes>,
        impl Future<Output = ()>,
    ) {
        let (visitor, ours) = tokio::io::duplex(1 << 16);
        let ((pings, signs), visitor) = tokio::join!(
            async {
                let io = Heard::new(ours);
                let signs = io.signs();
                let mut connection = server::Builder::new().handshake::<_, Bytes>(io).await.unwrap();
                let pings = connection.ping_pong();
                tokio::spawn(async move { connection.accept().await.is_none() });
                (pings, signs)
            },
            client::handshake(visitor),
        );
        let (sender, connection) = visitor.unwrap();
        (connection, sender, gone(pings, signs))
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_who_answers_pings_may_be_silent() {
        let (connection, _sender, gone) = connected().await;
        tokio::spawn(connection);
        let day = Duration::from_hours(24);
        assert!(tokio::time::timeout(day, gone).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_who_answers_nothing_is_gone() {
        let (_connection, _sender, gone) = connected().await;
        let began = Instant::now();
        gone.await;
        // The handshake was heard within the first of the two.
        assert!(began.elapsed() <= 2 * SILENCE + PONG);
    }
}
