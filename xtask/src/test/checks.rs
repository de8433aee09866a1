//! Checks that run no tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::summary::{Counts, Outcome};
use crate::build;
use crate::generate;
use crate::paths::Paths;
use crate::process;
use crate::tools::Tools;

const CARGO_DENY: &str = "0.20.2";

/// Formatting.
pub(super) fn fmt(paths: &Paths) -> Result<Outcome> {
    shown(
        "cargo fmt",
        process::cargo(paths).args(["fmt", "--all", "--check"]),
    )
}

/// Lints; a warning fails.
pub(super) fn clippy(paths: &Paths) -> Result<Outcome> {
    let mut cargo = process::cargo(paths);
    cargo.args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    shown("cargo clippy", &mut cargo)
}

/// Licences, banned crates, foreign sources. Advisories need a database from the network, so they are not asked.
pub(super) fn deny(paths: &Paths) -> Result<Outcome> {
    let deny = cargo_deny(paths)?;
    let mut command = process::command(deny);
    command.current_dir(&paths.root);
    command.args([
        "--log-level",
        "warn",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]);
    shown("cargo deny", &mut command)
}

/// What programs write into the repository is what they would write now.
pub(super) fn generated(paths: &Paths, tools: &Tools) -> Result<Outcome> {
    generate::check(paths, tools)?;
    Ok(Outcome::Passed(Counts::default()))
}

/// A released build can be trained.
pub(super) fn training(paths: &Paths) -> Result<Outcome> {
    build::rehearse(paths)?;
    Ok(Outcome::Passed(Counts::default()))
}

/// Runs a command, showing its output.
fn shown(label: &str, command: &mut Command) -> Result<Outcome> {
    let status = process::live(label, command, |_| {})?;
    if !status.success() {
        bail!("{label} failed ({status})");
    }
    Ok(Outcome::Passed(Counts::default()))
}

/// The program of the pinned version: built once, kept in the cache folder.
fn cargo_deny(paths: &Paths) -> Result<PathBuf> {
    let root = paths.cache.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("  building cargo-deny {CARGO_DENY} (some minutes the first time)");
    let mut cargo = process::cargo(paths);
    cargo
        .args(["install", "--locked", "--no-track", "--root"])
        .arg(&root);
    cargo.arg(format!("cargo-deny@{CARGO_DENY}"));
    // Neither the workspace's build folder nor a caller's flags.
    cargo
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .current_dir("/");
    process::quiet("cargo install cargo-deny", &mut cargo)?;
    Ok(program)
}
