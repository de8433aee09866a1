//! Injection: a pod in, a JSON patch or every reason against it out. Pure: no client, no clock.
//!
//! ```text
//! pod, its namespace's word ─► consent (reason.rs) ─► knobs.rs   annotations, or what is wrong with them
//!                                                  ─► port.rs    which port is the app's; who used its name
//!                                                  ─► mod.rs     what else stands against it
//!                                                  ─► sidecar.rs the container, its volumes ─► Patch
//! ```
//!
//! The pod is read and patched as raw JSON. A typed pod would drop the fields that this build does not know, so
//! nothing is ever computed as the difference of two pods: each change is an operation of its own (RFC 6902).

mod knobs;
mod port;
mod reason;
mod sidecar;

#[cfg(test)]
mod tests;

use coppice_api::names::{label, object, port as ports};
use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation,
    jsonptr::{PointerBuf, Token},
};
use serde_json::{Value, json};

pub use self::reason::{Reason, Refusal};

/// What the injector must know beside the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The sidecar's image.
    pub image: String,
    /// Its pull policy, such as `IfNotPresent`.
    pub pull_policy: String,
    /// URL of the operator's stream.
    pub operator_url: String,
    /// The CA bundle that the sidecar trusts from its first second, PEM.
    pub ca_bundle: String,
    /// The sidecar's log filter.
    pub log: String,
    /// Does the cluster have native sidecars (KEP-753: an init container with `restartPolicy: Always`; stable since 1.33)?
    pub native: bool,
}

/// The patch that gives this pod its sidecar, or all that stands against it.
///
/// `namespace_word` is the value of the label `coppice.dev/inject` on the pod's namespace; the pod's own wins.
/// A pod that has a sidecar is left alone, so applying the patch twice is applying it once.
pub fn inject(pod: &Value, namespace_word: Option<&str>, settings: &Settings) -> Result<Patch, Refusal> {
    reason::consent(pod, namespace_word)?;
    if has_sidecar(pod) {
        return Err(Reason::AlreadyInjected.into());
    }
    let mut reasons = Vec::new();
    obstacles(pod, settings, &mut reasons);
    let knobs = knobs::read(pod, &mut reasons);
    let app = port::find(pod, &knobs, &mut reasons);
    match app {
        Some(app) if reasons.is_empty() => Ok(patch(pod, &app, &knobs, settings)),
        _ => Err(Refusal { reasons }),
    }
}

/// Does the pod have a container of the sidecar's name, native or not?
pub fn has_sidecar(pod: &Value) -> bool {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|list| items(&pod["spec"], list))
        .any(|container| container["name"] == object::SIDECAR_CONTAINER)
}

/// What stands against injection, whatever the annotations say.
fn obstacles(pod: &Value, settings: &Settings, reasons: &mut Vec<Reason>) {
    let spec = &pod["spec"];
    if spec["hostNetwork"] == true {
        reasons.push(Reason::HostNetwork);
    }
    if spec["os"]["name"] == "windows" || spec["nodeSelector"]["kubernetes.io/os"] == "windows" {
        reasons.push(Reason::Windows);
    }
    if pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string() {
        reasons.push(Reason::StaticPod);
    }
    let restarts = spec["restartPolicy"].as_str().unwrap_or("Always");
    if !settings.native && restarts != "Always" {
        reasons.push(Reason::RunsToCompletion);
    }
    for port in [ports::SIDECAR, ports::ADMIN] {
        let taken = ["containers", "initContainers"]
            .iter()
            .flat_map(|list| items(spec, list))
            .flat_map(|container| items(container, "ports"))
            .any(|p| p["containerPort"] == port && port::is_tcp(p));
        if taken {
            reasons.push(Reason::PortTaken(port));
        }
    }
    for volume in items(spec, "volumes") {
        if let Some(name) = volume["name"].as_str()
            && sidecar::VOLUMES.contains(&name)
        {
            reasons.push(Reason::VolumeTaken(name.to_owned()));
        }
    }
}

fn patch(pod: &Value, app: &port::AppPort, knobs: &knobs::Knobs, settings: &Settings) -> Patch {
    let mut operations = vec![mark(pod)];
    operations.extend(app.moves.iter().cloned());
    operations.extend(append_all(&pod["spec"], &["spec"], "volumes", sidecar::volumes()));
    let list = if settings.native {
        "initContainers"
    } else {
        "containers"
    };
    // Last: a native sidecar that starts last is stopped first (after the app), while a service mesh's is still there.
    let container = sidecar::container(app, knobs, settings);
    operations.extend(append_all(&pod["spec"], &["spec"], list, [container]));
    Patch(operations)
}

/// The label by which the operator and its users find injected pods.
fn mark(pod: &Value) -> PatchOperation {
    if pod["metadata"]["labels"].is_object() {
        add(&["metadata", "labels", label::INJECTED], json!("true"))
    } else {
        add(&["metadata", "labels"], json!({ label::INJECTED: "true" }))
    }
}

/// Appends to a list that may not be there yet.
fn append_all(
    parent: &Value,
    path: &[&str],
    list: &str,
    new: impl IntoIterator<Item = Value>,
) -> Vec<PatchOperation> {
    let path: Vec<&str> = path.iter().copied().chain([list]).collect();
    let mut operations = Vec::new();
    if !parent[list].is_array() {
        operations.push(add(&path, json!([])));
    }
    let end: Vec<&str> = path.iter().copied().chain(["-"]).collect();
    operations.extend(new.into_iter().map(|value| add(&end, value)));
    operations
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: pointer(path),
        value,
    })
}

fn replace(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation {
        path: pointer(path),
        value,
    })
}

fn remove(path: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: pointer(path) })
}

/// A JSON pointer (RFC 6901) of unescaped parts.
fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied().map(Token::new))
}

/// The items of a list; none where it is missing or no list.
fn items<'a>(parent: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    parent[list].as_array().into_iter().flatten()
}
