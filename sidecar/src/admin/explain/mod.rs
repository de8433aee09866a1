//! Why a URL is cached or is not: what a visit would come to if it came now, and everything that leads there, in the
//! order in which a visit decides it.
//!
//! ```text
//! Question ─► request ─► key::read ─┬─ Lookup ─► Fetcher::foresee ─► HIT, STALE, REVALIDATED, MISS, or what is marked
//!                                  ├─ Pass ───► BYPASS, and what would be without the reasons
//!                                  └─ Refuse ─► 400
//! ```
//!
//! The code that decides is the visit's own. Nothing is noted: no visit, no flight, no step through the ledger.

mod question;
mod words;

use coppice_cache::{
    config::Interval,
    judge::Unstorable,
    key::{self, Key, Lookup, Reading},
    ledger::Strategy,
    lifetime::Lifetime,
    outcome::{Outcome, PassReason},
    page::Page,
    path,
    routes::{Plan, Routes},
};
use http::{HeaderMap, Method, header, request::Parts};
use serde::Serialize;

pub(super) use self::question::Question;
use super::{
    state::{FlightState, PageState, PurgeState, RuleState, short},
    view::View,
};
use crate::{
    fetch::{Foreseen, Turn},
    serve::own,
};

/// So many purges of a page are shown.
const MAX_PURGES: usize = 10;
/// So many rules that would match on another host are shown.
const MAX_ELSEWHERE: usize = 10;

/// The whole answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    pub(super) asked: Asked,
    pub(super) next: Next,
    pub(super) rule: Matched,
    /// `None`: without a rule that stores something there is none.
    pub(super) key: Option<KeyState>,
    /// What keeps this very request from being looked up.
    pub(super) bypasses: Vec<Bypass>,
    pub(super) stored: Option<Stored>,
    /// The last answer was not one to store.
    pub(super) unstorable: Option<Marked>,
    pub(super) flight: Option<FlightState>,
    /// Where its regeneration is: `running` or `waiting`.
    pub(super) regeneration: Option<&'static str>,
}

/// The request. Never the value of a header: a cookie is a key to somebody's account.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) url: String,
    /// Their names.
    pub(super) headers: Vec<String>,
}

/// What the next visitor gets.
#[derive(Debug, Serialize)]
pub(super) struct Next {
    /// The word of `x-coppice-cache`; `None`: the request is refused.
    pub(super) outcome: Option<&'static str>,
    /// The word of header, log and metric, where there is one.
    pub(super) reason: Option<&'static str>,
    pub(super) words: String,
}

/// The rule that holds.
#[derive(Debug, Serialize)]
pub(super) struct Matched {
    pub(super) words: String,
    /// The pattern of it that matches.
    pub(super) pattern: Option<String>,
    pub(super) rule: Option<RuleState>,
    /// Rules that match the path, but not the host.
    pub(super) elsewhere: Vec<RuleState>,
}

/// What makes the page one of its own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyState {
    pub(super) text: String,
    pub(super) scheme: &'static str,
    pub(super) host: String,
    pub(super) path: String,
    /// The host that a proxy says was asked for, where it is another one.
    pub(super) forwarded_host: Option<String>,
    /// Query parameters that count, as they stand in the key.
    pub(super) counted: Vec<String>,
    /// Query parameters that do not.
    pub(super) ignored: Vec<String>,
}

/// One thing that keeps a request from being looked up.
#[derive(Debug, Serialize)]
pub(super) struct Bypass {
    pub(super) reason: &'static str,
    /// The header that it is about.
    pub(super) header: Option<String>,
    pub(super) words: &'static str,
}

/// The page that is stored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    #[serde(flatten)]
    pub(super) page: PageState,
    /// Age at which it stops being fresh; `None`: never by time.
    pub(super) fresh_seconds: Option<u64>,
    /// Age beyond which it is not served stale; `None`: it never is.
    pub(super) stale_seconds: Option<u64>,
    /// The ledger's head when it was asked for.
    pub(super) stamp: u64,
    pub(super) all_tags: Vec<String>,
    /// The purges since that select it, the oldest first.
    pub(super) purges: Vec<PurgeState>,
    pub(super) purge_count: usize,
    /// The purge that says what its visitors get: the first of the strongest.
    pub(super) purged_by: Option<u64>,
    /// Lines have come since that nobody can name any more.
    pub(super) forgotten: Option<&'static str>,
    /// An unsafe request to its URL has expired it.
    pub(super) invalidated: bool,
}

