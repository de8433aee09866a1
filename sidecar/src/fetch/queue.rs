//! Regenerations that wait for their turn.

use std::{cmp::Reverse, collections::HashMap, mem, num::NonZeroU16, sync::Arc};

use coppice_cache::{key::Key, time::Moment};
use tokio::sync::oneshot;

use super::{Ended, Turn};

/// So many wait; beyond it the coldest goes, which is asked for again on its next visit.
const MAX_WAITING: usize = 1024;

/// Regenerations: how many go on, and which wait.
#[derive(Debug)]
pub(super) struct Queue {
    /// So many go on at a time: a purge of everything must not bury the app.
    at_once: usize,
    /// What goes on; at most `at_once`. A key is in it twice where a sweep asks for one that a purge has overtaken.
    running: Vec<Arc<Key>>,
    waiting: HashMap<Arc<Key>, Job, ahash::RandomState>,
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
        self.waiting.insert(job.key.clone(), job);
        if self.waiting.len() > MAX_WAITING {
            self.drop_coldest();
        }
        None
    }

    /// The hottest that waits, for whoever has just run the one for `finished`; `None`: nothing waits.
    pub(super) fn pop(&mut self, finished: &Arc<Key>) -> Option<Job> {
        if let Some(at) = self.running.iter().position(|key| key == finished) {
            self.running.swap_remove(at);
        }
        let hottest = self.waiting.values().max_by_key(|job| job.visited);
        let key = hottest.map(|job| job.key.clone());
        let job = key.and_then(|key| self.waiting.remove(&*key))?;
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

    /// Somebody who counts is waiting for the jobs with `told`, and hands in few at a time: those stay.
    fn drop_coldest(&mut self) {
        let unheard = self.waiting.values().filter(|job| job.told.is_empty());
        let coldest = unheard.min_by_key(|job| job.visited).map(|job| job.key.clone());
        if let Some(key) = coldest {
            mem::drop(self.waiting.remove(&*key));
        }
    }
}
