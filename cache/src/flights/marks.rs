//! What is known of keys for a while, bounded: the oldest mark goes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use ahash::RandomState;

use crate::{key::Key, time::Moment};

/// At most this many keys are marked for one thing.
pub const MAX_MARKERS: usize = 4096;

/// Something that holds for keys for a while; bounded.
#[derive(Debug)]
pub(super) struct Marks<V> {
    by_key: HashMap<Arc<Key>, (V, Moment), RandomState>,
    /// In the order in which they end, since all last equally long; a key that was marked again occurs twice.
    ending: VecDeque<(Arc<Key>, Moment)>,
}

impl<V> Default for Marks<V> {
    fn default() -> Self {
        Self {
            by_key: HashMap::default(),
            ending: VecDeque::default(),
        }
    }
}

impl<V: Clone> Marks<V> {
    /// What holds for a key, and until when.
    pub(super) fn get(&self, key: &Key, now: Moment) -> Option<(V, Moment)> {
        self.by_key.get(key).filter(|(_, until)| *until > now).cloned()
    }

    /// `until` never lies before that of an earlier call.
    pub(super) fn set(&mut self, key: &Arc<Key>, value: V, until: Moment) {
        self.by_key.insert(key.clone(), (value, until));
        self.ending.push_back((key.clone(), until));
        while self.ending.len() > MAX_MARKERS {
            let Some((key, until)) = self.ending.pop_front() else {
                return;
            };
            if self.by_key.get(&*key).is_some_and(|(_, known)| *known == until) {
                self.by_key.remove(&*key);
            }
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.by_key.remove(key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}
