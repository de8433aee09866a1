//! A started app must not outlive `coppice dev`, not even where that is killed and can clean up no more.
//!
//! So a second, tiny process of the same program holds one end of a pipe and waits. A farewell dismisses it; if the
//! pipe closes without one, this process has died, and the reaper ends the app's process group.

use std::{
    io::Read,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
};

/// The subcommand that runs the reaper; no user ever types it.
pub const SUBCOMMAND: &str = "reap-group";
/// How long the group may take to end on its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// The reaper of one process group.
#[derive(Debug)]
pub(super) struct Reaper {
    process: Child,
    pipe: ChildStdin,
}

impl Reaper {
    /// Starts it; `None` where that fails, in which case only a killed `coppice` leaves its app behind.
    pub(super) fn start(group: Pid) -> Option<Self> {
        let mut process = Command::new(std::env::current_exe().ok()?)
            .arg(SUBCOMMAND)
            .arg(group.as_raw_nonzero().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C of the terminal is not for it.
            .process_group(0)
            .spawn()
            .ok()?;
        let pipe = process.stdin.take()?;
        Some(Self { process, pipe })
    }

    /// The group has ended: there is nothing left to reap.
    pub(super) async fn dismiss(mut self) {
        let _ = self.pipe.write_all(b"bye").await;
        let _ = self.pipe.shutdown().await;
        drop(self.pipe);
        let _ = self.process.wait().await;
    }
}

/// The reaper's whole life.
pub fn run(group: i32) {
    let mut farewell = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut farewell);
    let Some(group) = Pid::from_raw(group).filter(|_| farewell.is_empty()) else {
        return;
    };
    let _ = kill_process_group(group, Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while test_kill_process_group(group).is_ok() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = kill_process_group(group, Signal::KILL);
}
