//! Where things are: the workspace, its build folder, the user's cache folder.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde::Deserialize;

use crate::process;

/// The folders that every command works with.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// What outlives a clone: `$XDG_CACHE_HOME/coppice`, by default `~/.cache/coppice`.
    pub(crate) cache: PathBuf,
}

impl Paths {
    /// Finds the folders; makes none.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is not in a workspace")?
            .to_path_buf();
        Ok(Self {
            root,
            cache: cache_home()?.join("coppice"),
        })
    }

    /// The folder that cargo builds into, however it was configured, and the workspace's version.
    pub(crate) fn cargo(&self) -> Result<Workspace> {
        let mut command = process::cargo(self);
        command.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
        let described = process::capture(&mut command)?;
        let metadata: Metadata =
            serde_json::from_str(&described).context("cargo metadata printed something else")?;
        let version = metadata
            .packages
            .into_iter()
            .find(|package| package.name == "coppice-sidecar")
            .map(|package| package.version)
            .context("the workspace has no package coppice-sidecar")?;
        Ok(Workspace {
            target: metadata.target_directory,
            version,
        })
    }
}

/// What cargo knows about the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The folder of build results.
    pub(crate) target: PathBuf,
    /// The version that all crates share.
    pub(crate) version: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// XDG Base Directory Specification: a relative `XDG_CACHE_HOME` counts as unset.
fn cache_home() -> Result<PathBuf> {
    if let Some(path) = env::var_os("XDG_CACHE_HOME").map(PathBuf::from)
        && path.is_absolute()
    {
        return Ok(path);
    }
    env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(|home| PathBuf::from(home).join(".cache"))
        .ok_or_else(|| anyhow!("neither XDG_CACHE_HOME nor HOME is set: set one"))
}
