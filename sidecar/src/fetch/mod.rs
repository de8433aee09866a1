//! Asking the app: flights that belong to no visitor, and the regenerations that go on behind stale pages.
//!
//! ```text
//! Fetcher::fetch ──► Flights::board ──Lead──► fly: send, judge, collect, store   (a task of its own)
//!                        └──Join───────────────┐
//!                                 Flight ◄─────┘ ──► Fetched: streamed while it arrives, whole, failed, or pass through
//! Fetcher::regenerate ──► queue (so many at a time, the hottest first) ──► the same flights
//! Fetcher::compress ──► a stored page's body in another coding, made once
//! ```

mod again;
mod compress;
mod flight;
mod fly;
mod queue;
mod seen;
mod tee;
pub mod upstream;
mod wait;

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use coppice_cache::{
    coding::Coding,
    find::{NARROWINGS, Shelves},
    flights::{Boarding, Flights, Overtaking},
    freshness::Freshness,
    judge::Unstorable,
    key::{Key, Lookup, Selection},
    ledger::Ledger,
    outcome::{Outcome, PassReason},
    page::Page,
    routes::Routes,
    store::Store,
    time::Moment,
    verdict::{self, Verdict},
};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use self::{
    again::Again,
    compress::Compressor,
    flight::Flight,
    queue::{Job, Queue},
    wait::{Boarded, Waited, ended, wait},
};
pub use self::{
    seen::{FlightSeen, Foreseen, Turn},
    tee::{BrokenOff, TeeBody},
    upstream::{Upstream, UpstreamError},
};
use crate::clock::Clock;

/// Those who wait while an old page may serve are given that after so long.
const OLD_PAGE_AFTER: Duration = Duration::from_secs(10);

/// No larger key is held for a while where no budget knows of it, in bytes: visitors make them as long as they like.
const LARGEST_HELD: usize = 4 << 10;
/// So many unsafe requests wait at a time before they count.
const WAITERS: usize = 1024;

/// Everything that has to do with new pages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// Those in force.
    routes: Arc<ArcSwap<Routes>>,
    store: Arc<Store>,
    ledger: Arc<Ledger>,
    upstream: Upstream,
    /// Held for state alone, never across an await.
    flights: Mutex<Flights<Flight>>,
    queue: Mutex<Queue>,
    regenerations: NonZeroU16,
    compressor: Compressor,
    again: Again,
    /// Unsafe requests that wait for others of their URL, at most [`WAITERS`].
    waiters: Arc<Semaphore>,
}

/// What came of waiting for a new page.
#[derive(Debug)]
pub enum Fetched {
    /// The app's answer, streamed while it arrives: a new page, or the app's own error.
    Stream(Streamed),
    /// The new page, complete: to who had an old one, or because it was whole before who waited looked.
    Page {
        /// The page.
        page: Page,
        /// Somebody else's flight brought it.
        joined: bool,
        /// It is in the store; false: a purge overtook it.
        stored: bool,
    },
    /// Another flight has landed since the visitor looked: the page is in the store, and fresh.
    There(Page),
    /// The old page, as stale as it was: the app says that it has not changed, and nothing by which it could be renewed.
    Kept {
        /// The page.
        page: Page,
        /// It was somebody else's flight.
        joined: bool,
    },
    /// No new page; the old one serves.
    Old {
        /// What was handed in as `fallback`.
        page: Page,
        /// Why.
        why: Fallback,
    },
    /// The app gave no answer, and no old page may serve: 502 or 504.
    Failed {
        /// Why; its `status` is what the visitor gets.
        error: Failure,
        /// It was somebody else's flight.
        joined: bool,
    },
    /// The answer is for who asks: the visitor's own request passes through.
    Pass(PassReason),
}

