//! A visitor's connection beneath what speaks HTTP on it: it must get on in time, says interim answers between hyper's own
//! writes, and writes what is small in one piece.
//!
//! **In time** means: a request's head is there within the limit, or within twice that after an answer. One timer for the
//! whole connection sees to it, which is set anew only when it runs out; hyper's own would be made and dropped with each
//! request. While the visitor waits for the sidecar, or reads what it was sent, the connection is in nobody's debt; who reads
//! nothing any more is left to the kernel (`TCP_USER_TIMEOUT`). Who still sends when all is over is read for a while.
//!
//! **The end of the connection** is the end of an answer of unknown length to HTTP/1.0 (RFC 9112 section 6.3). One that breaks
//! off must not look whole: its connection is reset.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{interim::Interim, told::Told};

/// Up to so many bytes it costs less to copy a head and its body together than to have the kernel gather them.
const SMALL: usize = 4 << 10;

/// How long what the visitor still sends is read and thrown away once the connection has ended for us.
const LINGER: Duration = Duration::from_secs(2);

/// The requests of one connection that are being answered. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Exchanges(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    /// The last request has a body, which the visitor may still be sending.
    uploads: AtomicBool,
    /// The connection ends in good order while the visitor may still read, and says so: in windows and pings of HTTP/2.
    reads_aloud: AtomicBool,
    /// An answer ends with the connection.
    last: AtomicBool,
    /// All of that answer's body is there.
    whole: AtomicBool,
}

/// A request that is being answered, until its answer's body has ended.
#[derive(Debug)]
pub struct Exchange {
    exchanges: Exchanges,
    /// Its answer ends with the connection.
    is_last: bool,
}

impl Exchanges {
    /// A request is there, and with `uploads` the beginning of its body.
    pub fn begin(&self, uploads: bool) -> Exchange {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.uploads.store(uploads, Ordering::Relaxed);
        Exchange {
            exchanges: self.clone(),
            is_last: false,
        }
    }

    fn are_open(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > 0
    }

    /// The connection of HTTP/2 ends when they have, and the visitor may still be reading them.
    pub(super) fn end_while_read(&self) {
        self.0.reads_aloud.store(true, Ordering::Relaxed);
    }

    fn upload(&self) -> bool {
        self.0.uploads.load(Ordering::Relaxed)
    }

    fn read_aloud(&self) -> bool {
        self.0.reads_aloud.load(Ordering::Relaxed)
    }

    fn end_with_connection(&self) -> bool {
        self.0.last.load(Ordering::Relaxed)
    }

    fn are_whole(&self) -> bool {
        self.0.whole.load(Ordering::Relaxed)
    }
}

