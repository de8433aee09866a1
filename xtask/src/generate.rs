//! `cargo xtask generate`: the files of the repository that programs write. [`check`] only compares.

use std::fs;

use anyhow::{Result, bail};

use crate::paths::Paths;
use crate::process;
use crate::tools::{Tool, Tools};

const CHART: &str = "charts/coppice";
const REMEDY: &str = "cargo xtask generate";

/// Writes them: the CRDs in `crds/` and in the chart, the chart's README.
pub(crate) fn write(paths: &Paths) -> Result<()> {
    crdgen(paths, &[])?;
    if !documented(paths) {
        return Ok(());
    }
    let tools = Tools::new(paths)?;
    tools.ensure(&[Tool::HelmDocs])?;
    let mut helm_docs = process::command(tools.path(Tool::HelmDocs));
    helm_docs
        .args(["--chart-search-root", CHART])
        .current_dir(&paths.root);
    process::quiet("helm-docs", &mut helm_docs)
}

/// Fails where a file is not what [`write`] would make of it.
pub(crate) fn check(paths: &Paths, tools: &Tools) -> Result<()> {
    crdgen(paths, &["--check"])?;
    if !documented(paths) {
        return Ok(());
    }
    tools.ensure(&[Tool::HelmDocs])?;
    let mut helm_docs = process::command(tools.path(Tool::HelmDocs));
    helm_docs
        .args(["--chart-search-root", CHART, "--dry-run"])
        .current_dir(&paths.root);
    let wanted = process::capture(&mut helm_docs)?;
    let file = paths.root.join(CHART).join("README.md");
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found.trim() != wanted.trim() {
        bail!("{CHART}/README.md is out of date: {REMEDY}");
    }
    Ok(())
}

/// Whether the chart's README is a generated one.
fn documented(paths: &Paths) -> bool {
    paths.root.join(CHART).join("README.md.gotmpl").is_file()
}

fn crdgen(paths: &Paths, arguments: &[&str]) -> Result<()> {
    let mut cargo = process::cargo(paths);
    cargo.args([
        "run",
        "--locked",
        "--quiet",
        "--package",
        "coppice-api",
        "--bin",
        "crdgen",
        "--",
    ]);
    process::quiet("crdgen", cargo.args(arguments))
}
