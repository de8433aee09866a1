//! The caching engine: pure state and pure functions. No sockets, no Kubernetes, no clock of its own: `now` and the
//! ledger's head are arguments.

pub mod config;
pub mod hostname;
pub mod ledger;
pub mod outcome;
pub mod path;
pub mod pattern;
pub mod time;
