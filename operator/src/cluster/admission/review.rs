//! The `AdmissionReview`, read as far as it is needed. Raw JSON: a typed pod would drop fields that this build does not know.

use json_patch::Patch;
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};

/// The only version that is understood.
const VERSION: &str = "admission.k8s.io/v1";

/// Why a body is no review that could be answered. The API server then does as `failurePolicy: Ignore` says.
#[derive(Debug, thiserror::Error)]
pub enum BadReview {
    /// It is no JSON, or misses what every review has.
    #[error("failed to read the AdmissionReview: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Another version or kind.
    #[error("failed to read the AdmissionReview: {0:?} is not {VERSION}")]
    Version(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    request: RawRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest {
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    object: Value,
}

/// What is asked.
pub(super) struct Request {
    uid: String,
    name: String,
    pub(super) namespace: String,
    /// The pod as the client sent it, with the server's defaults.
    pub(super) pod: Value,
    /// Nothing will be stored.
    pub(super) dry_run: bool,
}

pub(super) fn parse(body: &[u8]) -> Result<Request, BadReview> {
    let review: Review = serde_json::from_slice(body)?;
    if review.api_version != VERSION {
        return Err(BadReview::Version(review.api_version));
    }
    let raw = review.request;
    Ok(Request {
        uid: raw.uid,
        name: raw.name,
        namespace: raw.namespace,
        pod: raw.object,
        dry_run: raw.dry_run,
    })
}

impl Request {
    /// Name of the pod, or what its name will begin with.
    pub(super) fn pod_name(&self) -> &str {
        let metadata = &self.pod["metadata"];
        let known = metadata["name"].as_str().or(Some(self.name.as_str()));
        known
            .filter(|name| !name.is_empty())
            .or_else(|| metadata["generateName"].as_str())
            .unwrap_or_default()
    }

    /// The pod may come, changed or not.
    pub(super) fn allow(&self, patch: Option<&Patch>, warning: Option<&str>) -> Value {
        let mut response = json!({ "uid": self.uid, "allowed": true });
        if let Some(patch) = patch {
            // An array of operations always serialises.
            let bytes = serde_json::to_vec(patch).unwrap_or_default();
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(ByteString(bytes));
        }
        if let Some(warning) = warning {
            response["warnings"] = json!([warning]);
        }
        json!({ "apiVersion": VERSION, "kind": "AdmissionReview", "response": response })
    }
}
