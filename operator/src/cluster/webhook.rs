//! The CA bundle in the webhook configuration. The chart leaves the field out, so that no template makes certificates.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{ByteString, api::admissionregistration::v1::MutatingWebhookConfiguration};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{brief, readiness::Latch};

/// How often the field is looked at: somebody may have applied the configuration anew, without it.
const INTERVAL: Duration = Duration::from_secs(30);
/// After the first failure; it doubles, up to [`INTERVAL`].
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the `caBundle` of one webhook configuration.
pub struct WebhookBundle {
    api: Api<MutatingWebhookConfiguration>,
    name: String,
}

impl WebhookBundle {
    /// For the configuration of this name.
    pub fn new(client: Client, name: String) -> Self {
        Self {
            api: Api::all(client),
            name,
        }
    }

    /// Writes the bundle whenever it or the configuration changes; releases the latch when it stands there.
    pub async fn run(
        self,
        mut bundle: watch::Receiver<Option<Arc<str>>>,
        latch: Latch,
        cancel: CancellationToken,
    ) {
        let mut retry = RETRY;
        loop {
            let current = bundle.borrow_and_update().clone();
            let pause = match current {
                None => INTERVAL,
                Some(bundle) => match self.write(&bundle).await {
                    Ok(()) => {
                        latch.release();
                        retry = RETRY;
                        INTERVAL
                    }
                    Err(error) => {
                        let error = brief(&error);
                        warn!(
                            error,
                            configuration = self.name,
                            "failed to keep the CA bundle; without it no pod is injected"
                        );
                        let pause = retry;
                        retry = (retry * 2).min(INTERVAL);
                        pause
                    }
                },
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = bundle.changed() => if changed.is_err() { return },
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Reads the configuration; writes only what differs.
    pub async fn write(&self, bundle: &str) -> Result<(), kube::Error> {
        let current = self.api.get(&self.name).await?;
        let wanted = ByteString(bundle.as_bytes().to_vec());
        let webhooks: Vec<_> = current
            .webhooks
            .iter()
            .flatten()
            .filter(|webhook| webhook.client_config.ca_bundle.as_ref() != Some(&wanted))
            .map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": wanted } }))
            .collect();
        if webhooks.is_empty() {
            return Ok(());
        }
        // Webhooks are merged by name; whatever else stands there is left alone.
        let patch = Patch::Strategic(json!({ "webhooks": webhooks }));
        self.api
            .patch(&self.name, &PatchParams::default(), &patch)
            .await?;
        info!(configuration = self.name, "wrote the CA bundle");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::ApiServer;

    const PATH: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/coppice-operator";

    #[tokio::test]
    async fn admission_bundle_is_written_once_and_where_it_differs() {
        let (client, mut server) = ApiServer::new();
        let webhook = WebhookBundle::new(client, "coppice-operator".to_owned());
        let entry = |name: &str, bundle: Option<&str>| {
            json!({
                "name": name, "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"],
                "clientConfig": { "caBundle": bundle },
            })
        };
        let configuration = |first: Option<&str>| {
            json!({
                "metadata": { "name": "coppice-operator" },
                "webhooks": [entry("a.coppice.dev", first), entry("b.coppice.dev", Some("Q0E="))],
            })
        };
        let api = async {
            server.expect("GET", PATH).await.reply(&configuration(None));
            let patch = server.expect("PATCH", PATH).await;
            let expected =
                json!({ "webhooks": [{ "name": "a.coppice.dev", "clientConfig": { "caBundle": "Q0E=" } }] });
            assert_eq!(patch.body, expected);
            patch.reply(&configuration(Some("Q0E=")));
            server
                .expect("GET", PATH)
                .await
                .reply(&configuration(Some("Q0E=")));
        };
        let writes = async {
            webhook.write("CA").await.unwrap();
            webhook.write("CA").await.unwrap();
        };
        tokio::join!(api, writes);
        drop(webhook);
        assert!(server.next().await.is_none());
    }
}
