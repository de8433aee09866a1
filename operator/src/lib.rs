//! The operator: what each sidecar must know, and what became of it.
//!
//! ```text
//!  objects, pods ──► state ──► index   routes, pods: one snapshot of configuration per pod ─┐
//!                      │   └──► purge   requests: lines of a ledger, targets, progress      ─┼─► push ──► sidecars
//!                      │                                                                     │      (one stream each)
//!                      └──► status  conditions, counts, the table ◄── acknowledgements ◄─────┘
//! ```
//!
//! [`State`] is the one entry point: whoever watches objects (the cluster's watches, or the files of `coppice dev`)
//! feeds it, writes the statuses that it says have changed, and commits the purges that it plans. It holds no client
//! and reads no clock: `now` is an argument.

#[cfg(feature = "cluster")]
pub mod admin;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod index;
#[cfg(feature = "cluster")]
pub mod inject;
pub mod metrics;
pub mod purge;
pub mod push;
pub mod state;
pub mod status;
#[cfg(test)]
mod testing;

pub use state::{Dirty, ObjectName, State};
