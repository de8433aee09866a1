//! The pages that somebody wants to see: one walk over the store that keeps keys, never pages, and few of these.

use std::{sync::Arc, time::Duration};

use coppice_cache::{
    coding::Coding, config::Interval, key::Key, lifetime::Lifetime, page::Page, routes::Routes, time::Moment,
    verdict,
};
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::{MAX_FIELD, MAX_TEXT, Sort, Wanted, cut, few, short};
use crate::{fetch::SLICE, site::Site};

/// A stored page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct PageState {
    pub(in crate::admin) key: String,
    /// The headers that chose it among the pages of its URL, and the names of the cookies.
    pub(in crate::admin) chosen_by: Vec<String>,
    /// What `/explain` is asked about it; `None`: no address can ask about this very page.
    pub(in crate::admin) explain: Option<String>,
    pub(in crate::admin) route: String,
    pub(in crate::admin) rule: String,
    pub(in crate::admin) status: u16,
    /// Of the body.
    pub(in crate::admin) bytes: u64,
    /// Those that it is stored in besides, with their size.
    pub(in crate::admin) encodings: Vec<EncodingState>,
    /// What it takes of the memory budget.
    pub(in crate::admin) weight: u64,
    /// The first of them.
    pub(in crate::admin) tags: Vec<String>,
    pub(in crate::admin) tag_count: usize,
    pub(in crate::admin) age_seconds: u64,
    /// Negative: it is stale since then. `None`: never by time.
    pub(in crate::admin) next_revalidation_seconds: Option<i64>,
    /// The app has failed, and is not asked again before.
    pub(in crate::admin) retry_seconds: Option<u64>,
    /// `None`: it has had no visitor yet.
    pub(in crate::admin) visited_seconds_ago: Option<u64>,
    /// What that visitor was answered with.
    pub(in crate::admin) last_outcome: Option<&'static str>,
    /// What the next one is.
    pub(in crate::admin) next_outcome: &'static str,
    /// The strongest purge since it was asked for.
    pub(in crate::admin) purged: Option<&'static str>,
}

/// A body that was compressed.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct EncodingState {
    /// The word of `Content-Encoding`.
    pub(in crate::admin) coding: &'static str,
    pub(in crate::admin) bytes: u64,
}

impl EncodingState {
    fn all_of(page: &Page) -> Vec<Self> {
        let encoded = Coding::ALL.into_iter().filter_map(|coding| page.encoded(coding));
        let state = encoded.map(|encoded| Self {
            coding: encoded.coding.as_str(),
            bytes: encoded.body.len() as u64,
        });
        state.collect()
    }
}

/// What a walk has found.
pub(super) struct Found {
    pub(super) matching: usize,
    pub(super) pages: Vec<PageState>,
}

/// A page's place in the order: the least comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    rank: u64,
    /// Between equal ranks, so that a page keeps its place.
    key: Arc<Key>,
}

/// Walks the store. Its keys alone are kept meanwhile, and of these twice what is shown: what is evicted is to be gone.
/// A screen beyond the last becomes the last.
pub(super) async fn find(site: &Site, routes: &Routes, wanted: &mut Wanted) -> Found {
    let now = site.clock.now();
    let store = site.fetcher.store();
    wanted.page = wanted.page.min(store.len().div_ceil(wanted.limit).max(1));
    let keep = wanted.page * wanted.limit;
    let (mut matching, mut places) = (0_usize, Vec::new());
    for (count, page) in store.pages().enumerate() {
        if is_wanted(&page, wanted) {
            matching += 1;
            places.push(Place {
                rank: rank(&page, wanted.sort, routes, now),
                key: page.key(),
            });
        }
        drop(page);
        if places.len() >= 2 * keep + SLICE {
            places.select_nth_unstable(keep);
            places.truncate(keep);
        }
        if count % SLICE == SLICE - 1 {
            tokio::task::yield_now().await;
        }
    }
    places.sort_unstable();
    places.truncate(keep);
    wanted.page = wanted.page.min(matching.div_ceil(wanted.limit).max(1));
    let screen = places.iter().skip((wanted.page - 1) * wanted.limit);
    let pages = screen.take(wanted.limit).filter_map(|place| {
        let page = store.peek(&place.key)?;
        Some(PageState::of(site, routes, &page, now))
    });
    Found {
        matching,
        pages: pages.collect(),
    }
}

