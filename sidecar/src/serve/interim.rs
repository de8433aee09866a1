//! Interim answers (1xx, such as 103 Early Hints) of the app on their way to the visitor.
//!
//! To one of HTTP/2 they go on the stream of its request ([`Reply`]). For HTTP/1.1, hyper's client tells of them, its server
//! has no way to send any. So they are written beneath hyper, where it cannot mind: after it has written all that it has, and
//! before it has an answer to begin.
//!
//! ```text
//! app's connection ─► Relay::say ─► queue ─► Interim::poll_all ─► visitor
//!                                              │ Socket is flushed: what hyper wrote before is whole
//! request's future ─► Relay::end ◄─────────────┘ and goes on only once the queue is empty: the answer comes after it
//! ```
//!
//! hyper calls the service for a request only when the answer before is written, and has one request at a time, so between
//! [`Way::relay`] and the end of [`Relay::end`] a flush is such a place. Visitors of HTTP/1.0 know no interim answers
//! (RFC 9110 section 15.2).

use std::{
    future::poll_fn,
    io::{self, Write as _},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;

use super::h2::Reply;
use crate::hop;

/// Bytes that wait for a visitor who does not read; what comes beyond them is left out, since nobody needs a hint to
/// understand the answer.
pub(super) const MAX_WAITING: usize = 16 << 10;

/// The interim answers of one connection. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Interim {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// A request may have interim answers, or one is yet to be written; without, no lock is taken.
    open: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Heads that wait; of the first, part may be written.
    bytes: BytesMut,
    /// Part of a head is written: nothing but its rest may follow.
    begun: bool,
    /// Number of the request that is answered; what an earlier one's app still says is too late.
    request: u64,
    /// The connection, which waits for something to do.
    connection: Option<Waker>,
    /// The request's future, which waits for the queue to be empty.
    end: Option<Waker>,
}

/// The way of a visitor's interim answers.
#[derive(Debug)]
pub enum Way {
    /// Between the answers on its connection.
    Http1(Interim),
    /// On the stream of its request.
    Http2(Reply),
}

impl Way {
    /// For one request, whose answer has not begun.
    pub fn relay(&self) -> Relay {
        match self {
            Self::Http1(interim) => interim.relay(),
            Self::Http2(reply) => Relay::Stream(reply.clone()),
        }
    }
}

impl Interim {
    fn relay(&self) -> Relay {
        let mut queue = self.shared.queue.lock();
        queue.request += 1;
        self.shared.open.store(true, Ordering::Release);
        Relay::Queue(Queued {
            shared: self.shared.clone(),
            request: queue.request,
        })
    }

    /// Writes what waits; for a flush of hyper's, which says that what it wrote before is whole.
    pub(super) fn poll_all<S>(&self, inner: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        self.poll_write(inner, cx, false)
    }

    /// Writes the rest of what has begun, before anything else is written.
    pub(super) fn poll_rest<S>(&self, inner: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        self.poll_write(inner, cx, true)
    }

    fn poll_write<S>(&self, inner: &mut S, cx: &mut Context<'_>, begun: bool) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let shared = &*self.shared;
        if !shared.open.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut queue = shared.queue.lock();
        if begun && !queue.begun {
            return Poll::Ready(Ok(()));
        }
        while !queue.bytes.is_empty() {
            let written = ready!(Pin::new(&mut *inner).poll_write(cx, &queue.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            queue.bytes.advance(written);
            queue.begun = true;
        }
        queue.begun = false;
        if !queue
            .connection
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            queue.connection = Some(cx.waker().clone());
        }
        if let Some(end) = queue.end.take() {
            end.wake();
        }
        Poll::Ready(Ok(()))
    }
}

/// The interim answers of one request. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Relay {
    /// Of HTTP/1.1.
    Queue(Queued),
    /// Of HTTP/2.
    Stream(Reply),
}

/// One request's share in the interim answers of a connection.
#[derive(Debug, Clone)]
pub struct Queued {
    shared: Arc<Shared>,
    request: u64,
}

