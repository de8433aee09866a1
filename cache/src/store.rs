//! The bounded store: pages by key, under one memory budget that pages and flights in the air share.
//!
//! ```text
//! find(key, plan)       ──► the page, brought under the plan in force
//! insert(page)          ──► replaces an older page, never a newer one
//! candidates(lines)     ──► the pages that purges may select, where these name them: `index.rs`
//! reserve(bytes)        ──► room for a flight in the air; pages make way, and what has left but is still read counts
//! ```
//!
//! This file is the only one that knows where pages are kept: a second tier goes behind [`Store::find`] and
//! [`Store::insert`], and what it cannot give is a miss.

pub(crate) mod index;
mod lingering;

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use ahash::RandomState;
use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use self::{
    index::{Index, WithId},
    lingering::{Leaving, Lingering},
};
use crate::{
    coding::Coding,
    key::{Key, Selection},
    ledger::{Fact, Line},
    page::Page,
    routes::Plan,
    variants::Variants,
};

/// The largest body that a rule stores unless it says otherwise; shards are cut so that several such pages fit into one.
const LARGEST: u64 = 10 << 20;
const MAX_SHARDS: u64 = 64;
/// A page of average size, for the table that the cache starts with. A guess that is too high costs a small cache its
/// room, one that is too low costs a large one a few doublings of its table.
const AVERAGE: u64 = 16 << 10;
/// The cache refuses an entry heavier than the hot part of a shard, and drops what it would have replaced: such a page is
/// not offered at all.
const HOT_PERCENT: u64 = 95;
/// A path with more pages has too many for an unsafe request to go through all of them.
const FEW_FORMS: usize = 1024;
/// Flights in the air take at most this share of the budget.
const FLIGHTS_SHARE: u64 = 2;
/// This share is always theirs: moving the border costs the cache some of what it remembers of evicted pages.
const FLIGHTS_OWN: u64 = 16;
/// What a flight takes beside the body, at most, in bytes: head, key, tags.
const AROUND: u64 = 256 << 10;
/// More room for flights is taken from the pages in steps of this share.
const STEPS: u64 = 64;

/// Pages by key.
#[derive(Debug)]
pub struct Store {
    pages: Cache<Stored, Page, Weigh, RandomState, Registers>,
    registers: Registers,
    /// Bytes for pages and flights together.
    budget: u64,
    /// Whoever changes what is stored under a key holds this; who reads does not.
    writing: Mutex<()>,
    flights: Mutex<Flights>,
}

/// A page as its own key.
#[derive(Debug, Clone)]
struct Stored(Page);

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As a key does.
        state.write_u64(self.0.id());
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.0.has_key_of(&other.0)
    }
}

impl Eq for Stored {}

impl Equivalent<Stored> for Key {
    fn equivalent(&self, stored: &Stored) -> bool {
        stored.0.has_key(self)
    }
}

/// What is known of the stored pages beside the cache, which tells of those that it evicts. Innermost: whoever holds one of
/// these locks calls nothing of the cache.
#[derive(Debug, Clone, Default)]
struct Registers {
    variants: Arc<Mutex<Variants>>,
    index: Arc<Mutex<Index>>,
    lingering: Lingering,
}

impl Registers {
    /// A page is stored no more.
    fn forget(&self, page: &Page) {
        self.index.lock().forget(page);
        if page.is_variant() {
            self.variants.lock().forget(&page.key());
        }
    }
}

impl Lifecycle<Stored, Page> for Registers {
    type RequestState = Leaving;

    /// It was evicted, or another takes its place, which is noted afterwards.
    fn on_evict(&self, state: &mut Self::RequestState, _key: Stored, page: Page) {
        self.forget(&page);
        state.add(page, &self.lingering);
    }
}

/// What flights in the air have of the budget.
#[derive(Debug, Default)]
struct Flights {
    /// Bytes that are reserved.
    reserved: u64,
    /// Steps that were taken from the pages: at least what is reserved beyond the flights' own share.
    steps: u64,
}

#[derive(Debug, Clone)]
struct Weigh;

impl Weighter<Stored, Page> for Weigh {
    fn weight(&self, _key: &Stored, page: &Page) -> u64 {
        page.weight()
    }
}

/// What became of a page that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// Stored.
    Stored,
    /// It is too heavy; what was stored before still is.
    TooHeavy,
    /// What is stored was asked for later.
    Older,
}

