//! A stored page: what visitors get, what purges select it by, and the little that changes while it is stored.
//!
//! Parts never change; a page is replaced as a whole. What changes is a handful of atomics, so that a hit takes no lock:
//! how far the ledger has been checked and what that found, the last visit, and when the app may be asked again.
//!
//! ```text
//! one piece of memory: who shares it │ Head: numbers, atomics, where what is in the block │ length │ block: `content.rs`
//! and, where there is such a thing: a long body │ the body compressed, what `Vary` named, what the app said (Extra)
//! ```

mod content;
mod lent;
mod marks;
mod standing;
mod tags;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use triomphe::ThinArc;

use self::{content::Content, marks::tried};
pub use self::{
    content::{Fields, Value},
    lent::Lent,
    marks::BackOff,
    tags::{TagList, TagSet, TooManyTags},
};

use crate::{
    coding::{self, Coding, Encoded},
    conditions,
    freshness::Freshness,
    headers::names_tags,
    key::{self, Key, Selection},
    ledger::{Facts, Tags},
    routes::{Owner, Plan},
    store::index,
    time::Moment,
    variants,
    weight::PIECE,
};

/// What a page takes in one piece with its block: with it the number of those who share it and the block's length.
const BESIDE: usize = size_of::<Head>() + 2 * size_of::<usize>();

/// What a page's slot in the cache takes, whose table may have grown to twice what it needs.
const SLOT: usize = 96;

/// A stored page. Copies share it.
#[derive(Clone)]
pub struct Page(ThinArc<Head, u8>);

/// All of a page but its block.
struct Head {
    key: key::Head,
    owner: Arc<Owner>,
    content: Content,
    stamp: u64,
    stored: Moment,
    extra: Option<Box<Extra>>,
    status: StatusCode,
    tagged: bool,
    compressible: bool,
    /// Where the store has it: see [`Page::enter`].
    standing: AtomicU8,
    /// What its last visitor was answered with; for people to look at.
    outcome: AtomicU8,
    /// The strongest strategy that matched since the stamp. Only ever rises.
    effect: AtomicU8,
    /// Two sets of codings: those that visitors of this page want, and, `TRIED` bits higher, those that the body was
    /// tried to be compressed with, or soon will be.
    codings: AtomicU8,
    /// The page was checked against all lines up to here, and `effect` is what they do to it. Only ever rises.
    checked: AtomicU64,
    /// The last visit: the end of its `VISIT_GRAIN`, as a number of these. 0: there was none.
    visited: AtomicU32,
    /// The app is not asked again before this, as a number of `RETRY_GRAIN`s, and why ([`BackOff`], the lowest bit); 0: it
    /// may be asked.
    retry_at: AtomicU32,
}

/// What most pages do not have.
#[derive(Clone, Default)]
struct Extra {
    /// The body in other codings, each smaller than the body itself.
    encodings: Box<[Encoded]>,
    vary: Option<Box<Selection>>,
    app: Option<Freshness>,
}

/// What a page is made of.
pub struct Parts {
    /// Key and variant.
    pub key: Arc<Key>,
    /// Whose it is: [`Plan::owner`].
    pub owner: Arc<Owner>,
    /// The app's status.
    pub status: StatusCode,
    /// What visitors may see of the app's headers, without those that frame the body.
    pub headers: HeaderMap,
    /// The identity body.
    pub body: Bytes,
    /// What purges select it by.
    pub tags: TagSet,
    /// The ledger's head before the request left.
    pub stamp: u64,
    /// When its head arrived, or that of the 304 that confirmed it last: from then on it ages (RFC 9111 section 4.2.3).
    pub stored: Moment,
    /// The app gave it no `ETag`: the one among the headers is [`conditions::tag_of`] its body.
    pub tagged: bool,
    /// The body may be compressed, and is long enough for it.
    pub compressible: bool,
    /// What `Vary` named beyond what always chooses; `None`: nothing.
    pub vary: Option<Box<Selection>>,
    /// What the app said of how long it lives, where the app decides.
    pub app: Option<Freshness>,
}

