//! Purges: from a request to a line, and from acknowledgements to "every replica did it". Pure state, no client.
//!
//! ```text
//! RevalidationRequest ─apply─► waiting ─plan─► in flight ─(the caller writes sequence and identity)─► committed
//!                                 ▲               │ abandon                                            │   │
//!                                 └───────────────┘                        line ─► ledger ─► push ◄────┘   │
//!                                                                          targets ◄── acks, reports ──► Ready
//! ```
//!
//! The one entry point is [`Purges`]. A line reaches sidecars only after its number is durable in the request's status;
//! so at start the ledger is what the requests that exist say it is.

mod facts;
mod identity;
mod ledger;
mod progress;
mod requested;
mod restore;
mod selection;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coppice_api::{
    RevalidationRequest, RevalidationRequestSpec, RevalidationRequestStatus, Span, names::reason::Reason,
};
use coppice_cache::ledger::{Line, Selector};
use jiff::Timestamp;
use tokio::sync::watch;

use facts::accepted;
pub use facts::{CommittedFacts, RequestFacts, Stage};
pub use identity::identity;
pub use ledger::{Lines, MAX_AHEAD_MS, MAX_BYTES, MAX_LINES};
pub use progress::Report;
pub use requested::request as requested;
pub(crate) use requested::{echo, request_name};
pub use selection::{MAX_SELECTOR_BYTES, selector};

use crate::{
    index::{Index, RouteNotFound},
    state::ObjectName,
    status,
};
use ledger::Ledger;
use progress::Progress;

/// `deadline` where a request says nothing.
pub const DEFAULT_DEADLINE: Duration = Duration::from_mins(5);

/// All requests and ledgers.
#[derive(Debug, Default)]
pub struct Purges {
    requests: BTreeMap<ObjectName, Entry>,
    ledgers: BTreeMap<String, Ledger>,
    /// Requests whose status may read differently, or that may be planned, since it was last asked for.
    dirty: BTreeSet<ObjectName>,
    /// Committed purges that are not complete, by namespace and sequence.
    open: BTreeMap<(String, u64), ObjectName>,
    /// The first list of requests has been taken over; later sequences that nobody here gave are not believed.
    restored: bool,
    /// Plans are made: everything that decides about targets is known.
    synced: bool,
}

/// One request.
#[derive(Debug)]
struct Entry {
    uid: String,
    generation: i64,
    spec: RevalidationRequestSpec,
    identity: String,
    standing: Standing,
    /// A line of this request is being written.
    in_flight: Option<u64>,
    /// The last committed line: what the status says, even while the next one waits.
    last: Option<(u64, String)>,
    /// The deadline has passed, and whoever reads the status was told.
    late: bool,
}

/// Where a request stands.
#[derive(Debug)]
enum Standing {
    /// Something is wrong with it.
    Invalid(String),
    /// The route that it names does not exist; it waits for it.
    RouteNotFound,
    /// A purge that has no line yet.
    Waiting(Selector),
    /// It has a line.
    Committed(Progress),
    /// It had a line before this operator started; its targets are found when all pods are known.
    Restored(Timestamp),
    /// It was complete before this operator started.
    Settled(Box<RevalidationRequestStatus>),
    /// It was there before there was anything to purge.
    Adopted(Timestamp),
}

/// A line that is to be written. The caller writes `status` to the request's status, with the object's uid as
/// precondition, and then says [`Purges::committed`]; if it could not be written, [`Purges::abandoned`].
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The request.
    pub name: ObjectName,
    /// Its uid.
    pub uid: String,
    /// What is purged; written as `status.identity`.
    pub identity: String,
    /// The line; its sequence is written as `status.sequence`.
    pub line: Line,
    /// The whole status to write.
    pub status: RevalidationRequestStatus,
}

impl Purges {
    /// A request is there, or has changed.
    pub fn apply(&mut self, request: &RevalidationRequest) -> bool {
        let Some(name) = ObjectName::of(&request.metadata) else {
            tracing::warn!("a RevalidationRequest without name or namespace is left out");
            return false;
        };
        let identity = identity(request);
        let uid = request.metadata.uid.clone().unwrap_or_default();
        let generation = request.metadata.generation.unwrap_or_default();
        if let Some(entry) = self.requests.get_mut(&name)
            && entry.uid == uid
            && entry.identity == identity
        {
            if entry.generation == generation && entry.spec == request.spec {
                return false;
            }
            entry.generation = generation;
            entry.spec = request.spec.clone();
            entry.late = false;
            self.dirty.insert(name);
            return true;
        }
        let standing = match selection::selector(&request.spec) {
            Ok(selector) => Standing::Waiting(selector),
            Err(problems) => Standing::Invalid(problems.join("; ")),
        };
        let old = self.forget(&name).filter(|old| old.uid == uid);
        let (in_flight, last) = old.map_or((None, None), |old| (old.in_flight, old.last));
        self.requests.insert(
            name.clone(),
            Entry {
                uid,
                generation,
                spec: request.spec.clone(),
                identity,
                standing,
                in_flight,
                last,
                late: false,
            },
        );
        self.dirty.insert(name);
        true
    }

