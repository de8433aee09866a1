//! The admission webhook: `POST /mutate` with an `AdmissionReview` about a pod.
//!
//! ```text
//! body ─► review.rs (pure) ─► inject::inject ─► patch, or a warning for the client and an Event on the owner
//! ```
//!
//! It never denies. Whatever is wrong (a body that cannot be read, an operator that has no certificates yet), the pod
//! starts without a sidecar, and somebody is told why.

mod review;
mod server;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::{Api, Client};
use serde_json::Value;
use tokio::{sync::watch, time::timeout};
use tracing::{debug, info};

use coppice_api::names::label;

pub use self::{review::BadReview, server::serve};
use super::{
    brief,
    events::{Events, Warning, shorten},
    metrics::ClusterMetrics,
};
use crate::inject::{self, Reason, Refusal, Settings};

/// For asking about a namespace that the watch does not know as opted in. The API server waits for 5 s in all, if the chart says nothing else.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(2);
/// API servers cut longer warnings.
const LONGEST_WARNING: usize = 256;

/// What the injector is told by flags; the rest is found out at run time.
#[derive(Debug, Clone)]
pub struct Static {
    /// The sidecar's image.
    pub image: String,
    /// Its pull policy.
    pub pull_policy: String,
    /// URL of the operator's stream.
    pub operator_url: String,
    /// The sidecar's log filter.
    pub log: String,
}

/// Answers reviews.
pub struct Admission<N> {
    /// From flags.
    pub fixed: Static,
    /// The CA bundle, once there is one.
    pub bundle: watch::Receiver<Option<Arc<str>>>,
    /// Whether the server has native sidecars, once it has been asked.
    pub native: watch::Receiver<Option<bool>>,
    /// The value of the label `coppice.dev/inject` on a namespace, as the watch knows it.
    pub namespace_word: N,
    /// To ask about a namespace whose label the watch may not have seen yet.
    pub client: Client,
    /// Where refusals are reported.
    pub events: Events,
    /// Where they are counted.
    pub metrics: Arc<ClusterMetrics>,
}

impl<N: Fn(&str) -> Option<String> + Send + Sync> Admission<N> {
    /// The `AdmissionReview` that answers this one.
    pub async fn answer(&self, body: &[u8]) -> Result<Value, BadReview> {
        let request = review::parse(body)?;
        let Some(settings) = self.settings() else {
            self.metrics.injected("NotReady");
            let warning = "coppice: not injected: the operator has just started and has no certificates yet; restart this pod";
            return Ok(request.allow(None, Some(warning)));
        };
        let mut word = (self.namespace_word)(&request.namespace);
        let mut result = inject::inject(&request.pod, word.as_deref(), &settings);
        if result
            .as_ref()
            .is_err_and(|refusal| refusal.reasons == [Reason::NotEnabled])
        {
            // The API server asks only where a label says so; the watch may be a moment behind it.
            word = self.ask_namespace(&request.namespace).await;
            result = inject::inject(&request.pod, word.as_deref(), &settings);
        }
        Ok(match result {
            Ok(patch) => {
                self.metrics.injected("Injected");
                debug!(
                    namespace = request.namespace,
                    pod = request.pod_name(),
                    "injected"
                );
                request.allow(Some(&patch), None)
            }
            Err(refusal) => {
                for reason in &refusal.reasons {
                    self.metrics.injected(reason.as_str());
                }
                if refusal.is_wanted() {
                    request.allow(None, None)
                } else {
                    self.report(&request, &refusal);
                    let warning = shorten(&format!("coppice: not injected: {refusal}"), LONGEST_WARNING);
                    request.allow(None, Some(&warning))
                }
            }
        })
    }

    fn settings(&self) -> Option<Settings> {
        let fixed = self.fixed.clone();
        Some(Settings {
            image: fixed.image,
            pull_policy: fixed.pull_policy,
            operator_url: fixed.operator_url,
            ca_bundle: self.bundle.borrow().as_deref()?.to_owned(),
            log: fixed.log,
            native: (*self.native.borrow())?,
        })
    }

    async fn ask_namespace(&self, name: &str) -> Option<String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match timeout(NAMESPACE_LIMIT, api.get_metadata(name)).await {
            Ok(Ok(namespace)) => namespace.metadata.labels?.remove(label::INJECT),
            Ok(Err(error)) => {
                debug!(
                    error = brief(&error),
                    namespace = name,
                    "failed to read a namespace"
                );
                None
            }
            Err(_) => None,
        }
    }

    fn report(&self, request: &review::Request, refusal: &Refusal) {
        info!(namespace = request.namespace, pod = request.pod_name(), %refusal, "not injected");
        // Nothing may be left behind by a dry run.
        if request.dry_run {
            return;
        }
        let Some(first) = refusal.reasons.first() else {
            return;
        };
        self.events.warn(Warning {
            regarding: regarding(request),
            reason: first.as_str(),
            action: "Inject",
            note: format!("no sidecar was injected: {refusal}"),
        });
    }
}

/// The object that a person would look at: the pod's controller, since the pod does not exist yet.
fn regarding(request: &review::Request) -> ObjectReference {
    let metadata = &request.pod["metadata"];
    let owner = metadata["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|owner| owner["controller"] == true);
    let (source, kind) = match owner {
        Some(owner) => (owner, owner["kind"].as_str()),
        None => (metadata, Some("Pod")),
    };
    let text = |key: &str| source[key].as_str().map(str::to_owned);
    ObjectReference {
        api_version: owner
            .and_then(|owner| owner["apiVersion"].as_str())
            .or(Some("v1"))
            .map(str::to_owned),
        kind: kind.map(str::to_owned),
        name: text("name").or_else(|| Some(request.pod_name().to_owned())),
        namespace: Some(request.namespace.clone()),
        uid: text("uid"),
        ..ObjectReference::default()
    }
}
