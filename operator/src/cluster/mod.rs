//! Every door to Kubernetes.

pub mod admission;
pub mod auth;
pub mod events;
pub mod listener;
pub mod metrics;
pub mod pki;
pub mod readiness;
#[cfg(test)]
mod testing;
pub mod trust;
pub mod version;
pub mod webhook;
