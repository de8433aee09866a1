//! Builders for the tests of this crate.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    config::{Config, Interval, Route, Rule, Scheme},
    freshness::Arrival,
    key::{Key, Selection},
    page::{Page, Parts, TagSet},
    routes::{Owner, Plan, Routes},
    time::Moment,
};

/// A rule that keeps pages for a minute.
pub(crate) fn mk_rule(name: &str, paths: &[&str]) -> Rule {
    Rule {
        revalidate: Some(Interval::After(Duration::from_mins(1))),
        ..Rule::new(name, paths)
    }
}

pub(crate) fn mk_route(name: &str, hostnames: &[&str], rules: Vec<Rule>) -> Route {
    Route {
        hostnames: texts(hostnames),
        ..Route::new(name, rules)
    }
}

pub(crate) fn mk_routes(routes: Vec<Route>) -> Routes {
    Routes::compile(&Config { routes }).expect("a good configuration")
}

pub(crate) fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

/// The plan of a rule for any path, changed by `change`, of the route `shop`: fresh for a minute, stale for an hour.
pub(crate) fn mk_plan(change: impl FnOnce(&mut Rule)) -> Plan {
    let mut rule = mk_rule("all", &["/[[...path]]"]);
    rule.expire = Duration::from_hours(1);
    rule.tags = texts(&["site"]);
    change(&mut rule);
    let plan = mk_routes(vec![mk_route("shop", &[], vec![rule])]).plans()[0].clone();
    Arc::into_inner(plan).expect("the routes are gone")
}

/// As that of a plan, but of another route.
pub(crate) fn mk_owner(route: &str, plan: &Plan) -> Arc<Owner> {
    Arc::new(Owner {
        route: route.into(),
        rule: plan.owner.rule.clone(),
        fingerprint: plan.owner.fingerprint,
        licences: plan.owner.licences,
    })
}

pub(crate) fn mk_key(path: &str) -> Arc<Key> {
    Arc::new(Key::new(Scheme::Https, "example.com", path, "").expect("a good key"))
}

/// A page of `plan` whose body has `length` bytes.
pub(crate) fn mk_page(plan: &Plan, path: &str, stamp: u64, length: usize) -> Page {
    Page::new(mk_parts(plan, path, stamp, length))
}

/// Its parts.
pub(crate) fn mk_parts(plan: &Plan, path: &str, stamp: u64, length: usize) -> Parts {
    Parts {
        key: mk_key(path),
        owner: plan.owner.clone(),
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: vec![0; length].into(),
        tags: TagSet::new(plan.tags(path), []).expect("few tags"),
        stamp,
        stored: Moment(0),
        tagged: false,
        compressible: false,
        vary: None,
        app: None,
    }
}

pub(crate) fn mk_headers(fields: &[&str]) -> HeaderMap {
    let fields = fields
        .iter()
        .map(|field| field.split_once(": ").expect("a field"));
    fields
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().expect("a good name"),
                HeaderValue::from_str(value).expect("a good value"),
            )
        })
        .collect()
}

/// Noon on a Tuesday, without delay.
pub(crate) fn mk_arrival() -> Arrival {
    Arrival {
        at: httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").expect("a date"),
        delay: Duration::ZERO,
    }
}

/// A variant of a page, chosen by one field.
pub(crate) fn mk_variant(path: &str, name: &'static str, value: &str) -> Arc<Key> {
    let routes = mk_routes(vec![mk_route(
        "shop",
        &[],
        vec![mk_rule("all", &["/[[...path]]"])],
    )]);
    let mut lookup = routes.revisit(&mk_key(path)).expect("a rule for every path");
    let mut headers = HeaderMap::new();
    headers.insert(header::VARY, HeaderValue::from_static(name));
    let selection = Selection::of(&headers).expect("a shareable answer");
    headers.insert(name, HeaderValue::from_str(value).expect("a good value"));
    assert!(lookup.narrow(&headers, &selection), "a short value");
    lookup.key
}