/// An answer that is streamed while it arrives.
#[derive(Debug)]
pub struct Streamed {
    /// The app's status.
    pub status: StatusCode,
    /// What visitors may see of its headers.
    pub headers: Arc<HeaderMap>,
    /// Its body. Breaks off if the app's does.
    pub body: TeeBody,
    /// It was somebody else's flight.
    pub joined: bool,
    /// It is to be stored; false: it is the app's error, or the app's own cache was out of date.
    pub stored: bool,
    /// What the app says of how long it lives, where the app decides.
    pub app: Option<Freshness>,
    /// When its head was there.
    pub arrived: Moment,
}

/// Why the old page serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// The app failed.
    Failed,
    /// The app takes its time.
    Slow,
}

impl Fallback {
    /// The word of header, log and metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "app-failed",
            Self::Slow => "app-slow",
        }
    }
}

/// Why the app gave no answer. Cheap to clone: all who waited share it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// It could not be asked, or did not begin to answer.
    #[error(transparent)]
    Upstream(UpstreamError),
    /// It broke off in the middle of its answer.
    #[error(transparent)]
    BrokenOff(BrokenOff),
}

impl Failure {
    /// What a visitor is told.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Upstream(error) => error.status(),
            Self::BrokenOff(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The word of log and metric.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Upstream(error) => error.as_str(),
            Self::BrokenOff(_) => "broken-off",
        }
    }
}

/// What came of a regeneration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regenerated {
    /// A page that no purge has touched is stored.
    Done,
    /// A purge came meanwhile, and sees to it.
    Overtaken,
    /// The page, or its route, is no longer there: nothing is to be done.
    Gone,
    /// The app failed, or nobody learned what it answers: the old page stays, and the next try may bring a new one.
    Failed,
    /// The app's answer was not one to store: the old page stays.
    Refused,
}

/// How a regeneration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// What came of it.
    pub outcome: Regenerated,
    /// The app answered out of a cache of its own, although `origin.headers` asked it to go past that.
    pub origin_cached: bool,
}

impl From<Regenerated> for Ended {
    fn from(outcome: Regenerated) -> Self {
        Self {
            outcome,
            origin_cached: false,
        }
    }
}

