//! Which version of HTTP a connection speaks: one of HTTP/2 begins with a preface that is no request of HTTP/1.1
//! (RFC 9113 section 3.4).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// The preface of HTTP/2.
    Http2,
    /// Anything else, nothing included: HTTP/1.1 has an answer to it.
    Http1,
}

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

/// A connection whose first bytes were looked at, and are read again.
#[derive(Debug)]
pub(super) struct Begun<S> {
    first: Bytes,
    inner: S,
    signs: Signs,
}

/// Looks at the first bytes, no more of them than it takes to know.
pub(super) async fn begin<S: AsyncRead + Unpin>(mut inner: S) -> io::Result<(Begins, Begun<S>)> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    let begins = loop {
        let left = PREFACE.len() - first.len();
        if left == 0 {
            break Begins::Http2;
        }
        let read = inner.read_buf(&mut (&mut first).limit(left)).await?;
        if read == 0 || !PREFACE.starts_with(&first) {
            break Begins::Http1;
        }
    };
    let begun = Begun {
        first: first.freeze(),
        inner,
        signs: Signs::default(),
    };
    Ok((begins, begun))
}

impl<S> Begun<S> {
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

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.first.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut this.inner).poll_read(cx, buf);
            if buf.filled().len() > before {
                this.signs.0.heard.store(true, Ordering::Relaxed);
            }
            return read;
        }
        let count = this.first.len().min(buf.remaining());
        buf.put_slice(&this.first[..count]);
        this.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
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
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// In pieces of any size, it is known as soon as it can be, and nothing is lost.
    #[tokio::test]
    async fn begins_as_it_says() {
        let requests: [(&[u8], Begins); 5] = [
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more", Begins::Http2),
            (b"GET / HTTP/1.1\r\n\r\n", Begins::Http1),
            (b"PRI * HTTP/1.1\r\n\r\n", Begins::Http1),
            (b"PRI", Begins::Http1),
            (b"", Begins::Http1),
        ];
        for (text, expected) in requests {
            for room in [1, 5, 64] {
                let (mut visitor, ours) = tokio::io::duplex(room);
                let saying = async {
                    visitor.write_all(text).await.unwrap();
                    drop(visitor);
                };
                let reading = async {
                    let (begins, mut begun) = begin(ours).await.unwrap();
                    let mut read = Vec::new();
                    begun.read_to_end(&mut read).await.unwrap();
                    (begins, read)
                };
                let ((), (begins, read)) = tokio::join!(saying, reading);
                assert_eq!((begins, &read[..]), (expected, text));
            }
        }
    }

    #[tokio::test]
    async fn who_speaks_or_has_yet_to_read_is_alive() {
        let (mut visitor, ours) = tokio::io::duplex(8);
        let (said, begun) = tokio::join!(visitor.write_all(b"GET / "), begin(ours));
        said.unwrap();
        let (_, mut begun) = begun.unwrap();
        let signs = begun.signs();
        begun.read_exact(&mut [0; 6]).await.unwrap();
        assert!(!signs.take(), "it was looked at before");
        visitor.write_all(b"x").await.unwrap();
        begun.read_exact(&mut [0; 1]).await.unwrap();
        assert!(signs.take() && !signs.take());
        {
            let mut writing = std::pin::pin!(begun.write_all(b"more than eight"));
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
