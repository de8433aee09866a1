//! The parts of a key that most keys do not have: the forwarded host, the rule's own headers and cookies, and the
//! request headers that choose a variant.
//!
//! A key holds exactly what the app is sent beyond its defaults, so two requests of one key get one answer. A field that a
//! visitor does not send is not in the key and not sent; what `Vary` names decides which of a visitor's fields are copied
//! into it ([`Selection`]).

use std::{borrow::Cow, cmp::Ordering};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use super::{alike, seed};
use crate::{
    control::{self, Named},
    weight::{PIECE, SHARED},
};

/// Everything that chooses a variant together is at most so long, in bytes; a request with more passes through. Next.js's
/// router state of a deep page takes a few hundred.
pub const MAX_SELECTING_BYTES: usize = 8 << 10;

/// One header field of a key, its lines joined (RFC 9111 section 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Field {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

impl Ord for Field {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.name.as_str(), &self.value).cmp(&(other.name.as_str(), &other.value))
    }
}

impl PartialOrd for Field {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One cookie of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Cookie {
    pub(super) name: Box<str>,
    pub(super) value: Box<[u8]>,
}

/// What most keys do not have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Extra {
    /// Hash of all of the key but the variant; without any of this it is that of the key.
    pub(super) base: u64,
    /// Where it is another than the host.
    pub(super) forwarded_host: Option<Box<str>>,
    /// The rule's own headers, as far as they are sent, sorted by name.
    pub(super) headers: Box<[Field]>,
    /// The rule's own cookies, as far as they are sent, sorted by name.
    pub(super) cookies: Box<[Cookie]>,
    /// What chooses the variant, sorted by name.
    pub(super) variant: Box<[Field]>,
}

impl Extra {
    pub(super) fn is_empty(&self) -> bool {
        self.is_variant_alone() && self.variant.is_empty()
    }

    /// Nothing in it belongs to the page as a whole.
    pub(super) fn is_variant_alone(&self) -> bool {
        self.forwarded_host.is_none() && self.headers.is_empty() && self.cookies.is_empty()
    }

    /// Its place among those of one URL. Without the hash, which is another in each process.
    pub(super) fn rank(&self) -> impl Ord + '_ {
        (&self.forwarded_host, &self.headers, &self.cookies, &self.variant)
    }

    /// Its bytes on the heap.
    pub(super) fn weight(&self) -> usize {
        let field =
            |field: &Field| size_of::<Field>() + field.name.as_str().len() + field.value.len() + 2 * SHARED;
        let cookie =
            |cookie: &Cookie| size_of::<Cookie>() + cookie.name.len() + cookie.value.len() + 2 * PIECE;
        size_of::<Self>()
            + 5 * PIECE
            + self.forwarded_host.as_ref().map_or(0, |host| host.len())
            + self.headers.iter().map(field).sum::<usize>()
            + self.variant.iter().map(field).sum::<usize>()
            + self.cookies.iter().map(cookie).sum::<usize>()
    }
}

/// The fields of a request that these names select, sorted by name; `None` if they are too long to be part of a key.
pub(super) fn select<'a>(
    headers: &HeaderMap,
    names: impl IntoIterator<Item = &'a HeaderName>,
) -> Option<Box<[Field]>> {
    let mut fields = SmallVec::<[Field; 8]>::new();
    let mut length = 0;
    for name in names {
        let Some(value) = joined(headers, name) else {
            continue;
        };
        if fields.iter().any(|field| field.name == *name) {
            continue;
        }
        length += name.as_str().len() + value.len();
        if length > MAX_SELECTING_BYTES {
            return None;
        }
        fields.push(Field {
            name: name.clone(),
            value: value.into_owned(),
        });
    }
    fields.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    Some(fields.into_vec().into())
}

/// The value of a field, its lines joined by commas, and written as others that mean the same; a value of its own, since
/// what a connection has read is one piece of memory that a key should not keep.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, HeaderValue>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let mut whole = first.as_bytes().trim_ascii().to_vec();
    for line in lines {
        whole.extend_from_slice(b", ");
        whole.extend_from_slice(line.as_bytes().trim_ascii());
    }
    let whole = alike::written(name, whole);
    // What lines are made of can be joined.
    Some(HeaderValue::from_bytes(&whole).map_or(Cow::Borrowed(first), Cow::Owned))
}

