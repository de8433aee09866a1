//! Waiting for a flight: as a visitor, who gets what it brings as far as it is the visitor's, or the old page; and as a
//! regeneration, which wants to know how it ended.

use std::sync::Arc;

use coppice_cache::{
    judge::Unstorable,
    key::{Lookup, Selection, Suits},
    lifetime::Lifetime,
    outcome::PassReason,
    page::Page,
};
use http::HeaderMap;
use tokio::{sync::watch, time::Instant};

use super::{
    Clock, Ended, Fallback, Fetched, OLD_PAGE_AFTER, Regenerated, Streamed,
    flight::{Flight, Phase},
};

/// A place in a flight.
pub(super) struct Boarded {
    flight: Arc<Flight>,
    phases: watch::Receiver<Phase>,
    joined: bool,
    /// What the flight brings is for others.
    elsewhere: bool,
}

impl Boarded {
    pub(super) fn new(flight: Arc<Flight>, joined: bool) -> Self {
        Self {
            phases: flight.watch(),
            flight,
            joined,
            elsewhere: false,
        }
    }
}

impl Drop for Boarded {
    /// Who got what was theirs, and who left without knowing, has it stored.
    fn drop(&mut self) {
        if !self.elsewhere {
            self.flight.want();
        }
    }
}

/// What waiting for a flight came to.
pub(super) enum Waited {
    /// What the visitor gets.
    Over(Fetched),
    /// Its answer is another variant, and this chooses.
    Elsewhere(Selection),
}

impl Waited {
    /// What there is, if it is the visitor's by what `Vary` named.
    pub(super) fn on(
        vary: Option<&Selection>,
        lookup: &Lookup,
        headers: &HeaderMap,
        what: impl FnOnce() -> Fetched,
    ) -> Self {
        Self::elsewhere(vary, lookup, headers).unwrap_or_else(|| Self::Over(what()))
    }

    /// What there is is not the visitor's.
    fn elsewhere(vary: Option<&Selection>, lookup: &Lookup, headers: &HeaderMap) -> Option<Self> {
        let vary = vary?;
        match lookup.suits(headers, vary) {
            Suits::Yes => None,
            Suits::Cookie => Some(Self::Over(Fetched::Pass(PassReason::VaryCookie))),
            Suits::Select => Some(Self::Elsewhere(vary.clone())),
        }
    }

    fn is_elsewhere(&self) -> bool {
        matches!(
            self,
            Self::Elsewhere(_) | Self::Over(Fetched::Pass(PassReason::VaryCookie))
        )
    }
}

/// Waits for what a flight brings, as a visitor.
pub(super) async fn wait(
    mut boarded: Boarded,
    lookup: &Lookup,
    headers: &HeaderMap,
    fallback: Option<&Page>,
    clock: Clock,
) -> Waited {
    let waited = wait_aboard(&mut boarded, lookup, headers, fallback, clock).await;
    boarded.elsewhere = waited.is_elsewhere();
    waited
}

async fn wait_aboard(
    boarded: &mut Boarded,
    lookup: &Lookup,
    headers: &HeaderMap,
    fallback: Option<&Page>,
    clock: Clock,
) -> Waited {
    let Boarded {
        flight,
        phases,
        joined,
        ..
    } = boarded;
    let joined = *joined;
    let patience = Instant::now() + OLD_PAGE_AFTER;
    let old = |page: &Page, why| {
        Waited::Over(Fetched::Old {
            page: page.clone(),
            why,
        })
    };
    let pass = |reason| Waited::Over(Fetched::Pass(PassReason::Unstorable(reason)));
    // It ages while the visitor waits.
    let serves = |page: &&Page| {
        let lifetime = Lifetime::of(&lookup.plan, page.status(), page.app());
        lifetime.stands_in(page.age(clock.now()))
    };
    loop {
        let fallback = fallback.filter(serves);
        let phase = phases.borrow_and_update().clone();
        // What has ended without a page is stored nowhere, whatever its head promised.
        let ended = phase.is_end();
        match (phase, fallback) {
            (Phase::Failed(_) | Phase::Over(_), Some(page)) => return old(page, Fallback::Failed),
            (Phase::Unstorable(reason), Some(page)) if !reason.passes(true) => {
                return old(page, Fallback::Failed);
            }
            (Phase::Unstorable(reason), _) => return pass(reason),
            (Phase::Landed { page, stored }, _) => {
                return Waited::on(page.vary(), lookup, headers, || Fetched::Page {
                    page: page.clone(),
                    joined,
                    stored,
                });
            }
            (Phase::Kept(page), _) => {
                return Waited::on(page.vary(), lookup, headers, || Fetched::Kept {
                    page: page.clone(),
                    joined,
                });
            }
            (Phase::Answer(answer) | Phase::Over(answer), None) => {
                return Waited::on(answer.vary.as_ref(), lookup, headers, || {
                    match flight.tee.attach() {
                        Ok(body) => Fetched::Stream(Streamed {
                            status: answer.status,
                            headers: answer.headers.clone(),
                            body,
                            joined,
                            stored: answer.storing && !ended,
                            app: answer.app,
                            arrived: answer.arrived,
                        }),
                        // It is for none but those who read it already.
                        Err(reason) => Fetched::Pass(PassReason::Unstorable(reason)),
                    }
                });
            }
            (Phase::Failed(error), None) => {
                return Waited::Over(Fetched::Failed { error, joined });
            }
            // It comes whole or not at all; whose it is its head says.
            (Phase::Answer(answer), Some(_)) if answer.storing => {
                match Waited::elsewhere(answer.vary.as_ref(), lookup, headers) {
                    Some(elsewhere) => return elsewhere,
                    None => flight.want(),
                }
            }
            (Phase::Boarding | Phase::Answer(_), _) => {}
        }
        let changed = async {
            match fallback {
                Some(_) => tokio::time::timeout_at(patience, phases.changed()).await,
                None => Ok(phases.changed().await),
            }
        };
        match (changed.await, fallback) {
            (Err(_), Some(page)) if serves(&page) => return old(page, Fallback::Slow),
            // News, or the old page may serve no more.
            (Ok(Ok(())) | Err(_), _) => {}
            // It never leaves without a word; if it did, pass through.
            _ => return pass(Unstorable::Fault),
        }
    }
}

/// Waits for the end of a flight, as a regeneration.
pub(super) async fn ended(mut boarded: Boarded) -> Ended {
    let last = boarded.phases.wait_for(Phase::is_end).await;
    let outcome = match last.as_deref() {
        Ok(Phase::Landed { stored: true, .. }) => Regenerated::Done,
        Ok(Phase::Landed { stored: false, .. }) => Regenerated::Overtaken,
        // No word on the answer, which may be one to store when there is room, or the app has caught up.
        Ok(Phase::Unstorable(Unstorable::NoRoom | Unstorable::Fault | Unstorable::Outdated)) => {
            Regenerated::Failed
        }
        Ok(Phase::Unstorable(_) | Phase::Kept(_)) => Regenerated::Refused,
        _ => Regenerated::Failed,
    };
    Ended {
        outcome,
        origin_cached: boarded.flight.was_origin_cached(),
    }
}
