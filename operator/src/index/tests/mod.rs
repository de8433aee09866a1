//! The index by plain values.

mod pods;
mod routes;
mod secrets;
mod sessions;
mod snapshots;

use std::sync::Arc;

use coppice_api::names::reason::Reason;
use coppice_cache::config::{self, Config};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::testing::{at, mk_pod, mk_route};

fn name(route: &str) -> ObjectName {
    ObjectName::new("shop", route)
}

/// An index with these routes and the pod `web-1`.
fn mk_index(routes: &[IsrRoute]) -> Index {
    let mut index = Index::new(Selecting::Labels);
    for route in routes {
        assert!(index.apply_route(route));
    }
    index.apply_pod(mk_pod("web-1"), at(0));
    index
}

fn config_of(index: &Index, pod: &str) -> Arc<Compiled> {
    index.namespaces["shop"].pods[pod].config.borrow().clone()
}

fn names(compiled: &Compiled) -> Vec<&str> {
    compiled
        .config
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect()
}

fn connect(index: &mut Index, pod: &str, version: &str, now: i64) -> Connection {
    index
        .connect("shop", pod, &format!("uid-{pod}"), version, at(now))
        .unwrap()
}

/// Connects a pod and lets it acknowledge what it is told.
fn serve(index: &mut Index, pod: &str, now: i64) -> Connection {
    let connection = connect(index, pod, "", now);
    let compiled = connection.config.borrow().clone();
    assert!(index.ack(&connection.key, compiled));
    connection
}
