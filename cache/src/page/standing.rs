//! Whether a page is stored, and whether it counts once it is not: who reads it slowly may hold it for long.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use triomphe::ThinArc;

use super::Page;

/// It is stored, and counts there.
const STORED: u8 = 1;
/// It has left the store and is counted among those that linger.
const LINGERS: u8 = 2;
/// Another page that is stored has its bodies, which count there.
const HANDED_ON: u8 = 4;

impl Page {
    /// It is stored now.
    pub(crate) fn enter(&self) {
        self.head().standing.fetch_and(!HANDED_ON, Ordering::Relaxed);
        self.head().standing.fetch_or(STORED, Ordering::Relaxed);
    }

    /// It is stored no more.
    pub(crate) fn leave(&self) {
        self.head().standing.fetch_and(!STORED, Ordering::Relaxed);
    }

    /// Another that was made of it is stored from now on, perhaps with the same bodies: they count there, and two that have
    /// left must not hold each other.
    pub fn hand_on(&self, new: &Self) {
        if self.has_body_of(new) {
            self.head().standing.fetch_or(HANDED_ON, Ordering::Relaxed);
        }
    }

    /// It lingers from now on. False: it does already, or is no reason to count it.
    pub(crate) fn begin_to_linger(&self) -> bool {
        self.lingers() && self.head().standing.fetch_or(LINGERS, Ordering::Relaxed) & LINGERS == 0
    }

    /// It does not linger any more. False: it does.
    pub(crate) fn ends_to_linger(&self) -> bool {
        let ends = !self.lingers();
        if ends {
            self.head().standing.fetch_and(!LINGERS, Ordering::Relaxed);
        }
        ends
    }

    /// It is not stored, and somebody beside who asks has it, or a body of it that is not another page's too. Bodies are of
    /// the heap: nobody could tell of a static one who has it.
    fn lingers(&self) -> bool {
        let standing = self.head().standing.load(Ordering::Relaxed);
        let shares = |body: &Bytes| !body.is_unique();
        let encodings = || self.head().extra.iter().flat_map(|extra| &extra.encodings);
        let has_body_held =
            || self.head().content.long().is_some_and(shares) || encodings().any(|own| shares(&own.body));
        standing & STORED == 0
            && (ThinArc::strong_count(&self.0) > 1 || standing & HANDED_ON == 0 && has_body_held())
    }
}
