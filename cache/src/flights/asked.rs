//! What the app has been asked and has not answered: it may still be at work on it, also for flights that have ended.

use std::time::Duration;

use super::lately::Lately;
use crate::{key::Key, ledger::Ledger, time::Moment};

/// How long an app may be at work on a page that nobody waits for any more.
const TTL: Duration = Duration::from_mins(10);

/// By page, in whatever form it was asked for: an app with a cache of its own renders a page once for all of them. And by its
/// path on whatever host, by which alone such an app may know it; or not, so an answer to one host is none to the others.
#[derive(Debug, Default)]
pub(super) struct Asked(Lately<Since>);

/// The first request of those that have no answer.
#[derive(Debug, Clone, Copy)]
struct Since {
    /// The ledger's head before it left.
    stamp: u64,
    /// Something other than a line has overtaken it.
    overtaken: bool,
}

impl Asked {
    /// Notes a request that is about to leave. Whether an earlier one has no answer that something has overtaken since: a
    /// line, as `is_selected` says of its stamp, or an unsafe request.
    pub(super) fn ask(
        &mut self,
        key: &Key,
        ledger: &Ledger,
        now: Moment,
        is_selected: impl Fn(u64) -> bool,
    ) -> bool {
        let mut doubt = false;
        for id in key.page() {
            let earlier = self.0.get(id, now).map(|(since, _)| since);
            doubt |= earlier.is_some_and(|since| since.overtaken || is_selected(since.stamp));
            let now_first = Since {
                stamp: ledger.head(),
                overtaken: false,
            };
            self.0.set(id, earlier.unwrap_or(now_first), now + TTL);
        }
        doubt
    }

    /// There is an answer: what the app begins from now on is nothing that it began before.
    pub(super) fn answered(&mut self, key: &Key) {
        key.page().into_iter().for_each(|id| self.0.remove(id));
    }

    /// An unsafe request to the page succeeded.
    pub(super) fn overtake(&mut self, key: &Key) {
        for id in key.page() {
            if let Some(since) = self.0.value(id) {
                since.overtaken = true;
            }
        }
    }

    /// The ledger starts anew, so stamps mean nothing.
    pub(super) fn overtake_all(&mut self) {
        self.0.values().for_each(|since| since.overtaken = true);
    }
}
