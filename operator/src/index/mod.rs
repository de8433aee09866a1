//! Routes and pods: which pod must know what, and who has acknowledged it. Pure state, no client.
//!
//! ```text
//! IsrRoute ──compile──► in force ─┐
//!                                 ├─ by selector ─► one Compiled per set of routes ─► watch channel of each pod ─► push
//! Pod ────────────────────────────┘                                                        │
//!                          facts of a route ◄── acknowledgements and sessions of its pods ◄┘
//! ```
//!
//! The one entry point is [`Index`]; each of its methods says whether anything changed, and the names of the routes
//! whose status may read differently are collected until [`Index::take_dirty`].

mod check;
pub mod compile;
mod facts;
mod namespace;
pub mod pod;
pub mod secret;
pub mod selector;
pub mod service;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use coppice_api::{IsrRoute, IsrRouteSpec, names::annotation};
use coppice_cache::config::{Config, Route};
use jiff::Timestamp;
use tokio::sync::watch;

pub use facts::{Bypass, NAMED_PODS, Rejection, RouteFacts, RouteNotFound};
pub use pod::{Phase, Pod};
pub use secret::{Secret, Secrets, Unresolved};
pub use selector::Selecting;
pub use service::Service;
pub use sessions::{ConnectError, Connection, SESSION_GRACE, SessionKey};
pub use snapshot::Compiled;

use crate::state::ObjectName;
use compile::{Compilation, Verdict};
use sessions::Session;

/// Everything that is known of routes, pods, namespaces, services and secrets.
#[derive(Debug, Default)]
pub struct Index {
    selecting: Selecting,
    /// Secrets have been listed; until then a route that refers to one is not supported.
    secrets_watched: bool,
    namespaces: BTreeMap<String, Namespace>,
    /// Routes whose status may read differently since it was last asked for.
    dirty: BTreeSet<ObjectName>,
    /// Pods that have left since it was last asked for: namespace and uid.
    gone: Vec<(String, String)>,
    last_session: u64,
}

#[derive(Debug, Default)]
struct Namespace {
    labels: BTreeMap<String, String>,
    routes: BTreeMap<String, RouteEntry>,
    pods: BTreeMap<String, PodEntry>,
    services: BTreeMap<String, Service>,
    secrets: BTreeMap<String, Secret>,
    /// Pods with the same set of routes share one snapshot.
    groups: HashMap<BTreeSet<String>, Arc<Compiled>>,
    conflicts: BTreeMap<(String, String), Conflict>,
}

/// One IsrRoute: its newest version, and the one that sidecars are told.
#[derive(Debug)]
struct RouteEntry {
    uid: String,
    generation: i64,
    created: Option<Timestamp>,
    spec: IsrRouteSpec,
    verdict: Verdict,
    /// The last version that compiled, with its generation: an invalid edit does not take a working route away.
    in_force: Option<(i64, Compilation)>,
    requested_at: Option<String>,
    last_handled: Option<String>,
}

/// One pod and what it was told.
#[derive(Debug)]
struct PodEntry {
    pod: Pod,
    /// Names of the routes in force that select it.
    routes: BTreeSet<String>,
    /// What its sidecar must know. When the entry goes, so does the channel, and the session ends.
    config: watch::Sender<Arc<Compiled>>,
    /// What its sidecar has acknowledged.
    acked: Option<Arc<Compiled>>,
    /// The version that its sidecar refused, and why.
    nacked: Option<(String, String)>,
    session: Session,
}

/// An older route claims a path too. It is found where both select a pod, and then stands until one of the two changes,
/// so that pods that come and go flip no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Conflict {
    generations: (i64, i64),
    path: String,
    hostname: Option<String>,
}

impl RouteEntry {
    /// The older object, then its name.
    fn precedence<'a>(&self, name: &'a str) -> (Option<Timestamp>, &'a str) {
        (self.created, name)
    }

    fn route(&self) -> Option<&Route> {
        self.in_force.as_ref().map(|(_, compilation)| &compilation.route)
    }

    fn selects(&self, selecting: Selecting, pod: &Pod) -> bool {
        self.in_force
            .as_ref()
            .is_some_and(|(_, compilation)| match selecting {
                Selecting::Labels => compilation.selector.matches(&pod.labels),
                Selecting::Everything => true,
            })
    }
}

