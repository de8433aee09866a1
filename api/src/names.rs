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
    /// Pod: how many regenerations go on at a time. Default 10.
    pub const REGENERATIONS: &str = "coppice.dev/regenerations";
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

/// Reasons of conditions: the words that say why a condition is as it is.
pub mod reason {
    /// One word of the vocabulary; closed, so that a status, a log line and the documentation cannot drift apart.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Reason {
        /// Accepted: well-formed and in force.
        Accepted,
        /// Accepted: something in the object is wrong; the message names the fields.
        Invalid,
        /// Accepted: an older object claims the same paths.
        Conflicted,
        /// Accepted: a field that this release does not know how to honour.
        Unsupported,
        /// Accepted: the request names a route that does not exist.
        RouteNotFound,
        /// ResolvedRefs: every reference resolves.
        Resolved,
        /// ResolvedRefs: there is no Secret of this name.
        SecretNotFound,
        /// ResolvedRefs: the Secret has no such key.
        SecretKeyNotFound,
        /// ResolvedRefs: the Secret does not carry the label by which it consents.
        RefNotPermitted,
        /// ResolvedRefs: what the Secret holds cannot be used as it should.
        InvalidSecretValue,
        /// Injected: every running pod that matches carries a sidecar.
        Injected,
        /// Injected: pods run without a sidecar.
        SidecarMissing,
        /// TrafficRouted: no Service goes around the sidecars.
        Routed,
        /// TrafficRouted: a Service goes around the sidecars.
        Bypassed,
        /// Programmed, Acknowledged: some sidecars have not answered yet.
        Pending,
        /// Programmed: a sidecar refused the configuration.
        Rejected,
        /// Programmed: every connected sidecar acknowledged.
        Programmed,
        /// Programmed, Ready, Acknowledged: there is no sidecar that it concerns.
        NoPods,
        /// Acknowledged: every target holds the line.
        Acknowledged,
        /// Ready of a request: sidecars still look through their pages, or regenerate them.
        Sweeping,
        /// Ready: nothing is left to be done.
        Ready,
        /// Ready of a request: it is done, but the app answered out of a cache of its own although it was asked to bypass it.
        OriginCacheNotBypassed,
        /// Reconciling: work goes on.
        Progressing,
        /// Stalled: the request's deadline has passed; delivery goes on.
        DeadlineExceeded,
    }

    impl Reason {
        /// Every word.
        pub const ALL: [Self; 24] = [
            Self::Accepted,
            Self::Invalid,
            Self::Conflicted,
            Self::Unsupported,
            Self::RouteNotFound,
            Self::Resolved,
            Self::SecretNotFound,
            Self::SecretKeyNotFound,
            Self::RefNotPermitted,
            Self::InvalidSecretValue,
            Self::Injected,
            Self::SidecarMissing,
            Self::Routed,
            Self::Bypassed,
            Self::Pending,
            Self::Rejected,
            Self::Programmed,
            Self::NoPods,
            Self::Acknowledged,
            Self::Sweeping,
            Self::Ready,
            Self::OriginCacheNotBypassed,
            Self::Progressing,
            Self::DeadlineExceeded,
        ];

        /// The word.
        pub const fn as_str(self) -> &'static str {
            match self {
                Self::Accepted => "Accepted",
                Self::Invalid => "Invalid",
                Self::Conflicted => "Conflicted",
                Self::Unsupported => "Unsupported",
                Self::RouteNotFound => "RouteNotFound",
                Self::Resolved => "Resolved",
                Self::SecretNotFound => "SecretNotFound",
                Self::SecretKeyNotFound => "SecretKeyNotFound",
                Self::RefNotPermitted => "RefNotPermitted",
                Self::InvalidSecretValue => "InvalidSecretValue",
                Self::Injected => "Injected",
                Self::SidecarMissing => "SidecarMissing",
                Self::Routed => "Routed",
                Self::Bypassed => "Bypassed",
                Self::Pending => "Pending",
                Self::Rejected => "Rejected",
                Self::Programmed => "Programmed",
                Self::NoPods => "NoPods",
                Self::Acknowledged => "Acknowledged",
                Self::Sweeping => "Sweeping",
                Self::Ready => "Ready",
                Self::OriginCacheNotBypassed => "OriginCacheNotBypassed",
                Self::Progressing => "Progressing",
                Self::DeadlineExceeded => "DeadlineExceeded",
            }
        }
    }
}
