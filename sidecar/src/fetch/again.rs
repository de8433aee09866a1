//! A page that nobody has yet, and that the app's own cache gave out of date: the visitor has it, unstored, as the app
//! itself would have shown it; behind that the app is asked again until its cache has caught up.
//!
//! Each try is a flight of its own, so that nobody who comes meanwhile waits for a pause.

use std::{collections::HashSet, sync::Arc, time::Duration};

use coppice_cache::key::Key;
use parking_lot::Mutex;

use super::{Fetcher, LARGEST_HELD, Regenerated};

/// An answer from an app's own outdated cache is asked for again after these times.
pub(super) const AGAIN: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// So many pages are asked for again at once; the next ones wait for a visit, as do those with large keys.
const AT_ONCE: usize = 256;

/// Pages that are asked for again.
#[derive(Debug, Default)]
pub(super) struct Again {
    keys: Mutex<HashSet<Arc<Key>, ahash::RandomState>>,
}

impl Again {
    fn begin(&self, key: &Arc<Key>) -> bool {
        let mut keys = self.keys.lock();
        key.weight() <= LARGEST_HELD && keys.len() < AT_ONCE && keys.insert(key.clone())
    }

    fn end(&self, key: &Arc<Key>) {
        self.keys.lock().remove(key);
    }
}

/// Asks again behind the visitors, unless that goes on already.
pub(super) fn ask_again(fetcher: Fetcher, key: Arc<Key>) {
    if !fetcher.shared.again.begin(&key) {
        return;
    }
    tokio::spawn(async move {
        for pause in AGAIN {
            tokio::time::sleep(pause).await;
            if fetcher.shared.store.get(&key).is_some() {
                break;
            }
            // When its turn comes: after a start there may be many of them.
            let ended = fetcher.prerender(&key).await;
            if ended.is_ok_and(|ended| matches!(ended.outcome, Regenerated::Gone | Regenerated::Refused)) {
                break;
            }
        }
        fetcher.shared.again.end(&key);
    });
}
