//! Every label, annotation, port, condition and reason: the one vocabulary of operator, sidecar, chart and command.

/// API group of the custom resources; also the token audience and the prefix of labels and annotations.
pub const GROUP: &str = "coppice.dev";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// Audience of the projected ServiceAccount token with which a sidecar opens its stream.
pub const TOKEN_AUDIENCE: &str = "coppice.dev";

/// Labels.
pub mod label {
    /// On a namespace or pod: `enabled` or `disabled`; the pod's word wins.
    pub const INJECT: &str = "coppice.dev/inject";
    /// On a pod that carries a sidecar: `"true"`.
    pub const INJECTED: &str = "coppice.dev/injected";
    /// On a Secret that routes of its namespace may refer to: `"true"`.
    pub const ALLOW_REFERENCE: &str = "coppice.dev/allow-reference";
}

/// Annotations: knobs of a pod, and the purge annotation of a route.
pub mod annotation {
    /// Pod: the app's port, by name or number. Default: the port named `http`, else the only named one.
    pub const PORT: &str = "coppice.dev/port";
    /// Pod: the name of the app's variable that tells it its port; turns on port takeover.
    pub const PORT_ENV: &str = "coppice.dev/port-env";
    /// Pod: the address on which the app listens, where it is not the pod's IP.
    pub const APP_ADDRESS: &str = "coppice.dev/app-address";
    /// Pod: the cache's memory budget. Default 128Mi.
    pub const MEMORY: &str = "coppice.dev/memory";
    /// Pod: how long the sidecar goes on accepting after SIGTERM. Default 5s.
    pub const DRAIN: &str = "coppice.dev/drain";
    /// IsrRoute: any new value purges the whole route once.
    pub const REQUESTED_AT: &str = "coppice.dev/requested-at";
}

/// Ports.
pub mod port {
    /// The sidecar's listener for visitors.
    pub const SIDECAR: u16 = 15080;
    /// The sidecar's admin listener: `/live`, `/ready`, `/metrics`; `/state`, `/log-level` for loopback only.
    pub const ADMIN: u16 = 9901;
    /// The operator's gRPC stream listener.
    pub const STREAM: u16 = 9444;
    /// The operator's admission webhook.
    pub const WEBHOOK: u16 = 9443;
}

/// Names of objects and containers.
pub mod object {
    /// The injected container.
    pub const SIDECAR_CONTAINER: &str = "coppice-sidecar";
    /// The `ConfigMap` with the operator's CA bundle, key `ca.crt`, in opted-in namespaces.
    pub const TRUST_CONFIG_MAP: &str = "coppice-trust";
    /// Key of the bundle in [`TRUST_CONFIG_MAP`].
    pub const TRUST_KEY: &str = "ca.crt";
    /// The Secret with the operator's own CA, in the operator's namespace.
    pub const CA_SECRET: &str = "coppice-ca";
    /// Server-side apply field manager of the operator's statuses.
    pub const STATUS_MANAGER: &str = "coppice-operator";
}

/// Condition types.
pub mod condition {
    /// IsrRoute, RevalidationRequest: is the object well-formed and in force?
    pub const ACCEPTED: &str = "Accepted";
    /// IsrRoute: do all references resolve?
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// IsrRoute: does every matching pod carry a sidecar?
    pub const INJECTED: &str = "Injected";
    /// IsrRoute: does every matching Service send its traffic through the sidecars?
    pub const TRAFFIC_ROUTED: &str = "TrafficRouted";
    /// IsrRoute: have all connected sidecars acknowledged this generation?
    pub const PROGRAMMED: &str = "Programmed";
    /// RevalidationRequest: does every target hold the line?
    pub const ACKNOWLEDGED: &str = "Acknowledged";
    /// Both: done.
    pub const READY: &str = "Ready";
    /// Both, only while true (kstatus): work goes on.
    pub const RECONCILING: &str = "Reconciling";
    /// Both, only while true (kstatus): work does not get on.
    pub const STALLED: &str = "Stalled";
}
