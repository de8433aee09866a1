//! Where each watch leads: into the [`State`], and into [`Seen`] for the kinds that have a status of ours.

use std::{collections::BTreeSet, marker::PhantomData, sync::Arc};

use coppice_api::{IsrRoute, RevalidationRequest};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::{ResourceExt as _, core::DynamicObject};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{
    metrics::ClusterMetrics,
    seen::{self, Kind, Observed, Seen},
    status::Job,
    watch::Sink,
};
use crate::{
    ObjectName, State,
    index::{Pod, Service},
};

/// A custom resource that the state takes.
pub trait Taken: Kind {
    /// It is there, or has changed.
    fn apply(state: &State, object: &Self, now: Timestamp);
    /// It is no more.
    fn delete(state: &State, name: &ObjectName, now: Timestamp);
    /// These are all that there are.
    fn reset(state: &State, objects: &[Self], now: Timestamp);
    /// Its status is to be looked at.
    fn job(name: ObjectName) -> Job;
}

impl Taken for IsrRoute {
    fn apply(state: &State, object: &Self, now: Timestamp) {
        state.apply_route(object, now);
    }

    fn delete(state: &State, name: &ObjectName, now: Timestamp) {
        state.delete_route(&name.namespace, &name.name, now);
    }

    fn reset(state: &State, objects: &[Self], now: Timestamp) {
        state.reset_routes(objects, now);
    }

    fn job(name: ObjectName) -> Job {
        Job::Route(name)
    }
}

impl Taken for RevalidationRequest {
    fn apply(state: &State, object: &Self, now: Timestamp) {
        state.apply_request(object, now);
    }

    fn delete(state: &State, name: &ObjectName, now: Timestamp) {
        state.delete_request(&name.namespace, &name.name, now);
    }

    fn reset(state: &State, objects: &[Self], now: Timestamp) {
        state.reset_requests(objects, now);
    }

    fn job(name: ObjectName) -> Job {
        Job::Request(name)
    }
}

/// For the custom resources.
pub struct CustomSink<K: Taken> {
    /// Where they go.
    pub state: State,
    /// Where they are remembered.
    pub seen: Arc<Seen<K>>,
    /// Whose status is to be looked at, whatever the state says: it may have been changed by somebody else.
    pub jobs: mpsc::UnboundedSender<Job>,
    /// Where malformed ones are counted.
    pub metrics: Arc<ClusterMetrics>,
}

impl<K: Taken> CustomSink<K> {
    fn remember(&self, name: ObjectName, observed: Observed<K>) -> Option<Arc<K>> {
        if let Some(problem) = &observed.problem {
            warn!(kind = K::NAME, %name, problem, "a malformed object; what was in force stays in force");
            self.metrics.watch_failed(K::NAME, "malformed");
        }
        self.seen.put(name.clone(), observed);
        let object = self.seen.get(&name).and_then(|known| known.object);
        // The receiver is gone only when the operator stops.
        let _ = self.jobs.send(K::job(name));
        object
    }
}

impl<K: Taken> Sink for CustomSink<K> {
    type Object = DynamicObject;
    type Item = (ObjectName, Observed<K>);

    fn kind(&self) -> &'static str {
        K::NAME
    }

    fn read(&self, object: DynamicObject) -> Option<Self::Item> {
        seen::read(object)
    }

    fn apply(&self, (name, observed): Self::Item) {
        if let Some(object) = self.remember(name, observed) {
            K::apply(&self.state, &object, Timestamp::now());
        }
    }

    fn delete(&self, object: &DynamicObject) {
        if let Some(name) = ObjectName::of(&object.metadata) {
            self.seen.remove(&name);
            K::delete(&self.state, &name, Timestamp::now());
        }
    }

    fn reset(&self, items: Vec<Self::Item>) {
        let names: BTreeSet<_> = items.iter().map(|(name, _)| name.clone()).collect();
        self.seen.retain(|name| names.contains(name));
        let objects: Vec<K> = items
            .into_iter()
            .filter_map(|(name, observed)| self.remember(name, observed))
            .map(Arc::unwrap_or_clone)
            .collect();
        K::reset(&self.state, &objects, Timestamp::now());
    }
}

/// For the kinds that the operator only reads.
pub struct CoreSink<O> {
    state: State,
    kind: PhantomData<fn(O)>,
}

impl<O> CoreSink<O> {
    /// Into this state.
    pub fn new(state: State) -> Self {
        Self {
            state,
            kind: PhantomData,
        }
    }
}

impl Sink for CoreSink<core::Pod> {
    type Object = core::Pod;
    type Item = Pod;

    fn kind(&self) -> &'static str {
        "Pod"
    }

    fn read(&self, object: core::Pod) -> Option<Pod> {
        Pod::try_from(&object)
            .inspect_err(|error| debug!(%error, pod = object.name_any(), "left out a pod"))
            .ok()
    }

    fn apply(&self, pod: Pod) {
        self.state.apply_pod(pod, Timestamp::now());
    }

    fn delete(&self, object: &core::Pod) {
        if let Some(name) = ObjectName::of(&object.metadata) {
            self.state
                .delete_pod(&name.namespace, &name.name, Timestamp::now());
        }
    }

    fn reset(&self, pods: Vec<Pod>) {
        self.state.reset_pods(pods, Timestamp::now());
    }
}

impl Sink for CoreSink<core::Service> {
    type Object = core::Service;
    type Item = Service;

    fn kind(&self) -> &'static str {
        "Service"
    }

    fn read(&self, object: core::Service) -> Option<Service> {
        Service::try_from(&object)
            .inspect_err(|error| debug!(%error, service = object.name_any(), "left out a Service"))
            .ok()
    }

    fn apply(&self, service: Service) {
        self.state.apply_service(service, Timestamp::now());
    }

    fn delete(&self, object: &core::Service) {
        if let Some(name) = ObjectName::of(&object.metadata) {
            self.state
                .delete_service(&name.namespace, &name.name, Timestamp::now());
        }
    }

    fn reset(&self, services: Vec<Service>) {
        self.state.reset_services(services, Timestamp::now());
    }
}

impl Sink for CoreSink<core::Namespace> {
    type Object = core::Namespace;
    type Item = (String, std::collections::BTreeMap<String, String>);

    fn kind(&self) -> &'static str {
        "Namespace"
    }

    fn read(&self, object: core::Namespace) -> Option<Self::Item> {
        Some((object.metadata.name?, object.metadata.labels.unwrap_or_default()))
    }

    fn apply(&self, (name, labels): Self::Item) {
        self.state.apply_namespace(&name, labels, Timestamp::now());
    }

    fn delete(&self, object: &core::Namespace) {
        self.state.delete_namespace(&object.name_any(), Timestamp::now());
    }

    fn reset(&self, namespaces: Vec<Self::Item>) {
        self.state.reset_namespaces(namespaces, Timestamp::now());
    }
}
