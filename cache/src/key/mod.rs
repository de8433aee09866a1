//! What makes a page of its own, and the request that the app is asked for it.
//!
//! ```text
//! visitor's request ──► read ──► Lookup { key, plan } ──► origin_request(): built from the key, nothing copied
//!                         │         └── select(what `Vary` names) ──► the key of the visitor's variant
//!                         ├────► Pass { reason }
//!                         └────► Refuse(reason)
//! ```
//!
//! An answer that many will share must depend on the key alone; so [`Lookup::origin_request`] sees nothing else.

mod alike;
mod extra;
mod host;
mod lookup;
mod query;
mod read;
mod target;

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use http::{HeaderName, HeaderValue, uri::PathAndQuery};

use self::extra::{Extra, Field};
pub(crate) use self::query::is_tracking;
pub use self::{
    extra::{MAX_SELECTING_BYTES, Selection, Unshareable},
    lookup::{Lookup, Suits, Wants},
    query::parameters,
    read::{Reading, concerns, lookup_of, read, rule_of},
};
use crate::{
    config::Scheme,
    path,
    routes::Plan,
    weight::{COUNTS, PIECE},
};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How the sidecar names itself to the app.
pub const USER_AGENT: &str = concat!("coppice/", env!("CARGO_PKG_VERSION"));

/// Of this process: visitors choose keys, and must not be able to choose those that collide.
pub(crate) fn seed() -> &'static ahash::RandomState {
    static SEED: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);
    &SEED
}

/// The key of a page: effective scheme, host, path and the query parameters that count; the forwarded host where it is
/// another one, the rule's own headers and cookies, and the fields that choose the variant. Its hash is computed once.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    head: Head,
    /// Host, path, and `?query` where a parameter counts.
    text: Box<str>,
}

/// All of a key but its text, which a stored page keeps in one piece of memory with its own.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// First, so that unequal keys part at once.
    hash: u64,
    extra: Option<Box<Extra>>,
    path_end: u32,
    host_end: u16,
    scheme: Scheme,
}

/// Why something is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a host, or not in normal form.
    #[error("{0:?} is no host: lower case, without the scheme's own port or a trailing dot")]
    Host(String),
    /// Not a path in normal form.
    #[error("{path:?} is no path: {reason}")]
    Path {
        /// As given.
        path: String,
        /// Why.
        reason: path::NotNormal,
    },
    /// No request could ask for it.
    #[error("{0:?} is no path and query")]
    Target(String),
}

impl Key {
    /// A key of its parts, all in normal form; `query` without `?`, sorted, empty where nothing counts.
    pub fn new(scheme: Scheme, host: &str, path: &str, query: &str) -> Result<Self, KeyError> {
        if host::normal(host.as_bytes(), scheme).as_deref() != Some(host) {
            return Err(KeyError::Host(host.to_owned()));
        }
        path::check(path).map_err(|reason| KeyError::Path {
            path: path.to_owned(),
            reason,
        })?;
        let most = query.len() + 1;
        let key = Self::build(scheme, host, path, Extra::default(), most, |text| {
            if !query.is_empty() {
                text.push('?');
                text.push_str(query);
            }
        });
        match PathAndQuery::try_from(key.target()) {
            Ok(target) if target.as_str() == key.target() => Ok(key),
            _ => Err(KeyError::Target(key.target().to_owned())),
        }
    }

    /// The key of a visit to a URL under `plan`: as [`Key::new`], of a query as it was written.
    pub(crate) fn of(
        scheme: Scheme,
        host: &str,
        path: &str,
        query: &str,
        plan: &Plan,
    ) -> Result<Self, KeyError> {
        let mut selected = String::new();
        query::push_selected(&mut selected, query, plan);
        Self::new(scheme, host, path, selected.strip_prefix('?').unwrap_or_default())
    }

    /// `push_query` appends at most `most` bytes.
    fn build(
        scheme: Scheme,
        host: &str,
        path: &str,
        extra: Extra,
        most: usize,
        push_query: impl FnOnce(&mut String),
    ) -> Self {
        let mut text = String::with_capacity(host.len() + path.len() + most);
        text.push_str(host);
        let host_end = text.len() as u16;
        text.push_str(path);
        let path_end = text.len() as u32;
        push_query(&mut text);
        let mut extra = (!extra.is_empty()).then(|| Box::new(extra));
        let base = match extra.as_deref() {
            Some(extra) if !extra.is_variant_alone() => seed().hash_one((
                scheme,
                &text,
                &extra.forwarded_host,
                &extra.headers,
                &extra.cookies,
            )),
            _ => seed().hash_one((scheme, &text)),
        };
        let hash = extra.as_deref_mut().map_or(base, |extra| {
            extra.base = base;
            extra::hash_of(base, &extra.variant)
        });
        Self {
            head: Head {
                hash,
                extra,
                path_end,
                host_end,
                scheme,
            },
            text: text.into_boxed_str(),
        }
    }

