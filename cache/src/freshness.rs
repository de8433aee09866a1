//! What the app itself says of how long its answer lives, where no rule's interval decides: RFC 9111 section 4.2, RFC 5861,
//! and RFC 9213 first.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::control::CacheControl;

/// What is said to caches near the app alone (RFC 9213); goes before `Cache-Control` and `Expires`.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Heuristic freshness is this share of the time since the last change (RFC 9111 section 4.2.2), and at most [`MAX_HEURISTIC`].
const HEURISTIC_PERCENT: u32 = 10;
const MAX_HEURISTIC: Duration = Duration::from_hours(24);

/// An age that nothing is fresh at.
const ANCIENT: Duration = Duration::from_secs(1 << 31);

/// How long an answer lives by the app's own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Fresh up to this age; zero: to be asked for at each use.
    pub lifetime: Duration,
    /// How old it was when it arrived (RFC 9111 section 4.2.3).
    pub initial_age: Duration,
    /// May be served stale for so long while a new one is fetched (RFC 5861 section 3).
    pub stale_while_revalidate: Duration,
    /// May be served stale for so long where none can be had (RFC 5861 section 4); `None`: it does not say.
    pub stale_if_error: Option<Duration>,
    /// Must not be served stale (`must-revalidate`, `proxy-revalidate`, `s-maxage`, `no-cache`).
    pub no_stale: bool,
    /// May serve a visitor who is authenticated (RFC 9111 section 3.5).
    pub for_authorized: bool,
}

/// When an answer came, on the clock on the wall, as far as ages need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When its head was there.
    pub at: SystemTime,
    /// How long the app took to that point.
    pub delay: Duration,
}

/// What an answer says to this cache: targeted directives where they are there and valid (RFC 9213 section 2.2), else
/// `Cache-Control`; and whether it is the former.
pub fn directives(headers: &HeaderMap) -> (CacheControl, bool) {
    match targeted(headers) {
        Some(control) => (control, true),
        None => (CacheControl::parse(headers.get_all(header::CACHE_CONTROL)), false),
    }
}

/// Directives that are heard whatever their value is.
const FORBIDDING: [&[u8]; 3] = [b"no-store", b"private", b"no-cache"];

/// `CDN-Cache-Control`, if it is a dictionary of structured fields that is not empty.
fn targeted(headers: &HeaderMap) -> Option<CacheControl> {
    let mut lines = headers.get_all(CDN_CACHE_CONTROL).iter().peekable();
    lines.peek()?;
    let text: Vec<&[u8]> = lines.map(http::HeaderValue::as_bytes).collect();
    let dictionary = Parser::new(&text.join(&b", "[..])).parse::<Dictionary>().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut control = CacheControl::default();
    for (name, entry) in &dictionary {
        let value = match entry {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        let name = name.as_str().as_bytes();
        match value {
            Some(BareItem::Boolean(true)) => control.take(name, None),
            // `no-store=?0` says nothing.
            Some(BareItem::Boolean(false)) => {}
            // A delta that is no whole number is not known (RFC 9213 section 2.1), a negative one is stale.
            Some(BareItem::Integer(number)) => control.take(name, Some(number.to_string().as_bytes())),
            // The form that names fields counts as the one that does not, as in `Cache-Control`.
            _ if FORBIDDING.contains(&name) => control.take(name, None),
            _ => {}
        }
    }
    Some(control)
}

impl Freshness {
    /// Reads the headers of an answer. `None`: it says nothing of freshness, and heuristics may not or cannot either.
    pub fn of(
        status: StatusCode,
        headers: &HeaderMap,
        control: &CacheControl,
        is_targeted: bool,
        heuristic: bool,
        arrival: Arrival,
    ) -> Option<Self> {
        let date = date(headers, &header::DATE).ok().flatten();
        let explicit = control.s_maxage.or(control.max_age).or_else(|| {
            if is_targeted {
                return None;
            }
            match self::date(headers, &header::EXPIRES) {
                Ok(None) => None,
                Ok(Some(expires)) => Some(
                    expires
                        .duration_since(date.unwrap_or(arrival.at))
                        .unwrap_or_default(),
                ),
                // Above all `0`: expired already (RFC 9111 section 5.3).
                Err(NotADate) => Some(Duration::ZERO),
            }
        });
        let guessed = || {
            let may = heuristic && !needs_word(status) && (is_heuristic(status) || control.public);
            let changed = self::date(headers, &header::LAST_MODIFIED).ok().flatten()?;
            let since = date.unwrap_or(arrival.at).duration_since(changed).ok()?;
            may.then(|| (since * HEURISTIC_PERCENT / 100).min(MAX_HEURISTIC))
        };
        // `no-cache` says when it may be used: after asking.
        let asks = control.no_cache.then_some(Duration::ZERO);
        let lifetime = asks.or(explicit).or_else(guessed)?;
        Some(Self {
            lifetime,
            initial_age: initial_age(headers, date, arrival),
            stale_while_revalidate: control.stale_while_revalidate.unwrap_or_default(),
            stale_if_error: control.stale_if_error,
            no_stale: control.must_revalidate
                || control.proxy_revalidate
                || control.no_cache
                || control.s_maxage.is_some(),
            for_authorized: control.public || control.must_revalidate || control.s_maxage.is_some(),
        })
    }

    /// It is fresh when it arrives.
    pub fn begins_fresh(&self) -> bool {
        self.initial_age < self.lifetime
    }
}

/// RFC 9111 section 4.2.3. An `Age` that is not one whole number is not believed, and nothing is younger than it may be:
/// section 5.1 advises to take the first of several members, but which cache wrote which is not known.
fn initial_age(headers: &HeaderMap, date: Option<SystemTime>, arrival: Arrival) -> Duration {
    let apparent = date
        .and_then(|date| arrival.at.duration_since(date).ok())
        .unwrap_or_default();
    let mut ages = headers.get_all(header::AGE).iter();
    let said = match (ages.next(), ages.next()) {
        (None, _) => Duration::ZERO,
        (Some(age), None) => whole_seconds(age.as_bytes()).unwrap_or(ANCIENT),
        (Some(_), Some(_)) => ANCIENT,
    };
    apparent.max(said + arrival.delay)
}

fn whole_seconds(text: &[u8]) -> Option<Duration> {
    let text = text.trim_ascii();
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Longer than any number that counts is as good as ancient.
    let number = std::str::from_utf8(text).ok()?.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(number).min(ANCIENT))
}

