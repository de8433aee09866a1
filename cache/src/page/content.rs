//! What is in a page, in one piece of memory but for a long body: many pages are small, and what is told of them is to
//! take less than they do.
//!
//! ```text
//! block: lengths of tags and body │ tags │ for each field the length of its value, value │ body, where it is short
//! names: the fields' names, one list for all pages that have the same
//! ```

use std::{slice, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::tags::TagList;
use crate::weight::{COUNTS, PIECE, SHARED};

/// A body of so many bytes or less is kept in the block, where that takes less than a piece of its own.
pub(super) const SHORT: usize = 4 << 10;
/// Two lengths of two bytes: tags and what is there of a body are shorter than these can tell.
const LENGTHS: usize = 4;
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

/// Tags, header fields and body.
#[derive(Debug, Clone)]
pub(super) struct Content {
    names: Arc<Names>,
    block: Bytes,
    /// A body that is not in the block.
    long: Option<Box<Bytes>>,
}

/// The header fields of a page.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    names: slice::Iter<'a, HeaderName>,
    block: &'a Bytes,
    /// Where the length of the next value is.
    at: usize,
}

/// The value of a field, as a page keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a>(Kept<'a>);

#[derive(Debug, Clone, Copy)]
enum Kept<'a> {
    Known(&'static HeaderValue),
    Own { block: &'a Bytes, value: &'a [u8] },
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
    pub(super) fn new(tags: TagList<'_>, headers: &HeaderMap, body: Bytes) -> Self {
        let mut fields = Vec::with_capacity(headers.values().map(|value| value.len() + 2).sum());
        for value in headers.values() {
            if let Some(known) = KNOWN.iter().position(|known| known == value) {
                push(&mut fields, known << 1 | 1);
            } else {
                push(&mut fields, value.len() << 1);
                fields.extend_from_slice(value.as_bytes());
            }
        }
        let names = Names::of(headers);
        let head = LENGTHS + tags.written().len() + fields.len();
        if body.len() > SHORT || taken(head + body.len()) > taken(head) + taken(body.len()) + APART {
            let long = Some(Box::new(body));
            Self {
                long,
                ..Self::join(names, tags, &fields, &[])
            }
        } else {
            Self::join(names, tags, &fields, &body)
        }
    }

    /// The same with other headers.
    pub(super) fn confirmed(&self, headers: &HeaderMap) -> Self {
        Self::new(self.tags(), headers, self.body())
    }

    /// The same with other tags.
    pub(super) fn under(&self, tags: TagList<'_>) -> Self {
        let (fields, body) = (self.fields_at(), self.body_at());
        Self {
            long: self.long.clone(),
            ..Self::join(
                self.names.clone(),
                tags,
                &self.block[fields..body],
                &self.block[body..],
            )
        }
    }

    fn join(names: Arc<Names>, tags: TagList<'_>, fields: &[u8], body: &[u8]) -> Self {
        let tags = tags.written();
        let mut block = Vec::with_capacity(LENGTHS + tags.len() + fields.len() + body.len());
        for length in [tags.len(), body.len()] {
            block.extend_from_slice(&(length as u16).to_le_bytes());
        }
        for part in [tags, fields, body] {
            block.extend_from_slice(part);
        }
        Self {
            names,
            block: block.into(),
            long: None,
        }
    }

    /// Those of the tags, and of what is there of the body.
    fn lengths(&self) -> (usize, usize) {
        let [tag, tags, body, bodies] = self.block.first_chunk().copied().unwrap_or_default();
        let length = |low, high| usize::from(u16::from_le_bytes([low, high]));
        (length(tag, tags), length(body, bodies))
    }

    fn fields_at(&self) -> usize {
        LENGTHS + self.lengths().0
    }

    fn body_at(&self) -> usize {
        self.block.len() - self.lengths().1
    }

    pub(super) fn tags(&self) -> TagList<'_> {
        TagList::read(&self.block[LENGTHS..self.fields_at()])
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields {
            names: self.names.names.iter(),
            block: &self.block,
            at: self.fields_at(),
        }
    }

    /// The body, to be kept beyond the page.
    pub(super) fn body(&self) -> Bytes {
        match &self.long {
            Some(body) => Bytes::clone(body),
            None => self.block.slice(self.body_at()..),
        }
    }

    /// The bytes of the body.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.long {
            Some(body) => body,
            None => &self.block[self.body_at()..],
        }
    }

    /// What it takes on the heap, in bytes.
    pub(super) fn weight(&self) -> usize {
        let long = |body: &Bytes| size_of::<Bytes>() + PIECE + body.len() + SHARED;
        self.names.weight() + self.block.len() + SHARED + self.long.as_deref().map_or(0, long)
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
        let block: &'a Bytes = self.block;
        let (kept, at) = number(block, self.at)?;
        let kept = if kept & 1 == 1 {
            self.at = at;
            Kept::Known(KNOWN.get(kept >> 1)?)
        } else {
            self.at = at + (kept >> 1);
            let value = block.get(at..self.at)?;
            Kept::Own { block, value }
        };
        Some((name, Value(kept)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.names.size_hint()
    }
}

impl ExactSizeIterator for Fields<'_> {}

impl<'a> Value<'a> {
    /// Its bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        match self.0 {
            Kept::Known(known) => known.as_bytes(),
            Kept::Own { value, .. } => value,
        }
    }
}

