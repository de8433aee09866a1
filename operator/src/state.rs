//! Index and purges behind one lock, and the names of the objects whose status may read differently.
//!
//! ```text
//! watches or files ──► apply_*, delete_*, reset_* ─┐                  ┌─► changed().await, take_dirty()
//! a timer, 1 s     ──► tick                        ├─► State (locked) ┼─► route_status, request_status   ─► written by the caller
//! push             ──► attach, acks, reports       ┘                  └─► plan ─► the caller writes ─► committed
//! ```
//!
//! Calls are short and never wait: sessions hang on watch channels, not on the lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use coppice_api::{IsrRoute, RevalidationRequest, RevalidationRequestStatus, route::IsrRouteStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{
    index::{
        Compiled, ConnectError, Connection, Index, Pod, RouteFacts, Secret, Selecting, Service, SessionKey,
    },
    metrics::Metrics,
    purge::{self, Commit, Lines, Purges, Report},
    push::Identity,
    status,
};

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// The object of this name in this namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// What an object's metadata says; `None` if it has no namespace or no name.
    pub fn of(meta: &ObjectMeta) -> Option<Self> {
        Some(Self {
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
        })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The objects whose status may read differently; requests among them may also be ready to be planned. A name whose
/// object is gone is among them once more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dirty {
    /// Of kind [`IsrRoute`].
    pub routes: BTreeSet<ObjectName>,
    /// Of kind [`RevalidationRequest`].
    pub requests: BTreeSet<ObjectName>,
}

impl Dirty {
    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.requests.is_empty()
    }
}

/// Everything that the operator knows. Cheap to clone; clones are the same state.
#[derive(Debug, Clone)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    core: Mutex<Core>,
    /// Whoever writes statuses waits here.
    dirty: Notify,
    /// Turns true when every watch has delivered its first list.
    synced: watch::Sender<bool>,
    /// Counts changes of pods, for sidecars that are faster than the watch.
    pods: watch::Sender<u64>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Core {
    index: Index,
    purges: Purges,
    dirty: Dirty,
}

/// A sidecar's session, accepted.
#[derive(Debug)]
pub struct Attached {
    /// The configuration's half.
    pub connection: Connection,
    /// The lines of the namespace.
    pub lines: watch::Receiver<Arc<Lines>>,
    /// Whether this ledger can have given the head that the sidecar named; if not, it must start empty.
    pub believed: bool,
}

impl State {
    /// An empty state, not yet synced.
    pub fn new(selecting: Selecting) -> Self {
        Self(Arc::new(Inner {
            core: Mutex::new(Core {
                index: Index::new(selecting),
                purges: Purges::default(),
                dirty: Dirty::default(),
            }),
            dirty: Notify::new(),
            synced: watch::Sender::new(false),
            pods: watch::Sender::new(0),
            metrics: Metrics::default(),
        }))
    }

    /// A route is there, or has changed. Like all that feed the state, it says whether anything changed.
    pub fn apply_route(&self, route: &IsrRoute, now: Timestamp) -> bool {
        self.change(now, |core| {
            let changed = core.index.apply_route(route);
            if let Some(name) = ObjectName::of(&route.metadata).filter(|_| changed) {
                core.purges.route_appeared(&name);
            }
            changed
        })
    }

    /// A route is no more.
    pub fn delete_route(&self, namespace: &str, name: &str, now: Timestamp) -> bool {
        self.change(now, |core| core.index.delete_route(namespace, name))
    }

    /// These are all routes that there are.
    pub fn reset_routes(&self, routes: &[IsrRoute], now: Timestamp) -> bool {
        self.change(now, |core| {
            let changed = core.index.reset_routes(routes);
            for name in routes.iter().filter_map(|route| ObjectName::of(&route.metadata)) {
                core.purges.route_appeared(&name);
            }
            changed
        })
    }

    /// A pod is there, or has changed.
    pub fn apply_pod(&self, pod: Pod, now: Timestamp) -> bool {
        let changed = self.change(now, |core| core.index.apply_pod(pod, now));
        self.pods_changed(changed)
    }

