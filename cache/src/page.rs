//! A stored page: what visitors get, what purges select it by, and the little that changes while it is stored.
//!
//! Parts never change; a page is replaced as a whole. What changes is a handful of atomics, so that a hit takes no lock:
//! how far the ledger has been checked and what that found, the last visit, and when the app may be asked again.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use compact_str::CompactString;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::{
    coding::{Coding, Encoded},
    conditions,
    freshness::Freshness,
    key::{Key, Selection},
    ledger::{Facts, Ledger, Strategy, Tags},
    outcome::Outcome,
    routes::Plan,
    time::Moment,
    variants,
};

/// Visits are noted this coarsely, so that hits on one page do not fight for its cache line.
const VISIT_GRAIN: Duration = Duration::from_secs(1);

/// What a map's slot, a shard's list and the allocator take for a page beside what [`Page::weight`] can count.
const BOOKKEEPING: usize = 128;

/// See `Page::codings`.
const TRIED: u8 = 4;

fn tried(coding: Coding) -> u8 {
    coding.bit() << TRIED
}

/// A stored page.
pub struct Page {
    parts: Parts,
    /// The page was checked against all lines up to here, and `effect` is what they do to it. Only ever rises.
    checked: AtomicU64,
    /// The strongest strategy that matched since the stamp. Only ever rises.
    effect: AtomicU8,
    /// The last visit, as a [`Moment`].
    visited: AtomicU64,
    /// What that visitor was answered with; for people to look at.
    outcome: AtomicU8,
    /// The app failed and is not asked again before this, as a [`Moment`]; 0: it may be asked.
    retry_at: AtomicU64,
    /// Two sets of codings: those that visitors of this page want, and, [`TRIED`] bits higher, those that the body was
    /// tried to be compressed with, or soon will be.
    codings: AtomicU8,
}

/// What a page is made of.
#[derive(Clone)]
pub struct Parts {
    /// Key and variant.
    pub key: Arc<Key>,
    /// Name of the IsrRoute that it belongs to.
    pub route: Arc<str>,
    /// Name of the rule that it was stored under.
    pub rule: Arc<str>,
    /// Of the rule's paths, key and tags: [`Plan::fingerprint`].
    pub fingerprint: u64,
    /// The app's status.
    pub status: StatusCode,
    /// What visitors may see of the app's headers, without those that frame the body.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
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
    /// The body in other codings, each smaller than the body itself.
    pub encodings: Box<[Encoded]>,
    /// What `Vary` named beyond what always chooses; `None`: nothing.
    pub vary: Option<Box<Selection>>,
    /// What the app said of how long it lives, where the app decides.
    pub app: Option<Box<Freshness>>,
}

/// The tags of a page: those of its rule, then those that the app named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSet {
    tags: Box<[CompactString]>,
    of_rule: u8,
}

/// Why tags make a page unstorable: a dropped tag would be a missed purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a page has at most {} tags of at most {} bytes",
    TagSet::MAX,
    TagSet::MAX_LENGTH
)]
pub struct TooManyTags;

impl fmt::Debug for Page {
    /// Never the body, which belongs into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("key", &self.parts.key)
            .field("status", &self.parts.status)
            .field("bytes", &self.parts.body.len())
            .field("stamp", &self.parts.stamp)
            .field("effect", &self.effect())
            .finish_non_exhaustive()
    }
}

impl TagSet {
    /// A page has at most this many tags.
    pub const MAX: usize = 128;
    /// A tag has at most this many bytes.
    pub const MAX_LENGTH: usize = 256;

    /// The tags of the rule and of the app, each once.
    pub fn new<S: AsRef<str>>(
        of_rule: impl IntoIterator<Item = S>,
        of_app: impl IntoIterator<Item = S>,
    ) -> Result<Self, TooManyTags> {
        let mut tags: Vec<CompactString> = Vec::new();
        let mut add = |tag: &str| {
            if tag.len() > Self::MAX_LENGTH {
                return Err(TooManyTags);
            }
            if !tag.is_empty() && !tags.iter().any(|known| known == tag) {
                tags.push(tag.into());
            }
            if tags.len() > Self::MAX {
                Err(TooManyTags)
            } else {
                Ok(tags.len())
            }
        };
        let mut count = 0;
        for tag in of_rule {
            count = add(tag.as_ref())?;
        }
        for tag in of_app {
            add(tag.as_ref())?;
        }
        Ok(Self {
            tags: tags.into(),
            of_rule: count as u8,
        })
    }

