//! Idle connections, and how one comes back: with the end of the answer that it carried.

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{IDLE, connection::Connection, upload::Upload};
use crate::body::Body;

/// Idle connections beyond this many are closed at once.
const MAX_IDLE: usize = 256;

/// Connections that wait for a request, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    /// Whether a task looks after `idle`; it ends when the list is empty.
    swept: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// One that was idle when it was last looked at; the app may have closed it.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let Idle { connection, since } = idle.pop()?;
        if since.elapsed() >= IDLE {
            // All below are older still.
            idle.clear();
            return None;
        }
        Some(connection)
    }

    fn put(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            let since = Instant::now();
            idle.push(Idle { connection, since });
        }
        drop(idle);
        if !self.swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes what was idle for too long, until nothing is idle.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock();
        idle.retain(|idle| idle.since.elapsed() < IDLE);
        if idle.is_empty() {
            // Under the lock: who puts a connection in after this sees that nobody sweeps.
            pool.swept.store(false, Ordering::Release);
            return;
        }
    }
}

/// A connection that is in use until its answer's body has ended.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) pool: Weak<Pool>,
    pub(super) upload: Arc<Upload>,
}

impl Lease {
    pub(super) fn give_back(self) {
        // An app that answered before it had read the request leaves a connection that is of no use.
        if self.upload.whole.load(Ordering::Acquire)
            && !self.connection.sender.is_closed()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.put(self.connection);
        }
    }
}

/// An answer's body with the connection that it arrives on. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub(super) struct Leased {
    body: Incoming,
    /// What came with the head.
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    lease: Option<Lease>,
    /// What it broke off with, until the next poll.
    broken: Option<hyper::Error>,
}

impl Leased {
    /// Most bodies are small and come with the head: those are whole, and their connections idle again.
    pub(super) fn body(mut body: Incoming, lease: Lease) -> Body {
        if body.is_end_stream() {
            lease.give_back();
            return Body::empty();
        }
        // Whoever is to be woken polls it again.
        let mut quiet = Context::from_waker(Waker::noop());
        let first = match Pin::new(&mut body).poll_frame(&mut quiet) {
            Poll::Ready(Some(Ok(frame))) if body.is_end_stream() => match frame.into_data() {
                Ok(whole) => {
                    lease.give_back();
                    return Body::whole(whole);
                }
                Err(trailers) => Some(Ok(trailers)),
            },
            Poll::Ready(None) => {
                lease.give_back();
                return Body::empty();
            }
            Poll::Ready(first) => first,
            Poll::Pending => None,
        };
        Body::stream(Self {
            body,
            first,
            lease: Some(lease),
            broken: None,
        })
    }
}

impl HttpBody for Leased {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Self {
            body, first, lease, ..
        } = &mut *self;
        let mut body = Pin::new(body);
        let frame = match (first.take(), lease) {
            (Some(first), _) => Poll::Ready(Some(first)),
            (None, Some(lease)) => lease.connection.poll(cx, |cx| body.as_mut().poll_frame(cx)),
            (None, None) => body.poll_frame(cx),
        };
        let frame = std::task::ready!(frame);
        if let Some(Err(error)) = frame {
            self.lease = None;
            // What came before it may have come in the same turn; whoever gets an error throws away what is unsent.
            self.broken = Some(error);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let ended = frame.is_none() || self.body.is_end_stream();
        if ended && let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.size_hint();
        let first = match &self.first {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        left.exact()
            .map_or(left, |left| SizeHint::with_exact(left + first as u64))
    }
}
