//! The body of a visitor's request. Its window opens as it is read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::h2::{Error, RecvStream};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::EXPECT};
use http_body::{Body as HttpBody, Frame};

use super::Reply;
use crate::body::Body;

struct Upload {
    stream: RecvStream,
    data_done: bool,
    /// The visitor waits with the body until somebody wants it (RFC 9110 section 10.1.1).
    expects: Option<Reply>,
}

/// The body that comes in on a stream, to a request with these headers. That its length is what it was said to be, `h2` sees
/// to.
pub(super) fn body(stream: RecvStream, headers: &HeaderMap, reply: &Reply) -> Body {
    if stream.is_end_stream() {
        return Body::empty();
    }
    let expects = headers.get(EXPECT);
    let expects = expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    Body::stream(Upload {
        stream,
        data_done: false,
        expects: expects.then(|| reply.clone()),
    })
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if !this.data_done {
            let polled = this.stream.poll_data(cx);
            if let Some(reply) = this.expects.take()
                && polled.is_pending()
            {
                reply.say(StatusCode::CONTINUE, HeaderMap::new());
            }
            match ready!(polled) {
                Some(Ok(bytes)) => {
                    // It fails only where more is released than came.
                    let _ = this.stream.flow_control().release_capacity(bytes.len());
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                // Whatever the reason: `NO_ERROR` too is a body that is not whole. Proxies reset with it what their own visitor left.
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.data_done = true,
            }
        }
        Poll::Ready(match ready!(this.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