impl fmt::Debug for Page {
    /// Never the body, which belongs into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("key", &self.key())
            .field("status", &self.head().status)
            .field("bytes", &self.bytes().len())
            .field("stamp", &self.head().stamp)
            .field("effect", &self.effect())
            .finish_non_exhaustive()
    }
}

impl Page {
    /// A page that no line has been checked against since its stamp, and that nobody has visited.
    pub fn new(parts: Parts) -> Self {
        let extra = Extra {
            encodings: Box::default(),
            vary: parts.vary,
            app: parts.app,
        };
        let (content, block) = Content::new(parts.key.text(), parts.tags.list(), &parts.headers, parts.body);
        let head = Head {
            key: parts.key.head().clone(),
            owner: parts.owner,
            content,
            stamp: parts.stamp,
            stored: parts.stored,
            extra: extra.boxed(),
            status: parts.status,
            tagged: parts.tagged,
            compressible: parts.compressible,
            standing: AtomicU8::new(0),
            outcome: AtomicU8::new(0),
            effect: AtomicU8::new(0),
            codings: AtomicU8::new(0),
            checked: AtomicU64::new(parts.stamp),
            visited: AtomicU32::new(0),
            retry_at: AtomicU32::new(0),
        };
        Self::of(head, &block)
    }

    fn of(head: Head, block: &[u8]) -> Self {
        Self(ThinArc::from_header_and_slice(head, block))
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    /// What [`Content`] has written.
    fn block(&self) -> &[u8] {
        &self.0.slice
    }

    /// It is this very page, not another under the same key.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ptr() == other.0.ptr()
    }

    /// Key and variant, made anew.
    pub fn key(&self) -> Arc<Key> {
        Arc::new(Key::of_parts(&self.head().key, self.key_text()))
    }

    /// It is stored under this key.
    pub(crate) fn has_key(&self, key: &Key) -> bool {
        self.head().key == *key.head() && self.key_bytes() == key.text().as_bytes()
    }

    /// It is stored under the same key as another.
    pub(crate) fn has_key_of(&self, other: &Self) -> bool {
        self.head().key == other.head().key && self.key_bytes() == other.key_bytes()
    }

    fn key_bytes(&self) -> &[u8] {
        self.head().content.key(self.block())
    }

    fn key_text(&self) -> &str {
        str::from_utf8(self.key_bytes()).unwrap_or_default()
    }

    /// See [`Key::id`].
    pub fn id(&self) -> u64 {
        self.head().key.id()
    }

    /// See [`Key::is_variant`].
    pub fn is_variant(&self) -> bool {
        self.head().key.is_variant()
    }

    /// See [`Key::host`].
    pub fn host(&self) -> &str {
        self.head().key.host(self.key_text())
    }

    /// See [`Key::path`].
    pub fn path(&self) -> &str {
        self.head().key.path(self.key_text())
    }

    /// Name of the IsrRoute that it belongs to.
    pub fn route(&self) -> &Arc<str> {
        &self.head().owner.route
    }

    /// Name of the rule that it was stored under.
    pub fn rule(&self) -> &Arc<str> {
        &self.head().owner.rule
    }

    /// The app's status.
    pub fn status(&self) -> StatusCode {
        self.head().status
    }

