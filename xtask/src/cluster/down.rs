//! Ending the cluster: everything that was started, in whatever state it is, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use super::state::{Component, Run, kill};
use super::{cgroup, files, netns, up};
use crate::netns as names;
use crate::process::{capture, command};

/// Ends the cluster, half-started ones too.
pub(super) fn down(run: &Run) -> Result<()> {
    if !Run::exists() {
        eprintln!("no cluster is running");
        return Ok(());
    }
    up::need_root()?;
    let _lock = up::lock()?;
    let began = Instant::now();
    end(run)?;
    eprintln!("cluster down in {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}

/// The same for one who holds the lock. Safe to repeat.
pub(super) fn end(run: &Run) -> Result<()> {
    // Those first that would start pods again or report them lost.
    use Component::{Apiserver, Containerd, ControllerManager, Coredns, Etcd, Kubelet, Proxy, Scheduler};
    stop(run, &[Coredns, Proxy, Kubelet, Scheduler, ControllerManager]);
    let sockets = shim_sockets();
    let namespaces = pod_namespaces();
    kill_all("the pods' processes", cgroup::processes)?;
    stop(run, &[Containerd, Apiserver, Etcd]);
    // containerd's shims, and whatever a person runs in the namespace.
    kill_all("the processes of the network namespace", netns::processes)?;

    unmount_below(run)?;
    for name in namespaces {
        names::delete(&name);
    }
    forget_links();
    if netns::path().exists() {
        names::delete(netns::NAME);
    }
    for socket in sockets {
        let _ = fs::remove_file(socket);
    }
    if !wait(Duration::from_secs(5), cgroup::remove) {
        bail!(
            "the cgroup {} cannot be removed: a process is left in it",
            cgroup::PATH
        );
    }
    remove_log_links(run);
    run.remove()
}

/// Asks components to end, and insists after a second: what they would save is removed anyway.
fn stop(run: &Run, components: &[Component]) {
    let processes: Vec<_> = components
        .iter()
        .filter_map(|component| run.process(*component))
        .collect();
    for process in &processes {
        process.signal(Signal::TERM);
    }
    let ended = || processes.iter().all(|process| !process.lives());
    if !wait(Duration::from_secs(1), ended) {
        for process in &processes {
            process.signal(Signal::KILL);
        }
        wait(Duration::from_secs(2), ended);
    }
}

/// Kills until nobody is left: what is being killed may just be starting another.
fn kill_all(what: &str, list: impl Fn() -> Vec<i32>) -> Result<()> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let gone = wait(Duration::from_secs(10), || {
        let mut left = list();
        left.retain(|pid| *pid != own);
        for pid in &left {
            kill(*pid, Signal::KILL);
        }
        left.is_empty()
    });
    if !gone {
        bail!("{what} do not end: {:?}", list());
    }
    Ok(())
}

/// Waits for a condition, with a limit.
fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(30));
    }
    true
}

/// Sockets that containerd's shims leave in a folder that every containerd of the machine shares. `/proc/…/net/unix`
/// shows those of a process's own network namespace only: ours.
fn shim_sockets() -> BTreeSet<PathBuf> {
    let Some(pid) = netns::processes().into_iter().next() else {
        return BTreeSet::new();
    };
    fs::read_to_string(format!("/proc/{pid}/net/unix"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7))
        .filter(|path| path.starts_with("/run/containerd/s/"))
        .map(PathBuf::from)
        .collect()
}

/// The pods' network namespaces: the other ends of the links in ours. Other container runtimes may have their own.
fn pod_namespaces() -> BTreeSet<String> {
    if !netns::path().exists() {
        return BTreeSet::new();
    }
    // Not as JSON: iproute2 leaves the names out there.
    let said = capture(command("ip").args(["-n", netns::NAME, "link"])).unwrap_or_default();
    let mut words = said.split_whitespace();
    let mut names = BTreeSet::new();
    while words.any(|word| word == "link-netns") {
        names.extend(words.next().map(str::to_owned));
    }
    names
}

/// What CNI remembers of the pods' links, in a folder that every network of the machine shares: `coppice-ID-eth0`, and
/// `cni-loopback-ID-lo` of the same pods.
fn forget_links() {
    let folder = Path::new("/var/lib/cni/results");
    let mine = format!("{}-", files::NETWORK);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pod) = name
            .strip_prefix(&mine)
            .and_then(|rest| rest.strip_suffix("-eth0"))
        {
            let _ = fs::remove_file(folder.join(format!("cni-loopback-{pod}-lo")));
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Unmounts what lies below the run folder: pods' volumes and containers' roots, the last mounted first.
fn unmount_below(run: &Run) -> Result<()> {
    let ours = [run.path(""), Run::short("")];
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mounted: Vec<_> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(4))
        .map(unescape)
        .filter(|path| ours.iter().any(|folder| path.starts_with(folder)))
        .collect();
    for path in mounted.iter().rev() {
        unmount(path.as_path(), UnmountFlags::DETACH)
            .with_context(|| format!("failed to unmount {}", path.display()))?;
    }
    Ok(())
}

/// The kernel writes blanks in paths as octal escapes.
fn unescape(path: &str) -> PathBuf {
    PathBuf::from(path.replace("\\040", " ").replace("\\011", "\t"))
}

/// Kubelet links every container's log from a folder that cannot be configured.
fn remove_log_links(run: &Run) {
    let logs = run.path("pod-logs");
    for entry in fs::read_dir("/var/log/containers")
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(&logs)) {
            let _ = fs::remove_file(path);
        }
    }
    let _ = fs::remove_dir(Path::new("/var/log/containers"));
}
