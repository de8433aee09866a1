//! The system's programs that the cluster, the benchmarks and a test's browser run on, installed by package name where the
//! machine has apt and we are root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// A program of the system and Debian's package that holds it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package }
}

/// What the cluster runs on.
const CLUSTER: [Program; 9] = [
    program("containerd", "containerd"),
    program("ctr", "containerd"),
    program("runc", "runc"),
    program("etcd", "etcd-server"),
    program("nft", "nftables"),
    program("ip", "iproute2"),
    program("nsenter", "util-linux"),
    program("conntrack", "conntrack"),
    program("openssl", "openssl"),
];

/// What is measured beside the sidecar, and what measures.
const BENCH: [Program; 4] = [
    program("nginx", "nginx-light"),
    program("varnishd", "varnish"),
    program("wrk", "wrk"),
    program("taskset", "util-linux"),
];

/// What visits a program that is to be trained, over HTTP/1.1 and HTTP/2.
const TRAINING: [Program; 2] = [program("wrk", "wrk"), program("h2load", "nghttp2-client")];
/// Debian's newest LLVM; it reads what younger compilers count, as long as the format is the same.
const LLVM: &str = "llvm-19";

/// What counts instructions.
const COUNT: [Program; 1] = [program("valgrind", "valgrind")];

/// Where distributions put the CNI plugins.
const CNI: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// Packages whose services Debian starts with the machine; what needs them here runs its own.
const SERVICES: [(&str, &str); 4] = [
    ("etcd-server", "etcd"),
    ("containerd", "containerd"),
    ("nginx-light", "nginx"),
    ("varnish", "varnish"),
];
/// What Debian asks whether a service may start; a script that says 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The folder of the CNI plugins.
pub(crate) fn cni_plugins() -> Option<PathBuf> {
    CNI.into_iter()
        .map(Path::new)
        .find(|folder| folder.join("ptp").is_file() && folder.join("host-local").is_file())
        .map(Path::to_path_buf)
}

/// Installs what the cluster lacks, or says by name what to install.
pub(crate) fn ensure() -> Result<()> {
    install(|| {
        let mut missing = missing(&CLUSTER);
        if cni_plugins().is_none() {
            missing.push(CNI_PACKAGE);
        }
        missing
    })
}

/// Installs what the benchmarks lack, or says by name what to install.
pub(crate) fn ensure_bench() -> Result<()> {
    install(|| missing(&BENCH))
}

/// What distributions and vendors call a Chromium.
const CHROMIUMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
];

/// Installs a browser where none is there nor named in `COPPICE_CHROMIUM`, or says by name what to install.
pub(crate) fn ensure_browser() -> Result<()> {
    let named = std::env::var_os("COPPICE_CHROMIUM").is_some();
    install(|| {
        let there = named || CHROMIUMS.into_iter().any(process::installed);
        if there { Vec::new() } else { vec!["chromium"] }
    })
}

/// Installs what counts instructions, or says by name what to install.
pub(crate) fn ensure_count() -> Result<()> {
    install(|| missing(&COUNT))
}

/// Installs what training takes, or says by name what to install; the `llvm-profdata` to use: the compiler's own where its
/// component `llvm-tools` is installed, otherwise the system's newest.
pub(crate) fn ensure_training() -> Result<PathBuf> {
    let own = process::capture(process::command("rustc").args(["--print", "target-libdir"]));
    let own = own
        .ok()
        .map(|libdir| Path::new(libdir.trim()).with_file_name("bin/llvm-profdata"));
    let own = own.filter(|tool| tool.is_file());
    install(|| {
        let mut missing = missing(&TRAINING);
        if own.is_none() && profdata().is_none() {
            missing.push(LLVM);
        }
        missing
    })?;
    own.or_else(profdata).context("llvm-profdata is not there")
}

/// The newest `llvm-profdata-<version>` of the system that is not older than [`LLVM`].
fn profdata() -> Option<PathBuf> {
    (19..40)
        .rev()
        .map(|version| Path::new("/usr/bin").join(format!("llvm-profdata-{version}")))
        .find(|tool| tool.is_file())
}

fn install(missing: impl Fn() -> Vec<&'static str>) -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !process::installed("apt-get") {
        bail!("this machine lacks what Debian packages as {names}: install it");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("this machine lacks what Debian packages as {names}: install it, or run this as root");
    }
    eprintln!("  installing Debian packages: {names}");
    let apt = || {
        let mut command = process::command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    process::quiet("apt-get update", apt().args(["update", "-q"]))?;
    let mut install = apt();
    install.args(["install", "-q", "-y", "--no-install-recommends"]);
    let silence = Silence::begin();
    process::quiet("apt-get install", install.args(&packages))?;
    drop(silence);
    stop_services(&packages);
    let still = missing();
    if !still.is_empty() {
        bail!(
            "the packages are installed, but what {} should bring is not there",
            still.join(" ")
        );
    }
    Ok(())
}

/// Packages that are not there, judged by what they would bring, so that other distributions' packages count too.
fn missing(programs: &[Program]) -> Vec<&'static str> {
    let mut missing: Vec<_> = programs
        .iter()
        .filter(|program| !process::installed(program.name))
        .map(|program| program.package)
        .collect();
    missing.dedup();
    missing
}

/// While it lives, packages start no service when they are installed. A machine's own policy stays as it is.
struct Silence {
    ours: bool,
}

impl Silence {
    fn begin() -> Self {
        let policy = Path::new(POLICY);
        // Where it cannot be written, apt will fail for the same reason, and say so.
        let ours = !policy.exists()
            && fs::write(policy, "#!/bin/sh\nexit 101\n").is_ok()
            && fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).is_ok();
        Self { ours }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// A machine's owner did not ask for services that run from now on.
fn stop_services(installed: &[&str]) {
    if !Path::new("/run/systemd/system").is_dir() {
        return;
    }
    for (package, service) in SERVICES {
        if installed.contains(&package) {
            let mut command = process::command("systemctl");
            let _ = process::capture(command.args(["disable", "--now", service]));
        }
    }
}
