//! Public conformance suites against `coppice dev`. What fails is in a table in `docs/conformance.md`, with the reason; the
//! tests fail when the table is wrong, whichever way.
//!
//! ```text
//! caching.rs   npm http-cache-tests, in two configurations (its Node program: tests/conformance/) ─┬─► table.rs ─► docs/
//! h2.rs        h2spec on the listener                                                              ┘
//! status.rs    Cache-Status of every kind of answer, by RFC 9651 and RFC 9211
//! ```
//!
//! `COPPICE_UPDATE_DOCS=1 cargo xtask test conformance` writes the tables anew and keeps the reasons.

mod caching;
mod h2;
#[path = "../laptop/mod.rs"]
mod laptop;
mod status;
mod table;
