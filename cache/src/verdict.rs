//! The decision for one request: a table of what is stored, for how long it lives, what purges did to it, and the time.

use std::time::Duration;

use crate::{
    ledger::{Ledger, Strategy},
    lifetime::Lifetime,
    outcome::Outcome,
    page::{BackOff, Page},
    routes::Plan,
    time::Moment,
};

/// What to do for a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answer with the stored page: it is fresh.
    Hit,
    /// Answer with the stored page, which is stale.
    Stale {
        /// And have a new one fetched behind it; false: a moment ago the app gave none to take its place.
        regenerate: bool,
    },
    /// Wait for a new page.
    Wait {
        /// Where none can be had, the old page may serve.
        fallback: bool,
    },
    /// Nothing is stored that may serve: fetch, together with all who wait for the same.
    Fetch,
}

impl Verdict {
    /// What the visitor is answered with if the app does its part.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Hit => Outcome::Hit,
            Self::Stale { .. } => Outcome::Stale,
            Self::Wait { .. } => Outcome::Revalidated,
            Self::Fetch => Outcome::Miss,
        }
    }
}

/// What the decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// How old the page's content is.
    pub age: Duration,
    /// How long the plan in force lets it live.
    pub lifetime: Lifetime,
    /// The strongest purge since its stamp.
    pub effect: Option<Strategy>,
    /// The app gave no page in its place a moment ago, and no purge has come since.
    pub back_off: Option<BackOff>,
}

/// Decides for a page that may be stored, under the plan in force; notes in the page through which line it was checked.
pub fn decide(page: Option<&Page>, plan: &Plan, ledger: &Ledger, now: Moment) -> Verdict {
    // A page that was stored under other paths, keys or tags is first brought under this plan (`Page::under`).
    let Some(page) = page.filter(|page| page.fits(plan)) else {
        return Verdict::Fetch;
    };
    let effect = page.check(ledger);
    judge(&Facts {
        age: page.age(now),
        lifetime: Lifetime::of(plan, page.status(), page.app()),
        effect,
        back_off: page.backs_off(now),
    })
}

/// What [`decide`] would say, without noting anything in the page.
pub fn foresee(page: Option<&Page>, plan: &Plan, ledger: &Ledger, now: Moment) -> Verdict {
    let Some(page) = page.filter(|page| page.fits(plan)) else {
        return Verdict::Fetch;
    };
    let (effect, is_news) = page.foresee(ledger);
    judge(&Facts {
        age: page.age(now),
        lifetime: Lifetime::of(plan, page.status(), page.app()),
        effect,
        back_off: page.backs_off(now).filter(|_| !is_news),
    })
}

