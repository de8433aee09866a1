//! `cargo xtask cluster`: a real, whole, single-node Kubernetes on this machine.
//!
//! Everything runs in one network namespace, `coppice`: nothing outside is ever addressed, and what runs in it can be
//! found and ended.
//!
//! ```text
//! up:    tools ─► namespace ─► certificates ─► etcd ─► API server ─► controllers, containerd, kubelet, proxy, DNS ─► Ready
//! down:  ask to end ─► pods' cgroup ─► all that is left in the namespace ─► mounts ─► namespace ─► files
//! ```
//!
//! - [`state`] – the run folder, who runs, what is whose
//! - [`up`], [`down`] – starting and ending; `up` ends what it started where it fails
//! - [`pki`], [`files`] – certificates and configuration files
//! - [`netns`], [`cgroup`] – the two things of the kernel that hold it together

mod cgroup;
mod down;
mod files;
mod netns;
mod pki;
mod state;
mod status;
mod up;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use crate::paths::Paths;
use crate::process;
use crate::tools::{Tool, Tools};

pub(crate) use self::state::Component;
use self::state::Run;

/// The variable that names the kubeconfig of a cluster to use instead.
const KUBECONFIG: &str = "COPPICE_E2E_KUBECONFIG";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build what is missing, start the cluster, wait until its node is ready
    Up,
    /// End the cluster and all that runs on it; nothing is left behind but the logs
    Down,
    /// Tell what runs; exit code 1 where the cluster is not ready
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Import image archives
    Load {
        /// OCI or docker archives, such as those of `cargo xtask images`
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Run kubectl on the cluster
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run a command in the cluster's network, with KUBECONFIG set, kubectl and helm on the PATH
    Exec {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Show a component's log
    Logs {
        component: Component,
        /// Go on as it grows
        #[arg(short, long)]
        follow: bool,
        /// How many of its last lines
        #[arg(short = 'n', long, default_value_t = 200)]
        lines: u32,
    },
    /// Print the path of the kubeconfig (its server answers inside the network namespace only)
    Kubeconfig,
}

/// Carries out one command.
pub(crate) fn run(paths: &Paths, command: Command) -> Result<ExitCode> {
    let cluster = Cluster::find(paths)?;
    match command {
        Command::Up => {
            cluster.up()?;
        }
        Command::Down => cluster.down()?,
        Command::Status { json } => return cluster.status(json),
        Command::Load { archives } => cluster.load(&archives)?,
        Command::Kubectl { arguments } => {
            cluster.tools.ensure(&[Tool::Kubectl])?;
            let kubectl = cluster.tools.path(Tool::Kubectl);
            return become_process(cluster.inside(kubectl)?.args(arguments));
        }
        Command::Exec { command } => {
            let Some((program, arguments)) = command.split_first() else {
                bail!("name a command");
            };
            return become_process(cluster.inside(program)?.args(arguments));
        }
        Command::Logs {
            component,
            follow,
            lines,
        } => {
            let log = cluster.own()?.log(component);
            if !log.is_file() {
                bail!(
                    "there is no log of {}: the cluster was never up",
                    component.as_str()
                );
            }
            let mut tail = process::command("tail");
            tail.args(["-n", &lines.to_string()]);
            if follow {
                tail.arg("-F");
            }
            return become_process(tail.arg(log));
        }
        Command::Kubeconfig => println!("{}", cluster.kubeconfig()?.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The cluster that commands and tests use: this machine's own, or the one that a user names.
pub(crate) struct Cluster {
    tools: Tools,
    place: Place,
}

enum Place {
    Own(Run),
    Existing(PathBuf),
}

impl Cluster {
    /// Finds out which cluster is meant; starts nothing.
    pub(crate) fn find(paths: &Paths) -> Result<Self> {
        let tools = Tools::new(paths)?;
        let place = match std::env::var_os(KUBECONFIG).filter(|path| !path.is_empty()) {
            Some(path) => {
                let path = std::path::absolute(path)?;
                if !path.is_file() {
                    bail!("{KUBECONFIG} names {}, which is no file", path.display());
                }
                Place::Existing(path)
            }
            None => Place::Own(Run::find(paths)),
        };
        Ok(Self { tools, place })
    }

    /// Whether it is one that a user named, which is neither started nor ended here.
    pub(crate) fn is_existing(&self) -> bool {
        matches!(self.place, Place::Existing(_))
    }

    /// Starts it unless it runs; says whether it was this call that did.
    pub(crate) fn up(&self) -> Result<bool> {
        match &self.place {
            Place::Own(run) => up::up(run, &self.tools),
            Place::Existing(path) => {
                eprintln!("using the cluster of {} ({KUBECONFIG})", path.display());
                Ok(false)
            }
        }
    }

    /// Ends it.
    pub(crate) fn down(&self) -> Result<()> {
        match &self.place {
            Place::Own(run) => down::down(run),
            Place::Existing(path) => {
                eprintln!(
                    "leaving the cluster of {} as it is ({KUBECONFIG})",
                    path.display()
                );
                Ok(())
            }
        }
    }

    fn status(&self, json: bool) -> Result<ExitCode> {
        match &self.place {
            Place::Own(run) => status::print(run, &self.tools, json),
            Place::Existing(path) => bail!(
                "{KUBECONFIG} names the cluster of {}: ask it with kubectl",
                path.display()
            ),
        }
    }

    /// Imports image archives into the node.
    pub(crate) fn load(&self, archives: &[PathBuf]) -> Result<()> {
        let Place::Own(run) = &self.place else {
            bail!(
                "images cannot be loaded into the cluster of {KUBECONFIG} from here: push them to its registry, or load them with its own tool"
            );
        };
        for archive in archives {
            if !archive.is_file() {
                bail!(
                    "{} is no file: cargo xtask images writes the archives",
                    archive.display()
                );
            }
        }
        run.running()?;
        for archive in archives {
            up::import(run, archive)?;
            eprintln!("  loaded {}", archive.display());
        }
        Ok(())
    }

    /// A kubeconfig that reaches it from [`Self::inside`].
    pub(crate) fn kubeconfig(&self) -> Result<PathBuf> {
        match &self.place {
            Place::Own(run) => {
                run.running()?;
                Ok(run.kubeconfig())
            }
            Place::Existing(path) => Ok(path.clone()),
        }
    }

    /// A command that runs where the cluster can be reached: with its kubeconfig, and in its network if it is our own.
    pub(crate) fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Process> {
        let kubeconfig = self.kubeconfig()?;
        let mut command = match &self.place {
            Place::Own(_) => netns::command(program),
            Place::Existing(_) => process::command(program),
        };
        let mut path = OsString::from(self.tools.folder());
        path.push(":");
        path.push(process::search_path());
        command.env("PATH", path).env("KUBECONFIG", kubeconfig);
        Ok(command)
    }

    /// Runs a function where the cluster's pods and services can be connected to.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        match &self.place {
            Place::Own(_) => netns::within(function),
            Place::Existing(_) => Ok(function()?),
        }
    }

    fn own(&self) -> Result<&Run> {
        match &self.place {
            Place::Own(run) => Ok(run),
            Place::Existing(_) => bail!("the cluster of {KUBECONFIG} keeps its logs itself"),
        }
    }
}

/// Hands the terminal and the exit code over to a command.
fn become_process(command: &mut Process) -> Result<ExitCode> {
    command.stdin(std::process::Stdio::inherit());
    let name = Path::new(command.get_program()).display().to_string();
    Err(command.exec()).with_context(|| format!("failed to run {name}"))
}
