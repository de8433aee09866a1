//! Random histories of visits, flights, purges and clocks, run through the engine and through a slow, obvious model that
//! keeps everything that ever happened and asks all of it each time. A purge may land at every point of a flight.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use crate::{
    config::Interval,
    flights::{Boarding, Flights, Landing, Overtaking, Ticket},
    ledger::{Ledger, Line, Selector, Strategy as Purge},
    lifetime,
    mk::{mk_key, mk_plan},
    page::{BackOff, Page, Parts, TagSet},
    routes::Plan,
    store::{Inserted, Store},
    time::Moment,
    verdict::{self, Verdict},
};

const PATHS: [&str; 3] = ["/a", "/b", "/c"];
/// The app names one of these tags, another one after each edit.
const TAGS: [&str; 2] = ["even", "odd"];

#[derive(Debug, Clone)]
enum Event {
    Visit(usize),
    Edit(usize),
    /// The headers of one of the flights are there.
    Head(usize),
    /// One of the flights ends: whole, or not and why.
    Land(usize, Option<BackOff>),
    /// The page's status is 404 from now on, or no longer.
    Vanish(usize),
    Purge(Select, Purge),
    /// An unsafe request succeeds.
    Unsafe(usize),
    /// Seconds go by.
    Tick(u64),
    Interval(Interval),
    Reset,
}

#[derive(Debug, Clone, Copy)]
enum Select {
    Path(usize),
    Tag(usize),
    /// The rule's own tag.
    Site,
    Everything,
    /// A route that none of the pages belongs to.
    Elsewhere,
}

impl Select {
    fn selector(self) -> Selector {
        let mut selector = Selector::default();
        match self {
            Self::Path(path) => selector.paths.push(PATHS[path].to_owned()),
            Self::Tag(tag) => selector.tags.push(TAGS[tag].to_owned()),
            Self::Site => selector.tags.push("site".to_owned()),
            Self::Everything => selector.everything = true,
            Self::Elsewhere => {
                selector.everything = true;
                selector.route = Some("elsewhere".to_owned());
            }
        }
        selector
    }

