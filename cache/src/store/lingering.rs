//! Pages that are stored no more and that somebody still holds: a visitor who reads slowly, above all. They take memory
//! until that ends, so they count; nothing else can be made to leave for them.

use std::{collections::VecDeque, mem, sync::Arc};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::page::Page;

/// So many are looked at each time that somebody asks what there is.
const LOOKED_AT: usize = 32;
/// And so many before another one is added, so that what is held for a moment does not pile up.
const LOOKED_AT_BEFORE: usize = 4;

/// What lingers, shared by who adds to it and who counts it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lingering(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    pages: VecDeque<Page>,
    bytes: u64,
}

/// Pages that leave the store. They are freed when this is dropped, outside the locks of the cache, or linger.
#[derive(Default)]
pub(super) struct Leaving {
    pages: SmallVec<[Page; 2]>,
    lingering: Option<Lingering>,
}

impl Leaving {
    pub(super) fn add(&mut self, page: Page, lingering: &Lingering) {
        self.pages.push(page);
        self.lingering.get_or_insert_with(|| lingering.clone());
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(lingering) = &self.lingering {
            for page in mem::take(&mut self.pages) {
                lingering.add(page);
            }
        }
    }
}

impl Lingering {
    /// A page is stored no more. It is freed where nobody else holds it.
    pub(super) fn add(&self, page: Page) {
        page.leave();
        let mut lingering = self.0.lock();
        // Most are held for a moment only, by who takes them out.
        let freed = lingering.forget(LOOKED_AT_BEFORE);
        if page.begin_to_linger() {
            lingering.bytes += page.weight();
            lingering.pages.push_back(page);
        }
        drop(lingering);
        drop(freed);
    }

    /// What lingers, in bytes, and perhaps some that has been let go of: a part of it is looked at each time.
    pub(super) fn bytes(&self) -> u64 {
        self.look(LOOKED_AT)
    }

    /// [`Lingering::bytes`], after a look at all.
    pub(super) fn bytes_exactly(&self) -> u64 {
        self.look(usize::MAX)
    }

    fn look(&self, most: usize) -> u64 {
        let mut lingering = self.0.lock();
        let freed = lingering.forget(most);
        let bytes = lingering.bytes;
        drop(lingering);
        drop(freed);
        bytes
    }
}

impl Pages {
    /// Looks at so many, and returns what nobody else holds, to be freed outside the lock.
    fn forget(&mut self, most: usize) -> Vec<Page> {
        let mut freed = Vec::new();
        for _ in 0..most.min(self.pages.len()) {
            let Some(page) = self.pages.pop_front() else { break };
            if page.ends_to_linger() {
                self.bytes -= page.weight();
                freed.push(page);
            } else {
                self.pages.push_back(page);
            }
        }
        freed
    }
}
