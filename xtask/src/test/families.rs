//! What the end-to-end families need, made once: the command, the cluster, images, the installed chart.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Part;
use super::builds::Binaries;
use crate::build::Profile;
use crate::cluster::Cluster;
use crate::install;
use crate::paths::Paths;
use crate::process;
use crate::tools::{self, Tool, Tools};

/// Something that families need.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Need {
    /// The release build of `coppice`, as the README's first command makes it
    Coppice,
    /// Helm, kubeconform and kubectl
    Tools,
    /// Debian's Chromium
    Browser,
    /// The suite for HTTP/2
    H2spec,
    /// A cluster that runs
    Cluster,
    /// The images, built and loaded, and the chart installed
    Install,
}

impl Need {
    /// The step's name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Coppice => "build coppice",
            Self::Tools => "tools",
            Self::Browser => "browser",
            Self::H2spec => "h2spec",
            Self::Cluster => "cluster",
            Self::Install => "install",
        }
    }
}

/// What a family needs, in the order of making.
pub(super) fn needs(part: Part) -> Vec<Need> {
    match part {
        Part::Dev | Part::Training => vec![Need::Coppice],
        Part::Page | Part::Frameworks => vec![Need::Coppice, Need::Browser],
        Part::Conformance => vec![Need::Coppice, Need::H2spec],
        Part::Chart => vec![Need::Tools],
        _ => vec![Need::Cluster, Need::Coppice, Need::Install],
    }
}

/// One test run at a time uses the machine's cluster.
pub(super) fn lock() -> Result<File> {
    tools::lock(
        Path::new("/run/coppice/tests.lock"),
        "another cargo xtask test uses the cluster",
    )
}

/// What has been made.
#[derive(Default)]
pub(super) struct Stage {
    made: BTreeMap<Need, bool>,
    coppice: Option<PathBuf>,
    started_cluster: bool,
}

impl Stage {
    /// Whether it was tried to make it.
    pub(super) fn tried(&self, need: Need) -> bool {
        self.made.contains_key(&need)
    }

    /// Whether it is there.
    pub(super) fn has(&self, need: Need) -> bool {
        self.made.get(&need).copied().unwrap_or_default()
    }

    /// What is missing that it needs itself.
    pub(super) fn blocked(&self, need: Need) -> Option<Need> {
        (need == Need::Install && !self.has(Need::Cluster)).then_some(Need::Cluster)
    }

    /// Remembers how making it went.
    pub(super) fn note(&mut self, need: Need, good: bool) {
        self.made.insert(need, good);
    }

    /// Whether this run started the cluster.
    pub(super) fn started_cluster(&self) -> bool {
        self.started_cluster
    }

    /// Makes it.
    pub(super) fn make(&mut self, need: Need, paths: &Paths, cluster: &Cluster, tools: &Tools) -> Result<()> {
        match need {
            Need::Coppice => {
                let mut cargo = process::cargo(paths);
                cargo.args(["build", "--locked", "--release", "--package", "coppice-cli"]);
                process::quiet("cargo build --release", &mut cargo)?;
                self.coppice = Some(paths.cargo()?.target.join("release/coppice"));
                Ok(())
            }
            Need::Tools => tools.ensure(&[Tool::Helm, Tool::Kubeconform, Tool::Kubectl]),
            Need::Browser => tools::system::ensure_browser(),
            Need::H2spec => tools.ensure(&[Tool::H2spec]),
            Need::Cluster => {
                tools.ensure(&[Tool::Helm, Tool::Kubeconform, Tool::Kubectl])?;
                self.started_cluster = cluster.up()?;
                Ok(())
            }
            // Link-time optimisation would take longer than all tests together.
            Need::Install => install::install(paths, cluster, &Profile::Release.into()),
        }
    }

    /// The command that runs a family's program where and as it must run.
    pub(super) fn command(
        &self,
        cluster: &Cluster,
        tools: &Tools,
        part: Part,
        binaries: &Binaries,
    ) -> Result<Command> {
        let program = binaries.program(part)?;
        let mut command = if part.on_cluster() {
            let mut command = cluster.inside(program)?;
            command.env("COPPICE_E2E_KUBECONFIG", cluster.kubeconfig()?);
            command
        } else {
            process::command(program)
        };
        command.env("COPPICE_TOOLS", tools.folder());
        if needs(part).contains(&Need::Coppice) {
            let coppice = self.coppice.as_ref().context("coppice is not built")?;
            command.env("COPPICE_BIN", coppice);
        }
        Ok(command)
    }
}
