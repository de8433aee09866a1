//! Engine types ⇄ messages, total in both directions.
//!
//! ```text
//! Config ──[config_to_pb]──► pb::Config (with its version)     pb::Config ──[config_from_pb]──► Config | ConvertError
//! Line   ──[line_to_pb]────► pb::Line                          pb::Line   ──[line_from_pb]────► Line   (never fails)
//! lines  ──[lines_to_pb]───► pb::Lines, several where one would be too large
//! ```
//!
//! A configuration in doubt is refused, because the former one still serves. A purge in doubt is widened, because a
//! purge that is missed would show an old page: an unknown strategy means `Delete`, an unknown term everything.

use std::{fmt::Write as _, time::Duration};

use coppice_cache::{
    config::{Config, Interval, Origin, Overrides, Query, Route, Rule, Scheme, Secret},
    ledger::{Line, Selector, Strategy},
};
use prost::Message as _;

use crate::pb;

/// Largest message that either side receives, in bytes. gRPC's own default of 4 MiB would refuse the configuration of a
/// pod that a thousand large routes select; the bound is there so that a broken peer cannot exhaust memory.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// Size in bytes at which [`lines_to_pb`] begins a new message, so that a long ledger is acknowledged piece by piece.
pub const LINES_CHUNK_BYTES: usize = 1 << 20;

/// No duration on the wire is longer than this: 1000 years of 365 days. What is longer is a mistake, not an interval.
pub const MAX_SPAN: Duration = Duration::from_hours(1000 * 365 * 24);

/// What a message lacks or gets wrong, with the place where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the configuration: {place}: {field} {problem}")]
pub struct ConvertError {
    /// Which route, and which of its rules.
    pub place: Place,
    /// Field of the message.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Where in a configuration something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The configuration itself.
    Config,
    /// A route, by name, or by position where it has none.
    Route(String),
    /// A rule of a route, each by name, or by position where it has none.
    Rule(String, String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config => f.write_str("configuration"),
            Self::Route(route) => write!(f, "route {route}"),
            Self::Rule(route, rule) => write!(f, "route {route}, rule {rule}"),
        }
    }
}

/// What can be wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Absent, empty or zero where a value is needed.
    Missing,
    /// A kind that this release does not know.
    Unknown,
    /// Beyond [`MAX_SPAN`].
    TooLong,
    /// The same name twice.
    Duplicate,
}

impl Problem {
    /// The words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "is missing",
            Self::Unknown => "is of a kind that this release does not know",
            Self::TooLong => "is longer than 1000 years",
            Self::Duplicate => "is there twice",
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The configuration as a message, its version filled in.
pub fn config_to_pb(config: &Config) -> pb::Config {
    let mut message = pb::Config {
        version: String::new(),
        routes: config.routes.iter().map(route_to_pb).collect(),
    };
    message.version = hash(&message);
    message
}

/// Version of a configuration: 32 hex digits, the XXH3-128 hash of its content. The order of routes is content, because
/// it decides between equal patterns.
pub fn version(config: &Config) -> String {
    config_to_pb(config).version
}

/// Prost writes fields in the order of their numbers and leaves defaults out, and the messages hold no maps, so equal
/// content gives equal bytes.
fn hash(message: &pb::Config) -> String {
    debug_assert!(message.version.is_empty(), "a version does not hash itself");
    let mut text = String::with_capacity(32);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{:032x}",
        xxhash_rust::xxh3::xxh3_128(&message.encode_to_vec())
    );
    text
}

/// The configuration that a message holds; its version is the sender's business and is not looked at.
pub fn config_from_pb(message: pb::Config) -> Result<Config, ConvertError> {
    let mut routes: Vec<Route> = Vec::with_capacity(message.routes.len());
    for (position, route) in message.routes.into_iter().enumerate() {
        let route = route_from_pb(position, route)?;
        if routes.iter().any(|other| other.name == route.name) {
            return Err(ConvertError {
                place: Place::Route(route.name),
                field: "name",
                problem: Problem::Duplicate,
            });
        }
        routes.push(route);
    }
    Ok(Config { routes })
}

fn route_to_pb(route: &Route) -> pb::Route {
    pb::Route {
        name: route.name.clone(),
        hostnames: route.hostnames.clone(),
        suspend: route.suspend,
        origin: Some(pb::Origin {
            timeout_ms: millis(route.origin.timeout),
            scheme: match route.origin.scheme {
                Scheme::Http => pb::Scheme::Http,
                Scheme::Https => pb::Scheme::Https,
            }
            .into(),
            headers: (route.origin.headers.iter())
                .map(|(name, value)| pb::OriginHeader {
                    name: name.clone(),
                    value: value.expose().to_owned(),
                })
                .collect(),
        }),
        rules: route.rules.iter().map(rule_to_pb).collect(),
    }
}

