//! The way back of one stream until its answer begins.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use ::h2::server::SendResponse;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;

use crate::serve::interim::MAX_WAITING;

/// Of each field, as RFC 9113 section 6.5.2 counts.
const FIELD: usize = 32;

/// The way back of one stream, on which interim answers go until the answer begins. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reply(Arc<Mutex<Before>>);

#[derive(Debug)]
struct Before {
    /// `None`: the answer has begun, and it is too late.
    stream: Option<SendResponse<Bytes>>,
    /// Bytes of interim answers that there still is room for. `h2` does not tell what of them the visitor has taken, so it
    /// is all that this stream gets.
    room: usize,
}

impl Reply {
    pub(super) fn new(stream: SendResponse<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Before {
            stream: Some(stream),
            room: MAX_WAITING,
        })))
    }

    /// Sends an interim answer, if it is not too late and there is room. What concerns a connection is not in `headers`.
    pub(in crate::serve) fn say(&self, status: StatusCode, headers: HeaderMap) {
        let fields = headers.iter();
        let size: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len() + FIELD)
            .sum();
        let mut before = self.0.lock();
        let Some(room) = before.room.checked_sub(size + FIELD) else {
            return;
        };
        before.room = room;
        if let Some(stream) = &mut before.stream {
            let mut interim = Response::new(());
            *interim.status_mut() = status;
            *interim.headers_mut() = headers;
            // A visitor who is gone needs no hint.
            let _ = stream.send_informational(interim);
        }
    }

    /// Ready when the visitor has reset the stream, or is gone.
    pub(super) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0.lock().stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None => Poll::Ready(()),
        }
    }

    /// The answer begins.
    pub(super) fn take(&self) -> Option<SendResponse<Bytes>> {
        self.0.lock().stream.take()
    }
}
