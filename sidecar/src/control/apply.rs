//! What the operator says, applied to the engine.

use std::sync::Arc;

use arc_swap::ArcSwap;
use coppice_cache::routes::Routes;
use coppice_wire::{
    convert::{config_from_pb, lines_from_pb},
    pb::{self, ConfigAck, ConfigNack, LinesAck, from_sidecar::Message as Say},
};
use tokio::sync::watch;

use super::Standing;
use crate::{fetch::Fetcher, metrics::Metrics, prerender::Prerenderer, sweep::Sweeper};

/// The longest reason of a refusal, in bytes: it ends in a status, which is read by people.
const MAX_REASON: usize = 4 << 10;

/// The parts of a sidecar that the operator has a say in.
#[derive(Debug, Clone)]
pub struct Engine {
    /// What visitors are matched against.
    pub routes: Arc<ArcSwap<Routes>>,
    /// Store, ledger and flights.
    pub fetcher: Fetcher,
    /// Finds the pages that a purge concerns.
    pub sweeper: Sweeper,
    /// Fetches pages before a visitor asks.
    pub prerenderer: Prerenderer,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Engine {
    /// Sequence of the last line that is held.
    pub fn head(&self) -> u64 {
        self.fetcher.ledger().head()
    }

    /// Checks all of a configuration and swaps it in; pages of routes that it does not have are gone before this returns.
    /// A configuration that is not whole changes nothing.
    pub(super) async fn configure(&self, message: pb::Config, standing: &watch::Sender<Standing>) -> Say {
        let version = message.version.clone();
        match check(message) {
            Ok(routes) => {
                let routes = Arc::new(routes);
                self.routes.store(routes.clone());
                self.fetcher.settle(&routes).await;
                self.prerenderer.set(&routes);
                tracing::info!(version, rules = routes.plans().len(), "configuration in force");
                standing.send_modify(|standing| {
                    standing.config = Some(version.clone());
                    standing.refused = None;
                });
                Say::ConfigAck(ConfigAck { version })
            }
            Err(reason) => {
                tracing::warn!(
                    version,
                    reason,
                    "configuration refused; the former one stays in force"
                );
                self.metrics.refused_configs.inc();
                standing.send_modify(|standing| standing.refused = Some(reason.clone()));
                Say::ConfigNack(ConfigNack { version, reason })
            }
        }
    }

    /// Appends lines. When this returns, no visitor gets what they forbid; the sweep that follows only saves time and
    /// memory.
    pub(super) fn take(&self, message: pb::Lines) -> LinesAck {
        let (lines, head, floor) = lines_from_pb(message);
        let ledger = self.fetcher.ledger();
        let new = ledger.append(lines.iter().cloned(), head, floor);
        self.metrics.lines.inc_by(new.len() as u64);
        let lines: Vec<_> = (lines.into_iter())
            .filter(|line| new.binary_search(&line.sequence).is_ok())
            .collect();
        self.sweeper.sweep(lines);
        LinesAck { head: ledger.head() }
    }

    /// Drops all pages and lines.
    pub(super) fn reset(&self) {
        self.metrics.resets.inc();
        self.fetcher.reset();
        self.prerenderer.again(&self.routes.load());
    }
}

fn check(message: pb::Config) -> Result<Routes, String> {
    if message.version.is_empty() {
        return Err("the configuration has no version".to_owned());
    }
    let config = config_from_pb(message).map_err(|error| error.to_string())?;
    Routes::compile(&config).map_err(|errors| {
        let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let mut reason = words.join("; ");
        if reason.len() > MAX_REASON {
            reason.truncate(reason.floor_char_boundary(MAX_REASON));
            reason.push('…');
        }
        reason
    })
}