    /// What visitors may see of the app's headers.
    pub fn headers(&self) -> Fields<'_> {
        self.head().content.fields(self.block())
    }

    /// What an answer takes of it.
    pub fn lend(&self) -> Lent<'_> {
        Lent::new(self)
    }

    /// The identity body, to be kept beyond the page.
    pub fn body(&self) -> Bytes {
        self.lend().body()
    }

    /// The bytes of the identity body.
    pub fn bytes(&self) -> &[u8] {
        self.head().content.bytes(self.block())
    }

    /// The app gave it no `ETag`, and the one that it has is of our making.
    pub fn is_tagged(&self) -> bool {
        self.head().tagged
    }

    /// Its body may be sent compressed.
    pub fn is_compressible(&self) -> bool {
        self.head().compressible
    }

    /// The body in a coding, if it has been made and is smaller.
    pub fn encoded(&self, coding: Coding) -> Option<&Encoded> {
        self.head()
            .extra
            .as_ref()?
            .encodings
            .iter()
            .find(|own| own.coding == coding)
    }

    /// Both have one and the same body.
    pub fn has_body_of(&self, other: &Self) -> bool {
        let (own, others) = (self.bytes(), other.bytes());
        // A short one is copied with what is in one piece with it.
        let is_copy =
            || own.len() <= content::SHORT && self.head().stamp == other.head().stamp && own == others;
        let is_same = own.as_ptr() == others.as_ptr() && own.len() == others.len();
        // Of two empty bodies nobody can tell, and they need no coding.
        !own.is_empty() && (is_same || is_copy())
    }

    /// The page with one more encoding. What purges, visits and failures have left on it stays, as of now: whoever could
    /// leave more on it that must not be lost is kept away meanwhile by the store.
    pub fn with(&self, coding: Coding, body: Bytes) -> Self {
        let etag = self.header(&http::header::ETAG);
        let etag = etag.as_ref().map(conditions::weakened);
        let mut extra = self.head().extra.as_deref().cloned().unwrap_or_default();
        let others = extra.encodings.iter().filter(|own| own.coding != coding).cloned();
        extra.encodings = others.chain([Encoded { coding, body, etag }]).collect();
        let head = Head {
            extra: extra.boxed(),
            ..self.head().copy()
        };
        let page = Self::of(head, self.block());
        // Before the effect: who sees this head sees what the lines up to it did.
        let checked = self.head().checked.load(Ordering::Acquire);
        page.take_over(self);
        page.head().checked.store(checked, Ordering::Release);
        let codings = self.head().codings.load(Ordering::Relaxed) | tried(coding);
        page.head().codings.store(codings, Ordering::Relaxed);
        page
    }

    /// Its tags.
    pub fn tags(&self) -> TagList<'_> {
        self.head().content.tags(self.block())
    }

    /// The ledger's head before its request left.
    pub fn stamp(&self) -> u64 {
        self.head().stamp
    }

    /// When its head arrived, or that of the 304 that confirmed it last.
    pub fn stored(&self) -> Moment {
        self.head().stored
    }

    /// How old its content is: since its head arrived, and what it was then by the app's word.
    pub fn age(&self, now: Moment) -> Duration {
        let before = self.app().map_or(Duration::ZERO, |app| app.initial_age);
        now.since(self.head().stored) + before
    }

    /// What `Vary` named beyond what always chooses.
    pub fn vary(&self) -> Option<&Selection> {
        self.head().extra.as_ref()?.vary.as_deref()
    }

    /// What the app said of how long it lives; `None`: a rule's interval decided when it was stored.
    pub fn app(&self) -> Option<&Freshness> {
        self.head().extra.as_ref()?.app.as_ref()
    }

    /// A field of its headers, if it has exactly one of that name.
    pub fn header(&self, name: &HeaderName) -> Option<HeaderValue> {
        let mut values = self.headers().filter(|(own, _)| *own == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value.into()),
            _ => None,
        }
    }

    /// The same content, confirmed by the app (RFC 9111 section 4.3.4): other headers and another lifetime, and the stamp
    /// as before, since its content is as old as that.
    pub fn confirmed(&self, mut headers: HeaderMap, app: Option<Freshness>, stored: Moment) -> Self {
        let mut extra = Extra {
            app,
            ..self.head().extra.as_deref().cloned().unwrap_or_default()
        };
        // The app may forbid it from now on.
        let compressible = self.head().compressible && coding::may_compress(&headers, None);
        if compressible {
            coding::vary(&mut headers);
        } else {
            extra.encodings = Box::default();
        }
        let (content, block) = Content::new(self.key_text(), self.tags(), &headers, self.body());
        let head = Head {
            content,
            stored,
            compressible,
            extra: extra.boxed(),
            visited: AtomicU32::new(self.head().visited.load(Ordering::Relaxed)),
            ..self.head().copy()
        };
        Self::of(head, &block)
    }

    /// It was stored by this route, under the paths, key, tags and licences that the rule still has.
    pub fn fits(&self, plan: &Plan) -> bool {
        // The same but where the configuration has changed since.
        Arc::ptr_eq(&self.head().owner, &plan.owner) || self.head().owner.is_as(&plan.owner)
    }

    /// It may be brought under a plan that it does not fit: of the same route, and with all that it was stored by.
    pub fn is_of_use(&self, plan: &Plan) -> bool {
        self.route() == &plan.owner.route
            && self.app().is_some() == plan.app_decides()
            && plan.owner.allows_all_of(&self.head().owner)
    }

    /// The page as it would have been stored under `plan`, to be checked anew against all
    /// lines since its stamp. What an unsafe request or a failure left on it stays.
    pub fn under(&self, plan: &Plan) -> Result<Self, TooManyTags> {
        let tags = self.tags().under(&plan.tags(self.path()))?;
        let (content, block) = if !plan.rule.keep_tags && self.headers().any(|(name, _)| names_tags(name)) {
            let kept = self.headers().filter(|(name, _)| !names_tags(name));
            let headers = kept.map(|(name, value)| (name.clone(), value.into())).collect();
            Content::new(self.key_text(), tags.list(), &headers, self.body())
        } else {
            self.head().content.under(self.block(), tags.list())
        };
        let head = Head {
            owner: plan.owner.clone(),
            content,
            ..self.head().copy()
        };
        let page = Self::of(head, &block);
        page.take_over(self);
        Ok(page)
    }

    /// What purges select it by.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            route: &self.head().owner.route,
            host: self.host(),
            path: self.path(),
            tags: Tags::Known(self.tags()),
        }
    }

    /// What it takes of the memory budget: body and its encodings, headers, tags, key and bookkeeping, in bytes.
    pub fn weight(&self) -> u64 {
        let head = self.head();
        let variant = if self.is_variant() {
            // Which knows it by a key of its own.
            variants::BOOKKEEPING + Key::weight_of(&head.key, self.key_bytes().len())
        } else {
            0
        };
        let total = BESIDE
            + self.block().len()
            + PIECE
            + SLOT
            + head.key.weight()
            + variant
            + index::weight(self)
            + head.content.weight()
            + head.extra.as_ref().map_or(0, |extra| extra.weight());
        total as u64
    }
}

