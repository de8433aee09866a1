//! The routes of one sidecar, compiled: from host and path to the one rule that holds.
//!
//! ```text
//! Config ─► compile.rs ─► Routes { a tree.rs of patterns for each hostname } ─ find(host, path) ─► Plan, the rule that holds
//!                              └─► prerender.rs: the keys to fetch before a visitor asks
//! ```
//!
//! [`Routes::compile`] checks a whole [`Config`] and says everything that is wrong with it; [`Routes::find`] is what
//! each visit asks. Precedence: the exact hostname, the longest wildcard, routes for any host; among the patterns of one
//! hostname the most specific; between equal ones the earlier route, then the earlier rule. The others are
//! [`Routes::shadowed`]. What a pages router of Next.js asks for as data is found where its page is.

mod compile;
mod prerender;
mod tree;

use std::{borrow::Cow, sync::Arc};

use ahash::HashMap;
use compact_str::CompactString;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use self::tree::Tree;
pub use self::{
    compile::{ConfigError, Problem},
    prerender::{Prerender, PrerenderError},
};
use crate::{
    config::{self, Config, Interval, Query},
    hostname,
    outcome::PassReason,
    path,
    pattern::Pattern,
    template::Template,
};

/// Tags of a page by its rule: few, and mostly short.
pub type RuleTags = SmallVec<[CompactString; 4]>;

/// Compiled routes; immutable, published as a whole.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<Box<str>, Tree<Arc<Plan>>>,
    /// Wildcards by their suffix (`.example.com`), so that a host is looked up once per dot in it.
    wildcard: HashMap<Box<str>, Tree<Arc<Plan>>>,
    any: Tree<Arc<Plan>>,
    plans: Vec<Arc<Plan>>,
    shadowed: Vec<Shadowed>,
}

/// One rule of one route, ready for visits.
#[derive(Debug)]
pub struct Plan {
    /// What its pages are known by to be its own.
    pub owner: Arc<Owner>,
    /// The rule as configured.
    pub rule: config::Rule,
    /// How the app is asked.
    pub origin: config::Origin,
    /// The route's hostnames as written; empty: any host.
    pub hostnames: Arc<[String]>,
    /// Everything passes through.
    pub suspend: bool,
    patterns: Box<[Pattern]>,
    tags: Box<[Template]>,
    cache_control: HeaderValue,
    /// Shared by all rules of the route.
    origin_headers: Arc<[(HeaderName, HeaderValue)]>,
    prerender: Box<[Prerender]>,
    key_headers: Box<[HeaderName]>,
}

/// Which rule of which route, in which state. All pages that are stored under it share it.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the IsrRoute.
    pub route: Arc<str>,
    /// Name of the rule.
    pub rule: Arc<str>,
    /// Of the rule's paths, key, tags and licences: pages made under another fingerprint are checked anew.
    pub fingerprint: u64,
    /// What the rule stores that another would not: [`config::Rule::licences`].
    pub licences: [bool; 4],
}

/// A path pattern that never holds, because another of equal shape goes before it for the same hostname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// The hostname, as written; `None`: any host.
    pub hostname: Option<String>,
    /// The pattern, as written.
    pub path: String,
    /// Route and rule that lose.
    pub loser: (Arc<str>, Arc<str>),
    /// Route and rule that win.
    pub winner: (Arc<str>, Arc<str>),
}

impl Routes {
    /// Checks all of a configuration and compiles it. The errors are all that are wrong, not the first.
    pub fn compile(config: &Config) -> Result<Self, Vec<ConfigError>> {
        compile::compile(config)
    }

