//! `coppice dev` as a user runs it: the built binary, real files, real ports, real apps.

mod apps;
#[path = "../laptop/mod.rs"]
mod laptop;
mod manifests;
mod pages;
mod purges;
mod said;
mod secrets;

use anyhow::Result;
use laptop::Laptop;

const ROUTE: &str = "\
apiVersion: coppice.dev/v1alpha1
kind: IsrRoute
metadata: { name: blog }
spec:
  podSelector: { matchLabels: { app: blog } }
  rules:
    - paths: [\"/\", \"/index.txt\"]
      revalidate: 1
    - paths: [\"/blog/[slug]\"]
      revalidate: 1h
      tags: [\"post:[slug]\"]
";

/// A purge of one tag.
fn purge(name: &str, tag: &str, strategy: &str, more: &str) -> String {
    format!(
        "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {{ name: {name} }}\n\
         spec: {{ tags: [\"{tag}\"], strategy: {strategy}{more} }}\n"
    )
}

fn blog() -> Result<Laptop> {
    Laptop::of(&[("route.yaml", ROUTE)])
}
