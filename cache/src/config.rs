//! What a sidecar must know about routes: plain data, defaults filled in, as the operator compiled it.
//!
//! [`Config`] is always complete. `routes::Routes::compile` checks all of it and builds what a visit looks up.

use std::{fmt, time::Duration};

/// `expire` where a rule says nothing: 365 days.
pub const DEFAULT_EXPIRE: Duration = Duration::from_hours(365 * 24);
/// `negative` where a rule says nothing.
pub const DEFAULT_NEGATIVE: Duration = Duration::from_secs(10);
/// `maxBodyBytes` where a rule says nothing.
pub const DEFAULT_MAX_BODY_BYTES: u64 = 10 << 20;
/// `origin.timeout` where a route says nothing.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// `cacheControl` where a rule says nothing.
pub const DEFAULT_CACHE_CONTROL: &str = "public, max-age=0, must-revalidate";

/// Every route of one pod, in order of precedence between equal patterns: the older object first, then by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The routes whose selector matches the pod.
    pub routes: Vec<Route>,
}

/// One IsrRoute, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Name of the IsrRoute; the namespace is the sidecar's own.
    pub name: String,
    /// Gateway API hostnames, lower case; empty: any host.
    pub hostnames: Vec<String>,
    /// True: everything that would match passes through.
    pub suspend: bool,
    /// How the sidecar asks the app.
    pub origin: Origin,
    /// In the order of the object; the most specific pattern wins whatever the order.
    pub rules: Vec<Rule>,
}

impl Route {
    /// A route for any host that says nothing but its rules.
    pub fn new(name: &str, rules: Vec<Rule>) -> Self {
        Self {
            name: name.to_owned(),
            hostnames: Vec::new(),
            suspend: false,
            origin: Origin::default(),
            rules,
        }
    }
}

/// How the sidecar asks the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Bounds the time to the first byte, and silence.
    pub timeout: Duration,
    /// What the app is told where no visitor said one.
    pub scheme: Scheme,
    /// Added to regeneration requests only: names in lower case, values from Secrets.
    pub headers: Vec<(String, Secret)>,
}

impl Default for Origin {
    /// What holds where a route says nothing.
    fn default() -> Self {
        Self {
            timeout: DEFAULT_TIMEOUT,
            scheme: Scheme::Https,
            headers: Vec::new(),
        }
    }
}

/// A value that is sent to the app and shown to nobody: `Debug` does not print it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the wire and for the app; never for a log, a status or a page.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A URL scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One rule of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For statuses, metrics and the state dump; the rule's name, or its position.
    pub name: String,
    /// Path patterns as written.
    pub paths: Vec<String>,
    /// How long a page is fresh; `None`: the app's Cache-Control decides.
    pub revalidate: Option<Interval>,
    /// A page older than this is not served stale.
    pub expire: Duration,
    /// Interval for 404 and 410.
    pub negative: Duration,
    /// Tag templates: `post:[slug]`.
    pub tags: Vec<String>,
    /// Which query parameters count.
    pub query: Query,
    /// Request headers that count, lower case.
    pub key_headers: Vec<String>,
    /// Cookies that count.
    pub key_cookies: Vec<String>,
    /// Cookies whose presence bypasses the cache, beside the built-in ones.
    pub bypass_cookies: Vec<String>,
    /// Request headers whose presence bypasses the cache, lower case, beside the built-in ones.
    pub bypass_headers: Vec<String>,
    /// What is stored although the app forbids it.
    pub overrides: Overrides,
    /// A larger body is not stored.
    pub max_body_bytes: u64,
    /// What visitors are told under `revalidate`.
    pub cache_control: String,
    /// Leave `Cache-Tag` and `Surrogate-Key` for an outer CDN.
    pub keep_tags: bool,
    /// Heuristic freshness where the app decides and says nothing.
    pub heuristic: bool,
    /// Fetched when a sidecar starts and when the entry appears: paths with their query, or absolute URLs.
    pub prerender: Vec<String>,
}

impl Rule {
    /// What it stores that a rule without them would not: in spite of `no-store`, of `private` and of `Set-Cookie`, and by
    /// guess. (An overridden `Authorization` is neither sent nor keyed, so nothing stored depends on it.)
    pub fn licences(&self) -> [bool; 4] {
        let overrides = &self.overrides;
        [
            overrides.no_store,
            overrides.private,
            overrides.set_cookie,
            self.heuristic,
        ]
    }

    /// A rule that says nothing but its paths: the app's Cache-Control decides, and every default holds.
    pub fn new(name: &str, paths: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
            revalidate: None,
            expire: DEFAULT_EXPIRE,
            negative: DEFAULT_NEGATIVE,
            tags: Vec::new(),
            query: Query::AllButTracking,
            key_headers: Vec::new(),
            key_cookies: Vec::new(),
            bypass_cookies: Vec::new(),
            bypass_headers: Vec::new(),
            overrides: Overrides::default(),
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            cache_control: DEFAULT_CACHE_CONTROL.to_owned(),
            keep_tags: false,
            heuristic: false,
            prerender: Vec::new(),
        }
    }
}

/// How long something lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interval {
    /// This long; zero: never store.
    After(Duration),
    /// Until it is purged.
    Never,
}

/// Which query parameters count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Query {
    /// All but the well-known tracking parameters.
    #[default]
    AllButTracking,
    /// These (and always `_rsc`).
    Allow(Vec<String>),
}

/// What is stored although the app forbids it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// In spite of `no-store`.
    pub no_store: bool,
    /// In spite of `private`.
    pub private: bool,
    /// In spite of `Set-Cookie`, which is taken out.
    pub set_cookie: bool,
    /// In spite of a request's `Authorization`, which is neither sent nor keyed.
    pub authorization: bool,
}
