//! The purge ledger: a purge is a line, and pages are checked against the lines that they have not seen.

/// One purge: what it selects and what its visitors may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place: a hybrid clock, max(last + 1, now in milliseconds since 1970).
    pub sequence: u64,
    /// Which pages.
    pub selector: Selector,
    /// What the next visitor gets.
    pub strategy: Strategy,
}

/// Which pages of a namespace a purge concerns: `paths`, `patterns` and `tags` add up, `route` and `hostnames` narrow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// Only pages of this IsrRoute.
    pub route: Option<String>,
    /// Only pages of these hosts (Gateway API hostname rules); empty: all.
    pub hostnames: Vec<String>,
    /// Exact public paths, as visited.
    pub paths: Vec<String>,
    /// Path patterns.
    pub patterns: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Every page (that `route` and `hostnames` leave).
    pub everything: bool,
}

/// What the next visitor of a purged page gets. Ordered: of several lines the greatest holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// The old page until the new one is stored.
    Refresh,
    /// The new page; the old one if the app fails.
    Expire,
    /// The new page; the app's error if it fails.
    Delete,
}

impl Strategy {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "Refresh",
            Self::Expire => "Expire",
            Self::Delete => "Delete",
        }
    }
}
