//! From what the user wrote to what a sidecar must know: defaults filled in, everything checked, every problem named.

use std::{
    collections::BTreeSet,
    fmt::{Display, Write as _},
};

use coppice_api::{
    Interval, IsrRouteSpec, Span,
    names::reason::Reason,
    quantity::parse_bytes,
    route::{Override, Rule, Scheme},
};
use coppice_cache::{config, routes::Shadowed};

use super::{
    check,
    secret::{self, Secrets, Unresolved},
    selector::Selector,
};

/// What became of one version of an IsrRoute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Accepted`, `Invalid` or `Unsupported`; a conflict is between objects and found later.
    pub reason: Reason,
    /// For people: object, field, remedy.
    pub message: String,
    /// The references that lead nowhere.
    pub unresolved: Vec<Unresolved>,
    /// What sidecars are told; `None` where the object is invalid, or refers to what is not there.
    pub compiled: Option<Compilation>,
}

/// A route as sidecars are told, and the pods that are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compilation {
    /// For the sidecars.
    pub route: config::Route,
    /// Which pods.
    pub selector: Selector,
}

/// Compiles one IsrRoute by itself. A field that this release cannot honour makes the whole route pass through: to
/// cache without it could show one visitor what is meant for another.
///
/// Nor is a route in force whose references lead nowhere: a regeneration without the header that gets it past the app's
/// own cache would store the old page again, and the purge that asked for it would say that it is done.
pub fn compile(name: &str, spec: &IsrRouteSpec, secrets: Secrets<'_>) -> Verdict {
    let mut problems = Problems::default();
    let mut unresolved = Vec::new();
    let unsupported = unsupported(spec, secrets);
    let selector = Selector::parse(&spec.pod_selector).unwrap_or_else(|errors| {
        for error in errors {
            problems.add("podSelector", error);
        }
        Selector::default()
    });
    let compiled = config::Route {
        name: name.to_owned(),
        hostnames: (spec.hostnames.iter())
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        suspend: spec.suspend || !unsupported.is_empty(),
        origin: origin(spec, secrets, &mut unresolved),
        rules: rules(&spec.rules, &mut problems),
    };
    let shadowed = check::alone(&compiled).unwrap_or_else(|errors| {
        problems.0.extend(errors);
        Vec::new()
    });
    if !problems.0.is_empty() {
        return Verdict {
            reason: Reason::Invalid,
            message: problems.0.join("; "),
            unresolved,
            compiled: None,
        };
    }
    let (reason, message) = if unsupported.is_empty() {
        (Reason::Accepted, accepted(spec, &unresolved, &shadowed))
    } else {
        let fields = unsupported.join(", ");
        (
            Reason::Unsupported,
            format!(
                "this release does not honour {fields}: every path of the route passes through until they are removed"
            ),
        )
    };
    Verdict {
        reason,
        message,
        compiled: unresolved.is_empty().then_some(Compilation {
            route: compiled,
            selector,
        }),
        unresolved,
    }
}

/// What is wrong, each with its field.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, field: impl Display, problem: impl Display) {
        self.0.push(format!("{field}: {problem}"));
    }
}

fn origin(spec: &IsrRouteSpec, secrets: Secrets<'_>, unresolved: &mut Vec<Unresolved>) -> config::Origin {
    let origin = spec.origin.as_ref();
    let mut headers = Vec::new();
    if let Secrets::Known(secrets) = secrets {
        for header in origin.iter().flat_map(|origin| &origin.headers) {
            let name = header.name.to_ascii_lowercase();
            match secret::resolve(&header.value_from.secret_key_ref, secrets) {
                Ok(value) => headers.push((name, value)),
                Err(problem) => unresolved.push(problem.of(&header.name)),
            }
        }
    }
    let default = config::Origin::default();
    config::Origin {
        timeout: (origin.and_then(|origin| origin.timeout)).map_or(default.timeout, |Span(timeout)| timeout),
        scheme: match origin.and_then(|origin| origin.scheme) {
            Some(Scheme::Http) => config::Scheme::Http,
            Some(Scheme::Https) => config::Scheme::Https,
            None => default.scheme,
        },
        headers,
    }
}