    /// Whether it selects a page of this path; `tag`: that the app named, if it has answered.
    fn selects(self, path: usize, tag: Option<usize>) -> bool {
        match self {
            Self::Path(selected) => selected == path,
            Self::Tag(selected) => tag.is_none_or(|tag| tag == selected),
            Self::Site | Self::Everything => true,
            Self::Elsewhere => false,
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let path = || 0..PATHS.len();
    let select = prop_oneof![
        path().prop_map(Select::Path),
        (0..TAGS.len()).prop_map(Select::Tag),
        Just(Select::Site),
        Just(Select::Everything),
        Just(Select::Elsewhere),
    ];
    let strategy = prop_oneof![Just(Purge::Refresh), Just(Purge::Expire), Just(Purge::Delete)];
    let interval = prop_oneof![
        (1..100_u64).prop_map(|seconds| Interval::After(Duration::from_secs(seconds))),
        Just(Interval::Never),
    ];
    let end = prop_oneof![
        5 => Just(None),
        1 => Just(Some(BackOff::Failed)),
        1 => Just(Some(BackOff::Refused)),
    ];
    prop_oneof![
        12 => path().prop_map(Event::Visit),
        3 => path().prop_map(Event::Edit),
        4 => (0..4_usize).prop_map(Event::Head),
        8 => (0..4_usize, end).prop_map(|(flight, end)| Event::Land(flight, end)),
        1 => path().prop_map(Event::Vanish),
        6 => (select, strategy).prop_map(|(select, strategy)| Event::Purge(select, strategy)),
        1 => path().prop_map(Event::Unsafe),
        6 => prop_oneof![0..5_u64, 5..70_u64, 3000..4000_u64].prop_map(Event::Tick),
        1 => interval.prop_map(Event::Interval),
        1 => Just(Event::Reset),
    ]
}

/// A flight in the air, as both sides see it.
#[derive(Debug)]
struct Aloft {
    ticket: Ticket,
    path: usize,
    /// When it took off, as the number of an event.
    since: u64,
    /// What the app read when the request came in.
    version: u64,
    missing: bool,
    has_head: bool,
    /// Another one has taken its place.
    superseded: bool,
}

impl Aloft {
    fn tag(&self) -> usize {
        (self.version % 2) as usize
    }
}

/// What the model knows of a stored page.
#[derive(Debug, Clone)]
struct Known {
    version: u64,
    since: u64,
    stored: u64,
    missing: bool,
    /// Until when, when that was decided, and why.
    back_off: Option<(u64, u64, BackOff)>,
}

/// Both sides.
struct World {
    plan: Plan,
    store: Arc<Store>,
    ledger: Ledger,
    flights: Flights<u64>,
    aloft: Vec<Aloft>,

    /// Number of this event; also the sequence of the line that it may be.
    event: u64,
    /// In seconds.
    now: u64,
    versions: [u64; 3],
    missing: [bool; 3],
    pages: [Option<Known>; 3],
    purges: Vec<(u64, Select, Purge)>,
    /// Unsafe requests that counted: event, second, path.
    unsafe_requests: Vec<(u64, u64, usize)>,
    last_reset: u64,
}

impl World {
    fn new() -> Self {
        Self {
            plan: mk_plan(|_| ()),
            store: Store::new(4 << 20),
            ledger: Ledger::new(),
            flights: Flights::default(),
            aloft: Vec::new(),
            event: 0,
            now: 1,
            versions: [0; 3],
            missing: [false; 3],
            pages: Default::default(),
            purges: Vec::new(),
            unsafe_requests: Vec::new(),
            last_reset: 0,
        }
    }

    fn moment(&self) -> Moment {
        Moment(self.now * 1000)
    }

    // The model: everything is asked each time.

    fn strongest(&self, path: usize, tag: Option<usize>, since: u64) -> Option<Purge> {
        let lines = self.purges.iter();
        let by_lines = lines.filter(|(event, select, _)| *event > since && select.selects(path, tag));
        by_lines.map(|(_, _, strategy)| *strategy).max()
    }

    fn was_written(&self, path: usize, since: u64) -> bool {
        self.unsafe_requests
            .iter()
            .any(|(event, _, written)| *event > since && *written == path)
    }

    /// Something has overtaken a flight that took off then.
    fn is_overtaken(&self, path: usize, tag: Option<usize>, since: u64) -> bool {
        self.strongest(path, tag, since).is_some() || self.was_written(path, since) || self.last_reset > since
    }

    fn expected(&self, path: usize) -> Verdict {
        let Some(page) = &self.pages[path] else {
            return Verdict::Fetch;
        };
        let tag = Some((page.version % 2) as usize);
        let by_lines = self.strongest(path, tag, page.since);
        let written = self.was_written(path, page.since).then_some(Purge::Expire);
        let effect = by_lines.max(written);
        let age = self.now - page.stored;
        let fresh = match self.plan.rule.revalidate {
            _ if page.missing => age < 10,
            Some(Interval::After(span)) => age < span.as_secs(),
            _ => true,
        };
        let resting = page.back_off.filter(|(until, decided, _)| {
            *until > self.now
                && self.strongest(path, tag, *decided).is_none()
                && !self.was_written(path, *decided)
        });
        let resting = resting.map(|(.., why)| why);
        match effect {
            None if fresh => Verdict::Hit,
            Some(Purge::Delete) => Verdict::Fetch,
            _ if page.missing => Verdict::Fetch,
            _ if age > 3600 => Verdict::Wait { fallback: false },
            _ if resting == Some(BackOff::Failed) => Verdict::Stale { regenerate: false },
            Some(Purge::Expire) => Verdict::Wait { fallback: true },
            _ => Verdict::Stale {
                regenerate: resting.is_none(),
            },
        }
    }

    /// The flight that a visitor may join, if there is one.
    fn expected_to_join(&self, path: usize) -> Option<&Aloft> {
        let flight = self
            .aloft
            .iter()
            .find(|flight| flight.path == path && !flight.superseded)?;
        let tag = flight.has_head.then(|| flight.tag());
        (!self.is_overtaken(path, tag, flight.since)).then_some(flight)
    }

    // What happens.

    fn step(&mut self, event: &Event) -> Result<(), TestCaseError> {
        self.event += 1;
        match *event {
            Event::Visit(path) => self.visit(path)?,
            Event::Edit(path) => self.versions[path] += 1,
            Event::Vanish(path) => self.missing[path] ^= true,
            Event::Head(at) => {
                if let Some(flight) = self.aloft.get_mut(at) {
                    flight.has_head = true;
                    let tags = tags(&self.plan, flight);
                    self.flights.learn(&flight.ticket, &tags);
                }
            }
            Event::Land(at, end) if at < self.aloft.len() => self.land(at, end)?,
            Event::Land(..) => {}
            Event::Purge(select, strategy) => {
                self.purges.push((self.event, select, strategy));
                let line = Line {
                    sequence: self.event,
                    selector: select.selector(),
                    strategy,
                };
                self.ledger.append([line], self.event, 0);
            }
            Event::Unsafe(path) => self.write(path)?,
            Event::Tick(seconds) => self.now += seconds,
            Event::Interval(interval) => self.plan.rule.revalidate = Some(interval),
            Event::Reset => {
                self.ledger.reset();
                self.flights.overtake_all();
                self.store.clear();
                self.pages = Default::default();
                self.purges.clear();
                self.last_reset = self.event;
            }
        }
        Ok(())
    }

    fn visit(&mut self, path: usize) -> Result<(), TestCaseError> {
        let page = self.store.find(&mk_key(PATHS[path]), &self.plan);
        let verdict = verdict::decide(page.as_ref(), &self.plan, &self.ledger, self.moment());
        prop_assert_eq!(verdict, self.expected(path), "visit of {}", PATHS[path]);
        // What is served is what the model holds: no failure and no overtaken flight has touched it.
        let body = page.as_ref().map(|page| page.bytes().to_vec());
        let known = self.pages[path]
            .as_ref()
            .map(|known| known.version.to_string().into_bytes());
        prop_assert_eq!(body, known);
        match verdict {
            Verdict::Hit | Verdict::Stale { regenerate: false } => Ok(()),
            Verdict::Stale { regenerate: true } | Verdict::Wait { .. } | Verdict::Fetch => self.board(path),
        }
    }

    fn board(&mut self, path: usize) -> Result<(), TestCaseError> {
        let joins = self.expected_to_join(path).map(|flight| flight.since);
        let event = self.event;
        match self
            .flights
            .board(&mk_key(PATHS[path]), &self.plan, &self.ledger, || event)
        {
            Boarding::Join(flight) => prop_assert_eq!(Some(*flight), joins),
            Boarding::Lead { ticket, .. } => {
                prop_assert_eq!(joins, None, "a second flight for {}", PATHS[path]);
                // Overtaken once is overtaken for good, whatever its tags turn out to be.
                for flight in self.aloft.iter_mut().filter(|flight| flight.path == path) {
                    flight.superseded = true;
                }
                self.aloft.push(Aloft {
                    ticket,
                    path,
                    since: self.event,
                    version: self.versions[path],
                    missing: self.missing[path],
                    has_head: false,
                    superseded: false,
                });
            }
            Boarding::Pass(reason) => prop_assert!(false, "passed: {}", reason),
        }
        Ok(())
    }

    fn land(&mut self, at: usize, end: Option<BackOff>) -> Result<(), TestCaseError> {
        let flight = self.aloft.remove(at);
        let whole = end.is_none();
        let tag = whole.then(|| flight.tag());
        let clear = !flight.superseded && !self.is_overtaken(flight.path, tag, flight.since);
        let tags = tags(&self.plan, &flight);
        let landing = self
            .flights
            .land(&flight.ticket, whole.then_some(tags.list()), &self.ledger);
        prop_assert_eq!(landing == Landing::Clear, clear, "landing of {:?}", &flight);
        if !clear {
            return Ok(());
        }
        let (now, event) = (self.now, self.event);
        let Some(why) = end else {
            let page = self.page(&flight, tags);
            prop_assert_eq!(self.store.insert(&Arc::new(page)), Inserted::Stored);
            self.pages[flight.path] = Some(Known {
                version: flight.version,
                since: flight.since,
                stored: now,
                missing: flight.missing,
                back_off: None,
            });
            return Ok(());
        };
        if let Some(page) = self.store.get(flight.ticket.key()) {
            let until = lifetime::back_off(&self.plan, None, self.moment());
            page.back_off(until, why);
            if let Some(known) = &mut self.pages[flight.path] {
                known.back_off = Some((until.0 / 1000, event, why));
            }
        }
        Ok(())
    }

    fn page(&self, flight: &Aloft, tags: TagSet) -> Page {
        Page::new(Parts {
            key: flight.ticket.key().clone(),
            owner: self.plan.owner.clone(),
            status: if flight.missing {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::OK
            },
            headers: HeaderMap::new(),
            body: flight.version.to_string().into(),
            tags,
            stamp: flight.ticket.stamp(),
            stored: self.moment(),
            tagged: false,
            compressible: false,
            vary: None,
            app: None,
        })
    }

    fn write(&mut self, path: usize) -> Result<(), TestCaseError> {
        let lately = |(_, second, written): &(u64, u64, usize)| *written == path && self.now < second + 3;
        let counts = !self.unsafe_requests.iter().any(lately);
        let overtaking = self.flights.overtake(&mk_key(PATHS[path]), self.moment(), false);
        prop_assert_eq!(overtaking == Overtaking::Now, counts);
        if counts {
            self.unsafe_requests.push((self.event, self.now, path));
            self.store.invalidate(&mk_key(PATHS[path]), &self.plan);
        }
        Ok(())
    }
}

fn tags(plan: &Plan, flight: &Aloft) -> TagSet {
    let of_app = [TAGS[flight.tag()].into()];
    TagSet::new(plan.tags(PATHS[flight.path]), of_app).expect("few tags")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Invariants 1 (one flight a key, a purge starts the only second one), 2 (a page is replaced only by a success) and
    /// 3 (no page travels back in time), with lifetimes, back-off and the rules for joining.
    #[test]
    fn histories_agree_with_the_model(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        for event in &events {
            world.step(event)?;
        }
    }
}