impl Index {
    /// An empty index.
    pub fn new(selecting: Selecting) -> Self {
        Self {
            selecting,
            ..Self::default()
        }
    }

    /// A route is there, or has changed.
    pub fn apply_route(&mut self, route: &IsrRoute) -> bool {
        let Some(name) = ObjectName::of(&route.metadata) else {
            tracing::warn!("an IsrRoute without name or namespace is left out");
            return false;
        };
        let selecting = self.selecting;
        let watched = self.secrets_watched;
        let namespace = self.namespaces.entry(name.namespace.clone()).or_default();
        let uid = route.metadata.uid.clone().unwrap_or_default();
        let generation = route.metadata.generation.unwrap_or_default();
        let annotations = route.metadata.annotations.as_ref();
        let requested_at = annotations
            .and_then(|all| all.get(annotation::REQUESTED_AT))
            .cloned();
        let last_handled = route
            .status
            .as_ref()
            .and_then(|status| status.last_handled_requested_at.clone());
        let old = namespace.routes.remove(&name.name).filter(|old| old.uid == uid);
        if let Some(mut old) = old {
            let same = old.generation == generation && old.spec == route.spec;
            let noted = old.requested_at == requested_at && old.last_handled == last_handled;
            old.requested_at.clone_from(&requested_at);
            old.last_handled.clone_from(&last_handled);
            if same {
                namespace.routes.insert(name.name.clone(), old);
                if !noted {
                    self.dirty.insert(name);
                }
                return !noted;
            }
            let verdict = compile::compile(&name.name, &route.spec, namespace.secrets(watched));
            let in_force = verdict
                .compiled
                .clone()
                .map(|compiled| (generation, compiled))
                .or(old.in_force);
            namespace.routes.insert(
                name.name.clone(),
                RouteEntry {
                    generation,
                    spec: route.spec.clone(),
                    verdict,
                    in_force,
                    ..old
                },
            );
        } else {
            // Another object: what was found out about one of this name is not true of it.
            (namespace.conflicts).retain(|(loser, winner), _| *loser != name.name && *winner != name.name);
            let verdict = compile::compile(&name.name, &route.spec, namespace.secrets(watched));
            namespace.routes.insert(
                name.name.clone(),
                RouteEntry {
                    uid,
                    generation,
                    created: route.metadata.creation_timestamp.as_ref().map(|time| time.0),
                    spec: route.spec.clone(),
                    in_force: verdict.compiled.clone().map(|compiled| (generation, compiled)),
                    verdict,
                    requested_at,
                    last_handled,
                },
            );
        }
        let touched = namespace.select_route(selecting, &name.name);
        self.mark(&name.namespace, touched);
        self.dirty.insert(name);
        true
    }

    /// A route is no more.
    pub fn delete_route(&mut self, namespace: &str, name: &str) -> bool {
        let selecting = self.selecting;
        let Some(entries) = self.namespaces.get_mut(namespace) else {
            return false;
        };
        if entries.routes.remove(name).is_none() {
            return false;
        }
        let touched = entries.select_route(selecting, name);
        self.mark(namespace, touched);
        self.dirty.insert(ObjectName::new(namespace, name));
        true
    }

    /// These are all routes that there are.
    pub fn reset_routes(&mut self, routes: &[IsrRoute]) -> bool {
        let keep: BTreeSet<_> = routes
            .iter()
            .filter_map(|route| ObjectName::of(&route.metadata))
            .collect();
        let mut changed = false;
        for name in self.all(|namespace| namespace.routes.keys()) {
            changed |= !keep.contains(&name) && self.delete_route(&name.namespace, &name.name);
        }
        for route in routes {
            changed |= self.apply_route(route);
        }
        changed
    }