    /// The key that these are of.
    pub(crate) fn of_parts(head: &Head, text: &str) -> Self {
        Self {
            head: head.clone(),
            text: text.into(),
        }
    }

    /// All of it but its text.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Host, path, and `?query` where a parameter counts.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn extra(&self) -> Option<&Extra> {
        self.head.extra.as_deref()
    }

    /// The same page in another variant.
    fn with_variant(&self, variant: Box<[Field]>) -> Self {
        let extra = Extra {
            base: self.base(),
            variant,
            ..self.extra().cloned().unwrap_or_default()
        };
        Self {
            head: Head {
                hash: extra::hash_of(extra.base, &extra.variant),
                extra: (!extra.is_empty()).then(|| Box::new(extra)),
                ..self.head
            },
            text: self.text.clone(),
        }
    }

    /// The effective scheme.
    pub fn scheme(&self) -> Scheme {
        self.head.scheme
    }

    /// The host: lower case, without the scheme's own port or a trailing dot.
    pub fn host(&self) -> &str {
        self.head.host(&self.text)
    }

    /// The path as visited, in normal form.
    pub fn path(&self) -> &str {
        self.head.path(&self.text)
    }

    /// The query parameters that count, sorted by name; empty if there are none.
    pub fn query(&self) -> &str {
        let query = &self.text[self.head.path_end as usize..];
        query.strip_prefix('?').unwrap_or(query)
    }

    /// The forwarded host, where it is another one than the host.
    pub fn forwarded_host(&self) -> Option<&str> {
        self.extra()?.forwarded_host.as_deref()
    }

    /// The fields that choose the variant, sorted by name; of most keys there are none.
    pub fn variant(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &HeaderValue)> {
        self.head
            .variant()
            .iter()
            .map(|field| (&field.name, &field.value))
    }

    /// The rule's own headers that are part of this key, sorted by name.
    pub fn keyed_headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let headers = self.extra().map_or(&[][..], |extra| &extra.headers);
        headers.iter().map(|field| (&field.name, &field.value))
    }

    /// Names of the rule's own cookies that are part of this key, sorted. Their values are nobody's business.
    pub fn keyed_cookies(&self) -> impl Iterator<Item = &str> {
        let cookies = self.extra().map_or(&[][..], |extra| &extra.cookies);
        cookies.iter().map(|cookie| &*cookie.name)
    }

    /// What is shown of it, piece by piece.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &str> {
        let url = [self.scheme().as_str(), "://", &*self.text];
        let host = self.forwarded_host().map(|host| [" for ", host]);
        // Values may be personal; names are not.
        let headers = self.keyed_headers().map(|(name, _)| name.as_str());
        let variant = self.variant().map(|(name, _)| name.as_str());
        let names = headers.chain(self.keyed_cookies()).chain(variant);
        (url.into_iter())
            .chain(host.into_iter().flatten())
            .chain(names.flat_map(|name| [" [", name, "]"]))
    }

    /// It is a variant: some field chooses it.
    pub fn is_variant(&self) -> bool {
        self.head.is_variant()
    }

    /// The key of the same page without fields that choose.
    pub fn plain(self: &Arc<Self>) -> Arc<Self> {
        if self.is_variant() {
            Arc::new(self.with_variant(Box::default()))
        } else {
            self.clone()
        }
    }

    /// The same for all variants of a page, and with hardly any doubt for no other page in this process.
    pub fn base(&self) -> u64 {
        self.extra().map_or(self.head.hash, |extra| extra.base)
    }

    /// Both are of one URL, whatever headers and cookies choose.
    pub(crate) fn has_url_of(&self, other: &Self) -> bool {
        self.text == other.text
            && self.scheme() == other.scheme()
            && self.forwarded_host() == other.forwarded_host()
    }

    /// It is of the page's URL, or of one by which Next.js's routers ask for that page: with a hash of their headers in
    /// `_rsc`, or its data, in whose query the parts of its path may stand, so that any will do.
    pub(crate) fn is_form_of(&self, page: &Self) -> bool {
        let of_site = self.scheme() == page.scheme()
            && self.host() == page.host()
            && self.forwarded_host() == page.forwarded_host();
        let but_for_rsc = || {
            self.path() == page.path()
                && query::without_rsc(self.query()).eq(query::without_rsc(page.query()))
        };
        let is_data = || path::data_path(self.path()).is_some_and(|of| path::covers(&of, page.path()));
        self.has_url_of(page) || of_site && (but_for_rsc() || is_data())
    }

    /// The same for all forms of a page ([`Key::is_form_of`]), whatever their query; and the same for all of them on whatever
    /// host and by whatever scheme.
    pub(crate) fn page(&self) -> [u64; 2] {
        let of_data = path::data_path(self.path());
        let path: Vec<_> = path::segments(of_data.as_deref().unwrap_or(self.path()))
            .map(path::decode)
            .collect();
        let of_site = (self.scheme(), self.host(), &path, self.forwarded_host());
        [seed().hash_one(of_site), seed().hash_one(&path)]
    }

    /// The same for all keys of one URL ([`Key::has_url_of`]), and with hardly any doubt for no others in this process.
    pub(crate) fn url(&self) -> u64 {
        seed().hash_one((self.scheme(), &self.text, self.forwarded_host()))
    }

    /// What it hashes to: the same for equal keys, and with hardly any doubt for no other in this process.
    pub(crate) fn id(&self) -> u64 {
        self.head.id()
    }

    /// The field of this name is part of the key, with this value (its lines joined); `None`: it is not part of it.
    fn field(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let extra = self.extra()?;
        let mut fields = extra.variant.iter().chain(&extra.headers);
        fields.find(|field| field.name == *name).map(|field| &field.value)
    }

    /// Path and query: what the app is asked.
    pub fn target(&self) -> &str {
        &self.text[self.head.host_end as usize..]
    }

    /// The rule has all the headers and cookies that are part of this key. One that it has and the key has not is one that
    /// the visitor did not send.
    fn is_keyed_by(&self, plan: &Plan) -> bool {
        self.extra().is_none_or(|extra| {
            let mut headers = extra.headers.iter();
            let mut cookies = extra.cookies.iter();
            headers.all(|field| plan.key_headers().contains(&field.name))
                && cookies.all(|cookie| plan.rule.key_cookies.iter().any(|name| **name == *cookie.name))
        })
    }

    #[cfg(test)]
    pub(crate) fn forwarded(&self, host: &str) -> Self {
        let extra = Extra {
            forwarded_host: Some(host.into()),
            ..Extra::default()
        };
        Self::build(self.scheme(), self.host(), self.path(), extra, 0, |_| ())
    }

    /// Its bytes in memory.
    pub fn weight(&self) -> usize {
        Self::weight_of(&self.head, self.text.len())
    }

    /// The same of one with a text of so many bytes.
    pub(crate) fn weight_of(head: &Head, text: usize) -> usize {
        size_of::<Self>() + COUNTS + 2 * PIECE + text + head.weight()
    }
}

impl Head {
    pub(crate) fn host<'a>(&self, text: &'a str) -> &'a str {
        &text[..self.host_end as usize]
    }

    pub(crate) fn path<'a>(&self, text: &'a str) -> &'a str {
        &text[self.host_end as usize..self.path_end as usize]
    }

    fn variant(&self) -> &[Field] {
        self.extra.as_ref().map_or(&[], |extra| &extra.variant)
    }

    /// See [`Key::is_variant`].
    pub(crate) fn is_variant(&self) -> bool {
        !self.variant().is_empty()
    }

    /// See [`Key::id`].
    pub(crate) fn id(&self) -> u64 {
        self.hash
    }

    /// Its bytes on the heap.
    pub(crate) fn weight(&self) -> usize {
        self.extra.as_ref().map_or(0, |extra| extra.weight())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.id());
    }
}

/// By URL; keys of one URL by what else is part of them.
impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        fn url(key: &Key) -> (&str, &str, &str) {
            (key.host(), key.target(), key.scheme().as_str())
        }
        (url(self).cmp(&url(other)))
            .then_with(|| self.extra().map(Extra::rank).cmp(&other.extra().map(Extra::rank)))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().try_for_each(|piece| f.write_str(piece))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests;