impl Exchange {
    /// The connection has changed its protocol: it is never again between two requests.
    pub fn never_ends(self) {
        // One more than its drop takes away.
        self.exchanges.0.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Only the end of the connection says where its answer ends: where the body breaks off, it is to be no proper end.
    pub fn ends_with_connection(&mut self) {
        self.is_last = true;
        self.exchanges.0.last.store(true, Ordering::Relaxed);
    }

    /// See [`Exchange::ends_with_connection`].
    pub(crate) const fn is_last(&self) -> bool {
        self.is_last
    }

    /// All of the answer's body is there.
    pub(crate) fn body_ended(&self) {
        self.exchanges.0.whole.store(true, Ordering::Relaxed);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.exchanges.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that can end in a way that nobody takes for the end of what was sent.
pub trait Reset {
    /// When it is dropped, what is unsent is thrown away and the peer told so.
    fn reset_when_dropped(&self);
}

impl Reset for TcpStream {
    fn reset_when_dropped(&self) {
        // A socket that refuses this is one that the peer has ended.
        let _ = self.set_zero_linger();
    }
}

/// A visitor's connection; see above.
#[derive(Debug)]
pub struct Socket<S: Reset> {
    inner: S,
    /// Read already, and to be read again.
    first: Bytes,
    interim: Interim,
    exchanges: Exchanges,
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
    told: Told,
    /// Something was written since the deadline was set.
    wrote: bool,
    /// There is more to write than the visitor has taken yet.
    stalled: bool,
    /// Until when what the visitor still sends is thrown away, and until when at most.
    lingers: Option<(Pin<Box<Sleep>>, Instant)>,
    /// The visitor has been sent all, and its end.
    is_shut: bool,
}

impl<S: Reset> Drop for Socket<S> {
    fn drop(&mut self) {
        if self.exchanges.end_with_connection() && !self.is_shut {
            self.inner.reset_when_dropped();
        }
    }
}

impl<S: Reset> Socket<S> {
    /// A connection that has just been accepted.
    pub fn new(inner: S, limit: Duration, interim: Interim, exchanges: Exchanges) -> Self {
        Self {
            inner,
            first: Bytes::new(),
            interim,
            exchanges,
            limit,
            deadline: Box::pin(tokio::time::sleep(limit)),
            told: Told::default(),
            wrote: false,
            stalled: false,
            lingers: None,
            is_shut: false,
        }
    }

    /// What was read is read again.
    pub(super) fn unread(&mut self, first: Bytes) {
        self.first = first;
    }

    /// Fails when the visitor has not got on in time.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let Self { told, deadline, .. } = self;
            let is_over = deadline.is_elapsed();
            if told
                .poll(cx, is_over, |cx| deadline.as_mut().poll(cx))
                .is_pending()
            {
                return Ok(());
            }
            if !self.exchanges.are_open() && !self.stalled && !self.wrote {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the visitor did not get on in time",
                ));
            }
            self.wrote = false;
            self.deadline.as_mut().reset(Instant::now() + self.limit);
            // It is another wait.
            self.told = Told::default();
        }
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        self.stalled = written.is_pending();
        self.wrote |= matches!(written, Poll::Ready(Ok(1..)));
    }
}

impl<S: AsyncRead + Reset + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // hyper reads also while it answers, to see the visitor go: so this is where time is looked at. Before there is
        // something to read: who sends a byte now and then is not in time for that.
        self.check(cx)?;
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Reset + Unpin> Socket<S> {
    fn poll_write_now(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note(&written);
        written
    }
}

