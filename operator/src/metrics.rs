//! What the operator counts. Names begin with `coppice_`; no label holds a name that a user chose.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tonic::Code;

/// The counters of [`crate::State`] and [`crate::push`]. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Sessions that are open.
    pub sessions: Gauge,
    /// Streams that were refused, by gRPC code.
    pub refusals: Family<RefusalLabels, Counter>,
    /// Configurations sent.
    pub configs: Counter,
    /// Configurations that sidecars refused.
    pub nacks: Counter,
    /// Ledger lines sent.
    pub lines: Counter,
    /// Sidecars that had to start empty.
    pub resets: Counter,
    /// Purges committed.
    pub purges: Counter,
}

/// Labels of [`Metrics::refusals`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// The gRPC code, in words.
    pub code: String,
}

impl Metrics {
    /// Makes them part of what `/metrics` shows.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("coppice_operator");
        registry.register("sessions", "Sidecars that are connected", self.sessions.clone());
        registry.register(
            "refusals",
            "Streams that were refused, by gRPC code",
            self.refusals.clone(),
        );
        registry.register(
            "configs_sent",
            "Configurations sent to sidecars",
            self.configs.clone(),
        );
        registry.register(
            "configs_rejected",
            "Configurations that sidecars refused",
            self.nacks.clone(),
        );
        registry.register("lines_sent", "Ledger lines sent to sidecars", self.lines.clone());
        registry.register("resets", "Sidecars that had to start empty", self.resets.clone());
        registry.register("purges", "Purges committed", self.purges.clone());
    }

    pub(crate) fn refused(&self, code: Code) {
        let labels = RefusalLabels {
            code: format!("{code:?}"),
        };
        self.refusals.get_or_create(&labels).inc();
    }
}
