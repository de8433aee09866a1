//! The run folder: what was started, where its files are, and whether it still lives.
//!
//! There is one cluster per machine, since its network namespace has one name. `/run/coppice/cluster` holds the path of its
//! run folder, so that every checkout and every cache folder means the same one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use crate::paths::Paths;

/// What must be short (socket paths end at 107 bytes) or must be found by every checkout.
const RUNTIME: &str = "/run/coppice";

/// The programs that make up the cluster, in the order of their start.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Component {
    Etcd,
    Apiserver,
    ControllerManager,
    Scheduler,
    Containerd,
    Kubelet,
    Proxy,
    Coredns,
}

impl Component {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Etcd,
        Self::Apiserver,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Containerd,
        Self::Kubelet,
        Self::Proxy,
        Self::Coredns,
    ];

    /// Its name on the command line, in messages and files.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::Proxy => "proxy",
            Self::Coredns => "coredns",
        }
    }
}

/// A cluster's run folder.
#[derive(Clone, Debug)]
pub(super) struct Run {
    folder: PathBuf,
}

impl Run {
    /// The run folder of this machine's cluster, or the one that it would get.
    pub(super) fn find(paths: &Paths) -> Self {
        let recorded = fs::read_to_string(pointer()).ok();
        let folder = recorded
            .map(|path| PathBuf::from(path.trim()))
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| paths.cache.join("cluster"));
        Self { folder }
    }

    /// Makes the folder and records it as this machine's cluster.
    pub(super) fn create(&self) -> Result<()> {
        for folder in [
            self.path("pki"),
            self.path("log"),
            self.path("etcd"),
            RUNTIME.into(),
        ] {
            fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        }
        fs::write(pointer(), self.folder.to_string_lossy().as_bytes())
            .with_context(|| format!("failed to write {}", pointer().display()))
    }

    /// Removes all files but the logs.
    pub(super) fn remove(&self) -> Result<()> {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name() == "log" {
                continue;
            }
            let path = entry.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("failed to remove {}", path.display()))?;
        }
        for entry in fs::read_dir(RUNTIME).into_iter().flatten().flatten() {
            // The lock file stays: whoever waits for it holds the file, not its name.
            if entry.file_name() == "lock" || entry.file_name() == "tests.lock" {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Whether there is anything of a cluster, running or not.
    pub(super) fn exists() -> bool {
        pointer().exists() || super::netns::path().exists()
    }

    /// An error that names the remedy unless the cluster runs.
    pub(super) fn running(&self) -> Result<()> {
        let dead: Vec<_> = Component::ALL
            .into_iter()
            .filter(|component| self.process(*component).is_none())
            .map(Component::as_str)
            .collect();
        if dead.len() == Component::ALL.len() {
            bail!("no cluster is running: cargo xtask cluster up");
        }
        if !dead.is_empty() {
            bail!(
                "the cluster is not whole, {} not running: cargo xtask cluster down, then up",
                dead.join(", ")
            );
        }
        Ok(())
    }

    /// A file or folder in the run folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file or folder whose path must be short.
    pub(super) fn short(name: &str) -> PathBuf {
        Path::new(RUNTIME).join(name)
    }

    /// The administrator's kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.path("admin.conf")
    }

    /// A component's log.
    pub(super) fn log(&self, component: Component) -> PathBuf {
        self.path("log").join(format!("{}.log", component.as_str()))
    }

    /// The end of a component's log, for an error message.
    pub(super) fn log_tail(&self, component: Component, lines: usize) -> String {
        let text = fs::read(self.log(component)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Remembers a started component.
    pub(super) fn record(&self, component: Component, pid: u32) -> Result<()> {
        let pid = pid.try_into().context("a process number is out of range")?;
        let started = started(pid).unwrap_or_default();
        fs::write(self.pid_file(component), format!("{pid} {started}"))
            .with_context(|| format!("failed to record the process of {}", component.as_str()))
    }

    /// The process of a component, if it lives. A process number that another program got meanwhile does not count.
    pub(super) fn process(&self, component: Component) -> Option<Process> {
        let text = fs::read_to_string(self.pid_file(component)).ok()?;
        let (pid, recorded) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        let recorded: u64 = recorded.parse().ok()?;
        (started(pid) == Some(recorded)).then_some(Process {
            pid,
            started: recorded,
        })
    }

    fn pid_file(&self, component: Component) -> PathBuf {
        self.path(&format!("{}.pid", component.as_str()))
    }
}

/// A living process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: i32,
    started: u64,
}

impl Process {
    /// Whether it still lives.
    pub(super) fn lives(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Sends it a signal; one that is gone is no error.
    pub(super) fn signal(self, signal: Signal) {
        if self.lives() {
            kill(self.pid, signal);
        }
    }
}

/// Sends a signal to a process number.
pub(super) fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// When a process started, in ticks since boot; nothing once it has ended, a zombie included.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then_some(())?;
    fields.nth(18)?.parse().ok()
}

fn pointer() -> PathBuf {
    Path::new(RUNTIME).join("cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let began = started(own).unwrap();
        assert!(
            Process {
                pid: own,
                started: began
            }
            .lives()
        );
        assert!(
            !Process {
                pid: own,
                started: began + 1
            }
            .lives()
        );
    }
}
