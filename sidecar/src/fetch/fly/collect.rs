//! The answer of a flight, while its body arrives: for those who wait, and to become a page.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use coppice_cache::{
    coding, conditions,
    freshness::Arrival,
    headers,
    judge::{Storable, Unstorable},
    key::Selection,
    nextjs,
    page::{BackOff, Page, Parts},
};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;

use super::{Answer, Failure, Phase, Pilot};
use crate::{body::Body, fetch::tee::BrokenOff};

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
    pub(super) fn is_too_large(&self, body: &Body) -> bool {
        body.size_hint().lower() > self.most()
    }

    /// So many bytes a body that is stored may have.
    fn most(&self) -> u64 {
        let rule = &self.lookup.plan.rule;
        rule.max_body_bytes.min(self.shared.store.largest())
    }

    /// The answer becomes a page, if its body arrives whole and nothing overtakes it.
    pub(super) async fn collect(
        &self,
        status: StatusCode,
        mut headers: HeaderMap,
        body: Body,
        storable: Storable,
        arrival: Arrival,
    ) {
        let arrived = self.shared.clock.now();
        let tags = storable.tags.clone();
        self.shared.flights.lock().learn(&self.ticket, &tags);
        let compressible = coding::may_compress(&headers, body.size_hint().exact());
        headers::page_headers(&self.lookup.plan, &mut headers, arrival);
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
            vary: Some(storable.vary.clone()).filter(|vary| !vary.is_empty()),
            app: storable.app,
            arrived,
        });
        self.flight.tee.promise(body.size_hint().exact());
        self.flight.enter(Phase::Answer(answer.clone()));
        match self.receive(body, true).await {
            // Its head said 200 before the app knew better.
            Collected::Whole(body) if nextjs::has_failed(&answer.headers, &body) => {
                self.back_off(BackOff::Failed);
                self.flight.enter(Phase::Over(answer));
                self.flight.tee.reveal();
            }
            Collected::Whole(body) => {
                if answer.vary.is_some() {
                    self.flight.decided().await;
                }
                let page = self.page(&answer, body, storable, compressible);
                let stored = self.store(&page);
                self.flight.enter(Phase::Landed { page, stored });
                self.flight.tee.reveal();
                if stored {
                    self.flight.tee.release_room();
                }
            }
            Collected::Paced => {
                self.land(Some(tags.list()));
                self.flight.enter(Phase::Over(answer));
                self.flight.tee.reveal();
            }
            // Marked already, where that is right.
            Collected::Abandoned(reason) => self.give_up(reason),
            Collected::BrokenOff => self.fail(Failure::BrokenOff(BrokenOff)),
        }
    }

    /// The answer is for those who wait now, and becomes no page: the app's error, or what its own cache had.
    pub(super) async fn share(&self, status: StatusCode, mut headers: HeaderMap, body: Body) {
        let vary = Selection::of(&headers).ok().filter(|vary| !vary.is_empty());
        headers::shared_headers(&self.lookup.plan, &mut headers);
        if !self.has_room_for(&headers) {
            return self.give_up(Unstorable::NoRoom);
        }
        let answer = Arc::new(Answer {
            status,
            headers: Arc::new(headers),
            storing: false,
            // The app's error is for all who wait.
            vary: vary.filter(|_| !status.is_server_error()),
            app: None,
            arrived: self.shared.clock.now(),
        });
        self.flight.tee.promise(body.size_hint().exact());
        self.flight.enter(Phase::Answer(answer.clone()));
        let received = self.receive(body, false).await;
        self.back_off(BackOff::Failed);
        self.flight.enter(match received {
            Collected::Whole(_) | Collected::Paced => {
                self.flight.tee.reveal();
                Phase::Over(answer)
            }
            // It is the app's error all the same.
            Collected::Abandoned(_) => Phase::Over(answer),
            Collected::BrokenOff => Phase::Failed(Failure::BrokenOff(BrokenOff)),
        });
    }

    /// Reads a body into the tee, `to_store` it or for those who wait alone. `origin.timeout` bounds its silence.
    async fn receive(&self, mut body: Body, to_store: bool) -> Collected {
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
            let too_large = tee.arrived() + chunk.len() as u64 > self.most();
            let refused = if too_large && paced.is_none() {
                Some((chunk, Unstorable::TooLarge))
            } else {
                tee.push(chunk)
                    .err()
                    .map(|(chunk, _)| (chunk, Unstorable::NoRoom))
            };
            if let Some((chunk, reason)) = refused {
                self.pace(reason, to_store);
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
    fn pace(&self, reason: Unstorable, to_store: bool) {
        let now = self.shared.clock.now();
        let mut flights = self.shared.flights.lock();
        flights.close(&self.ticket, reason);
        // Room may be found for the next one; a smaller body hardly, but where it is the app's error.
        if to_store && reason == Unstorable::TooLarge {
            flights.mark(&self.lookup.key, reason, now);
        }
        drop(flights);
        self.flight.tee.pace(reason);
    }

    /// Waits for the readers; who keeps others waiting for too long is cut. False: nobody reads.
    async fn keep_pace(&self, patience: Duration) -> bool {
        let tee = &self.flight.tee;
        loop {
            if let Ok(is_read) = tokio::time::timeout(patience, tee.keep_pace()).await {
                return is_read;
            }
            tee.cut_slowest();
        }
    }

    fn page(&self, answer: &Answer, body: Bytes, storable: Storable, compressible: bool) -> Page {
        let plan = &self.lookup.plan;
        let mut headers = HeaderMap::clone(&answer.headers);
        // Only a 200 has conditions.
        let tagged = answer.status == StatusCode::OK && !headers.contains_key(header::ETAG);
        if tagged {
            headers.insert(header::ETAG, conditions::tag_of(&body));
        }
        Page::new(Parts {
            key: self.lookup.key.clone(),
            owner: plan.owner.clone(),
            status: answer.status,
            headers,
            compressible: compressible && body.len() as u64 >= coding::LEAST,
            body,
            tags: storable.tags,
            stamp: self.ticket.stamp(),
            // What its body took counts (RFC 9111 section 4.2.3).
            stored: answer.arrived,
            tagged,
            vary: Some(storable.vary).filter(|vary| !vary.is_empty()).map(Box::new),
            app: storable.app,
        })
    }
}