    /// A request is there that must purge nothing: `coppice dev` starts with an empty cache.
    pub fn adopt(&mut self, request: &RevalidationRequest, now: Timestamp) -> bool {
        if !self.apply(request) {
            return false;
        }
        let entry = ObjectName::of(&request.metadata).and_then(|name| self.requests.get_mut(&name));
        if let Some(entry) = entry
            && matches!(entry.standing, Standing::Waiting(_))
        {
            entry.standing = Standing::Adopted(now);
        }
        true
    }

    /// A request is no more; its line stays.
    pub fn delete(&mut self, namespace: &str, name: &str) -> bool {
        let name = ObjectName::new(namespace, name);
        let known = self.forget(&name).is_some();
        if known {
            self.dirty.insert(name);
        }
        known
    }

    /// These are all requests that there are. The first time, the ledgers are rebuilt from them.
    pub fn reset(&mut self, requests: &[RevalidationRequest]) -> bool {
        let keep: BTreeSet<_> = requests
            .iter()
            .filter_map(|request| ObjectName::of(&request.metadata))
            .collect();
        let gone: Vec<_> = self
            .requests
            .keys()
            .filter(|name| !keep.contains(name))
            .cloned()
            .collect();
        let mut changed = false;
        for name in gone {
            changed |= self.delete(&name.namespace, &name.name);
        }
        for request in requests {
            changed |= self.apply(request);
        }
        if !self.restored {
            self.restored = true;
            self.restore(requests);
        }
        changed
    }

    /// The line that this request needs now, if any; at most one of a request is in flight.
    pub fn plan(
        &mut self,
        name: &ObjectName,
        index: &Index,
        previous: Option<&RevalidationRequestStatus>,
        now: Timestamp,
    ) -> Option<Commit> {
        let entry = self.requests.get_mut(name).filter(|_| self.synced)?;
        if entry.in_flight.is_some() {
            return None;
        }
        let selector = match &entry.standing {
            Standing::Waiting(selector) => selector.clone(),
            Standing::RouteNotFound => selection::selector(&entry.spec).ok()?,
            _ => return None,
        };
        if let Err(RouteNotFound) = index.targets(&name.namespace, selector.route.as_deref()) {
            entry.standing = Standing::RouteNotFound;
            return None;
        }
        let sequence = self.ledgers.entry(name.namespace.clone()).or_default().plan(now);
        entry.in_flight = Some(sequence);
        entry.standing = Standing::Waiting(selector.clone());
        let facts = RequestFacts {
            generation: entry.generation,
            accepted: Reason::Accepted,
            message: accepted(&entry.spec),
            last: Some((sequence, entry.identity.clone())),
            stage: Stage::Committed(CommittedFacts {
                started: now,
                completed: None,
                targeted: 0,
                acknowledged: 0,
                swept: 0,
                missing: Vec::new(),
                targets_known: false,
                late: None,
                matched: 0,
                regenerated: 0,
                failed: 0,
                origin_cached: 0,
            }),
        };
        Some(Commit {
            name: name.clone(),
            uid: entry.uid.clone(),
            identity: entry.identity.clone(),
            line: Line {
                sequence,
                selector,
                strategy: selection::strategy(entry.spec.strategy),
            },
            status: status::request(&facts, previous, now),
        })
    }

    /// The commit is durable: its line goes out, to the sidecars that run now and to those that come later.
    pub fn committed(&mut self, commit: &Commit, index: &Index, now: Timestamp) {
        let namespace = &commit.name.namespace;
        let sequence = commit.line.sequence;
        if let Some(entry) =
            (self.requests.get_mut(&commit.name)).filter(|entry| entry.in_flight == Some(sequence))
        {
            entry.in_flight = None;
            entry.last = Some((sequence, commit.identity.clone()));
            if entry.identity == commit.identity {
                let targets = index.targets(namespace, commit.line.selector.route.as_deref());
                let progress = Progress::new(targets.unwrap_or_default(), now, now);
                if progress.completed.is_none() {
                    self.open
                        .insert((namespace.clone(), sequence), commit.name.clone());
                }
                entry.standing = Standing::Committed(progress);
            }
            self.dirty.insert(commit.name.clone());
        }
        self.ledgers
            .entry(namespace.clone())
            .or_default()
            .commit(commit.line.clone());
    }

    /// The commit could not be written: the request waits as before, until it is planned again.
    pub fn abandoned(&mut self, commit: &Commit) {
        let sequence = commit.line.sequence;
        if let Some(entry) =
            (self.requests.get_mut(&commit.name)).filter(|entry| entry.in_flight == Some(sequence))
        {
            entry.in_flight = None;
        }
        (self.ledgers.entry(commit.name.namespace.clone()).or_default()).abandon(sequence);
    }

