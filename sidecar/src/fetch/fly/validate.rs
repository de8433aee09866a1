//! What a stored page has to do with a flight that is to replace it: the app can be asked whether it is still good, and it
//! is better than a failure.

use coppice_cache::{
    freshness::Arrival,
    judge::{self, Confirmation, Confirmed, Unstorable},
    key::Lookup,
    page::{BackOff, Page},
    verdict::{self, Verdict},
};
use http::{HeaderMap, header};

use super::{Phase, Pilot};

impl Pilot {
    /// The stored page that the app can be asked about (RFC 9111 section 4.3.1): where the app decides, and nothing but its
    /// age speaks against it. A page that was purged is asked for as if it was not there.
    pub(super) fn to_validate(&self) -> Option<Page> {
        let Lookup { key, plan, .. } = &self.lookup;
        let page = self.shared.store.find(key, plan)?;
        let has_validator = page.header(&header::LAST_MODIFIED).is_some()
            || (page.header(&header::ETAG).is_some() && !page.is_tagged());
        let can_be = plan.app_decides() && has_validator && page.check(&self.shared.ledger).is_none();
        (can_be && !self.shared.flights.lock().distrusts(key)).then_some(page)
    }

    /// A page is stored that may serve in the place of a failure, and is none itself.
    pub(super) fn has_better(&self) -> bool {
        let Lookup { key, plan, .. } = &self.lookup;
        let shared = &self.shared;
        let page = shared.store.find(key, plan);
        let verdict = verdict::decide(page.as_ref(), plan, &shared.ledger, shared.clock.now());
        let serves = !matches!(verdict, Verdict::Fetch | Verdict::Wait { fallback: false });
        serves && page.is_some_and(|page| !page.status().is_server_error())
    }

    /// A 304 to a request with the validators of this page. False: the page is of no use any more.
    pub(super) fn confirm(&self, page: Page, headers: HeaderMap, arrival: Arrival) -> bool {
        match judge::confirm(&self.lookup.plan, &page, headers, arrival) {
            Confirmation::Of(confirmed) => self.renew(&page, confirmed),
            Confirmation::OfAnother => self.keep(page),
            Confirmation::Forbidden => return false,
        }
        true
    }

    /// The page is stored anew, with the headers and the lifetime that it has now.
    fn renew(&self, old: &Page, confirmed: Confirmed) {
        if !self.has_room_for(&confirmed.headers) {
            return self.give_up(Unstorable::NoRoom);
        }
        let now = self.shared.clock.now();
        let page = old.confirmed(confirmed.headers, Some(confirmed.app), now);
        let stored = self.store(&page);
        if stored {
            old.hand_on(&page);
        }
        self.flight.enter(Phase::Landed { page, stored });
    }

    /// The page stays as stale as it was, for those who wait too: that much the app has said of it. Its validators bring
    /// nothing more, so it is asked for without them next.
    fn keep(&self, page: Page) {
        self.shared.flights.lock().distrust(&self.lookup.key);
        self.back_off(BackOff::Failed);
        self.flight.enter(Phase::Kept(page));
    }
}
