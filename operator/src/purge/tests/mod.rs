//! Purges by plain values: every rule from request to `Ready`.

mod annotation;
mod commit;
mod conditions;
mod histories;
mod ledger;
mod restore;

use coppice_api::{IsrRoute, status::Conditions as _};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    index::{Pod, Selecting},
    testing::{at, mk_pod, mk_request, mk_route},
};

fn name(request: &str) -> ObjectName {
    ObjectName::new("shop", request)
}

/// A route `web`, these pods, and purges that may be planned.
fn world(pods: &[&str]) -> (Index, Purges) {
    let mut index = Index::new(Selecting::Labels);
    index.apply_route(&mk_route("web", 1, json!({})));
    for pod in pods {
        index.apply_pod(mk_pod(pod), at(0));
    }
    let mut purges = Purges::default();
    purges.reset(&[]);
    purges.sync(&index, at(0));
    (index, purges)
}

fn plan(purges: &mut Purges, index: &Index, request: &str, now: i64) -> Option<Commit> {
    purges.plan(&name(request), index, None, at(now))
}

/// Applies a request and commits its line.
fn commit(purges: &mut Purges, index: &Index, request: &RevalidationRequest, now: i64) -> Commit {
    purges.apply(request);
    let commit = plan(purges, index, request.metadata.name.as_deref().unwrap(), now).unwrap();
    purges.committed(&commit, index, at(now));
    commit
}

fn status(purges: &Purges, request: &str, now: i64) -> RevalidationRequestStatus {
    status::request(&purges.facts(&name(request), at(now)).unwrap(), None, at(now))
}

fn reason<'a>(status: &'a RevalidationRequestStatus, kind: &str) -> (bool, &'a str) {
    let condition = status
        .condition(kind)
        .unwrap_or_else(|| panic!("{kind} in {status:?}"));
    (condition.status == "True", condition.reason.as_str())
}

fn done(sequence: u64, matched: u64) -> Report {
    Report {
        sequence,
        matched,
        regenerated: 1,
        failed: 0,
        origin_cached: 0,
        finished: true,
    }
}

fn everything() -> Value {
    json!({"everything": true})
}
