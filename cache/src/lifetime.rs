//! How long a page lives.
//!
//! Lifetimes are computed from the plan in force, never frozen into a page: a changed interval applies to stored pages.

use std::time::Duration;

use http::StatusCode;

use crate::{config::Interval, freshness::Freshness, routes::Plan, time::Moment};

/// How long a page lives. Ages are those of its content: [`Page::age`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Fresh up to this age.
    pub fresh_for: Interval,
    /// Up to this age it may be served while a new one is fetched behind it; `None`: never.
    pub stale_until: Option<Duration>,
    /// Up to this age it may be served where no new one can be had; `None`: never.
    pub error_until: Option<Duration>,
    /// One that may not be served any more is asked for again in its place; else it is as if nothing was stored.
    pub revalidates: bool,
}

impl Lifetime {
    /// Nothing is stored.
    const NONE: Self = Self {
        fresh_for: Interval::After(Duration::ZERO),
        stale_until: None,
        error_until: None,
        revalidates: false,
    };

    /// The lifetime of a page under the plan in force. `app`: what the app said of it, where the app decides.
    pub fn of(plan: &Plan, status: StatusCode, app: Option<&Freshness>) -> Self {
        let rule = &plan.rule;
        match (rule.revalidate, app) {
            (Some(Interval::After(Duration::ZERO)), _) | (None, None) => Self::NONE,
            (Some(_), _) if is_negative(status) => Self {
                fresh_for: Interval::After(rule.negative),
                ..Self::NONE
            },
            (Some(interval), _) => Self {
                fresh_for: interval,
                stale_until: Some(rule.expire),
                error_until: Some(rule.expire),
                revalidates: true,
            },
            (None, Some(app)) => Self::by_app(app, rule.expire),
        }
    }

    /// RFC 9111 section 4.2.4 and RFC 5861; `expire` caps what may be served stale. Where stale is forbidden, a page may
    /// serve while it is fresh, purged or not, and no longer.
    fn by_app(app: &Freshness, expire: Duration) -> Self {
        // At the very moment at which it turns stale it is stale.
        const LEAST: Duration = Duration::from_millis(1);
        let last_fresh = app.lifetime.checked_sub(LEAST);
        let until = |window: Duration| {
            let until = (app.lifetime.saturating_add(window)).checked_sub(LEAST);
            until.map(|until| until.min(expire.max(app.lifetime)))
        };
        Self {
            fresh_for: Interval::After(app.lifetime),
            stale_until: if app.no_stale {
                None
            } else {
                until(app.stale_while_revalidate)
            },
            error_until: if app.no_stale {
                last_fresh
            } else {
                // A new one that fails is no reason to forget the old one, unless the app says how long it is good for.
                until(app.stale_if_error.unwrap_or(expire))
            },
            revalidates: true,
        }
    }

    /// A page of this age is fresh.
    pub fn is_fresh(&self, age: Duration) -> bool {
        match self.fresh_for {
            Interval::After(span) => age < span,
            Interval::Never => true,
        }
    }

    /// A page of this age may serve where no new one can be had.
    pub fn stands_in(&self, age: Duration) -> bool {
        self.error_until.is_some_and(|until| age <= until)
    }

    /// How long a page of this age is fresh yet, negative: how long it has been stale; in seconds, rounded down.
    /// `None`: for ever.
    pub fn ttl(&self, age: Duration) -> Option<i64> {
        match self.fresh_for {
            Interval::Never => None,
            Interval::After(span) => {
                let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
                    - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                Some(millis.div_euclid(1000))
            }
        }
    }
}

/// When the app is asked again after it failed to replace a page: after the page's interval, but not within 3 s and not
/// later than after 30 s.
pub fn back_off(plan: &Plan, app: Option<&Freshness>, now: Moment) -> Moment {
    const LEAST: Duration = Duration::from_secs(3);
    const MOST: Duration = Duration::from_secs(30);
    now + match (plan.rule.revalidate, app) {
        (Some(Interval::After(span)), _) => span.clamp(LEAST, MOST),
        (None, Some(app)) => app.lifetime.clamp(LEAST, MOST),
        (Some(Interval::Never), _) | (None, None) => MOST,
    }
}

fn is_negative(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}
#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::mk::mk_plan;

    #[rstest]
    #[case(Some(Interval::After(Duration::from_secs(1))), 3)]
    #[case(Some(Interval::After(Duration::from_secs(10))), 10)]
    #[case(Some(Interval::After(Duration::from_mins(1))), 30)]
    #[case(Some(Interval::Never), 30)]
    fn lifetime_of_a_back_off(#[case] revalidate: Option<Interval>, #[case] seconds: u64) {
        let plan = mk_plan(|rule| rule.revalidate = revalidate);
        assert_eq!(back_off(&plan, None, Moment(500)), Moment(500 + seconds * 1000));
    }

    #[test]
    fn lifetime_left() {
        let lifetime = Lifetime::of(&mk_plan(|_| ()), StatusCode::OK, None);
        assert_eq!(lifetime.ttl(Duration::from_millis(500)), Some(59));
        assert_eq!(lifetime.ttl(Duration::from_millis(60_500)), Some(-1));
        let plan = mk_plan(|rule| rule.revalidate = Some(Interval::Never));
        assert_eq!(
            Lifetime::of(&plan, StatusCode::OK, None).ttl(Duration::from_hours(9)),
            None
        );
        let negative = Lifetime::of(&plan, StatusCode::GONE, None);
        assert_eq!(
            (negative.ttl(Duration::ZERO), negative.stale_until),
            (Some(10), None)
        );
    }

    fn app(change: impl FnOnce(&mut Freshness)) -> Freshness {
        let mut app = Freshness {
            lifetime: Duration::from_mins(1),
            initial_age: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: None,
            no_stale: false,
            for_authorized: false,
        };
        change(&mut app);
        app
    }

    /// Until when it may be served: while another is fetched, and where none can be had; in milliseconds.
    fn until(app: &Freshness) -> (Option<u128>, Option<u128>) {
        let plan = mk_plan(|rule| {
            rule.revalidate = None;
            rule.expire = Duration::from_secs(100);
        });
        let lifetime = Lifetime::of(&plan, StatusCode::OK, Some(app));
        let millis = |until: Option<Duration>| until.map(|until| until.as_millis());
        (millis(lifetime.stale_until), millis(lifetime.error_until))
    }

    #[test]
    fn lifetime_by_the_apps_word() {
        let long = Duration::from_secs(1000);
        assert_eq!(until(&app(|_| ())), (Some(59_999), Some(100_000)));
        let window = |app: &mut Freshness| app.stale_while_revalidate = Duration::from_secs(9);
        assert_eq!(until(&app(window)), (Some(68_999), Some(100_000)));
        assert_eq!(
            until(&app(|app| app.stale_while_revalidate = long)).0,
            Some(100_000),
            "capped"
        );
        assert_eq!(
            until(&app(|app| app.stale_if_error = Some(Duration::ZERO))).1,
            Some(59_999)
        );
        assert_eq!(
            until(&app(|app| app.stale_if_error = Some(long))).1,
            Some(100_000),
            "capped"
        );
        assert_eq!(until(&app(|app| app.no_stale = true)), (None, Some(59_999)));
        let asks = |app: &mut Freshness| (app.lifetime, app.no_stale) = (Duration::ZERO, true);
        assert_eq!(until(&app(asks)), (None, None));
        assert_eq!(
            until(&app(|app| app.lifetime = long)),
            (Some(999_999), Some(1_000_000)),
            "fresh is fresh"
        );
    }
}
