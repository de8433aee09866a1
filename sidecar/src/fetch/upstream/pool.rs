//! Idle connections, and how one comes back: with the end of the answer that it carried.

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http1};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{IDLE, upload::Upload};
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
    sender: http1::SendRequest<Body>,
    since: Instant,
}

impl Pool {
    pub(super) fn take(&self) -> Option<http1::SendRequest<Body>> {
        let mut idle = self.idle.lock();
        loop {
            let Idle { sender, since } = idle.pop()?;
            if since.elapsed() >= IDLE {
                // All below are older still.
                idle.clear();
                return None;
            }
            if !sender.is_closed() {
                return Some(sender);
            }
        }
    }

    fn put(self: &Arc<Self>, sender: http1::SendRequest<Body>) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            let since = Instant::now();
            idle.push(Idle { sender, since });
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
        idle.retain(|idle| idle.since.elapsed() < IDLE && !idle.sender.is_closed());
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
    pub(super) sender: http1::SendRequest<Body>,
    pub(super) pool: Weak<Pool>,
    pub(super) upload: Arc<Upload>,
}

impl Lease {
    pub(super) fn give_back(self) {
        // An app that answered before it had read the request leaves a connection that is of no use.
        if self.upload.whole.load(Ordering::Acquire)
            && !self.sender.is_closed()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.put(self.sender);
        }
    }
}

/// An answer's body with the connection that it arrives on. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) body: Incoming,
    pub(super) lease: Option<Lease>,
}

impl HttpBody for Leased {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = match &frame {
            None => true,
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => {
                self.lease = None;
                false
            }
        };
        if ended && let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
