//! One watch: its own back-off, its own latch. What it sees goes to a [`Sink`], which never waits.
//!
//! ```text
//! list ─► read() each ─► reset(all) ─► latch ─► apply(), delete() … ─► (broken: back-off, list again)
//! ```

use std::{fmt::Debug, sync::Arc};

use futures::TryStreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{metrics::ClusterMetrics, readiness::Latch};

/// Takes what a watch sees.
pub trait Sink {
    /// As the API server sends it.
    type Object;
    /// What is kept of it.
    type Item;

    /// The kind, for logs and metrics.
    fn kind(&self) -> &'static str;
    /// What is kept of an object; `None`: nothing (and the sink has said why).
    fn read(&self, object: Self::Object) -> Option<Self::Item>;
    /// It is there, or has changed.
    fn apply(&self, item: Self::Item);
    /// It is no more.
    fn delete(&self, object: &Self::Object);
    /// These are all that there are.
    fn reset(&self, items: Vec<Self::Item>);
}

/// Watches until cancelled. After the first complete list `synced` is called and the latch released.
pub async fn run<S>(
    api: Api<S::Object>,
    sink: S,
    latch: Latch,
    synced: impl FnOnce(),
    metrics: Arc<ClusterMetrics>,
    cancel: CancellationToken,
) where
    S: Sink,
    S::Object: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut listed = Vec::new();
    let mut synced = Some(synced);
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            () = cancel.cancelled() => return,
        };
        match event {
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(object))) => listed.extend(sink.read(object)),
            Ok(Some(Event::InitDone)) => {
                sink.reset(std::mem::take(&mut listed));
                if let Some(synced) = synced.take() {
                    synced();
                    latch.release();
                }
            }
            Ok(Some(Event::Apply(object))) => {
                if let Some(item) = sink.read(object) {
                    sink.apply(item);
                }
            }
            Ok(Some(Event::Delete(object))) => sink.delete(&object),
            Ok(None) => return,
            Err(error) => {
                metrics.watch_failed(sink.kind(), "broken");
                // API servers restart, and end old watches: only a watch that never came to be deserves a warning.
                if synced.is_some() {
                    warn!(kind = sink.kind(), %error, "a watch has not come to be yet");
                } else {
                    debug!(kind = sink.kind(), %error, "a watch broke and is taken up again");
                }
            }
        }
    }
}
