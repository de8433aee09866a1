//! A new operator takes over: the ledger is what the requests that exist say it is.

use std::collections::{BTreeMap, BTreeSet};

use coppice_api::{RevalidationRequest, names::condition, status::Conditions as _};
use coppice_cache::ledger::Line;
use jiff::Timestamp;

use super::{Purges, Standing, progress::Progress, selection};
use crate::{index::Index, state::ObjectName};

impl Purges {
    /// Everything that decides about targets is known: purges may be planned, and those that an earlier operator
    /// committed find their targets.
    pub fn sync(&mut self, index: &Index, now: Timestamp) {
        self.synced = true;
        for (name, entry) in &mut self.requests {
            let Standing::Restored(started) = entry.standing else {
                continue;
            };
            let Some((sequence, _)) = entry.last else {
                continue;
            };
            let route = entry.spec.route_ref.as_ref().map(|route| route.name.as_str());
            let mut targets = index.targets(&name.namespace, route).unwrap_or_default();
            // A sidecar that started later has nothing old. Kubernetes writes whole seconds.
            targets.retain(|(_, pod)| {
                (index.sidecar_since(&name.namespace, pod))
                    .is_none_or(|since| since.as_second() <= started.as_second() + 1)
            });
            entry.standing = Standing::Committed(Progress::new(targets, started, now));
            self.open.insert((name.namespace.clone(), sequence), name.clone());
        }
        self.dirty.extend(self.requests.keys().cloned());
    }

    /// Takes over what an earlier operator committed.
    pub(super) fn restore(&mut self, requests: &[RevalidationRequest]) {
        let mut lines: BTreeMap<String, (Vec<Line>, BTreeSet<u64>)> = BTreeMap::new();
        for request in requests {
            let Some((name, status)) = ObjectName::of(&request.metadata).zip(request.status.as_ref()) else {
                continue;
            };
            let Some(sequence) = status.sequence.and_then(|sequence| u64::try_from(sequence).ok()) else {
                continue;
            };
            let Some(entry) = self.requests.get_mut(&name) else {
                continue;
            };
            let (kept, lost) = lines.entry(name.namespace.clone()).or_default();
            let was = status.identity.clone().unwrap_or_default();
            entry.last = Some((sequence, was.clone()));
            match &entry.standing {
                Standing::Waiting(selector) if was == entry.identity => {
                    kept.push(Line {
                        sequence,
                        selector: selector.clone(),
                        strategy: selection::strategy(entry.spec.strategy),
                    });
                    let started = status
                        .start_time
                        .as_ref()
                        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
                    entry.standing = if status.is_true(condition::READY) {
                        Standing::Settled(Box::new(status.clone()))
                    } else {
                        Standing::Restored(started)
                    };
                }
                // What that line purged is not known any more: a sidecar that does not hold it must doubt its pages.
                _ => {
                    lost.insert(sequence);
                }
            }
        }
        for (namespace, (kept, lost)) in lines {
            self.ledgers.entry(namespace).or_default().restore(kept, &lost);
        }
    }
}
