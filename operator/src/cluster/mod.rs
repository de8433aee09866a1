//! Every door to Kubernetes.
//!
//! ```text
//! watch.rs ─► sinks.rs ─► State          seen.rs: the objects as the API server last showed them
//! State ─► status/ ─► statuses, commits of purges, requests of annotations ─► events.rs
//! pki/ ─► listener.rs (TLS) ─► admission/ (webhook), push (streams; auth/ says whose)
//!      ─► webhook.rs, trust.rs (who must trust it)
//! readiness.rs: what must have happened once; version.rs: which Kubernetes this is
//! ```

pub mod admission;
pub mod auth;
pub mod events;
pub mod flags;
pub mod listener;
pub mod metrics;
pub mod operator;
pub mod pki;
pub mod readiness;
pub mod seen;
pub mod sinks;
pub mod status;
#[cfg(test)]
mod testing;
pub mod trust;
pub mod version;
pub mod watch;
pub mod webhook;

/// A line about a failed call, for people: kube's own words hold the whole answer of the server.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({} {})", status.message, status.code, status.reason),
        other => other.to_string(),
    }
}
