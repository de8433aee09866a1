//! A flight, from its request to the store.

use std::{borrow::Cow, future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use coppice_cache::{
    coding, conditions,
    flights::{Landing, Ticket},
    key::Lookup,
    lifetime::{self, Judgement, Unstorable},
    outcome::Outcome,
    page::{Page, Parts, TagSet},
    store::Inserted,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::ETAG};
use http_body::Body as _;

use super::{
    Failure, Shared,
    flight::{Answer, Flight, Phase},
    tee::BrokenOff,
};
use crate::body::Body;

/// An answer from an app's own outdated cache is asked for again after these times.
const AGAIN: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// What a flight takes beside key, headers and body: its task, its connection and the buffers of that, in bytes.
const BOOKKEEPING: u64 = 16 << 10;

/// Flies: a task of its own, since a flight belongs to no visitor.
pub(super) async fn fly(shared: Arc<Shared>, lookup: Lookup, flight: Arc<Flight>, ticket: Ticket) {
    Pilot {
        shared,
        lookup,
        flight,
        ticket,
    }
    .fly()
    .await;
}

struct Pilot {
    shared: Arc<Shared>,
    lookup: Lookup,
    flight: Arc<Flight>,
    ticket: Ticket,
}

impl Drop for Pilot {
    /// A flight that crashes, which only a fault in here can bring about, or that the runtime ends, keeps neither its key nor those who wait: they
    /// pass through, and what has begun to stream breaks off.
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

/// How a body ended.
enum Collected {
    /// All of it is in the tee.
    Whole(Bytes),
    /// All of it has gone past to those who read it, and nothing is left to be stored.
    Paced,
    /// It grew too large, and nobody reads it.
    Abandoned(Unstorable),
    BrokenOff,
}

impl Pilot {
    async fn fly(&self) {
        // With an old page in the store, or behind a purge, an outdated answer helps nobody. Without, it is what the app
        // itself would show.
        let cold = self.shared.store.get(&self.lookup.key).is_none();
        let mut again = AGAIN.iter();
        if !self.has_room() {
            return self.give_up(Unstorable::NoRoom);
        }
        loop {
            let response = match self.send().await {
                Ok(response) => response,
                Err(failure) => return self.fail(failure),
            };
            let (head, body) = response.into_parts();
            let judgement = lifetime::judge(&self.lookup.plan, &self.lookup.key, head.status, &head.headers);
            match judgement {
                Judgement::Unstorable(reason) => return self.refuse(reason),
                Judgement::Store { .. } if self.is_too_large(&body) => {
                    return self.refuse(Unstorable::TooLarge);
                }
                Judgement::Store { tags } => {
                    return self.collect(head.status, head.headers, body, tags).await;
                }
                Judgement::Outdated if !cold => {
                    drop(body);
                    match again.next() {
                        Some(pause) => tokio::time::sleep(*pause).await,
                        None => return self.give_up(Unstorable::Outdated),
                    }
                }
                Judgement::Failure | Judgement::Outdated => {
                    return self.share(head.status, head.headers, body).await;
                }
            }
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

    async fn send(&self) -> Result<Response<Body>, Failure> {
        let request = self.lookup.origin_request().map(|()| Body::empty());
        let timeout = self.lookup.plan.origin.timeout;
        self.shared
            .upstream
            .send(request, timeout)
            .await
            .map_err(Failure::Upstream)
    }

    fn is_too_large(&self, body: &Body) -> bool {
        body.size_hint().lower() > self.lookup.plan.rule.max_body_bytes
    }

    /// The answer becomes a page, if its body arrives whole and nothing overtakes it.
    async fn collect(&self, status: StatusCode, mut headers: HeaderMap, body: Body, tags: TagSet) {
        self.shared.flights.lock().learn(&self.ticket, &tags);
        let compressible = coding::may_compress(&headers, body.size_hint().exact());
        lifetime::page_headers(&self.lookup.plan, &mut headers);
        if compressible {
            coding::vary(&mut headers);
        }
        if !self.has_room_for(&headers) {
            return self.give_up(Unstorable::NoRoom);
        }
        let headers = Arc::new(headers);
        let answer = Arc::new(Answer {
            status,
            headers: headers.clone(),
            storing: true,
        });
        self.flight.tee.promise(body.size_hint().exact());
        self.flight.enter(Phase::Answer(answer.clone()));
        match self.receive(body).await {
            Collected::Whole(body) => {
                let page = Arc::new(self.page(&answer, body, tags.clone(), compressible));
                let stored = self.store(&page, &tags);
                self.flight.enter(Phase::Landed { page, stored });
                self.flight.tee.reveal();
                if stored {
                    self.flight.tee.release_room();
                }
            }
            Collected::Paced => {
                self.land(Some(&tags));
                self.flight.enter(Phase::Over(answer));
                self.flight.tee.reveal();
            }
            // Marked already, where that is right.
            Collected::Abandoned(reason) => self.give_up(reason),
            Collected::BrokenOff => self.fail(Failure::BrokenOff(BrokenOff)),
        }
    }

    /// The answer is for those who wait now, and becomes no page: the app's error, or what its own cache had.
    async fn share(&self, status: StatusCode, mut headers: HeaderMap, body: Body) {
        lifetime::shared_headers(&mut headers);
        if !self.has_room_for(&headers) {
            return self.give_up(Unstorable::NoRoom);
        }
        let answer = Arc::new(Answer {
            status,
            headers: Arc::new(headers),
            storing: false,
        });
        self.flight.tee.promise(body.size_hint().exact());
        self.flight.enter(Phase::Answer(answer.clone()));
        let received = self.receive(body).await;
        self.back_off();
        self.flight.enter(match received {
            Collected::Whole(_) | Collected::Paced => {
                self.flight.tee.reveal();
                Phase::Over(answer)
            }
            Collected::Abandoned(reason) => Phase::Unstorable(reason),
            Collected::BrokenOff => Phase::Failed(Failure::BrokenOff(BrokenOff)),
        });
    }

    /// Reads a body into the tee. `origin.timeout` bounds its silence.
    async fn receive(&self, mut body: Body) -> Collected {
        let tee = &self.flight.tee;
        let silence = self.lookup.plan.origin.timeout;
        let mut paced = None;
        loop {
            let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            let chunk = match tokio::time::timeout(silence, frame).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => chunk,
                    // Trailers: no part of what is stored, and a cache may leave them out (RFC 9110 §6.5.1).
                    Err(_) => continue,
                },
                Ok(None) => return tee.finish().map_or(Collected::Paced, Collected::Whole),
                Ok(Some(Err(_))) | Err(_) => {
                    tee.break_off();
                    return Collected::BrokenOff;
                }
            };
            let too_large = tee.arrived() + chunk.len() as u64 > self.lookup.plan.rule.max_body_bytes;
            let refused = if too_large && paced.is_none() {
                Some((chunk, Unstorable::TooLarge))
            } else {
                tee.push(chunk)
                    .err()
                    .map(|(chunk, _)| (chunk, Unstorable::NoRoom))
            };
            if let Some((chunk, reason)) = refused {
                self.pace(reason);
                paced = Some(reason);
                // A paced tee takes every chunk.
                let _ = tee.push(chunk);
            }
            if let Some(reason) = paced
                && !self.keep_pace(silence).await
            {
                return Collected::Abandoned(reason);
            }
        }
    }

    /// The body is more than can be kept: it goes to those who read it already, as fast as they read.
    fn pace(&self, reason: Unstorable) {
        let now = self.shared.clock.now();
        let mut flights = self.shared.flights.lock();
        flights.close(&self.ticket, reason);
        // Room may be found for the next one; a smaller body hardly.
        if reason == Unstorable::TooLarge {
            flights.mark(&self.lookup.key, reason, now);
        }
        drop(flights);
        self.flight.tee.pace();
    }

    /// Waits for the readers; who keeps the others waiting for too long is cut. False: nobody reads.
    async fn keep_pace(&self, patience: Duration) -> bool {
        let tee = &self.flight.tee;
        if let Ok(is_read) = tokio::time::timeout(patience, tee.keep_pace()).await {
            return is_read;
        }
        tee.cut_slowest();
        tee.is_read()
    }

    fn page(&self, answer: &Answer, body: Bytes, tags: TagSet, compressible: bool) -> Page {
        let plan = &self.lookup.plan;
        let mut headers = Cow::Borrowed(&*answer.headers);
        // Only a 200 has conditions.
        let tagged = answer.status == StatusCode::OK && !headers.contains_key(ETAG);
        if tagged {
            headers.to_mut().insert(ETAG, conditions::tag_of(&body));
        }
        Page::new(Parts {
            key: self.lookup.key.clone(),
            route: plan.route.clone(),
            rule: plan.name.clone(),
            fingerprint: plan.fingerprint,
            status: answer.status,
            headers: lifetime::compact(&headers),
            compressible: compressible && body.len() as u64 >= coding::LEAST,
            body,
            tags,
            stamp: self.ticket.stamp(),
            stored: self.shared.clock.now(),
            tagged,
            encodings: Box::default(),
        })
    }

    /// Stores the page unless something overtook the flight. Both under one lock: a reset either finds the flight in the
    /// air or the page in the store.
    fn store(&self, page: &Arc<Page>, tags: &TagSet) -> bool {
        let shared = &self.shared;
        let mut flights = shared.flights.lock();
        let clear = flights.land(&self.ticket, Some(tags), &shared.ledger) == Landing::Clear;
        if !clear {
            return false;
        }
        let now = shared.clock.now();
        // A page that takes the place of another inherits its last visit: being regenerated makes nothing hot.
        let old = shared.store.get(&self.lookup.key);
        if old.is_none() {
            page.visit(now);
            page.note(Outcome::Miss);
        }
        let inserted = shared.store.insert(page.clone());
        match inserted {
            Inserted::Stored => {
                flights.unmark(&self.lookup.key);
                if let Some(old) = &old {
                    shared.compressor.follow(&shared.store, page, old);
                }
            }
            Inserted::TooHeavy => flights.mark(&self.lookup.key, Unstorable::TooLarge, now),
            Inserted::Older => {}
        }
        inserted == Inserted::Stored
    }

    fn land(&self, tags: Option<&TagSet>) -> Landing {
        self.shared
            .flights
            .lock()
            .land(&self.ticket, tags, &self.shared.ledger)
    }

    fn mark(&self, reason: Unstorable) {
        let now = self.shared.clock.now();
        self.shared.flights.lock().mark(&self.lookup.key, reason, now);
    }

    /// The app failed: the old page stays, and is not asked for again too soon, unless a purge has come since take-off.
    fn back_off(&self) {
        if self.land(None) == Landing::Clear
            && let Some(page) = self.shared.store.get(&self.lookup.key)
        {
            page.back_off(lifetime::back_off(&self.lookup.plan, self.shared.clock.now()));
        }
    }

    fn fail(&self, failure: Failure) {
        tracing::debug!(
            path = self.lookup.key.path(),
            reason = failure.as_str(),
            "failed to fetch a page: {failure}"
        );
        self.back_off();
        self.flight.enter(Phase::Failed(failure));
    }

    /// The answer is not one to share: who waits passes through, and so do the next ones, without waiting.
    fn refuse(&self, reason: Unstorable) {
        self.mark(reason);
        self.give_up(reason);
    }

    /// Who waits passes through.
    fn give_up(&self, reason: Unstorable) {
        self.back_off();
        self.flight.enter(Phase::Unstorable(reason));
    }
}

#[cfg(test)]
mod tests {
    use coppice_cache::{
        config::{Config, Interval, Route, Rule, Scheme},
        key::Key,
        ledger::Ledger,
        routes::Routes,
        store::Store,
    };
    use futures::poll;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        clock::Clock,
        fetch::{Boarding, Fetched, Fetcher, Upstream},
    };

    fn lookup() -> Lookup {
        let rule = Rule {
            revalidate: Some(Interval::Never),
            ..Rule::new("all", &["/[[...all]]"])
        };
        let route = Route::new("shop", vec![rule]);
        let routes = Routes::compile(&Config { routes: vec![route] }).unwrap();
        let key = Arc::new(Key::new(Scheme::Http, "a.test", "/a", "").unwrap());
        routes.revisit(&key).unwrap()
    }

    #[tokio::test]
    async fn a_flight_that_crashes_keeps_nobody_waiting() {
        // It takes connections and never answers.
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Upstream::new(&app.local_addr().unwrap().to_string());
        let fetcher = Fetcher::new(
            Clock::start(),
            Store::new(1 << 20),
            Arc::new(Ledger::new()),
            upstream,
        );
        let (shared, lookup) = (&fetcher.shared, lookup());
        let make = || Flight::new(shared.store.reserve());
        let boarding = shared
            .flights
            .lock()
            .board(&lookup.key, &lookup.plan, &shared.ledger, make);
        let Boarding::Lead { flight, ticket, .. } = boarding else {
            panic!("nothing else is in the air");
        };
        let mut visitor = Box::pin(fetcher.fetch(&lookup, None));
        assert!(poll!(&mut visitor).is_pending());
        let mut crashing = Box::pin(fly(shared.clone(), lookup.clone(), flight, ticket));
        assert!(poll!(&mut crashing).is_pending());
        drop(crashing);
        assert!(matches!(visitor.await, Fetched::Pass(Unstorable::Fault)));
        assert_eq!(fetcher.in_the_air(), 0);
    }
}
