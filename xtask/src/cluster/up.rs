//! Starting the cluster, and waiting for what starts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::netns::NODE_IP;
use super::state::{Component, Run};
use super::{cgroup, down, files, netns, pki};
use crate::images::archive::Image;
use crate::process;
use crate::tools::{self, Tool, Tools, system};

/// What holds a pod's namespaces open.
pub(super) const PAUSE_IMAGE: &str = "localhost/coppice-pause:1";

/// How long any one part may take to get ready.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where containerd listens.
pub(super) fn containerd_socket() -> PathBuf {
    Run::short("containerd.sock")
}

/// An error that names the remedy unless this is root.
pub(super) fn need_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!(
        "the cluster needs root, for its network namespace, its cgroup and its containers: run it with sudo -E, or name \
         a cluster in COPPICE_E2E_KUBECONFIG"
    );
}

/// Only one process at a time starts or ends the machine's cluster.
pub(super) fn lock() -> Result<File> {
    tools::lock(
        &Run::short("lock"),
        "another cargo xtask starts or ends the cluster",
    )
}

/// Starts the cluster unless it runs; says whether it was started now.
pub(super) fn up(run: &Run, tools: &Tools) -> Result<bool> {
    need_root()?;
    let _lock = lock()?;
    tools.ensure(&Tool::CLUSTER)?;
    system::ensure()?;
    if run.running().is_ok() && node_ready(run, tools) {
        eprintln!("the cluster is up: cargo xtask cluster status");
        return Ok(false);
    }
    if Run::exists() {
        eprintln!("  ending what is left of a former cluster");
        down::end(run)?;
    }
    let began = Instant::now();
    if let Err(error) = start(run, tools) {
        eprintln!("  failed: ending what was started");
        if let Err(trouble) = down::end(run) {
            eprintln!("  this failed too: {trouble:#}");
        }
        return Err(error);
    }
    eprintln!("cluster up in {:.1} s", began.elapsed().as_secs_f32());
    Ok(true)
}

fn start(run: &Run, tools: &Tools) -> Result<()> {
    use Component::{Apiserver, Containerd, ControllerManager, Coredns, Etcd, Kubelet, Proxy, Scheduler};
    let cni = system::cni_plugins().context("the CNI plugins are not installed")?;
    run.create()?;
    netns::create().context("failed to make the network namespace")?;
    cgroup::create()?;
    pki::create(run).context("failed to make the certificates")?;
    files::write(run, &cni)?;

    launch(run, Etcd, Path::new("etcd"), &etcd(run))?;
    launch(run, Apiserver, &tools.path(Tool::KubeApiserver), &apiserver(run))?;
    launch(run, Containerd, Path::new("containerd"), &containerd(run))?;
    wait(run, "the API server", &[Etcd, Apiserver], || {
        kubectl(run, tools, &["get", "--raw", "/readyz"]).is_ok()
    })?;
    let manager = tools.path(Tool::KubeControllerManager);
    launch(run, ControllerManager, &manager, &controller_manager(run))?;
    launch(run, Scheduler, &tools.path(Tool::KubeScheduler), &scheduler(run))?;
    wait(run, "containerd", &[Containerd], || ctr(&["version"]).is_ok())?;
    import_pause(run, &tools.path(Tool::Pause))?;
    launch(run, Kubelet, &tools.path(Tool::Kubelet), &kubelet(run))?;
    launch(run, Proxy, &tools.path(Tool::KubeProxy), &proxy(run))?;
    let corefile = vec!["-conf".to_owned(), text(&run.path("Corefile"))];
    launch(run, Coredns, &tools.path(Tool::CoreDns), &corefile)?;

    wait(run, "the node", &[Apiserver, Containerd, Kubelet], || {
        node_ready(run, tools)
    })?;
    wait(run, "the default service account", &[ControllerManager], || {
        kubectl(run, tools, &["get", "serviceaccount", "default", "--output=name"]).is_ok()
    })?;
    wait(run, "cluster addresses", &[Proxy], || connects("10.96.0.1:443"))?;
    wait(run, "names", &[Coredns], resolves)
}