    /// A pod is no more.
    pub fn delete_pod(&self, namespace: &str, name: &str, now: Timestamp) -> bool {
        let changed = self.change(now, |core| core.index.delete_pod(namespace, name));
        self.pods_changed(changed)
    }

    /// These are all pods that there are.
    pub fn reset_pods(&self, pods: Vec<Pod>, now: Timestamp) -> bool {
        let changed = self.change(now, |core| core.index.reset_pods(pods, now));
        self.pods_changed(changed)
    }

    /// A namespace is there, or its labels have changed.
    pub fn apply_namespace(&self, name: &str, labels: BTreeMap<String, String>, now: Timestamp) -> bool {
        self.change(now, |core| core.index.apply_namespace(name, labels))
    }

    /// A namespace is no more.
    pub fn delete_namespace(&self, name: &str, now: Timestamp) -> bool {
        self.change(now, |core| core.index.delete_namespace(name))
    }

    /// These are all namespaces that there are.
    pub fn reset_namespaces(
        &self,
        namespaces: Vec<(String, BTreeMap<String, String>)>,
        now: Timestamp,
    ) -> bool {
        self.change(now, |core| core.index.reset_namespaces(namespaces))
    }

    /// A Service is there, or has changed.
    pub fn apply_service(&self, service: Service, now: Timestamp) -> bool {
        self.change(now, |core| core.index.apply_service(service))
    }

    /// A Service is no more.
    pub fn delete_service(&self, namespace: &str, name: &str, now: Timestamp) -> bool {
        self.change(now, |core| core.index.delete_service(namespace, name))
    }

    /// These are all Services that there are.
    pub fn reset_services(&self, services: Vec<Service>, now: Timestamp) -> bool {
        self.change(now, |core| core.index.reset_services(services))
    }

    /// A Secret is there, or has changed.
    pub fn apply_secret(&self, secret: Secret, now: Timestamp) -> bool {
        self.change(now, |core| core.index.apply_secret(secret))
    }

    /// A Secret is no more.
    pub fn delete_secret(&self, namespace: &str, name: &str, now: Timestamp) -> bool {
        self.change(now, |core| core.index.delete_secret(namespace, name))
    }

    /// These are all Secrets that there are. Before the first call, a route that refers to one is not supported.
    pub fn reset_secrets(&self, secrets: Vec<Secret>, now: Timestamp) -> bool {
        self.change(now, |core| core.index.reset_secrets(secrets))
    }

    /// A request is there, or has changed.
    pub fn apply_request(&self, request: &RevalidationRequest, now: Timestamp) -> bool {
        self.change(now, |core| {
            core.apply_request(request, |purges| purges.apply(request))
        })
    }

    /// A request is there that must purge nothing: `coppice dev` starts with an empty cache.
    pub fn adopt_request(&self, request: &RevalidationRequest, now: Timestamp) -> bool {
        self.change(now, |core| {
            core.apply_request(request, |purges| purges.adopt(request, now))
        })
    }

    /// A request is no more; its line stays in force.
    pub fn delete_request(&self, namespace: &str, name: &str, now: Timestamp) -> bool {
        self.change(now, |core| core.purges.delete(namespace, name))
    }

    /// These are all requests that there are. The first time, the ledgers are rebuilt from their statuses.
    pub fn reset_requests(&self, requests: &[RevalidationRequest], now: Timestamp) -> bool {
        self.change(now, |core| {
            let changed = core.purges.reset(requests);
            if changed {
                for request in requests {
                    core.mark_requesting_route(request);
                }
            }
            changed
        })
    }

    /// Every kind has been listed once (routes, pods, namespaces, services, requests): sessions are taken and purges
    /// planned from now on, so that no pod is ever told less than there is.
    pub fn set_synced(&self, now: Timestamp) {
        self.change(now, |core| {
            core.purges.sync(&core.index, now);
            true
        });
        self.0.synced.send_replace(true);
    }

