//! Hostile visitors, hostile and broken apps, over real sockets: each test says what the attack gets, and that the next
//! innocent visitor sees nothing of it.
//!
//! - [`smuggle`] – requests that two readers could each read as another one
//! - [`world`] – the apps and visitors that all of them use
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)] // a test may panic; its modules are private to it

#[path = "../support/mod.rs"]
mod support;

mod smuggle;
mod world;
