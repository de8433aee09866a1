//! Network namespaces by their names, as `ip netns` knows them.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{self, capture};

/// Where one is while it has a name.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Makes one, with nothing in it.
pub(crate) fn add(name: &str) -> Result<()> {
    capture(process::command("ip").args(["netns", "add", name])).map(drop)
}

/// Takes its name away; it vanishes with the last process in it.
pub(crate) fn delete(name: &str) {
    let _ = capture(process::command("ip").args(["netns", "del", name]));
}

/// Moves this thread into one, and with it all that it starts from now on.
pub(crate) fn enter(name: &str) -> Result<()> {
    let entered = File::open(path(name)).and_then(|namespace| {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(namespace.as_fd(), kind)?)
    });
    entered.with_context(|| format!("failed to enter the network namespace {name}"))
}
