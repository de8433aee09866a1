//! The sidecar's environment variables: the injector writes them, the sidecar reads them.

/// Address on which visitors are served, such as `0.0.0.0:15080`.
pub const LISTEN: &str = "COPPICE_LISTEN";
/// Address of the admin listener, such as `0.0.0.0:9901`.
pub const ADMIN: &str = "COPPICE_ADMIN";
/// Address of the app, `host:port`: the pod's own IP unless an annotation says otherwise.
pub const APP: &str = "COPPICE_APP";
/// The cache's memory budget, a Kubernetes quantity such as `128Mi`.
pub const MEMORY: &str = "COPPICE_MEMORY";
/// How many regenerations go on at a time, such as `10`.
pub const REGENERATIONS: &str = "COPPICE_REGENERATIONS";
/// How long the sidecar goes on accepting after SIGTERM, such as `5s`.
pub const DRAIN: &str = "COPPICE_DRAIN";
/// URL of the operator's stream, such as `https://coppice-operator-stream.coppice-system.svc:9444`. Unset: no operator.
pub const OPERATOR: &str = "COPPICE_OPERATOR";
/// The operator's CA bundle, PEM, as it was at admission.
pub const CA_BUNDLE: &str = "COPPICE_CA_BUNDLE";
/// File with the current CA bundle (the mounted `coppice-trust`); supersedes [`CA_BUNDLE`] where it exists, read again at each connection.
pub const CA_FILE: &str = "COPPICE_CA_FILE";
/// File with the projected ServiceAccount token, read again at each connection.
pub const TOKEN_FILE: &str = "COPPICE_TOKEN_FILE";
/// Log filter, such as `info`.
pub const LOG: &str = "COPPICE_LOG";
