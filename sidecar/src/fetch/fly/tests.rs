use std::num::NonZeroU16;

use arc_swap::ArcSwap;
use coppice_cache::{
    config::{Config, Interval, Route, Rule, Scheme},
    key::Key,
    ledger::Ledger,
    outcome::PassReason,
    routes::Routes,
    store::Store,
};
use futures::poll;
use tokio::net::TcpListener;

use super::*;
use crate::{
    clock::Clock,
    fetch::{Boarding, Fetched, Fetcher, Regenerated, Upstream},
};

fn routes() -> Routes {
    let rule = Rule {
        revalidate: Some(Interval::Never),
        ..Rule::new("all", &["/[[...all]]"])
    };
    let route = Route::new("shop", vec![rule]);
    Routes::compile(&Config { routes: vec![route] }).unwrap()
}

fn lookup() -> Lookup {
    let key = Arc::new(Key::new(Scheme::Http, "a.test", "/a", "").unwrap());
    routes().revisit(&key).unwrap()
}

fn fetcher(app: &str) -> Fetcher {
    Fetcher::new(
        Clock::start(),
        Arc::new(ArcSwap::from_pointee(routes())),
        Store::new(1 << 20),
        Arc::new(Ledger::new()),
        Upstream::new(app),
        NonZeroU16::MIN,
    )
}

fn lead(fetcher: &Fetcher, lookup: &Lookup) -> (Arc<Flight>, Ticket) {
    let shared = &fetcher.shared;
    let make = || Flight::new(shared.store.reserve());
    let mut flights = shared.flights.lock();
    match flights.board(&lookup.key, &lookup.plan, &shared.ledger, make) {
        Boarding::Lead { flight, ticket, .. } => (flight, ticket),
        other => panic!("nothing else is in the air: {other:?}"),
    }
}

#[tokio::test]
async fn a_flight_that_crashes_keeps_nobody_waiting() {
    // It takes connections and never answers.
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fetcher = fetcher(&app.local_addr().unwrap().to_string());
    let (shared, lookup) = (&fetcher.shared, lookup());
    let (flight, ticket) = lead(&fetcher, &lookup);
    let (mut own, headers) = (lookup.clone(), HeaderMap::new());
    let mut visitor = Box::pin(fetcher.fetch(&mut own, &headers, None));
    assert!(poll!(&mut visitor).is_pending());
    let mut crashing = Box::pin(fly(shared.clone(), lookup.clone(), flight, ticket, false));
    assert!(poll!(&mut crashing).is_pending());
    drop(crashing);
    assert!(matches!(
        visitor.await,
        Fetched::Pass(PassReason::Unstorable(Unstorable::Fault))
    ));
    assert_eq!(fetcher.in_the_air(), 0);
}

/// What the app would answer nobody knows then: the next try may store it.
#[tokio::test]
async fn a_regeneration_that_says_nothing_of_the_answer_is_not_refused() {
    let (fetcher, lookup) = (fetcher("127.0.0.1:1"), lookup());
    let ended = async || fetcher.prerender(&lookup.key).await.unwrap().outcome;
    let mut all = fetcher.shared.store.reserve();
    let mut most = 1 << 20;
    while most > 0 {
        while all.grow(most) {}
        most /= 2;
    }
    assert_eq!(ended().await, Regenerated::Failed, "there is no room");
    drop(all);
    let (_flight, ticket) = lead(&fetcher, &lookup);
    (fetcher.shared.flights.lock()).close(&ticket, Unstorable::TooLarge);
    assert_eq!(ended().await, Regenerated::Failed, "another flight takes no more");
}