/// Starts a component in the network namespace, in a session of its own: it outlives this program.
fn launch(run: &Run, component: Component, program: &Path, arguments: &[String]) -> Result<()> {
    process::check_interrupt()?;
    let log = File::create(run.log(component))?;
    let inside = netns::command(program);
    let mut command = process::command("setsid");
    command.arg(inside.get_program()).args(inside.get_args());
    command
        .args(arguments)
        .current_dir("/")
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log));
    // setsid and nsenter both become the program, so this is its process number.
    let child = command
        .spawn()
        .with_context(|| format!("failed to start {}", component.as_str()))?;
    run.record(component, child.id())
}

/// Waits until something is ready; fails early, with the end of its log, where a component on the way has ended.
fn wait(run: &Run, what: &str, way: &[Component], ready: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    let mut told = began;
    loop {
        process::check_interrupt()?;
        if ready() {
            eprintln!("  {what} ready after {:.1} s", began.elapsed().as_secs_f32());
            return Ok(());
        }
        for component in way {
            if run.process(*component).is_none() {
                bail!("{} ended. {}", component.as_str(), log_tail(run, *component));
            }
        }
        if began.elapsed() > PATIENCE {
            let logs: Vec<_> = way.iter().map(|component| log_tail(run, *component)).collect();
            bail!(
                "{what} not ready after {} s. {}",
                PATIENCE.as_secs(),
                logs.join("\n")
            );
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            eprintln!("  … waiting for {what}: {} s", began.elapsed().as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn log_tail(run: &Run, component: Component) -> String {
    format!(
        "The end of {}:\n{}",
        run.log(component).display(),
        run.log_tail(component, 15)
    )
}

fn kubectl(run: &Run, tools: &Tools, arguments: &[&str]) -> Result<String> {
    let mut command = netns::command(tools.path(Tool::Kubectl));
    command.arg("--kubeconfig").arg(run.kubeconfig());
    command.args(["--request-timeout=5s"]).args(arguments);
    process::capture(&mut command)
}

/// Whether the node says that it takes pods.
pub(super) fn node_ready(run: &Run, tools: &Tools) -> bool {
    let path = "--output=jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    netns::path().exists()
        && kubectl(run, tools, &["get", "node", "node0", path]).is_ok_and(|said| said == "True")
}

fn ctr(arguments: &[&str]) -> Result<String> {
    let mut command = process::command("ctr");
    command.arg("--address").arg(containerd_socket());
    process::capture(command.args(["--namespace", "k8s.io"]).args(arguments))
}

/// Imports an image archive.
pub(super) fn import(run: &Run, archive: &Path) -> Result<()> {
    let snapshotter = files::snapshotter(run);
    let archive = archive.to_string_lossy();
    ctr(&["images", "import", "--snapshotter", snapshotter, &archive])
        .with_context(|| format!("failed to import {archive}"))
        .map(drop)
}

fn import_pause(run: &Run, program: &Path) -> Result<()> {
    let content = fs::read(program).with_context(|| format!("failed to read {}", program.display()))?;
    let archive = run.path("pause.tar");
    let image = Image {
        reference: PAUSE_IMAGE,
        program: "/pause",
        content: &content,
        user: "65535:65535",
        labels: BTreeMap::new(),
    };
    image.write(&archive)?;
    import(run, &archive)
}

/// Whether something in the network namespace takes connections.
fn connects(address: &str) -> bool {
    let Ok(address) = address.parse::<SocketAddr>() else {
        return false;
    };
    netns::within(move || TcpStream::connect_timeout(&address, Duration::from_secs(1))).is_ok()
}

/// Whether the cluster's DNS knows the API server.
fn resolves() -> bool {
    netns::within(|| {
        let socket = UdpSocket::bind((NODE_IP, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.connect((NODE_IP, 53))?;
        socket.send(&query(&["kubernetes", "default", "svc", "cluster", "local"]))?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        // RFC 1035: the low four bits of byte 3 are the response code, bytes 6 and 7 count the answers.
        match answer.get(..length) {
            Some([_, _, _, flags, _, _, high, low, ..]) if flags % 16 == 0 => {
                Ok(u16::from_be_bytes([*high, *low]) > 0)
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    })
    .unwrap_or_default()
}

/// A DNS question for the address of a name (RFC 1035, section 4.1).
fn query(labels: &[&str]) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `--name=value` for each.
fn flags<const N: usize>(flags: [(&str, String); N]) -> Vec<String> {
    flags
        .into_iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

/// Not synced to the disk: it does not outlive the cluster.
fn etcd(run: &Run) -> Vec<String> {
    flags([
        ("data-dir", text(&run.path("etcd"))),
        ("listen-client-urls", "http://127.0.0.1:2379".into()),
        ("advertise-client-urls", "http://127.0.0.1:2379".into()),
        ("listen-peer-urls", "http://127.0.0.1:2380".into()),
        ("unsafe-no-fsync", "true".into()),
    ])
}

fn apiserver(run: &Run) -> Vec<String> {
    let pki = run.path("pki");
    let file = |name: &str| text(&pki.join(name));
    flags([
        ("etcd-servers", "http://127.0.0.1:2379".into()),
        ("advertise-address", NODE_IP.into()),
        ("bind-address", "0.0.0.0".into()),
        ("secure-port", "6443".into()),
        ("tls-cert-file", file("apiserver.crt")),
        ("tls-private-key-file", file("apiserver.key")),
        ("client-ca-file", file("ca.crt")),
        ("service-account-key-file", file("service-account.pub")),
        ("service-account-signing-key-file", file("service-account.key")),
        ("service-account-issuer", "https://kubernetes.default.svc".into()),
        ("service-cluster-ip-range", files::SERVICE_CIDR.into()),
        ("authorization-mode", "Node,RBAC".into()),
        ("enable-admission-plugins", "NodeRestriction".into()),
        ("allow-privileged", "true".into()),
        ("kubelet-client-certificate", file("kubelet-client.crt")),
        ("kubelet-client-key", file("kubelet-client.key")),
        ("kubelet-preferred-address-types", "InternalIP".into()),
    ])
}

fn controller_manager(run: &Run) -> Vec<String> {
    let pki = run.path("pki");
    let config = text(&run.path("controller-manager.conf"));
    flags([
        ("kubeconfig", config.clone()),
        ("authentication-kubeconfig", config.clone()),
        ("authorization-kubeconfig", config),
        ("use-service-account-credentials", "true".into()),
        (
            "service-account-private-key-file",
            text(&pki.join("service-account.key")),
        ),
        ("root-ca-file", text(&pki.join("ca.crt"))),
        ("cluster-cidr", files::POD_CIDR.into()),
        ("allocate-node-cidrs", "false".into()),
        ("leader-elect", "false".into()),
    ])
}

fn scheduler(run: &Run) -> Vec<String> {
    let config = text(&run.path("scheduler.conf"));
    flags([
        ("kubeconfig", config.clone()),
        ("authentication-kubeconfig", config.clone()),
        ("authorization-kubeconfig", config),
        ("leader-elect", "false".into()),
    ])
}

fn containerd(run: &Run) -> Vec<String> {
    vec!["--config".into(), text(&run.path("containerd.toml"))]
}

fn kubelet(run: &Run) -> Vec<String> {
    flags([
        ("config", text(&run.path("kubelet.yaml"))),
        ("kubeconfig", text(&run.path("node.conf"))),
        ("hostname-override", "node0".into()),
        ("node-ip", NODE_IP.into()),
        ("root-dir", text(&run.path("kubelet"))),
        ("cert-dir", text(&run.path("pki"))),
    ])
}

fn proxy(run: &Run) -> Vec<String> {
    flags([
        ("config", text(&run.path("proxy.yaml"))),
        ("hostname-override", "node0".into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_as_rfc_1035_has_it() {
        let message = query(&["a", "bc"]);
        assert_eq!(message[12..], [1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1]);
    }
}
