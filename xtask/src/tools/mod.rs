//! The programs that the checks and the test cluster need: [`Tools::ensure`] builds what is missing, from the Go modules
//! pinned here, and keeps it in the cache folder.
//!
//! ```text
//! ensure(Helm, …) ─ all there? ─► done
//!                 └ no: lock ─► go ─► go build into a temporary folder ─► rename, one program at a time
//! ```
//!
//! The folder's name is a hash of everything that decides what is in it; programs of an interrupted run are kept.

mod go;
pub(crate) mod system;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::paths::Paths;
use crate::process;

/// The version of Kubernetes that `tools/kubernetes/go.mod` requires.
const KUBERNETES: &str = "v1.35.4";

/// The folder with the module that builds Kubernetes, below `xtask/`.
const MODULE: &str = "tools/kubernetes";

/// The one that builds h2spec, whose own releases pin nothing that they are built from.
const H2SPEC: &str = "tools/h2spec";

/// A program built from a Go module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tool {
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
    KubeProxy,
    Kubectl,
    Pause,
    CoreDns,
    Helm,
    HelmDocs,
    Kubeconform,
    H2spec,
}

impl Tool {
    /// What a cluster consists of, and what talks to it.
    pub(crate) const CLUSTER: [Self; 9] = [
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Kubectl,
        Self::Pause,
        Self::CoreDns,
        Self::Helm,
    ];

