//! Real frameworks behind `coppice dev`: production builds of Next.js's newest release from npm, and an app of Python's
//! standard library.
//!
//! ```text
//! built.rs ──► site.rs: one session an app ──► rows.rs: the documentation of ISR, for every face of a page (face.rs)
//!                                         ├──► router.rs: what the two routers send and answer besides
//!                                         ├──► proxy.rs: what Next.js's proxy makes of every face
//!                                         ├──► tags.rs: Next.js's own tags and purges by the same
//!                                         ├──► around.rs: images, server actions, streaming, overrides
//!                                         ├──► localised.rs: a base path and locales
//!                                         ├──► navigation.rs: a browser goes through the site while it is purged
//!                                         └──► walk.rs: it walks through pages of every kind meanwhile
//! ```

mod around;
#[path = "../browser/mod.rs"]
mod browser;
mod built;
mod face;
#[path = "../laptop/mod.rs"]
mod laptop;
mod localised;
mod navigation;
mod proxy;
mod router;
mod rows;
mod site;
mod tags;
mod walk;