impl Relay {
    /// The app has given an interim answer. `100 Continue` is between the app and us, as hyper's own is between us and the
    /// visitor; `101 Switching Protocols` is final.
    pub fn say(&self, status: StatusCode, headers: &HeaderMap) {
        if matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
            return;
        }
        let mut headers = headers.clone();
        hop::strip(&mut headers);
        headers.remove(CONTENT_LENGTH);
        match self {
            Self::Queue(queued) => queued.say(status, &headers),
            Self::Stream(reply) => reply.say(status, headers),
        }
    }

    /// The answer is there: returns once all that came before it is written, and takes no more.
    pub async fn end(self) {
        if let Self::Queue(queued) = self {
            queued.end().await;
        }
    }
}

impl Queued {
    fn say(&self, status: StatusCode, headers: &HeaderMap) {
        let head = head(status, headers);
        let mut queue = self.shared.queue.lock();
        if queue.request != self.request || queue.bytes.len() + head.len() > MAX_WAITING {
            return;
        }
        queue.bytes.extend_from_slice(&head);
        let connection = queue.connection.take();
        drop(queue);
        if let Some(connection) = connection {
            connection.wake();
        }
    }

    async fn end(self) {
        poll_fn(|cx| {
            let mut queue = self.shared.queue.lock();
            if queue.request != self.request {
                return Poll::Ready(());
            }
            if !queue.bytes.is_empty() {
                queue.end = Some(cx.waker().clone());
                return Poll::Pending;
            }
            queue.request += 1;
            queue.connection = None;
            self.shared.open.store(false, Ordering::Release);
            Poll::Ready(())
        })
        .await;
    }
}

/// An interim answer as it goes over the wire.
fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::with_capacity(256);
    // Writing to a vector cannot fail.
    let _ = write!(
        head,
        "HTTP/1.1 {} {}\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default()
    );
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, header::LINK};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{
        super::socket::{Exchanges, Socket},
        *,
    };

    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";

    fn link() -> HeaderMap {
        HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a.css>"))])
    }

    #[test]
    fn interim_heads_have_nothing_of_the_connection() {
        let mut headers = link();
        headers.insert("connection", HeaderValue::from_static("x-mine"));
        headers.insert("x-mine", HeaderValue::from_static("1"));
        headers.insert("content-length", HeaderValue::from_static("5"));
        headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        let interim = Interim::default();
        interim.relay().say(StatusCode::EARLY_HINTS, &headers);
        assert_eq!(interim.shared.queue.lock().bytes, HINT.as_bytes());
    }

    /// A visitor who takes a few bytes at a time gets heads and answer whole and in order.
    #[tokio::test]
    async fn interim_heads_are_never_cut_by_what_follows() {
        let (mut visitor, ours) = tokio::io::duplex(7);
        let interim = Interim::default();
        let mut ours = Socket::new(
            ours,
            Duration::from_mins(1),
            interim.clone(),
            Exchanges::default(),
        );
        let relay = interim.relay();
        relay.say(StatusCode::EARLY_HINTS, &link());
        let writing = tokio::spawn(async move {
            // hyper gives a flush up where it must, and then writes its own `100 Continue`.
            let _ = futures::poll!(std::pin::pin!(ours.flush()));
            ours.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            relay.say(StatusCode::EARLY_HINTS, &link());
            relay.say(StatusCode::CONTINUE, &HeaderMap::new());
            tokio::join!(relay.clone().end(), async { ours.flush().await.unwrap() });
            // Too late.
            relay.say(StatusCode::EARLY_HINTS, &link());
            ours.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            ours.flush().await.unwrap();
        });
        let mut text = String::new();
        visitor.read_to_string(&mut text).await.unwrap();
        writing.await.unwrap();
        assert_eq!(
            text,
            format!("{HINT}HTTP/1.1 100 Continue\r\n\r\n{HINT}HTTP/1.1 200 OK\r\n\r\n")
        );
    }

    #[tokio::test]
    async fn interim_heads_that_nobody_reads_are_bounded() {
        let interim = Interim::default();
        let relay = interim.relay();
        for _ in 0..10_000 {
            relay.say(StatusCode::EARLY_HINTS, &link());
        }
        let waiting = interim.shared.queue.lock().bytes.len();
        assert!(
            waiting <= MAX_WAITING && waiting.is_multiple_of(HINT.len()),
            "{waiting}"
        );
    }

    #[tokio::test]
    async fn interim_heads_of_an_earlier_request_are_too_late() {
        let interim = Interim::default();
        let first = interim.relay();
        first.clone().end().await;
        let _second = interim.relay();
        first.say(StatusCode::EARLY_HINTS, &link());
        assert!(interim.shared.queue.lock().bytes.is_empty());
    }
}