    /// The same tags of the app with other tags of a rule.
    pub fn under<S: AsRef<str>>(&self, of_rule: &[S]) -> Result<Self, TooManyTags> {
        let of_app = &self.tags[usize::from(self.of_rule)..];
        Self::new(
            of_rule.iter().map(AsRef::as_ref),
            of_app.iter().map(CompactString::as_str),
        )
    }

    /// All of them.
    pub fn all(&self) -> &[CompactString] {
        &self.tags
    }

    fn weight(&self) -> usize {
        let heap = |tag: &CompactString| {
            if tag.is_heap_allocated() {
                tag.capacity()
            } else {
                0
            }
        };
        self.tags
            .iter()
            .map(|tag| size_of::<CompactString>() + heap(tag))
            .sum()
    }
}

impl Page {
    /// A page that no line has been checked against since its stamp, visited now.
    pub fn new(parts: Parts) -> Self {
        Self {
            checked: AtomicU64::new(parts.stamp),
            effect: AtomicU8::new(0),
            visited: AtomicU64::new(0),
            outcome: AtomicU8::new(0),
            retry_at: AtomicU64::new(0),
            codings: AtomicU8::new(parts.encodings.iter().fold(0, |set, own| set | tried(own.coding))),
            parts,
        }
    }

    #[cfg(test)]
    pub(crate) fn into_parts(self) -> Parts {
        self.parts
    }

    /// Key and variant.
    pub fn key(&self) -> &Arc<Key> {
        &self.parts.key
    }

    /// Name of the IsrRoute that it belongs to.
    pub fn route(&self) -> &Arc<str> {
        &self.parts.route
    }

    /// Name of the rule that it was stored under.
    pub fn rule(&self) -> &Arc<str> {
        &self.parts.rule
    }

