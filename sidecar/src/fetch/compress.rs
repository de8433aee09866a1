//! Bodies in other codings: each made once for a page, behind the visitors.
//!
//! ```text
//! want(page, coding) ──► the first who wants it ──┬─► a place in the queue ──► a turn ──► a thread that may block
//! follow(new, old)   ──► what was wanted before ──┘       Store::encode ◄── smaller, and the body is still stored
//! ```
//!
//! Whoever wants a coding is not kept waiting: it gets the body as it is, and later ones get it compressed. A page that takes
//! the place of another is made ready for those who come. A body that does not get smaller is remembered by its page as
//! tried, and is not tried again.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use coppice_cache::{coding::Coding, key::Key, page::Page, store::Store};
use tokio::sync::Semaphore;

/// So many bodies are compressed at once: visitors need the processor too.
const AT_ONCE: usize = 2;
/// So many wait or are compressed; beyond it a coding counts as not tried, and the next visitor asks again.
const MOST: usize = 64;
/// What a compressor takes beside the bodies, in bytes: its tables, and windows that grow with the body up to a size.
const TABLES: u64 = 1 << 20;
const WINDOWS: u64 = 4 << 20;
/// What saves less than this share of a body is not worth its memory.
const LEAST_SAVED: usize = 16;

const GZIP_LEVEL: u32 = 6;
const BROTLI_QUALITY: i32 = 5;
const ZSTD_LEVEL: i32 = 3;

/// Compresses.
#[derive(Debug, Clone)]
pub(super) struct Compressor {
    /// Places for those who wait or have their turn.
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Compressor {
    /// A visitor wants a page's body in a coding, which is made unless it is there or was tried before.
    pub(super) fn want(&self, store: &Arc<Store>, page: &Page, coding: Coding) {
        if page.want(coding) {
            self.begin(store, page, coding);
        }
    }

    /// A page has taken the place of another: what visitors wanted of that one they will want again.
    pub(super) fn follow(&self, store: &Arc<Store>, page: &Page, old: &Page) {
        for coding in old.wanted().filter(|_| page.is_compressible()) {
            if page.try_out(coding) {
                self.begin(store, page, coding);
            }
        }
    }

    fn begin(&self, store: &Arc<Store>, page: &Page, coding: Coding) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            page.give_up(coding);
            return;
        };
        // Not the page itself: what is evicted while it waits is not to be kept.
        let (turns, store, key) = (self.turns.clone(), store.clone(), page.key());
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _turn = turns.acquire_owned().await;
            make(store, &key, coding).await;
            drop(place);
        });
    }
}

async fn make(store: Arc<Store>, key: &Key, coding: Coding) {
    let Some(page) = store.get(key) else {
        return;
    };
    if !page.is_compressible() || page.encoded(coding).is_some() {
        return;
    }
    // Another page may have taken the place of the one that was asked for.
    page.try_out(coding);
    let mut room = store.reserve();
    let bytes = page.bytes().len() as u64;
    if !room.grow(bytes + TABLES + WINDOWS.min(2 * bytes)) {
        page.give_up(coding);
        return;
    }
    let made = tokio::task::spawn_blocking(move || {
        if let Some(body) = compress(page.bytes(), coding) {
            store.encode(&page, coding, body);
        }
        drop(room);
    });
    if let Err(error) = made.await {
        tracing::error!(path = key.path(), coding = coding.as_str(), %error, "failed to compress a page");
    }
}

/// The body in a coding; `None`: it does not get smaller by enough.
fn compress(body: &[u8], coding: Coding) -> Option<Bytes> {
    let mut smaller = Smaller {
        bytes: Vec::new(),
        most: body.len() - body.len() / LEAST_SAVED,
    };
    let made = match coding {
        Coding::Gzip => gzip(body, &mut smaller),
        Coding::Brotli => brotli(body, &mut smaller),
        Coding::Zstd => zstd(body, &mut smaller),
    };
    made.ok()?;
    Some(smaller.bytes.into_boxed_slice().into())
}

fn gzip(body: &[u8], into: &mut Smaller) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(into, flate2::Compression::new(GZIP_LEVEL));
    encoder.write_all(body)?;
    encoder.finish().map(|_| ())
}

fn brotli(mut body: &[u8], into: &mut Smaller) -> io::Result<()> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        // A window that holds the body is as good as a larger one, and cheaper.
        lgwin: (body.len().max(2).ilog2() as i32 + 1).clamp(16, 22),
        size_hint: body.len(),
        ..Default::default()
    };
    brotli::BrotliCompress(&mut body, into, &params).map(|_| ())
}

fn zstd(body: &[u8], into: &mut Smaller) -> io::Result<()> {
    // This level's window is far below the 8 MiB that RFC 9659 allows.
    let mut encoder = zstd::Encoder::new(into, ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(body.len() as u64))?;
    encoder.write_all(body)?;
    encoder.finish().map(|_| ())
}

/// Takes at most so many bytes.
struct Smaller {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Smaller {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.most {
            return Err(io::Error::other("not smaller"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rstest::rstest;

    use super::*;

    fn decompress(body: &[u8], coding: Coding) -> Vec<u8> {
        let mut text = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(body).read_to_end(&mut text),
            Coding::Brotli => brotli::Decompressor::new(body, 4096).read_to_end(&mut text),
            Coding::Zstd => zstd::Decoder::new(body).unwrap().read_to_end(&mut text),
        }
        .unwrap();
        text
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[rstest]
    #[case(Coding::Gzip)]
    #[case(Coding::Brotli)]
    #[case(Coding::Zstd)]
    fn compress_makes_it_smaller_or_nothing(#[case] coding: Coding) {
        for length in [1024, 70_000, 3 << 20] {
            let body: Vec<u8> = b"<li>a page about something</li>\n"
                .iter()
                .copied()
                .cycle()
                .take(length)
                .collect();
            let made = compress(&body, coding).unwrap();
            assert!(made.len() < length / 10, "{} of {length}", made.len());
            assert_eq!(decompress(&made, coding), body);
        }
        assert_eq!(compress(&noise(70_000), coding), None);
    }
}