impl Fetcher {
    /// Fetches pages of `routes` from `upstream` into `store`; at most so many `regenerations` go on at a time.
    pub fn new(
        clock: Clock,
        routes: Arc<ArcSwap<Routes>>,
        store: Arc<Store>,
        ledger: Arc<Ledger>,
        upstream: Upstream,
        regenerations: NonZeroU16,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                routes,
                store,
                ledger,
                upstream,
                flights: Mutex::default(),
                queue: Mutex::new(Queue::new(regenerations)),
                regenerations,
                compressor: Compressor::default(),
                again: Again::default(),
                waiters: Arc::new(Semaphore::new(WAITERS)),
            }),
        }
    }

    /// The store that it fills.
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// The ledger that its flights are stamped with.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// Where a visitor's page is looked for.
    pub fn shelves(&self, now: Moment) -> Shelves<'_, impl Fn(&Key) -> Option<Selection>> {
        Shelves {
            store: &self.shared.store,
            ledger: &self.shared.ledger,
            noted: move |key: &Key| self.shared.flights.lock().vary(key, now),
        }
    }

    /// At most so many regenerations go on at a time.
    pub(crate) fn regenerations(&self) -> usize {
        self.shared.regenerations.get().into()
    }

    /// Waits for a new page, in a flight of its own or somebody else's. With a `fallback` (an old page that may serve) the
    /// new one comes whole or not at all, and not later than after 10 s; without one it streams.
    ///
    /// A flight whose answer turns out to be another variant is not the visitor's: with what was learned from it the
    /// visitor's own is fetched.
    pub async fn fetch(&self, lookup: &mut Lookup, headers: &HeaderMap, fallback: Option<Page>) -> Fetched {
        for _ in 0..NARROWINGS {
            let now = self.shared.clock.now();
            let marked = self.shared.flights.lock().marked(&lookup.key, now);
            if let Some(reason) = marked.filter(|reason| reason.passes(fallback.is_some())) {
                return Fetched::Pass(PassReason::Unstorable(reason));
            }
            let waited = match self.board(lookup, false) {
                Place::Pass(reason) => return Fetched::Pass(PassReason::Unstorable(reason)),
                Place::There(page) => {
                    Waited::on(page.vary(), lookup, headers, || Fetched::There(page.clone()))
                }
                Place::Aboard(boarded) => {
                    wait(boarded, lookup, headers, fallback.as_ref(), self.shared.clock).await
                }
            };
            match waited {
                Waited::Over(fetched) => {
                    if let Fetched::Old { page, .. } = &fetched {
                        page.note(Outcome::Stale);
                    }
                    return fetched;
                }
                Waited::Elsewhere(selection) => {
                    if !lookup.narrow(headers, &selection) {
                        return Fetched::Pass(PassReason::Variant);
                    }
                }
            }
        }
        // Each answer names yet other fields.
        Fetched::Pass(PassReason::Unstorable(Unstorable::Vary))
    }

    /// Has a new page fetched behind a stale one, under the rule that is its own by then: at once, or when its turn comes.
    /// Asking twice changes nothing.
    pub fn regenerate(&self, key: &Arc<Key>, visited: Moment) {
        self.enqueue(key, visited, false, None);
    }

    /// [`Fetcher::regenerate`], and what came of it. An error: there was no room in the queue.
    pub(crate) fn regenerate_and_tell(&self, key: &Arc<Key>, visited: Moment) -> oneshot::Receiver<Ended> {
        let (tell, told) = oneshot::channel();
        self.enqueue(key, visited, false, Some(tell));
        told
    }

    /// Has a page fetched before a visitor asks, behind all regenerations; nothing is done where a fresh one is stored. An
    /// error: there was no room in the queue.
    pub(crate) fn prerender(&self, key: &Arc<Key>) -> oneshot::Receiver<Ended> {
        let (tell, told) = oneshot::channel();
        self.enqueue(key, Moment::default(), true, Some(tell));
        told
    }

    /// A visitor wants the body of a page in a coding, which is made behind those who visit it. Asking twice changes nothing.
    pub fn compress(&self, page: &Page, coding: Coding) {
        self.shared.compressor.want(&self.shared.store, page, coding);
    }

    /// An unsafe request to this URL succeeded (RFC 9111 §4.4): on this replica its page expires, at most once in 3 s, so
    /// that a client that writes all the time does not switch the cache off. What it wrote shows within that time.
    pub fn invalidate(&self, lookup: &Lookup) {
        let now = self.shared.clock.now();
        let is_small = lookup.key.weight() <= LARGEST_HELD;
        let waiter = is_small.then(|| self.shared.waiters.clone().try_acquire_owned().ok());
        let waiter = waiter.flatten();
        let overtaking = (self.shared.flights.lock()).overtake(&lookup.key, now, waiter.is_none());
        match overtaking {
            Overtaking::At(until) => {
                let (fetcher, lookup) = (self.clone(), lookup.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(until.since(now)).await;
                    drop(waiter);
                    fetcher.invalidate(&lookup);
                });
            }
            // Without the lock: it may be a walk over many pages. What lands meanwhile was asked for after the request.
            Overtaking::Now => self.shared.store.invalidate(&lookup.key, &lookup.plan),
            Overtaking::Awaited => {}
        }
    }

    /// The ledger starts anew: all pages and lines go, and nothing that is in the air is stored.
    pub fn reset(&self) {
        let mut flights = self.shared.flights.lock();
        self.shared.ledger.reset();
        flights.overtake_all();
        self.shared.store.clear();
    }

    /// Brings what is stored under new routes: pages of routes that have left are dropped, those in the air too, and those
    /// that their rule would not store any more; pages of rules with other paths, key or tags are checked anew. In slices,
    /// so that visitors are served meanwhile.
    pub async fn settle(&self, routes: &Routes) {
        {
            let mut flights = self.shared.flights.lock();
            flights.unmark_all();
            flights.overtake_strays(routes);
        }
        for (count, page) in self.shared.store.pages().enumerate() {
            match routes.find(page.host(), page.path()) {
                Some(plan) => {
                    self.shared.store.adopt(&page, plan);
                }
                None => {
                    self.shared.store.remove(&page);
                }
            }
            if count % SLICE == SLICE - 1 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Number of flights in the air, those left out whose place another has taken.
    pub fn in_the_air(&self) -> usize {
        self.shared.flights.lock().len()
    }

    /// Number of regenerations that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().len()
    }

    /// Boards for a key; whoever leads has the flight take off. Nobody leads where a flight has landed since they looked:
    /// it lands and stores under the lock that is held here.
    ///
    /// `behind`: no visitor asks.
    fn board(&self, lookup: &Lookup, behind: bool) -> Place {
        let shared = &self.shared;
        let make = || Flight::new(shared.store.reserve());
        let mut flights = shared.flights.lock();
        if flights
            .joinable(&lookup.key, &lookup.plan, &shared.ledger)
            .is_none()
            && let Some(page) = shared.store.find(&lookup.key, &lookup.plan)
            && verdict::decide(Some(&page), &lookup.plan, &shared.ledger, shared.clock.now()) == Verdict::Hit
        {
            return Place::There(page);
        }
        // Under the lock, so that a flight that lands knows who waits for it.
        let aboard = |flight: &Arc<Flight>, joined| {
            if behind {
                flight.want();
            }
            Boarded::new(flight.clone(), joined)
        };
        match flights.board(&lookup.key, &lookup.plan, &shared.ledger, make) {
            Boarding::Pass(reason) => Place::Pass(reason),
            Boarding::Join(flight) => Place::Aboard(aboard(&flight, true)),
            Boarding::Lead { flight, ticket, .. } => {
                let boarded = aboard(&flight, false);
                drop(flights);
                tokio::spawn(fly::fly(
                    self.shared.clone(),
                    lookup.clone(),
                    flight,
                    ticket,
                    behind,
                ));
                Place::Aboard(boarded)
            }
        }
    }

    /// The look-up of a page under the rule that is its own now, for whoever has waited since it was asked for.
    fn revisit(&self, key: &Arc<Key>) -> Option<Lookup> {
        self.shared.routes.load().revisit(key)
    }

    fn enqueue(&self, key: &Arc<Key>, visited: Moment, cold: bool, tell: Option<oneshot::Sender<Ended>>) {
        let first = self.shared.queue.lock().push(key, visited, cold, tell);
        if let Some(first) = first {
            let fetcher = self.clone();
            tokio::spawn(async move {
                let mut next = Some(first);
                while let Some(job) = next {
                    let outcome = fetcher.regenerate_now(&job).await;
                    next = fetcher.shared.queue.lock().pop(&job.key);
                    job.tell(outcome);
                }
            });
        }
    }

    async fn regenerate_now(&self, job: &Job) -> Ended {
        let Some(lookup) = self.revisit(&job.key) else {
            return Regenerated::Gone.into();
        };
        let shared = &self.shared;
        let page = shared.store.find(&lookup.key, &lookup.plan);
        if page.is_none() && !job.cold {
            return Regenerated::Gone.into();
        }
        match verdict::decide(page.as_ref(), &lookup.plan, &shared.ledger, shared.clock.now()) {
            // Somebody else saw to it while this waited for its turn.
            Verdict::Hit => return Regenerated::Done.into(),
            Verdict::Stale { regenerate: false } => return Regenerated::Failed.into(),
            Verdict::Stale { .. } | Verdict::Wait { .. } | Verdict::Fetch => {}
        }
        match self.board(&lookup, true) {
            // It is another flight that takes no more.
            Place::Pass(_) => Regenerated::Failed.into(),
            Place::There(_) => Regenerated::Done.into(),
            Place::Aboard(boarded) => ended(boarded).await,
        }
    }
}

/// The walks over the store let others have their turn after so many pages.
pub(crate) const SLICE: usize = 256;

/// What boarding came to.
enum Place {
    /// In a flight.
    Aboard(Boarded),
    /// Nowhere: a fresh page is in the store.
    There(Page),
    /// Nowhere: the visitor's own request passes through.
    Pass(Unstorable),
}
