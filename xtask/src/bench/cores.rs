//! Which core does what: one for the server that is measured, another for the app and those who ask.
//!
//! A child inherits the core of the thread that starts it, so a server is started from the server's core, and this
//! program with its app and with `wrk` stays on the other. Where it may, all of it goes before what else the machine does.

use std::fs;

use anyhow::{Context as _, Result, bail};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The highest priority.
const FIRST: i32 = -20;
/// Where Linux schedules whole sessions against each other, priorities hold within one only; this is the session's own.
const SESSION: &str = "/proc/self/autogroup";

/// The two cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    pub(super) server: usize,
    pub(super) load: usize,
}

impl Cores {
    /// The first two cores that this process may use; moves this thread to the second.
    pub(super) fn take() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("failed to read the cores of this process")?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(server), Some(load)) = (allowed.next(), allowed.next()) else {
            bail!("a benchmark needs two cores: one for the server, one for those who ask");
        };
        let cores = Self { server, load };
        stay_on(cores.load)?;
        Ok(cores)
    }

    /// The same, for what is not measured: where there is one core alone, for both.
    pub(super) fn take_or_share() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("failed to read the cores of this process")?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (allowed.next(), allowed.next()) {
            (Some(only), None) => Ok(Self {
                server: only,
                load: only,
            }),
            _ => Self::take(),
        }
    }

    /// Starts something on the server's core.
    pub(super) fn on_server<T>(self, start: impl FnOnce() -> T) -> Result<T> {
        stay_on(self.server)?;
        let started = start();
        stay_on(self.load)?;
        Ok(started)
    }
}

fn stay_on(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("failed to move to core {core}"))
}

/// While it lives, this program and what it starts go before others, if that is allowed: only root may.
pub(super) struct Priority {
    /// What the session had before.
    session: Option<String>,
}

impl Priority {
    pub(super) fn raise() -> Self {
        let _ = setpriority_process(None, FIRST);
        // `/autogroup-5 nice 0`
        let before = fs::read_to_string(SESSION).ok();
        let before = before.and_then(|text| Some(text.trim().rsplit_once(' ')?.1.to_owned()));
        Self {
            session: before.filter(|_| fs::write(SESSION, FIRST.to_string()).is_ok()),
        }
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        if let Some(before) = &self.session {
            let _ = fs::write(SESSION, before);
        }
    }
}
