//! The purge ledger: a purge is a line, and pages are checked against the lines that they have not seen.
//!
//! ```text
//! append(lines, head, floor) ──► compiled lines, newest last, bounded
//! head()                     ──► the stamp of a flight that takes off now; what a page remembers to be checked through
//! effect(facts, since)       ──► the strongest strategy among the lines after `since` that select the page
//! ```

mod fact;

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub(crate) use self::fact::Fact;
use crate::{hostname::Hostname, page::TagList, path, pattern::Pattern};

/// Behind more lines than these, a page is compared with those alone that may name it.
const FEW: usize = 8;

/// A ledger in memory holds this many lines; the oldest go, and raise the floor.
pub const MAX_LINES: usize = 4096;

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

impl Strategy {
    /// For an atomic byte; 0 is "no line matches".
    pub(crate) const fn encode(strategy: Option<Self>) -> u8 {
        match strategy {
            None => 0,
            Some(Self::Refresh) => 1,
            Some(Self::Expire) => 2,
            Some(Self::Delete) => 3,
        }
    }

    pub(crate) const fn decode(byte: u8) -> Option<Self> {
        match byte {
            0 => None,
            1 => Some(Self::Refresh),
            2 => Some(Self::Expire),
            _ => Some(Self::Delete),
        }
    }
}

/// What a line may select a page by.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Name of the IsrRoute.
    pub route: &'a str,
    /// Host of the key; a port does not count.
    pub host: &'a str,
    /// Public path, as visited.
    pub path: &'a str,
    /// The page's tags.
    pub tags: Tags<'a>,
}

/// The tags of a page, as far as they are known.
#[derive(Debug, Clone, Copy)]
pub enum Tags<'a> {
    /// All of them.
    Known(TagList<'a>),
    /// The app has not answered yet: any tag may be among them, so every purge of a tag matches.
    Unknown,
}

/// The lines that this process has seen, newest last. Read without a lock; written by whoever holds the stream.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Sequence of the newest line; never above what `book` holds, so who reads a head finds its lines.
    head: AtomicU64,
    book: ArcSwap<Book>,
    /// Held while the book is replaced.
    writing: Mutex<()>,
}

/// What purges have done to a page since its stamp.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reasons {
    /// The last lines that select it, oldest first.
    pub lines: VecDeque<Line>,
    /// How many lines select it.
    pub count: usize,
    /// Lines have come since that nobody can name any more: the page is treated as if one of this strategy selected it.
    pub forgotten: Option<Strategy>,
}

/// An immutable state of the ledger.
#[derive(Debug, Clone, Default)]
struct Book {
    head: u64,
    floor: Floor,
    /// In ascending order of sequence.
    lines: VecDeque<Held>,
}

/// A line in its place.
#[derive(Debug, Clone)]
struct Held {
    /// See [`Selector::mask`]. Beside the pointer, so that most lines are passed over without following that.
    mask: u64,
    compiled: Arc<Compiled>,
}

/// How far back the book reaches: what was checked through less than `sequence` has missed lines, which together were
/// at most as strong as `strategy`.
#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    sequence: u64,
    strategy: Option<Strategy>,
}

/// A line, ready to be matched.
#[derive(Debug)]
struct Compiled {
    line: Line,
    hostnames: Vec<Hostname>,
    patterns: Vec<Pattern>,
    /// The selector cannot be understood in full: it selects every page that its route leaves.
    everything: bool,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sequence of the newest line that it has taken; 0: none.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Takes the lines after its head, in any order; others are known already and change nothing. Afterwards the head is
    /// at least `head`. What was checked through less than `floor` has missed lines that nobody can name any more, and is
    /// treated as expired: visitors wait for a new page, and an app that is down does not cost the old one.
    ///
    /// Returns the sequences of the lines that were new.
    pub fn append(&self, lines: impl IntoIterator<Item = Line>, head: u64, floor: u64) -> Vec<u64> {
        let _writing = self.writing.lock();
        let mut book = Book::clone(&self.book.load());
        let mut new: Vec<_> = lines
            .into_iter()
            .filter(|line| line.sequence > book.head)
            .map(Held::new)
            .collect();
        new.sort_by_key(|line| line.line.sequence);
        new.dedup_by_key(|line| line.line.sequence);
        let sequences: Vec<_> = new.iter().map(|line| line.line.sequence).collect();
        if floor > book.head {
            book.raise_floor(floor, Strategy::Expire);
        }
        book.lines.extend(new);
        while book.lines.len() > MAX_LINES {
            if let Some(oldest) = book.lines.pop_front() {
                book.raise_floor(oldest.line.sequence, oldest.line.strategy);
            }
        }
        let newest = sequences.last().copied().unwrap_or_default();
        book.head = book.head.max(head).max(newest).max(floor);
        let head = book.head;
        self.book.store(Arc::new(book));
        self.head.store(head, Ordering::Release);
        sequences
    }

    /// Forgets everything. The caller drops all pages and lets no flight that is in the air be stored: their stamps mean
    /// nothing in the ledger that follows.
    pub fn reset(&self) {
        let _writing = self.writing.lock();
        self.head.store(0, Ordering::Release);
        self.book.store(Arc::default());
    }

    /// The strongest strategy among the lines after `since` that select the page; `None`: it is untouched.
    pub fn effect(&self, facts: &Facts<'_>, since: u64) -> Option<Strategy> {
        self.look(facts, since).0
    }

