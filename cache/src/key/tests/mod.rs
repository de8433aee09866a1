//! Reading requests: what is one page, what another, and what none.

mod passing;
mod url;
mod variants;

use std::time::Duration;

use http::{
    HeaderMap, Method, Request, Version, header,
    request::{Builder, Parts},
};
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    config::{Interval, Query, Rule},
    mk::{mk_route, mk_routes, mk_rule, texts},
    outcome::{PassReason, RefuseReason},
    routes::Routes,
};

/// Routes of one rule that matches every path, changed by a test.
fn routes(change: impl FnOnce(&mut Rule)) -> Routes {
    let mut rule = mk_rule("all", &["/[[...all]]"]);
    change(&mut rule);
    mk_routes(vec![mk_route("site", &[], vec![rule])])
}

fn parts(request: Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

/// A visit of `target` at a.com with more headers.
fn visit(target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::get(target).header("host", "a.com");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    parts(request)
}

fn lookup(routes: &Routes, parts: &Parts) -> Lookup {
    match read(routes, parts) {
        Reading::Lookup(lookup) => lookup,
        other => panic!("not looked up: {other:?}"),
    }
}

fn key(target: &str, headers: &[(&str, &str)]) -> Key {
    Key::clone(&lookup(&routes(|_| ()), &visit(target, headers)).key)
}

fn reason(routes: &Routes, parts: &Parts) -> PassReason {
    match read(routes, parts) {
        Reading::Pass { reason, .. } => reason,
        other => panic!("not passed: {other:?}"),
    }
}

/// The fields of a built request that a visitor's request can have a say in.
fn sent(lookup: &Lookup) -> Vec<String> {
    let request = lookup.origin_request();
    let own = ["host", "accept-encoding", "x-forwarded-host", "x-forwarded-proto"];
    let mut fields: Vec<_> = request
        .headers()
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    fields.sort();
    fields
}

const DEFAULTS: [&str; 2] = [
    "accept: */*",
    concat!("user-agent: coppice/", env!("CARGO_PKG_VERSION")),
];

#[test]
fn key_builds_the_request_of_the_app() {
    let visited = visit(
        "/caf%C3%A9/?b=2&utm_source=x&a=1",
        &[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "Shop.example.com:443"),
            ("x-forwarded-for", "192.0.2.1"),
            ("cookie", "secret=1"),
            ("accept", "text/html"),
            ("accept-encoding", "br"),
            ("accept-language", "de"),
            ("user-agent", "a browser"),
            ("if-none-match", "\"x\""),
            ("range", "bytes=0-1"),
            ("x-middleware-prefetch", "1"),
            ("connection", "x-custom"),
            ("x-custom", "1"),
        ],
    );
    let request = lookup(&routes(|_| ()), &visited).origin_request();
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri(), "/caf%C3%A9/?a=1&b=2");
    let mut headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
            ("host", "a.com"),
            ("user-agent", USER_AGENT),
            ("x-forwarded-host", "shop.example.com"),
            ("x-forwarded-proto", "https"),
        ]
    );
}

#[test]
fn key_is_visited_again_only_where_a_visit_would_come() {
    let key = Arc::new(Key::new(Scheme::Https, "a.com", "/a", "page=2").unwrap());
    let all = routes(|_| ());
    let again = all.revisit(&key).expect("it is reachable");
    assert_eq!(again.key, key);
    assert_eq!(again.plan.owner.rule.as_ref(), "all");
    assert!(
        routes(|rule| rule.query = Query::Allow(vec![]))
            .revisit(&key)
            .is_none()
    );
    assert!(routes(|rule| rule.revalidate = None).revisit(&key).is_some());
    let never = routes(|rule| rule.revalidate = Some(Interval::After(Duration::ZERO)));
    assert!(never.revisit(&key).is_none());
    assert!(routes(|rule| rule.paths = texts(&["/b"])).revisit(&key).is_none());
    assert!(Routes::default().revisit(&key).is_none());
}

proptest! {
    /// The order in which different parameters are sent makes no other page, and what is built is asked for again.
    #[test]
    fn key_query_order_does_not_count(
        parameters in prop::collection::vec(("[a-e]", "[0-9+]{0,2}"), 0..6),
        seed in any::<u64>(),
    ) {
        let mut shuffled: Vec<_> = parameters.iter().enumerate().collect();
        // Moves whole names, so that duplicates keep their order.
        shuffled.sort_by_key(|(at, (name, _))| ((u64::from(name.as_bytes()[0]).wrapping_mul(seed | 1)) % 7, name.clone(), *at));
        let write = |list: Vec<(String, String)>| {
            let list: Vec<_> = list.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("/p?{}", list.join("&"))
        };
        let one = key(&write(parameters.clone()), &[]);
        let other = key(&write(shuffled.into_iter().map(|(_, parameter)| parameter.clone()).collect()), &[]);
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(&key(one.target(), &[]), &one);
    }

    /// Reading anything never panics, and whatever is looked up can be asked for.
    #[test]
    fn key_read_never_panics(
        target in "/[ -~é]{0,20}",
        names in prop::collection::vec((prop::sample::select(vec!["host", "x-forwarded-host", "x-forwarded-proto", "cookie", "rsc"]), prop::collection::vec(any::<u8>(), 0..8)), 0..4),
    ) {
        let mut request = Request::get(&target);
        for (name, value) in names {
            request = request.header(name, value);
        }
        if let Ok(request) = request.body(()) {
            let (parts, ()) = request.into_parts();
            if let Reading::Lookup(lookup) = read(&routes(|_| ()), &parts) {
                let asked = lookup.origin_request();
                prop_assert_eq!(asked.uri().path(), parts.uri.path());
            }
        }
    }
}
