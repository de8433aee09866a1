//! The caching sidecar.

pub mod body;
pub mod clock;
pub mod config;
pub mod fetch;
