//! Who is in the air: at most one flight a key that may be joined, and the keys whose answers are known to be unstorable.
//!
//! ```text
//! board ──► Lead: take off now, stamped        Join: wait for the one in the air        Pass: do not wait at all
//!   learn(tags)     what purges are compared with from now on
//!   close           too large: nobody joins any more
//!   land            stored only if nothing overtook it
//! ```
//!
//! Pure state: the flight itself is the caller's `F`. Whoever holds this behind a lock holds it for these calls alone.

mod asked;
mod lately;

use std::{collections::HashMap, sync::Arc, time::Duration};

use ahash::RandomState;

use self::{asked::Asked, lately::Lately};
use crate::{
    judge::Unstorable,
    key::{Key, Selection},
    ledger::{Facts, Ledger, Tags},
    page::{TagList, TagSet},
    routes::{Owner, Plan, Routes},
    time::Moment,
};

/// How long a key whose answer was not storable skips the queue, and what an answer that is not kept has taught is known.
pub const MARKER_TTL: Duration = Duration::from_mins(2);
/// An unsafe request invalidates its URL at most once in this time.
pub const UNSAFE_TTL: Duration = Duration::from_secs(3);

/// Flights in the air, by key.
#[derive(Debug)]
pub struct Flights<F> {
    aloft: HashMap<Arc<Key>, Slot<F>, RandomState>,
    unstorable: Lately<Unstorable>,
    /// URLs that an unsafe request has just invalidated; true: another one has succeeded since.
    unsafe_requests: Lately<bool>,
    /// What answers that are not kept have taught of whose they are.
    varies: Lately<Selection>,
    /// Keys of pages whose validators bring nothing new.
    distrusted: Lately<()>,
    /// Noted only where a route has headers that get a request past an app's own cache.
    asked: Asked,
    /// Number of the last flight.
    count: u64,
}

#[derive(Debug)]
struct Slot<F> {
    flight: Arc<F>,
    ticket: Ticket,
    /// Known once the app's headers are there.
    tags: Option<TagSet>,
    closed: Option<Unstorable>,
    /// Something other than a line has overtaken it.
    overtaken: bool,
}

/// A flight as those see it who only look.
#[derive(Debug)]
pub struct Aloft<'a, F> {
    /// The flight.
    pub flight: &'a Arc<F>,
    /// What it fetches, and since when.
    pub ticket: &'a Ticket,
    /// Why nobody joins any more.
    pub closed: Option<Unstorable>,
    /// Something has overtaken it, as far as its tags are known: it will not be stored.
    pub overtaken: bool,
}

/// One flight: proof of having boarded as its lead.
#[derive(Debug, Clone)]
pub struct Ticket {
    key: Arc<Key>,
    owner: Arc<Owner>,
    number: u64,
    stamp: u64,
}

impl Ticket {
    /// The ledger's head before the flight's request leaves.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// What it fetches.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Name of the IsrRoute that it flies for.
    pub fn route(&self) -> &Arc<str> {
        &self.owner.route
    }

    fn is_under(&self, plan: &Plan) -> bool {
        self.owner.is_as(&plan.owner)
    }

    fn facts<'a>(&'a self, tags: Option<TagList<'a>>) -> Facts<'a> {
        Facts {
            route: &self.owner.route,
            host: self.key.host(),
            path: self.key.path(),
            tags: tags.map_or(Tags::Unknown, Tags::Known),
        }
    }
}

/// What somebody who needs a new page does.
#[derive(Debug)]
pub enum Boarding<F> {
    /// Nothing that may be joined is in the air: this flight takes off now.
    Lead {
        /// The new flight.
        flight: Arc<F>,
        /// To be given back when it lands.
        ticket: Ticket,
    },
    /// Wait for this one.
    Join(Arc<F>),
    /// The one in the air takes no more: the visitor's own request passes through.
    Pass(Unstorable),
}

/// How a flight ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// Nothing has overtaken it: its page may be stored.
    Clear,
    /// A purge, an unsafe request or a reset has: its page is for those who waited, and is not stored.
    Overtaken,
}

