//! Pages that are fetched before a visitor asks: when a sidecar starts, and when an entry appears.
//!
//! ```text
//! set(routes) ──► entries that were not there before ──► a task each ──► the regenerations' queue, behind all of them
//!            └──► entries that are gone: their tasks end       └── the app is not up, or there is no room: again after
//!                                                                  1, 2, 4 … 60 s
//! ```
//!
//! Nothing waits for any of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use coppice_cache::{key::Key, routes::Routes};
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
    /// What is listed now, each with its task.
    listed: Arc<Mutex<HashMap<Arc<Key>, AbortOnDropHandle<()>>>>,
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
        let entries = routes.plans().iter().flat_map(|plan| plan.prerender());
        let keys: HashSet<_> = entries.map(|entry| entry.key(self.port)).collect();
        let mut listed = self.listed.lock();
        listed.retain(|key, _| keys.contains(key));
        for key in keys {
            listed.entry(key).or_insert_with_key(|key| {
                AbortOnDropHandle::new(tokio::spawn(self.work.clone().fetch(key.clone())))
            });
        }
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
