//! Regenerations that wait for their turn.

use std::{cmp::Reverse, collections::HashMap, num::NonZeroU16, sync::Arc};

use coppice_cache::{key::Key, time::Moment};
use tokio::sync::oneshot;

use super::{Ended, Turn};

/// So many wait; beyond it the coldest goes, which is asked for again on its next visit.
const MAX_WAITING: usize = 1024;
/// The same for the bytes of their keys, which visitors make as long as they like and no budget knows of here.
const MAX_BYTES: usize = 4 << 20;

/// Regenerations: how many go on, and which wait.
#[derive(Debug)]
pub(super) struct Queue {
    /// So many go on at a time: a purge of everything must not bury the app.
    at_once: usize,
    /// What goes on; at most `at_once`. A key is in it twice where a sweep asks for one that a purge has overtaken.
    running: Vec<Arc<Key>>,
    waiting: HashMap<Arc<Key>, Job, ahash::RandomState>,
    /// What the keys that wait weigh.
    bytes: usize,
}

/// A regeneration.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: Arc<Key>,
    /// The page's last visit: the hottest goes first.
    visited: Moment,
    /// It is fetched even if nothing is stored that it would take the place of.
    pub(super) cold: bool,
    told: Vec<oneshot::Sender<Ended>>,
}

impl Job {
    /// Tells those who asked what came of it.
    pub(super) fn tell(self, outcome: Ended) {
        for tell in self.told {
            // Who has stopped listening need not know.
            let _ = tell.send(outcome);
        }
    }
}

impl Queue {
    /// Nothing goes on, nothing waits.
    pub(super) fn new(at_once: NonZeroU16) -> Self {
        Self {
            at_once: at_once.get().into(),
            running: Vec::new(),
            waiting: HashMap::default(),
            bytes: 0,
        }
    }

    /// Asks for a regeneration. Returns it if it can begin at once: the caller runs it, and then what [`Queue::pop`] gives
    /// until that gives nothing.
    pub(super) fn push(
        &mut self,
        key: &Arc<Key>,
        visited: Moment,
        cold: bool,
        tell: Option<oneshot::Sender<Ended>>,
    ) -> Option<Job> {
        if let Some(job) = self.waiting.get_mut(&**key) {
            job.visited = job.visited.max(visited);
            job.cold |= cold;
            job.told.extend(tell);
            return None;
        }
        // If a purge has overtaken the one that goes on, the sweep asks, or the next visit.
        if tell.is_none() && self.running.contains(key) {
            return None;
        }
        let job = Job {
            key: key.clone(),
            visited,
            cold,
            told: tell.into_iter().collect(),
        };
        if self.running.len() < self.at_once {
            self.running.push(job.key.clone());
            return Some(job);
        }
        self.bytes += key.weight();
        self.waiting.insert(job.key.clone(), job);
        while (self.waiting.len() > MAX_WAITING || self.bytes > MAX_BYTES) && self.drop_coldest() {}
        None
    }

    /// The hottest that waits, for whoever has just run the one for `finished`; `None`: nothing waits.
    pub(super) fn pop(&mut self, finished: &Arc<Key>) -> Option<Job> {
        if let Some(at) = self.running.iter().position(|key| key == finished) {
            self.running.swap_remove(at);
        }
        let hottest = self.waiting.values().max_by_key(|job| job.visited);
        let key = hottest.map(|job| job.key.clone());
        let job = self.take(&key?)?;
        self.running.push(job.key.clone());
        Some(job)
    }

    /// Where the regeneration for a key is.
    pub(super) fn turn(&self, key: &Key) -> Option<Turn> {
        if self.running.iter().any(|running| &**running == key) {
            return Some(Turn::Running);
        }
        self.waiting.contains_key(key).then_some(Turn::Waiting)
    }

    /// Those that have their turn next, at most `most`.
    pub(super) fn next(&self, most: usize) -> Vec<Arc<Key>> {
        let mut jobs: Vec<_> = self.waiting.values().collect();
        jobs.sort_by_key(|job| Reverse(job.visited));
        jobs.iter().take(most).map(|job| job.key.clone()).collect()
    }

    /// Number that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Somebody is waiting for the jobs with `told`, and hands in few at a time, or small ones: those stay. False: there are no
    /// others.
    fn drop_coldest(&mut self) -> bool {
        let unheard = self.waiting.values().filter(|job| job.told.is_empty());
        let coldest = unheard.min_by_key(|job| job.visited).map(|job| job.key.clone());
        coldest.is_some_and(|key| self.take(&key).is_some())
    }

    fn take(&mut self, key: &Arc<Key>) -> Option<Job> {
        let job = self.waiting.remove(&**key)?;
        self.bytes -= job.key.weight();
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use coppice_cache::config::Scheme;

    use super::*;

    /// No budget knows of the keys, and visitors make them.
    #[test]
    fn queue_holds_so_many_bytes_of_keys() {
        let mut queue = Queue::new(NonZeroU16::MIN);
        let long = "x".repeat(10_000);
        let key =
            |number: u64| Arc::new(Key::new(Scheme::Http, "a.test", &format!("/{number}"), &long).unwrap());
        let mut next = queue.push(&key(0), Moment(0), false, None);
        for number in 1..=1000 {
            assert!(queue.push(&key(number), Moment(number), false, None).is_none());
        }
        assert!((300..1000).contains(&queue.len()), "{}", queue.len());
        let mut hottest = Vec::new();
        while let Some(job) = next {
            hottest.push(job.visited.0);
            next = queue.pop(&job.key);
        }
        assert_eq!(hottest[..3], [0, 1000, 999], "the coldest went");
        assert_eq!((queue.len(), queue.bytes), (0, 0));
    }
}
