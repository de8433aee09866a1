//! The servers: each started with a configuration of its own on a free port of loopback, pinned to the server's core, and
//! ended with all that it started when it is dropped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::client;
use super::configs;
use super::cores::Cores;
use super::usage::{self, Memory};
use crate::process;

/// How long a server may take until it answers as it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is compared.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Peer {
    /// This checkout
    Coppice,
    /// nginx with `proxy_cache`, from Debian, which remembers the files that it has opened
    Nginx,
    /// nginx as `proxy_cache` is without that: the file of each hit is opened
    #[serde(rename = "nginx-plain")]
    NginxPlain,
    /// Varnish, from Debian
    Varnish,
    /// Next.js itself, `next start`
    Next,
    /// hyper with an answer that never changes: the floor for a server on it
    Bare,
    /// One read and one write for a request: the floor for any server that needs both
    Sockets,
}

impl Peer {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Coppice => "coppice",
            Self::Nginx => "nginx",
            Self::NginxPlain => "plain nginx",
            Self::Varnish => "Varnish",
            Self::Next => "Next.js",
            Self::Bare => "bare hyper",
            Self::Sockets => "bare sockets",
        }
    }

    /// It stores pages, and passes through what is not to be stored.
    pub(super) const fn is_cache(self) -> bool {
        matches!(self, Self::Coppice | Self::Nginx | Self::Varnish)
    }

    /// It looks nothing up, and has all pages.
    pub(super) const fn is_floor(self) -> bool {
        matches!(self, Self::Bare | Self::Sockets)
    }
}

/// How the sidecar is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// `coppice dev --quiet --no-key`: the sidecar with routes and purges, and the operator's index in the same process.
    Routed,
    /// `coppice-sidecar` alone, as it starts in a pod: it has no routes yet and passes everything through.
    Alone,
}

/// What servers are started with.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    /// The folder of the programs of this checkout.
    pub(super) programs: PathBuf,
    /// The folder of the floors, where they take part.
    pub(super) floors: Option<PathBuf>,
    /// The built app of Next.js, where there is one.
    pub(super) next: Option<PathBuf>,
    pub(super) cores: Cores,
    /// Configurations, sockets and stored files.
    pub(super) folder: PathBuf,
}

/// A server that runs.
pub(super) struct Server {
    pub(super) peer: Peer,
    pub(super) address: SocketAddr,
    /// Its files: the configuration, what it said, what it stored.
    pub(super) folder: PathBuf,
    root: Child,
    /// When it was started.
    began: Instant,
}

impl Ground {
    /// Starts a server before `app`; it may not answer yet.
    pub(super) fn start(&self, peer: Peer, mode: Mode, app: SocketAddr) -> Result<Server> {
        process::check_interrupt()?;
        // A space in a path would end it in some of the configurations.
        let folder = self.folder.join(peer.as_str().replace(' ', "-"));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let address = free()?;
        let mut command = match (peer, mode) {
            (Peer::Coppice, Mode::Routed) => configs::dev(&self.programs, &folder, address, free()?, app)?,
            (Peer::Coppice, Mode::Alone) => configs::sidecar(&self.programs, address, free()?, app),
            (Peer::Nginx, _) => configs::nginx(&folder, address, app, true)?,
            (Peer::NginxPlain, _) => configs::nginx(&folder, address, app, false)?,
            (Peer::Varnish, _) => configs::varnish(&folder, address, app)?,
            (Peer::Bare, _) => configs::bare(self.floors.as_deref(), "hyper", address)?,
            (Peer::Sockets, _) => configs::bare(self.floors.as_deref(), "sockets", address)?,
            (Peer::Next, _) => configs::next(self.next.as_deref(), address)?,
        };
        let said = File::create(folder.join("said"))?;
        command.stdin(Stdio::null());
        command.stdout(said.try_clone()?).stderr(said);
        let (began, root) = self.cores.on_server(|| (Instant::now(), command.spawn()))?;
        Ok(Server {
            peer,
            address,
            folder,
            root: root.with_context(|| format!("failed to start {}", peer.as_str()))?,
            began,
        })
    }
}

impl Server {
    /// Waits until it answers `path` from where it should; the time since it was started.
    pub(super) fn wait(&mut self, path: &str, pause: Duration) -> Result<Duration> {
        let routed = self.peer == Peer::Coppice && path.starts_with("/store");
        let answered = client::until(self.address, (path, &[]), PATIENCE, pause, |answer| {
            answer.status == 200 && !(routed && answer.header("x-coppice-cache") == Some("BYPASS"))
        });
        if answered.is_err() {
            let said = fs::read_to_string(self.folder.join("said")).unwrap_or_default();
            let tail: Vec<_> = said.lines().rev().take(20).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            bail!(
                "{} does not answer {path} as expected ({:?}):\n{}",
                self.peer.as_str(),
                self.root.try_wait(),
                tail.join("\n")
            );
        }
        Ok(self.began.elapsed())
    }

    /// CPU time of all its processes.
    pub(super) fn cpu(&self) -> Duration {
        usage::cpu(&usage::family(self.root.id()))
    }

    /// Waits until it has nothing left to do, then its CPU time.
    pub(super) fn cpu_at_rest(&self) -> Result<Duration> {
        let mut before = self.cpu();
        for _ in 0..100 {
            process::check_interrupt()?;
            thread::sleep(Duration::from_millis(300));
            let now = self.cpu();
            if now <= before + Duration::from_millis(10) {
                return Ok(now);
            }
            before = now;
        }
        Ok(before)
    }

    /// Memory of all its processes.
    pub(super) fn memory(&self) -> Memory {
        usage::memory(&usage::family(self.root.id()))
    }

    /// Bytes on disk of what it stored there.
    pub(super) fn on_disk(&self) -> u64 {
        if self.peer == Peer::Nginx {
            blocks(&self.folder.join("cache"))
        } else {
            0
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let family = usage::family(self.root.id());
        let _ = kill_process(Pid::from_child(&self.root), Signal::TERM);
        let patience = Instant::now() + Duration::from_secs(3);
        while Instant::now() < patience && matches!(self.root.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        // By then its children have ended too, or never will by themselves.
        let mine = self.root.id();
        let left = usage::family(mine)
            .into_iter()
            .chain(family)
            .filter(|pid| *pid != mine);
        for pid in left {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.root.kill();
        let _ = self.root.wait();
    }
}

/// A port of loopback that is free now.
pub(super) fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("failed to listen on loopback")?;
    Ok(listener.local_addr()?)
}

/// Bytes of the blocks that a folder's files take.
fn blocks(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sum += blocks(&entry.path()),
            Ok(metadata) => sum += metadata.blocks() * 512,
            Err(_) => {}
        }
    }
    sum
}

/// A program with the search path of system programs.
pub(super) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    process::command(name)
}
