//! The caching sidecar.
