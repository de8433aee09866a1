//! From a configuration to routes: checks everything, collects every error, then builds.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

use http::{HeaderName, HeaderValue};

use super::{Owner, Plan, Prerender, Routes, Shadowed, prerender::PrerenderError};
use crate::{
    config::{Config, Query, Route, Rule, Secret},
    hostname::{Hostname, HostnameError},
    pattern::{Pattern, PatternError},
    template::{Template, TemplateError},
};

/// What is wrong with one field of a configuration, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {route}{}, {field}: {problem}", rule_words(.rule.as_deref()))]
pub struct ConfigError {
    /// Name of the route.
    pub route: String,
    /// Name of the rule; `None`: it is the route itself.
    pub rule: Option<String>,
    /// The field as the custom resource spells it, below the rule or the `spec`: `paths[1]`, `key.query.allow[0]`.
    pub field: String,
    /// What is wrong; the words say what would be right.
    pub problem: Problem,
}

fn rule_words(rule: Option<&str>) -> String {
    rule.map(|rule| format!(", rule {rule}")).unwrap_or_default()
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Two routes of one name.
    #[error("two routes have this name; names are unique in a namespace")]
    Duplicate,
    /// A list that needs an entry has none.
    #[error("give at least one")]
    Empty,
    /// Not a hostname.
    #[error("{text:?} is no hostname: {error}")]
    Hostname {
        /// As written.
        text: String,
        /// Why.
        error: HostnameError,
    },
    /// Not a path pattern.
    #[error("{text:?} is no path pattern: {error}")]
    Pattern {
        /// As written.
        text: String,
        /// Why.
        error: PatternError,
    },
    /// Not a tag.
    #[error("{text:?} is no tag: {error}")]
    Tag {
        /// As written.
        text: String,
        /// Why.
        error: TemplateError,
    },
    /// A tag names something that no path of its rule captures.
    #[error("no path of the rule captures [{0}]; name a capture of one of its paths")]
    Capture(String),
    /// Not the name of a header field.
    #[error("{0:?} is no name of a header field; use lower-case letters, digits and hyphens")]
    HeaderName(String),
    /// Not a value of a header field.
    #[error("{0:?} is no value of a header field; use visible ASCII and spaces")]
    HeaderValue(String),
    /// Not a value of a header field; it is not repeated.
    #[error("the value is none of a header field; use visible ASCII and spaces")]
    Secret,
    /// Not a page to prerender.
    #[error("{text:?} names no page: {error}")]
    Prerender {
        /// As written.
        text: String,
        /// Why.
        error: PrerenderError,
    },
    /// Not the name of a cookie.
    #[error("{0:?} is no name of a cookie; use letters, digits and - _ .")]
    CookieName(String),
    /// Not the name of a query parameter.
    #[error("a query parameter has a name")]
    Parameter,
    /// A limit or a time of nothing.
    #[error("it must be more than zero")]
    Zero,
}

pub(super) fn compile(config: &Config) -> Result<Routes, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut compiled = Vec::with_capacity(config.routes.len());
    for (at, route) in config.routes.iter().enumerate() {
        let mut checks = Checks {
            route: &route.name,
            rule: None,
            errors: &mut errors,
        };
        if config.routes[..at]
            .iter()
            .any(|earlier| earlier.name == route.name)
        {
            checks.refuse("metadata.name", Problem::Duplicate);
        }
        compiled.push(compile_route(route, &mut checks));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut routes = Routes::default();
    for (hostnames, plans) in compiled {
        for plan in plans {
            routes.add(&hostnames, plan);
        }
    }
    Ok(routes)
}

/// Where the checks stand, and what they found.
struct Checks<'a> {
    route: &'a str,
    rule: Option<&'a str>,
    errors: &'a mut Vec<ConfigError>,
}