/// Shares the page's memory.
impl From<Value<'_>> for HeaderValue {
    fn from(value: Value<'_>) -> Self {
        match value.0 {
            Kept::Known(known) => known.clone(),
            Kept::Own { block, value } => Self::from_maybe_shared(block.slice_ref(value))
                .expect("the bytes were a header value when the page was made"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{mk::mk_headers, page::TagSet};

    fn read(content: &Content) -> HeaderMap {
        let fields = content.fields();
        let mut headers = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields {
            headers.append(name, value.into());
        }
        headers
    }

    fn same(content: &Content, tags: &TagSet, headers: &HeaderMap, body: &Bytes) -> bool {
        content.tags().written() == tags.list().written()
            && read(content) == *headers
            && content.body() == body
            && content.bytes() == body
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
            let body = Bytes::from(vec![7; length]);
            let tags = TagSet::new([""], tags.iter().map(String::as_str)).unwrap();
            let content = Content::new(tags.list(), &headers, body.clone());
            prop_assert!(same(&content, &tags, &headers, &body));
            let others = tags.list().under(&others).unwrap();
            let content = content.under(others.list());
            prop_assert!(same(&content, &others, &headers, &body));
            let headers = mk_headers(&["etag: x"]);
            prop_assert!(same(&content.confirmed(&headers), &others, &headers, &body));
        }
    }

    #[test]
    fn content_is_in_as_little_memory_as_it_can() {
        let content = |length| {
            Content::new(
                TagList::default(),
                &mk_headers(&["etag: x"]),
                vec![0; length].into(),
            )
        };
        assert!(content(900).long.is_none());
        assert!(content(1024).long.is_some());
        assert!(content(1100).long.is_none());
        assert!(content(SHORT + 100).long.is_some());
        assert_eq!([1, 68, 1024, 1025, 1090].map(taken), [16, 80, 1024, 1280, 1280]);
    }

    #[test]
    fn content_shares_names_and_known_values() {
        let content = |fields: &[&str]| Content::new(TagList::default(), &mk_headers(fields), Bytes::new());
        let one = content(&["x-content: a", "content-type: text/html"]);
        let other = content(&["x-content: b", "content-type: text/plain"]);
        assert!(Arc::ptr_eq(&one.names, &other.names));
        assert!(!Arc::ptr_eq(&one.names, &content(&["x-content: a"]).names));
        assert_eq!(one.block.len(), LENGTHS + "_a_".len());
        let many: Vec<_> = (0..=MAX_NAMES).map(|name| format!("x-{name}: a")).collect();
        let own = content(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!own.names.shared && own.weight() > one.weight() + MAX_NAMES * size_of::<HeaderName>());
    }
}