impl Store {
    /// A store for `budget` bytes of pages and flights.
    pub fn new(budget: u64) -> Arc<Self> {
        // Capacity is split evenly over shards, and a page must fit into one: few shards for a small budget.
        let shards = (budget / (4 * LARGEST)).clamp(1, MAX_SHARDS);
        let shards = 1 << shards.ilog2();
        let options = OptionsBuilder::new()
            .weight_capacity(for_pages(budget))
            .shards(shards)
            // The cache gives each shard at least 32 expected entries, or takes fewer shards.
            .estimated_items_capacity((budget / AVERAGE).max(32 * shards as u64) as usize)
            .build();
        let registers = Registers::default();
        let (hasher, evictions) = (RandomState::new(), registers.clone());
        let pages = match options {
            Ok(options) => Cache::with_options(options, Weigh, hasher, evictions),
            // The options are all given, so this is never taken; it is the same cache with default shards.
            Err(_) => Cache::with(1024, for_pages(budget), Weigh, hasher, evictions),
        };
        Arc::new(Self {
            pages,
            registers,
            budget,
            writing: Mutex::default(),
            flights: Mutex::default(),
        })
    }

    /// The page that is stored under a key.
    pub fn get(&self, key: &Key) -> Option<Page> {
        self.pages.get(key)
    }

    /// [`Store::get`] for who only looks: it makes the page no more likely to stay.
    pub fn peek(&self, key: &Key) -> Option<Page> {
        self.pages.peek(key)
    }

    /// The page whose key has this [`Page::id`], for who only looks.
    pub fn with_id(&self, id: u64) -> Option<Page> {
        self.pages.peek(&WithId(id))
    }

    /// The page that is stored under a key, brought under the plan in force: one of another route, or that the rule would not
    /// store any more, is none, and one whose rule has other paths, key or tags now gets its tags anew and is checked against
    /// all lines since its stamp.
    pub fn find(&self, key: &Key, plan: &Plan) -> Option<Page> {
        let page = self.get(key)?;
        if page.fits(plan) {
            return Some(page);
        }
        self.adopt(&page, plan)
    }

    /// [`Store::find`] for who only looks: nothing is brought anywhere, nor is the page more likely to stay.
    pub fn foresee(&self, key: &Key, plan: &Plan) -> Option<Page> {
        let page = self.peek(key)?;
        if page.fits(plan) {
            return Some(page);
        }
        page.is_of_use(plan).then(|| page.under(plan).ok())?
    }

    /// Brings a page under a plan: see [`Store::find`].
    pub fn adopt(&self, page: &Page, plan: &Plan) -> Option<Page> {
        if page.fits(plan) {
            return Some(page.clone());
        }
        let is_of_use = page.is_of_use(plan);
        // What an unsafe request leaves on the page while it is copied would be lost with it.
        let writing = self.writing.lock();
        let adopted = is_of_use.then(|| page.under(plan).ok()).flatten();
        let Some(adopted) = adopted else {
            drop(writing);
            self.remove(page);
            return None;
        };
        match self.pages.peek(&Stored(page.clone())) {
            Some(stored) if stored.is(page) => {
                drop(stored);
                page.hand_on(&adopted);
                self.place(&adopted);
                Some(adopted)
            }
            // Another request was faster.
            stored => stored.filter(|stored| stored.fits(plan)),
        }
    }

    /// Stores a page. It takes the place of one that was asked for earlier, never of one that was asked for later. Whoever
    /// brings it has reserved room for it until then: what makes way for it may linger.
    pub fn insert(&self, page: &Page) -> Inserted {
        if !self.fits(page.weight()) {
            return Inserted::TooHeavy;
        }
        let _writing = self.writing.lock();
        if let Some(stored) = self.pages.peek(&Stored(page.clone())) {
            if stored.stamp() > page.stamp() {
                return Inserted::Older;
            }
            page.inherit(&stored);
        }
        self.place(page);
        Inserted::Stored
    }

    /// Puts a page in the place of what is stored under its key; for who is `writing`.
    fn place(&self, page: &Page) {
        let stored = || Stored(page.clone());
        self.pages.insert(stored(), page.clone());
        // In the place of a lighter page a heavy one may be what the cache evicts to make room for it; as one that is new
        // it goes before others.
        if !self.pages.contains_key(&stored()) {
            self.pages.insert(stored(), page.clone());
        }
        page.enter();
        self.registers.index.lock().add(page);
        if page.is_variant() {
            let key = page.key();
            let mut variants = self.registers.variants.lock();
            let crowd = variants.note(&key, page.vary()).map(<[_]>::to_vec);
            drop(variants);
            // Who sends ever new values does not push out what others come for.
            let visited = |key: &Arc<Key>| self.pages.peek(&**key).map(|page| page.visited());
            let others = crowd.iter().flatten().filter(|other| **other != key);
            if let Some(coldest) = others.min_by_key(|key| visited(key)) {
                match self.pages.remove(&**coldest) {
                    Some((stored, coldest)) => {
                        drop(stored);
                        self.registers.forget(&coldest);
                        self.registers.lingering.add(coldest);
                    }
                    None => self.registers.variants.lock().forget(coldest),
                }
            }
        }
        // The cache may have evicted it again meanwhile, and has said so before it was noted.
        if !self.pages.contains_key(&stored()) {
            self.registers.forget(page);
            self.registers.lingering.add(page.clone());
        }
    }

