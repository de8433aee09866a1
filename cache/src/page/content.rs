//! What is in a page beside its numbers, in one piece of memory with them but for a long body: many pages are small, and
//! what is told of them is to take less than they do.
//!
//! ```text
//! block: text of the key │ tags │ for each field the length of its value, value │ body, where it is short
//! names: the fields' names, one list for all pages that have the same
//! ```

use std::{slice, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::{BESIDE, tags::TagList};
use crate::weight::{COUNTS, PIECE, SHARED};

/// A body of so many bytes or less is kept in the block, where that takes less than a piece of its own.
pub(super) const SHORT: usize = 4 << 10;
/// What a body of its own takes beside its bytes, to be found and counted.
const APART: usize = 2 * size_of::<Bytes>();

/// Values that answers of many apps have; they take no room of a page's own.
static KNOWN: [HeaderValue; 16] = [
    HeaderValue::from_static("text/html; charset=utf-8"),
    HeaderValue::from_static("text/html;charset=utf-8"),
    HeaderValue::from_static("text/html; charset=UTF-8"),
    HeaderValue::from_static("text/html"),
    HeaderValue::from_static("text/x-component"),
    HeaderValue::from_static("text/plain; charset=utf-8"),
    HeaderValue::from_static("application/json; charset=utf-8"),
    HeaderValue::from_static("application/json"),
    HeaderValue::from_static("Accept-Encoding"),
    HeaderValue::from_static("accept-encoding"),
    HeaderValue::from_static(
        "rsc, next-router-state-tree, next-router-prefetch, next-router-segment-prefetch",
    ),
    HeaderValue::from_static("Next.js"),
    HeaderValue::from_static("HIT"),
    HeaderValue::from_static("1"),
    HeaderValue::from_static("nosniff"),
    HeaderValue::from_static("no-cache"),
];

/// So many lists of names are shared, none longer than so many names and so many bytes: an app has few of them, and one
/// that makes up ever new ones shall not fill the memory.
const MAX_LISTS: usize = 64;
const MAX_NAMES: usize = 64;
const MAX_NAMES_LENGTH: usize = 2 << 10;

static LISTS: Mutex<Vec<Arc<Names>>> = Mutex::new(Vec::new());

/// The names of a page's fields, in their order.
#[derive(Debug)]
struct Names {
    names: Box<[HeaderName]>,
    /// They are no page's own.
    shared: bool,
}

/// What is where in a page's block, and what is not in it.
#[derive(Debug, Clone)]
pub(super) struct Content {
    names: Arc<Names>,
    /// A body that is not in the block.
    long: Option<Box<Bytes>>,
    tags_at: u32,
    fields_at: u32,
    body_at: u32,
}

/// The header fields of a page.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    names: slice::Iter<'a, HeaderName>,
    block: &'a [u8],
    /// Where the length of the next value is.
    at: usize,
}

/// The value of a field, as a page keeps it.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// One that answers of many apps have.
    Known(&'static HeaderValue),
    /// A part of the page's block.
    Own(&'a [u8]),
}

impl Names {
    fn of(headers: &HeaderMap) -> Arc<Self> {
        let names = || headers.iter().map(|(name, _)| name);
        let may_be_shared = headers.len() <= MAX_NAMES
            && names().map(|name| name.as_str().len()).sum::<usize>() <= MAX_NAMES_LENGTH;
        if !may_be_shared {
            return Self::new(names(), false);
        }
        let mut lists = LISTS.lock();
        if let Some(list) = lists.iter().find(|list| list.names.iter().eq(names())) {
            return list.clone();
        }
        if lists.len() == MAX_LISTS {
            lists.retain(|list| Arc::strong_count(list) > 1);
        }
        let shared = lists.len() < MAX_LISTS;
        let list = Self::new(names(), shared);
        if shared {
            lists.push(list.clone());
        }
        list
    }

    fn new<'a>(names: impl Iterator<Item = &'a HeaderName>, shared: bool) -> Arc<Self> {
        // A name that was read may be a part of what a connection has read, which is not to be kept.
        let own = |name: &HeaderName| HeaderName::from_bytes(name.as_str().as_bytes());
        let names = names
            .map(|name| own(name).unwrap_or_else(|_| name.clone()))
            .collect();
        Arc::new(Self { names, shared })
    }

    /// What a page takes for it.
    fn weight(&self) -> usize {
        let name = |name: &HeaderName| size_of::<HeaderName>() + name.as_str().len() + SHARED;
        if self.shared {
            0
        } else {
            size_of::<Self>() + COUNTS + 2 * PIECE + self.names.iter().map(name).sum::<usize>()
        }
    }
}

