//! Closed enums for what became of a request: the header, the log and the metric use the same word.

/// What a visitor was answered with: the value of `x-coppice-cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A fresh page from the store.
    Hit,
    /// A stale page from the store; its regeneration is under way or due.
    Stale,
    /// Fetched because nothing was stored.
    Miss,
    /// Waited for the regeneration of an expired page.
    Revalidated,
    /// Passed through.
    Bypass,
}

impl Outcome {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Stale => "STALE",
            Self::Miss => "MISS",
            Self::Revalidated => "REVALIDATED",
            Self::Bypass => "BYPASS",
        }
    }
}
