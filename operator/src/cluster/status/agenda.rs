//! When which object is looked at: pure, `now` is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::Job;

/// First pause after a failure; it doubles.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LAST_RETRY: Duration = Duration::from_secs(32);
/// Routes that are looked at together.
const ROUTES: usize = 8;
/// Requests that are looked at together. Routes never take their place: a purge does not wait for a status.
const REQUESTS: usize = 64;

/// How a look at an object ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything stands as it should; nothing was written.
    Same,
    /// Something was written.
    Written,
    /// Something differs that may be written after this long.
    Later(Duration),
    /// The API server refused or could not be reached.
    Failed,
    /// The object is no more.
    Gone,
}

#[derive(Debug, Default)]
struct Entry {
    /// Somebody is looking at it.
    busy: bool,
    /// When it is looked at next.
    due: Option<Instant>,
    written: Option<Instant>,
    failures: u32,
}

/// Every object whose status is looked at, was looked at, or will be.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BTreeMap<Job, Entry>,
    /// Those that are due and idle, by time.
    queue: BTreeSet<(Instant, Job)>,
    busy_routes: usize,
    busy_requests: usize,
}

impl Agenda {
    /// Something about this object has changed.
    pub(super) fn touch(&mut self, job: Job, now: Instant) {
        let entry = self.entries.entry(job.clone()).or_default();
        // A change is no reason to hurry after a failure.
        if entry.failures > 0 && entry.due.is_some() {
            return;
        }
        self.schedule(job, now);
    }

    /// The next object to look at, and when its status was last written.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Job, Option<Instant>)> {
        let (routes, requests) = (self.busy_routes < ROUTES, self.busy_requests < REQUESTS);
        let next = self.queue.iter().take_while(|(due, _)| *due <= now);
        let next = next.map(|(_, job)| job).find(|job| match job {
            Job::Route(_) => routes,
            Job::Request(_) => requests,
        });
        let job = next?.clone();
        let entry = self.entries.get_mut(&job)?;
        if let Some(due) = entry.due.take() {
            self.queue.remove(&(due, job.clone()));
        }
        entry.busy = true;
        let written = entry.written;
        *self.busy(&job) += 1;
        Some((job, written))
    }

    /// A look has ended.
    pub(super) fn done(&mut self, job: Job, outcome: Outcome, now: Instant) {
        *self.busy(&job) -= 1;
        let Some(entry) = self.entries.get_mut(&job) else {
            return;
        };
        entry.busy = false;
        let touched = entry.due;
        let retry = FIRST_RETRY * 2_u32.saturating_pow(entry.failures);
        entry.failures = match outcome {
            Outcome::Failed => entry.failures.saturating_add(1),
            _ => 0,
        };
        let next = match outcome {
            Outcome::Gone if touched.is_none() => {
                self.entries.remove(&job);
                return;
            }
            Outcome::Same | Outcome::Gone => touched,
            Outcome::Written => {
                entry.written = Some(now);
                touched
            }
            Outcome::Later(pause) => Some(touched.map_or(now + pause, |due| due.min(now + pause))),
            Outcome::Failed => {
                // It may have been written all the same: an answer was late, or something else failed beside it.
                entry.written = Some(now);
                Some(now + retry.min(LAST_RETRY))
            }
        };
        entry.due = None;
        if let Some(due) = next {
            self.schedule(job, due);
        }
    }

    /// When something is due; `None`: nothing is, or all hands are busy.
    pub(super) fn next(&self) -> Option<Instant> {
        let (routes, requests) = (self.busy_routes < ROUTES, self.busy_requests < REQUESTS);
        let free = |job: &Job| match job {
            Job::Route(_) => routes,
            Job::Request(_) => requests,
        };
        self.queue.iter().find(|(_, job)| free(job)).map(|(due, _)| *due)
    }

    fn schedule(&mut self, job: Job, due: Instant) {
        let entry = self.entries.entry(job.clone()).or_default();
        let due = match entry.due.take() {
            Some(old) => {
                self.queue.remove(&(old, job.clone()));
                old.min(due)
            }
            None => due,
        };
        entry.due = Some(due);
        if !entry.busy {
            self.queue.insert((due, job));
        }
    }

    fn busy(&mut self, job: &Job) -> &mut usize {
        match job {
            Job::Route(_) => &mut self.busy_routes,
            Job::Request(_) => &mut self.busy_requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectName;

    fn route(name: &str) -> Job {
        Job::Route(ObjectName::new("shop", name))
    }

    fn request(name: &str) -> Job {
        Job::Request(ObjectName::new("shop", name))
    }

    fn next(agenda: &mut Agenda, now: Instant) -> Option<Job> {
        agenda.pop(now).map(|(job, _)| job)
    }

    #[tokio::test(start_paused = true)]
    async fn status_of_one_object_is_looked_at_by_one_at_a_time() {
        let start = Instant::now();
        let mut agenda = Agenda::default();
        agenda.touch(route("a"), start);
        assert_eq!(agenda.pop(start), Some((route("a"), None)));
        agenda.touch(route("a"), start);
        assert_eq!(next(&mut agenda, start), None);
        agenda.done(route("a"), Outcome::Written, start);
        assert_eq!(
            agenda.pop(start),
            Some((route("a"), Some(start))),
            "it was touched meanwhile"
        );
        agenda.done(route("a"), Outcome::Same, start);
        assert_eq!(agenda.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn status_of_a_request_is_looked_at_at_once() {
        let start = Instant::now();
        let mut agenda = Agenda::default();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
            agenda.touch(route(name), start);
            assert!(name == "i" || agenda.pop(start).is_some());
        }
        assert_eq!(agenda.next(), None, "eight routes are being written");
        agenda.touch(request("a"), start);
        assert_eq!(next(&mut agenda, start), Some(request("a")));
        agenda.touch(request("a"), start);
        agenda.done(request("a"), Outcome::Written, start);
        assert_eq!(next(&mut agenda, start), Some(request("a")));
        agenda.done(request("a"), Outcome::Later(Duration::from_secs(1)), start);
        assert_eq!(agenda.next(), Some(start + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn status_backs_off_after_failures() {
        let mut now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.touch(request("a"), now);
        for seconds in [1, 2, 4, 8, 16, 32, 32, 32] {
            assert_eq!(next(&mut agenda, now), Some(request("a")));
            agenda.done(request("a"), Outcome::Failed, now);
            agenda.touch(request("a"), now);
            assert_eq!(agenda.next(), Some(now + Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        assert_eq!(next(&mut agenda, now), Some(request("a")));
        agenda.done(request("a"), Outcome::Gone, now);
        assert!(agenda.entries.is_empty() && agenda.queue.is_empty());
    }
}