impl Content {
    /// With it the block that it is of.
    pub(super) fn new(key: &str, tags: TagList<'_>, headers: &HeaderMap, body: Bytes) -> (Self, Vec<u8>) {
        let fields = headers.values().map(|value| value.len() + 2).sum::<usize>();
        let mut block = Vec::with_capacity(key.len() + tags.written().len() + fields + body.len().min(SHORT));
        block.extend_from_slice(key.as_bytes());
        let tags_at = block.len() as u32;
        block.extend_from_slice(tags.written());
        let fields_at = block.len() as u32;
        for value in headers.values() {
            if let Some(known) = KNOWN.iter().position(|known| known == value) {
                push(&mut block, known << 1 | 1);
            } else {
                push(&mut block, value.len() << 1);
                block.extend_from_slice(value.as_bytes());
            }
        }
        let head = BESIDE + block.len();
        let together = taken(head + body.len());
        let is_long = body.len() > SHORT || together > taken(head) + taken(body.len()) + APART;
        let body_at = block.len() as u32;
        if !is_long {
            block.extend_from_slice(&body);
        }
        let content = Self {
            names: Names::of(headers),
            long: is_long.then(|| Box::new(body)),
            tags_at,
            fields_at,
            body_at,
        };
        (content, block)
    }

    /// The same with other tags.
    pub(super) fn under(&self, block: &[u8], tags: TagList<'_>) -> (Self, Vec<u8>) {
        let (key, rest) = (&block[..self.tags_at as usize], &block[self.fields_at as usize..]);
        let block = [key, tags.written(), rest].concat();
        let at = |old: u32| old - self.fields_at + self.tags_at + tags.written().len() as u32;
        let content = Self {
            fields_at: at(self.fields_at),
            body_at: at(self.body_at),
            ..self.clone()
        };
        (content, block)
    }

    /// The text of the key.
    pub(super) fn key<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        &block[..self.tags_at as usize]
    }

    pub(super) fn tags<'a>(&self, block: &'a [u8]) -> TagList<'a> {
        TagList::read(&block[self.tags_at as usize..self.fields_at as usize])
    }

    pub(super) fn fields<'a>(&'a self, block: &'a [u8]) -> Fields<'a> {
        Fields {
            names: self.names.names.iter(),
            block,
            at: self.fields_at as usize,
        }
    }

    /// A body that is not in the block.
    pub(super) fn long(&self) -> Option<&Bytes> {
        self.long.as_deref()
    }

    /// The bytes of the body.
    pub(super) fn bytes<'a>(&'a self, block: &'a [u8]) -> &'a [u8] {
        self.long().map_or(&block[self.body_at as usize..], |body| body)
    }

    /// What it takes on the heap beside the block, in bytes.
    pub(super) fn weight(&self) -> usize {
        let long = |body: &Bytes| size_of::<Bytes>() + PIECE + body.len() + SHARED;
        self.names.weight() + self.long().map_or(0, long)
    }
}

/// What jemalloc takes for so many bytes: it has four sizes in each doubling, none closer than 16 bytes. A body of a power
/// of two would take a quarter more in one piece with a few bytes beside it.
fn taken(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(16))
}

/// Writes a number, seven bits a byte, the lowest first.
fn push(block: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        block.push(number as u8 | 0x80);
        number >>= 7;
    }
    block.push(number as u8);
}