    /// Adds a page's body in a coding to what is stored, weighed anew. False: the page has gone or another has taken its
    /// place meanwhile, which stays as it is, or the two bodies together are too heavy. Whoever made the body has reserved room
    /// for it until then: what makes way for it may linger.
    pub fn encode(&self, page: &Page, coding: Coding, body: Bytes) -> bool {
        let _writing = self.writing.lock();
        let Some(stored) = self.pages.peek(&Stored(page.clone())) else {
            return false;
        };
        if !stored.has_body_of(page) {
            return false;
        }
        let encoded = stored.with(coding, body);
        let fits = self.fits(encoded.weight());
        if fits {
            stored.hand_on(&encoded);
            self.place(&encoded);
        }
        fits
    }

    /// An unsafe request to this URL succeeded: see [`Page::invalidate`]. Of all pages that it has, and of the forms
    /// in which Next.js's routers ask for them; not while one is replaced by a copy of itself, which would lose it.
    pub fn invalidate(&self, key: &Arc<Key>, plan: &Plan) {
        // Nothing else knows which pages the rule's headers and cookies, or the headers of Next.js's routers, have made of
        // it. The latter alone are not worth a long walk over the pages of every query of the path.
        let most = if plan.is_keyed() { usize::MAX } else { FEW_FORMS };
        let paths = [Fact::path(key.path())];
        if let Some(ids) = self.keys_with(&paths, most) {
            for id in ids {
                let _writing = self.writing.lock();
                let page = self.with_id(id);
                if let Some(page) = page.filter(|page| page.key().is_form_of(key)) {
                    page.invalidate();
                }
            }
            return;
        }
        let _writing = self.writing.lock();
        let keys: Vec<_> = self.registers.variants.lock().of(key).to_vec();
        for key in keys.iter().chain([&key.plain()]) {
            if let Some(page) = self.pages.peek(&**key) {
                page.invalidate();
            }
        }
    }

    /// What chooses among the stored variants of a page, beyond what always does; `None`: none is stored.
    pub fn selection(&self, key: &Key) -> Option<Selection> {
        self.registers.variants.lock().selection(key).cloned()
    }

    /// Pages are stored under this key's URL, and none under the key itself.
    pub fn has_others(&self, key: &Arc<Key>) -> bool {
        if self.pages.contains_key(&**key) {
            return false;
        }
        let has_variants = !self.registers.variants.lock().of(key).is_empty();
        has_variants || self.pages.contains_key(&*key.plain())
    }

    /// A page of this weight can be stored.
    pub fn fits(&self, weight: u64) -> bool {
        weight <= self.pages.shard_capacity() / 100 * HOT_PERCENT
    }

    /// Bytes of the largest body that a flight can bring in here, when no other is in the air: while it is, its room is not the
    /// pages', and then its page has to fit into a shard of what is left.
    pub fn largest(&self) -> u64 {
        // One step is taken in whole, and one kept back.
        let budget = self.budget - 2 * self.step().min(self.budget / 2);
        let fits = budget * HOT_PERCENT / (100 * self.pages.num_shards() as u64 + HOT_PERCENT);
        fits.min(budget / FLIGHTS_SHARE)
            .saturating_sub(AROUND.min(budget / 16))
    }

    /// Drops this page, unless another has taken its place.
    pub fn remove(&self, page: &Page) -> bool {
        let _writing = self.writing.lock();
        let stored = |stored: &Page| stored.is(page);
        let removed = self.pages.remove_if(&Stored(page.clone()), stored);
        let Some((key, removed)) = removed else {
            return false;
        };
        drop(key);
        self.registers.forget(page);
        // By the caller at least, for a moment.
        self.registers.lingering.add(removed);
        true
    }

    /// Drops all pages.
    pub fn clear(&self) {
        let _writing = self.writing.lock();
        let pages: Vec<_> = self.pages().collect();
        self.pages.clear();
        for page in pages {
            self.registers.lingering.add(page);
        }
        self.registers.variants.lock().clear();
        self.registers.index.lock().clear();
    }

    /// Every page that is stored all the while, one at a time and without holding a lock between two.
    pub fn pages(&self) -> impl Iterator<Item = Page> {
        self.pages.iter().map(|(_, page)| page)
    }

