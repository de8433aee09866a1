//! What a sidecar must know about routes: plain data, defaults filled in, as the operator compiled it.
//!
//! [`Config`] is always complete. `routes::Routes::compile` checks all of it and builds what a visit looks up.

use std::time::Duration;

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

/// How the sidecar asks the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Bounds the time to the first byte, and silence.
    pub timeout: Duration,
    /// What the app is told where no visitor said one.
    pub scheme: Scheme,
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