/// A field was there and is no date.
struct NotADate;

/// The date of a field (RFC 9110 section 5.6.7); several lines, which the field does not allow, are none.
fn date(headers: &HeaderMap, name: &HeaderName) -> Result<Option<SystemTime>, NotADate> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(NotADate);
    }
    let text = line.to_str().map_err(|_| NotADate)?;
    httpdate::parse_http_date(text.trim())
        .map(Some)
        .map_err(|_| NotADate)
}

/// A redirect lives as long as the app says, and not by guess.
pub(crate) fn needs_word(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Statuses that are heuristically cacheable (RFC 9110 section 15.1), but those that need the app's word, and 206.
fn is_heuristic(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 404 | 405 | 410 | 414 | 501
    )
}

/// Statuses whose caching requirements this cache knows (`must-understand`, RFC 9111 section 5.2.2.3): those of RFC 9110
/// that a GET without conditions or ranges may have.
pub fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203
            | 204
            | 300..=303
            | 307
            | 308
            | 400..=406
            | 408..=411
            | 413..=415
            | 421
            | 422
            | 426
            | 500..=505
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rstest::rstest;

    use super::*;

    const NOW: &str = "Tue, 24 Nov 2026 12:00:00 GMT";

    fn arrival() -> Arrival {
        Arrival {
            at: httpdate::parse_http_date(NOW).unwrap(),
            delay: Duration::ZERO,
        }
    }

    fn read(status: u16, lines: &[&str], heuristic: bool) -> Option<Freshness> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let (control, is_targeted) = directives(&headers);
        let status = StatusCode::from_u16(status).unwrap();
        Freshness::of(status, &headers, &control, is_targeted, heuristic, arrival())
    }

    #[rstest]
    #[case(&[], None)]
    #[case(&["cache-control: max-age=60"], Some(60))]
    #[case(&["cache-control: max-age=60, s-maxage=5"], Some(5))]
    #[case(&["cache-control: max-age=5, s-maxage=60"], Some(60))]
    #[case(&["cache-control: max-age=60", "expires: Tue, 24 Nov 2026 11:00:00 GMT"], Some(60))]
    #[case(&["cache-control: public"], None)]
    #[case(&["cache-control: no-cache, max-age=60"], Some(0))]
    // Expires is measured from Date, by the app's own clock.
    #[case(&["expires: Tue, 24 Nov 2026 12:01:00 GMT"], Some(60))]
    #[case(&["expires: Tue, 24 Nov 2026 12:01:00 GMT", "date: Tue, 24 Nov 2026 11:59:00 GMT"], Some(120))]
    #[case(&["expires: Tue, 24 Nov 2026 12:01:00 GMT", "date: nonsense"], Some(60))]
    #[case(&["expires: Tue, 24 Nov 2026 11:00:00 GMT"], Some(0))]
    #[case(&["expires: 0"], Some(0))]
    #[case(&["expires: Tue, 24 Nov 2026 12:01:00 GMT", "expires: Tue, 24 Nov 2026 12:02:00 GMT"], Some(0))]
    // RFC 9213: the targeted field goes first, if it is valid.
    #[case(&["cdn-cache-control: max-age=7", "cache-control: max-age=60, no-store"], Some(7))]
    #[case(&["cdn-cache-control: s-maxage=7", "cache-control: max-age=60"], Some(7))]
    #[case(&["cdn-cache-control: &", "cache-control: max-age=60"], Some(60))]
    #[case(&["cdn-cache-control: ", "cache-control: max-age=60"], Some(60))]
    #[case(&["cdn-cache-control: no-store", "expires: Tue, 24 Nov 2026 12:01:00 GMT"], None)]
    #[case(&["cdn-cache-control: max-age=1.5", "cache-control: max-age=60"], None)]
    fn freshness_lifetime(#[case] lines: &[&str], #[case] seconds: Option<u64>) {
        let lifetime = read(200, lines, false).map(|freshness| freshness.lifetime);
        assert_eq!(lifetime, seconds.map(Duration::from_secs));
    }

    #[rstest]
    #[case(200, "", Some(360))]
    #[case(404, "", Some(360))]
    #[case(403, "", None)]
    #[case(301, "", None)]
    #[case(301, "public", None)]
    #[case(308, "public", None)]
    #[case(403, "public", Some(360))]
    fn freshness_by_guess(#[case] status: u16, #[case] control: &str, #[case] seconds: Option<u64>) {
        let lines = [
            "last-modified: Tue, 24 Nov 2026 11:00:00 GMT",
            &format!("cache-control: {control}"),
        ];
        let guessed = read(status, &lines, true).map(|freshness| freshness.lifetime);
        assert_eq!(guessed, seconds.map(Duration::from_secs));
        assert_eq!(read(status, &lines, false), None, "only where the rule says so");
    }

    #[rstest]
    #[case(&[], 0)]
    #[case(&["age: 30"], 30)]
    #[case(&["age: 30", "date: Tue, 24 Nov 2026 11:59:00 GMT"], 60)]
    #[case(&["age: 90", "date: Tue, 24 Nov 2026 11:59:00 GMT"], 90)]
    #[case(&["date: Tue, 24 Nov 2026 12:59:00 GMT"], 0)]
    #[case(&["age: old"], 1 << 31)]
    #[case(&["age: -1"], 1 << 31)]
    #[case(&["age: 1.5"], 1 << 31)]
    #[case(&["age: 0, 0"], 1 << 31)]
    #[case(&["age: 0", "age: 0"], 1 << 31)]
    #[case(&["age: 99999999999999999999999"], 1 << 31)]
    fn freshness_initial_age(#[case] lines: &[&str], #[case] seconds: u64) {
        let lines = [&["cache-control: max-age=60"], lines].concat();
        let age = read(200, &lines, false).map(|freshness| freshness.initial_age);
        assert_eq!(age, Some(Duration::from_secs(seconds)));
    }

    #[test]
    fn freshness_of_stale_answers() {
        let read =
            |control: &str| read(200, &[&format!("cache-control: max-age=1, {control}")], false).unwrap();
        assert!(!read("stale-while-revalidate=5").no_stale);
        for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=1", "no-cache"] {
            assert!(read(forbids).no_stale, "{forbids}");
        }
        let both = read("stale-while-revalidate=5, stale-if-error=7");
        assert_eq!(both.stale_while_revalidate, Duration::from_secs(5));
        assert_eq!(both.stale_if_error, Some(Duration::from_secs(7)));
        assert_eq!(read("x").stale_if_error, None);
    }
}