fn route_from_pb(position: usize, message: pb::Route) -> Result<Route, ConvertError> {
    let place = Place::Route(named(&message.name, position));
    let at = |field, problem| ConvertError {
        place: place.clone(),
        field,
        problem,
    };
    if message.name.is_empty() {
        return Err(at("name", Problem::Missing));
    }
    let origin = message.origin.ok_or_else(|| at("origin", Problem::Missing))?;
    let timeout = span(origin.timeout_ms).map_err(|problem| at("origin.timeout_ms", problem))?;
    if timeout.is_zero() {
        return Err(at("origin.timeout_ms", Problem::Missing));
    }
    let scheme = match pb::Scheme::try_from(origin.scheme) {
        Ok(pb::Scheme::Http) => Scheme::Http,
        Ok(pb::Scheme::Https) => Scheme::Https,
        Ok(pb::Scheme::Unspecified) => return Err(at("origin.scheme", Problem::Missing)),
        Err(_) => return Err(at("origin.scheme", Problem::Unknown)),
    };
    let rules = message
        .rules
        .into_iter()
        .enumerate()
        .map(|(position, rule)| rule_from_pb(&message.name, position, rule))
        .collect::<Result<_, _>>()?;
    Ok(Route {
        name: message.name,
        hostnames: message.hostnames,
        suspend: message.suspend,
        origin: Origin {
            timeout,
            scheme,
            headers: (origin.headers.into_iter())
                .map(|header| (header.name, Secret::new(header.value)))
                .collect(),
        },
        rules,
    })
}

fn rule_to_pb(rule: &Rule) -> pb::Rule {
    use pb::interval::Kind;
    pb::Rule {
        name: rule.name.clone(),
        paths: rule.paths.clone(),
        revalidate: rule.revalidate.map(|interval| pb::Interval {
            kind: Some(match interval {
                Interval::After(span) => Kind::AfterMs(millis(span)),
                Interval::Never => Kind::Never(true),
            }),
        }),
        expire_ms: millis(rule.expire),
        negative_ms: millis(rule.negative),
        tags: rule.tags.clone(),
        query_allow: match &rule.query {
            Query::AllButTracking => None,
            Query::Allow(names) => Some(pb::QueryAllow { names: names.clone() }),
        },
        key_headers: rule.key_headers.clone(),
        key_cookies: rule.key_cookies.clone(),
        bypass_cookies: rule.bypass_cookies.clone(),
        bypass_headers: rule.bypass_headers.clone(),
        overrides: Some(pb::Overrides {
            no_store: rule.overrides.no_store,
            private: rule.overrides.private,
            set_cookie: rule.overrides.set_cookie,
            authorization: rule.overrides.authorization,
        }),
        max_body_bytes: rule.max_body_bytes,
        cache_control: rule.cache_control.clone(),
        keep_tags: rule.keep_tags,
        heuristic: rule.heuristic,
        prerender: rule.prerender.clone(),
    }
}

fn rule_from_pb(route: &str, position: usize, message: pb::Rule) -> Result<Rule, ConvertError> {
    use pb::interval::Kind;
    let place = Place::Rule(route.to_owned(), named(&message.name, position));
    let at = |field, problem| ConvertError {
        place: place.clone(),
        field,
        problem,
    };
    if message.name.is_empty() {
        return Err(at("name", Problem::Missing));
    }
    if message.paths.is_empty() {
        return Err(at("paths", Problem::Missing));
    }
    let revalidate = match message.revalidate.map(|interval| interval.kind) {
        None => None,
        Some(Some(Kind::AfterMs(ms))) => Some(Interval::After(
            span(ms).map_err(|problem| at("revalidate", problem))?,
        )),
        Some(Some(Kind::Never(true))) => Some(Interval::Never),
        // `never: false` says nothing: it may be an interval of a kind that comes later.
        Some(Some(Kind::Never(false)) | None) => return Err(at("revalidate", Problem::Unknown)),
    };
    let overrides = message.overrides.unwrap_or_default();
    Ok(Rule {
        revalidate,
        expire: span(message.expire_ms).map_err(|problem| at("expire_ms", problem))?,
        negative: span(message.negative_ms).map_err(|problem| at("negative_ms", problem))?,
        name: message.name,
        paths: message.paths,
        tags: message.tags,
        query: message
            .query_allow
            .map_or(Query::AllButTracking, |allow| Query::Allow(allow.names)),
        key_headers: message.key_headers,
        key_cookies: message.key_cookies,
        bypass_cookies: message.bypass_cookies,
        bypass_headers: message.bypass_headers,
        overrides: Overrides {
            no_store: overrides.no_store,
            private: overrides.private,
            set_cookie: overrides.set_cookie,
            authorization: overrides.authorization,
        },
        max_body_bytes: message.max_body_bytes,
        cache_control: message.cache_control,
        keep_tags: message.keep_tags,
        heuristic: message.heuristic,
        prerender: message.prerender,
    })
}

