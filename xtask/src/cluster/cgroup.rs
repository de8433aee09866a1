//! The cgroup `coppice`, below which kubelet puts all pods: one folder on a v2 host, one per controller on a v1 host.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const ROOT: &str = "/sys/fs/cgroup";
const NAME: &str = "coppice";

/// What kubelet is told.
pub(super) const PATH: &str = "/coppice";

/// Whether the machine has the unified hierarchy.
fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Makes the cgroup in every hierarchy that kubelet looks at.
pub(super) fn create() -> Result<()> {
    if unified() {
        let root = Path::new(ROOT);
        let folder = root.join(NAME);
        delegate(root)?;
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        return delegate(&folder);
    }
    for controller in hierarchies()? {
        let folder = controller.join(NAME);
        // Co-mounted hierarchies (cpu,cpuacct) are the same folder under two names.
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // A new cpuset is empty, and an empty one takes neither processes nor children.
            if let Ok(parent) = fs::read_to_string(controller.join(file)) {
                fs::write(folder.join(file), parent.trim())
                    .with_context(|| format!("failed to write {}/{file}", folder.display()))?;
            }
        }
    }
    Ok(())
}

/// Lets the children of a v2 cgroup use every controller that it has itself.
fn delegate(folder: &Path) -> Result<()> {
    let controllers = fs::read_to_string(folder.join("cgroup.controllers"))?;
    let control = folder.join("cgroup.subtree_control");
    for controller in controllers.split_whitespace() {
        fs::write(&control, format!("+{controller}")).with_context(|| {
            format!(
                "failed to delegate the cgroup controller {controller} in {} (in a container, its root cgroup must hold no processes)",
                folder.display()
            )
        })?;
    }
    Ok(())
}

/// The mounted v1 hierarchies.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(ROOT).with_context(|| format!("failed to read {ROOT}"))?;
    Ok(entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        // Links such as cpu -> cpu,cpuacct are the same hierarchy again.
        .filter(|path| !path.is_symlink() && path.join("cgroup.procs").exists())
        .collect())
}

/// All processes of all pods.
pub(super) fn processes() -> Vec<i32> {
    let mut all: Vec<i32> = folders()
        .into_iter()
        .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Removes the cgroup; true once it is gone. Its processes must have ended.
pub(super) fn remove() -> bool {
    for folder in folders() {
        let _ = fs::remove_dir(folder);
    }
    folders().is_empty()
}

/// Every folder of the cgroup in every hierarchy, children before parents.
fn folders() -> Vec<PathBuf> {
    let roots = if unified() {
        vec![Path::new(ROOT).join(NAME)]
    } else {
        let found = hierarchies().unwrap_or_default();
        found.into_iter().map(|path| path.join(NAME)).collect()
    };
    let mut all = Vec::new();
    for root in roots {
        if root.is_dir() {
            collect(&root, &mut all);
        }
    }
    all
}

fn collect(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), all);
        }
    }
    all.push(folder.to_path_buf());
}
