//! One body, many readers: what arrives from the app is shared, chunk by chunk, by all who wait for it, while it is
//! collected to be stored.
//!
//! ```text
//! push(chunk) ──► chunks ──► reader, reader, …      each at its own place, none copies
//! finish      ──► one compact body, which readers go on reading      break_off ──► every reader fails
//! reveal      ──► readers see the end, which nobody may before the page is in the store
//! pace        ──► nobody attaches any more; what all have read goes, and the app is read no faster than they read
//! ```

use std::{
    collections::{HashMap, VecDeque},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use coppice_cache::{judge::Unstorable, store::Reservation};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::body::BoxError;

/// How far a paced flight reads ahead of its slowest reader, in bytes, where it has room for that.
const WINDOW: u64 = 128 << 10;
/// What arrives in smaller pieces than this is copied together, in bytes: for itself each would hold the whole buffer that it
/// was read into, and a place in the list.
const PIECE: usize = 16 << 10;

/// A body that arrives, and those who read it.
#[derive(Debug)]
pub(super) struct Tee {
    inner: Mutex<Inner>,
    /// A reader has read on, or has left.
    moved: Notify,
}

#[derive(Debug)]
struct Inner {
    /// In order, without gaps; the first begins at `from`.
    chunks: VecDeque<Chunk>,
    /// What has arrived after these, in small pieces: at most [`PIECE`]. Readers get copies of it.
    tail: Vec<u8>,
    /// What lies before this has gone: only where `paced`.
    from: u64,
    /// Bytes that have arrived.
    arrived: u64,
    /// Readers get what lies before this. What completes a body is held back until it is stored: a visitor that has read
    /// a page to its end finds it in the store.
    visible: u64,
    /// What `Content-Length` promised.
    promised: Option<u64>,
    end: Option<End>,
    /// Why it is for none but those who read it already.
    paced: Option<Unstorable>,
    readers: HashMap<u64, Reader>,
    /// Number of the last reader.
    count: u64,
    /// Room in the memory budget: for what is held of the body, and for `around` it.
    room: Option<Reservation>,
    /// What the flight takes beside the body, in bytes.
    around: u64,
}

#[derive(Debug)]
struct Chunk {
    at: u64,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

#[derive(Debug, Default)]
struct Reader {
    /// What lies before this has been read.
    at: u64,
    waker: Option<Waker>,
    /// Too slow for the others.
    cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    BrokenOff,
}

/// The app's answer broke off; so does what visitors get of it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("failed to read the app's answer to its end")]
pub struct BrokenOff;

/// Why a chunk was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Tee {
    pub(super) fn new(room: Reservation) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                chunks: VecDeque::new(),
                tail: Vec::new(),
                from: 0,
                arrived: 0,
                visible: 0,
                promised: None,
                end: None,
                paced: None,
                readers: HashMap::new(),
                count: 0,
                room: Some(room),
                around: 0,
            }),
            moved: Notify::new(),
        })
    }

    /// What `Content-Length` says: what readers can be told before the end.
    pub(super) fn promise(&self, length: Option<u64>) {
        self.inner.lock().promised = length;
    }

    /// Takes room for what the flight needs beside the body; false: there is none.
    pub(super) fn make_room(&self, bytes: u64) -> bool {
        let mut inner = self.inner.lock();
        let room = inner.room.as_mut().is_none_or(|room| room.grow(bytes));
        if room {
            inner.around += bytes;
        }
        room
    }

    /// Bytes that have arrived.
    pub(super) fn arrived(&self) -> u64 {
        self.inner.lock().arrived
    }

    /// Takes a chunk and wakes who waits for it. Without room in the budget it is taken only by a paced flight, which waits then
    /// until that is read.
    pub(super) fn push(&self, bytes: Bytes) -> Result<(), (Bytes, NoRoom)> {
        let mut inner = self.inner.lock();
        let held = inner.held() + bytes.len() as u64;
        let room = inner.room.as_mut().is_none_or(|room| room.grow_to(held));
        if !room && inner.paced.is_none() {
            return Err((bytes, NoRoom));
        }
        inner.append(bytes);
        if inner.promised == Some(inner.arrived) && inner.paced.is_none() {
            return Ok(());
        }
        inner.visible = inner.arrived;
        let wakers = inner.wakers();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Nobody attaches from now on, for this reason, and what all have read goes.
    pub(super) fn pace(&self, reason: Unstorable) {
        let mut inner = self.inner.lock();
        inner.paced = Some(reason);
        inner.visible = inner.arrived;
        let wakers = inner.wakers();
        inner.forget();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns when the slowest reader of a paced flight is near; false: nobody reads any more.
    pub(super) async fn keep_pace(&self) -> bool {
        loop {
            let moved = self.moved.notified();
            {
                let inner = self.inner.lock();
                if inner.readers.values().all(|reader| reader.cut) {
                    return false;
                }
                if inner.arrived - inner.from <= inner.window() {
                    return true;
                }
            }
            moved.await;
        }
    }

    /// Cuts the readers of a paced flight that keep others waiting: those furthest behind, while another has read all
    /// there is. Who alone is slow keeps nobody waiting, and who reads nothing any more is let go with its connection.
    pub(super) fn cut_slowest(&self) {
        let mut inner = self.inner.lock();
        let uncut = || inner.readers.values().filter(|reader| !reader.cut);
        let slowest = uncut().map(|reader| reader.at).min();
        let waits = uncut().any(|reader| reader.at == inner.arrived);
        let Some(slowest) = slowest.filter(|slowest| waits && *slowest < inner.arrived) else {
            return;
        };
        let mut wakers = Vec::new();
        for reader in inner.readers.values_mut().filter(|reader| reader.at == slowest) {
            reader.cut = true;
            wakers.extend(reader.waker.take());
        }
        inner.forget();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        self.moved.notify_waiters();
    }

    /// The body is complete. Returns it in one piece that shares no memory with what it was read from, unless it was
    /// paced; readers go on reading that piece. They see its end when it is revealed.
    pub(super) fn finish(&self) -> Option<Bytes> {
        let mut inner = self.inner.lock();
        inner.paced.is_none().then(|| inner.compact())
    }

    /// Readers see the end of the body.
    pub(super) fn reveal(&self) {
        let mut inner = self.inner.lock();
        inner.end = Some(End::Whole);
        inner.visible = inner.arrived;
        let wakers = inner.wakers();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The body broke off: every reader fails, those that come too.
    pub(super) fn break_off(&self) {
        let mut inner = self.inner.lock();
        inner.end = Some(End::BrokenOff);
        inner.chunks.clear();
        inner.tail = Vec::new();
        inner.room = None;
        let wakers = inner.wakers();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The store accounts for the body now.
    pub(super) fn release_room(&self) {
        let room = self.inner.lock().room.take();
        drop(room);
    }

    /// A reader from the beginning; an error where that has gone, and nobody may join any more: why.
    pub(super) fn attach(self: &Arc<Self>) -> Result<TeeBody, Unstorable> {
        let mut inner = self.inner.lock();
        if let Some(reason) = inner.paced {
            return Err(reason);
        }
        inner.count += 1;
        let number = inner.count;
        inner.readers.insert(number, Reader::default());
        Ok(TeeBody {
            tee: self.clone(),
            number,
        })
    }
}

impl Inner {
    fn wakers(&mut self) -> Vec<Waker> {
        self.readers
            .values_mut()
            .filter_map(|reader| reader.waker.take())
            .collect()
    }

    fn append(&mut self, bytes: Bytes) {
        if self.tail.len() + bytes.len() > PIECE {
            let at = self.tail_at();
            let bytes = Bytes::from(mem::take(&mut self.tail));
            self.hold(Chunk { at, bytes });
        }
        let at = self.arrived;
        self.arrived += bytes.len() as u64;
        if bytes.len() < PIECE {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.hold(Chunk { at, bytes });
        }
    }

    fn hold(&mut self, chunk: Chunk) {
        if !chunk.bytes.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    fn tail_at(&self) -> u64 {
        self.arrived - self.tail.len() as u64
    }

    fn compact(&mut self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.arrived as usize);
        for chunk in mem::take(&mut self.chunks) {
            whole.extend_from_slice(&chunk.bytes);
        }
        whole.extend_from_slice(&mem::take(&mut self.tail));
        let whole = whole.freeze();
        if !whole.is_empty() {
            self.chunks.push_back(Chunk {
                at: 0,
                bytes: whole.clone(),
            });
        }
        whole
    }

    /// Drops what every reader of a paced flight has read.
    fn forget(&mut self) {
        if self.paced.is_none() {
            return;
        }
        let readers = self.readers.values().filter(|reader| !reader.cut);
        let slowest = readers.map(|reader| reader.at).min().unwrap_or(self.arrived);
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= slowest) {
            self.chunks.pop_front();
        }
        if slowest >= self.arrived {
            self.tail.clear();
        }
        self.from = (self.chunks.front()).map_or_else(|| self.tail_at(), |chunk| chunk.at);
        // Its window stays its own.
        let held = self.held().max(self.around + WINDOW);
        if let Some(room) = &mut self.room {
            room.shrink_to(held);
        }
    }

    /// Bytes for which it is to have room.
    fn held(&self) -> u64 {
        self.arrived - self.from + self.around
    }

    /// How far a paced flight may be ahead of its slowest reader.
    fn window(&self) -> u64 {
        let room = self.room.as_ref().map_or(u64::MAX, Reservation::bytes);
        room.saturating_sub(self.around).min(WINDOW)
    }

    fn chunk(&self, at: u64) -> Option<Bytes> {
        let most = self.visible.checked_sub(at).filter(|most| *most > 0)?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if let Some(skip) = at.checked_sub(self.tail_at()) {
            let bytes = self.tail.get(skip as usize..)?;
            return Some(Bytes::copy_from_slice(&bytes[..bytes.len().min(most)]));
        }
        let index = self.chunks.partition_point(|chunk| chunk.end() <= at);
        let chunk = self.chunks.get(index)?;
        let skip = at.checked_sub(chunk.at)?;
        let mut bytes = chunk.bytes.slice(skip as usize..);
        bytes.truncate(most);
        Some(bytes)
    }
}

/// One reader's view of the body. Dropping it harms nobody else.
#[derive(Debug)]
pub struct TeeBody {
    tee: Arc<Tee>,
    number: u64,
}

impl HttpBody for TeeBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut inner = self.tee.inner.lock();
        let Some(reader) = inner.readers.get(&self.number) else {
            return Poll::Ready(None);
        };
        let (at, cut) = (reader.at, reader.cut);
        if cut || inner.end == Some(End::BrokenOff) {
            return Poll::Ready(Some(Err(BrokenOff.into())));
        }
        let chunk = inner.chunk(at);
        if chunk.is_none() && inner.end == Some(End::Whole) {
            return Poll::Ready(None);
        }
        if let Some(reader) = inner.readers.get_mut(&self.number) {
            match &chunk {
                Some(chunk) => reader.at += chunk.len() as u64,
                None => reader.waker = Some(context.waker().clone()),
            }
        }
        let Some(chunk) = chunk else {
            return Poll::Pending;
        };
        let paced = inner.paced.is_some();
        inner.forget();
        drop(inner);
        if paced {
            self.tee.moved.notify_waiters();
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.tee.inner.lock();
        inner.end == Some(End::Whole)
            && inner
                .readers
                .get(&self.number)
                .is_some_and(|reader| reader.at == inner.arrived)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.tee.inner.lock();
        let read = inner.readers.get(&self.number).map_or(0, |reader| reader.at);
        let length = match inner.end {
            Some(End::Whole) => Some(inner.arrived),
            _ => inner.promised,
        };
        if let Some(length) = length {
            return SizeHint::with_exact(length.saturating_sub(read));
        }
        let mut hint = SizeHint::new();
        hint.set_lower(inner.arrived.saturating_sub(read));
        hint
    }
}

impl Drop for TeeBody {
    fn drop(&mut self) {
        let mut inner = self.tee.inner.lock();
        inner.readers.remove(&self.number);
        inner.forget();
        drop(inner);
        self.tee.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
