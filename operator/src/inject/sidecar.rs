//! The sidecar's container and volumes, as JSON.

use coppice_api::{
    Span,
    names::{TOKEN_AUDIENCE, object, port},
    quantity::format_bytes,
};
use coppice_wire::env;
use serde_json::{Value, json};

use super::{Settings, knobs::Knobs, port::AppPort};

/// Volume of the token with which the sidecar opens its stream.
const TOKEN_VOLUME: &str = "coppice-token";
/// Volume of the CA bundle as the operator keeps it up to date.
const TRUST_VOLUME: &str = object::TRUST_CONFIG_MAP;
/// Every volume that injection adds.
pub(super) const VOLUMES: [&str; 2] = [TOKEN_VOLUME, TRUST_VOLUME];
/// Where other containers find their token for the API server. The ServiceAccount admission plugin leaves a container
/// alone that mounts something here; so the sidecar gets a token that is good for its stream and for nothing else.
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TRUST_FOLDER: &str = "/etc/coppice/trust";
/// The pod's IP, from which the app's address is made.
const POD_IP: &str = "COPPICE_POD_IP";
/// The image's user; said here too, because a pod's own `runAsUser` would win over the image's.
const USER: u32 = 65532;
/// What the sidecar needs beside its cache: code, connections, flights in the air.
const FIXED_MEMORY: u64 = 64 << 20;

/// The container; a native sidecar where the cluster has them.
pub(super) fn container(app: &AppPort, knobs: &Knobs, settings: &Settings) -> Value {
    // The allocator holds up to a quarter more than what is accounted.
    let memory = format_bytes((knobs.memory + knobs.memory / 4 + FIXED_MEMORY).next_multiple_of(1 << 10));
    let mut container = json!({
        "name": object::SIDECAR_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "ports": [
            { "name": app.name, "containerPort": port::SIDECAR, "protocol": "TCP" },
            { "name": "coppice-admin", "containerPort": port::ADMIN, "protocol": "TCP" },
        ],
        "env": environment(app, knobs, settings),
        // No CPU limit: throttling would show in every page's latency.
        "resources": {
            "requests": { "cpu": "10m", "memory": memory },
            "limits": { "memory": memory },
        },
        // The listener answers before the operator has been reached, and while it cannot be.
        "startupProbe": {
            "tcpSocket": { "port": port::SIDECAR },
            "periodSeconds": 1,
            "timeoutSeconds": 1,
            "failureThreshold": 60,
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            { "name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true },
            { "name": TRUST_VOLUME, "mountPath": TRUST_FOLDER, "readOnly": true },
        ],
    });
    if settings.native {
        container["restartPolicy"] = json!("Always");
    }
    container
}

fn environment(app: &AppPort, knobs: &Knobs, settings: &Settings) -> Value {
    let host = knobs.app_host.clone().unwrap_or_else(|| format!("$({POD_IP})"));
    json!([
        // First: kubelet expands only what stands before.
        { "name": POD_IP, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "status.podIP" } } },
        { "name": env::LISTEN, "value": format!("0.0.0.0:{}", port::SIDECAR) },
        { "name": env::ADMIN, "value": format!("0.0.0.0:{}", port::ADMIN) },
        { "name": env::APP, "value": format!("{host}:{}", app.number) },
        { "name": env::MEMORY, "value": format_bytes(knobs.memory) },
        { "name": env::REGENERATIONS, "value": knobs.regenerations.to_string() },
        { "name": env::DRAIN, "value": Span(knobs.drain).to_string() },
        { "name": env::OPERATOR, "value": settings.operator_url },
        { "name": env::CA_BUNDLE, "value": settings.ca_bundle },
        { "name": env::CA_FILE, "value": format!("{TRUST_FOLDER}/{}", object::TRUST_KEY) },
        { "name": env::TOKEN_FILE, "value": format!("{TOKEN_FOLDER}/token") },
        { "name": env::LOG, "value": settings.log },
    ])
}

/// What the container mounts.
pub(super) fn volumes() -> [Value; 2] {
    [
        json!({
            "name": TOKEN_VOLUME,
            "projected": {
                "sources": [{
                    "serviceAccountToken": {
                        "audience": TOKEN_AUDIENCE,
                        "expirationSeconds": 3600,
                        "path": "token",
                    },
                }],
            },
        }),
        // Optional: it comes with the first injected pod of a namespace, and no pod waits for it.
        json!({
            "name": TRUST_VOLUME,
            "configMap": { "name": object::TRUST_CONFIG_MAP, "optional": true },
        }),
    ]
}