impl Checks<'_> {
    fn refuse(&mut self, field: impl Into<String>, problem: Problem) {
        self.errors.push(ConfigError {
            route: self.route.to_owned(),
            rule: self.rule.map(str::to_owned),
            field: field.into(),
            problem,
        });
    }

    /// Parses each entry of a list; those that fail are refused and left out.
    fn each<T>(
        &mut self,
        field: &str,
        list: &[String],
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Vec<T> {
        let mut parsed = Vec::with_capacity(list.len());
        for (at, text) in list.iter().enumerate() {
            match parse(text) {
                Ok(value) => parsed.push(value),
                Err(problem) => self.refuse(format!("{field}[{at}]"), problem),
            }
        }
        parsed
    }
}

fn compile_route<'a>(route: &'a Route, checks: &mut Checks<'a>) -> (Vec<Hostname>, Vec<Plan>) {
    let hostnames = checks.each("hostnames", &route.hostnames, |text| {
        Hostname::parse(text).map_err(|error| Problem::Hostname {
            text: text.to_owned(),
            error,
        })
    });
    if route.origin.timeout.is_zero() {
        checks.refuse("origin.timeout", Problem::Zero);
    }
    if route.rules.is_empty() {
        checks.refuse("rules", Problem::Empty);
    }
    let mut headers = Vec::with_capacity(route.origin.headers.len());
    for (name, value) in &route.origin.headers {
        match origin_header(name, value) {
            Ok(header) => headers.push(header),
            Err(problem) => checks.refuse(format!("origin.headers[{name}]"), problem),
        }
    }
    let headers: Arc<[_]> = headers.into();
    let name: Arc<str> = route.name.as_str().into();
    let written: Arc<[String]> = route.hostnames.as_slice().into();
    let plans = route
        .rules
        .iter()
        .map(|rule| {
            checks.rule = Some(&rule.name);
            let mut plan = compile_rule(&name, &written, route, rule, checks);
            plan.origin_headers = headers.clone();
            plan.prerender = prerender(rule, &hostnames, &plan, checks);
            checks.rule = None;
            plan
        })
        .collect();
    (hostnames, plans)
}

fn compile_rule(
    name: &Arc<str>,
    hostnames: &Arc<[String]>,
    route: &Route,
    rule: &Rule,
    checks: &mut Checks<'_>,
) -> Plan {
    let patterns = checks.each("paths", &rule.paths, |text| {
        Pattern::parse(text).map_err(|error| Problem::Pattern {
            text: text.to_owned(),
            error,
        })
    });
    if rule.paths.is_empty() {
        checks.refuse("paths", Problem::Empty);
    }
    let is_captured = |name: &str| {
        let mut names = patterns.iter().flat_map(Pattern::names);
        // A path that did not parse might have captured it; that path is the error then.
        patterns.len() < rule.paths.len() || names.any(|captured| captured == name)
    };
    let tags = checks.each("tags", &rule.tags, |text| {
        let tag = Template::parse(text).map_err(|error| Problem::Tag {
            text: text.to_owned(),
            error,
        })?;
        if let Some(unknown) = tag.names().find(|name| !is_captured(name)) {
            return Err(Problem::Capture(unknown.to_owned()));
        }
        Ok(tag)
    });
    if let Query::Allow(allowed) = &rule.query {
        checks.each("key.query.allow", allowed, |text| {
            (!text.is_empty()).then_some(()).ok_or(Problem::Parameter)
        });
    }
    let key_headers = checks.each("key.headers", &rule.key_headers, check_header_name);
    checks.each("key.cookies", &rule.key_cookies, check_cookie_name);
    let _ = checks.each("bypass.headers", &rule.bypass_headers, check_header_name);
    checks.each("bypass.cookies", &rule.bypass_cookies, check_cookie_name);
    if rule.max_body_bytes == 0 {
        checks.refuse("maxBodyBytes", Problem::Zero);
    }
    let cache_control = HeaderValue::from_str(&rule.cache_control).unwrap_or_else(|_| {
        checks.refuse("cacheControl", Problem::HeaderValue(rule.cache_control.clone()));
        HeaderValue::from_static("no-store")
    });
    Plan {
        owner: Arc::new(Owner {
            route: name.clone(),
            rule: rule.name.as_str().into(),
            fingerprint: fingerprint(rule),
            licences: rule.licences(),
        }),
        rule: rule.clone(),
        origin: route.origin.clone(),
        hostnames: hostnames.clone(),
        suspend: route.suspend,
        patterns: patterns.into(),
        tags: tags.into(),
        cache_control,
        origin_headers: Arc::default(),
        prerender: Box::default(),
        key_headers: key_headers.into(),
    }
}