    /// Has every kind been listed?
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Time has passed; to be called about once a second.
    pub fn tick(&self, now: Timestamp) {
        self.change(now, |core| core.index.tick(now) | core.purges.tick(now));
    }

    /// Returns as soon as [`State::take_dirty`] has something to give. For one waiter.
    pub async fn changed(&self) {
        while self.0.core.lock().dirty.is_empty() {
            self.0.dirty.notified().await;
        }
    }

    /// The objects whose status may read differently since the last call.
    pub fn take_dirty(&self) -> Dirty {
        std::mem::take(&mut self.0.core.lock().dirty)
    }

    /// The status of a route, given the one that is written; `None` if there is no such route.
    pub fn route_status(
        &self,
        name: &ObjectName,
        previous: Option<&IsrRouteStatus>,
        now: Timestamp,
    ) -> Option<IsrRouteStatus> {
        let core = self.0.core.lock();
        let mut facts = core.index.facts(name, now)?;
        if let Some((uid, value)) = core.index.requested_at(name) {
            let request = ObjectName::new(&name.namespace, &purge::request_name(&name.name, uid, value));
            if core.purges.contains(&request) {
                facts.last_handled = Some(purge::echo(value));
            }
        }
        drop(core);
        Some(status::route(&facts, previous, now))
    }

    /// The status of a route whose newest version, of this generation, cannot be read: what was in force stays so.
    pub fn unreadable_route_status(
        &self,
        name: &ObjectName,
        generation: i64,
        problem: &str,
        previous: Option<&IsrRouteStatus>,
        now: Timestamp,
    ) -> IsrRouteStatus {
        let former = self.0.core.lock().index.facts(name, now);
        status::route(
            &RouteFacts::unreadable(former, generation, problem),
            previous,
            now,
        )
    }

    /// The status of a request, given the one that is written; `None` if there is no such request, or while its commit
    /// is being written.
    pub fn request_status(
        &self,
        name: &ObjectName,
        previous: Option<&RevalidationRequestStatus>,
        now: Timestamp,
    ) -> Option<RevalidationRequestStatus> {
        let facts = self.0.core.lock().purges.facts(name, now)?;
        Some(status::request(&facts, previous, now))
    }

    /// The request that the purge annotation of a route asks for and that is not there yet; to be created.
    pub fn requested(&self, route: &IsrRoute) -> Option<RevalidationRequest> {
        purge::requested(route).filter(|request| {
            ObjectName::of(&request.metadata).is_some_and(|name| !self.0.core.lock().purges.contains(&name))
        })
    }

    /// The line that a request needs, if it needs one: the caller writes `status` of the commit to the object, with
    /// its uid as precondition, and then says [`State::committed`] or [`State::abandoned`]; it must say one of them,
    /// because later lines of the namespace wait for it.
    pub fn plan(
        &self,
        name: &ObjectName,
        previous: Option<&RevalidationRequestStatus>,
        now: Timestamp,
    ) -> Option<Commit> {
        self.change(now, |core| core.purges.plan(name, &core.index, previous, now))
    }

    /// The commit is durable: its line goes out.
    pub fn committed(&self, commit: &Commit, now: Timestamp) {
        self.0.metrics.purges.inc();
        self.change(now, |core| core.purges.committed(commit, &core.index, now));
    }

    /// The commit could not be written; the request is planned anew at the caller's next try.
    pub fn abandoned(&self, commit: &Commit, now: Timestamp) {
        self.change(now, |core| core.purges.abandoned(commit));
    }

    /// What is counted; to be registered once.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How many sidecars are connected, and how many purges are not complete.
    pub fn counts(&self) -> (usize, usize) {
        let core = self.0.core.lock();
        (core.index.connected(), core.purges.open())
    }

    /// What a namespace says about injection: the value of its label.
    pub fn inject_word(&self, namespace: &str) -> Option<String> {
        self.0.core.lock().index.inject_word(namespace).map(str::to_owned)
    }

