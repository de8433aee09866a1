//! Which stored pages have a fact that purges name, without a look at the others.
//!
//! ```text
//! add(page), forget(page) ──► an entry (fact, key) for each of its tags, and for its path
//! list(fact)              ──► the keys of the pages that have it, in slices
//! ```
//!
//! Keys are known by their hashes ([`Key::id`]): whoever has one finds the page ([`WithId`]).

mod runs;

use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;

use self::runs::Runs;
use super::Stored;
use crate::{
    ledger::{Fact, Line},
    page::Page,
    path,
};

/// So many keys are listed at once.
const SLICE: usize = 1024;

/// What an entry takes at most, in bytes, with its share of the run that it is in and of the tree of runs.
const WEIGHT: usize = size_of::<Entry>() + 6;

/// A stored page has a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    fact: Fact,
    /// The id of its key; in halves, since a whole one would be padded.
    key: [u32; 2],
}

/// The facts of the stored pages.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Runs,
}

/// A key in the cache, by its id.
pub(super) struct WithId(pub(super) u64);

impl Hash for WithId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As a key does.
        state.write_u64(self.0);
    }
}

impl Equivalent<Stored> for WithId {
    fn equivalent(&self, stored: &Stored) -> bool {
        stored.0.id() == self.0
    }
}

impl Entry {
    fn new(fact: Fact, id: u64) -> Self {
        Self {
            fact,
            key: [(id >> 32) as u32, id as u32],
        }
    }

    fn id(self) -> u64 {
        u64::from(self.key[0]) << 32 | u64::from(self.key[1])
    }
}

impl Index {
    /// The page is stored.
    pub(super) fn add(&mut self, page: &Page) {
        for fact in page.facts().each() {
            self.entries.insert(Entry::new(fact, page.id()));
        }
    }

    /// The page is stored no more, and no other under its key has been added yet.
    pub(super) fn forget(&mut self, page: &Page) {
        for fact in page.facts().each() {
            self.entries.remove(Entry::new(fact, page.id()));
        }
    }

    /// Nothing is stored.
    pub(super) fn clear(&mut self) {
        self.entries = Runs::default();
    }

    /// Appends the ids of the keys that have a fact, in ascending order from `from` on, and no more of them than a slice.
    /// Returns where to go on.
    pub(super) fn list(&self, fact: Fact, from: u64, ids: &mut Vec<u64>) -> Option<u64> {
        let mut entries = self
            .entries
            .range(Entry::new(fact, from), Entry::new(fact, u64::MAX));
        ids.extend(entries.by_ref().take(SLICE).map(Entry::id));
        entries.next().map(Entry::id)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The facts of which each page has one that these lines select; `None`: one of them does not name its pages.
pub(super) fn named(lines: &[Line]) -> Option<Vec<Fact>> {
    let mut facts = Vec::new();
    for line in lines {
        facts.extend(line.selector.facts()?);
    }
    facts.sort_unstable();
    facts.dedup();
    Some(facts)
}

/// What a page takes here, in bytes; part of its weight, which is asked for often: it hashes nothing.
pub(crate) fn weight(page: &Page) -> usize {
    let is_data = path::data_path(page.path()).is_some();
    (page.tags().len() + 1 + usize::from(is_data)) * WEIGHT
}

#[cfg(test)]
mod tests;
