//! Flights, purges and rules in words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use coppice_cache::{
    config::{Interval, Query},
    ledger::{Line, Selector},
    outcome::PassReason,
    routes::{Plan, Routes},
};
use serde::Serialize;

use super::{address, chosen_by, few, short};
use crate::{fetch::FlightSeen, sweep::Sweeper};

/// A page that is being fetched.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct FlightState {
    pub(in crate::admin) key: String,
    /// The headers that chose it among the pages of its URL, and the names of the cookies.
    pub(in crate::admin) chosen_by: Vec<String>,
    /// What `/explain` is asked about it; `None`: no address can ask about this very page.
    pub(in crate::admin) explain: Option<String>,
    pub(in crate::admin) route: String,
    pub(in crate::admin) seconds: u64,
    pub(in crate::admin) phase: &'static str,
    pub(in crate::admin) bytes: u64,
    /// How many wait for it.
    pub(in crate::admin) waiting: usize,
    pub(in crate::admin) stamp: u64,
    /// Why nobody joins any more.
    pub(in crate::admin) closed: Option<&'static str>,
    /// Its page will not be stored.
    pub(in crate::admin) overtaken: bool,
}

impl FlightState {
    pub(in crate::admin) fn of(seen: &FlightSeen) -> Self {
        Self {
            key: short(&seen.key.to_string()),
            chosen_by: chosen_by(&seen.key),
            explain: address(&seen.key),
            route: seen.route.to_string(),
            seconds: seen.since.as_secs(),
            phase: seen.phase,
            bytes: seen.arrived,
            waiting: seen.waiting,
            stamp: seen.stamp,
            closed: seen.closed.map(coppice_cache::judge::Unstorable::as_str),
            overtaken: seen.overtaken,
        }
    }
}

/// A line of the ledger.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct PurgeState {
    pub(in crate::admin) sequence: u64,
    /// By the wall clock that the sequence was taken from.
    pub(in crate::admin) seconds_ago: Option<u64>,
    pub(in crate::admin) strategy: &'static str,
    pub(in crate::admin) selects: String,
    /// What its sweep has found; `None`: it has not begun.
    pub(in crate::admin) sweep: Option<SweepState>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct SweepState {
    pub(in crate::admin) matched: u64,
    pub(in crate::admin) regenerated: u64,
    pub(in crate::admin) failed: u64,
    pub(in crate::admin) finished: bool,
}

impl PurgeState {
    pub(in crate::admin) fn of(line: &Line, sweeper: Option<&Sweeper>) -> Self {
        let report = sweeper.and_then(|sweeper| sweeper.report(line.sequence));
        Self {
            sequence: line.sequence,
            seconds_ago: seconds_since(line.sequence),
            strategy: line.strategy.as_str(),
            selects: short(&selects(&line.selector)),
            sweep: report.map(|report| SweepState {
                matched: report.matched,
                regenerated: report.regenerated,
                failed: report.failed,
                finished: report.finished,
            }),
        }
    }
}

/// A sequence is a hybrid clock: milliseconds since 1970, where nobody counts by hand.
fn seconds_since(sequence: u64) -> Option<u64> {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let ago = now.saturating_sub(Duration::from_millis(sequence));
    (ago < YEAR).then_some(ago.as_secs())
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

/// A rule in force.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct RuleState {
    pub(in crate::admin) route: String,
    pub(in crate::admin) rule: String,
    /// Empty: any host.
    pub(in crate::admin) hostnames: Vec<String>,
    pub(in crate::admin) paths: Vec<String>,
    pub(in crate::admin) path_count: usize,
    pub(in crate::admin) revalidate: String,
    pub(in crate::admin) expire_seconds: u64,
    pub(in crate::admin) negative_seconds: u64,
    pub(in crate::admin) tags: Vec<String>,
    /// The query parameters that count; `None`: all but those of trackers.
    pub(in crate::admin) query: Option<Vec<String>>,
    pub(in crate::admin) bypass_cookies: Vec<String>,
    pub(in crate::admin) bypass_headers: Vec<String>,
    /// What is stored although the app forbids it.
    pub(in crate::admin) overrides: Vec<&'static str>,
    pub(in crate::admin) suspended: bool,
    /// Why everything that matches passes through.
    pub(in crate::admin) passes: Option<&'static str>,
    /// Paths that another rule has taken.
    pub(in crate::admin) shadowed: Vec<String>,
}

impl RuleState {
    pub(in crate::admin) fn of(plan: &Plan, routes: &Routes) -> Self {
        let rule = &plan.rule;
        let overrides = [
            ("no-store", rule.overrides.no_store),
            ("private", rule.overrides.private),
            ("set-cookie", rule.overrides.set_cookie),
            ("authorization", rule.overrides.authorization),
        ];
        let shadowed = routes.shadowed().iter().filter(|shadowed| {
            (&shadowed.loser.0, &shadowed.loser.1) == (&plan.owner.route, &plan.owner.rule)
        });
        let shadowed: Vec<_> = shadowed
            .map(|shadowed| {
                let (route, rule) = &shadowed.winner;
                let host = shadowed.hostname.as_deref().unwrap_or_default();
                format!("{host}{} (taken by {route}/{rule})", shadowed.path)
            })
            .collect();
        Self {
            route: plan.owner.route.to_string(),
            rule: plan.owner.rule.to_string(),
            hostnames: few(&plan.hostnames),
            paths: few(&rule.paths),
            path_count: rule.paths.len(),
            revalidate: interval(rule.revalidate),
            expire_seconds: rule.expire.as_secs(),
            negative_seconds: rule.negative.as_secs(),
            tags: few(&rule.tags),
            query: match &rule.query {
                Query::AllButTracking => None,
                Query::Allow(names) => Some(few(names)),
            },
            bypass_cookies: few(&rule.bypass_cookies),
            bypass_headers: few(&rule.bypass_headers),
            overrides: (overrides.into_iter())
                .filter_map(|(word, holds)| holds.then_some(word))
                .collect(),
            suspended: plan.suspend,
            passes: plan.passes().map(PassReason::as_str),
            shadowed: few(&shadowed),
        }
    }
}

/// `revalidate` as its author would write it.
fn interval(revalidate: Option<Interval>) -> String {
    match revalidate {
        None => "the app decides".to_owned(),
        Some(Interval::Never) => "never".to_owned(),
        Some(Interval::After(span)) if span.subsec_nanos() > 0 => format!("{} ms", span.as_millis()),
        Some(Interval::After(span)) => format!("{} s", span.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_that_are_no_time_have_no_age() {
        assert_eq!(seconds_since(7), None);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let minute_ago = now.saturating_sub(Duration::from_mins(1)).as_millis();
        assert_eq!(seconds_since(u64::try_from(minute_ago).unwrap()), Some(60));
    }

    #[test]
    fn selectors_in_words() {
        let selector = Selector {
            route: Some("shop".into()),
            tags: vec!["post:1".into()],
            paths: vec!["/a".into()],
            ..Selector::default()
        };
        assert_eq!(selects(&selector), "path /a, tag post:1, of route shop");
    }
}
