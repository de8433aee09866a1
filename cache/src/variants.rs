//! Which variants of a page are stored, and which request headers choose among them.
//!
//! A variant is a page of its own in the store. This is the one place that knows the others of its URL: to find a
//! visitor's own variant, to expire all of them, and to hold their number down, since visitors choose the values.

use std::{collections::HashMap, sync::Arc};

use ahash::RandomState;
use smallvec::SmallVec;

use crate::key::{Key, Selection};

/// A URL has at most this many variants in the store; the one that was visited longest ago makes way.
pub(crate) const MAX_VARIANTS: usize = 32;

/// What a variant takes here, in bytes; part of its page's weight.
pub(crate) const BOOKKEEPING: usize = size_of::<(u64, Entry)>() + size_of::<Arc<Key>>() * 2;

/// Variants by the base of their keys.
#[derive(Debug, Default)]
pub(crate) struct Variants {
    by_base: HashMap<u64, Entry, RandomState>,
}

#[derive(Debug, Default)]
struct Entry {
    /// All that their `Vary` named.
    selection: Selection,
    /// The stored ones, the first that came at the front.
    keys: SmallVec<[Arc<Key>; 2]>,
}

impl Variants {
    /// What chooses among the variants of this page; `None`: none is stored.
    pub(crate) fn selection(&self, key: &Key) -> Option<&Selection> {
        self.by_base.get(&key.base()).map(|entry| &entry.selection)
    }

    /// The stored variants of this page; a page without fields that choose is not among them.
    pub(crate) fn of(&self, key: &Key) -> &[Arc<Key>] {
        self.by_base.get(&key.base()).map_or(&[], |entry| &entry.keys)
    }

    /// A variant has been stored. Returns all of its page's, where that is one too many.
    pub(crate) fn note(&mut self, key: &Arc<Key>, selection: Option<&Selection>) -> Option<&[Arc<Key>]> {
        if !key.is_variant() {
            return None;
        }
        let entry = self.by_base.entry(key.base()).or_default();
        if let Some(selection) = selection {
            entry.selection.add(selection);
        }
        if entry.keys.contains(key) {
            return None;
        }
        entry.keys.push(key.clone());
        (entry.keys.len() > MAX_VARIANTS).then_some(&entry.keys[..])
    }

    /// A variant is stored no more.
    pub(crate) fn forget(&mut self, key: &Key) {
        if !key.is_variant() {
            return;
        }
        if let Some(entry) = self.by_base.get_mut(&key.base()) {
            entry.keys.retain(|known| **known != *key);
            if entry.keys.is_empty() {
                self.by_base.remove(&key.base());
            }
        }
    }

    /// Nothing is stored.
    pub(crate) fn clear(&mut self) {
        self.by_base = HashMap::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mk::mk_variant;

    #[test]
    fn variants_are_bounded_and_forgotten() {
        let mut variants = Variants::default();
        let key = |value: usize| mk_variant("/a", "accept-language", &value.to_string());
        for value in 0..MAX_VARIANTS {
            assert_eq!(variants.note(&key(value), None), None);
            assert_eq!(variants.note(&key(value), None), None, "it is there already");
        }
        let crowd = variants.note(&key(99), None).map(<[_]>::len);
        assert_eq!(crowd, Some(MAX_VARIANTS + 1));
        for value in (0..MAX_VARIANTS).chain([99]) {
            variants.forget(&key(value));
        }
        assert_eq!(variants.selection(&key(1)), None);
        assert!(variants.by_base.is_empty());
    }
}
