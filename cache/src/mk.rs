//! Builders for the tests of this crate.

use std::time::Duration;

use crate::{
    config::{Config, Interval, Origin, Overrides, Query, Route, Rule, Scheme},
    routes::Routes,
};

/// A rule that keeps pages for a minute.
pub(crate) fn mk_rule(name: &str, paths: &[&str]) -> Rule {
    Rule {
        name: name.to_owned(),
        paths: texts(paths),
        revalidate: Some(Interval::After(Duration::from_mins(1))),
        expire: Duration::from_hours(365 * 24),
        negative: Duration::from_secs(10),
        tags: Vec::new(),
        query: Query::AllButTracking,
        key_headers: Vec::new(),
        key_cookies: Vec::new(),
        bypass_cookies: Vec::new(),
        bypass_headers: Vec::new(),
        overrides: Overrides::default(),
        max_body_bytes: 10 << 20,
        cache_control: "public, max-age=0, must-revalidate".to_owned(),
        keep_tags: false,
        heuristic: false,
    }
}

pub(crate) fn mk_route(name: &str, hostnames: &[&str], rules: Vec<Rule>) -> Route {
    Route {
        name: name.to_owned(),
        hostnames: texts(hostnames),
        suspend: false,
        origin: Origin {
            timeout: Duration::from_secs(30),
            scheme: Scheme::Https,
        },
        rules,
    }
}

pub(crate) fn mk_routes(routes: Vec<Route>) -> Routes {
    Routes::compile(&Config { routes }).expect("a good configuration")
}

pub(crate) fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}