/// When an unsafe request that succeeded overtakes what is in the air for its URL, and its page expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overtaking {
    /// Now, and it is done.
    Now,
    /// When this time has come, for all that have come until then.
    At(Moment),
    /// Somebody waits for that already.
    Awaited,
}

impl<F> Default for Flights<F> {
    fn default() -> Self {
        Self {
            aloft: HashMap::default(),
            unstorable: Lately::default(),
            unsafe_requests: Lately::default(),
            varies: Lately::default(),
            distrusted: Lately::default(),
            asked: Asked::default(),
            count: 0,
        }
    }
}

impl<F> Flights<F> {
    /// Boards for `key`. `make` builds the flight if one takes off.
    ///
    /// A flight is joined only if no line after its stamp selects it; as long as its tags are not known, every purge of a
    /// tag does. Nor is one that took off under other paths, key or tags: its tags are not those that purges name now.
    pub fn board(
        &mut self,
        key: &Arc<Key>,
        plan: &Plan,
        ledger: &Ledger,
        make: impl FnOnce() -> F,
    ) -> Boarding<F> {
        if let Some(slot) = self.aloft.get(&**key) {
            if let Some(reason) = slot.closed {
                return Boarding::Pass(reason);
            }
            if slot.is_joinable(plan, ledger) {
                return Boarding::Join(slot.flight.clone());
            }
        }
        self.count += 1;
        let ticket = Ticket {
            key: key.clone(),
            owner: plan.owner.clone(),
            number: self.count,
            stamp: ledger.head(),
        };
        let flight = Arc::new(make());
        let slot = Slot {
            flight: flight.clone(),
            ticket: ticket.clone(),
            tags: None,
            closed: None,
            overtaken: false,
        };
        // One that is overtaken ends for those who wait for it, unstored.
        self.aloft.insert(key.clone(), slot);
        Boarding::Lead { flight, ticket }
    }

    /// The app is about to be asked for what the flight fetches. Whether it may still be at work on that page, in this form or
    /// another, for a request that something has overtaken: an app with a cache of its own may answer both with what it began
    /// before.
    pub fn ask(&mut self, ticket: &Ticket, ledger: &Ledger, now: Moment) -> bool {
        let is_selected = |stamp| ledger.effect(&ticket.facts(None), stamp).is_some();
        self.asked.ask(&ticket.key, ledger, now, is_selected)
    }

    /// The app has answered.
    pub fn answered(&mut self, ticket: &Ticket) {
        self.asked.answered(&ticket.key);
    }

    /// The flight for a key that may be joined now, as [`Flights::board`] has it.
    pub fn joinable(&self, key: &Key, plan: &Plan, ledger: &Ledger) -> Option<Arc<F>> {
        let slot = self.aloft.get(key)?;
        slot.is_joinable(plan, ledger).then(|| slot.flight.clone())
    }

    /// The app's headers are there: purges are compared with these tags from now on.
    pub fn learn(&mut self, ticket: &Ticket, tags: &TagSet) {
        if let Some(slot) = self.current(ticket) {
            slot.tags = Some(tags.clone());
        }
    }

    /// The answer will not be stored; whoever comes from now on passes through.
    pub fn close(&mut self, ticket: &Ticket, reason: Unstorable) {
        if let Some(slot) = self.current(ticket) {
            slot.closed = Some(reason);
        }
    }

    /// The flight has ended. Its page may be stored if the landing is clear, while the caller still keeps others from
    /// calling here: a reset that comes later then finds the page in the store. `tags` as far as they are known.
    pub fn land(&mut self, ticket: &Ticket, tags: Option<TagList<'_>>, ledger: &Ledger) -> Landing {
        let Some(slot) = self.current(ticket) else {
            return Landing::Overtaken;
        };
        let overtaken = slot.overtaken || ledger.effect(&ticket.facts(tags), ticket.stamp).is_some();
        self.aloft.remove(&*ticket.key);
        if overtaken {
            Landing::Overtaken
        } else {
            Landing::Clear
        }
    }

