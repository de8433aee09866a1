//! What makes a purge the one that it is.

use std::{collections::BTreeSet, fmt::Write as _};

use coppice_api::{RevalidationRequest, Strategy};
use serde::Serialize;

/// Everything whose change is a new purge; the order in which a list is written is no change.
#[derive(Serialize)]
struct Parts<'a> {
    uid: &'a str,
    route: Option<&'a str>,
    paths: BTreeSet<&'a str>,
    patterns: BTreeSet<&'a str>,
    tags: BTreeSet<&'a str>,
    everything: bool,
    hostnames: BTreeSet<&'a str>,
    strategy: Strategy,
    nonce: &'a str,
}

fn set(list: &[String]) -> BTreeSet<&str> {
    list.iter().map(String::as_str).collect()
}

/// The identity of what a request asks for now: 32 hex digits over the object's uid, its selectors, strategy and nonce.
/// `deadline`, `repeatAfter` and `ttlAfterFinished` are no part of it.
pub fn identity(request: &RevalidationRequest) -> String {
    let spec = &request.spec;
    let parts = Parts {
        uid: request.metadata.uid.as_deref().unwrap_or_default(),
        route: spec.route_ref.as_ref().map(|route| route.name.as_str()),
        paths: set(&spec.paths),
        patterns: set(&spec.patterns),
        tags: set(&spec.tags),
        everything: spec.everything,
        hostnames: set(&spec.hostnames),
        strategy: spec.strategy,
        nonce: spec.nonce.as_deref().unwrap_or_default(),
    };
    // Strings, lists of strings and unit variants: serialising them to memory cannot fail.
    let bytes = serde_json::to_vec(&parts).unwrap_or_default();
    let mut text = String::with_capacity(32);
    let _ = write!(text, "{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
    text
}