/// The last answer was not one to store.
#[derive(Debug, Serialize)]
pub(super) struct Marked {
    pub(super) reason: &'static str,
    pub(super) words: &'static str,
    /// For so long the next visitors do not wait for another one.
    pub(super) seconds: u64,
}

impl Explanation {
    /// As of now. An error says what to ask instead.
    pub(super) fn of(view: &View, question: &Question) -> Result<Self, String> {
        let parts = question.request(view.host.as_deref())?;
        let site = &view.site;
        let routes = site.routes.load_full();
        let reading = key::read(&routes, &parts);
        let plan = key::rule_of(&routes, &parts);
        // Of a request that passes, the page is shown that others get at the same place.
        let (mut lookup, headers) = match &reading {
            Reading::Lookup(lookup) => Some((lookup.clone(), parts.headers.clone())),
            Reading::Pass { .. } => of_others(&routes, plan.map(|plan| &**plan), &parts),
            Reading::Refuse(_) => None,
        }
        .unzip();
        let foreseen = lookup
            .as_mut()
            .zip(headers.as_ref())
            .map(|(lookup, headers)| site.fetcher.foresee(lookup, headers));
        let stored = lookup.as_ref().zip(foreseen.as_ref());
        let stored = stored.and_then(|(lookup, foreseen)| {
            let page = foreseen.page.as_ref()?;
            Some(Stored::of(view, &routes, &lookup.plan, page))
        });
        Ok(Self {
            next: next(&reading, foreseen.as_ref()),
            rule: Matched::of(&routes, plan.map(|plan| &**plan), &reading, &parts),
            key: lookup.as_ref().map(|lookup| KeyState::of(lookup, &parts)),
            bypasses: bypasses(&reading, plan.map(|plan| &**plan), &parts),
            stored,
            unstorable: foreseen.as_ref().and_then(|foreseen| {
                let (reason, left) = foreseen.marked?;
                Some(Marked {
                    reason: reason.as_str(),
                    words: words::unstorable(reason),
                    seconds: left.as_secs(),
                })
            }),
            flight: foreseen
                .as_ref()
                .and_then(|foreseen| foreseen.flight.as_ref().map(FlightState::of)),
            regeneration: foreseen
                .as_ref()
                .and_then(|foreseen| foreseen.turn.map(Turn::as_str)),
            asked: Asked {
                method: parts.method.to_string(),
                url: short(&question.url),
                headers: (parts.headers.keys())
                    .map(|name| name.as_str().to_owned())
                    .collect(),
            },
        })
    }
}

/// What others get at the same place, where the rule stores anything: the look-up of the same request without what keeps it
/// from one, and its headers.
fn of_others(routes: &Routes, plan: Option<&Plan>, parts: &Parts) -> Option<(Lookup, HeaderMap)> {
    let mut parts = parts.clone();
    parts.method = Method::GET;
    let concerns: Vec<_> = key::concerns(&parts.headers, plan?)
        .map(|(name, _)| name.clone())
        .collect();
    // A cookie that bypasses stands beside others, which may be part of the key.
    for name in concerns.iter().filter(|name| **name != header::COOKIE) {
        parts.headers.remove(name);
    }
    let lookup = key::lookup_of(routes, &parts)?;
    parts.headers.remove(header::COOKIE);
    Some((lookup, parts.headers))
}

/// What the visitor gets, decided as a visit decides it.
fn next(reading: &Reading, foreseen: Option<&Foreseen>) -> Next {
    match (reading, foreseen) {
        (Reading::Refuse(reason), _) => Next {
            outcome: None,
            reason: Some(reason.as_str()),
            words: format!("It is refused with 400. {}", own::refusal(*reason).trim_end()),
        },
        (Reading::Pass { reason, .. }, _) => passed(*reason),
        (Reading::Lookup(_), Some(foreseen)) => match foreseen.passes() {
            Some(reason) => passed(reason),
            None => Next {
                outcome: Some(foreseen.verdict.outcome().as_str()),
                reason: None,
                words: words::verdict(foreseen),
            },
        },
        (Reading::Lookup(_), None) => passed(PassReason::Unstorable(Unstorable::Fault)),
    }
}

