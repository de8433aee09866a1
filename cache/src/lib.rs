//! The caching engine: pure state and pure functions. No sockets, no Kubernetes, no clock of its own: `now` and the
//! ledger's head are arguments.
//!
//! ```text
//! request ─► key (by routes) ─► find (store, ledger, verdict) ─┬─► form (304, 206, a coding of the page)
//!                                                              └─► flights ─► the app ─► judge ─► page ─► store
//! purge ───► ledger, which every look-up and every landing asks
//! ```

pub mod cache_status;
pub mod coding;
pub mod conditions;
pub mod config;
pub mod control;
pub mod find;
pub mod flights;
pub mod form;
pub mod freshness;
pub mod headers;
#[cfg(test)]
mod histories;
pub mod hostname;
pub mod judge;
pub mod key;
pub mod ledger;
pub mod lifetime;
mod location;
#[cfg(test)]
mod mk;
pub mod nextjs;
pub mod outcome;
pub mod page;
pub mod path;
pub mod pattern;
pub mod range;
pub mod routes;
pub mod store;
pub mod template;
pub mod time;
#[cfg(test)]
mod variant_histories;
mod variants;
pub mod verdict;
mod weight;
