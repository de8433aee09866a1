//! What only the node can do: killing a process of a container. The image of the sidecar holds no shell to do it with.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;

use crate::space::Space;

/// Sends SIGKILL to every process of a container. Works where the test runs on the node, as `cargo xtask test` does.
pub async fn kill(space: &Space, pod: &str, container: &str) -> Result<()> {
    let pod: Pod = space.api().get(pod).await?;
    let status = pod.status.unwrap_or_default();
    let statuses = status.init_container_statuses.into_iter().flatten();
    let id = statuses
        .chain(status.container_statuses.into_iter().flatten())
        .find(|status| status.name == container)
        .and_then(|status| status.container_id)
        .with_context(|| format!("container {container} does not run"))?;
    let id = id.rsplit('/').next().unwrap_or_default();
    let processes = processes(id)?;
    crate::check!(
        !processes.is_empty(),
        "no process of container {id} on this machine: this test has to run on the node, as `cargo xtask test disrupt` does"
    );
    let killed = Command::new("kill").arg("-KILL").args(&processes).status()?;
    crate::check!(killed.success(), "failed to kill {processes:?}");
    Ok(())
}

/// The processes whose control group names this container.
fn processes(id: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A process that ended meanwhile has no such file any more.
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if name.bytes().all(|b| b.is_ascii_digit()) && groups.contains(id) {
            found.push(name);
        }
    }
    Ok(found)
}
