//! What is true of a route right now: the input of its status.

use std::collections::BTreeSet;

use coppice_api::names::{label, reason::Reason};
use jiff::Timestamp;

use super::{
    Index, Namespace, PodEntry, RouteEntry, Selecting, compile, secret::Unresolved, service::Target,
};
use crate::state::ObjectName;

/// At most this many pods are named in a message.
pub const NAMED_PODS: usize = 3;

/// What is true of a route right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFacts {
    /// The newest generation.
    pub generation: i64,
    /// The generation that sidecars are told, if any: an older one where the newest is invalid.
    pub in_force: Option<i64>,
    /// `Accepted`, `Invalid`, `Conflicted` or `Unsupported`.
    pub accepted: Reason,
    /// For people.
    pub message: String,
    /// Whether it refers to any Secret.
    pub refers: bool,
    /// The references that lead nowhere.
    pub unresolved: Vec<Unresolved>,
    /// Running injected pods that it selects, without those that are being deleted.
    pub desired: usize,
    /// Of these, how many serve by what is in force, and are connected or were a moment ago.
    pub applied: usize,
    /// Of these, how many are connected (or were a moment ago) and have not acknowledged what is in force.
    pub waiting: usize,
    /// Those who refused it.
    pub rejected: Option<Rejection>,
    /// Running pods that it selects and that carry no sidecar.
    pub without_sidecar: usize,
    /// Whether pods that start in this namespace are given a sidecar.
    pub opted_in: bool,
    /// A Service by which visitors go around the sidecars.
    pub bypass: Option<Bypass>,
    /// The value of the purge annotation that was last turned into a request.
    pub last_handled: Option<String>,
}

/// Sidecars that refused the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// At most three of them.
    pub pods: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// What the first one said.
    pub reason: String,
}

/// A Service by which visitors go around the sidecars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypass {
    /// Its name.
    pub service: String,
    /// Its target.
    pub target: Target,
    /// The name of the sidecar's port, which it should target.
    pub remedy: Option<String>,
}

impl PodEntry {
    /// Does its sidecar run? One that speaks does, even if kubelet has not said so yet.
    fn live(&self) -> bool {
        self.pod.serving() || (self.pod.injected && self.session.is_connected())
    }
}

impl Index {
    /// What is true of a route, or `None` if there is none of this name.
    pub fn facts(&self, route: &ObjectName, now: Timestamp) -> Option<RouteFacts> {
        let namespace = self.namespaces.get(&route.namespace)?;
        let entry = namespace.routes.get(&route.name)?;
        let (accepted, message) = namespace.verdict(&route.name, entry);
        let mut facts = RouteFacts {
            generation: entry.generation,
            in_force: entry.in_force.as_ref().map(|(generation, _)| *generation),
            accepted,
            message,
            refers: compile::refers_to_secrets(&entry.spec),
            unresolved: entry.verdict.unresolved.clone(),
            desired: 0,
            applied: 0,
            waiting: 0,
            rejected: None,
            without_sidecar: 0,
            opted_in: self.selecting == Selecting::Everything
                || namespace
                    .labels
                    .get(label::INJECT)
                    .is_some_and(|value| value == "enabled"),
            bypass: None,
            last_handled: entry.last_handled.clone(),
        };
        for (name, pod) in &namespace.pods {
            if pod.routes.contains(&route.name) {
                facts.count(name, pod, namespace, entry, now);
            }
        }
        Some(facts)
    }

    /// Uid and name of the pods whose sidecars may hold pages of a route (`None`: of any route), ending ones too, and those
    /// that the route has left but that have not acknowledged it yet; `Err` if there is no route of this name.
    pub fn targets(
        &self,
        namespace: &str,
        route: Option<&str>,
    ) -> Result<Vec<(String, String)>, RouteNotFound> {
        let entries = self.namespaces.get(namespace);
        if let Some(route) = route
            && !entries.is_some_and(|entries| entries.routes.contains_key(route))
        {
            return Err(RouteNotFound);
        }
        Ok((entries.into_iter().flat_map(|entries| &entries.pods))
            .filter(|(_, entry)| entry.live())
            .filter(|(_, entry)| {
                let served = entry.acked.as_deref();
                match route {
                    Some(route) => {
                        entry.routes.contains(route)
                            || served.is_some_and(|served| served.route(route).is_some())
                    }
                    None => {
                        !entry.routes.is_empty()
                            || served.is_some_and(|served| !served.config.routes.is_empty())
                    }
                }
            })
            .map(|(name, entry)| (entry.pod.uid.clone(), name.clone()))
            .collect())
    }

