//! The caching sidecar of Coppice.

fn main() {}
