//! What a sidecar has and knows, for people: no secret, no header, no body.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use coppice_cache::{
    config::Interval,
    ledger::{Line, Selector},
    lifetime::Lifetime,
    page::Page,
    routes::{Plan, Routes},
    time::Moment,
    verdict::{self, Verdict},
};
use serde::Serialize;
use tokio::sync::watch;

use crate::{control::Standing, metrics::Metrics, site::Site};

/// Pages beyond so many are only counted; those visited last are shown.
const MAX_PAGES: usize = 1000;
/// So many purges are shown.
const MAX_PURGES: usize = 20;

/// Where the state is read from.
#[derive(Debug, Clone)]
pub struct View {
    /// The site.
    pub site: Arc<Site>,
    /// How it stands with the operator.
    pub standing: watch::Receiver<Standing>,
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
        if self.site.drain.leaving.is_cancelled() {
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

/// All of it, as `/state` says it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) release: &'static str,
    pub(super) app: String,
    pub(super) words: String,
    pub(super) leaving: bool,
    pub(super) operator: OperatorState,
    pub(super) memory: MemoryState,
    pub(super) flights: usize,
    pub(super) ledger_head: u64,
    /// The newest first.
    pub(super) purges: Vec<PurgeState>,
    pub(super) rules: Vec<RuleState>,
    pub(super) page_count: usize,
    /// The page visited last first.
    pub(super) pages: Vec<PageState>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OperatorState {
    pub(super) configured: bool,
    pub(super) attached: bool,
    pub(super) config: Option<String>,
    pub(super) refused: Option<String>,
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemoryState {
    pub(super) used: u64,
    pub(super) budget: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PurgeState {
    pub(super) sequence: u64,
    pub(super) strategy: &'static str,
    pub(super) selects: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleState {
    pub(super) route: String,
    pub(super) rule: String,
    pub(super) paths: Vec<String>,
    pub(super) revalidate: String,
    pub(super) suspended: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageState {
    pub(super) key: String,
    pub(super) route: String,
    pub(super) rule: String,
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) tags: Vec<String>,
    pub(super) age_seconds: u64,
    /// Negative: it is stale since then. `None`: never by time.
    pub(super) next_revalidation_seconds: Option<i64>,
    pub(super) visited_seconds_ago: u64,
    /// What its next visitor gets.
    pub(super) next_visit: &'static str,
}

impl State {
    pub(super) fn of(view: &View) -> Self {
        let site = &view.site;
        let store = site.fetcher.store();
        let ledger = site.fetcher.ledger();
        let routes = site.routes.load_full();
        let now = site.clock.now();
        let standing = view.standing.borrow().clone();

        let mut pages: Vec<Arc<Page>> = store.pages().collect();
        pages.sort_by_key(|page| Reverse(page.visited()));
        let page_count = pages.len();
        pages.truncate(MAX_PAGES);
        Self {
            release: env!("CARGO_PKG_VERSION"),
            app: site.passage.upstream.app().to_owned(),
            words: view.ready().1,
            leaving: site.drain.leaving.is_cancelled(),
            operator: OperatorState {
                configured: standing.configured,
                attached: standing.attached,
                config: standing.config,
                refused: standing.refused,
                error: standing.error,
            },
            memory: MemoryState {
                used: store.bytes(),
                budget: store.budget(),
            },
            flights: site.fetcher.in_the_air(),
            ledger_head: ledger.head(),
            purges: ledger.last(MAX_PURGES).iter().map(PurgeState::of).collect(),
            rules: routes.plans().iter().map(|plan| RuleState::of(plan)).collect(),
            page_count,
            pages: pages
                .iter()
                .map(|page| PageState::of(site, &routes, page, now))
                .collect(),
        }
    }
}

impl PurgeState {
    fn of(line: &Line) -> Self {
        Self {
            sequence: line.sequence,
            strategy: line.strategy.as_str(),
            selects: selects(&line.selector),
        }
    }
}

/// A selector in words.
fn selects(selector: &Selector) -> String {
    let mut words = Vec::new();
    let lists = [
        ("path", &selector.paths),
        ("pattern", &selector.patterns),
        ("tag", &selector.tags),
        ("host", &selector.hostnames),
    ];
    if selector.everything {
        words.push("everything".to_owned());
    }
    for (name, list) in lists {
        words.extend(list.iter().map(|entry| format!("{name} {entry}")));
    }
    if let Some(route) = &selector.route {
        words.push(format!("of route {route}"));
    }
    words.join(", ")
}

impl RuleState {
    fn of(plan: &Plan) -> Self {
        Self {
            route: plan.route.to_string(),
            rule: plan.name.to_string(),
            paths: plan.rule.paths.clone(),
            revalidate: match plan.rule.revalidate {
                None => "the app decides".to_owned(),
                Some(Interval::Never) => "never".to_owned(),
                Some(Interval::After(span)) => format!("{span:?}"),
            },
            suspended: plan.suspend,
        }
    }
}

impl PageState {
    fn of(site: &Site, routes: &Routes, page: &Page, now: Moment) -> Self {
        let age = now.since(page.stored());
        let key = page.key();
        let plan = routes
            .find(key.host(), key.path())
            .filter(|plan| plan.passes().is_none());
        let fresh_for = plan.map(|plan| Lifetime::of(plan, page.status()).fresh_for);
        let next_visit = plan.map_or("pass", |plan| {
            word(verdict::decide(Some(page), plan, site.fetcher.ledger(), now))
        });
        Self {
            key: key.to_string(),
            route: page.route().to_string(),
            rule: page.rule().to_string(),
            status: page.status().as_u16(),
            bytes: page.body().len() as u64,
            tags: page.tags().iter().map(ToString::to_string).collect(),
            age_seconds: age.as_secs(),
            next_revalidation_seconds: match fresh_for {
                Some(Interval::After(span)) => Some(difference(span, age)),
                Some(Interval::Never) | None => None,
            },
            visited_seconds_ago: now.since(page.visited()).as_secs(),
            next_visit,
        }
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Hit => "hit",
        Verdict::Stale { .. } => "stale",
        Verdict::Wait { .. } => "wait",
        Verdict::Fetch => "fetch",
    }
}

fn difference(span: Duration, age: Duration) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    seconds(span) - seconds(age)
}
