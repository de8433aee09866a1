//! Statuses, and the two writes that are more than a status: the commit of a purge and the request of an annotation.
//!
//! ```text
//! State.changed ─┐
//! watches ───────┼─► Agenda (pure: when) ─► route.rs    status of a route; the request that its annotation asks for
//!  (Job)  ───────┘                      └─► request.rs  commit of a line; status of a request
//! ```
//!
//! What is written is compared with what the API server last showed: nothing is written where nothing differs.

mod agenda;
mod request;
mod route;

#[cfg(test)]
mod tests;

use std::{fmt::Debug, sync::Arc, time::Duration};

use coppice_api::{IsrRoute, RevalidationRequest, names::condition, names::object, status::Conditions};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::{DynamicObject, NamespaceResourceScope},
    discovery::ApiResource,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::agenda::{Agenda, Outcome};
use super::{
    brief,
    events::{Events, Warning},
    metrics::ClusterMetrics,
    seen::{self, Kind, Observed, Seen},
};
use crate::{ObjectName, State};

/// Between two writes that can wait: 20 a second in all.
const PACE: Duration = Duration::from_millis(50);
/// For one call of the API.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// An object whose status is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// An IsrRoute.
    Route(ObjectName),
    /// A RevalidationRequest.
    Request(ObjectName),
}

/// Writes statuses and commits.
#[derive(Clone)]
pub struct Writer {
    /// Through this client.
    pub client: Client,
    /// Of what is true.
    pub state: State,
    /// The routes as the API server shows them.
    pub routes: Arc<Seen<IsrRoute>>,
    /// The requests as the API server shows them.
    pub requests: Arc<Seen<RevalidationRequest>>,
    /// Where rejections are reported.
    pub events: Events,
    /// Where writes are counted.
    pub metrics: Arc<ClusterMetrics>,
    /// When the next write that can wait may be made.
    pub pace: Arc<Pace>,
}

/// Deals out the moments at which writes that can wait are made.
#[derive(Debug)]
pub struct Pace {
    next: Mutex<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            next: Mutex::new(Instant::now()),
        }
    }
}

impl Pace {
    async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock();
            let turn = (*next).max(Instant::now());
            *next = turn + PACE;
            turn
        };
        sleep_until(turn).await;
    }
}

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    /// The object is no more, or is another one by now.
    #[error("the object is gone")]
    Gone,
    /// The object has changed since it was read.
    #[error("the object has changed")]
    Conflict,
    /// The API server refused or could not be reached.
    #[error("failed to write: {}", brief(.0))]
    Api(#[source] Box<kube::Error>),
    /// The API server takes too long.
    #[error("failed to write within {} s", CALL_LIMIT.as_secs())]
    Slow,
}

impl Writer {
    /// Works until cancelled; what is being written then is finished.
    pub async fn run(self, mut jobs: mpsc::UnboundedReceiver<Job>, cancel: CancellationToken) {
        let mut agenda = Agenda::default();
        let mut looks = JoinSet::new();
        loop {
            while let Some((job, written)) = agenda.pop(Instant::now()) {
                let writer = self.clone();
                looks.spawn(async move { (job.clone(), writer.look(&job, written).await) });
            }
            let idle = sleep_until(
                agenda
                    .next()
                    .unwrap_or_else(|| Instant::now() + Duration::from_hours(1)),
            );
            tokio::select! {
                () = self.state.changed() => {
                    let dirty = self.state.take_dirty();
                    let now = Instant::now();
                    dirty.routes.into_iter().for_each(|name| agenda.touch(Job::Route(name), now));
                    dirty.requests.into_iter().for_each(|name| agenda.touch(Job::Request(name), now));
                }
                Some(job) = jobs.recv() => agenda.touch(job, Instant::now()),
                Some(look) = looks.join_next() => match look {
                    Ok((job, outcome)) => agenda.done(job, outcome, Instant::now()),
                    Err(error) => warn!(%error, "a look at an object did not end well"),
                },
                () = idle => {}
                () = cancel.cancelled() => break,
            }
        }
        while looks.join_next().await.is_some() {}
    }

    async fn look(&self, job: &Job, written: Option<Instant>) -> Outcome {
        // Before everything is known, everything that could be said would be wrong.
        if !self.state.is_synced() {
            return Outcome::Later(Duration::from_millis(100));
        }
        match job {
            Job::Route(name) => self.look_at_route(name, written).await,
            Job::Request(name) => self.look_at_request(name, written).await,
        }
    }