/// The table.
pub fn judge(facts: &Facts) -> Verdict {
    let Facts {
        age,
        lifetime,
        effect,
        back_off,
    } = *facts;
    if effect == Some(Strategy::Delete) {
        return Verdict::Fetch;
    }
    if effect.is_none() && lifetime.is_fresh(age) {
        return Verdict::Hit;
    }
    // As good as nothing: its time is over, or the plan stores nothing any more.
    if !lifetime.revalidates {
        return Verdict::Fetch;
    }
    let fallback = lifetime.stands_in(age);
    // Whose purge the app has failed to follow is served as before; whose answers are not stored asks for his own.
    if fallback && back_off == Some(BackOff::Failed) {
        return Verdict::Stale { regenerate: false };
    }
    if effect != Some(Strategy::Expire) && lifetime.stale_until.is_some_and(|until| age <= until) {
        return Verdict::Stale {
            regenerate: back_off.is_none(),
        };
    }
    Verdict::Wait { fallback }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        config::Interval,
        mk::{mk_page, mk_plan},
    };

    const FRESH: Duration = Duration::from_mins(1);
    const EXPIRE: Duration = Duration::from_hours(1);

    fn facts(age: u64, effect: Option<Strategy>, back_off: Option<BackOff>) -> Facts {
        Facts {
            age: Duration::from_secs(age),
            lifetime: Lifetime {
                fresh_for: Interval::After(FRESH),
                stale_until: Some(EXPIRE),
                error_until: Some(EXPIRE),
                revalidates: true,
            },
            effect,
            back_off,
        }
    }

    const STALE: Verdict = Verdict::Stale { regenerate: true };
    const RESTING: Verdict = Verdict::Stale { regenerate: false };
    const WAIT: Verdict = Verdict::Wait { fallback: true };
    const NEEDED: Verdict = Verdict::Wait { fallback: false };
    const FAILED: Option<BackOff> = Some(BackOff::Failed);
    const REFUSED: Option<BackOff> = Some(BackOff::Refused);
    const REFRESH: Option<Strategy> = Some(Strategy::Refresh);
    const EXPIRED: Option<Strategy> = Some(Strategy::Expire);
    const DELETE: Option<Strategy> = Some(Strategy::Delete);

    #[rstest]
    // Age alone decides.
    #[case(0, None, None, Verdict::Hit)]
    #[case(59, None, None, Verdict::Hit)]
    #[case(59, None, FAILED, Verdict::Hit)]
    #[case(60, None, None, STALE)]
    #[case(60, None, FAILED, RESTING)]
    #[case(60, None, REFUSED, RESTING)]
    #[case(3600, None, None, STALE)]
    #[case(3601, None, None, NEEDED)]
    #[case(3601, None, FAILED, NEEDED)]
    // Refresh: the old page until the new one is stored.
    #[case(0, REFRESH, None, STALE)]
    #[case(0, REFRESH, FAILED, RESTING)]
    #[case(61, REFRESH, None, STALE)]
    #[case(3601, REFRESH, None, NEEDED)]
    // Expire: the new page, the old one where the app fails or has failed a moment ago.
    #[case(0, EXPIRED, None, WAIT)]
    #[case(61, EXPIRED, None, WAIT)]
    #[case(0, EXPIRED, FAILED, RESTING)]
    // Where the app has not failed, there is no reason for the old one.
    #[case(0, EXPIRED, REFUSED, WAIT)]
    #[case(3601, EXPIRED, None, NEEDED)]
    #[case(3601, EXPIRED, FAILED, NEEDED)]
    // Delete: the old page no longer exists.
    #[case(0, DELETE, None, Verdict::Fetch)]
    #[case(0, DELETE, FAILED, Verdict::Fetch)]
    #[case(3601, DELETE, None, Verdict::Fetch)]
    fn verdict_of_a_page(
        #[case] age: u64,
        #[case] effect: Option<Strategy>,
        #[case] back_off: Option<BackOff>,
        #[case] expected: Verdict,
    ) {
        assert_eq!(judge(&facts(age, effect, back_off)), expected);
    }

    #[rstest]
    #[case(0, None, Verdict::Hit)]
    #[case(60, None, Verdict::Fetch)]
    #[case(0, REFRESH, Verdict::Fetch)]
    #[case(0, EXPIRED, Verdict::Fetch)]
    #[case(0, DELETE, Verdict::Fetch)]
    fn verdict_of_a_negative_page_knows_no_stale_window(
        #[case] age: u64,
        #[case] effect: Option<Strategy>,
        #[case] expected: Verdict,
    ) {
        let mut facts = facts(age, effect, None);
        facts.lifetime.revalidates = false;
        assert_eq!(judge(&facts), expected);
    }

    #[rstest]
    #[case(None, Verdict::Hit)]
    #[case(REFRESH, NEEDED)]
    #[case(EXPIRED, NEEDED)]
    fn verdict_of_a_page_that_stays_until_purged(
        #[case] effect: Option<Strategy>,
        #[case] expected: Verdict,
    ) {
        let mut facts = facts(1_000_000, effect, None);
        facts.lifetime.fresh_for = Interval::Never;
        assert_eq!(judge(&facts), expected);
    }

    #[test]
    fn verdict_of_nothing_is_to_fetch() {
        let plan = mk_plan(|_| ());
        assert_eq!(decide(None, &plan, &Ledger::new(), Moment(0)), Verdict::Fetch);
    }

    #[test]
    fn verdict_follows_the_plan_in_force() {
        let ledger = Ledger::new();
        let page = mk_page(&mk_plan(|_| ()), "/a", 0, 4);
        let at = |plan: &Plan, seconds: u64| decide(Some(&page), plan, &ledger, Moment(seconds * 1000));
        let mut plan = mk_plan(|_| ());
        plan.rule.revalidate = Some(Interval::After(Duration::from_secs(10)));
        assert_eq!(at(&plan, 9), Verdict::Hit);
        assert_eq!(at(&plan, 10), STALE);
        plan.rule.revalidate = Some(Interval::After(Duration::from_secs(20)));
        assert_eq!(at(&plan, 19), Verdict::Hit);
        plan.rule.expire = Duration::from_secs(30);
        assert_eq!(at(&plan, 31), NEEDED);
        plan.rule.revalidate = Some(Interval::After(Duration::ZERO));
        assert_eq!(at(&plan, 0), Verdict::Fetch);
        plan.rule.revalidate = Some(Interval::Never);
        assert_eq!(at(&plan, 100), Verdict::Hit);
    }
}
