//! Hostile visitors, hostile and broken apps, over real sockets: each test says what the attack gets, and that the next
//! innocent visitor sees nothing of it.
//!
//! - [`smuggle`] – requests that two readers could each read as another one
//! - [`poison`] – headers, parameters and paths of one visitor that must not show in another's page
//! - [`deceive`] – paths that dress a private page up as a public one
//! - [`answers`] – apps whose answers are malformed, two at once, or cut short
//! - [`bomb`] – variants without end, and what they may teach the cache
//! - [`crawl`] – more URLs than there is room for
//! - [`slow`] – visitors and apps that take their time
//! - [`h2`] – the same over HTTP/2, and what only HTTP/2 can do
//! - [`world`] – the apps and visitors that all of them use
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)] // a test may panic; its modules are private to it

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod bomb;
mod crawl;
mod deceive;
mod h2;
mod poison;
mod slow;
mod smuggle;
mod world;
