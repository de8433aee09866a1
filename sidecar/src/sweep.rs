//! After a purge: finding the pages that it concerns, off the request path.
//!
//! ```text
//! Sweeper::sweep(lines) ──► pages that they may select ──► Delete: dropped     Refresh, hot: regenerated at once
//!                           (the store's index), in slices └──► the rest is left: its next visit finds the line
//! Reports ◄── counts for each line, the last of them kept for a stream that was away
//! ```
//!
//! Nothing here makes a purge true; that is done when its line is in the ledger. This wins memory back, and time.

use std::{cmp::Reverse, collections::VecDeque, sync::Arc, time::Duration};

use coppice_cache::{
    ledger::{Line, MAX_LINES, Strategy},
    page::Page,
    time::Moment,
};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    clock::Clock,
    fetch::{Ended, Fetcher, Regenerated, SLICE},
};

/// A page visited within this time is hot.
pub const HOT: Duration = Duration::from_mins(10);
/// The reports of so many lines are kept: as many as the ledger holds, so that a storm of purges, or one that an operator
/// catches up on, is reported whole. A purge whose report is lost would never be done.
pub const MAX_REPORTS: usize = MAX_LINES;
/// When so many lines have come, all pages are looked at once more: what was not compared with a line before that leaves the
/// ledger would count as purged.
const MAX_BEHIND: usize = MAX_LINES / 2;
/// Passing over so many lines takes as long as looking at a page.
const PASSED_OVER: usize = 256;
/// So many regenerations of a sweep wait for their turn beside those that go on; the queue keeps an order among them.
const AHEAD: usize = 22;
/// A regeneration whose place another flight takes is asked for again so often.
const TRIES: usize = 3;
/// Counts that are not final are reported this often at most.
const EVERY: Duration = Duration::from_millis(250);

/// How far the sweep for a line is. Counts are totals; receiving one twice changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The line.
    pub sequence: u64,
    /// Pages that it selects, dropped ones included.
    pub matched: u64,
    /// Pages that were regenerated, by this line or by a later one that overtook it.
    pub regenerated: u64,
    /// Pages whose regeneration failed: the old page stays, and the next visit tries again.
    pub failed: u64,
    /// Of both, how many the app answered out of a cache of its own, although it was asked to go past that.
    pub origin_cached: u64,
    /// These counts are final.
    pub finished: bool,
}

/// Sweeps one batch of lines after the other. Cheap to clone; the sweeping ends with the last of them.
#[derive(Debug, Clone)]
pub struct Sweeper {
    lines: mpsc::UnboundedSender<Vec<Line>>,
    reports: Arc<Reports>,
}

impl Sweeper {
    /// Starts the task that sweeps.
    pub fn start(clock: Clock, fetcher: Fetcher) -> Self {
        let reports = Arc::new(Reports::default());
        // Bounded by the ledger, which holds these lines anyway; and who appends them must not wait for a sweep.
        let (lines, batches) = mpsc::unbounded_channel();
        let sweep = Sweep {
            clock,
            fetcher,
            reports: reports.clone(),
        };
        tokio::spawn(sweep.run(batches));
        Self { lines, reports }
    }

    /// Sweeps for lines that have been appended to the ledger.
    pub fn sweep(&self, lines: Vec<Line>) {
        if !lines.is_empty() {
            // It fails only where the runtime is going down.
            let _ = self.lines.send(lines);
        }
    }

    /// The last report of a line; `None`: its sweep has not begun, or was long ago.
    pub fn report(&self, sequence: u64) -> Option<Report> {
        let kept = self.reports.kept.lock();
        let mut reports = kept.iter().rev().map(|(_, report)| *report);
        reports.find(|report| report.sequence == sequence)
    }

    /// The last report of each of the last lines, and then what changes: for a stream that begins now.
    pub fn reports(&self) -> Updates {
        Updates {
            changed: self.reports.changed.subscribe(),
            reports: self.reports.clone(),
            seen: 0,
        }
    }
}

/// The last report of each of the last lines, in the order in which their sweeps began.
#[derive(Debug, Default)]
struct Reports {
    kept: Mutex<VecDeque<(u64, Report)>>,
    /// Number of the last change; each kept report has that of its own.
    changed: watch::Sender<u64>,
}

