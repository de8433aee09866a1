//! The ledger of one namespace: which lines there are, and in which order they become visible.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coppice_cache::ledger::Line;
use jiff::Timestamp;
use tokio::sync::watch;

/// A head this far ahead of now can only be given by a ledger whose clock was wrong, or by a liar.
pub const MAX_AHEAD_MS: u64 = 5 * 60 * 1000;
/// More lines are not kept; dropping one raises the floor.
pub const MAX_LINES: usize = 4096;
/// More bytes of selectors are not kept; dropping a line raises the floor.
pub const MAX_BYTES: usize = 1 << 20;

/// The lines of a namespace as one immutable value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    kept: Vec<Arc<Line>>,
    /// Of the selectors of those that are kept.
    bytes: usize,
    head: u64,
    floor: u64,
}

impl Lines {
    /// Sequence of the last line; 0: none.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Sequence of the last line that is not kept; 0: all are.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The lines after a head, in order.
    pub fn since(&self, head: u64) -> &[Arc<Line>] {
        &self.kept[self.kept.partition_point(|line| line.sequence <= head)..]
    }

    /// What a sidecar with this head must be told of the floor: 0 where all lines since its head are kept.
    pub fn floor_for(&self, head: u64) -> u64 {
        if head < self.floor { self.floor } else { 0 }
    }
}

/// A namespace's ledger. Sequences are given in order and lines become visible in order: a line whose write is still
/// under way holds back the later ones, because who holds a head holds every line below it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    published: watch::Sender<Arc<Lines>>,
    /// The greatest sequence that was ever given, or that a sidecar has named.
    last: u64,
    /// Lines that were planned: `None` while their write is under way.
    pending: BTreeMap<u64, Option<Arc<Line>>>,
}

impl Ledger {
    /// A new sequence: a hybrid clock, max(last + 1, now in milliseconds).
    pub(super) fn plan(&mut self, now: Timestamp) -> u64 {
        self.last = (self.last + 1).max(millis(now));
        self.pending.insert(self.last, None);
        self.last
    }

    /// The line is durable.
    pub(super) fn commit(&mut self, line: Line) {
        if let Some(pending) = self.pending.get_mut(&line.sequence) {
            *pending = Some(Arc::new(line));
            self.publish();
        }
    }

    /// The line was not written.
    pub(super) fn abandon(&mut self, sequence: u64) {
        if self.pending.get(&sequence).is_some_and(Option::is_none) {
            self.pending.remove(&sequence);
            self.publish();
        }
    }

    /// At start: the lines that are durable, and the sequences of lines of which only the number is left.
    pub(super) fn restore(&mut self, mut lines: Vec<Line>, lost: &BTreeSet<u64>) {
        lines.sort_by_key(|line| line.sequence);
        lines.dedup_by_key(|line| line.sequence);
        let floor = lost.last().copied().unwrap_or_default();
        lines.retain(|line| line.sequence > floor);
        let head = lines.last().map_or(floor, |line| line.sequence);
        self.last = self.last.max(head);
        self.published.send_modify(|published| {
            let mut restored = Lines {
                bytes: lines.iter().map(size).sum(),
                kept: lines.into_iter().map(Arc::new).collect(),
                head: head.max(published.head),
                floor: floor.max(published.floor),
            };
            restored.bound();
            *published = Arc::new(restored);
        });
    }

    /// A sidecar says that it has this head: the clock never gives a sequence below it. False: no ledger of this
    /// namespace can have given it.
    pub(super) fn hear(&mut self, head: u64, now: Timestamp) -> bool {
        if head > self.lines().head && head > millis(now).saturating_add(MAX_AHEAD_MS) {
            return false;
        }
        self.last = self.last.max(head);
        true
    }

    pub(super) fn lines(&self) -> Arc<Lines> {
        self.published.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Lines>> {
        self.published.subscribe()
    }

    fn publish(&mut self) {
        let mut ready = Vec::new();
        while let Some(entry) = self.pending.first_entry()
            && entry.get().is_some()
        {
            ready.extend(entry.remove());
        }
        if ready.is_empty() {
            return;
        }
        self.published.send_modify(|published| {
            let mut next = Lines::clone(published);
            next.head = ready.last().map_or(next.head, |line| line.sequence);
            next.bytes += ready.iter().map(|line| size(line)).sum::<usize>();
            next.kept.append(&mut ready);
            next.bound();
            *published = Arc::new(next);
        });
    }
}

impl Lines {
    /// Drops the oldest lines beyond the bounds.
    fn bound(&mut self) {
        let mut dropped = 0;
        while self.kept.len() - dropped > MAX_LINES || self.bytes > MAX_BYTES {
            self.bytes -= size(&self.kept[dropped]);
            self.floor = self.kept[dropped].sequence;
            dropped += 1;
        }
        self.kept.drain(..dropped);
    }
}

fn size(line: &Line) -> usize {
    let selector = &line.selector;
    let lists = [
        &selector.paths,
        &selector.patterns,
        &selector.tags,
        &selector.hostnames,
    ];
    lists.iter().flat_map(|list| list.iter()).map(String::len).sum()
}

/// Milliseconds since 1970.
pub(super) fn millis(now: Timestamp) -> u64 {
    u64::try_from(now.as_millisecond()).unwrap_or_default()
}
