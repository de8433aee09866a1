//! The system's programs that the cluster runs on, installed by package name where the machine has apt and we are root.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::process;

/// A program of the system and Debian's package that holds it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const PROGRAMS: [Program; 9] = [
    Program {
        name: "containerd",
        package: "containerd",
    },
    Program {
        name: "ctr",
        package: "containerd",
    },
    Program {
        name: "runc",
        package: "runc",
    },
    Program {
        name: "etcd",
        package: "etcd-server",
    },
    Program {
        name: "nft",
        package: "nftables",
    },
    Program {
        name: "ip",
        package: "iproute2",
    },
    Program {
        name: "nsenter",
        package: "util-linux",
    },
    Program {
        name: "conntrack",
        package: "conntrack",
    },
    Program {
        name: "openssl",
        package: "openssl",
    },
];

/// Where distributions put the CNI plugins.
const CNI: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// Packages whose services Debian starts when they are installed; the cluster runs its own.
const SERVICES: [(&str, &str); 2] = [("etcd-server", "etcd"), ("containerd", "containerd")];

/// The folder of the CNI plugins.
pub(crate) fn cni_plugins() -> Option<PathBuf> {
    CNI.into_iter()
        .map(Path::new)
        .find(|folder| folder.join("ptp").is_file() && folder.join("host-local").is_file())
        .map(Path::to_path_buf)
}

/// Installs what is missing, or says by name what to install.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !process::installed("apt-get") {
        bail!("this machine lacks what Debian packages as {names}: install it");
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
    process::quiet("apt-get install", install.args(&missing))?;
    stop_services(&missing);
    let still = self::missing();
    if !still.is_empty() {
        bail!(
            "the packages are installed, but what {} should bring is not there",
            still.join(" ")
        );
    }
    Ok(())
}

/// Packages that are not there, judged by what they would bring, so that other distributions' packages count too.
fn missing() -> Vec<&'static str> {
    let mut missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|program| !process::installed(program.name))
        .map(|program| program.package)
        .collect();
    if cni_plugins().is_none() {
        missing.push(CNI_PACKAGE);
    }
    missing.dedup();
    missing
}

/// A machine's owner did not ask for an etcd and a containerd that run from now on.
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
