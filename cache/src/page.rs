//! A stored page: what visitors get, what purges select it by, and the little that changes while it is stored.
//!
//! Parts never change; a page is replaced as a whole. What changes is a handful of atomics, so that a hit takes no lock:
//! how far the ledger has been checked and what that found, the last visit, and when the app may be asked again.

mod content;
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

use self::content::Content;
pub use self::{
    content::{Fields, Value},
    tags::{TagList, TagSet, TooManyTags},
};

use crate::{
    coding::{Coding, Encoded},
    conditions,
    freshness::Freshness,
    key::{Key, Selection},
    ledger::{Facts, Ledger, Strategy, Tags},
    outcome::Outcome,
    routes::{Owner, Plan},
    store::index,
    time::Moment,
    variants,
    weight::{COUNTS, PIECE},
};

/// Visits are noted this coarsely, in milliseconds, so that hits on one page do not fight for its cache line.
const VISIT_GRAIN: u64 = 1000;
/// How coarsely times to ask the app again are kept, in milliseconds: for years, in half the bytes of a [`Moment`].
const RETRY_GRAIN: u64 = 100;

/// What a page's slot in the cache takes, whose table may have grown to twice what it needs.
const SLOT: usize = 96;

/// See `Page::codings`.
const TRIED: u8 = 4;

fn tried(coding: Coding) -> u8 {
    coding.bit() << TRIED
}

/// So many grains of time pass up to a moment, the last of them not always in whole.
fn grains(moment: u64, grain: u64) -> u32 {
    u32::try_from(moment.div_ceil(grain)).unwrap_or(u32::MAX)
}

/// A stored page.
pub struct Page {
    key: Arc<Key>,
    owner: Arc<Owner>,
    content: Content,
    stamp: u64,
    stored: Moment,
    extra: Option<Box<Extra>>,
    status: StatusCode,
    tagged: bool,
    compressible: bool,
    /// What its last visitor was answered with; for people to look at.
    outcome: AtomicU8,
    /// The strongest strategy that matched since the stamp. Only ever rises.
    effect: AtomicU8,
    /// Two sets of codings: those that visitors of this page want, and, [`TRIED`] bits higher, those that the body was
    /// tried to be compressed with, or soon will be.
    codings: AtomicU8,
    /// The page was checked against all lines up to here, and `effect` is what they do to it. Only ever rises.
    checked: AtomicU64,
    /// The last visit: the end of its [`VISIT_GRAIN`], as a number of these. 0: there was none.
    visited: AtomicU32,
    /// The app failed and is not asked again before this, as a number of [`RETRY_GRAIN`]s; 0: it may be asked.
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
    /// When it was complete, or was last confirmed by a 304.
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
            .field("key", &self.key)
            .field("status", &self.status)
            .field("bytes", &self.bytes().len())
            .field("stamp", &self.stamp)
            .field("effect", &self.effect())
            .finish_non_exhaustive()
    }
}

impl Page {
    /// A page that no line has been checked against since its stamp, visited now.
    pub fn new(parts: Parts) -> Self {
        let extra = Extra {
            encodings: Box::default(),
            vary: parts.vary,
            app: parts.app,
        };
        Self {
            key: parts.key,
            owner: parts.owner,
            content: Content::new(parts.tags.list(), &parts.headers, parts.body),
            stamp: parts.stamp,
            stored: parts.stored,
            extra: extra.boxed(),
            status: parts.status,
            tagged: parts.tagged,
            compressible: parts.compressible,
            outcome: AtomicU8::new(0),
            effect: AtomicU8::new(0),
            codings: AtomicU8::new(0),
            checked: AtomicU64::new(parts.stamp),
            visited: AtomicU32::new(0),
            retry_at: AtomicU32::new(0),
        }
    }

    /// A page of the same parts, as [`Page::new`] makes it.
    fn copy(&self) -> Self {
        let encodings = self.extra.iter().flat_map(|extra| &extra.encodings);
        Self {
            key: self.key.clone(),
            owner: self.owner.clone(),
            content: self.content.clone(),
            extra: self.extra.clone(),
            outcome: AtomicU8::new(0),
            effect: AtomicU8::new(0),
            codings: AtomicU8::new(encodings.fold(0, |set, own| set | tried(own.coding))),
            checked: AtomicU64::new(self.stamp),
            visited: AtomicU32::new(0),
            retry_at: AtomicU32::new(0),
            ..*self
        }
    }

    /// Key and variant.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Name of the IsrRoute that it belongs to.
    pub fn route(&self) -> &Arc<str> {
        &self.owner.route
    }

    /// Name of the rule that it was stored under.
    pub fn rule(&self) -> &Arc<str> {
        &self.owner.rule
    }