    /// The namespaces whose sidecars must trust the operator: those that are opted in or hold injected pods.
    pub fn trusting_namespaces(&self) -> BTreeSet<String> {
        self.0.core.lock().index.trusting_namespaces()
    }

    /// Would this pod's session be accepted now?
    pub(crate) fn may_attach(&self, pod: &Identity) -> Result<(), ConnectError> {
        self.0
            .core
            .lock()
            .index
            .may_connect(&pod.namespace, &pod.pod, &pod.uid)
    }

    /// Counts changes of pods.
    pub(crate) fn pods(&self) -> watch::Receiver<u64> {
        self.0.pods.subscribe()
    }

    /// A sidecar has said what it has.
    pub(crate) fn attach(
        &self,
        pod: &Identity,
        config_version: &str,
        head: u64,
        now: Timestamp,
    ) -> Result<Attached, ConnectError> {
        self.change(now, |core| {
            let connection = core
                .index
                .connect(&pod.namespace, &pod.pod, &pod.uid, config_version, now)?;
            let (lines, believed) = core.purges.connect(&pod.namespace, &pod.uid, head, now);
            Ok(Attached {
                connection,
                lines,
                believed,
            })
        })
    }

    /// A session has ended.
    pub(crate) fn detach(&self, session: &SessionKey, now: Timestamp) {
        self.change(now, |core| core.index.disconnect(session, now));
    }

    /// A sidecar serves by this configuration.
    pub(crate) fn config_acked(&self, session: &SessionKey, compiled: Arc<Compiled>, now: Timestamp) {
        self.change(now, |core| core.index.ack(session, compiled));
    }

    /// A sidecar refused this version.
    pub(crate) fn config_refused(&self, session: &SessionKey, version: &str, reason: &str, now: Timestamp) {
        self.change(now, |core| core.index.nack(session, version, reason));
    }

    /// A sidecar holds every line up to this head.
    pub(crate) fn lines_acked(&self, session: &SessionKey, head: u64, now: Timestamp) {
        self.change(now, |core| {
            core.index.is_current(session) && core.purges.ack(&session.namespace, &session.uid, head, now)
        });
    }

    /// A sidecar says how far its sweep is.
    pub(crate) fn reported(&self, session: &SessionKey, report: &Report, now: Timestamp) {
        self.change(now, |core| {
            core.index.is_current(session)
                && core.purges.report(&session.namespace, &session.uid, report, now)
        });
    }

    fn pods_changed(&self, changed: bool) -> bool {
        if changed {
            self.0.pods.send_modify(|count| *count = count.wrapping_add(1));
        }
        changed
    }

    /// Lets the two halves change and carries what one must tell the other.
    fn change<T>(&self, now: Timestamp, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.0.core.lock();
        let result = change(&mut core);
        for (namespace, uid) in core.index.take_gone() {
            core.purges.gone(&namespace, &uid, now);
        }
        let (routes, requests) = (core.index.take_dirty(), core.purges.take_dirty());
        if !(routes.is_empty() && requests.is_empty()) {
            core.dirty.routes.extend(routes);
            core.dirty.requests.extend(requests);
            self.0.dirty.notify_one();
        }
        result
    }
}

impl Core {
    fn apply_request(
        &mut self,
        request: &RevalidationRequest,
        apply: impl FnOnce(&mut Purges) -> bool,
    ) -> bool {
        let changed = apply(&mut self.purges);
        if changed {
            self.mark_requesting_route(request);
        }
        changed
    }

    /// A route's status echoes its purge annotation once the request for it is there.
    fn mark_requesting_route(&mut self, request: &RevalidationRequest) {
        let owned = request
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.kind == "IsrRoute");
        if let Some((route, name)) = request
            .spec
            .route_ref
            .as_ref()
            .zip(ObjectName::of(&request.metadata))
            && owned
        {
            self.dirty
                .routes
                .insert(ObjectName::new(&name.namespace, &route.name));
        }
    }
}
