//! Bringing this checkout into a cluster: images built and loaded, the chart installed.

use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::build::Recipe;
use crate::cluster::Cluster;
use crate::images;
use crate::paths::Paths;
use crate::process;

/// The release's name.
pub(crate) const RELEASE: &str = "coppice";
/// Where it is installed.
pub(crate) const NAMESPACE: &str = "coppice-system";
const WEBHOOK: &str = "coppice-operator-webhook";
const DEPLOYMENT: &str = "deployment/coppice-operator";

/// Installs this checkout, or replaces an older state of it. A cluster that a user named gets nothing but must have it.
pub(crate) fn install(paths: &Paths, cluster: &Cluster, recipe: &Recipe) -> Result<()> {
    if cluster.is_existing() {
        let mut helm = cluster.inside("helm")?;
        process::capture(helm.args(["status", RELEASE, "--namespace", NAMESPACE])).context(
            "the cluster of COPPICE_E2E_KUBECONFIG does not run Coppice: make the images of cargo xtask images known to \
             it, then helm install coppice charts/coppice -n coppice-system --create-namespace --wait",
        )?;
        return Ok(());
    }
    let archives = images::build(paths, recipe)?;
    cluster.load(&archives)?;
    let chart = paths.root.join("charts/coppice");
    if !chart.join("Chart.yaml").is_file() {
        bail!("{} holds no chart", chart.display());
    }
    helm_install(cluster, &chart)
}

fn helm_install(cluster: &Cluster, chart: &Path) -> Result<()> {
    let began = Instant::now();
    let mut known = cluster.inside("helm")?;
    let known = process::capture(known.args(["status", RELEASE, "--namespace", NAMESPACE])).is_ok();
    let mut helm = cluster.inside("helm")?;
    helm.args(["upgrade", "--install", RELEASE]).arg(chart);
    helm.args([
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout",
        "120s",
    ]);
    let installed = process::quiet("helm install", &mut helm);
    if installed.is_err() {
        explain(cluster);
    }
    installed?;
    if known {
        // The images have their old names: nothing but a restart brings the new ones in.
        kubectl(cluster, &["rollout", "restart", DEPLOYMENT])?;
        kubectl(cluster, &["rollout", "status", DEPLOYMENT, "--timeout=120s"])?;
    }
    wait_for_webhook(cluster)?;
    eprintln!("  chart installed in {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}

/// Waits until the webhook can be reached by its Service's address. The proxy learns of a ready pod a little later than
/// whoever asks for its readiness, and a pod that is created meanwhile stays without a sidecar.
fn wait_for_webhook(cluster: &Cluster) -> Result<()> {
    let mut kubectl = cluster.inside("kubectl")?;
    kubectl.args([
        "--namespace",
        NAMESPACE,
        "get",
        "service",
        WEBHOOK,
        "-o=jsonpath={.spec.clusterIP}",
    ]);
    let address: IpAddr = process::capture(&mut kubectl)?
        .parse()
        .with_context(|| format!("the Service {WEBHOOK} has no address"))?;
    let end = Instant::now() + Duration::from_secs(20);
    let limit = Duration::from_secs(1);
    while let Err(error) = cluster.within(move || TcpStream::connect_timeout(&(address, 443).into(), limit)) {
        process::check_interrupt()?;
        if Instant::now() > end {
            return Err(error.context(format!("the Service {WEBHOOK} cannot be reached")));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    let mut kubectl = cluster.inside("kubectl")?;
    process::quiet(
        "kubectl",
        kubectl.args(["--namespace", NAMESPACE]).args(arguments),
    )
}

/// Shows what an operator that does not get ready says.
fn explain(cluster: &Cluster) {
    for arguments in [
        vec!["get", "pods", "-o", "wide"],
        vec!["get", "events", "--sort-by=.lastTimestamp"],
        vec!["logs", DEPLOYMENT, "--tail=40"],
    ] {
        let Ok(mut kubectl) = cluster.inside("kubectl") else {
            return;
        };
        kubectl.args(["--namespace", NAMESPACE]).args(&arguments);
        eprintln!("  --- kubectl {}", arguments.join(" "));
        match process::capture(&mut kubectl) {
            Ok(said) => eprintln!("{said}"),
            Err(error) => eprintln!("{error:#}"),
        }
    }
}
