//! What a sidecar has and knows, for people: no body, no cookie, and no header but those that chose a page among others of
//! its URL.
//!
//! ```text
//! Wanted (which pages, in what order) ──► State::of ──┬─► pages.rs    one walk over the store, in slices
//!                                                     ├─► engine.rs   flights, queue, purges, rules
//!                                                     └─► the counters, memory, the operator
//! ```

mod engine;
mod pages;
mod wanted;

use serde::Serialize;

pub(super) use self::{
    engine::{FlightState, PurgeState, RuleState},
    pages::{EncodingState, PageState, address, chosen_by},
    wanted::{Sort, Wanted},
};
use super::view::View;

/// So many purges are shown.
const MAX_PURGES: usize = 20;
/// So many flights are shown, and as many regenerations that wait.
const MAX_FLIGHTS: usize = 50;
/// So many rules are shown.
const MAX_RULES: usize = 200;
/// So many entries of a list in a row are shown: tags of a page, paths of a rule.
const MAX_ENTRIES: usize = 16;
/// Headers that chose a page are shown as far as is needed to tell one from another: there may be many in a row.
const MAX_FIELD: usize = 128;
/// Longer texts are cut: visitors choose paths, apps choose tags.
const MAX_TEXT: usize = 2048;

/// All of it, as `/state` says it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) release: &'static str,
    pub(super) app: String,
    pub(super) words: String,
    pub(super) leaving: bool,
    pub(super) up_seconds: u64,
    pub(super) operator: OperatorState,
    pub(super) memory: MemoryState,
    pub(super) flight_count: usize,
    /// The longest in the air first.
    pub(super) flights: Vec<FlightState>,
    pub(super) queue_count: usize,
    /// Regenerations that wait for their turn: the next first.
    pub(super) queue: Vec<String>,
    pub(super) ledger_head: u64,
    /// The newest first.
    pub(super) purges: Vec<PurgeState>,
    pub(super) rule_count: usize,
    pub(super) rules: Vec<RuleState>,
    pub(super) counters: Counters,
    pub(super) wanted: Wanted,
    /// All that are stored.
    pub(super) page_count: usize,
    /// Those among them that are wanted.
    pub(super) matching_count: usize,
    /// One screen of them.
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

/// What has been counted since the start, each by its word.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counters {
    /// Requests answered, by outcome.
    pub(super) requests: Vec<Counted>,
    /// Requests passed through, by reason.
    pub(super) passed: Vec<Counted>,
    /// Visitors whom the app did not answer, by reason.
    pub(super) unanswered: Vec<Counted>,
}

#[derive(Debug, Serialize)]
pub(super) struct Counted {
    pub(super) word: &'static str,
    pub(super) count: u64,
}

impl State {
    /// As of now. Others on this runtime have their turn while the store is walked.
    pub(super) async fn of(view: &View, mut wanted: Wanted) -> Self {
        let site = &view.site;
        let (store, ledger) = (site.fetcher.store(), site.fetcher.ledger());
        let routes = site.routes.load_full();
        let found = pages::find(site, &routes, &mut wanted).await;
        let standing = view.standing.borrow().clone();
        let (flight_count, flights) = site.fetcher.flights(MAX_FLIGHTS);
        let (queue_count, queue) = site.fetcher.queue(MAX_FLIGHTS);
        Self {
            release: env!("CARGO_PKG_VERSION"),
            app: site.passage.upstream.app().to_owned(),
            words: view.ready().1,
            leaving: site.drain.leaving.is_reached(),
            up_seconds: site.clock.now().since(coppice_cache::time::Moment(0)).as_secs(),
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
            flight_count,
            flights: flights.iter().map(FlightState::of).collect(),
            queue_count,
            queue: queue.iter().map(|key| short(&key.to_string())).collect(),
            ledger_head: ledger.head(),
            purges: (ledger.last(MAX_PURGES).iter())
                .map(|line| PurgeState::of(line, view.sweeper.as_ref()))
                .collect(),
            rule_count: routes.plans().len(),
            rules: (routes.plans().iter().take(MAX_RULES))
                .map(|plan| RuleState::of(plan, &routes))
                .collect(),
            counters: Counters {
                requests: counted(site.metrics.outcomes()),
                passed: counted(site.metrics.passed()),
                unanswered: counted(site.metrics.unanswered_by_reason()),
            },
            wanted,
            page_count: store.len(),
            matching_count: found.matching,
            pages: found.pages,
        }
    }
}

fn counted(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Vec<Counted> {
    let counts = counts.into_iter();
    counts.map(|(word, count)| Counted { word, count }).collect()
}

/// A text no longer than what is shown.
pub(super) fn short(text: &str) -> String {
    cut(text, MAX_TEXT)
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

/// A list no longer than what is shown.
fn few<S: AsRef<str>>(list: &[S]) -> Vec<String> {
    let shown = list.iter().take(MAX_ENTRIES);
    shown.map(|entry| short(entry.as_ref())).collect()
}