    /// A pod is there, or has changed. One that has ended for good counts as gone.
    pub fn apply_pod(&mut self, pod: Pod, now: Timestamp) -> bool {
        if pod.phase == Phase::Ended {
            return self.delete_pod(&pod.namespace, &pod.name);
        }
        let selecting = self.selecting;
        let namespace_name = pod.namespace.clone();
        let name = pod.name.clone();
        let replaced = (self.namespaces.get(&pod.namespace))
            .and_then(|namespace| namespace.pods.get(&pod.name))
            .is_some_and(|old| old.pod.uid != pod.uid);
        if replaced {
            self.delete_pod(&pod.namespace, &pod.name);
        }
        let namespace = self.namespaces.entry(pod.namespace.clone()).or_default();
        match namespace.pods.get_mut(&pod.name) {
            Some(entry) if entry.pod == pod => return false,
            Some(entry) => {
                let started = !entry.pod.serving() && pod.serving();
                entry.pod = pod;
                if started {
                    entry.session.expect(now);
                }
            }
            None => {
                let entry = PodEntry {
                    pod,
                    routes: BTreeSet::new(),
                    config: watch::Sender::new(Arc::new(Compiled::new(Config::default()))),
                    acked: None,
                    nacked: None,
                    session: Session::new(now),
                };
                namespace.pods.insert(name.clone(), entry);
            }
        }
        let touched = namespace.select_pod(selecting, &name);
        self.mark(&namespace_name, touched);
        true
    }

    /// A pod is no more: its session ends, and it is nobody's target any longer.
    pub fn delete_pod(&mut self, namespace: &str, name: &str) -> bool {
        let entry = (self.namespaces.get_mut(namespace)).and_then(|entries| entries.pods.remove(name));
        let Some(entry) = entry else {
            return false;
        };
        self.gone.push((namespace.to_owned(), entry.pod.uid.clone()));
        self.mark(namespace, entry.routes.clone());
        true
    }

    /// These are all pods that there are.
    pub fn reset_pods(&mut self, pods: Vec<Pod>, now: Timestamp) -> bool {
        let keep: BTreeSet<_> = pods
            .iter()
            .map(|pod| ObjectName::new(&pod.namespace, &pod.name))
            .collect();
        let mut changed = false;
        for name in self.all(|namespace| namespace.pods.keys()) {
            changed |= !keep.contains(&name) && self.delete_pod(&name.namespace, &name.name);
        }
        for pod in pods {
            changed |= self.apply_pod(pod, now);
        }
        changed
    }

    /// A namespace is there, or its labels have changed.
    pub fn apply_namespace(&mut self, name: &str, labels: BTreeMap<String, String>) -> bool {
        let namespace = self.namespaces.entry(name.to_owned()).or_default();
        if namespace.labels == labels {
            return false;
        }
        namespace.labels = labels;
        let routes = namespace.routes.keys().cloned().collect();
        self.mark(name, routes);
        true
    }

    /// A namespace is no more. What was in it is deleted by itself.
    pub fn delete_namespace(&mut self, name: &str) -> bool {
        let changed = (self.namespaces.get_mut(name))
            .is_some_and(|namespace| !std::mem::take(&mut namespace.labels).is_empty());
        self.namespaces.retain(|_, namespace| !namespace.is_empty());
        changed
    }

    /// These are all namespaces that there are.
    pub fn reset_namespaces(&mut self, namespaces: Vec<(String, BTreeMap<String, String>)>) -> bool {
        let keep: BTreeSet<_> = namespaces.iter().map(|(name, _)| name.clone()).collect();
        let known: Vec<_> = self
            .namespaces
            .keys()
            .filter(|name| !keep.contains(*name))
            .cloned()
            .collect();
        let mut changed = false;
        for name in known {
            changed |= self.delete_namespace(&name);
        }
        for (name, labels) in namespaces {
            changed |= self.apply_namespace(&name, labels);
        }
        changed
    }

    /// A Service is there, or has changed.
    pub fn apply_service(&mut self, service: Service) -> bool {
        let name = service.namespace.clone();
        let namespace = self.namespaces.entry(name.clone()).or_default();
        if namespace.services.get(&service.name) == Some(&service) {
            return false;
        }
        namespace.services.insert(service.name.clone(), service);
        let routes = namespace.routes.keys().cloned().collect();
        self.mark(&name, routes);
        true
    }

    /// A Service is no more.
    pub fn delete_service(&mut self, namespace: &str, name: &str) -> bool {
        let Some(entries) = self.namespaces.get_mut(namespace) else {
            return false;
        };
        if entries.services.remove(name).is_none() {
            return false;
        }
        let routes = entries.routes.keys().cloned().collect();
        self.mark(namespace, routes);
        true
    }

