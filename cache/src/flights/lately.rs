//! What is known of keys for a while, bounded: what was said first goes first.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use crate::time::Moment;

/// Of at most this many keys one thing is known.
pub(super) const MOST: usize = 4096;

/// Something that holds for keys for a while; bounded. Keys are known by their ids: they are as long as visitors make them,
/// and nobody accounts for what is known of them.
#[derive(Debug)]
pub(super) struct Lately<V> {
    by_id: HashMap<u64, Known<V>, RandomState>,
    /// In the order in which it was said, by its number. What was taken back or said again since stays in here for a while.
    said: VecDeque<(u64, u64)>,
    /// Number of what was said last.
    count: u64,
}

#[derive(Debug)]
struct Known<V> {
    value: V,
    until: Moment,
    number: u64,
}

impl<V> Default for Lately<V> {
    fn default() -> Self {
        Self {
            by_id: HashMap::default(),
            said: VecDeque::default(),
            count: 0,
        }
    }
}

impl<V: Clone> Lately<V> {
    /// What holds for a key, and until when.
    pub(super) fn get(&self, id: u64, now: Moment) -> Option<(V, Moment)> {
        let known = self.by_id.get(&id).filter(|known| known.until > now)?;
        Some((known.value.clone(), known.until))
    }

    /// From now on this holds for a key. Where it holds for too many, the one goes of which it was said longest ago.
    pub(super) fn set(&mut self, id: u64, value: V, until: Moment) {
        self.count += 1;
        let number = self.count;
        self.by_id.insert(id, Known { value, until, number });
        self.said.push_back((id, number));
        while self.by_id.len() > MOST
            && let Some((id, number)) = self.said.pop_front()
        {
            if self.holds(id, number) {
                self.by_id.remove(&id);
            }
        }
        if self.said.len() > 2 * MOST {
            let said = std::mem::take(&mut self.said);
            self.said = said
                .into_iter()
                .filter(|(id, number)| self.holds(*id, *number))
                .collect();
        }
    }

    fn holds(&self, id: u64, number: u64) -> bool {
        self.by_id.get(&id).is_some_and(|known| known.number == number)
    }

    /// What holds for a key, or has held before its time was up.
    pub(super) fn value(&mut self, id: u64) -> Option<&mut V> {
        self.by_id.get_mut(&id).map(|known| &mut known.value)
    }

    /// All that holds for keys.
    pub(super) fn values(&mut self) -> impl Iterator<Item = &mut V> {
        self.by_id.values_mut().map(|known| &mut known.value)
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.by_id.remove(&id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Moment = Moment(u64::MAX);

    #[test]
    fn lately_forgets_what_was_said_first() {
        let mut known = Lately::default();
        for id in 0..=MOST as u64 {
            known.set(id, id, NEVER);
        }
        assert_eq!((known.len(), known.get(0, Moment(0))), (MOST, None));
        // Said again, it is the last.
        known.set(1, 1, NEVER);
        known.set(MOST as u64 + 1, 0, NEVER);
        assert_eq!(
            (known.get(1, Moment(0)), known.get(2, Moment(0))),
            (Some((1, NEVER)), None)
        );
    }

    #[test]
    fn lately_forgets_nothing_for_what_was_taken_back() {
        let mut known = Lately::default();
        known.set(0, 0, NEVER);
        for id in 1..10 * MOST as u64 {
            known.set(id, id, NEVER);
            known.remove(id);
            known.set(1, id, NEVER);
        }
        assert_eq!(known.get(0, Moment(0)), Some((0, NEVER)));
        assert!(known.said.len() <= 2 * MOST);
    }
}