fn rules(rules: &[Rule], problems: &mut Problems) -> Vec<config::Rule> {
    let mut names = BTreeSet::new();
    (rules.iter().enumerate())
        .map(|(position, rule)| {
            let field = format!("rules[{position}]");
            if let Some(name) = &rule.name
                && !names.insert(name)
            {
                problems.add(
                    format_args!("{field}.name"),
                    format_args!("{name:?} is taken by an earlier rule"),
                );
            }
            self::rule(field, rule, problems)
        })
        .collect()
}

fn rule(field: String, rule: &Rule, problems: &mut Problems) -> config::Rule {
    let default = config::Rule::new("", &[]);
    let span = |span: Option<Span>, default| span.map_or(default, |Span(span)| span);
    let overrides = |what| rule.overrides.contains(&what);
    let max_body_bytes = match rule.max_body_bytes.as_deref().map(parse_bytes) {
        None => default.max_body_bytes,
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => {
            problems.add(format_args!("{field}.maxBodyBytes"), error);
            default.max_body_bytes
        }
    };
    let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let key = rule.key.clone().unwrap_or_default();
    let bypass = rule.bypass.clone().unwrap_or_default();
    config::Rule {
        name: rule.name.clone().unwrap_or(field),
        paths: rule.paths.clone(),
        revalidate: rule.revalidate.map(|interval| match interval {
            Interval::After(span) => config::Interval::After(span),
            Interval::Never => config::Interval::Never,
        }),
        expire: span(rule.expire, default.expire),
        negative: span(rule.negative, default.negative),
        tags: rule.tags.clone(),
        query: match key.query.and_then(|query| query.allow) {
            None => config::Query::AllButTracking,
            Some(names) => config::Query::Allow(names),
        },
        key_headers: lower(&key.headers),
        key_cookies: key.cookies,
        bypass_cookies: bypass.cookies,
        bypass_headers: lower(&bypass.headers),
        overrides: config::Overrides {
            no_store: overrides(Override::NoStore),
            private: overrides(Override::Private),
            set_cookie: overrides(Override::SetCookie),
            authorization: overrides(Override::Authorization),
        },
        max_body_bytes,
        cache_control: (rule.cache_control.clone()).unwrap_or(default.cache_control),
        keep_tags: rule.keep_tags,
        heuristic: rule.heuristic,
        prerender: rule.prerender.clone(),
    }
}

/// The fields that this release cannot honour, as far as the object uses them.
fn unsupported(spec: &IsrRouteSpec, secrets: Secrets<'_>) -> Vec<String> {
    let mut fields = Vec::new();
    if spec.trigger.is_some() {
        fields.push("trigger".to_owned());
    }
    let unwatched = matches!(secrets, Secrets::Unwatched);
    if unwatched && refers_to_secrets(spec) {
        fields.push("origin.headers".to_owned());
    }
    fields
}

/// Whether the route takes a value from a Secret.
pub(super) fn refers_to_secrets(spec: &IsrRouteSpec) -> bool {
    secret_names(spec).next().is_some()
}

/// Whether the route takes a value from the Secret of this name.
pub(super) fn refers_to(spec: &IsrRouteSpec, secret: &str) -> bool {
    secret_names(spec).any(|name| name == secret)
}

fn secret_names(spec: &IsrRouteSpec) -> impl Iterator<Item = &str> {
    let headers = spec.origin.iter().flat_map(|origin| &origin.headers);
    headers.map(|header| header.value_from.secret_key_ref.name.as_str())
}

/// What an accepted route should still be told: what it waits for, paths that never hold.
fn accepted(spec: &IsrRouteSpec, unresolved: &[Unresolved], shadowed: &[Shadowed]) -> String {
    let mut message = if !unresolved.is_empty() {
        "the route is well-formed, and waits for what it refers to".to_owned()
    } else if spec.suspend {
        "suspended: everything passes through until suspend is false".to_owned()
    } else {
        "the route is in force".to_owned()
    };
    for Shadowed {
        path, loser, winner, ..
    } in shadowed
    {
        let _ = write!(
            message,
            "; path {path:?} of {} never holds: {} has it before",
            loser.1, winner.1
        );
    }
    message
}
