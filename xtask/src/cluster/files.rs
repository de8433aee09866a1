//! Configuration files of the components. JSON where YAML is read.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::statfs;
use serde_json::{Value, json};

use super::netns::NODE_IP;
use super::state::Run;
use super::{cgroup, up};

/// The pods' addresses.
pub(super) const POD_CIDR: &str = "10.244.0.0/16";
/// The services' addresses.
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The name of the network as CNI and its caches know it.
pub(super) const NETWORK: &str = "coppice";

/// Writes all files.
pub(super) fn write(run: &Run, cni_plugins: &Path) -> Result<()> {
    let cni = run.path("cni");
    fs::create_dir_all(&cni)?;
    put(&cni.join("10-pods.conflist"), &pretty(&network(run))?)?;
    put(&run.path("containerd.toml"), &containerd(run, cni_plugins))?;
    put(&run.path("kubelet.yaml"), &pretty(&kubelet(run))?)?;
    put(&run.path("proxy.yaml"), &pretty(&proxy(run))?)?;
    // Pods' names are the cluster's only: there is nothing outside that could be asked.
    put(&run.path("resolv.conf"), "")?;
    put(&run.path("Corefile"), &corefile(run))
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn pretty(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

/// `ptp`, not `bridge`: between two pods on one bridge the answers would go past the node and its address translation.
fn network(run: &Run) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": run.path("addresses"),
                "ranges": [[{"subnet": "10.244.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

/// A root without `CAP_SYS_RESOURCE` cannot lower `oom_score_adj`, hence `restrict_oom_score_adj`.
fn containerd(run: &Run, cni_plugins: &Path) -> String {
    let root = run.path("containerd");
    let snapshotter = snapshotter(run);
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_plugins}"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
        root = root.display(),
        state = Run::short("containerd").display(),
        socket = up::containerd_socket().display(),
        opt = run.path("opt").display(),
        pause = up::PAUSE_IMAGE,
        cni_plugins = cni_plugins.display(),
        cni = run.path("cni").display(),
    )
}

/// How containerd stacks layers.
pub(super) fn snapshotter(run: &Run) -> &'static str {
    if on_overlay(&run.path("")) {
        "native"
    } else {
        "overlayfs"
    }
}

/// Whether a folder is itself on an overlay, on which another cannot be stacked.
fn on_overlay(folder: &Path) -> bool {
    const OVERLAYFS_SUPER_MAGIC: rustix::fs::FsWord = 0x794c_7630;
    statfs(folder).is_ok_and(|found| found.f_type == OVERLAYFS_SUPER_MAGIC)
}

/// No limits of the node's own: it shares the machine with its developer. `failCgroupV1` lets v1 hosts in.
fn kubelet(run: &Run) -> Value {
    let pki = run.path("pki");
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup::PATH,
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": format!("unix://{}", up::containerd_socket().display()),
        "clusterDNS": [NODE_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": run.path("resolv.conf"),
        "tlsCertFile": pki.join("node.crt"),
        "tlsPrivateKeyFile": pki.join("node.key"),
        "podLogsDir": run.path("pod-logs"),
        "volumePluginDir": run.path("volume-plugins"),
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
    })
}

/// `maxPerCore: 0` leaves the machine's connection tracking as it is; a namespace may not change it.
fn proxy(run: &Run) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": run.path("proxy.conf")},
        "mode": "nftables",
        "clusterCIDR": POD_CIDR,
        "conntrack": {"maxPerCore": 0},
    })
}

/// Names of the cluster; every other name does not exist, which is said at once, since nothing outside can be asked.
fn corefile(run: &Run) -> String {
    format!(
        "\
cluster.local:53 in-addr.arpa:53 {{
    bind {NODE_IP}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {}
        ttl 1
    }}
}}
.:53 {{
    bind {NODE_IP}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
",
        run.kubeconfig().display()
    )
}