/// The pages that a rule has fetched before a visitor asks. What its paths and hostnames lack is their error.
fn prerender(rule: &Rule, hostnames: &[Hostname], plan: &Plan, checks: &mut Checks<'_>) -> Box<[Prerender]> {
    if !checks.errors.is_empty() {
        return Box::default();
    }
    let pages = checks.each("prerender", &rule.prerender, |text| {
        Prerender::parse(text, hostnames, plan).map_err(|error| Problem::Prerender {
            text: text.to_owned(),
            error,
        })
    });
    pages.into_iter().flatten().collect()
}

fn origin_header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), Problem> {
    let name = match HeaderName::from_bytes(name.as_bytes()) {
        Ok(parsed) if parsed.as_str() == name => parsed,
        _ => return Err(Problem::HeaderName(name.to_owned())),
    };
    let mut value = HeaderValue::from_str(value.expose()).map_err(|_| Problem::Secret)?;
    // `Debug` does not print it.
    value.set_sensitive(true);
    Ok((name, value))
}

fn check_header_name(text: &str) -> Result<HeaderName, Problem> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if name.as_str() == text => Ok(name),
        _ => Err(Problem::HeaderName(text.to_owned())),
    }
}

/// A cookie's name is a token (RFC 6265 section 4.1.1), as a header field's is, but its case counts.
fn check_cookie_name(text: &str) -> Result<(), Problem> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::CookieName(text.to_owned())),
    }
}

/// Of all that decides which pages a rule has, what is kept of them and what they are tagged with. It never leaves the process.
fn fingerprint(rule: &Rule) -> u64 {
    let mut hasher = crate::key::seed().build_hasher();
    rule.paths.hash(&mut hasher);
    rule.tags.hash(&mut hasher);
    let allowed = match &rule.query {
        Query::AllButTracking => None,
        Query::Allow(allowed) => Some(allowed),
    };
    allowed.hash(&mut hasher);
    rule.key_headers.hash(&mut hasher);
    rule.key_cookies.hash(&mut hasher);
    rule.keep_tags.hash(&mut hasher);
    rule.licences().hash(&mut hasher);
    // Pages that the app's word was kept of are of no use to a rule that has its own, nor the other way round.
    rule.revalidate.is_none().hash(&mut hasher);
    hasher.finish()
}

impl Routes {
    /// Adds a plan behind all that came before it.
    fn add(&mut self, hostnames: &[Hostname], plan: Plan) {
        let plan = Arc::new(plan);
        self.plans.push(plan.clone());
        if hostnames.is_empty() {
            self.add_to(None, &plan);
        }
        for hostname in hostnames {
            self.add_to(Some(hostname), &plan);
        }
    }

    fn add_to(&mut self, hostname: Option<&Hostname>, plan: &Arc<Plan>) {
        let tree = match hostname {
            None => &mut self.any,
            Some(Hostname::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            Some(Hostname::Suffix(suffix)) => self.wildcard.entry(suffix.clone()).or_default(),
        };
        for pattern in &plan.patterns {
            let place = tree.place(pattern);
            match place {
                Some(winner) if Arc::ptr_eq(winner, plan) => {}
                Some(winner) => self.shadowed.push(Shadowed {
                    hostname: hostname.map(Hostname::to_string),
                    path: pattern.as_str().to_owned(),
                    loser: (plan.owner.route.clone(), plan.owner.rule.clone()),
                    winner: (winner.owner.route.clone(), winner.owner.rule.clone()),
                }),
                None => *place = Some(plan.clone()),
            }
        }
    }
}