    /// Every page that is stored all the while and that one of these lines selects, once, as [`Store::pages`] gives them,
    /// and perhaps others: what a line selects, the ledger knows. `None`: all pages are to be looked at, or nearly all.
    pub fn candidates<'s>(&'s self, lines: &[Line]) -> Option<impl Iterator<Item = Page> + use<'s>> {
        let ids = self.keys_with(&index::named(lines)?, self.len())?;
        Some(ids.into_iter().filter_map(|id| self.with_id(id)))
    }

    /// The ids of the keys under which pages with these facts are stored, each once; `None`: they are not fewer than `most`.
    fn keys_with(&self, facts: &[Fact], most: usize) -> Option<Vec<u64>> {
        let mut ids = Vec::new();
        for fact in facts {
            let mut from = Some(0);
            while let Some(id) = from {
                // A page that is being replaced by another is in the index before and after, but not meanwhile.
                let _writing = self.writing.lock();
                from = self.registers.index.lock().list(*fact, id, &mut ids);
                if ids.len() >= most {
                    return None;
                }
            }
        }
        if facts.len() > 1 {
            ids.sort_unstable();
            ids.dedup();
        }
        Some(ids)
    }

    /// Number of pages.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// No page is stored.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Bytes that pages and flights take of the budget, and those that are stored no more and that somebody still holds.
    pub fn bytes(&self) -> u64 {
        let flights = self.flights.lock();
        self.pages.weight() + flights.reserved + self.registers.lingering.bytes_exactly()
    }

    /// The budget, in bytes.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// An empty reservation for a flight.
    pub fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation {
            store: self.clone(),
            bytes: 0,
        }
    }

    fn step(&self) -> u64 {
        (self.budget / STEPS).max(1)
    }

    /// So many bytes more are within the budget. What pages may take is: only what lingers, which nothing makes leave, can
    /// make it too much.
    fn has_room(&self, flights: &Flights, more: u64) -> bool {
        let lingering = &self.registers.lingering;
        let fits = |lingering| {
            lingering == 0 || self.pages.weight() + flights.reserved + lingering + more <= self.budget
        };
        fits(lingering.bytes()) || fits(lingering.bytes_exactly())
    }

    /// How far the border is moved for what flights have reserved, and for what lingers.
    fn steps(&self, reserved: u64) -> u64 {
        reserved
            .saturating_sub(self.budget / FLIGHTS_OWN)
            .div_ceil(self.step())
    }

    fn take(&self, bytes: u64) -> bool {
        let mut flights = self.flights.lock();
        let reserved = flights.reserved.saturating_add(bytes);
        let lingering = &self.registers.lingering;
        let mut others = reserved.saturating_add(lingering.bytes());
        if others > self.budget / FLIGHTS_SHARE || self.steps(others) > flights.steps {
            // No page makes way for what has been let go of.
            others = reserved.saturating_add(lingering.bytes_exactly());
        }
        if others > self.budget / FLIGHTS_SHARE {
            return false;
        }
        let steps = self.steps(others);
        if steps > flights.steps {
            self.move_border(&mut flights, steps);
        }
        let room = self.has_room(&flights, bytes);
        if room {
            flights.reserved = reserved;
        }
        room
    }

    fn give_back(&self, bytes: u64) {
        let mut flights = self.flights.lock();
        flights.reserved = flights.reserved.saturating_sub(bytes);
        let steps = self.steps(flights.reserved + self.registers.lingering.bytes());
        // One step is kept back, so that a flight on the border does not move it to and fro.
        if steps == 0 && flights.steps > 0 || steps + 1 < flights.steps {
            self.move_border(&mut flights, steps);
        }
    }

    fn move_border(&self, flights: &mut Flights, steps: u64) {
        flights.steps = steps;
        self.pages
            .set_capacity(for_pages(self.budget).saturating_sub(steps * self.step()));
    }
}

/// What pages have of a budget while few flights are in the air.
fn for_pages(budget: u64) -> u64 {
    budget - budget / FLIGHTS_OWN
}

/// Room that a flight has taken of the budget; given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    store: Arc<Store>,
    bytes: u64,
}

impl Reservation {
    /// Takes more; false: there is no room, and nothing was taken.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let room = self.store.take(bytes);
        if room {
            self.bytes += bytes;
        }
        room
    }

    /// Takes what it lacks of so many bytes; false: there is no room, and nothing was taken.
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        bytes <= self.bytes || self.grow(bytes - self.bytes)
    }

    /// Bytes that it has taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.store.give_back(self.bytes - bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests;
