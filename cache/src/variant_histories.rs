//! Random visits to an app whose `Vary` changes, through the engine as a sidecar uses it: whoever sends what, the answer
//! that a visitor gets was made for exactly those values of the fields that its `Vary` names, and who comes again needs no
//! request for it, although what shows only that somebody else's is meant is not stored.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use proptest::prelude::*;

use crate::{
    config::Interval,
    find::Shelves,
    flights::{Flights, MARKER_TTL},
    key::{Key, Lookup, Reading, Selection, Suits, read},
    ledger::Ledger,
    mk::{mk_route, mk_routes, mk_rule},
    page::{Page, Parts, TagSet},
    routes::Routes,
    store::{Inserted, Store},
    time::Moment,
};

/// `RSC` always chooses; the others where the app says so.
const NAMES: [&str; 3] = ["foo", "bar", "rsc"];

type Values = BTreeMap<&'static str, String>;

#[derive(Debug, Clone)]
enum Event {
    /// A visitor with values for some of the names.
    Visit(Vec<(usize, u8)>),
    /// From now on the app varies by these.
    Vary(Vec<usize>),
    /// Everything that is stored for a visitor without any field goes.
    Forget,
    /// What answers that were not kept have taught is forgotten.
    Later,
}

fn event() -> impl Strategy<Value = Event> {
    let fields = prop::collection::vec((0..NAMES.len(), 0..3_u8), 0..4);
    let names = prop::collection::vec(0..2_usize, 0..3);
    prop_oneof![
        8 => fields.prop_map(Event::Visit),
        1 => names.prop_map(Event::Vary),
        1 => Just(Event::Forget),
        1 => Just(Event::Later),
    ]
}

struct World {
    routes: Routes,
    store: Arc<Store>,
    ledger: Ledger,
    flights: Flights<()>,
    now: Moment,
    vary: Vec<usize>,
    /// How often the app was asked.
    count: u64,
}

impl World {
    fn new() -> Self {
        let mut rule = mk_rule("all", &["/a"]);
        rule.revalidate = Some(Interval::Never);
        Self {
            routes: mk_routes(vec![mk_route("shop", &[], vec![rule])]),
            store: Store::new(4 << 20),
            ledger: Ledger::new(),
            flights: Flights::default(),
            now: Moment(0),
            vary: Vec::new(),
            count: 0,
        }
    }

    fn read(&self, values: &Values) -> (Lookup, HeaderMap) {
        let mut request = Request::get("/a").header(header::HOST, "a.com");
        for (name, value) in values {
            request = request.header(*name, value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        match read(&self.routes, &parts) {
            Reading::Lookup(lookup) => (lookup, parts.headers),
            other => panic!("not looked up: {other:?}"),
        }
    }

    /// What the app answers to a built request: which of the names it was sent, and its `Vary`.
    fn ask(&mut self, lookup: &Lookup) -> Page {
        let request = lookup.origin_request();
        let sent = |name: &&str| Some(format!("{name}={}", request.headers().get(*name)?.to_str().ok()?));
        let body: Vec<_> = NAMES.iter().filter_map(sent).collect();
        let names: Vec<_> = self.vary.iter().map(|name| NAMES[*name]).collect();
        let mut headers = HeaderMap::new();
        headers.insert(
            header::VARY,
            HeaderValue::from_str(&names.join(", ")).expect("names"),
        );
        let vary = Selection::of(&headers).expect("shareable");
        self.count += 1;
        let plan = &lookup.plan;
        Page::new(Parts {
            key: lookup.key.clone(),
            owner: plan.owner.clone(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.join(",").into(),
            tags: TagSet::default(),
            stamp: 0,
            stored: Moment(self.count),
            tagged: false,
            compressible: false,
            vary: Some(vary).filter(|vary| !vary.is_empty()).map(Box::new),
            app: None,
        })
    }

    /// As a sidecar does: look up, narrow by what is known, ask, narrow by what was learned.
    fn visit(&mut self, values: &Values) -> Result<(), TestCaseError> {
        let (mut lookup, headers) = self.read(values);
        for _ in 0..8 {
            let shelves = Shelves {
                store: &self.store,
                ledger: &self.ledger,
                noted: |key: &Key| self.flights.vary(key, self.now),
            };
            match shelves.look_up(&mut lookup, &headers, self.now) {
                Ok((Some(page), _)) => return Self::check(&page, values),
                Ok((None, _)) => self.fetch(&lookup, &headers)?,
                Err(reason) => prop_assert!(false, "{:?} for {:?}", reason, values),
            }
        }
        prop_assert!(false, "never found: {:?}", values);
        Ok(())
    }

    /// Stored is what is this visitor's, or takes the place of a page.
    fn fetch(&mut self, lookup: &Lookup, headers: &HeaderMap) -> Result<(), TestCaseError> {
        let page = self.ask(lookup);
        let is_theirs = |vary: &&Selection| lookup.suits(headers, vary) == Suits::Yes;
        match page.vary().filter(|vary| !is_theirs(vary)) {
            Some(vary) if self.store.get(&lookup.key).is_none() => {
                self.flights.note_vary(&lookup.key, vary, self.now);
            }
            _ => prop_assert_eq!(self.store.insert(&page), Inserted::Stored),
        }
        Ok(())
    }

    fn check(page: &Page, values: &Values) -> Result<(), TestCaseError> {
        let body = std::str::from_utf8(page.bytes()).expect("text");
        let made_for: BTreeMap<_, _> = body
            .split(',')
            .filter_map(|field| field.split_once('='))
            .collect();
        let named = page
            .vary()
            .map_or(&[][..], Selection::names)
            .iter()
            .map(HeaderName::as_str);
        for name in named.chain(["rsc"]) {
            let own = values.get(name).map(String::as_str);
            prop_assert_eq!(made_for.get(name).copied(), own, "{} of {:?}", name, body);
        }
        // Nothing of a visitor that the key does not hold has a say.
        let key = page.key();
        let keyed: Vec<_> = key.variant().map(|(name, _)| name.as_str()).collect();
        for name in made_for.keys() {
            prop_assert!(keyed.contains(name), "{} is not keyed", name);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Invariant 5 for variants, whatever the app says and whoever comes first.
    #[test]
    fn variant_histories_give_each_visitor_the_own_variant(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        for event in events {
            match event {
                Event::Visit(fields) => {
                    let values = fields.iter().map(|(name, value)| (NAMES[*name], value.to_string())).collect();
                    world.visit(&values)?;
                    let count = world.count;
                    world.visit(&values)?;
                    prop_assert_eq!(world.count, count, "asked for again: {:?}", values);
                }
                Event::Vary(names) => world.vary = names,
                Event::Later => world.now = world.now + MARKER_TTL,
                Event::Forget => {
                    let (lookup, _) = world.read(&Values::new());
                    if let Some(page) = world.store.get(&lookup.key) {
                        world.store.remove(&page);
                    }
                }
            }
            prop_assert!(world.store.len() <= 1 + 32);
        }
    }
}