fn passed(reason: PassReason) -> Next {
    Next {
        outcome: Some(Outcome::Bypass.as_str()),
        reason: Some(reason.as_str()),
        words: format!(
            "The request passes through to the app as it is, and its answer is not stored: {}.",
            words::pass(reason)
        ),
    }
}

/// Everything that keeps this request from being looked up, not only the first that is named to the visitor.
fn bypasses(reading: &Reading, plan: Option<&Plan>, parts: &Parts) -> Vec<Bypass> {
    let said = |reason: PassReason, header: Option<String>| Bypass {
        reason: reason.as_str(),
        header,
        words: words::pass(reason),
    };
    let mut found = Vec::new();
    if let Reading::Pass { reason, .. } = reading {
        let by_header = plan
            .is_some_and(|plan| key::concerns(&parts.headers, plan).any(|(_, concern)| concern == *reason));
        if !by_header {
            found.push(said(*reason, None));
        }
    }
    if let Some(plan) = plan {
        let concerns = key::concerns(&parts.headers, plan);
        found.extend(concerns.map(|(name, reason)| said(reason, Some(name.to_string()))));
    }
    found
}

impl Matched {
    fn of(routes: &Routes, plan: Option<&Plan>, reading: &Reading, parts: &Parts) -> Self {
        let path = parts.uri.path();
        let is_refused = matches!(reading, Reading::Refuse(_));
        let elsewhere = if plan.is_none() && !is_refused && path::check(path).is_ok() {
            let others = routes.plans().iter().filter(|plan| plan.pattern(path).is_some());
            others
                .take(MAX_ELSEWHERE)
                .map(|plan| RuleState::of(plan, routes))
                .collect()
        } else {
            Vec::new()
        };
        Self {
            words: words::matched(routes, plan, reading, path, !elsewhere.is_empty()),
            pattern: plan
                .and_then(|plan| plan.pattern(path))
                .map(|pattern| pattern.as_str().to_owned()),
            rule: plan.map(|plan| RuleState::of(plan, routes)),
            elsewhere,
        }
    }
}

impl KeyState {
    fn of(lookup: &Lookup, parts: &Parts) -> Self {
        let key: &Key = &lookup.key;
        let sent = parts.uri.query().unwrap_or_default();
        let ignored = key::parameters(sent, &lookup.plan).filter(|(_, counts)| !counts);
        Self {
            text: short(&key.to_string()),
            scheme: key.scheme().as_str(),
            host: key.host().to_owned(),
            path: short(key.path()),
            forwarded_host: key.forwarded_host().map(str::to_owned),
            counted: (key.query().split('&'))
                .filter(|parameter| !parameter.is_empty())
                .map(short)
                .collect(),
            ignored: ignored.map(|(parameter, _)| short(parameter)).collect(),
        }
    }
}

impl Stored {
    fn of(view: &View, routes: &Routes, plan: &Plan, page: &Page) -> Self {
        let site = &view.site;
        let ledger = site.fetcher.ledger();
        let reasons = ledger.reasons(&page.facts(), page.stamp(), MAX_PURGES);
        let by_lines = ledger.effect(&page.facts(), page.stamp());
        let strongest = reasons
            .lines
            .iter()
            .find(|line| Some(line.strategy) == by_lines && by_lines > reasons.forgotten);
        let lifetime = Lifetime::of(plan, page.status(), page.app());
        Self {
            page: PageState::of(site, routes, page, site.clock.now()),
            fresh_seconds: match lifetime.fresh_for {
                Interval::After(span) => Some(span.as_secs()),
                Interval::Never => None,
            },
            stale_seconds: lifetime.stale_until.map(|span| span.as_secs()),
            stamp: page.stamp(),
            all_tags: page.tags().iter().map(str::to_owned).collect(),
            purged_by: strongest.map(|line| line.sequence),
            purges: (reasons.lines.iter())
                .map(|line| PurgeState::of(line, view.sweeper.as_ref()))
                .collect(),
            purge_count: reasons.count,
            forgotten: reasons.forgotten.map(Strategy::as_str),
            // No line says so, and yet it is expired.
            invalidated: page.effect() > by_lines,
        }
    }
}
