//! What a page keeps beside its body, and a body that is short, in one piece of memory: many pages are small, and what
//! is told of them is to take less than they do.
//!
//! ```text
//! block: length of the tags, tags │ for each field the length of its value, value │ body, where it is short
//! names: the fields' names, one list for all pages that have the same
//! ```

use std::{slice, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::tags::TagList;
use crate::weight::{COUNTS, PIECE, SHARED};

/// A body of so many bytes or less is kept in the block.
pub(super) const SHORT: usize = 4 << 10;
/// Bytes of the length of the tags.
const TAGS: usize = 2;

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

/// Tags and header fields.
#[derive(Debug, Clone)]
pub(super) struct Head {
    names: Arc<Names>,
    block: Bytes,
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

impl Head {
    /// Puts together what a page has; with it the body, which a short one shares the block with.
    pub(super) fn new(tags: TagList<'_>, headers: &HeaderMap, body: Bytes) -> (Self, Bytes) {
        let mut fields = Vec::with_capacity(headers.values().map(|value| value.len() + 2).sum());
        for value in headers.values() {
            if let Some(known) = KNOWN.iter().position(|known| known == value) {
                push(&mut fields, known << 1 | 1);
            } else {
                push(&mut fields, value.len() << 1);
                fields.extend_from_slice(value.as_bytes());
            }
        }
        Self::join(Names::of(headers), tags, &fields, body)
    }

    /// The same fields with other tags. `body` is the one of this head.
    pub(super) fn under(&self, tags: TagList<'_>, body: Bytes) -> (Self, Bytes) {
        let end = self.block.len() - inside(&body);
        let fields = &self.block[self.fields_at()..end];
        Self::join(self.names.clone(), tags, fields, body)
    }

    fn join(names: Arc<Names>, tags: TagList<'_>, fields: &[u8], body: Bytes) -> (Self, Bytes) {
        let tags = tags.written();
        let before = TAGS + tags.len() + fields.len();
        let inside = inside(&body);
        let mut block = Vec::with_capacity(before + inside);
        // The most that tags take is less than this holds.
        block.extend_from_slice(&(tags.len() as u16).to_le_bytes());
        block.extend_from_slice(tags);
        block.extend_from_slice(fields);
        block.extend_from_slice(&body[..inside]);
        let block = Bytes::from(block);
        let body = if inside > 0 { block.slice(before..) } else { body };
        (Self { names, block }, body)
    }

    fn fields_at(&self) -> usize {
        TAGS + self.tags().written().len()
    }

    pub(super) fn tags(&self) -> TagList<'_> {
        let length = self
            .block
            .first_chunk()
            .map_or(0, |length| u16::from_le_bytes(*length));
        TagList::read(&self.block[TAGS..TAGS + usize::from(length)])
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields {
            names: self.names.names.iter(),
            block: &self.block,
            at: self.fields_at(),
        }
    }

    /// What it takes on the heap, with its body where that is short, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.names.weight() + self.block.len() + SHARED
    }
}

/// How much of a body is in the block.
fn inside(body: &Bytes) -> usize {
    Some(body.len()).filter(|length| *length <= SHORT).unwrap_or(0)
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

    fn read(head: &Head) -> HeaderMap {
        let fields = head.fields();
        let mut headers = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields {
            headers.append(name, value.into());
        }
        headers
    }

    proptest! {
        #[test]
        fn head_gives_back_what_was_put_in(
            fields in prop::collection::vec(("(etag|vary|x-[a-c])", "(Accept-Encoding|1|[ -~]{0,300})"), 0..8),
            tags in prop::collection::vec("[a-zé]{1,20}", 0..5),
            others in prop::collection::vec("[a-z]{1,20}", 0..3),
            length in prop_oneof![0..3_usize, SHORT - 1..SHORT + 2],
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            let headers = mk_headers(&fields.iter().map(String::as_str).collect::<Vec<_>>());
            let body = Bytes::from(vec![7; length]);
            let tags = TagSet::new([""], tags.iter().map(String::as_str)).unwrap();
            let (head, own) = Head::new(tags.list(), &headers, body.clone());
            prop_assert_eq!((read(&head), &own), (headers.clone(), &body));
            prop_assert_eq!(head.tags().written(), tags.list().written());
            let others = tags.list().under(&others).unwrap();
            let (head, own) = head.under(others.list(), own);
            prop_assert_eq!((read(&head), own), (headers, body));
            prop_assert_eq!(head.tags().written(), others.list().written());
        }
    }

    #[test]
    fn head_shares_names_and_known_values() {
        let head = |fields: &[&str]| Head::new(TagList::default(), &mk_headers(fields), Bytes::new()).0;
        let one = head(&["x-head-names: a", "content-type: text/html"]);
        let other = head(&["x-head-names: b", "content-type: text/plain"]);
        assert!(Arc::ptr_eq(&one.names, &other.names));
        assert!(!Arc::ptr_eq(&one.names, &head(&["x-head-names: a"]).names));
        assert_eq!(one.block.len(), TAGS + "_a_".len());
        let many: Vec<_> = (0..=MAX_NAMES).map(|name| format!("x-{name}: a")).collect();
        let own = head(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!own.names.shared && own.weight() > one.weight() + MAX_NAMES * size_of::<HeaderName>());
    }
}