    /// [`Ledger::effect`], and the head that this answer is good for.
    pub fn look(&self, facts: &Facts<'_>, since: u64) -> (Option<Strategy>, u64) {
        let book = self.book.load();
        (book.effect(facts, since), book.head)
    }

    /// The line that has this sequence selects the page. A line that is no longer held selects nothing.
    pub fn selects(&self, sequence: u64, facts: &Facts<'_>) -> bool {
        let book = self.book.load();
        book.lines
            .binary_search_by_key(&sequence, |line| line.line.sequence)
            .is_ok_and(|at| book.lines[at].selects(facts))
    }

    /// Why [`Ledger::effect`] says what it says: for people to look at.
    pub fn reasons(&self, facts: &Facts<'_>, since: u64, most: usize) -> Reasons {
        let book = self.book.load();
        let mut reasons = Reasons {
            forgotten: book.forgotten(since),
            ..Reasons::default()
        };
        for line in book.after(since).filter(|line| line.selects(facts)) {
            reasons.count += 1;
            if reasons.lines.len() == most {
                reasons.lines.pop_front();
            }
            if most > 0 {
                reasons.lines.push_back(line.line.clone());
            }
        }
        reasons
    }

    /// The last `count` lines that are held, the newest first: for people to look at.
    pub fn last(&self, count: usize) -> Vec<Line> {
        let book = self.book.load();
        let newest = book.lines.iter().rev().take(count);
        newest.map(|line| line.line.clone()).collect()
    }
}

impl Book {
    fn raise_floor(&mut self, sequence: u64, strategy: Strategy) {
        self.floor = Floor {
            sequence: self.floor.sequence.max(sequence),
            strategy: self.floor.strategy.max(Some(strategy)),
        };
    }

    fn after(&self, since: u64) -> impl ExactSizeIterator<Item = &Held> {
        let from = self.lines.partition_point(|line| line.line.sequence <= since);
        self.lines.range(from..)
    }

    /// What the lines after `since` that the book does not hold any more do to every page.
    fn forgotten(&self, since: u64) -> Option<Strategy> {
        (since < self.floor.sequence)
            .then_some(self.floor.strategy)
            .flatten()
    }

    fn effect(&self, facts: &Facts<'_>, since: u64) -> Option<Strategy> {
        let mut strongest = self.forgotten(since);
        let lines = self.after(since);
        let mask = if lines.len() > FEW { facts.mask() } else { u64::MAX };
        for line in lines.filter(|line| line.mask & mask != 0) {
            // What is no stronger cannot change the answer: its selector need not be looked at.
            if Some(line.line.strategy) > strongest && line.selects(facts) {
                strongest = Some(line.line.strategy);
            }
            if strongest == Some(Strategy::Delete) {
                break;
            }
        }
        strongest
    }
}

impl Held {
    fn new(line: Line) -> Self {
        Self {
            mask: line.selector.mask(),
            compiled: Arc::new(Compiled::new(line)),
        }
    }
}

impl Deref for Held {
    type Target = Compiled;

    fn deref(&self) -> &Compiled {
        &self.compiled
    }
}

impl Compiled {
    /// Never fails: what cannot be parsed selects everything that the route leaves. When in doubt, revalidate.
    fn new(line: Line) -> Self {
        let selector = &line.selector;
        let hostnames: Result<Vec<_>, _> = selector
            .hostnames
            .iter()
            .map(|name| Hostname::parse(name))
            .collect();
        let patterns: Result<Vec<_>, _> = selector
            .patterns
            .iter()
            .map(|text| Pattern::parse(text))
            .collect();
        let (hostnames, patterns, understood) = match (hostnames, patterns) {
            (Ok(hostnames), Ok(patterns)) => (hostnames, patterns, true),
            _ => (Vec::new(), Vec::new(), false),
        };
        let everything = selector.everything || !understood;
        Self {
            line,
            hostnames,
            patterns,
            everything,
        }
    }

    /// Where it looks at a tag or a path, `fact.rs` must know a fact that both sides have.
    fn selects(&self, facts: &Facts<'_>) -> bool {
        let selector = &self.line.selector;
        if selector
            .route
            .as_deref()
            .is_some_and(|route| route != facts.route)
        {
            return false;
        }
        if !self.hostnames.is_empty() && !self.hostnames.iter().any(|name| name.matches(facts.host)) {
            return false;
        }
        self.everything
            || self.selects_tags(facts.tags)
            || selector
                .paths
                .iter()
                .any(|purged| path::covers(purged, facts.path))
            || self.selects_by_pattern(facts.path)
    }

    /// Like a path, a pattern covers the data of the pages that it matches.
    fn selects_by_pattern(&self, visited: &str) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let page = path::data_path(visited);
        self.patterns.iter().any(|pattern| {
            pattern.is_match(visited) || page.as_deref().is_some_and(|page| pattern.is_match(page))
        })
    }

    fn selects_tags(&self, tags: Tags<'_>) -> bool {
        let selected = &self.line.selector.tags;
        match tags {
            Tags::Unknown => !selected.is_empty(),
            Tags::Known(tags) => selected.iter().any(|tag| tags.iter().any(|own| own == tag)),
        }
    }
}

#[cfg(test)]
mod tests;
