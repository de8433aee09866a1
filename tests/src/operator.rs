//! The operator as something that comes and goes.

use anyhow::Result;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
    runtime::wait,
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    cluster::SYSTEM,
    space::{PATIENCE, eventually},
};

const NAME: &str = "coppice-operator";

/// Ends the operator and waits until its pod is gone.
pub async fn stop(client: &Client) -> Result<()> {
    scale(client, 0).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    eventually("no operator runs", || async {
        let listed = pods
            .list(&ListParams::default().labels("app.kubernetes.io/name=coppice-operator"))
            .await;
        match listed {
            Ok(list) if list.items.is_empty() => Ok(()),
            Ok(list) => Err(format!("{} pods", list.items.len())),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// Starts the operator and waits until it is ready.
pub async fn start(client: &Client) -> Result<()> {
    scale(client, 1).await?;
    ready(client).await
}

/// Waits until the operator is ready.
pub async fn ready(client: &Client) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM);
    let available = |d: Option<&Deployment>| {
        d.is_some_and(|d| {
            d.status.as_ref().is_some_and(|s| {
                s.observed_generation >= d.metadata.generation && s.ready_replicas.unwrap_or(0) == 1
            })
        })
    };
    match timeout(PATIENCE, wait::await_condition(deployments, NAME, available)).await {
        Ok(waited) => waited.map(drop).map_err(Into::into),
        Err(_) => anyhow::bail!(
            "waited {PATIENCE:?} until deployment/{NAME} in {SYSTEM} is ready: is the chart installed? \
             `cargo xtask test <family>` does so"
        ),
    }
}

async fn scale(client: &Client, replicas: u32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments
        .patch_scale(NAME, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}