    /// These are all Services that there are.
    pub fn reset_services(&mut self, services: Vec<Service>) -> bool {
        let keep: BTreeSet<_> = services
            .iter()
            .map(|service| ObjectName::new(&service.namespace, &service.name))
            .collect();
        let mut changed = false;
        for name in self.all(|namespace| namespace.services.keys()) {
            changed |= !keep.contains(&name) && self.delete_service(&name.namespace, &name.name);
        }
        for service in services {
            changed |= self.apply_service(service);
        }
        changed
    }

    /// A Secret is there, or has changed: routes that take a value from it are compiled anew.
    pub fn apply_secret(&mut self, secret: Secret) -> bool {
        let (namespace, name) = (secret.namespace.clone(), secret.name.clone());
        let secrets = &mut self.namespaces.entry(namespace.clone()).or_default().secrets;
        if secrets.get(&name) == Some(&secret) {
            return false;
        }
        secrets.insert(name.clone(), secret);
        self.resolve(&namespace, |spec| compile::refers_to(spec, &name));
        true
    }

    /// A Secret is no more. What was in force with its values stays so.
    pub fn delete_secret(&mut self, namespace: &str, name: &str) -> bool {
        let entries = self.namespaces.get_mut(namespace);
        if entries.is_none_or(|entries| entries.secrets.remove(name).is_none()) {
            return false;
        }
        self.resolve(namespace, |spec| compile::refers_to(spec, name));
        true
    }

    /// These are all Secrets that there are. From the first call on references to them are honoured.
    pub fn reset_secrets(&mut self, secrets: Vec<Secret>) -> bool {
        let keep: BTreeSet<_> = secrets
            .iter()
            .map(|secret| ObjectName::new(&secret.namespace, &secret.name))
            .collect();
        let mut changed = false;
        for name in self.all(|namespace| namespace.secrets.keys()) {
            changed |= !keep.contains(&name) && self.delete_secret(&name.namespace, &name.name);
        }
        for secret in secrets {
            changed |= self.apply_secret(secret);
        }
        if !std::mem::replace(&mut self.secrets_watched, true) {
            for namespace in self.namespaces.keys().cloned().collect::<Vec<_>>() {
                changed |= self.resolve(&namespace, compile::refers_to_secrets);
            }
        }
        changed
    }

    /// Compiles routes of a namespace anew, because what they refer to has changed.
    fn resolve(&mut self, namespace: &str, concerns: impl Fn(&IsrRouteSpec) -> bool) -> bool {
        let (selecting, watched) = (self.selecting, self.secrets_watched);
        let Some(entries) = self.namespaces.get_mut(namespace) else {
            return false;
        };
        let concerned: Vec<_> = (entries.routes.iter())
            .filter(|(_, route)| concerns(&route.spec))
            .map(|(name, _)| name.clone())
            .collect();
        let mut touched = BTreeSet::new();
        for name in concerned {
            if entries.recompile(&name, watched) {
                touched.extend(entries.select_route(selecting, &name));
                touched.insert(name);
            }
        }
        let changed = !touched.is_empty();
        self.mark(namespace, touched);
        changed
    }

    /// The routes whose status may read differently since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<ObjectName> {
        std::mem::take(&mut self.dirty)
    }

    /// Namespace and uid of the pods that have left since the last call.
    pub fn take_gone(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.gone)
    }

    /// The uid of a route and the value of its purge annotation.
    pub fn requested_at(&self, route: &ObjectName) -> Option<(&str, &str)> {
        let entry = self.namespaces.get(&route.namespace)?.routes.get(&route.name)?;
        Some((&entry.uid, entry.requested_at.as_deref()?))
    }

    fn mark(&mut self, namespace: &str, routes: BTreeSet<String>) {
        (self.dirty).extend(routes.into_iter().map(|route| ObjectName::new(namespace, &route)));
    }

    /// The names of all objects of one kind, in all namespaces.
    fn all<'a, N: Iterator<Item = &'a String>>(
        &'a self,
        names: impl Fn(&'a Namespace) -> N,
    ) -> Vec<ObjectName> {
        (self.namespaces.iter())
            .flat_map(|(namespace, entries)| names(entries).map(|name| ObjectName::new(namespace, name)))
            .collect()
    }
}
