//! The operator's own certificate authority.
//!
//! ```text
//! Secret coppice-ca ─store.rs─► Authority (authority.rs: pure; rotation is a function of now) ─► leaf, in memory
//!                                    │ bundle                                                      │
//!                  webhook configuration, coppice-trust, sidecars' environment     serving.rs: TLS listeners
//! ```
//!
//! Authorities overlap: the next one is in every bundle for a day before it signs, and the former one stays until it
//! expires. So there is no moment at which a peer with a bundle of yesterday is refused.

mod authority;
mod serving;
mod store;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::{
    authority::{Authority, AuthorityError},
    serving::Serving,
    store::StoreError,
};

/// How often Secret and leaf are looked at. Far below every grace period of the rotation.
const INTERVAL: Duration = Duration::from_hours(1);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the authority, the leaf that the listeners present, and the bundle that others trust.
pub struct Pki {
    store: store::Store,
    names: Vec<String>,
    serving: Arc<Serving>,
    bundle: watch::Sender<Option<Arc<str>>>,
    authority: Option<Authority>,
}

impl Pki {
    /// `names` are the DNS names under which the listeners are reached. Nothing is read yet.
    pub fn new(client: Client, namespace: &str, names: Vec<String>) -> Self {
        Self {
            store: store::Store::new(Api::namespaced(client, namespace)),
            names,
            serving: Arc::default(),
            bundle: watch::Sender::new(None),
            authority: None,
        }
    }

    /// What TLS listeners present; empty (handshakes fail) until the first [`Self::renew`].
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.clone()
    }

    /// The bundle that others are to trust, PEM; `None` until the first [`Self::renew`].
    pub fn bundle(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.bundle.subscribe()
    }

    /// Renews until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        loop {
            let pause = match self.renew(Timestamp::now()).await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    warn!(%error, "failed to renew the certificate authority; the former certificates stay in force");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Reads the Secret, rotates it when it is time, renews leaf and bundle where they changed.
    pub async fn renew(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let authority = self.store.sync(self.authority.as_ref(), now).await?;
        self.adopt(authority, now)
    }

    fn adopt(&mut self, authority: Authority, now: Timestamp) -> Result<(), StoreError> {
        if self.serving.is_due(authority.signer(now), now) {
            let leaf = authority.leaf(&self.names, now)?;
            info!(until = %leaf.not_after, "serving a new certificate");
            self.serving.present(leaf);
        }
        let bundle = authority.bundle();
        self.bundle.send_if_modified(|current| {
            let changed = current.as_deref() != Some(&*bundle);
            if changed {
                *current = Some(bundle.into());
            }
            changed
        });
        self.authority = Some(authority);
        Ok(())
    }
}
