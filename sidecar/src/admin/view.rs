//! Where the state is read from.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{control::Standing, metrics::Metrics, site::Site, sweep::Sweeper};

/// Where the state is read from.
#[derive(Debug, Clone)]
pub struct View {
    /// The site.
    pub site: Arc<Site>,
    /// How it stands with the operator.
    pub standing: watch::Receiver<Standing>,
    /// How far purges are swept; `None`: there is nobody who would send any.
    pub sweeper: Option<Sweeper>,
    /// The host that a path without one is of: that of `coppice dev`, where a browser's addresses have no other.
    pub host: Option<String>,
}

impl View {
    pub(super) fn metrics(&self) -> &Metrics {
        &self.site.metrics
    }

    /// Reads the levels that nobody keeps up to date.
    pub(super) fn measure(&self) {
        let level = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (metrics, store) = (&self.site.metrics, self.site.fetcher.store());
        metrics.pages.set(level(store.len() as u64));
        metrics.stored.set(level(store.bytes()));
        metrics
            .tunnels
            .set(level(self.site.passage.tunnels.count() as u64));
        metrics.flights.set(level(self.site.fetcher.in_the_air() as u64));
    }

    /// Whether visitors are welcome, and how it stands. The operator's absence is no reason to turn anybody away.
    pub(super) fn ready(&self) -> (bool, String) {
        if self.site.drain.leaving.is_reached() {
            return (false, "leaving".to_owned());
        }
        (true, words(&self.standing.borrow()))
    }
}

/// How it stands with the operator, in a sentence.
fn words(standing: &Standing) -> String {
    let Standing {
        configured,
        attached,
        config,
        ..
    } = standing;
    match (configured, attached, config) {
        (false, ..) => "ready: no operator is configured, everything passes through".to_owned(),
        (_, true, None) => "ready: attached, no configuration yet, everything passes through".to_owned(),
        (_, false, None) => "ready: the operator was not reached yet, everything passes through".to_owned(),
        (_, true, Some(version)) => format!("ready: configuration {version}"),
        (_, false, Some(version)) => {
            format!("ready: cut off from the operator, going on with configuration {version}")
        }
    }
}
