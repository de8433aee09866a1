//! What is in the air and what waits, for people: nothing here notes a visit, boards a flight, or keeps anybody waiting.

use std::{sync::Arc, time::Duration};

use coppice_cache::{
    flights::Aloft,
    judge::Unstorable,
    key::{Key, Lookup},
    outcome::PassReason,
    page::Page,
    verdict::Verdict,
};

use http::HeaderMap;

use super::{Fetcher, flight::Flight};

/// A flight, as those see it who only look.
#[derive(Debug, Clone)]
pub struct FlightSeen {
    /// What it fetches.
    pub key: Arc<Key>,
    /// Name of the IsrRoute that it flies for.
    pub route: Arc<str>,
    /// The ledger's head when it took off.
    pub stamp: u64,
    /// How long ago that was.
    pub since: Duration,
    /// How far it has come.
    pub phase: &'static str,
    /// Bytes of the body that have arrived.
    pub arrived: u64,
    /// How many wait for it or for its end.
    pub waiting: usize,
    /// Why nobody joins any more.
    pub closed: Option<Unstorable>,
    /// Its page will not be stored.
    pub overtaken: bool,
}

/// Where a regeneration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes on.
    Running,
    /// It waits for its turn.
    Waiting,
}

impl Turn {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
        }
    }
}

/// What a visit would come to if it came now.
#[derive(Debug)]
pub struct Foreseen {
    /// The page, as it would be brought under the plan in force.
    pub page: Option<Page>,
    /// What would be done with it.
    pub verdict: Verdict,
    /// Why nothing is done with it: what is known of its variants and visitors lets this one pass through.
    pub refused: Option<PassReason>,
    /// The last answer was not one to store, and for so long nobody waits for another.
    pub marked: Option<(Unstorable, Duration)>,
    /// What is in the air for it.
    pub flight: Option<FlightSeen>,
    /// Who needs a new page joins that.
    pub joins: bool,
    /// Its regeneration.
    pub turn: Option<Turn>,
}

impl Foreseen {
    /// Why the visitor's own request would pass through, as [`Fetcher::fetch`] has it.
    pub fn passes(&self) -> Option<PassReason> {
        if self.refused.is_some() {
            return self.refused;
        }
        match self.verdict {
            Verdict::Hit | Verdict::Stale { .. } => None,
            Verdict::Wait { .. } | Verdict::Fetch => {
                let has_old = matches!(self.verdict, Verdict::Wait { fallback: true });
                let marked = self.marked.map(|(reason, _)| reason);
                let marked = marked.filter(|reason| reason.passes(has_old));
                let closed = || self.flight.as_ref()?.closed;
                marked.or_else(closed).map(PassReason::Unstorable)
            }
        }
    }
}

impl Fetcher {
    /// What [`Shelves::look_up`](coppice_cache::find::Shelves::look_up), and the fetch that may follow, would come to.
    /// `headers` are the visitor's; afterwards the key is that of the visitor's own variant.
    pub fn foresee(&self, lookup: &mut Lookup, headers: &HeaderMap) -> Foreseen {
        let shared = &self.shared;
        let now = shared.clock.now();
        let (page, verdict, refused) = self.shelves(now).foresee(lookup, headers, now);
        let (key, plan) = (&*lookup.key, &*lookup.plan);
        let (marked, flight, joins) = {
            let flights = shared.flights.lock();
            let marked = flights.marked_until(key, now);
            let marked = marked.map(|(reason, until)| (reason, until.since(now)));
            let flight = flights.over(key, &shared.ledger).map(|aloft| see(&aloft));
            (
                marked,
                flight,
                flights.joinable(key, plan, &shared.ledger).is_some(),
            )
        };
        Foreseen {
            verdict,
            page,
            refused,
            marked,
            flight,
            joins,
            turn: shared.queue.lock().turn(key),
        }
    }

    /// How many flights are in the air, and the longest of them: at most `most`.
    pub fn flights(&self, most: usize) -> (usize, Vec<FlightSeen>) {
        let flights = self.shared.flights.lock();
        let mut aloft: Vec<_> = flights.aloft(&self.shared.ledger).collect();
        aloft.sort_by_key(|aloft| aloft.flight.began);
        let count = aloft.len();
        (count, aloft.iter().take(most).map(see).collect())
    }

    /// How many regenerations wait, and which of them have their turn next, the hottest first: at most `most`.
    pub fn queue(&self, most: usize) -> (usize, Vec<Arc<Key>>) {
        let queue = self.shared.queue.lock();
        (queue.len(), queue.next(most))
    }
}

fn see(aloft: &Aloft<'_, Flight>) -> FlightSeen {
    FlightSeen {
        key: aloft.ticket.key().clone(),
        route: aloft.ticket.route().clone(),
        stamp: aloft.ticket.stamp(),
        since: aloft.flight.began.elapsed(),
        phase: aloft.flight.phase_word(),
        arrived: aloft.flight.tee.arrived(),
        waiting: aloft.flight.waiting(),
        closed: aloft.closed,
        overtaken: aloft.overtaken,
    }
}
