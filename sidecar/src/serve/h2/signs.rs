//! Whether a visitor gives any sign of life.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The visitor's signs of life. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Signs(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// It has said something.
    heard: AtomicBool,
    /// There is more to write than it has taken yet.
    blocked: AtomicBool,
}

impl Signs {
    /// Whether there was one since this was last asked. A visitor who has yet to read what it was sent counts as alive: what
    /// it is asked lies behind that, and if it reads no more, TCP's user timeout ends it.
    pub(super) fn take(&self) -> bool {
        self.0.heard.swap(false, Ordering::Relaxed) | self.0.blocked.load(Ordering::Relaxed)
    }
}

/// A connection whose visitor's signs of life are noted.
#[derive(Debug)]
pub(super) struct Heard<S> {
    inner: S,
    signs: Signs,
}

impl<S> Heard<S> {
    pub(super) fn new(inner: S) -> Self {
        let signs = Signs::default();
        Self { inner, signs }
    }

    pub(super) fn signs(&self) -> Signs {
        self.signs.clone()
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        self.signs
            .0
            .blocked
            .store(written.is_pending(), Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.signs.0.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn who_speaks_or_has_yet_to_read_is_alive() {
        let (mut visitor, ours) = tokio::io::duplex(8);
        let mut heard = Heard::new(ours);
        let signs = heard.signs();
        assert!(!signs.take());
        visitor.write_all(b"x").await.unwrap();
        assert!(!signs.take(), "nobody has read it");
        heard.read_exact(&mut [0; 1]).await.unwrap();
        assert!(signs.take() && !signs.take());
        {
            let mut writing = std::pin::pin!(heard.write_all(b"more than eight"));
            assert!(futures::poll!(writing.as_mut()).is_pending());
            assert!(signs.take() && signs.take());
            let mut read = [0; 15];
            let reading = visitor.read_exact(&mut read);
            let (written, read) = tokio::join!(writing, reading);
            written.unwrap();
            read.unwrap();
        }
        assert!(!signs.take());
    }
}
