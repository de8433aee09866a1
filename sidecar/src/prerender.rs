//! Pages that are fetched before a visitor asks: when a sidecar starts or starts anew, and when an entry appears or its rule makes
//! another page of it.
//!
//! ```text
//! set(routes) ──► entries that were not there before ──► a task each ──► the regenerations' queue, behind all of them
//!            └──► entries that are gone: their tasks end       └── the app is not up, or there is no room: again after
//!                                                                  1, 2, 4 … 60 s
//! ```
//!
//! Nothing waits for any of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use coppice_cache::{
    key::Key,
    routes::{Owner, Plan, Routes},
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use crate::fetch::{Fetcher, Regenerated};

/// So many of these wait in the queue beside those that go on: what purges ask for never stands behind a long list.
const AHEAD: usize = 6;
/// An app that is not up, or whose answer found no room, is asked again after so long, and then after twice the time …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this.
const LAST_PAUSE: Duration = Duration::from_mins(1);

/// Fetches what the configuration in force lists. Cheap to clone; what it does ends with the last of them.
#[derive(Debug, Clone)]
pub struct Prerenderer {
    work: Work,
    /// The port that visitors of `localhost` name: in `coppice dev`.
    port: Option<u16>,
    /// What is listed now.
    listed: Arc<Mutex<HashMap<Arc<Key>, Listed>>>,
}

/// An entry.
#[derive(Debug)]
struct Listed {
    /// What its page would be stored under. Under something else it is another page.
    owner: Arc<Owner>,
    app_decides: bool,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone)]
struct Work {
    fetcher: Fetcher,
    turns: Arc<Semaphore>,
}

impl Prerenderer {
    /// Fetches nothing before [`Prerenderer::set`].
    pub fn new(fetcher: Fetcher, port: Option<u16>) -> Self {
        let turns = Arc::new(Semaphore::new(fetcher.regenerations() + AHEAD));
        Self {
            work: Work { fetcher, turns },
            port,
            listed: Arc::default(),
        }
    }

    /// These routes are in force now: what they list and their predecessors did not is fetched.
    pub fn set(&self, routes: &Routes) {
        let plans = routes.plans().iter().filter(|plan| plan.passes().is_none());
        let entries = plans.flat_map(|plan| plan.prerender().iter().map(move |entry| (plan, entry)));
        let wanted: HashMap<_, _> = entries
            .map(|(plan, entry)| (entry.key(self.port), plan))
            .collect();
        let mut listed = self.listed.lock();
        listed.retain(|key, was| {
            let is_as_before =
                |plan: &&Arc<Plan>| *plan.owner == *was.owner && plan.app_decides() == was.app_decides;
            wanted.get(key).is_some_and(is_as_before)
        });
        for (key, plan) in wanted {
            listed.entry(key).or_insert_with_key(|key| Listed {
                owner: plan.owner.clone(),
                app_decides: plan.app_decides(),
                _task: AbortOnDropHandle::new(tokio::spawn(self.work.clone().fetch(key.clone()))),
            });
        }
    }

    /// Nothing of what was fetched is there any more: all of it is fetched anew.
    pub fn again(&self, routes: &Routes) {
        self.listed.lock().clear();
        self.set(routes);
    }
}

impl Work {
    async fn fetch(self, key: Arc<Key>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = match self.turns.acquire().await {
                Ok(_turn) => self.fetcher.prerender(&key).await,
                // It is never closed.
                Err(_) => return,
            };
            match ended.map(|ended| ended.outcome) {
                Ok(Regenerated::Failed | Regenerated::Overtaken) | Err(_) => {
                    tracing::debug!(
                        path = key.path(),
                        "failed to prerender a page; again in {pause:?}"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                Ok(Regenerated::Refused) => {
                    tracing::info!(
                        path = key.path(),
                        "the app's answer for a page to prerender is not one to store"
                    );
                    return;
                }
                // Or its rule passes everything through.
                Ok(Regenerated::Done | Regenerated::Gone) => return,
            }
        }
    }
}
