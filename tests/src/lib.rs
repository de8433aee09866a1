//! What crosses crates: the tests of `tests/` run the shipped images on a real cluster, and this is what they share.
//!
//! ```text
//! space::run("serve-hit", …)      a namespace for the test; deleted at the end, printed if the test fails
//!     ├─ build::{mk_app, mk_route, mk_request}     objects
//!     ├─ space.create(…), space.app(…)             applied, waited for
//!     ├─ space.wait("what", …)                     on conditions; a time-out says what was there instead
//!     └─ visit::get(address, "/blog/hello")        one request; `cache()` is what x-coppice-cache said
//! ```
//!
//! `cargo xtask test <family>` runs them: it brings a cluster up, loads the images, installs the chart and sets
//! `COPPICE_E2E_KUBECONFIG`. The tests reach pods and Services by their addresses, so they run where those can be
//! reached (the runner enters the cluster's network).

// Support of tests may panic, and nobody minds the size of its futures.
#![allow(clippy::panic, clippy::large_futures)]

pub mod app;
pub mod build;
pub mod cluster;
pub mod command;
mod dump;
pub mod node;
pub mod npm;
pub mod operator;
pub mod space;
pub mod stream;
pub mod visit;

/// Fails the test's `Result` with a message, unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            ::anyhow::bail!($($message)+);
        }
    };
}