    /// An unsafe request to a URL succeeded: what is in the air for its page, in any form, was asked for before. At most once
    /// in [`UNSAFE_TTL`]: of those that come meanwhile the first says until when the caller is to wait and call again. Where the
    /// caller `cannot_wait`, each counts at once.
    pub fn overtake(&mut self, key: &Key, now: Moment, cannot_wait: bool) -> Overtaking {
        let url = key.url();
        match self.unsafe_requests.get(url, now) {
            Some((true, _)) => return Overtaking::Awaited,
            Some((false, _)) if cannot_wait => {}
            Some((false, until)) => {
                self.unsafe_requests.set(url, true, until);
                return Overtaking::At(until);
            }
            None => self.unsafe_requests.set(url, false, now + UNSAFE_TTL),
        }
        for slot in self.aloft.values_mut() {
            slot.overtaken |= slot.ticket.key.is_form_of(key);
        }
        self.asked.overtake(key);
        Overtaking::Now
    }

    /// Routes have changed: what is in the air for one that has left its key is not stored any more.
    pub fn overtake_strays(&mut self, routes: &Routes) {
        for slot in self.aloft.values_mut() {
            let key = &slot.ticket.key;
            let plan = routes.find(key.host(), key.path());
            slot.overtaken |= plan.is_none_or(|plan| plan.owner.route != slot.ticket.owner.route);
        }
    }

    /// The ledger starts anew, so the stamps of all that is in the air mean nothing.
    pub fn overtake_all(&mut self) {
        for slot in self.aloft.values_mut() {
            slot.overtaken = true;
        }
        self.asked.overtake_all();
    }

    /// The answer for a key was not storable: the next ones skip the queue for [`MARKER_TTL`].
    pub fn mark(&mut self, key: &Key, reason: Unstorable, now: Moment) {
        self.unstorable.set(key.id(), reason, now + MARKER_TTL);
    }

    /// Why the answer for a key is known to be unstorable: a visitor then skips the queue. A regeneration does not ask, so
    /// that a purge is tried at once.
    pub fn marked(&self, key: &Key, now: Moment) -> Option<Unstorable> {
        self.marked_until(key, now).map(|(reason, _)| reason)
    }

    /// [`Flights::marked`], and for how long.
    pub fn marked_until(&self, key: &Key, now: Moment) -> Option<(Unstorable, Moment)> {
        self.unstorable.get(key.id(), now)
    }

    /// The answer for a key has been stored.
    pub fn stored(&mut self, key: &Key) {
        self.unstorable.remove(key.id());
        self.varies.remove(key.id());
        self.distrusted.remove(key.id());
    }

    /// The `Vary` of the answer for a key says that it is not theirs who asked, and it is not kept. The next ones need not
    /// ask for it to know that, for [`MARKER_TTL`].
    pub fn note_vary(&mut self, key: &Key, vary: &Selection, now: Moment) {
        self.varies.set(key.id(), vary.clone(), now + MARKER_TTL);
    }

    /// What chooses among the variants behind a key, by an answer that was not kept.
    pub fn vary(&self, key: &Key, now: Moment) -> Option<Selection> {
        self.varies.get(key.id(), now).map(|(vary, _)| vary)
    }

    /// Asked with the validators of the page under this key, the app confirmed another one: until the next is stored, it is
    /// asked without.
    pub fn distrust(&mut self, key: &Key) {
        self.distrusted.set(key.id(), (), Moment(u64::MAX));
    }

    /// The app is not asked with the validators of the page under this key.
    pub fn distrusts(&self, key: &Key) -> bool {
        self.distrusted.get(key.id(), Moment::default()).is_some()
    }

    /// Rules have changed: what was not storable may be so now.
    pub fn unmark_all(&mut self) {
        self.unstorable = Lately::default();
        self.varies = Lately::default();
    }