    /// A route has come: requests that waited for it may be planned.
    pub fn route_appeared(&mut self, route: &ObjectName) {
        let waiting = self.requests.iter().filter(|(name, entry)| {
            name.namespace == route.namespace
                && matches!(entry.standing, Standing::RouteNotFound)
                && (entry.spec.route_ref.as_ref()).is_some_and(|wanted| wanted.name == route.name)
        });
        self.dirty.extend(waiting.map(|(name, _)| name.clone()));
    }

    /// A sidecar has connected and says which head it has; what it holds by that counts as acknowledged. False: this
    /// ledger cannot have given that head, so the sidecar must start empty.
    pub fn connect(
        &mut self,
        namespace: &str,
        uid: &str,
        head: u64,
        now: Timestamp,
    ) -> (watch::Receiver<Arc<Lines>>, bool) {
        let ledger = self.ledgers.entry(namespace.to_owned()).or_default();
        let lines = ledger.subscribe();
        let believed = ledger.hear(head, now);
        let floor = ledger.lines().floor();
        let known = if believed { head } else { 0 };
        self.each_open(namespace, 0..=floor, |sequence, progress| {
            sequence > known && progress.overtake(uid, now)
        });
        self.ack(namespace, uid, known, now);
        (lines, believed)
    }

    /// A sidecar holds every line up to this head.
    pub fn ack(&mut self, namespace: &str, uid: &str, head: u64, now: Timestamp) -> bool {
        self.each_open(namespace, 0..=head, |_, progress| progress.ack(uid, now))
    }

    /// A sidecar says how far its sweep for a line is.
    pub fn report(&mut self, namespace: &str, uid: &str, report: &Report, now: Timestamp) -> bool {
        self.each_open(namespace, report.sequence..=report.sequence, |_, progress| {
            progress.report(uid, report, now)
        })
    }

    /// A pod is no more: it is nobody's target.
    pub fn gone(&mut self, namespace: &str, uid: &str, now: Timestamp) -> bool {
        self.each_open(namespace, 0..=u64::MAX, |_, progress| progress.gone(uid, now))
    }

    /// Time has passed: requests whose deadline it was say so.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        for name in self.open.values() {
            if let Some(entry) = self.requests.get_mut(name)
                && !entry.late
                && entry.overdue(now).is_some()
            {
                entry.late = true;
                changed = true;
                self.dirty.insert(name.clone());
            }
        }
        changed
    }

    /// Is there a request of this name?
    pub fn contains(&self, name: &ObjectName) -> bool {
        self.requests.contains_key(name)
    }

    /// The published lines of a namespace.
    pub fn lines(&self, namespace: &str) -> Arc<Lines> {
        self.ledgers.get(namespace).map(Ledger::lines).unwrap_or_default()
    }

    /// How many requests are not complete.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The requests whose status may read differently, or that may be planned, since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<ObjectName> {
        std::mem::take(&mut self.dirty)
    }

    /// Takes a request out, and what it waits for.
    fn forget(&mut self, name: &ObjectName) -> Option<Entry> {
        let entry = self.requests.remove(name)?;
        if let Some((sequence, _)) = entry.last {
            self.open.remove(&(name.namespace.clone(), sequence));
        }
        Some(entry)
    }

    /// Lets every open purge of a range of sequences advance; those that change are dirty, the complete ones closed.
    fn each_open(
        &mut self,
        namespace: &str,
        sequences: std::ops::RangeInclusive<u64>,
        mut advance: impl FnMut(u64, &mut Progress) -> bool,
    ) -> bool {
        let range = (namespace.to_owned(), *sequences.start())..=(namespace.to_owned(), *sequences.end());
        let mut complete = Vec::new();
        let mut changed = false;
        for (key, name) in self.open.range(range) {
            let Some(Standing::Committed(progress)) =
                self.requests.get_mut(name).map(|entry| &mut entry.standing)
            else {
                continue;
            };
            if advance(key.1, progress) {
                changed = true;
                self.dirty.insert(name.clone());
                if progress.completed.is_some() {
                    complete.push(key.clone());
                }
            }
        }
        for key in complete {
            self.open.remove(&key);
        }
        changed
    }
}

impl Entry {
    /// The deadline, if it has passed and the purge is not complete.
    fn overdue(&self, now: Timestamp) -> Option<Duration> {
        let started = match &self.standing {
            Standing::Committed(progress) if progress.completed.is_none() => progress.started,
            Standing::Restored(started) => *started,
            _ => return None,
        };
        let deadline = self
            .spec
            .deadline
            .map_or(DEFAULT_DEADLINE, |Span(deadline)| deadline);
        let passed = Duration::try_from(now.duration_since(started)).is_ok_and(|passed| passed >= deadline);
        passed.then_some(deadline)
    }
}