fn is_wanted(page: &Page, wanted: &Wanted) -> bool {
    let Wanted { path, tag, route, .. } = wanted;
    let (of, rule) = (route.split('/').next().unwrap_or_default(), route.split_once('/'));
    page.path().starts_with(path.as_str())
        && (route.is_empty() || &**page.route() == of && rule.is_none_or(|(_, rule)| &**page.rule() == rule))
        && (tag.is_empty() || page.tags().iter().any(|own| own == tag))
}

fn rank(page: &Page, sort: Sort, routes: &Routes, now: Moment) -> u64 {
    match sort {
        Sort::Visited => u64::MAX - page.visited().0,
        Sort::Newest => u64::MAX - page.stored().0,
        Sort::Oldest => page.stored().0,
        Sort::Size => u64::MAX - page.bytes().len() as u64,
        Sort::Path => 0,
        Sort::Due => {
            let plan = routes.find(page.host(), page.path());
            match plan.map(|plan| Lifetime::of(plan, page.status(), page.app()).fresh_for) {
                // A purge is due at once.
                _ if page.effect().is_some() => 0,
                Some(Interval::After(span)) => (page.stored() + span).0.max(1),
                Some(Interval::Never) => u64::MAX - 1,
                None => u64::MAX - now.0.min(1),
            }
        }
    }
}

impl PageState {
    pub(in crate::admin) fn of(site: &Site, routes: &Routes, page: &Page, now: Moment) -> Self {
        let (key, ledger) = (page.key(), site.fetcher.ledger());
        let age = page.age(now);
        let plan = routes
            .find(key.host(), key.path())
            .filter(|plan| plan.passes().is_none());
        let fresh_for = plan.map(|plan| Lifetime::of(plan, page.status(), page.app()).fresh_for);
        Self {
            key: short(&key.to_string()),
            chosen_by: chosen_by(&key),
            explain: address(&key),
            route: page.route().to_string(),
            rule: page.rule().to_string(),
            status: page.status().as_u16(),
            bytes: page.bytes().len() as u64,
            encodings: EncodingState::all_of(page),
            weight: page.weight(),
            tags: few(&page.tags().iter().collect::<Vec<_>>()),
            tag_count: page.tags().len(),
            age_seconds: age.as_secs(),
            next_revalidation_seconds: match fresh_for {
                Some(Interval::After(span)) => Some(difference(span, age)),
                Some(Interval::Never) | None => None,
            },
            retry_seconds: page
                .retry_at()
                .filter(|until| *until > now)
                .map(|until| until.since(now).as_secs()),
            visited_seconds_ago: (page.visited() > Moment(0)).then(|| now.since(page.visited()).as_secs()),
            last_outcome: page.last_outcome().map(coppice_cache::outcome::Outcome::as_str),
            next_outcome: plan.map_or("BYPASS", |plan| {
                verdict::foresee(Some(page), plan, ledger, now).outcome().as_str()
            }),
            purged: page
                .foresee(ledger)
                .0
                .map(coppice_cache::ledger::Strategy::as_str),
        }
    }
}

/// What chose the page among those of its URL. The value of a cookie is a key to somebody's account.
pub(in crate::admin) fn chosen_by(key: &Key) -> Vec<String> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        cut(
            &format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
            MAX_FIELD,
        )
    };
    let cookies = key.keyed_cookies().map(|name| format!("cookie {name}"));
    let headers = key.keyed_headers().chain(key.variant()).map(field);
    few(&headers.chain(cookies).collect::<Vec<_>>())
}

/// What `/explain` is asked about a key. `None` where the answer would be about another page: a cookie chose this one,
/// whose value is not shown, or the address would be too long, or have a header that nobody can type.
pub(in crate::admin) fn address(key: &Key) -> Option<String> {
    const EXPLAIN: &str = "/explain?";
    if key.keyed_cookies().next().is_some() {
        return None;
    }
    let url = format!("{}://{}{}", key.scheme().as_str(), key.host(), key.target());
    let mut query = form_urlencoded::Serializer::for_suffix(String::from(EXPLAIN), EXPLAIN.len());
    query.append_pair("url", &url);
    if let Some(host) = key.forwarded_host() {
        query.append_pair("header", &format!("X-Forwarded-Host: {host}"));
    }
    for (name, value) in key.keyed_headers().chain(key.variant()) {
        query.append_pair("header", &format!("{name}: {}", value.to_str().ok()?));
    }
    let address = query.finish();
    (address.len() <= MAX_TEXT).then_some(address)
}

fn difference(span: Duration, age: Duration) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    seconds(span) - seconds(age)
}
