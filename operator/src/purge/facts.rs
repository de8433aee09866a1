//! What is true of a request right now: the input of its status.

use std::time::Duration;

use coppice_api::{RevalidationRequestSpec, RevalidationRequestStatus, names::reason::Reason};
use jiff::Timestamp;

use super::{Entry, Purges, Standing, progress::Progress};
use crate::state::ObjectName;

/// What is true of a request right now: the input of its status.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestFacts {
    /// The newest generation.
    pub generation: i64,
    /// `Accepted`, `Invalid` or `RouteNotFound`.
    pub accepted: Reason,
    /// For people.
    pub message: String,
    /// The last committed line and its identity.
    pub last: Option<(u64, String)>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// No line is committed for what it asks now.
    None,
    /// It has a line.
    Committed(CommittedFacts),
    /// It was complete before this operator started: the status that says so.
    Settled(Box<RevalidationRequestStatus>),
    /// It was there before there was anything to purge, since this moment.
    Adopted(Timestamp),
}

/// What is true of a committed purge right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedFacts {
    /// When the line was committed.
    pub started: Timestamp,
    /// When every target had done it.
    pub completed: Option<Timestamp>,
    /// How many pods are targets.
    pub targeted: usize,
    /// Of these, how many hold the line.
    pub acknowledged: usize,
    /// Of these, how many have looked through their pages.
    pub swept: usize,
    /// The pods that it waits for; empty where it is not known yet whom it concerns.
    pub missing: Vec<String>,
    /// Whether its targets are known.
    pub targets_known: bool,
    /// The deadline, where it has passed.
    pub late: Option<Duration>,
    /// Stored pages that it concerned.
    pub matched: u64,
    /// Of these, how many were regenerated at once.
    pub regenerated: u64,
    /// Of these, how many could not be regenerated.
    pub failed: u64,
    /// Of both, how many the app answered out of a cache of its own, although it was asked to go past that.
    pub origin_cached: u64,
}

impl Purges {
    /// What is true of a request right now; `None`: there is none of this name, or its line is being written and only
    /// the commit may write the status.
    pub fn facts(&self, name: &ObjectName, now: Timestamp) -> Option<RequestFacts> {
        let entry = self
            .requests
            .get(name)
            .filter(|entry| entry.in_flight.is_none())?;
        let (accepted, message) = match &entry.standing {
            Standing::Invalid(message) => (Reason::Invalid, message.clone()),
            Standing::RouteNotFound => {
                let route = entry
                    .spec
                    .route_ref
                    .as_ref()
                    .map_or("", |route| route.name.as_str());
                (
                    Reason::RouteNotFound,
                    format!(
                        "routeRef.name: there is no IsrRoute {route:?} in namespace {:?}: correct the name, or apply the route and this purge follows",
                        name.namespace
                    ),
                )
            }
            _ => (Reason::Accepted, accepted(&entry.spec)),
        };
        Some(RequestFacts {
            generation: entry.generation,
            accepted,
            message,
            last: entry.last.clone(),
            stage: match &entry.standing {
                Standing::Invalid(_) | Standing::RouteNotFound | Standing::Waiting(_) => Stage::None,
                Standing::Committed(progress) => Stage::Committed(entry.committed_facts(progress, now)),
                Standing::Restored(started) => {
                    Stage::Committed(entry.committed_facts(&Progress::unknown(*started), now))
                }
                Standing::Settled(status) => Stage::Settled(status.clone()),
                Standing::Adopted(since) => Stage::Adopted(*since),
            },
        })
    }
}

impl Entry {
    fn committed_facts(&self, progress: &Progress, now: Timestamp) -> CommittedFacts {
        let pages = progress.pages();
        CommittedFacts {
            started: progress.started,
            completed: progress.completed,
            targeted: progress.targeted(),
            acknowledged: progress.acknowledged(),
            swept: progress.swept(),
            missing: progress.missing(),
            targets_known: matches!(self.standing, Standing::Committed(_)),
            late: self.overdue(now),
            matched: pages.matched,
            regenerated: pages.regenerated,
            failed: pages.failed,
            origin_cached: pages.origin_cached,
        }
    }
}

/// What an accepted request should still be told: fields that have no effect yet.
pub(super) fn accepted(spec: &RevalidationRequestSpec) -> String {
    let fields: Vec<_> = [
        ("repeatAfter", spec.repeat_after.is_some()),
        ("ttlAfterFinished", spec.ttl_after_finished.is_some()),
    ]
    .iter()
    .filter(|(_, used)| *used)
    .map(|(field, _)| *field)
    .collect();
    match fields.as_slice() {
        [] => "the purge is in force".to_owned(),
        [field] => format!("the purge is in force; {field} has no effect in this release"),
        fields => format!(
            "the purge is in force; {} have no effect in this release",
            fields.join(" and ")
        ),
    }
}