/// The cookies of a request that these names select, sorted by name; of a name that is sent several times, all values in
/// their order.
pub(super) fn select_cookies(headers: &HeaderMap, names: &[String]) -> Option<Box<[Cookie]>> {
    let mut cookies: Vec<Cookie> = Vec::new();
    let mut length = 0;
    for (name, value) in all_pairs(headers) {
        let Some(name) = names.iter().find(|known| known.as_bytes() == name) else {
            continue;
        };
        length += name.len() + value.len();
        if length > MAX_SELECTING_BYTES {
            return None;
        }
        cookies.push(Cookie {
            name: name.as_str().into(),
            value: value.into(),
        });
    }
    cookies.sort_by(|one, other| one.name.cmp(&other.name));
    Some(cookies.into())
}

/// Whether a request carries a cookie that is not among these names.
pub(super) fn has_other_cookies(headers: &HeaderMap, names: &[String]) -> bool {
    all_pairs(headers).any(|(name, _)| !names.iter().any(|known| known.as_bytes() == name))
}

/// Names and values of the cookies of a request.
fn all_pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.get_all(header::COOKIE).iter().flat_map(pairs)
}

/// Names and values of the cookies in one field (RFC 6265 section 5.4).
pub(super) fn pairs(field: &HeaderValue) -> impl Iterator<Item = (&[u8], &[u8])> {
    (field.as_bytes().split(|&byte| byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|cookie| !cookie.is_empty())
        .map(|cookie| match memchr::memchr(b'=', cookie) {
            Some(end) => (cookie[..end].trim_ascii(), cookie[end + 1..].trim_ascii()),
            None => (cookie, &b""[..]),
        })
}

/// Names of request headers that choose a variant beyond those that always do: what `Vary` was seen to name. Sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    names: SmallVec<[HeaderName; 2]>,
    /// `Vary` names `Cookie`: the answer is for those who send none but the keyed ones.
    cookie: bool,
}

/// `Vary` says that the answer is for who asked, or for nobody who comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unshareable;

impl Selection {
    /// More names than this make an answer unshareable: each is another dimension of variants.
    pub const MAX: usize = 8;

    /// Reads every `Vary` field of an answer.
    pub fn of(headers: &HeaderMap) -> Result<Self, Unshareable> {
        let mut selection = Self::default();
        for name in control::list(headers, &header::VARY) {
            match control::named(name).ok_or(Unshareable)? {
                Named::Keyed => {}
                Named::Cookie => selection.cookie = true,
                Named::Selects(name) => selection.insert(name)?,
            }
        }
        Ok(selection)
    }

    fn insert(&mut self, name: HeaderName) -> Result<(), Unshareable> {
        let place = self
            .names
            .binary_search_by(|known| known.as_str().cmp(name.as_str()));
        if let Err(at) = place {
            if self.names.len() == Self::MAX {
                return Err(Unshareable);
            }
            self.names.insert(at, name);
        }
        Ok(())
    }

    /// Nothing beyond what always chooses.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.cookie
    }

    /// The names, sorted; `Cookie` is not among them.
    pub fn names(&self) -> &[HeaderName] {
        &self.names
    }

    /// `Vary` names `Cookie`.
    pub fn by_cookie(&self) -> bool {
        self.cookie
    }

    /// Adds what another answer for the same URL named, as far as there is room.
    pub fn add(&mut self, other: &Self) {
        self.cookie |= other.cookie;
        for name in &other.names {
            // A name too many costs a variant's place in the store, never its truth: see [`super::Lookup::suits`].
            let _ = self.insert(name.clone());
        }
    }

    /// Its bytes on the heap.
    pub fn weight(&self) -> usize {
        self.names.iter().map(|name| name.as_str().len()).sum()
    }
}

/// The cookies of a key as one field.
pub(super) fn cookie_value(cookies: &[Cookie]) -> Option<HeaderValue> {
    let mut text = Vec::new();
    for cookie in cookies {
        if !text.is_empty() {
            text.extend_from_slice(b"; ");
        }
        text.extend_from_slice(cookie.name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(&cookie.value);
    }
    (!text.is_empty())
        .then(|| HeaderValue::from_bytes(&text).ok())
        .flatten()
}

pub(super) fn hash_of(base: u64, variant: &[Field]) -> u64 {
    if variant.is_empty() {
        return base;
    }
    seed().hash_one((base, variant))
}
