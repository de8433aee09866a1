//! What is known of keys for a while, bounded: the oldest mark goes.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use crate::time::Moment;

/// At most this many keys are marked for one thing.
pub const MAX_MARKERS: usize = 4096;

/// Something that holds for keys for a while; bounded. Keys are known by their ids: they are as long as visitors make them,
/// and nobody accounts for what is marked.
#[derive(Debug)]
pub(super) struct Marks<V> {
    by_id: HashMap<u64, (V, Moment), RandomState>,
    /// In the order in which they end, since all last equally long; a key that was marked again occurs twice.
    ending: VecDeque<(u64, Moment)>,
}

impl<V> Default for Marks<V> {
    fn default() -> Self {
        Self {
            by_id: HashMap::default(),
            ending: VecDeque::default(),
        }
    }
}

impl<V: Clone> Marks<V> {
    /// What holds for a key, and until when.
    pub(super) fn get(&self, id: u64, now: Moment) -> Option<(V, Moment)> {
        self.by_id.get(&id).filter(|(_, until)| *until > now).cloned()
    }

    /// `until` never lies before that of an earlier call.
    pub(super) fn set(&mut self, id: u64, value: V, until: Moment) {
        self.by_id.insert(id, (value, until));
        self.ending.push_back((id, until));
        while self.ending.len() > MAX_MARKERS {
            let Some((id, until)) = self.ending.pop_front() else {
                return;
            };
            if self.by_id.get(&id).is_some_and(|(_, known)| *known == until) {
                self.by_id.remove(&id);
            }
        }
    }

    /// What holds for a key, or has held before its time was up.
    pub(super) fn value(&mut self, id: u64) -> Option<&mut V> {
        self.by_id.get_mut(&id).map(|(value, _)| value)
    }

    /// All that holds for keys.
    pub(super) fn values(&mut self) -> impl Iterator<Item = &mut V> {
        self.by_id.values_mut().map(|(value, _)| value)
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.by_id.remove(&id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
