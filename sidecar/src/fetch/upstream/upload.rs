//! How the body of a request fares on its way to the app: an upload that moves is no app that hangs.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BoxError};

/// How the request's body fares.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// All of it was handed to the connection, or there is none.
    pub(super) whole: AtomicBool,
    /// It broke off or was malformed.
    pub(super) broken: AtomicBool,
    last: Mutex<Option<Instant>>,
}

impl Upload {
    fn moved(&self) -> Option<Instant> {
        *self.last.lock()
    }
}

/// Of requests without a body, all of which fare alike.
static NOTHING: LazyLock<Arc<Upload>> = LazyLock::new(|| {
    Arc::new(Upload {
        whole: AtomicBool::new(true),
        ..Upload::default()
    })
});

/// A request's body that tells [`Upload`] when it moves.
#[derive(Debug)]
struct Uploading {
    body: Body,
    upload: Arc<Upload>,
}

/// Puts a watch on a request's body.
pub(super) fn watch_upload(request: &mut Request<Body>) -> Arc<Upload> {
    let body = request.body_mut();
    if body.is_end_stream() {
        return NOTHING.clone();
    }
    let upload = Arc::<Upload>::default();
    *body = Body::stream(Uploading {
        body: std::mem::take(body),
        upload: upload.clone(),
    });
    upload
}

impl HttpBody for Uploading {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        *self.upload.last.lock() = Some(Instant::now());
        if matches!(frame, Some(Err(_))) {
            self.upload.broken.store(true, Ordering::Release);
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.upload.whole.store(true, Ordering::Release);
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

/// How long the caller waits for an answer, over all tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    since: Instant,
    pub(super) limit: Duration,
}

impl Patience {
    /// It begins now.
    pub(super) fn new(limit: Duration) -> Self {
        let since = Instant::now();
        Self { since, limit }
    }

    /// What is left of it, for a request whose body has not moved.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }
}

/// A timer that outlives a request: an answer comes long before its time is up, and to start a timer and to take it back
/// costs more than to let the last request's ring for nothing.
#[derive(Debug)]
pub(super) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    /// It rings after `limit`, or later, whenever somebody waits for it.
    pub(super) fn new(limit: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep(limit)))
    }

    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.deadline() > deadline {
            self.0.as_mut().reset(deadline);
        }
        loop {
            std::task::ready!(self.0.as_mut().poll(cx));
            if self.0.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
    }
}

/// The answer, unless for the `limit` neither it nor the request's body moved.
pub(super) async fn within<T>(
    Patience { since, limit }: Patience,
    timer: &mut Timer,
    upload: &Upload,
    answer: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(answer);
    let mut from = since;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        loop {
            std::task::ready!(timer.poll(from + limit, cx));
            match upload.moved() {
                Some(moved) if moved > from => from = moved,
                _ => return Poll::Ready(None),
            }
        }
    })
    .await
}
