//! The one body type that requests and answers carry: whole from the store, or streaming past.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

use crate::serve::socket::Exchange;

/// What a streaming body may break off with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or an answer's body.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Of an answer: ends when this is dropped.
    exchange: Option<Exchange>,
}

#[derive(Debug)]
enum Kind {
    /// All of it; `None` once it was taken, or where there is nothing.
    Whole(Option<Bytes>),
    /// As a peer sends it.
    Incoming(Incoming),
    /// As somebody here makes it.
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    const fn of(kind: Kind) -> Self {
        Self { kind, exchange: None }
    }

    fn note_end(&self) {
        if let Some(exchange) = &self.exchange
            && exchange.is_last()
        {
            exchange.body_ended();
        }
    }

    /// The exchange ends with this body.
    pub fn ends(self, exchange: Exchange) -> Self {
        Self {
            exchange: Some(exchange),
            ..self
        }
    }

    /// No body.
    pub const fn empty() -> Self {
        Self::of(Kind::Whole(None))
    }

    /// A body that is all there; shares the bytes.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::of(Kind::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    /// A body that arrives piece by piece. An error ends it as broken off, never as whole.
    pub fn stream<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::of(Kind::Stream(body.map_err(Into::into).boxed_unsync()))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        Self::of(Kind::Incoming(body))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match &mut self.kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Stream(body) => Pin::new(body).poll_frame(cx),
        };
        let is_last = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if is_last {
            self.note_end();
        }
        frame
    }

    /// Who learns by this that it has ended does not ask for another frame.
    fn is_end_stream(&self) -> bool {
        let ended = match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Incoming(body) => body.is_end_stream(),
            Kind::Stream(body) => body.is_end_stream(),
        };
        if ended {
            self.note_end();
        }
        ended
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Incoming(body) => body.size_hint(),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}