impl<S: AsyncRead + Reset + Unpin> Socket<S> {
    /// A socket that is closed with something unread, or to which something is sent then, resets the connection; and the
    /// visitor, who may still be sending a body that was answered early, may never see the answer (RFC 9112 section 9.6).
    /// Who speaks HTTP/2 sends something for as long as it reads, and has its time anew with that, unless the drain ends.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reads_aloud = self.exchanges.read_aloud();
        let limit = self.limit;
        let (lingers, last) = (self.lingers)
            .get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), Instant::now() + limit));
        let mut space = [MaybeUninit::uninit(); SMALL];
        while lingers.as_mut().poll(cx).is_pending() {
            let mut unread = ReadBuf::uninit(&mut space);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut unread));
            if read.is_err() || unread.filled().is_empty() {
                break;
            }
            if reads_aloud {
                lingers.as_mut().reset((Instant::now() + LINGER).min(*last));
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Reset + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.interim.poll_rest(&mut this.inner, cx))?;
        this.poll_write_now(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.interim.poll_all(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.exchanges.end_with_connection() && (this.stalled || !this.exchanges.are_whole()) {
            return Poll::Ready(Ok(()));
        }
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.is_shut = true;
        }
        if this.exchanges.upload() || this.exchanges.read_aloud() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.interim.poll_rest(&mut this.inner, cx))?;
        if let [only] = pieces {
            return this.poll_write_now(cx, only);
        }
        if pieces.iter().map(|piece| piece.len()).sum::<usize>() <= SMALL {
            let mut whole = SmallVec::<[u8; SMALL]>::new();
            for piece in pieces {
                whole.extend_from_slice(piece);
            }
            return this.poll_write_now(cx, &whole);
        }
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, pieces);
        this.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    impl Reset for DuplexStream {
        fn reset_when_dropped(&self) {}
    }

    const LIMIT: Duration = Duration::from_secs(5);
    const ALMOST: Duration = Duration::from_millis(4999);

    fn socket(room: usize) -> (DuplexStream, Socket<DuplexStream>, Exchanges) {
        let (visitor, ours) = tokio::io::duplex(room);
        let exchanges = Exchanges::default();
        let socket = Socket::new(ours, LIMIT, Interim::default(), exchanges.clone());
        (visitor, socket, exchanges)
    }

    /// What comes of reading for so long.
    async fn read_for(socket: &mut Socket<DuplexStream>, time: Duration) -> Option<io::Result<usize>> {
        let mut text = Vec::new();
        tokio::time::timeout(time, socket.read_to_end(&mut text))
            .await
            .ok()
    }

    fn is_over(read: Option<io::Result<usize>>) -> bool {
        read.is_some_and(|read| read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut))
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_and_so_does_a_head_that_drips() {
        let (visitor, mut socket, _) = socket(64);
        assert!(is_over(read_for(&mut socket, LIMIT * 2).await));
        drop(visitor);
        let (mut visitor, mut socket, _) = self::socket(64);
        let dripping = async {
            while visitor.write_all(b"x").await.is_ok() {
                tokio::time::sleep(LIMIT / 10).await;
            }
        };
        tokio::select! {
            read = read_for(&mut socket, LIMIT * 2) => assert!(is_over(read)),
            () = dripping => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn between_two_requests_a_visitor_has_the_limit_after_the_answer() {
        let (mut visitor, mut socket, exchanges) = socket(64);
        for _ in 0..3 {
            assert!(read_for(&mut socket, ALMOST).await.is_none());
            let exchange = exchanges.begin(false);
            socket.write_all(b"answer").await.unwrap();
            drop(exchange);
            visitor.read_exact(&mut [0; 6]).await.unwrap();
        }
        assert!(is_over(read_for(&mut socket, LIMIT * 2).await));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_answer_or_has_changed_the_protocol_is_left_alone() {
        let (_visitor, mut socket, exchanges) = socket(64);
        let exchange = exchanges.begin(false);
        assert!(read_for(&mut socket, LIMIT * 10).await.is_none());
        exchange.never_ends();
        assert!(read_for(&mut socket, LIMIT * 10).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_has_its_time_for_a_head_after_the_answer() {
        let (mut visitor, mut socket, exchanges) = socket(10);
        drop(exchanges.begin(false));
        let _ = futures::poll!(std::pin::pin!(socket.write_all(&[0; 20])));
        assert!(read_for(&mut socket, LIMIT * 10).await.is_none());
        visitor.read_exact(&mut [0; 10]).await.unwrap();
        socket.write_all(&[0; 10]).await.unwrap();
        assert!(is_over(read_for(&mut socket, LIMIT * 2).await));
    }

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        let (mut visitor, mut socket, _) = socket(64);
        visitor.write_all(b"body").await.unwrap();
        drop(visitor);
        socket.unread(Bytes::from_static(b"head "));
        let mut text = [0; 3];
        socket.read_exact(&mut text).await.unwrap();
        let mut rest = String::new();
        socket.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&text, &*rest), (b"hea", "d body"));
    }

    #[tokio::test]
    async fn pieces_arrive_whole_whatever_their_size() {
        for size in [1, SMALL / 2, SMALL, 3 * SMALL] {
            let (mut visitor, mut socket, _) = socket(1000);
            let (head, body) = (vec![b'h'; 100], vec![b'b'; size]);
            let expected = [&head[..], &body[..]].concat();
            let writing = tokio::spawn(async move {
                let mut left = &mut [IoSlice::new(&head), IoSlice::new(&body)][..];
                while !left.is_empty() {
                    let written = socket.write_vectored(left).await.unwrap();
                    IoSlice::advance_slices(&mut left, written);
                }
            });
            let mut text = Vec::new();
            visitor.read_to_end(&mut text).await.unwrap();
            writing.await.unwrap();
            assert!(text == expected, "{size}");
        }
    }
}
