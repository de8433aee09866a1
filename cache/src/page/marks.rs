//! What purges, visits and failures leave on a page while it is stored: atomics alone, so that a hit takes no lock.

use std::sync::atomic::Ordering;

use super::Page;
use crate::{
    coding::Coding,
    ledger::{Ledger, Strategy},
    outcome::Outcome,
    time::Moment,
};

/// Visits are noted this coarsely, in milliseconds, so that hits on one page do not fight for its cache line.
const VISIT_GRAIN: u64 = 1000;
/// How coarsely times to ask the app again are kept, in milliseconds: for years, in half the bytes of a [`Moment`].
const RETRY_GRAIN: u64 = 100;

/// Why the app is not asked for a page for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackOff {
    /// It failed: the old page is as good as before, and serves at once.
    Failed,
    /// What it gave was not to be stored. It is not asked behind visitors to whom the old page may serve meanwhile; who may
    /// not be served that asks on his own.
    Refused,
}

/// See `Head::codings`.
const TRIED: u8 = 4;

pub(super) fn tried(coding: Coding) -> u8 {
    coding.bit() << TRIED
}

/// So many grains of time pass up to a moment, the last of them not always in whole.
fn grains(moment: u64, grain: u64) -> u32 {
    u32::try_from(moment.div_ceil(grain)).unwrap_or(u32::MAX)
}

impl Page {
    /// What the purges since its stamp do to it. Costs one comparison where the ledger has nothing new; otherwise the
    /// lines that it has not seen are looked at once. A new match ends a back-off: a purge is tried at once.
    pub fn check(&self, ledger: &Ledger) -> Option<Strategy> {
        let checked = self.head().checked.load(Ordering::Acquire);
        if checked < ledger.head() {
            let (found, head) = ledger.look(&self.facts(), checked);
            if found.is_some() {
                self.raise(found);
                self.head().retry_at.store(0, Ordering::Relaxed);
            }
            // After the effect: who sees this head sees what the lines up to it did.
            self.head().checked.fetch_max(head, Ordering::Release);
        }
        self.effect()
    }

    /// What [`Page::check`] would say, without noting anything; and whether that is news, which ends a back-off.
    pub fn foresee(&self, ledger: &Ledger) -> (Option<Strategy>, bool) {
        let (found, _) = ledger.look(&self.facts(), self.head().checked.load(Ordering::Acquire));
        (self.effect().max(found), found.is_some())
    }

    /// What is known of the purges since its stamp, without looking at the ledger.
    pub fn effect(&self) -> Option<Strategy> {
        Strategy::decode(self.head().effect.load(Ordering::Acquire))
    }

    /// An unsafe request to its URL succeeded (RFC 9111 §4.4): an `Expire` of this page on this replica.
    pub fn invalidate(&self) {
        self.raise(Some(Strategy::Expire));
        self.head().retry_at.store(0, Ordering::Relaxed);
    }

    fn raise(&self, effect: Option<Strategy>) {
        self.head()
            .effect
            .fetch_max(Strategy::encode(effect), Ordering::Release);
    }

    /// Notes a visit.
    pub fn visit(&self, now: Moment) {
        let end = grains(now.0.saturating_add(1), VISIT_GRAIN);
        if self.head().visited.load(Ordering::Relaxed) < end {
            self.head().visited.fetch_max(end, Ordering::Relaxed);
        }
    }

    /// Notes what a visitor is answered with. Most get what the one before got, and then nothing is written.
    pub fn note(&self, outcome: Outcome) {
        let byte = Outcome::encode(Some(outcome));
        if self.head().outcome.load(Ordering::Relaxed) != byte {
            self.head().outcome.store(byte, Ordering::Relaxed);
        }
    }

    /// What its last visitor was answered with; `None`: nobody has visited it yet.
    pub fn last_outcome(&self) -> Option<Outcome> {
        Outcome::decode(self.head().outcome.load(Ordering::Relaxed))
    }

    /// Takes over what is known of the visits to the page whose place it takes.
    pub(crate) fn inherit(&self, old: &Self) {
        self.head()
            .visited
            .fetch_max(old.head().visited.load(Ordering::Relaxed), Ordering::Relaxed);
        self.head()
            .outcome
            .store(old.head().outcome.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The last visit: the end of the second that it was in; the first moment of all where there was none.
    pub fn visited(&self) -> Moment {
        Moment(u64::from(self.head().visited.load(Ordering::Relaxed)) * VISIT_GRAIN)
    }

    /// The app gave no page in its place: it is not asked again before `until`, unless a purge comes.
    pub fn back_off(&self, until: Moment, why: BackOff) {
        let refused = u32::from(why == BackOff::Refused);
        // Rounded up, as the time is.
        let until = grains(until.0, RETRY_GRAIN).min(u32::MAX >> 1);
        self.head()
            .retry_at
            .store(until << 1 | refused, Ordering::Relaxed);
    }

    /// Why the app is not asked now; `None`: it is.
    pub fn backs_off(&self, now: Moment) -> Option<BackOff> {
        let (until, why) = self.retry()?;
        (until > now).then_some(why)
    }

    /// The app gave no page in its place, and may be asked again then.
    pub fn retry_at(&self) -> Option<Moment> {
        self.retry().map(|(until, _)| until)
    }

    fn retry(&self) -> Option<(Moment, BackOff)> {
        let retry = self.head().retry_at.load(Ordering::Relaxed);
        let why = if retry & 1 == 1 {
            BackOff::Refused
        } else {
            BackOff::Failed
        };
        (retry > 0).then(|| (Moment(u64::from(retry >> 1) * RETRY_GRAIN), why))
    }

    /// Takes over all that was left on the page that it is a copy of.
    pub(super) fn take_over(&self, old: &Self) {
        self.head()
            .effect
            .store(old.head().effect.load(Ordering::Acquire), Ordering::Release);
        self.inherit(old);
        self.head()
            .retry_at
            .store(old.head().retry_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// A visitor wants the body in a coding. True for the first, where nobody has tried to make it: that is theirs.
    pub fn want(&self, coding: Coding) -> bool {
        let both = coding.bit() | tried(coding);
        // Most who come here come too late, and only read.
        self.head().codings.load(Ordering::Relaxed) & both != both
            && self.head().codings.fetch_or(both, Ordering::Relaxed) & tried(coding) == 0
    }

    /// The codings that visitors of this page wanted.
    pub fn wanted(&self) -> impl Iterator<Item = Coding> {
        let set = self.head().codings.load(Ordering::Relaxed);
        Coding::ALL
            .into_iter()
            .filter(move |coding| set & coding.bit() != 0)
    }

    /// Somebody is about to make the body in a coding. True for the first.
    pub fn try_out(&self, coding: Coding) -> bool {
        self.head().codings.fetch_or(tried(coding), Ordering::Relaxed) & tried(coding) == 0
    }

    /// It could not be made now: another visitor may have it tried again.
    pub fn give_up(&self, coding: Coding) {
        self.head().codings.fetch_and(!tried(coding), Ordering::Relaxed);
    }
}
