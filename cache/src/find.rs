//! What is stored for a visitor, whose variant is known as far as anything has shown what `Vary` names.

use http::HeaderMap;

use crate::{
    judge::Unstorable,
    key::{Key, Lookup, Selection, Suits},
    ledger::Ledger,
    outcome::PassReason,
    page::Page,
    store::Store,
    time::Moment,
    verdict::{self, Verdict},
};

/// How often a visitor's variant may turn out to be another: each answer can name further fields.
pub const NARROWINGS: usize = 4;

/// Where it is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Shelves<'a, N> {
    /// The pages.
    pub store: &'a Store,
    /// What they are checked with.
    pub ledger: &'a Ledger,
    /// What an answer that was not kept has taught of the variants behind a key:
    /// [`Flights::vary`](crate::flights::Flights::vary).
    pub noted: N,
}

impl<N: Fn(&Key) -> Option<Selection>> Shelves<'_, N> {
    /// What is stored for a visit, and what to do with it. Notes the visit.
    ///
    /// `headers` are the visitor's; afterwards the key is that of the visitor's own variant, as far as `Vary` is known.
    /// An error: the request passes through.
    pub fn look_up(
        &self,
        lookup: &mut Lookup,
        headers: &HeaderMap,
        now: Moment,
    ) -> Result<(Option<Page>, Verdict), PassReason> {
        let page = self.find(lookup, headers, |lookup| {
            self.store.find(&lookup.key, &lookup.plan)
        })?;
        let verdict = verdict::decide(page.as_ref(), &lookup.plan, self.ledger, now);
        if is_for_others(lookup, page.as_ref(), verdict) {
            return Err(PassReason::Unstorable(Unstorable::Authorized));
        }
        if let Some(page) = &page {
            page.visit(now);
            page.note(verdict.outcome());
        }
        Ok((page, verdict))
    }

    /// What [`Shelves::look_up`] would come to, without noting anything; and why the request would pass through.
    pub fn foresee(
        &self,
        lookup: &mut Lookup,
        headers: &HeaderMap,
        now: Moment,
    ) -> (Option<Page>, Verdict, Option<PassReason>) {
        let found = self.find(lookup, headers, |lookup| {
            self.store.foresee(&lookup.key, &lookup.plan)
        });
        let (page, mut refused) = match found {
            Ok(page) => (page, None),
            Err(reason) => (None, Some(reason)),
        };
        let verdict = verdict::foresee(page.as_ref(), &lookup.plan, self.ledger, now);
        if is_for_others(lookup, page.as_ref(), verdict) {
            refused = refused.or(Some(PassReason::Unstorable(Unstorable::Authorized)));
        }
        (page, verdict, refused)
    }

    /// The page of the visitor's own variant; `get` has the one for the look-up's key.
    fn find(
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
                known = self.vary(&lookup.key);
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
    fn vary(&self, key: &Key) -> Option<Selection> {
        match (self.store.selection(key), (self.noted)(key)) {
            (Some(mut of_stored), Some(noted)) => {
                of_stored.add(&noted);
                Some(of_stored)
            }
            (of_stored, noted) => of_stored.or(noted),
        }
    }
}

/// The visitor is authenticated, the app decides, and has not said that what would serve is for such visitors
/// (RFC 9111 section 3.5). Nothing is fetched for them either: it would be fetched without their name.
fn is_for_others(lookup: &Lookup, page: Option<&Page>, verdict: Verdict) -> bool {
    let serves = matches!(verdict, Verdict::Hit | Verdict::Stale { .. });
    let app = page.and_then(Page::app).filter(|_| serves);
    lookup.authorized && lookup.plan.app_decides() && !app.is_some_and(|app| app.for_authorized)
}