    /// The rule for a host and a path, both as they stand in a key: the path is in normal form, the host may have a port.
    ///
    /// The data that Next.js's pages router asks for belongs to its page, so that both live and are purged alike: the
    /// page's rule holds for it, unless a rule names `/_next/data/` itself.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Plan>> {
        let own = self.find_own(host, path);
        let Some(page) = path::data_path(path) else {
            return own;
        };
        own.filter(|plan| plan.names_data(path))
            .or_else(|| self.find_own(host, &page))
            .or(own)
    }

    fn find_own(&self, host: &str, path: &str) -> Option<&Arc<Plan>> {
        let host = hostname::without_port(host);
        let exact = self.exact.get(host).and_then(|tree| tree.find(path));
        exact
            .or_else(|| self.find_wildcard(host, path))
            .or_else(|| self.any.find(path))
    }

    /// The longest wildcard goes first, so dots are tried from the left.
    fn find_wildcard(&self, host: &str, path: &str) -> Option<&Arc<Plan>> {
        if self.wildcard.is_empty() {
            return None;
        }
        host.match_indices('.')
            .filter(|(dot, _)| *dot > 0)
            .find_map(|(dot, _)| self.wildcard.get(&host[dot..])?.find(path))
    }

    /// Every rule, in the order of the configuration.
    pub fn plans(&self) -> &[Arc<Plan>] {
        &self.plans
    }

    /// Patterns that never hold, for the status of the route that loses.
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }
}

impl Owner {
    /// Both are one to a page: of the same route, with the same paths, key and tags.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.route == other.route
    }

    /// Whatever was stored under `old` may be stored under this too. What is stored does not tell what it needed for that.
    pub(crate) fn allows_all_of(&self, old: &Self) -> bool {
        let mut both = old.licences.into_iter().zip(self.licences);
        both.all(|(old, own)| own || !old)
    }
}

impl Plan {
    /// The rule's tags for a path, by the most specific of the rule's patterns that matches it; those of the page for its
    /// data.
    pub fn tags(&self, path: &str) -> RuleTags {
        let place = self.place(path);
        let captures = self
            .own_pattern(&place)
            .and_then(|pattern| pattern.matches(&place));
        captures
            .map(|captures| self.tags.iter().filter_map(|tag| tag.fill(&captures)).collect())
            .unwrap_or_default()
    }

    /// The most specific of the rule's patterns that matches a path, or for the data of a page the page's.
    pub fn pattern(&self, path: &str) -> Option<&Pattern> {
        self.own_pattern(&self.place(path))
    }

    fn own_pattern(&self, path: &str) -> Option<&Pattern> {
        let matching = self.patterns.iter().filter(|pattern| pattern.is_match(path));
        matching.min()
    }

    /// The path that the rule's patterns are compared with: for the data of a page the page's.
    fn place<'a>(&self, path: &'a str) -> Cow<'a, str> {
        path::data_path(path)
            .filter(|page| !self.names_data(path) && self.own_pattern(page).is_some())
            .map_or(Cow::Borrowed(path), Cow::Owned)
    }

    /// Whether the rule is meant for the data of pages at this path, and not for whatever path there is.
    fn names_data(&self, path: &str) -> bool {
        let names = |pattern: &Pattern| pattern.as_str().contains("/_next/data") && pattern.is_match(path);
        self.patterns.iter().any(names)
    }

    /// What visitors are told of a page of this rule.
    pub fn cache_control(&self) -> &HeaderValue {
        &self.cache_control
    }

    /// What is added to the requests of regenerations; the values are secret.
    pub fn origin_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.origin_headers
    }

    /// The pages that are fetched before a visitor asks.
    pub fn prerender(&self) -> &[Prerender] {
        &self.prerender
    }

    /// The request headers that are part of every key of this rule.
    pub fn key_headers(&self) -> &[HeaderName] {
        &self.key_headers
    }

    /// Headers or cookies of the visitor's that the rule names choose among its pages.
    pub fn is_keyed(&self) -> bool {
        !self.key_headers.is_empty() || !self.rule.key_cookies.is_empty()
    }

    /// The app's own word decides how long its answers live.
    pub fn app_decides(&self) -> bool {
        self.rule.revalidate.is_none()
    }

    /// Why nothing that matches this rule is looked up, whatever the request.
    pub fn passes(&self) -> Option<PassReason> {
        if self.suspend {
            return Some(PassReason::Suspended);
        }
        match self.rule.revalidate {
            Some(Interval::After(interval)) if interval.is_zero() => Some(PassReason::NeverStored),
            _ => None,
        }
    }

    /// Whether a query parameter counts. `name` is decoded.
    pub(crate) fn counts(&self, name: &[u8]) -> bool {
        name == b"_rsc"
            || match &self.rule.query {
                Query::AllButTracking => !crate::key::is_tracking(name),
                Query::Allow(allowed) => allowed.iter().any(|allowed| allowed.as_bytes() == name),
            }
    }
}

#[cfg(test)]
mod tests;
