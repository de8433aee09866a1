//! The caching sidecar.

pub mod config;
