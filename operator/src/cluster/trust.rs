//! The `ConfigMap` `coppice-trust`: the CA bundle for sidecars that have run for longer than a CA lives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use coppice_api::names::object;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::brief;

/// How often namespaces are looked over. A sidecar has the bundle of its admission, so nothing is urgent here.
const INTERVAL: Duration = Duration::from_secs(2);
/// After this long it is applied again, in case somebody has deleted or changed it.
const REAPPLY: Duration = Duration::from_mins(10);

/// Keeps the `ConfigMap` in every namespace that needs it.
pub struct Trust {
    client: Client,
    /// When, and with which bundle, a namespace was last written.
    written: BTreeMap<String, (Instant, Arc<str>)>,
}

impl Trust {
    /// Writes through this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            written: BTreeMap::new(),
        }
    }

    /// Keeps it in the namespaces that `wanted` names (those that are opted in or hold injected pods) until cancelled.
    pub async fn run(
        mut self,
        bundle: watch::Receiver<Option<Arc<str>>>,
        wanted: impl Fn() -> BTreeSet<String> + Send,
        cancel: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = cancel.cancelled() => return,
            }
            let current = bundle.borrow().clone();
            if let Some(current) = current {
                self.sync(&current, wanted()).await;
            }
        }
    }

    /// Writes where it is due. A failure (a namespace that is being deleted, say) is tried again after a while.
    pub async fn sync(&mut self, bundle: &Arc<str>, wanted: BTreeSet<String>) {
        self.written.retain(|namespace, _| wanted.contains(namespace));
        for namespace in wanted {
            let due = self
                .written
                .get(&namespace)
                .is_none_or(|(at, last)| last != bundle || at.elapsed() >= REAPPLY);
            if due {
                if let Err(error) = self.apply(&namespace, bundle).await {
                    debug!(
                        error = brief(&error),
                        namespace,
                        "failed to apply ConfigMap {}",
                        object::TRUST_CONFIG_MAP
                    );
                }
                self.written.insert(namespace, (Instant::now(), bundle.clone()));
            }
        }
    }

    async fn apply(&self, namespace: &str, bundle: &str) -> Result<(), kube::Error> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": object::TRUST_CONFIG_MAP,
                "labels": { "app.kubernetes.io/managed-by": object::STATUS_MANAGER },
            },
            "data": { object::TRUST_KEY: bundle },
        });
        let params = PatchParams::apply(object::STATUS_MANAGER).force();
        api.patch(object::TRUST_CONFIG_MAP, &params, &Patch::Apply(&map))
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::ApiServer;

    #[tokio::test(start_paused = true)]
    async fn trust_is_applied_where_it_is_wanted_and_then_left_alone() {
        let (client, mut server) = ApiServer::new();
        let mut trust = Trust::new(client);
        let bundle: Arc<str> = "CA".into();
        let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let api = async {
            for namespace in ["blog", "shop"] {
                let path = format!("/api/v1/namespaces/{namespace}/configmaps/coppice-trust");
                let call = server.expect("PATCH", &path).await;
                assert_eq!(call.body["data"], json!({ "ca.crt": "CA" }));
                let body = call.body.clone();
                call.reply(&body);
            }
        };
        let ((), ()) = tokio::join!(api, trust.sync(&bundle, wanted(&["shop", "blog"])));
        trust.sync(&bundle, wanted(&["shop", "blog"])).await;
        tokio::time::advance(REAPPLY).await;
        let api = async {
            server
                .next()
                .await
                .expect("it is applied again after a while")
                .fail(403, "Forbidden");
        };
        tokio::join!(api, trust.sync(&bundle, wanted(&["shop"])));
        trust.sync(&bundle, wanted(&["shop"])).await;
        drop(trust);
        assert!(server.next().await.is_none());
    }
}
