use std::num::NonZeroU16;

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
        Arc::default(),
        Store::new(1 << 20),
        Arc::new(Ledger::new()),
        upstream,
        NonZeroU16::MIN,
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
