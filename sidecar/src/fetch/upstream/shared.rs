//! Connections of HTTP/2 to the app: each carries many requests at a time, and where all have enough, another is dialled.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use tokio::sync::Mutex;

use crate::{
    body::{Body, BoxError},
    fetch::BrokenOff,
};

/// Requests at a time on one connection. RFC 9113 section 6.5.2 recommends that no peer takes fewer; and of more than the app
/// takes, one would wait for a stream, and all that come later behind it.
const STREAMS: usize = 100;

/// The open connections, each as a place that nobody takes. The lock is held while one is dialled, so that it is dialled once.
#[derive(Debug, Default)]
pub(super) struct Shared {
    open: Mutex<Vec<Place>>,
}

/// A place on a connection, for one request until its answer has ended.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) sender: SendRequest<Body>,
    /// Shared by all places on the connection, which counts them.
    load: Arc<()>,
}

impl Shared {
    /// A place on a connection that has not ended; where there is none, on one that is dialled.
    pub(super) async fn take<E>(
        &self,
        dial: impl Future<Output = Result<SendRequest<Body>, E>>,
    ) -> Result<Place, E> {
        let mut open = self.open.lock().await;
        open.retain(|one| !one.sender.is_closed());
        for one in open.iter_mut() {
            if Arc::strong_count(&one.load) <= STREAMS && one.sender.ready().await.is_ok() {
                return Ok(one.clone());
            }
        }
        let one = Place {
            sender: dial.await?,
            load: Arc::default(),
        };
        open.push(one.clone());
        Ok(one)
    }
}

impl Place {
    /// The place is free again when the answer's body has ended.
    pub(super) fn until_the_end_of(self, body: Incoming) -> Body {
        if body.is_end_stream() {
            return Body::from(body);
        }
        Body::stream(Placed {
            body,
            _load: self.load,
        })
    }
}

/// An answer's body with its place.
#[derive(Debug)]
struct Placed {
    body: Incoming,
    _load: Arc<()>,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            // hyper takes a reset with `NO_ERROR` for the end, which it follows where the app keeps to RFC 9113 section 8.1.
            None if !self.body.is_end_stream() => Some(Err(BrokenOff.into())),
            frame => frame.map(|frame| frame.map_err(Into::into)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
