//! What is counted. Every handle is resolved at the start, so that counting is one addition; labels are words of closed
//! enums, never a path.

use std::sync::atomic::{AtomicI64, AtomicU64};

use coppice_cache::outcome::Outcome;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

type Word = [(&'static str, &'static str); 1];
type Count = Counter<u64, AtomicU64>;
type Level = Gauge<i64, AtomicI64>;

/// The sidecar's metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Family<Word, Count>,
    outcomes: Outcomes,
    passed: Family<Word, Count>,
    unanswered: Family<Word, Count>,
    /// Open connections of visitors.
    pub connections: Level,
    /// Connections that changed their protocol.
    pub tunnels: Level,
    /// Stored pages; set when asked.
    pub pages: Level,
    /// Flights in the air; set when asked.
    pub flights: Level,
    /// Memory accounted against the budget; set when asked.
    pub stored: Level,
    /// The budget.
    pub budget: Level,
    /// 1 while the operator's stream is open.
    pub attached: Level,
    /// Configurations that were refused.
    pub refused_configs: Count,
    /// Lines taken into the ledger.
    pub lines: Count,
    /// The ledger was thrown away because the operator could not have given its head.
    pub resets: Count,
}

/// One handle for each outcome.
#[derive(Debug, Default)]
struct Outcomes {
    hit: Count,
    stale: Count,
    miss: Count,
    revalidated: Count,
    bypass: Count,
}

impl Metrics {
    /// All handles, each at zero.
    pub fn new() -> Self {
        let requests = Family::<Word, Count>::default();
        let handle = |outcome: Outcome| requests.get_or_create(&[("outcome", outcome.as_str())]).clone();
        let outcomes = Outcomes {
            hit: handle(Outcome::Hit),
            stale: handle(Outcome::Stale),
            miss: handle(Outcome::Miss),
            revalidated: handle(Outcome::Revalidated),
            bypass: handle(Outcome::Bypass),
        };
        Self {
            requests,
            outcomes,
            ..Self::default()
        }
    }

    /// Counts an answered request; `reason` is a word of a closed enum.
    pub fn answered(&self, outcome: Outcome, reason: &'static str) {
        if outcome == Outcome::Bypass {
            // It went to the app and back: looking the handle up is not what it costs.
            self.passed.get_or_create(&[("reason", reason)]).inc();
        }
        match outcome {
            Outcome::Hit => &self.outcomes.hit,
            Outcome::Stale => &self.outcomes.stale,
            Outcome::Miss => &self.outcomes.miss,
            Outcome::Revalidated => &self.outcomes.revalidated,
            Outcome::Bypass => &self.outcomes.bypass,
        }
        .inc();
    }

    /// Counts a visitor whom the app did not answer; `reason` is a word of a closed enum. Rare, so its handle is looked up.
    pub fn unanswered(&self, reason: &'static str) {
        self.unanswered.get_or_create(&[("reason", reason)]).inc();
    }

    /// Enters everything into a registry, each name with the prefix `coppice`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("coppice");
        // Families, counters and gauges are handles: what is registered is what is counted.
        registry.register("requests", "Requests answered, by outcome", self.requests.clone());
        registry.register(
            "passed",
            "Requests passed through, by reason",
            self.passed.clone(),
        );
        registry.register(
            "app_unanswered",
            "Visitors whom the app did not answer, by reason",
            self.unanswered.clone(),
        );
        registry.register(
            "connections",
            "Open connections of visitors",
            self.connections.clone(),
        );
        registry.register(
            "tunnels",
            "Connections that changed their protocol, such as WebSockets",
            self.tunnels.clone(),
        );
        registry.register("pages", "Stored pages", self.pages.clone());
        registry.register("flights", "Pages that are being fetched", self.flights.clone());
        registry.register_with_unit(
            "memory_used",
            "Memory accounted against the budget: pages and flights",
            Unit::Bytes,
            self.stored.clone(),
        );
        registry.register_with_unit(
            "memory_budget",
            "The memory budget",
            Unit::Bytes,
            self.budget.clone(),
        );
        registry.register(
            "operator_attached",
            "1 while the operator's stream is open",
            self.attached.clone(),
        );
        registry.register(
            "configs_refused",
            "Configurations that were refused; the former one stays in force",
            self.refused_configs.clone(),
        );
        registry.register("ledger_lines", "Purges taken into the ledger", self.lines.clone());
        registry.register(
            "ledger_resets",
            "Times that everything was dropped because the operator could not have given the ledger's head",
            self.resets.clone(),
        );
    }
}
