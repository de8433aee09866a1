//! A flight, from its request to the store.

mod collect;
mod validate;

use std::{sync::Arc, time::SystemTime};

use coppice_cache::{
    flights::{Landing, Ticket},
    freshness::Arrival,
    judge::{self, Judgement, Unstorable},
    key::Lookup,
    ledger::{Facts, Strategy, Tags},
    lifetime,
    nextjs::{OwnCache, PRERENDER_REVALIDATE},
    outcome::Outcome,
    page::{BackOff, Page, TagList, TagSet},
    store::Inserted,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use tokio::time::Instant;

use super::{
    Failure, Fetcher, Shared,
    again::{AGAIN, ask_again},
    flight::{Answer, Flight, Phase},
};
use crate::body::Body;

/// What a flight takes beside key, headers and body, in bytes: its task, its connection and the buffers of that, but for what
/// is read of a large body ahead of the tee.
const BOOKKEEPING: u64 = 16 << 10;

/// Flies: a task of its own, since a flight belongs to no visitor.
pub(super) async fn fly(
    shared: Arc<Shared>,
    lookup: Lookup,
    flight: Arc<Flight>,
    ticket: Ticket,
    behind: bool,
) {
    Pilot {
        shared,
        lookup,
        flight,
        ticket,
        behind,
    }
    .fly()
    .await;
}

struct Pilot {
    shared: Arc<Shared>,
    lookup: Lookup,
    flight: Arc<Flight>,
    ticket: Ticket,
    /// No visitor asks: it is a regeneration, or a page is fetched before one does.
    behind: bool,
}

impl Drop for Pilot {
    /// A flight that crashes, which only a fault in here can bring about, or that the runtime ends, keeps neither its key nor
    /// those who wait: they pass through, and what has begun to stream breaks off.
    fn drop(&mut self) {
        if self.flight.is_over() {
            return;
        }
        if std::thread::panicking() {
            tracing::error!(path = self.lookup.key.path(), "a flight crashed");
        }
        self.flight.tee.break_off();
        self.land(None);
        self.flight.enter(Phase::Unstorable(Unstorable::Fault));
    }
}

impl Pilot {
    async fn fly(&self) {
        let cold = self.shared.store.get(&self.lookup.key).is_none();
        let mut again = AGAIN.iter();
        if !self.has_room() {
            return self.give_up(Unstorable::NoRoom);
        }
        // Only headers of the route get a request past a cache of the app's.
        let is_past = !self.lookup.plan.origin_headers().is_empty();
        let mut overtakes = is_past && self.ask();
        let regenerates = is_past && (overtakes || self.regenerates());
        let mut validated = self.to_validate();
        loop {
            let (response, arrival) = match self.send(validated.as_ref(), regenerates).await {
                Ok(answered) => answered,
                Err(failure) => return self.fail(failure),
            };
            let (head, body) = response.into_parts();
            if regenerates {
                self.note_origin_cache(&head.headers);
            }
            let Lookup { key, plan, .. } = &self.lookup;
            let judgement = judge::judge(
                plan,
                key,
                head.status,
                &head.headers,
                arrival,
                validated.is_some(),
            );
            // With what its own cache holds Next.js begins to render, where it has not before.
            if is_past && !matches!(judgement, Judgement::Outdated(_)) {
                self.shared.flights.lock().answered(&self.ticket);
            }
            match judgement {
                // Next.js renders a page once for all who ask meanwhile, its token or not, and says REVALIDATED of what it
                // began before the purge. Only what it begins after this answer is surely none of that.
                Judgement::Store(_) if overtakes && OwnCache::of(&head.headers).is_some() => {
                    drop(body);
                    overtakes = false;
                }
                Judgement::Unstorable(reason) => {
                    if reason == Unstorable::Interval {
                        self.clear_place();
                    }
                    return self.refuse(reason);
                }
                // A failure that may be stored takes the place of no page that is better than that, whatever its size.
                Judgement::Store(_) if head.status.is_server_error() && self.has_better() => {
                    return self.share(head.status, head.headers, body).await;
                }
                Judgement::Store(_) if self.is_too_large(&body) => {
                    return self.refuse(Unstorable::TooLarge);
                }
                Judgement::Store(storable) => {
                    return self
                        .collect(head.status, head.headers, body, storable, arrival)
                        .await;
                }
                Judgement::NotModified => {
                    drop(body);
                    // It was asked with the validators of a page.
                    if let Some(page) = validated.take()
                        && self.confirm(page, head.headers, arrival)
                    {
                        return;
                    }
                }
                // With an old page in the store, or behind a purge, an outdated answer helps nobody, nor does a 304 about one.
                // Without, it is what the app itself would show.
                Judgement::Outdated(tags) if !cold || validated.is_some() || self.is_purged(&tags) => {
                    drop(body);
                    match again.next() {
                        Some(pause) => tokio::time::sleep(*pause).await,
                        None => return self.give_up(Unstorable::Outdated),
                    }
                }
                Judgement::Failure => return self.share(head.status, head.headers, body).await,
                Judgement::Outdated(_) => {
                    self.share(head.status, head.headers, body).await;
                    let shared = self.shared.clone();
                    return ask_again(Fetcher { shared }, self.lookup.key.clone());
                }
            }
            if is_past {
                self.ask();
            }
        }
    }

    /// Its page takes the place of another, or follows a purge. What the app's own cache holds is then no answer: the
    /// headers that are for regenerations get the request past it.
    fn regenerates(&self) -> bool {
        let shared = &self.shared;
        let purged = || shared.ledger.effect(&self.facts(Tags::Unknown), 0);
        self.behind || shared.store.get(&self.lookup.key).is_some() || purged().is_some()
    }

    /// See [`Flights::ask`](coppice_cache::flights::Flights::ask).
    fn ask(&self) -> bool {
        let now = self.shared.clock.now();
        let mut flights = self.shared.flights.lock();
        flights.ask(&self.ticket, &self.shared.ledger, now)
    }

    /// A purge has selected the page with these tags, and not one that lets an old page serve: nobody is to see what was
    /// there before it.
    fn is_purged(&self, tags: &TagSet) -> bool {
        let facts = self.facts(Tags::Known(tags.list()));
        self.shared.ledger.effect(&facts, 0) > Some(Strategy::Refresh)
    }

    fn facts<'a>(&'a self, tags: Tags<'a>) -> Facts<'a> {
        let Lookup { key, plan, .. } = &self.lookup;
        Facts {
            route: &plan.owner.route,
            host: key.host(),
            path: key.path(),
            tags,
        }
    }

    /// Next.js names its own cache. With the token that makes it render anew it does so; else the token is not the one of its
    /// build.
    fn note_origin_cache(&self, headers: &HeaderMap) {
        let is_asked = |(name, _): &(HeaderName, HeaderValue)| name == PRERENDER_REVALIDATE;
        if self.lookup.plan.origin_headers().iter().any(is_asked) {
            let cached = matches!(OwnCache::of(headers), Some(OwnCache::Hit | OwnCache::Stale));
            self.flight.note_origin_cached(cached);
        }
    }

    fn has_room(&self) -> bool {
        let key = self.lookup.key.weight() as u64;
        self.flight.tee.make_room(BOOKKEEPING + key)
    }

    fn has_room_for(&self, headers: &HeaderMap) -> bool {
        let one = |(name, value): (&HeaderName, &HeaderValue)| {
            size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
        };
        let bytes: usize = headers.iter().map(one).sum();
        self.flight.tee.make_room(bytes as u64)
    }

    async fn send(
        &self,
        validated: Option<&Page>,
        regenerates: bool,
    ) -> Result<(Response<Body>, Arrival), Failure> {
        let mut request = self.lookup.origin_request().map(|()| Body::empty());
        if regenerates {
            let headers = self.lookup.plan.origin_headers().iter().cloned();
            request.headers_mut().extend(headers);
        }
        if let Some(page) = validated {
            let validators = [
                (header::ETAG, header::IF_NONE_MATCH),
                (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
            ];
            for (of_page, condition) in validators {
                // A tag of our own says nothing to the app.
                if let Some(validator) = page.header(&of_page)
                    && !(of_page == header::ETAG && page.is_tagged())
                {
                    request.headers_mut().insert(condition, validator);
                }
            }
        }
        let timeout = self.lookup.plan.origin.timeout;
        let asked = Instant::now();
        let answered = self.shared.upstream.send(Box::new(request), timeout).await;
        let arrival = Arrival {
            at: SystemTime::now(),
            delay: asked.elapsed(),
        };
        answered
            .map(|response| (response, arrival))
            .map_err(Failure::Upstream)
    }

    /// Stores the page unless something overtook the flight. Both under one lock: a reset either finds the flight in the
    /// air or the page in the store. A page that no visitor asked for, and that is new, is not stored either: only by its
    /// `Vary` did they learn that theirs is another one, and that is what is kept of it.
    fn store(&self, page: &Page) -> bool {
        let shared = &self.shared;
        let mut flights = shared.flights.lock();
        let clear = flights.land(&self.ticket, Some(page.tags()), &shared.ledger) == Landing::Clear;
        if !clear {
            return false;
        }
        let now = shared.clock.now();
        // A page that takes the place of another inherits its last visit: being regenerated makes nothing hot.
        let old = shared.store.get(&self.lookup.key);
        if old.is_none()
            && let Some(vary) = page.vary().filter(|_| self.flight.is_nobodys())
        {
            flights.note_vary(&self.lookup.key, vary, now);
            return false;
        }
        if old.is_none() {
            page.visit(now);
            page.note(Outcome::Miss);
        }
        let inserted = shared.store.insert(page);
        match inserted {
            Inserted::Stored => {
                flights.stored(&self.lookup.key);
                if let Some(old) = &old {
                    shared.compressor.follow(&shared.store, page, old);
                }
            }
            Inserted::TooHeavy => flights.mark(&self.lookup.key, Unstorable::TooLarge, now),
            Inserted::Older => {}
        }
        inserted == Inserted::Stored
    }

    fn land(&self, tags: Option<TagList<'_>>) -> Landing {
        self.shared
            .flights
            .lock()
            .land(&self.ticket, tags, &self.shared.ledger)
    }

    /// The answer takes the place of the stored page as any success does, and lives for no time at all: a 404 where the rule's
    /// `negative` is zero. Unless something has overtaken the flight.
    fn clear_place(&self) {
        self.land_on_old(
            |_| None,
            |page| {
                self.shared.store.remove(page);
            },
        );
    }

    /// The flight ends; with what is stored, unless something has overtaken it, by these tags. Under one lock: the next
    /// flight lands later.
    fn land_on_old(&self, tags: impl Fn(&Page) -> Option<TagList<'_>>, then: impl FnOnce(&Page)) {
        let shared = &self.shared;
        let mut flights = shared.flights.lock();
        let old = shared.store.get(&self.lookup.key);
        let landing = flights.land(&self.ticket, old.as_ref().and_then(tags), &shared.ledger);
        if let Some(old) = old.filter(|_| landing == Landing::Clear) {
            then(&old);
        }
    }

    fn mark(&self, reason: Unstorable) {
        let now = self.shared.clock.now();
        self.shared.flights.lock().mark(&self.lookup.key, reason, now);
    }

    /// The old page stays, and is not asked for again too soon, unless a purge that selects it has come since take-off.
    fn back_off(&self, why: BackOff) {
        let back_off = |page: &Page| {
            let now = self.shared.clock.now();
            page.back_off(lifetime::back_off(&self.lookup.plan, page.app(), now), why);
        };
        self.land_on_old(|page| Some(page.tags()), back_off);
    }

    fn fail(&self, failure: Failure) {
        tracing::debug!(
            path = self.lookup.key.path(),
            reason = failure.as_str(),
            "failed to fetch a page: {failure}"
        );
        self.back_off(BackOff::Failed);
        self.flight.enter(Phase::Failed(failure));
    }

    /// The answer is not one to share: who waits passes through, and so do the next ones, without waiting.
    fn refuse(&self, reason: Unstorable) {
        self.mark(reason);
        self.give_up(reason);
    }

    /// Who waits passes through, but where the app has failed and an old page may serve.
    fn give_up(&self, reason: Unstorable) {
        let why = if reason.is_failure() {
            BackOff::Failed
        } else {
            BackOff::Refused
        };
        self.back_off(why);
        self.flight.enter(Phase::Unstorable(reason));
    }
}

#[cfg(test)]
mod tests;