impl Head {
    /// Of a page of the same parts, as [`Page::new`] makes it: one that is not stored yet.
    fn copy(&self) -> Self {
        let encodings = self.extra.iter().flat_map(|extra| &extra.encodings);
        Self {
            key: self.key.clone(),
            owner: self.owner.clone(),
            content: self.content.clone(),
            extra: self.extra.clone(),
            standing: AtomicU8::new(0),
            outcome: AtomicU8::new(0),
            effect: AtomicU8::new(0),
            codings: AtomicU8::new(encodings.fold(0, |set, own| set | tried(own.coding))),
            checked: AtomicU64::new(self.stamp),
            visited: AtomicU32::new(0),
            retry_at: AtomicU32::new(0),
            ..*self
        }
    }
}

impl Extra {
    fn boxed(self) -> Option<Box<Self>> {
        let is_empty = self.encodings.is_empty() && self.vary.is_none() && self.app.is_none();
        (!is_empty).then(|| Box::new(self))
    }

    /// Its bytes in memory.
    fn weight(&self) -> usize {
        let vary = |vary: &Selection| size_of::<Selection>() + PIECE + vary.weight();
        size_of::<Self>()
            + 2 * PIECE
            + self.vary.as_deref().map_or(0, vary)
            + self.encodings.iter().map(Encoded::weight).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