    /// What a namespace says about injection: the value of its label.
    pub fn inject_word(&self, namespace: &str) -> Option<&str> {
        let labels = &self.namespaces.get(namespace)?.labels;
        labels.get(label::INJECT).map(String::as_str)
    }

    /// The namespaces whose sidecars must trust the operator: those that are opted in or hold injected pods.
    pub fn trusting_namespaces(&self) -> BTreeSet<String> {
        (self.namespaces.iter())
            .filter(|(name, entries)| {
                self.inject_word(name) == Some("enabled")
                    || entries.pods.values().any(|entry| entry.pod.injected)
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Since when the sidecar of a pod has been running.
    pub fn sidecar_since(&self, namespace: &str, pod: &str) -> Option<Timestamp> {
        self.namespaces.get(namespace)?.pods.get(pod)?.pod.sidecar_since
    }
}

/// There is no route of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no route of this name")]
pub struct RouteNotFound;

impl Namespace {
    /// The route's own verdict, or the conflict with an older one.
    fn verdict(&self, name: &str, entry: &RouteEntry) -> (Reason, String) {
        let verdict = &entry.verdict;
        let conflict = (self.conflicts.iter()).find(|((loser, _), _)| loser == name);
        match (verdict.reason, conflict) {
            (Reason::Accepted, Some(((_, winner), conflict))) => (
                Reason::Conflicted,
                format!(
                    "path {:?} for {} is served by the older IsrRoute {winner:?}, which claims it for the same pods; the other paths are in force: remove the path from one of the two",
                    conflict.path,
                    conflict
                        .hostname
                        .as_ref()
                        .map_or("any host".to_owned(), |host| format!("host {host:?}")),
                ),
            ),
            (Reason::Invalid, _) => match &entry.in_force {
                Some((generation, _)) => (
                    Reason::Invalid,
                    format!("{}; generation {generation} stays in force", verdict.message),
                ),
                None => (Reason::Invalid, verdict.message.clone()),
            },
            (reason, _) => (reason, verdict.message.clone()),
        }
    }
}

impl RouteFacts {
    /// What is true of a route whose newest version cannot be read: `former` is still in force, where there is one.
    pub(crate) fn unreadable(former: Option<Self>, generation: i64, problem: &str) -> Self {
        match former {
            Some(former) => Self {
                generation,
                accepted: Reason::Invalid,
                message: match former.in_force {
                    Some(kept) => format!("{problem}; generation {kept} stays in force"),
                    None => problem.to_owned(),
                },
                ..former
            },
            None => Self {
                generation,
                in_force: None,
                accepted: Reason::Invalid,
                message: problem.to_owned(),
                refers: false,
                unresolved: Vec::new(),
                desired: 0,
                applied: 0,
                waiting: 0,
                rejected: None,
                without_sidecar: 0,
                opted_in: true,
                bypass: None,
                last_handled: None,
            },
        }
    }

    fn count(
        &mut self,
        name: &str,
        pod: &PodEntry,
        namespace: &Namespace,
        route: &RouteEntry,
        now: Timestamp,
    ) {
        if pod.pod.ending {
            return;
        }
        if !pod.pod.injected {
            self.without_sidecar += usize::from(pod.pod.phase == super::Phase::Running);
            return;
        }
        if self.bypass.is_none() {
            self.bypass = bypass(pod, namespace);
        }
        if !pod.live() {
            return;
        }
        self.desired += 1;
        let Some(in_force) = route.route() else {
            return;
        };
        let serves = (pod.acked.as_ref()).is_some_and(|acked| acked.route(&in_force.name) == Some(in_force));
        let counts = pod.session.counts(now);
        self.applied += usize::from(serves && counts);
        self.waiting += usize::from(!serves && counts);
        if let Some((version, reason)) = &pod.nacked
            && !serves
            && *version == pod.config.borrow().version
        {
            let rejected = self.rejected.get_or_insert_with(|| Rejection {
                pods: Vec::new(),
                count: 0,
                reason: reason.clone(),
            });
            rejected.count += 1;
            if rejected.pods.len() < NAMED_PODS {
                rejected.pods.push(name.to_owned());
            }
        }
    }
}

fn bypass(pod: &PodEntry, namespace: &Namespace) -> Option<Bypass> {
    (namespace.services.values())
        .filter(|service| service.selects(&pod.pod))
        .find_map(|service| {
            Some(Bypass {
                service: service.name.clone(),
                target: service.bypass(&pod.pod)?.clone(),
                remedy: (pod.pod.ports.iter())
                    .find(|port| port.of_sidecar)
                    .and_then(|port| port.name.clone()),
            })
        })
}
