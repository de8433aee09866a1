//! The one way of a request: read it, find the rule, look up the page, decide, answer.
//!
//! ```text
//! read ──────┬─ Lookup ─► Shelves::look_up ─┬─ Hit, Stale ─► from the store (and a regeneration behind a stale page)
//!            │                              └─ Wait, Fetch ─► Fetcher::fetch ─┬─► from a flight
//!            ├─ Pass ─────────────────────────────────────────► pass ◄────────┘   (an answer that is not to be shared)
//!            └─ Refuse ─► 400
//! ```

use std::sync::Arc;

use coppice_cache::{
    key::{self, Lookup, Reading},
    outcome::{Forward, PassReason},
    page::Page,
    verdict::Verdict,
};
use http::{
    HeaderMap, Request,
    header::{CONTENT_LOCATION, LOCATION},
};
use http_body::Body as _;

use super::{Answered, Visitor, answer::Answers, own};
use crate::{body::Body, fetch::Fetched, site::Site};

/// Answers one request of a visitor.
///
/// The way of a hit is short and its future small: what goes to the app is boxed, since every request's future is moved
/// with room for the longest way that it may take.
pub async fn visit(site: &Arc<Site>, visitor: &Visitor, request: Request<Body>) -> Answered {
    let (parts, body) = request.into_parts();
    let reading = key::read(&site.routes.load(), &parts);
    match reading {
        // A body that no header announced, as HTTP/2 allows.
        Reading::Lookup(_) if !body.is_end_stream() => {
            let request = Box::new(Request::from_parts(parts, body));
            Box::pin(pass(site, visitor, request, PassReason::Body, None)).await
        }
        Reading::Lookup(mut lookup) => {
            let now = site.clock.now();
            let found = site
                .fetcher
                .shelves(now)
                .look_up(&mut lookup, &parts.headers, now);
            if let Ok((Some(page), Verdict::Hit)) = &found {
                return answers(site, &lookup, &parts.headers).hit(page);
            }
            let request = Box::new(Request::from_parts(parts, body));
            match found {
                Ok((page, verdict)) => {
                    Box::pin(not_fresh(site, visitor, request, lookup, page, verdict)).await
                }
                Err(reason) => Box::pin(pass(site, visitor, request, reason, None)).await,
            }
        }
        Reading::Pass { reason, invalidates } => {
            let request = Box::new(Request::from_parts(parts, body));
            Box::pin(pass(site, visitor, request, reason, invalidates)).await
        }
        Reading::Refuse(reason) => own::refused(reason),
    }
}

async fn not_fresh(
    site: &Arc<Site>,
    visitor: &Visitor,
    request: Box<Request<Body>>,
    lookup: Lookup,
    page: Option<Page>,
    verdict: Verdict,
) -> Answered {
    match (verdict, page) {
        (Verdict::Stale { regenerate }, Some(page)) => {
            if regenerate {
                site.fetcher.regenerate(&lookup.key, site.clock.now());
            }
            answers(site, &lookup, request.headers()).stale(&page, None)
        }
        (Verdict::Wait { fallback }, page) => {
            let old = page.filter(|_| fallback);
            fetch(site, visitor, request, lookup, old, Forward::Stale).await
        }
        (Verdict::Fetch | Verdict::Hit | Verdict::Stale { .. }, _) => {
            let why = if site.fetcher.store().has_others(&lookup.key) {
                Forward::VaryMiss
            } else {
                Forward::UriMiss
            };
            fetch(site, visitor, request, lookup, None, why).await
        }
    }
}

/// Waits for a new page; an answer that is not to be shared is thrown away, and the visitor's own request passes through.
async fn fetch(
    site: &Arc<Site>,
    visitor: &Visitor,
    request: Box<Request<Body>>,
    mut lookup: Lookup,
    old: Option<Page>,
    why: Forward,
) -> Answered {
    let fetched = site.fetcher.fetch(&mut lookup, request.headers(), old).await;
    let lookup = &lookup;
    match fetched {
        Fetched::Page { page, joined, stored } => {
            answers(site, lookup, request.headers()).fetched(&page, why, joined, stored)
        }
        Fetched::Kept { page, joined } => answers(site, lookup, request.headers()).kept(&page, why, joined),
        Fetched::There(page) => answers(site, lookup, request.headers()).hit(&page),
        Fetched::Stream(streamed) => answers(site, lookup, request.headers()).streamed(streamed, why),
        Fetched::Old { page, why: fallback } => {
            answers(site, lookup, request.headers()).stale(&page, Some(fallback))
        }
        Fetched::Failed { error, joined } => {
            site.metrics.unanswered(error.as_str());
            answers(site, lookup, request.headers()).failed(&error, why, joined)
        }
        Fetched::Pass(reason) => pass(site, visitor, request, reason, None).await,
    }
}

async fn pass(
    site: &Arc<Site>,
    visitor: &Visitor,
    request: Box<Request<Body>>,
    reason: PassReason,
    invalidates: Option<Lookup>,
) -> Answered {
    let response = site.passage.pass(visitor, request, reason).await;
    // RFC 9111 section 4.4: a non-error response to an unsafe method.
    let succeeded = response.status().is_success() || response.status().is_redirection();
    if let Some(own) = invalidates.filter(|_| succeeded) {
        site.fetcher.invalidate(&own);
        for named in [LOCATION, CONTENT_LOCATION] {
            let routes = site.routes.load();
            if let Some(other) = (response.headers().get(named)).and_then(|value| own.named(&routes, value)) {
                site.fetcher.invalidate(&other);
            }
        }
    }
    Answered::passed(response, reason)
}

/// As of now: the time has gone on while somebody waited.
fn answers<'a>(site: &'a Site, lookup: &'a Lookup, asked: &'a HeaderMap) -> Answers<'a> {
    Answers {
        lookup,
        asked,
        fetcher: &site.fetcher,
        now: site.clock.now(),
        names_key: site.names_key,
    }
}