    /// The program's name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Pause => "pause",
            Self::CoreDns => "coredns",
            Self::Helm => "helm",
            Self::HelmDocs => "helm-docs",
            Self::Kubeconform => "kubeconform",
            Self::H2spec => "h2spec",
        }
    }

    /// Where its source is.
    const fn source(self) -> Source {
        match self {
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubelet
            | Self::KubeProxy
            | Self::Kubectl => Source::Kubernetes,
            Self::Pause => Source::Own("./pause"),
            Self::CoreDns => Source::Module("github.com/coredns/coredns@v1.15.0"),
            Self::Helm => Source::Module("helm.sh/helm/v4/cmd/helm@v4.3.1"),
            Self::HelmDocs => Source::Module("github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2"),
            Self::Kubeconform => Source::Module("github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"),
            Self::H2spec => Source::Pinned(H2SPEC, "github.com/summerwind/h2spec/cmd/h2spec"),
        }
    }

    /// A rough guess on two cores with nothing downloaded, for the one who waits.
    const fn guess(self) -> Option<&'static str> {
        match self.source() {
            Source::Kubernetes => Some("about 5 minutes the first time"),
            Source::Module(_) if matches!(self, Self::Helm | Self::CoreDns) => {
                Some("about 2 minutes the first time")
            }
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// A command of `k8s.io/kubernetes`, through the module in `tools/kubernetes`: the module of Kubernetes itself
    /// cannot be installed by name, because it replaces its staging modules by folders.
    Kubernetes,
    /// A package of the module in `tools/kubernetes`.
    Own(&'static str),
    /// A package that another folder's module pins, with all that it is built from.
    Pinned(&'static str, &'static str),
    /// A package that `go install` takes by name.
    Module(&'static str),
}

const ALL: [Tool; 12] = [
    Tool::KubeApiserver,
    Tool::KubeControllerManager,
    Tool::KubeScheduler,
    Tool::Kubelet,
    Tool::KubeProxy,
    Tool::Kubectl,
    Tool::Pause,
    Tool::CoreDns,
    Tool::Helm,
    Tool::HelmDocs,
    Tool::Kubeconform,
    Tool::H2spec,
];

/// The folder of built programs.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    folder: PathBuf,
    module: PathBuf,
    paths: Paths,
}

impl Tools {
    /// The folder for what this checkout pins; nothing is built yet.
    pub(crate) fn new(paths: &Paths) -> Result<Self> {
        let module = paths.root.join("xtask").join(MODULE);
        let h2spec = paths.root.join("xtask").join(H2SPEC);
        let mut hash = Sha256::new();
        let of_kubernetes = ["go.mod", "go.sum", "tools.go", "pause/main.go"];
        let of_h2spec = ["go.mod", "go.sum"].map(|file| h2spec.join(file));
        let files = of_kubernetes.map(|file| module.join(file));
        for path in files.into_iter().chain(of_h2spec) {
            let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        for tool in ALL {
            hash.update(format!("{tool:?} {:?}\n", tool.source()));
        }
        hash.update(format!("{KUBERNETES} {}", std::env::consts::ARCH));
        let name = hex(&hash.finalize()[..6]);
        Ok(Self {
            folder: paths.cache.join("tools").join(name),
            module,
            paths: paths.clone(),
        })
    }

    /// The folder that holds the programs.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a program is, or will be.
    pub(crate) fn path(&self, tool: Tool) -> PathBuf {
        self.folder.join(tool.as_str())
    }

    /// Builds those of the programs that are not there yet. Only one process at a time builds.
    pub(crate) fn ensure(&self, wanted: &[Tool]) -> Result<()> {
        if self.missing(wanted).is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("failed to make {}", self.folder.display()))?;
        let _lock = lock(
            &self.paths.cache.join("tools").join("lock"),
            "another cargo xtask builds tools",
        )?;
        let missing = self.missing(wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let go = go::find(&self.paths)?;
        let (kubernetes, others): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|tool| tool.source() == Source::Kubernetes);
        if !kubernetes.is_empty() {
            self.build(&go, &kubernetes)?;
        }
        for tool in others {
            self.build(&go, &[tool])?;
        }
        Ok(())
    }

    /// Whether what is missing could be built here: Go is there, or Python to get it with.
    pub(crate) fn obtainable(&self, paths: &Paths) -> bool {
        let wanted = [
            Tool::Helm,
            Tool::HelmDocs,
            Tool::Kubeconform,
            Tool::Kubectl,
            Tool::H2spec,
        ];
        self.missing(&wanted).is_empty() || go::obtainable(paths)
    }

    fn missing(&self, wanted: &[Tool]) -> Vec<Tool> {
        let absent = |tool: &Tool| !self.path(*tool).is_file();
        wanted.iter().copied().filter(absent).collect()
    }

    /// Builds programs of one source in one go.
    fn build(&self, go: &Path, tools: &[Tool]) -> Result<()> {
        let began = Instant::now();
        let [first, rest @ ..] = tools else {
            return Ok(());
        };
        let label = match first.source() {
            Source::Kubernetes => format!("Kubernetes {KUBERNETES} ({} programs)", rest.len() + 1),
            Source::Own(_) | Source::Pinned(..) => first.as_str().to_owned(),
            Source::Module(module) => {
                let version = module.rsplit('@').next().unwrap_or_default();
                format!("{} {version}", first.as_str())
            }
        };
        let guess = first.guess().map(|guess| format!(" ({guess})"));
        eprintln!("  building {label}{}", guess.unwrap_or_default());

        let unfinished = self.folder.join("unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished)?;
        let mut command = process::command(go);
        self.describe(&mut command, tools, &unfinished);
        process::quiet(&label, &mut command)?;
        for tool in tools {
            let built = unfinished.join(tool.as_str());
            if !built.is_file() {
                bail!("go built {label}, but not {}", tool.as_str());
            }
            fs::rename(&built, self.path(*tool))?;
        }
        fs::remove_dir_all(&unfinished)?;
        eprintln!("  built {label} in {} s", began.elapsed().as_secs());
        Ok(())
    }

    fn describe(&self, command: &mut Command, tools: &[Tool], into: &Path) {
        command
            .env("CGO_ENABLED", "0")
            // A workspace, vendor folder or flags of the user's own projects have no say here.
            .env("GOWORK", "off")
            .env("GOFLAGS", "")
            .current_dir(&self.module);
        let stripped = "-s -w";
        match tools.first().map(|tool| tool.source()) {
            Some(Source::Module(module)) => {
                command.env("GOBIN", into);
                command.args(["install", "-v", "-trimpath", "-ldflags", stripped, module]);
            }
            Some(Source::Own(package)) => {
                command.args(["build", "-v", "-trimpath", "-ldflags", stripped, "-o"]);
                command.arg(into).arg(package);
            }
            Some(Source::Pinned(module, package)) => {
                command.current_dir(self.paths.root.join("xtask").join(module));
                command.args(["build", "-v", "-trimpath", "-ldflags", stripped, "-o"]);
                command.arg(into).arg(package);
            }
            Some(Source::Kubernetes) | None => {
                let flags = format!("{stripped} {}", version_flags());
                command.args(["build", "-v", "-trimpath", "-ldflags", &flags, "-o"]);
                command.arg(into);
                for tool in tools {
                    command.arg(format!("k8s.io/kubernetes/cmd/{}", tool.as_str()));
                }
            }
        }
    }
}

/// Kubernetes learns its version from the linker; without it the API server calls itself v0.0.0 and clients mistrust it.
fn version_flags() -> String {
    let minor = KUBERNETES.split('.').nth(1).unwrap_or_default();
    let package = |package: &str| {
        format!("-X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}")
    };
    [
        package("k8s.io/component-base/version"),
        package("k8s.io/client-go/pkg/version"),
    ]
    .join(" ")
}

/// Bytes in lower-case hexadecimal digits, as hashes are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Holds a lock file until the result is dropped; says why where it has to wait.
pub(crate) fn lock(path: &Path, why: &str) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::create(path).with_context(|| format!("failed to open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => eprintln!("  waiting: {why}"),
        Err(fs::TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("failed to lock {}", path.display()));
        }
    }
    loop {
        process::check_interrupt()?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_the_module_requires() {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join(MODULE).join("go.mod");
        let text = fs::read_to_string(module).unwrap();
        assert!(text.contains(&format!("require k8s.io/kubernetes {KUBERNETES}\n")));
        // Its parts are versioned as libraries: v1.35.4 has them as v0.35.4.
        let library = KUBERNETES.replacen("v1.", "v0.", 1);
        for line in text.lines().filter(|line| line.starts_with("replace ")) {
            assert!(line.ends_with(&library), "{line}");
        }
    }
}
