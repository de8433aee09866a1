//! One flight as those see it who wait for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use coppice_cache::{
    freshness::Freshness, judge::Unstorable, key::Selection, page::Page, store::Reservation, time::Moment,
};
use http::{HeaderMap, StatusCode};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{Failure, tee::Tee};

/// How long a page that is complete waits for who has not looked whether it is theirs.
const UNDECIDED: Duration = Duration::from_secs(10);

/// One fetch for one key. It belongs to no visitor: who leaves harms nobody.
#[derive(Debug)]
pub(super) struct Flight {
    phase: watch::Sender<Phase>,
    /// When it took off.
    pub(super) began: Instant,
    pub(super) tee: Arc<Tee>,
    /// The app answered out of a cache of its own, although it was asked to go past that.
    origin_cached: AtomicBool,
    /// Somebody wants exactly what it brings, or has left before they could know whose that is.
    wanted: AtomicBool,
    now_wanted: Notify,
}

/// How far a flight has come. All but the first two are its end.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// The app has not answered yet.
    Boarding,
    /// The head of the answer is there, and the body arrives in the tee.
    Answer(Arc<Answer>),
    /// The answer has been streamed to its end, and became no page: the app's error, what its own cache had, what failed
    /// after its head had left, or more than could be kept.
    Over(Arc<Answer>),
    /// The page is complete.
    Landed {
        /// The page.
        page: Page,
        /// It is in the store.
        stored: bool,
    },
    /// The app says that the stored page has not changed, and nothing by which it could be renewed.
    Kept(Page),
    /// The app gave no answer, or its answer broke off.
    Failed(Failure),
    /// The answer is not one to share.
    Unstorable(Unstorable),
}

impl Phase {
    /// The flight is over.
    pub(super) const fn is_end(&self) -> bool {
        !matches!(self, Self::Boarding | Self::Answer(_))
    }
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// What visitors may see.
    pub(super) headers: Arc<HeaderMap>,
    /// It becomes a page.
    pub(super) storing: bool,
    /// What its `Vary` names: whose it is. `None`: it is for all who wait.
    pub(super) vary: Option<Selection>,
    /// What the app says of how long it lives, where the app decides.
    pub(super) app: Option<Freshness>,
    /// When its head was there.
    pub(super) arrived: Moment,
}

impl Flight {
    pub(super) fn new(room: Reservation) -> Self {
        Self {
            phase: watch::Sender::new(Phase::Boarding),
            began: Instant::now(),
            tee: Tee::new(room),
            origin_cached: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            now_wanted: Notify::new(),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// How many wait for it or for its end.
    pub(super) fn waiting(&self) -> usize {
        self.phase.receiver_count()
    }

    /// How far it has come, in words.
    pub(super) fn phase_word(&self) -> &'static str {
        match &*self.phase.borrow() {
            Phase::Boarding => "asking the app",
            Phase::Answer(_) => "receiving the answer",
            _ => "landing",
        }
    }

    pub(super) fn note_origin_cached(&self, cached: bool) {
        self.origin_cached.store(cached, Ordering::Relaxed);
    }

    /// Said before the flight's end, so whoever has seen that reads it.
    pub(super) fn was_origin_cached(&self) -> bool {
        self.origin_cached.load(Ordering::Relaxed)
    }

    /// What it brings is somebody's by what `Vary` names, or a page is to be there before anybody asks.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Release);
        self.now_wanted.notify_waiters();
    }

    /// Nobody waits any more, and all who did have found that theirs is another variant.
    pub(super) fn is_nobodys(&self) -> bool {
        // Who leaves says so before they are gone.
        self.waiting() == 0 && !self.wanted.load(Ordering::Acquire)
    }

    /// Waits until those who wait have seen by the head of the answer whether it is theirs, but not for who does not look.
    pub(super) async fn decided(&self) {
        let now_wanted = self.now_wanted.notified();
        if self.wanted.load(Ordering::Acquire) {
            return;
        }
        tokio::select! {
            () = now_wanted => {}
            () = self.phase.closed() => {}
            () = tokio::time::sleep(UNDECIDED) => {}
        }
    }

    /// It is over, and those who waited know.
    pub(super) fn is_over(&self) -> bool {
        self.phase.borrow().is_end()
    }

    /// Tells those who wait.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }
}