/// A ledger line as a message.
pub fn line_to_pb(line: &Line) -> pb::Line {
    use pb::term::Term;
    let selector = &line.selector;
    let terms = (selector.paths.iter().cloned().map(Term::Path))
        .chain(selector.patterns.iter().cloned().map(Term::Pattern))
        .chain(selector.tags.iter().cloned().map(Term::Tag))
        .chain(selector.everything.then_some(Term::Everything(true)))
        .map(|term| pb::Term { term: Some(term) })
        .collect();
    pb::Line {
        sequence: line.sequence,
        selector: Some(pb::Selector {
            route: selector.route.clone().unwrap_or_default(),
            hostnames: selector.hostnames.clone(),
            terms,
        }),
        strategy: match line.strategy {
            Strategy::Refresh => pb::Strategy::Refresh,
            Strategy::Expire => pb::Strategy::Expire,
            Strategy::Delete => pb::Strategy::Delete,
        }
        .into(),
    }
}

/// The ledger line that a message holds. What it does not say, or says in words of a later release, is read as the most
/// that it can mean: no selector, no term or an unknown one selects everything, no strategy or an unknown one deletes.
pub fn line_from_pb(message: pb::Line) -> Line {
    let strategy = match pb::Strategy::try_from(message.strategy) {
        Ok(pb::Strategy::Refresh) => Strategy::Refresh,
        Ok(pb::Strategy::Expire) => Strategy::Expire,
        Ok(pb::Strategy::Delete | pb::Strategy::Unspecified) | Err(_) => Strategy::Delete,
    };
    Line {
        sequence: message.sequence,
        selector: selector_from_pb(message.selector.unwrap_or_default()),
        strategy,
    }
}

fn selector_from_pb(message: pb::Selector) -> Selector {
    use pb::term::Term;
    let mut selector = Selector {
        route: Some(message.route).filter(|route| !route.is_empty()),
        hostnames: message.hostnames,
        everything: message.terms.is_empty(),
        ..Selector::default()
    };
    for term in message.terms {
        match term.term {
            Some(Term::Path(path)) => selector.paths.push(path),
            Some(Term::Pattern(pattern)) => selector.patterns.push(pattern),
            Some(Term::Tag(tag)) => selector.tags.push(tag),
            Some(Term::Everything(_)) | None => selector.everything = true,
        }
    }
    selector
}

/// Lines as messages of about [`LINES_CHUNK_BYTES`] at most (a line is never split). Each says the head that holds once
/// it is appended, the last one `head`; each says `floor`. There is always at least one, so that a head without new
/// lines arrives too.
pub fn lines_to_pb<'a>(lines: impl IntoIterator<Item = &'a Line>, head: u64, floor: u64) -> Vec<pb::Lines> {
    let mut messages = Vec::new();
    let mut chunk = pb::Lines {
        lines: Vec::new(),
        head,
        floor,
    };
    let mut bytes = 0;
    for line in lines {
        let line = line_to_pb(line);
        let size = line.encoded_len();
        if bytes + size > LINES_CHUNK_BYTES
            && let Some(last) = chunk.lines.last()
        {
            chunk.head = last.sequence;
            messages.push(chunk);
            chunk = pb::Lines {
                lines: Vec::new(),
                head,
                floor,
            };
            bytes = 0;
        }
        bytes += size;
        chunk.lines.push(line);
    }
    messages.push(chunk);
    messages
}

/// The lines, head and floor that a message holds.
pub fn lines_from_pb(message: pb::Lines) -> (Vec<Line>, u64, u64) {
    let lines = message.lines.into_iter().map(line_from_pb).collect();
    (lines, message.head, message.floor)
}

/// Whole milliseconds; what exceeds the type is at the receiver [`Problem::TooLong`].
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn span(ms: u64) -> Result<Duration, Problem> {
    let span = Duration::from_millis(ms);
    if span > MAX_SPAN {
        Err(Problem::TooLong)
    } else {
        Ok(span)
    }
}

fn named(name: &str, position: usize) -> String {
    if name.is_empty() {
        format!("number {}", position + 1)
    } else {
        name.to_owned()
    }
}
