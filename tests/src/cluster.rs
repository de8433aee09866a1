//! The cluster that the tests run on.

use anyhow::{Context as _, Result};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Names the kubeconfig of the cluster.
const KUBECONFIG: &str = "COPPICE_E2E_KUBECONFIG";
/// The namespace of the operator.
pub const SYSTEM: &str = "coppice-system";
/// The version of images and chart.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A client of the cluster that the runner brought up.
pub async fn client() -> Result<Client> {
    // Another test of this process may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let path = std::env::var_os(KUBECONFIG).with_context(|| {
        format!(
            "this test needs a cluster: run it with `cargo xtask test <family>`, which sets {KUBECONFIG}, or set it to \
             the kubeconfig of a cluster whose pods can be reached from here, with the images and the chart installed"
        )
    })?;
    let kubeconfig = Kubeconfig::read_from(&path)
        .with_context(|| format!("failed to read {KUBECONFIG}={}", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
