//! What every request of one sidecar shares.

use std::sync::Arc;

use arc_swap::ArcSwap;
use coppice_cache::routes::Routes;
use tokio::sync::mpsc;

use crate::{
    clock::Clock, config::VisitLine, drain::Drain, fetch::Fetcher, metrics::Metrics, serve::pass::Passage,
};

/// What every request of one sidecar shares; made once, behind an `Arc`.
#[derive(Debug)]
pub struct Site {
    /// The engine's clock.
    pub clock: Clock,
    /// What visitors are matched against; empty until the operator's first word.
    pub routes: Arc<ArcSwap<Routes>>,
    /// Store, ledger and flights.
    pub fetcher: Fetcher,
    /// Where requests are passed to.
    pub passage: Passage,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether the sidecar is leaving.
    pub drain: Drain,
    /// `coppice dev`: visitors come to the sidecar's own address, which is then the host of what nobody has asked for.
    pub dev: bool,
    /// `Cache-Status` names the key.
    pub names_key: bool,
    /// Gets a line for each answered request.
    pub visits: Option<mpsc::Sender<VisitLine>>,
}
