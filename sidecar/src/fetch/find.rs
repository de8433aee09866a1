//! What is stored for a visitor, whose variant is known as far as anything has shown what `Vary` names.

use coppice_cache::{
    judge::Unstorable,
    key::{Lookup, Selection, Suits},
    outcome::PassReason,
    page::Page,
    verdict::{self, Verdict},
};
use http::HeaderMap;

use super::{Fetcher, NARROWINGS};

impl Fetcher {
    /// What is stored for a visit, and what to do with it. Notes the visit.
    ///
    /// `headers` are the visitor's; afterwards the key is that of the visitor's own variant, as far as `Vary` is known.
    /// An error: the request passes through.
    pub fn look_up(
        &self,
        lookup: &mut Lookup,
        headers: &HeaderMap,
    ) -> Result<(Option<Page>, Verdict), PassReason> {
        let now = self.shared.clock.now();
        let store = &self.shared.store;
        let page = self.find(lookup, headers, |lookup| store.find(&lookup.key, &lookup.plan))?;
        let verdict = verdict::decide(page.as_ref(), &lookup.plan, &self.shared.ledger, now);
        if Self::is_for_others(lookup, page.as_ref(), verdict) {
            return Err(PassReason::Unstorable(Unstorable::Authorized));
        }
        if let Some(page) = &page {
            page.visit(now);
            page.note(verdict.outcome());
        }
        Ok((page, verdict))
    }

    /// The visitor is authenticated, the app decides, and has not said that what would serve is for such visitors
    /// (RFC 9111 section 3.5). Nothing is fetched for them either: it would be fetched without their name.
    pub(super) fn is_for_others(lookup: &Lookup, page: Option<&Page>, verdict: Verdict) -> bool {
        let serves = matches!(verdict, Verdict::Hit | Verdict::Stale { .. });
        let app = page.and_then(Page::app).filter(|_| serves);
        lookup.authorized && lookup.plan.app_decides() && !app.is_some_and(|app| app.for_authorized)
    }

    /// The page of the visitor's own variant; `get` has the one for the look-up's key.
    pub(super) fn find(
        &self,
        lookup: &mut Lookup,
        headers: &HeaderMap,
        get: impl Fn(&Lookup) -> Option<Page>,
    ) -> Result<Option<Page>, PassReason> {
        let mut page = get(lookup);
        for _ in 0..NARROWINGS {
            let known;
            let selection = if let Some(page) = &page {
                page.vary()
            } else {
                known = self.vary(lookup);
                known.as_ref()
            };
            let Some(selection) = selection else {
                return Ok(page);
            };
            match lookup.suits(headers, selection) {
                Suits::Yes => return Ok(page),
                Suits::Cookie => return Err(PassReason::VaryCookie),
                Suits::Select if !lookup.narrow(headers, selection) => return Err(PassReason::Variant),
                Suits::Select => page = get(lookup),
            }
        }
        Ok(None)
    }

    /// What chooses among the variants of a page that is not stored: by those that are, and by an answer that was not kept.
    fn vary(&self, lookup: &Lookup) -> Option<Selection> {
        let shared = &self.shared;
        let of_stored = shared.store.selection(&lookup.key);
        let noted = shared.flights.lock().vary(&lookup.key, shared.clock.now());
        match (of_stored, noted) {
            (Some(mut of_stored), Some(noted)) => {
                of_stored.add(&noted);
                Some(of_stored)
            }
            (of_stored, noted) => of_stored.or(noted),
        }
    }
}
