//! What is counted. Every handle is resolved at the start, so that counting is one addition; labels are words of closed
//! enums, never a path.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::atomic::{AtomicI64, AtomicU64},
};

use coppice_cache::outcome::Outcome;
use parking_lot::RwLock;
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
    passed: ByReason,
    unanswered: ByReason,
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

/// Counts by words of a closed enum. A family does not tell which it has; the page shows them.
#[derive(Debug, Default)]
struct ByReason {
    family: Family<Word, Count>,
    /// The handles of the words that have been counted.
    counted: RwLock<BTreeMap<&'static str, Count>>,
}

impl ByReason {
    fn inc(&self, reason: &'static str) {
        if let Some(count) = self.counted.read().get(reason) {
            count.inc();
            return;
        }
        let mut counted = self.counted.write();
        let count = counted.entry(reason);
        count
            .or_insert_with(|| self.family.get_or_create(&[("reason", reason)]).clone())
            .inc();
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let counted = self.counted.read();
        let mut counts: Vec<_> = counted.iter().map(|(word, count)| (*word, count.get())).collect();
        counts.sort_by_key(|(_, count)| Reverse(*count));
        counts
    }
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
            self.passed.inc(reason);
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
        self.unanswered.inc(reason);
    }

    /// What is counted by outcome.
    pub fn outcomes(&self) -> [(&'static str, u64); 5] {
        let Outcomes {
            hit,
            stale,
            miss,
            revalidated,
            bypass,
        } = &self.outcomes;
        [
            (Outcome::Hit.as_str(), hit.get()),
            (Outcome::Stale.as_str(), stale.get()),
            (Outcome::Miss.as_str(), miss.get()),
            (Outcome::Revalidated.as_str(), revalidated.get()),
            (Outcome::Bypass.as_str(), bypass.get()),
        ]
    }

    /// What passed through, by reason, the most frequent first.
    pub fn passed(&self) -> Vec<(&'static str, u64)> {
        self.passed.counts()
    }

    /// Visitors whom the app did not answer, by reason, the most frequent first.
    pub fn unanswered_by_reason(&self) -> Vec<(&'static str, u64)> {
        self.unanswered.counts()
    }

    /// Enters everything into a registry, each name with the prefix `coppice`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("coppice");
        // Families, counters and gauges are handles: what is registered is what is counted.
        registry.register("requests", "Requests answered, by outcome", self.requests.clone());
        registry.register(
            "passed",
            "Requests passed through, by reason",
            self.passed.family.clone(),
        );
        registry.register(
            "app_unanswered",
            "Visitors whom the app did not answer, by reason",
            self.unanswered.family.clone(),
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