    /// Everything in the air, for people to look at: in no order, and those left out that another flight has taken the
    /// place of.
    pub fn aloft(&self, ledger: &Ledger) -> impl Iterator<Item = Aloft<'_, F>> {
        self.aloft.values().map(|slot| slot.seen(ledger))
    }

    /// What is in the air for a key, for people to look at.
    pub fn over(&self, key: &Key, ledger: &Ledger) -> Option<Aloft<'_, F>> {
        self.aloft.get(key).map(|slot| slot.seen(ledger))
    }

    /// Number of flights in the air, those left out whose place another has taken.
    pub fn len(&self) -> usize {
        self.aloft.len()
    }

    /// Nothing is in the air.
    pub fn is_empty(&self) -> bool {
        self.aloft.is_empty()
    }

    fn current(&mut self, ticket: &Ticket) -> Option<&mut Slot<F>> {
        self.aloft
            .get_mut(&*ticket.key)
            .filter(|slot| slot.ticket.number == ticket.number)
    }
}

impl<F> Slot<F> {
    fn seen(&self, ledger: &Ledger) -> Aloft<'_, F> {
        Aloft {
            flight: &self.flight,
            ticket: &self.ticket,
            closed: self.closed,
            overtaken: self.is_overtaken(ledger),
        }
    }

    /// It still takes who comes, what it fetches is what is wanted now, and nothing has overtaken it.
    fn is_joinable(&self, plan: &Plan, ledger: &Ledger) -> bool {
        self.closed.is_none() && self.ticket.is_under(plan) && !self.is_overtaken(ledger)
    }

    fn is_overtaken(&self, ledger: &Ledger) -> bool {
        self.overtaken
            || ledger
                .effect(
                    &self.ticket.facts(self.tags.as_ref().map(TagSet::list)),
                    self.ticket.stamp,
                )
                .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Scheme,
        ledger::{Line, Selector, Strategy},
        mk::{mk_key, mk_owner, mk_plan, texts},
    };

    fn purge_tag(ledger: &Ledger, sequence: u64, tag: &str) {
        let line = Line {
            sequence,
            selector: Selector {
                tags: texts(&[tag]),
                ..Selector::default()
            },
            strategy: Strategy::Refresh,
        };
        ledger.append([line], sequence, 0);
    }

    fn lead(flights: &mut Flights<u32>, plan: &Plan, ledger: &Ledger) -> Ticket {
        match flights.board(&mk_key("/a"), plan, ledger, || 0) {
            Boarding::Lead { ticket, .. } => ticket,
            other => panic!("not the lead: {other:?}"),
        }
    }

    fn joins(flights: &mut Flights<u32>, plan: &Plan, ledger: &Ledger) -> bool {
        matches!(
            flights.board(&mk_key("/a"), plan, ledger, || 0),
            Boarding::Join(_)
        )
    }

    #[test]
    fn flights_are_joined_while_no_line_matches() {
        let (mut flights, plan, ledger) = (Flights::default(), mk_plan(|_| ()), Ledger::new());
        let ticket = lead(&mut flights, &plan, &ledger);
        assert!(joins(&mut flights, &plan, &ledger));
        flights.learn(&ticket, &TagSet::new(["site"], []).unwrap());
        purge_tag(&ledger, 1, "other");
        assert!(joins(&mut flights, &plan, &ledger));
        assert!(!flights.over(&mk_key("/a"), &ledger).unwrap().overtaken);
        purge_tag(&ledger, 2, "site");
        assert!(flights.over(&mk_key("/a"), &ledger).unwrap().overtaken);
        assert!(flights.joinable(&mk_key("/a"), &plan, &ledger).is_none());
        let second = lead(&mut flights, &plan, &ledger);
        assert_eq!(second.stamp(), 2);
        assert_eq!(flights.land(&ticket, None, &ledger), Landing::Overtaken);
        assert_eq!(flights.len(), 1);
        assert_eq!(flights.land(&second, None, &ledger), Landing::Clear);
        assert!(flights.is_empty());
    }

    #[test]
    fn flights_of_unknown_tags_are_overtaken_by_any_tag() {
        let (mut flights, plan, ledger) = (Flights::default(), mk_plan(|_| ()), Ledger::new());
        let first = lead(&mut flights, &plan, &ledger);
        purge_tag(&ledger, 1, "other");
        // Nobody has boarded since, and now its tags are known: it may be stored after all.
        let tags = TagSet::new(["site"], []).unwrap();
        assert_eq!(flights.land(&first, Some(tags.list()), &ledger), Landing::Clear);
        let second = lead(&mut flights, &plan, &ledger);
        purge_tag(&ledger, 2, "other");
        lead(&mut flights, &plan, &ledger);
        assert_eq!(
            flights.land(&second, Some(tags.list()), &ledger),
            Landing::Overtaken
        );
    }

    /// Leads for a path, and asks.
    fn asks(flights: &mut Flights<u32>, plan: &Plan, ledger: &Ledger, path: &str) -> (Ticket, bool) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let key = Key::new(mk_key("/").scheme(), mk_key("/").host(), path, query).unwrap();
        asks_for(flights, plan, ledger, key)
    }

    fn asks_for(flights: &mut Flights<u32>, plan: &Plan, ledger: &Ledger, key: Key) -> (Ticket, bool) {
        let Boarding::Lead { ticket, .. } = flights.board(&Arc::new(key), plan, ledger, || 0) else {
            panic!("not the lead");
        };
        let doubt = flights.ask(&ticket, ledger, Moment(0));
        (ticket, doubt)
    }

    fn purge_path(ledger: &Ledger, sequence: u64, path: &str) {
        let selector = Selector {
            paths: texts(&[path]),
            ..Selector::default()
        };
        let line = Line {
            sequence,
            selector,
            strategy: Strategy::Expire,
        };
        ledger.append([line], sequence, 0);
    }

    #[test]
    fn flights_know_what_the_app_began_before() {
        let (mut flights, plan, ledger) = (Flights::default(), mk_plan(|_| ()), Ledger::new());
        let (first, doubt) = asks(&mut flights, &plan, &ledger, "/a");
        assert!(!doubt);
        purge_path(&ledger, 1, "/b");
        let (rsc, doubt) = asks(&mut flights, &plan, &ledger, "/a?_rsc=1");
        assert!(!doubt, "nothing has overtaken the first");
        purge_path(&ledger, 2, "/a");
        // One takes the first one's place, and ends without an answer.
        let (second, doubt) = asks(&mut flights, &plan, &ledger, "/a");
        assert!(doubt);
        flights.land(&second, None, &ledger);
        for path in ["/a", "/a?_rsc=2", "/_next/data/b/a.json"] {
            let (again, doubt) = asks(&mut flights, &plan, &ledger, path);
            assert!(doubt, "{path}");
            flights.land(&again, None, &ledger);
        }
        // The app may know it by its path, whoever's; or not, and then an answer to one is none to the others.
        let elsewhere = Key::new(Scheme::Https, "elsewhere.test", "/a", "").unwrap();
        let (again, doubt) = asks_for(&mut flights, &plan, &ledger, elsewhere);
        assert!(doubt);
        flights.answered(&again);
        flights.land(&again, None, &ledger);
        let (again, doubt) = asks(&mut flights, &plan, &ledger, "/a");
        assert!(doubt);
        flights.land(&again, None, &ledger);
        assert!(!asks(&mut flights, &plan, &ledger, "/c").1);
        flights.answered(&first);
        let (third, doubt) = asks(&mut flights, &plan, &ledger, "/a?_rsc=3");
        assert!(!doubt, "the app has answered");
        // It asks once more, and a purge comes amid that.
        flights.answered(&third);
        flights.ask(&third, &ledger, Moment(0));
        flights.land(&rsc, None, &ledger);
        purge_path(&ledger, 3, "/a");
        // Whatever it is asked for, and answers, meanwhile.
        for _ in 0..2 * lately::MOST {
            let (other, _) = asks(&mut flights, &plan, &ledger, "/b");
            flights.answered(&other);
            flights.land(&other, None, &ledger);
        }
        assert!(asks(&mut flights, &plan, &ledger, "/a").1);
    }

    #[test]
    fn flights_know_it_behind_what_is_no_line() {
        let (mut flights, plan, ledger) = (Flights::default(), mk_plan(|_| ()), Ledger::new());
        let (first, _) = asks(&mut flights, &plan, &ledger, "/a");
        flights.overtake(&mk_key("/a"), Moment(0), false);
        flights.land(&first, None, &ledger);
        let (second, doubt) = asks(&mut flights, &plan, &ledger, "/a");
        assert!(doubt, "an unsafe request");
        flights.answered(&second);
        flights.ask(&second, &ledger, Moment(0));
        flights.overtake_all();
        let (third, doubt) = asks(&mut flights, &plan, &ledger, "/a");
        assert!(doubt, "another ledger");
        let later = Moment(0) + Duration::from_mins(10);
        assert!(!flights.ask(&third, &ledger, later), "by then it has ended");
    }

    #[test]
    fn flights_that_are_closed_let_pass() {
        let (mut flights, plan, ledger) = (Flights::default(), mk_plan(|_| ()), Ledger::new());
        let ticket = lead(&mut flights, &plan, &ledger);
        flights.close(&ticket, Unstorable::TooLarge);
        let boarding = flights.board(&mk_key("/a"), &plan, &ledger, || 0);
        assert!(matches!(boarding, Boarding::Pass(Unstorable::TooLarge)));
    }

    #[test]
    fn flights_belong_to_a_route() {
        let (mut flights, plan, ledger) = (Flights::default(), mk_plan(|_| ()), Ledger::new());
        lead(&mut flights, &plan, &ledger);
        let mut other = mk_plan(|_| ());
        other.owner = mk_owner("other", &plan);
        assert!(!joins(&mut flights, &other, &ledger));
    }

    #[test]
    fn distrust_ends_with_the_next_page() {
        let mut flights = Flights::<u32>::default();
        assert!(!flights.distrusts(&mk_key("/a")));
        flights.distrust(&mk_key("/a"));
        flights.unmark_all();
        assert!(flights.distrusts(&mk_key("/a")) && !flights.distrusts(&mk_key("/b")));
        flights.stored(&mk_key("/a"));
        assert!(!flights.distrusts(&mk_key("/a")));
    }

    #[test]
    fn unsafe_requests_count_once_in_a_while_and_none_is_forgotten() {
        let mut flights = Flights::<u32>::default();
        let mut overtake = |now, cannot_wait| flights.overtake(&mk_key("/a"), Moment(now), cannot_wait);
        assert_eq!(overtake(0, false), Overtaking::Now);
        assert_eq!(overtake(1, true), Overtaking::Now);
        assert_eq!(overtake(1, false), Overtaking::At(Moment(3000)));
        assert_eq!(overtake(2999, false), Overtaking::Awaited);
        assert_eq!(overtake(2999, true), Overtaking::Awaited);
        assert_eq!(overtake(3000, false), Overtaking::Now);
        assert_eq!(overtake(3001, false), Overtaking::At(Moment(6000)));
    }

    /// They are as long as visitors make them, and no budget knows of marks.
    #[test]
    fn marks_keep_no_key() {
        let (mut flights, key) = (Flights::<u32>::default(), mk_key("/a"));
        flights.mark(&key, Unstorable::Status, Moment(0));
        flights.note_vary(&key, &Selection::default(), Moment(0));
        flights.distrust(&key);
        assert_eq!(flights.overtake(&key, Moment(0), false), Overtaking::Now);
        assert_eq!(Arc::strong_count(&key), 1);
    }

    #[test]
    fn marks_end_and_are_bounded() {
        let mut flights = Flights::<u32>::default();
        flights.mark(&mk_key("/a"), Unstorable::Private, Moment(0));
        assert_eq!(
            flights.marked(&mk_key("/a"), Moment(119_999)),
            Some(Unstorable::Private)
        );
        assert_eq!(flights.marked(&mk_key("/a"), Moment(120_000)), None);
        flights.mark(&mk_key("/a"), Unstorable::Vary, Moment(1));
        for key in 0..lately::MOST {
            flights.mark(&mk_key(&format!("/{key}")), Unstorable::Vary, Moment(2));
        }
        assert_eq!(flights.marked(&mk_key("/a"), Moment(3)), None);
        assert_eq!(flights.unstorable.len(), lately::MOST);
        flights.stored(&mk_key("/0"));
        assert_eq!(flights.marked(&mk_key("/0"), Moment(3)), None);
        flights.unmark_all();
        assert_eq!(flights.marked(&mk_key("/1"), Moment(3)), None);
    }
}
