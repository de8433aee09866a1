//! The network namespace `coppice`, in which the whole cluster runs.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow};

use crate::netns as names;
use crate::process::{self, capture};

/// Its name, as `ip netns` knows it.
pub(crate) const NAME: &str = "coppice";

/// The node's address: 198.18.0.0/15 is reserved for benchmarks (RFC 2544), so no real network has it.
pub(crate) const NODE_IP: &str = "198.18.0.1";

/// Where it is while it exists.
pub(super) fn path() -> PathBuf {
    names::path(NAME)
}

/// Makes the namespace with the node's address in it. The address is on a bridge, since not every kernel has dummy
/// links; kubelet and API server want a default route.
pub(super) fn create() -> Result<()> {
    names::add(NAME)?;
    let address = format!("{NODE_IP}/16");
    for arguments in [
        vec!["link", "set", "lo", "up"],
        vec!["link", "add", "node0", "type", "bridge"],
        vec!["addr", "add", &address, "dev", "node0"],
        vec!["link", "set", "node0", "up"],
        vec!["route", "add", "default", "dev", "node0"],
    ] {
        capture(command("ip").args(arguments))?;
    }
    within(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        // A hint for hostPort on the loopback address; not every kernel lets a namespace set it.
        let _ = fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1");
        Ok(())
    })
    .context("failed to turn on forwarding in the network namespace")
}

/// A command that runs in the namespace. `ip netns exec` would also remount `/sys` and hide the cgroups.
pub(super) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = process::command("nsenter");
    command
        .arg(format!("--net={}", path().display()))
        .arg("--")
        .arg(program);
    command
}

/// All processes in the namespace.
pub(super) fn processes() -> Vec<i32> {
    if !path().exists() {
        return Vec::new();
    }
    capture(process::command("ip").args(["netns", "pids", NAME]))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Runs a function on a thread that is in the namespace, for sockets and `/proc/sys/net`.
pub(super) fn within<T: Send + 'static>(
    function: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    thread::spawn(move || {
        names::enter(NAME)?;
        anyhow::Ok(function()?)
    })
    .join()
    .map_err(|_| anyhow!("a thread in the network namespace failed"))?
}
