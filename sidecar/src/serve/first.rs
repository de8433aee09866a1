//! A connection that must say something in time.
//!
//! Before the first bytes decide between HTTP/1.1 and HTTP/2, no timer of hyper's runs, so a silent connection would stay
//! for ever. Once they are there, hyper's own timers take over.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// What an HTTP/2 connection begins with; one byte that differs means HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Fails to read when the first bytes take longer than it allows.
#[derive(Debug)]
pub struct FirstBytes<S> {
    inner: S,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    deadline: Pin<Box<Sleep>>,
    /// How much of the preface was seen.
    seen: usize,
}

impl<S> FirstBytes<S> {
    /// Gives the peer `time` from now.
    pub fn within(time: Duration, inner: S) -> Self {
        let waiting = Waiting {
            deadline: Box::pin(tokio::time::sleep(time)),
            seen: 0,
        };
        Self {
            inner,
            waiting: Some(waiting),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        let Some(waiting) = &mut this.waiting else {
            return read;
        };
        if read.is_pending() {
            return waiting.deadline.as_mut().poll(cx).map(|()| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the connection said nothing in time",
                ))
            });
        }
        let bytes = &buf.filled()[before..];
        let decided = !PREFACE[waiting.seen..].starts_with(bytes);
        waiting.seen += bytes.len();
        if decided || waiting.seen >= PREFACE.len() {
            this.waiting = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
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
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_and_half_a_preface_is_silence() {
        for beginning in [&b""[..], b"PRI * HT"] {
            let (mut peer, ours) = tokio::io::duplex(64);
            let mut ours = FirstBytes::within(Duration::from_secs(5), ours);
            peer.write_all(beginning).await.unwrap();
            let mut text = Vec::new();
            let error = ours.read_to_end(&mut text).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(text, beginning);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_spoke_is_left_alone() {
        for beginning in [&b"G"[..], b"PRIVATE", PREFACE] {
            let (mut peer, ours) = tokio::io::duplex(64);
            let mut ours = FirstBytes::within(Duration::from_secs(5), ours);
            peer.write_all(beginning).await.unwrap();
            let mut text = vec![0; beginning.len()];
            ours.read_exact(&mut text).await.unwrap();
            let read = tokio::time::timeout(Duration::from_mins(1), ours.read_u8());
            assert!(read.await.is_err(), "still open after a minute");
        }
    }
}
