//! How far a committed purge has come.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// How far one sidecar's sweep for a line is: totals, so that receiving one twice changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// The line.
    pub sequence: u64,
    /// Pages that the line concerned.
    pub matched: u64,
    /// Of these, how many were regenerated at once.
    pub regenerated: u64,
    /// Of these, how many could not be regenerated.
    pub failed: u64,
    /// Of both, how many the app answered out of a cache of its own, although it was asked to go past that.
    pub origin_cached: u64,
    /// The sidecar has looked through all of its pages.
    pub finished: bool,
}

/// A purge and its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) started: Timestamp,
    pub(super) completed: Option<Timestamp>,
    /// By pod uid. A pod that is deleted is no target any longer; what it reported still counts.
    targets: BTreeMap<String, Target>,
    gone: Pages,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Target {
    pod: String,
    acked: bool,
    swept: bool,
    pages: Pages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pages {
    pub(super) matched: u64,
    pub(super) regenerated: u64,
    pub(super) failed: u64,
    pub(super) origin_cached: u64,
}

impl Pages {
    fn plus(self, other: Self) -> Self {
        Self {
            matched: self.matched.saturating_add(other.matched),
            regenerated: self.regenerated.saturating_add(other.regenerated),
            failed: self.failed.saturating_add(other.failed),
            origin_cached: self.origin_cached.saturating_add(other.origin_cached),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            matched: self.matched.max(other.matched),
            regenerated: self.regenerated.max(other.regenerated),
            failed: self.failed.max(other.failed),
            origin_cached: self.origin_cached.max(other.origin_cached),
        }
    }
}

impl Progress {
    /// Begins with these targets: uid and name.
    pub(super) fn new(targets: Vec<(String, String)>, started: Timestamp, now: Timestamp) -> Self {
        let mut progress = Self {
            started,
            completed: None,
            targets: targets
                .into_iter()
                .map(|(uid, pod)| {
                    let target = Target {
                        pod,
                        ..Target::default()
                    };
                    (uid, target)
                })
                .collect(),
            gone: Pages::default(),
        };
        progress.settle(now);
        progress
    }

    /// Begun by an earlier operator; its targets are not known yet.
    pub(super) fn unknown(started: Timestamp) -> Self {
        Self {
            started,
            completed: None,
            targets: BTreeMap::new(),
            gone: Pages::default(),
        }
    }

    /// A target holds the line.
    pub(super) fn ack(&mut self, uid: &str, now: Timestamp) -> bool {
        self.change(uid, now, |target| target.acked = true)
    }

    /// A target will never look through its pages for this line: the ledger's floor or a later line does it.
    pub(super) fn overtake(&mut self, uid: &str, now: Timestamp) -> bool {
        self.change(uid, now, |target| target.swept = true)
    }

    /// A target says how far it is. Reports may come late, twice or in any order: what was true stays true.
    pub(super) fn report(&mut self, uid: &str, report: &Report, now: Timestamp) -> bool {
        self.change(uid, now, |target| {
            target.swept |= report.finished;
            target.pages = target.pages.max(Pages {
                matched: report.matched,
                regenerated: report.regenerated,
                failed: report.failed,
                origin_cached: report.origin_cached,
            });
        })
    }

    /// A pod is no more.
    pub(super) fn gone(&mut self, uid: &str, now: Timestamp) -> bool {
        let Some(target) = self.targets.remove(uid) else {
            return false;
        };
        self.gone = self.gone.plus(target.pages);
        self.settle(now);
        true
    }

    pub(super) fn targeted(&self) -> usize {
        self.targets.len()
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.targets.values().filter(|target| target.acked).count()
    }

    pub(super) fn swept(&self) -> usize {
        self.targets
            .values()
            .filter(|target| target.acked && target.swept)
            .count()
    }

    pub(super) fn pages(&self) -> Pages {
        (self.targets.values()).fold(self.gone, |sum, target| sum.plus(target.pages))
    }

    /// The pods that the purge waits for: first those that do not hold the line.
    pub(super) fn missing(&self) -> Vec<String> {
        let unacked = self.targets.values().filter(|target| !target.acked);
        let unswept = self
            .targets
            .values()
            .filter(|target| target.acked && !target.swept);
        unacked.chain(unswept).map(|target| target.pod.clone()).collect()
    }

    fn change(&mut self, uid: &str, now: Timestamp, change: impl FnOnce(&mut Target)) -> bool {
        let Some(target) = self.targets.get_mut(uid) else {
            return false;
        };
        let before = target.clone();
        change(target);
        let changed = *target != before;
        if changed {
            self.settle(now);
        }
        changed
    }

    /// Done is done: a purge that was complete stays so.
    fn settle(&mut self, now: Timestamp) {
        if self.completed.is_none() && self.targets.values().all(|target| target.acked && target.swept) {
            self.completed = Some(now);
        }
    }
}
