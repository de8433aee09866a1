//! What the doors to Kubernetes count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// One label with a word of a closed enum.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// A kind of object and a word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindOutcome {
    kind: &'static str,
    outcome: &'static str,
}

/// Counters of injection, statuses, token reviews and watches.
#[derive(Debug, Default)]
pub struct ClusterMetrics {
    injections: Family<Outcome, Counter>,
    token_reviews: Family<Outcome, Counter>,
    status_writes: Family<KindOutcome, Counter>,
    watch_errors: Family<KindOutcome, Counter>,
}

impl ClusterMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "coppice_operator_injections",
            "Pods seen at admission, by outcome: Injected, NotReady or a reason not to",
            self.injections.clone(),
        );
        registry.register(
            "coppice_operator_token_reviews",
            "Tokens of sidecars, by outcome",
            self.token_reviews.clone(),
        );
        registry.register(
            "coppice_operator_status_writes",
            "Statuses written, by kind and outcome",
            self.status_writes.clone(),
        );
        registry.register(
            "coppice_operator_watch_errors",
            "Watches that broke (and were taken up again) and objects that could not be read",
            self.watch_errors.clone(),
        );
    }

    pub(super) fn injected(&self, outcome: &'static str) {
        self.injections.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn reviewed(&self, outcome: &'static str) {
        self.token_reviews.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn status_written(&self, kind: &'static str, outcome: &'static str) {
        self.status_writes
            .get_or_create(&KindOutcome { kind, outcome })
            .inc();
    }

    pub(super) fn watch_failed(&self, kind: &'static str, outcome: &'static str) {
        self.watch_errors
            .get_or_create(&KindOutcome { kind, outcome })
            .inc();
    }
}
