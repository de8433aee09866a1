//! The custom resources as the API server last showed them: what a status is compared with before it is written.
//!
//! Objects are read leniently. One that does not fit the types (a newer schema, say) becomes a condition and an Event;
//! the watch goes on, and what was in force before stays in force.

use std::{collections::BTreeMap, fmt, sync::Arc};

use coppice_api::{
    IsrRoute, RevalidationRequest, RevalidationRequestStatus, names::condition, route::IsrRouteStatus,
    status::Conditions,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::DynamicObject};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::ObjectName;

/// A custom resource with a status.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
    /// Its status.
    type Status: Conditions
        + fmt::Debug
        + Clone
        + PartialEq
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static;
    /// For logs and metrics.
    const NAME: &'static str;

    /// Takes the status out.
    fn take_status(&mut self) -> Option<Self::Status>;
    /// Puts a status in.
    fn put_status(&mut self, status: Option<Self::Status>);
}

macro_rules! kind {
    ($object:ty, $status:ty, $name:literal) => {
        impl Kind for $object {
            type Status = $status;
            const NAME: &'static str = $name;

            fn take_status(&mut self) -> Option<$status> {
                self.status.take()
            }

            fn put_status(&mut self, status: Option<$status>) {
                self.status = status;
            }
        }
    };
}

kind!(IsrRoute, IsrRouteStatus, "IsrRoute");
kind!(
    RevalidationRequest,
    RevalidationRequestStatus,
    "RevalidationRequest"
);

/// One object.
#[derive(Debug, Clone)]
pub struct Observed<K: Kind> {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its status, where that could be read.
    pub status: Option<K::Status>,
    /// The object with its status: this version, or the last that could be read.
    pub object: Option<Arc<K>>,
    /// Why this version could not be read.
    pub problem: Option<String>,
}

/// All objects of one kind.
#[derive(Debug)]
pub struct Seen<K: Kind> {
    objects: Mutex<BTreeMap<ObjectName, Observed<K>>>,
}

impl<K: Kind> Default for Seen<K> {
    fn default() -> Self {
        Self {
            objects: Mutex::new(BTreeMap::new()),
        }
    }
}

impl<K: Kind> Seen<K> {
    /// The object of this name.
    pub fn get(&self, name: &ObjectName) -> Option<Observed<K>> {
        self.objects.lock().get(name).cloned()
    }

    /// It is there, or has changed. What the server answers to a write is remembered in the same way; a version that
    /// is older than what is known, which the watch may bring after that, is not.
    pub fn put(&self, name: ObjectName, mut observed: Observed<K>) {
        let mut objects = self.objects.lock();
        if let Some(known) = objects.get(&name)
            && known.metadata.uid == observed.metadata.uid
        {
            if version(&known.metadata) > version(&observed.metadata) {
                return;
            }
            if observed.problem.is_some() {
                observed.object.clone_from(&known.object);
            }
        }
        objects.insert(name, observed);
    }

    /// It is no more.
    pub fn remove(&self, name: &ObjectName) {
        self.objects.lock().remove(name);
    }

    /// Forgets all but these.
    pub fn retain(&self, keep: impl Fn(&ObjectName) -> bool) {
        self.objects.lock().retain(|name, _| keep(name));
    }

    /// A line for each object, for people who look at the state.
    pub fn summary(&self) -> Vec<Value> {
        let objects = self.objects.lock();
        let line = |(name, observed): (&ObjectName, &Observed<K>)| {
            json!({
                "namespace": name.namespace,
                "name": name.name,
                "ready": observed.status.as_ref().is_some_and(|status| status.is_true(condition::READY)),
                "problem": observed.problem,
            })
        };
        objects.iter().map(line).collect()
    }
}

/// Versions of one object can be compared as numbers (KEP-5504); what is no number is older than everything.
fn version(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}

/// Reads an object: its spec strictly, its status as far as that goes.
pub fn read<K: Kind>(object: DynamicObject) -> Option<(ObjectName, Observed<K>)> {
    let metadata = object.metadata.clone();
    let name = ObjectName::of(&metadata)?;
    let mut value = serde_json::to_value(object).unwrap_or_default();
    let status: Option<K::Status> = value
        .as_object_mut()
        .and_then(|fields| fields.remove("status"))
        .and_then(|status| serde_json::from_value(status).ok());
    let (object, problem) = match serde_json::from_value::<K>(value) {
        Ok(mut object) => {
            object.put_status(status.clone());
            (Some(Arc::new(object)), None)
        }
        Err(error) => (None, Some(format!("the object cannot be read: {error}"))),
    };
    let observed = Observed {
        metadata,
        status,
        object,
        problem,
    };
    Some((name, observed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(version: &str, spec: &Value) -> (ObjectName, Observed<IsrRoute>) {
        let object = json!({
            "apiVersion": "coppice.dev/v1alpha1",
            "kind": "IsrRoute",
            "metadata": { "namespace": "shop", "name": "web", "uid": "u", "resourceVersion": version },
            "spec": spec,
            "status": { "observedGeneration": 3, "ofTomorrow": true },
        });
        read(serde_json::from_value(object).expect("an object")).expect("a name")
    }

    fn good() -> Value {
        json!({ "podSelector": {}, "rules": [{ "paths": ["/"] }] })
    }

    #[test]
    fn admit_a_malformed_object_is_a_problem_and_not_the_end() {
        let seen = Seen::default();
        let (name, first) = observed("9", &good());
        assert!(first.problem.is_none());
        assert_eq!(
            first
                .status
                .as_ref()
                .and_then(|status| status.observed_generation),
            Some(3)
        );
        seen.put(name.clone(), first);
        let (_, second) = observed("10", &json!({ "podSelector": {}, "rules": [{ "paths": 5 }] }));
        assert!(
            second
                .problem
                .as_ref()
                .is_some_and(|problem| problem.contains("cannot be read"))
        );
        seen.put(name.clone(), second);
        let known = seen.get(&name).expect("known");
        assert!(
            known.problem.is_some() && known.object.is_some(),
            "the last good version stays"
        );
    }

    #[test]
    fn admit_an_older_version_does_not_replace_a_newer_one() {
        let seen = Seen::default();
        let (name, newer) = observed("10", &good());
        let (_, older) = observed("9", &good());
        seen.put(name.clone(), newer);
        seen.put(name.clone(), older);
        let version = seen.get(&name).and_then(|known| known.metadata.resource_version);
        assert_eq!(version.as_deref(), Some("10"));
    }
}