impl Reports {
    fn publish(&self, reports: impl IntoIterator<Item = Report>) {
        let mut kept = self.kept.lock();
        let change = *self.changed.borrow() + 1;
        for report in reports {
            match kept
                .iter_mut()
                .find(|(_, known)| known.sequence == report.sequence)
            {
                Some(known) if known.1 == report => {}
                Some(known) => *known = (change, report),
                None => kept.push_back((change, report)),
            }
        }
        while kept.len() > MAX_REPORTS {
            kept.pop_front();
        }
        self.changed.send_replace(change);
    }

    fn after(&self, seen: u64) -> (Vec<Report>, u64) {
        let kept = self.kept.lock();
        let news = kept
            .iter()
            .filter(|(change, _)| *change > seen)
            .map(|(_, report)| *report)
            .collect();
        (news, *self.changed.borrow())
    }
}

/// Reports as they change. A reader that is slow gets the latest counts, not all of them.
#[derive(Debug)]
pub struct Updates {
    reports: Arc<Reports>,
    changed: watch::Receiver<u64>,
    seen: u64,
}

impl Updates {
    /// What has changed since the last call, at least one report; never returns once the sweeper is gone. Cancelling it
    /// loses nothing.
    pub async fn next(&mut self) -> Vec<Report> {
        loop {
            self.changed.mark_unchanged();
            let (news, seen) = self.reports.after(self.seen);
            if !news.is_empty() {
                self.seen = seen;
                return news;
            }
            // The sender lives as long as `reports`.
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What the task that sweeps works with.
#[derive(Debug, Clone)]
struct Sweep {
    clock: Clock,
    fetcher: Fetcher,
    reports: Arc<Reports>,
}

/// Lines that were swept for together, and what was found.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<Line>,
    /// Pages that were compared with them.
    examined: usize,
    counts: Vec<Report>,
    /// The counts that were published; `None`: none yet.
    published: Vec<Option<Report>>,
    /// Hot pages yet to be dealt with, by line.
    left: Vec<u64>,
    hot: Vec<Hot>,
}

/// A hot page that is to be regenerated. Neither the page itself, which may be evicted meanwhile, nor its key, which visitors
/// make as long as they like: no budget knows of either.
#[derive(Debug)]
struct Hot {
    /// The page's [`Page::id`].
    id: u64,
    visited: Moment,
    /// The lines that ask for it, by their place in the batch.
    lines: Vec<usize>,
}

impl Sweep {
    async fn run(self, mut batches: mpsc::UnboundedReceiver<Vec<Line>>) {
        let mut behind = 0;
        while let Some(mut lines) = batches.recv().await {
            // What came meanwhile is swept for at once.
            while let Ok(more) = batches.try_recv() {
                lines.extend(more);
            }
            let batch = self.find(lines, &mut behind).await;
            // The next lines are not kept waiting by an app that is slow; a page that they select too is left to them.
            tokio::spawn(self.clone().regenerate(batch));
        }
    }

    /// Finds what lines select. Where they name it, the number of other pages does not matter.
    ///
    /// `behind`: so many lines have come since all pages were looked at.
    async fn find(&self, lines: Vec<Line>, behind: &mut usize) -> Batch {
        let store = self.fetcher.store();
        *behind += lines.len();
        // A page is compared with every line, and with those that came since it was last: the more there are, the sooner others
        // have their turn.
        let slice = (SLICE / lines.len().max(*behind / PASSED_OVER).max(1)).max(1);
        let candidates = (*behind <= MAX_BEHIND)
            .then(|| store.candidates(&lines))
            .flatten();
        let mut batch = Batch::new(lines);
        if let Some(pages) = candidates {
            self.examine_each(pages, slice, &mut batch).await;
        } else {
            *behind = 0;
            self.examine_each(store.pages(), slice, &mut batch).await;
        }
        tracing::debug!(lines = batch.lines.len(), pages = batch.examined, "swept");
        batch.hot.sort_by_key(|hot| Reverse(hot.visited));
        batch.finish();
        self.reports.publish(batch.news());
        batch
    }

    async fn examine_each(&self, pages: impl Iterator<Item = Page>, slice: usize, batch: &mut Batch) {
        for page in pages {
            self.examine(&page, batch);
            batch.examined += 1;
            if batch.examined.is_multiple_of(slice) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn examine(&self, page: &Page, batch: &mut Batch) {
        let ledger = self.fetcher.ledger();
        let effect = page.check(ledger);
        if effect.is_none() {
            // None of the lines selects it.
            return;
        }
        let facts = page.facts();
        let selects = |line: &Line| line.sequence > page.stamp() && ledger.selects(line.sequence, &facts);
        let lines: Vec<usize> = (0..batch.lines.len())
            .filter(|at| selects(&batch.lines[*at]))
            .collect();
        for at in &lines {
            batch.counts[*at].matched += 1;
        }
        if effect == Some(Strategy::Delete) {
            self.fetcher.store().remove(page);
            return;
        }
        let asking: Vec<usize> = lines
            .into_iter()
            .filter(|at| batch.lines[*at].strategy == Strategy::Refresh)
            .collect();
        let is_hot = self.clock.now().since(page.visited()) < HOT;
        if is_hot && !asking.is_empty() {
            for at in &asking {
                batch.left[*at] += 1;
            }
            batch.hot.push(Hot {
                id: page.id(),
                visited: page.visited(),
                lines: asking,
            });
        }
    }

    async fn regenerate(self, mut batch: Batch) {
        let last = batch
            .lines
            .iter()
            .map(|line| line.sequence)
            .max()
            .unwrap_or_default();
        let hot = std::mem::take(&mut batch.hot);
        let mut ends = stream::iter(hot)
            .map(|hot| async {
                let ended = self.regenerate_one(&hot, last).await;
                (hot.lines, ended)
            })
            .buffer_unordered(self.fetcher.regenerations() + AHEAD);
        let mut reported = Instant::now();
        while let Some((lines, ended)) = ends.next().await {
            let finished = batch.count(&lines, ended);
            if finished || reported.elapsed() >= EVERY {
                self.reports.publish(batch.news());
                reported = Instant::now();
            }
        }
    }

    async fn regenerate_one(&self, hot: &Hot, last: u64) -> Ended {
        for _ in 0..TRIES {
            let Some(page) = self.fetcher.store().with_id(hot.id) else {
                return Regenerated::Gone.into();
            };
            if self.fetcher.ledger().effect(&page.facts(), last).is_some() {
                return Regenerated::Overtaken.into();
            }
            if page.stamp() >= last {
                return Regenerated::Done.into();
            }
            let key = page.key();
            drop(page);
            match self.fetcher.regenerate_and_tell(&key, hot.visited).await {
                // Not by these lines nor by later ones that are known to select it: another flight has taken its place.
                Ok(ended) if ended.outcome == Regenerated::Overtaken => {}
                Ok(ended) => return ended,
                Err(_) => return Regenerated::Failed.into(),
            }
        }
        Regenerated::Overtaken.into()
    }
}

impl Batch {
    fn new(lines: Vec<Line>) -> Self {
        let counts = lines.iter().map(|line| Report {
            sequence: line.sequence,
            matched: 0,
            regenerated: 0,
            failed: 0,
            origin_cached: 0,
            finished: false,
        });
        Self {
            examined: 0,
            counts: counts.collect(),
            published: vec![None; lines.len()],
            left: vec![0; lines.len()],
            hot: Vec::new(),
            lines,
        }
    }

    /// The counts that have changed since this was called before.
    fn news(&mut self) -> Vec<Report> {
        let pairs = self.counts.iter().zip(&mut self.published);
        pairs
            .filter(|(now, before)| before.as_ref() != Some(now))
            .map(|(now, before)| *before.insert(*now))
            .collect()
    }

    /// Lines that nothing is left to do for are finished.
    fn finish(&mut self) -> bool {
        let mut any = false;
        for (report, left) in self.counts.iter_mut().zip(&self.left) {
            any |= *left == 0 && !report.finished;
            report.finished = *left == 0;
        }
        any
    }

    /// Counts what came of a page; true: a line is finished.
    fn count(&mut self, lines: &[usize], ended: Ended) -> bool {
        for at in lines {
            self.left[*at] -= 1;
            let report = &mut self.counts[*at];
            report.origin_cached += u64::from(ended.origin_cached);
            match ended.outcome {
                Regenerated::Done | Regenerated::Overtaken => report.regenerated += 1,
                Regenerated::Failed | Regenerated::Refused => report.failed += 1,
                Regenerated::Gone => {}
            }
        }
        self.finish()
    }
}

#[cfg(test)]
mod tests;
