//! A stream that carries another protocol: bytes both ways.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::h2::RecvStream;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::send::{SendError, Sender};
use crate::body::Body;

/// A stream as a connection. Dropped before its end it is reset, as RFC 8441 section 5 has it for a connection that breaks.
#[derive(Debug)]
pub(super) struct Tunnel {
    sender: Sender,
    receiver: RecvStream,
    /// Arrived, and not read yet.
    unread: Bytes,
    /// Of the answer that opened it, which lasts as long: while it is open, the visitor is in nobody's debt.
    _body: Body,
}

impl Tunnel {
    pub(super) fn new(sender: Sender, receiver: RecvStream, body: Body) -> Self {
        Self {
            sender,
            receiver,
            unread: Bytes::new(),
            _body: body,
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            match ready!(this.receiver.poll_data(cx)) {
                Some(Ok(bytes)) => this.unread = bytes,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..count]);
        this.unread.advance(count);
        // It fails only where more is released than came.
        let _ = this.receiver.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.sender.poll_send(cx, bytes).map_err(broken)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sender.end().map_err(broken))
    }
}

fn broken(error: SendError) -> io::Error {
    io::Error::other(error)
}