    /// The app's status.
    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// What visitors may see of the app's headers.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.parts.headers
    }

    /// The identity body.
    pub fn body(&self) -> &Bytes {
        &self.parts.body
    }

    /// The app gave it no `ETag`, and the one that it has is of our making.
    pub fn is_tagged(&self) -> bool {
        self.parts.tagged
    }

    /// Its body may be sent compressed.
    pub fn is_compressible(&self) -> bool {
        self.parts.compressible
    }

    /// The body in a coding, if it has been made and is smaller.
    pub fn encoded(&self, coding: Coding) -> Option<&Encoded> {
        self.parts.encodings.iter().find(|own| own.coding == coding)
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
        let (own, others) = (self.body(), other.body());
        // Of two empty bodies nobody can tell, and they need no coding.
        !own.is_empty() && own.as_ptr() == others.as_ptr() && own.len() == others.len()
    }

    /// The page with one more encoding. What purges, visits and failures have left on it stays, as of now: whoever could
    /// leave more on it that must not be lost is kept away meanwhile by the store.
    pub fn with(&self, coding: Coding, body: Bytes) -> Self {
        let mut encodings = self.parts.encodings.to_vec();
        encodings.retain(|own| own.coding != coding);
        let etag = self.header(&http::header::ETAG).map(conditions::weakened);
        encodings.push(Encoded { coding, body, etag });
        let page = Self::new(Parts {
            encodings: encodings.into(),
            ..self.parts.clone()
        });
        // Before the effect: who sees this head sees what the lines up to it did.
        let checked = self.checked.load(Ordering::Acquire);
        page.take_over(self);
        page.checked.store(checked, Ordering::Release);
        page.codings
            .fetch_or(self.codings.load(Ordering::Relaxed), Ordering::Relaxed);
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
    pub fn tags(&self) -> &[CompactString] {
        self.parts.tags.all()
    }

    /// Its tags, as they were collected.
    pub fn tag_set(&self) -> &TagSet {
        &self.parts.tags
    }

    /// The ledger's head before its request left.
    pub fn stamp(&self) -> u64 {
        self.parts.stamp
    }

    /// When it was complete.
    pub fn stored(&self) -> Moment {
        self.parts.stored
    }

    /// How old its content is: since it was stored, and what it was then by the app's word.
    pub fn age(&self, now: Moment) -> Duration {
        let before = self
            .parts
            .app
            .as_ref()
            .map_or(Duration::ZERO, |app| app.initial_age);
        now.since(self.parts.stored) + before
    }

    /// What `Vary` named beyond what always chooses.
    pub fn vary(&self) -> Option<&Selection> {
        self.parts.vary.as_deref()
    }

    /// What the app said of how long it lives; `None`: a rule's interval decided when it was stored.
    pub fn app(&self) -> Option<&Freshness> {
        self.parts.app.as_deref()
    }

    /// A field of its headers, if it has exactly one of that name.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let mut values = self.headers().iter().filter(|(own, _)| own == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The same content, confirmed by the app (RFC 9111 section 4.3.4): other headers and another lifetime, and the stamp
    /// as before, since its content is as old as that.
    pub fn confirmed(
        &self,
        headers: Box<[(HeaderName, HeaderValue)]>,
        app: Option<Box<Freshness>>,
        stored: Moment,
    ) -> Self {
        let page = Self::new(Parts {
            headers,
            stored,
            app,
            ..self.parts.clone()
        });
        page.visited
            .store(self.visited.load(Ordering::Relaxed), Ordering::Relaxed);
        page
    }

    /// A 404 or a 410: it lives for the rule's `negative` and has no stale window.
    pub fn is_negative(&self) -> bool {
        matches!(self.parts.status, StatusCode::NOT_FOUND | StatusCode::GONE)
    }

    /// It was stored by this route, under the paths, key and tags that the rule still has.
    pub fn fits(&self, plan: &Plan) -> bool {
        self.parts.fingerprint == plan.fingerprint && self.parts.route == plan.route
    }

    /// The page as it would have been stored under `plan`, to be checked anew against all
    /// lines since its stamp. What an unsafe request or a failure left on it stays.
    pub fn under(&self, plan: &Plan) -> Result<Self, TooManyTags> {
        let tags = plan.tags(self.parts.key.path());
        let page = Self::new(Parts {
            route: plan.route.clone(),
            rule: plan.name.clone(),
            fingerprint: plan.fingerprint,
            tags: self.parts.tags.under(&tags)?,
            ..self.parts.clone()
        });
        page.take_over(self);
        Ok(page)
    }

    /// What purges select it by.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            route: &self.parts.route,
            host: self.parts.key.host(),
            path: self.parts.key.path(),
            tags: Tags::Known(self.parts.tags.all()),
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
        let last = Moment(self.visited.load(Ordering::Relaxed));
        if last == Moment(0) || now.since(last) >= VISIT_GRAIN {
            self.visited.fetch_max(now.0, Ordering::Relaxed);
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
        self.visit(old.visited());
        self.outcome
            .store(old.outcome.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The last visit, to the second.
    pub fn visited(&self) -> Moment {
        Moment(self.visited.load(Ordering::Relaxed))
    }

    /// The app failed to give a new page: it is not asked again before `until`, unless a purge comes.
    pub fn back_off(&self, until: Moment) {
        self.retry_at.store(until.0, Ordering::Relaxed);
    }

    /// The app failed lately.
    pub fn is_backing_off(&self, now: Moment) -> bool {
        self.retry_at().is_some_and(|until| until > now)
    }

    /// The app has failed, and may be asked again then.
    pub fn retry_at(&self) -> Option<Moment> {
        let until = self.retry_at.load(Ordering::Relaxed);
        (until > 0).then_some(Moment(until))
    }

    /// What it takes of the memory budget: body and its encodings, headers, tags, key and bookkeeping, in bytes.
    pub fn weight(&self) -> u64 {
        let headers: usize = self
            .parts
            .headers
            .iter()
            .map(|(name, value)| {
                mem::size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
            })
            .sum();
        let total = size_of::<Self>()
            + BOOKKEEPING
            + self.parts.key.weight()
            + headers
            + self
                .parts
                .vary
                .as_ref()
                .map_or(0, |vary| size_of::<Selection>() + vary.weight())
            + self.parts.app.as_ref().map_or(0, |_| size_of::<Freshness>())
            + if self.parts.key.is_variant() {
                variants::BOOKKEEPING
            } else {
                0
            }
            + self.parts.tags.weight()
            + self.parts.body.len()
            + self.parts.encodings.iter().map(Encoded::weight).sum::<usize>();
        total as u64
    }
}

#[cfg(test)]
mod tests;