/// Reads a number; with it the place behind it.
fn number(block: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = *block.get(at)?;
        at += 1;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some((number, at));
        }
        shift += 7;
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a HeaderName, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.names.next()?;
        let (kept, at) = number(self.block, self.at)?;
        let value = if kept & 1 == 1 {
            self.at = at;
            Value::Known(KNOWN.get(kept >> 1)?)
        } else {
            self.at = at + (kept >> 1);
            Value::Own(self.block.get(at..self.at)?)
        };
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.names.size_hint()
    }
}

impl ExactSizeIterator for Fields<'_> {}

impl<'a> Value<'a> {
    /// Its bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Known(known) => known.as_bytes(),
            Self::Own(value) => value,
        }
    }

    /// As the value of a header, whose bytes `share` gives.
    pub(super) fn read(self, share: impl FnOnce(&'a [u8]) -> Bytes) -> HeaderValue {
        match self {
            Self::Known(known) => known.clone(),
            Self::Own(value) => HeaderValue::from_maybe_shared(share(value))
                .expect("the bytes were a header value when the page was made"),
        }
    }
}

/// A copy: for an answer, [`Lent`](super::Lent) has all of a page's.
impl From<Value<'_>> for HeaderValue {
    fn from(value: Value<'_>) -> Self {
        value.read(Bytes::copy_from_slice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{mk::mk_headers, page::TagSet};

    const KEY: &str = "example.com/caf\u{e9}";

    fn made(headers: &HeaderMap, length: usize) -> (Content, Vec<u8>) {
        Content::new(KEY, TagList::default(), headers, vec![7; length].into())
    }

    fn read((content, block): &(Content, Vec<u8>)) -> HeaderMap {
        let fields = content.fields(block);
        let mut headers = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields {
            headers.append(name, value.into());
        }
        headers
    }

    proptest! {
        #[test]
        fn content_gives_back_what_was_put_in(
            fields in prop::collection::vec(("(etag|vary|x-[a-c])", "(Accept-Encoding|1|[ -~]{0,300})"), 0..8),
            tags in prop::collection::vec("[a-zé]{1,20}", 0..5),
            others in prop::collection::vec("[a-z]{1,20}", 0..3),
            length in prop_oneof![0..3_usize, SHORT - 1..SHORT + 2],
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            let headers = mk_headers(&fields.iter().map(String::as_str).collect::<Vec<_>>());
            let body = vec![7; length];
            let tags = TagSet::new([""], tags.iter().map(String::as_str)).unwrap();
            let others = tags.list().under(&others).unwrap();
            let made = Content::new(KEY, tags.list(), &headers, body.clone().into());
            for ((content, block), tags) in [(&made, &tags), (&made.0.under(&made.1, others.list()), &others)] {
                prop_assert_eq!(content.key(block), KEY.as_bytes());
                prop_assert_eq!(content.tags(block).written(), tags.list().written());
                prop_assert_eq!(content.bytes(block), &body[..]);
                prop_assert_eq!(read(&(content.clone(), block.clone())), headers.clone());
            }
        }
    }

    #[test]
    fn content_is_in_as_little_memory_as_it_can() {
        let is_long = |length| made(&mk_headers(&["etag: x"]), length).0.long.is_some();
        assert_eq!(
            [800, 1000, 1100, 2048, SHORT].map(is_long),
            [false, true, false, true, true]
        );
        assert!(is_long(SHORT + 100));
        assert_eq!([1, 68, 1024, 1025, 1090].map(taken), [16, 80, 1024, 1280, 1280]);
    }

    #[test]
    fn content_shares_names_and_known_values() {
        let made = |fields: &[&str]| made(&mk_headers(fields), 0);
        let (one, block) = made(&["x-content: a", "content-type: text/html"]);
        let (other, _) = made(&["x-content: b", "content-type: text/plain"]);
        assert!(Arc::ptr_eq(&one.names, &other.names));
        assert!(!Arc::ptr_eq(&one.names, &made(&["x-content: a"]).0.names));
        assert_eq!(block.len(), KEY.len() + "_a_".len());
        let many: Vec<_> = (0..=MAX_NAMES).map(|name| format!("x-{name}: a")).collect();
        let (own, _) = made(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!own.names.shared && own.weight() > one.weight() + MAX_NAMES * size_of::<HeaderName>());
    }
}