    /// The app's status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What visitors may see of the app's headers.
    pub fn headers(&self) -> Fields<'_> {
        self.content.fields()
    }

    /// The identity body, to be kept beyond the page.
    pub fn body(&self) -> Bytes {
        self.content.body()
    }

    /// The bytes of the identity body.
    pub fn bytes(&self) -> &[u8] {
        self.content.bytes()
    }

    /// The app gave it no `ETag`, and the one that it has is of our making.
    pub fn is_tagged(&self) -> bool {
        self.tagged
    }

    /// Its body may be sent compressed.
    pub fn is_compressible(&self) -> bool {
        self.compressible
    }

    /// The body in a coding, if it has been made and is smaller.
    pub fn encoded(&self, coding: Coding) -> Option<&Encoded> {
        self.extra
            .as_ref()?
            .encodings
            .iter()
            .find(|own| own.coding == coding)
    }

    /// A visitor wants the body in a coding. True for the first, where nobody has tried to make it: that is theirs.
    pub fn want(&self, coding: Coding) -> bool {
        let both = coding.bit() | tried(coding);
        // Most who come here come too late, and only read.
        self.codings.load(Ordering::Relaxed) & both != both
            && self.codings.fetch_or(both, Ordering::Relaxed) & tried(coding) == 0
    }

    /// The codings that visitors of this page wanted.
    pub fn wanted(&self) -> impl Iterator<Item = Coding> {
        let set = self.codings.load(Ordering::Relaxed);
        Coding::ALL
            .into_iter()
            .filter(move |coding| set & coding.bit() != 0)
    }

    /// Somebody is about to make the body in a coding. True for the first.
    pub fn try_out(&self, coding: Coding) -> bool {
        self.codings.fetch_or(tried(coding), Ordering::Relaxed) & tried(coding) == 0
    }

    /// It could not be made now: another visitor may have it tried again.
    pub fn give_up(&self, coding: Coding) {
        self.codings.fetch_and(!tried(coding), Ordering::Relaxed);
    }

    /// Both have one and the same body.
    pub fn has_body_of(&self, other: &Self) -> bool {
        let (own, others) = (self.bytes(), other.bytes());
        // A short one is copied with what is in one piece with it.
        let is_copy = || own.len() <= content::SHORT && self.stamp == other.stamp && own == others;
        let is_same = own.as_ptr() == others.as_ptr() && own.len() == others.len();
        // Of two empty bodies nobody can tell, and they need no coding.
        !own.is_empty() && (is_same || is_copy())
    }

    /// The page with one more encoding. What purges, visits and failures have left on it stays, as of now: whoever could
    /// leave more on it that must not be lost is kept away meanwhile by the store.
    pub fn with(&self, coding: Coding, body: Bytes) -> Self {
        let etag = self.header(&http::header::ETAG);
        let etag = etag.as_ref().map(conditions::weakened);
        let mut extra = self.extra.as_deref().cloned().unwrap_or_default();
        let others = extra.encodings.iter().filter(|own| own.coding != coding).cloned();
        extra.encodings = others.chain([Encoded { coding, body, etag }]).collect();
        let page = Self {
            extra: extra.boxed(),
            ..self.copy()
        };
        // Before the effect: who sees this head sees what the lines up to it did.
        let checked = self.checked.load(Ordering::Acquire);
        page.take_over(self);
        page.checked.store(checked, Ordering::Release);
        let codings = self.codings.load(Ordering::Relaxed) | tried(coding);
        page.codings.store(codings, Ordering::Relaxed);
        page
    }

    /// Takes over all that was left on the page that it is a copy of.
    fn take_over(&self, old: &Self) {
        self.effect
            .store(old.effect.load(Ordering::Acquire), Ordering::Release);
        self.inherit(old);
        self.retry_at
            .store(old.retry_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Its tags.
    pub fn tags(&self) -> TagList<'_> {
        self.content.tags()
    }

    /// The ledger's head before its request left.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// When it was complete.
    pub fn stored(&self) -> Moment {
        self.stored
    }

    /// How old its content is: since it was stored, and what it was then by the app's word.
    pub fn age(&self, now: Moment) -> Duration {
        let before = self.app().map_or(Duration::ZERO, |app| app.initial_age);
        now.since(self.stored) + before
    }

    /// What `Vary` named beyond what always chooses.
    pub fn vary(&self) -> Option<&Selection> {
        self.extra.as_ref()?.vary.as_deref()
    }

    /// What the app said of how long it lives; `None`: a rule's interval decided when it was stored.
    pub fn app(&self) -> Option<&Freshness> {
        self.extra.as_ref()?.app.as_ref()
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
    pub fn confirmed(&self, headers: &HeaderMap, app: Option<Freshness>, stored: Moment) -> Self {
        let extra = Extra {
            app,
            ..self.extra.as_deref().cloned().unwrap_or_default()
        };
        Self {
            content: self.content.confirmed(headers),
            stored,
            extra: extra.boxed(),
            visited: AtomicU32::new(self.visited.load(Ordering::Relaxed)),
            ..self.copy()
        }
    }

    /// A 404 or a 410: it lives for the rule's `negative` and has no stale window.
    pub fn is_negative(&self) -> bool {
        matches!(self.status, StatusCode::NOT_FOUND | StatusCode::GONE)
    }

    /// It was stored by this route, under the paths, key and tags that the rule still has.
    pub fn fits(&self, plan: &Plan) -> bool {
        // The same but where the configuration has changed since.
        Arc::ptr_eq(&self.owner, &plan.owner) || self.owner.is_as(&plan.owner)
    }

    /// The page as it would have been stored under `plan`, to be checked anew against all
    /// lines since its stamp. What an unsafe request or a failure left on it stays.
    pub fn under(&self, plan: &Plan) -> Result<Self, TooManyTags> {
        let tags = self.tags().under(&plan.tags(self.key.path()))?;
        let page = Self {
            owner: plan.owner.clone(),
            content: self.content.under(tags.list()),
            ..self.copy()
        };
        page.take_over(self);
        Ok(page)
    }

    /// What purges select it by.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            route: &self.owner.route,
            host: self.key.host(),
            path: self.key.path(),
            tags: Tags::Known(self.tags()),
        }
    }

    /// What the purges since its stamp do to it. Costs one comparison where the ledger has nothing new; otherwise the
    /// lines that it has not seen are looked at once. A new match ends a back-off: a purge is tried at once.
    pub fn check(&self, ledger: &Ledger) -> Option<Strategy> {
        let checked = self.checked.load(Ordering::Acquire);
        if checked < ledger.head() {
            let (found, head) = ledger.look(&self.facts(), checked);
            if found.is_some() {
                self.raise(found);
                self.retry_at.store(0, Ordering::Relaxed);
            }
            // After the effect: who sees this head sees what the lines up to it did.
            self.checked.fetch_max(head, Ordering::Release);
        }
        self.effect()
    }

    /// What [`Page::check`] would say, without noting anything; and whether that is news, which ends a back-off.
    pub fn foresee(&self, ledger: &Ledger) -> (Option<Strategy>, bool) {
        let (found, _) = ledger.look(&self.facts(), self.checked.load(Ordering::Acquire));
        (self.effect().max(found), found.is_some())
    }

    /// What is known of the purges since its stamp, without looking at the ledger.
    pub fn effect(&self) -> Option<Strategy> {
        Strategy::decode(self.effect.load(Ordering::Acquire))
    }

    /// An unsafe request to its URL succeeded (RFC 9111 §4.4): an `Expire` of this page on this replica.
    pub fn invalidate(&self) {
        self.raise(Some(Strategy::Expire));
        self.retry_at.store(0, Ordering::Relaxed);
    }

    fn raise(&self, effect: Option<Strategy>) {
        self.effect.fetch_max(Strategy::encode(effect), Ordering::Release);
    }

    /// Notes a visit.
    pub fn visit(&self, now: Moment) {
        let end = grains(now.0.saturating_add(1), VISIT_GRAIN);
        if self.visited.load(Ordering::Relaxed) < end {
            self.visited.fetch_max(end, Ordering::Relaxed);
        }
    }

    /// Notes what a visitor is answered with. Most get what the one before got, and then nothing is written.
    pub fn note(&self, outcome: Outcome) {
        let byte = Outcome::encode(Some(outcome));
        if self.outcome.load(Ordering::Relaxed) != byte {
            self.outcome.store(byte, Ordering::Relaxed);
        }
    }

    /// What its last visitor was answered with; `None`: nobody has visited it yet.
    pub fn last_outcome(&self) -> Option<Outcome> {
        Outcome::decode(self.outcome.load(Ordering::Relaxed))
    }

    /// Takes over what is known of the visits to the page whose place it takes.
    pub(crate) fn inherit(&self, old: &Self) {
        self.visited
            .fetch_max(old.visited.load(Ordering::Relaxed), Ordering::Relaxed);
        self.outcome
            .store(old.outcome.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The last visit: the end of the second that it was in; the first moment of all where there was none.
    pub fn visited(&self) -> Moment {
        Moment(u64::from(self.visited.load(Ordering::Relaxed)) * VISIT_GRAIN)
    }

    /// The app failed to give a new page: it is not asked again before `until`, unless a purge comes.
    pub fn back_off(&self, until: Moment) {
        self.retry_at
            .store(grains(until.0, RETRY_GRAIN), Ordering::Relaxed);
    }

    /// The app failed lately.
    pub fn is_backing_off(&self, now: Moment) -> bool {
        self.retry_at().is_some_and(|until| until > now)
    }

    /// The app has failed, and may be asked again then.
    pub fn retry_at(&self) -> Option<Moment> {
        let until = self.retry_at.load(Ordering::Relaxed);
        (until > 0).then(|| Moment(u64::from(until) * RETRY_GRAIN))
    }

    /// What it takes of the memory budget: body and its encodings, headers, tags, key and bookkeeping, in bytes.
    pub fn weight(&self) -> u64 {
        let variant = if self.key.is_variant() {
            variants::BOOKKEEPING
        } else {
            0
        };
        let total = size_of::<Self>()
            + COUNTS
            + PIECE
            + SLOT
            + self.key.weight()
            + variant
            + index::weight(self)
            + self.content.weight()
            + self.extra.as_ref().map_or(0, |extra| extra.weight());
        total as u64
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