    /// Applies a status (server-side apply) to this very object, at this very version where `version` says so.
    async fn apply<K>(
        &self,
        seen: &Seen<K>,
        name: &ObjectName,
        observed: &Observed<K>,
        status: &K::Status,
        version: Option<&str>,
    ) -> Result<(), WriteError>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        let api = self.untyped::<K>(&name.namespace);
        let mut body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // With the uid, an object of the same name that came later is refused (409) and not described as this one.
            "metadata": { "name": name.name, "uid": observed.metadata.uid },
            "status": status,
        });
        if let Some(version) = version {
            body["metadata"]["resourceVersion"] = json!(version);
        }
        // Forced: the fields of a status are the operator's, whoever has touched them. Versions are compared all the same.
        let params = PatchParams::apply(object::STATUS_MANAGER).force();
        let patch = Patch::Apply(&body);
        let call = api.patch_status(&name.name, &params, &patch);
        let Ok(answer) = tokio::time::timeout(CALL_LIMIT, call).await else {
            return Err(WriteError::Slow);
        };
        let object = match answer {
            Ok(object) => object,
            Err(kube::Error::Api(error)) if error.code == 404 => return Err(WriteError::Gone),
            Err(kube::Error::Api(error)) if error.code == 409 => return Err(WriteError::Conflict),
            Err(error) => return Err(WriteError::Api(Box::new(error))),
        };
        if let Some((name, answer)) = seen::read::<K>(object) {
            seen.put(name, answer);
        }
        Ok(())
    }

    /// Objects are read leniently wherever they come from: an answer to a write may be one that does not fit the types.
    fn untyped<K>(&self, namespace: &str) -> Api<DynamicObject>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope>,
    {
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<K>(&()))
    }

    /// May something be written again that was written then? If not, in how long?
    fn pause(written: Option<Instant>, pause: Duration) -> Option<Outcome> {
        let passed = written.map_or(pause, |written| written.elapsed());
        (passed < pause).then(|| Outcome::Later(pause.saturating_sub(passed)))
    }

    /// Counts and logs a write, and says when to look again.
    fn outcome<K: Kind>(&self, name: &ObjectName, written: Result<(), WriteError>) -> Outcome {
        let (word, outcome) = match &written {
            Ok(()) => ("written", Outcome::Written),
            Err(WriteError::Gone) => ("gone", Outcome::Gone),
            Err(WriteError::Conflict) => ("conflict", Outcome::Failed),
            Err(WriteError::Api(_) | WriteError::Slow) => ("failed", Outcome::Failed),
        };
        self.metrics.status_written(K::NAME, word);
        if let Err(error) = written {
            debug!(kind = K::NAME, %name, %error, "a status was not written");
        }
        outcome
    }

    /// An Event where the object has just been refused, by the operator (`Accepted`) or by a sidecar (`Programmed`), or where
    /// a purge is done and may have achieved nothing.
    fn report<K: Kind>(&self, observed: &Observed<K>, name: &ObjectName, status: &K::Status) {
        for (kind, holds, words) in [
            (
                condition::ACCEPTED,
                "False",
                &["Invalid", "Conflicted", "Unsupported", "RouteNotFound"][..],
            ),
            (condition::PROGRAMMED, "False", &["Rejected"][..]),
            (condition::READY, "True", &["OriginCacheNotBypassed"][..]),
        ] {
            let before = observed.status.as_ref().and_then(|status| status.condition(kind));
            let Some(now) = status.condition(kind) else {
                continue;
            };
            let word = words
                .iter()
                .find(|word| **word == now.reason && now.status == holds);
            let known =
                before.is_some_and(|before| before.reason == now.reason && before.message == now.message);
            if let Some(reason) = word.filter(|_| !known) {
                self.events.warn(Warning {
                    regarding: reference::<K>(name, observed),
                    reason,
                    action: "Accept",
                    note: now.message.clone(),
                });
            }
        }
    }
}

fn reference<K: Kind>(name: &ObjectName, observed: &Observed<K>) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: Some(name.name.clone()),
        namespace: Some(name.namespace.clone()),
        uid: observed.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
