//! How long a page lives, and whether an answer becomes one.
//!
//! Lifetimes are computed from the plan in force, never frozen into a page: a changed interval applies to stored pages.

use std::{str, time::Duration};

use compact_str::CompactString;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    coding,
    config::Interval,
    control::{CacheControl, Vary},
    key::Key,
    location,
    page::TagSet,
    routes::Plan,
    time::Moment,
};

/// How long a page of some status lives under a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Fresh for so long.
    pub fresh_for: Interval,
    /// Older than this it is not served stale; `None`: never stale, however young.
    pub stale_until: Option<Duration>,
}

impl Lifetime {
    /// Nothing is stored.
    const NONE: Self = Self {
        fresh_for: Interval::After(Duration::ZERO),
        stale_until: None,
    };

    /// The lifetime of a page of this status under the plan in force.
    pub fn of(plan: &Plan, status: StatusCode) -> Self {
        let rule = &plan.rule;
        match rule.revalidate {
            // The app's own word is not read yet: such a rule passes everything through.
            None | Some(Interval::After(Duration::ZERO)) => Self::NONE,
            Some(_) if is_negative(status) => Self {
                fresh_for: Interval::After(rule.negative),
                stale_until: None,
            },
            Some(interval) => Self {
                fresh_for: interval,
                stale_until: Some(rule.expire),
            },
        }
    }

    /// A page of this age is fresh.
    pub fn is_fresh(&self, age: Duration) -> bool {
        match self.fresh_for {
            Interval::After(span) => age < span,
            Interval::Never => true,
        }
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

/// When the app is asked again after it failed: after the interval, but not within 3 s and not later than after 30 s.
pub fn back_off(plan: &Plan, now: Moment) -> Moment {
    const LEAST: Duration = Duration::from_secs(3);
    const MOST: Duration = Duration::from_secs(30);
    now + match plan.rule.revalidate {
        Some(Interval::After(span)) => span.clamp(LEAST, MOST),
        Some(Interval::Never) | None => MOST,
    }
}

fn is_negative(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// What becomes of an answer of the app to a request that was built from a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It becomes a page with these tags, once its body is complete.
    Store {
        /// The rule's and the app's.
        tags: TagSet,
    },
    /// It is for who asked: each waiting visitor's own request passes through.
    Unstorable(Unstorable),
    /// The app failed: those who wait share it, and a page that is stored stays.
    Failure,
    /// The app's own cache says that it is out of date: it neither satisfies a purge nor refreshes a page.
    Outdated,
}

/// Why an answer is not stored, other than by failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Unstorable {
    /// The rule stores nothing, or not this.
    Interval,
    /// A status that is no success.
    Status,
    /// `Cache-Control: no-store`.
    NoStore,
    /// `Cache-Control: private`.
    Private,
    /// `Set-Cookie`.
    SetCookie,
    /// `Vary` names what the key does not hold.
    Vary,
    /// A body that is encoded although identity was asked for, while others get it in another coding. One that everybody
    /// gets encoded in the same way, whatever they accept, is stored as it is.
    ContentEncoding,
    /// A stream of events.
    EventStream,
    /// Too many tags, or tags that are too long.
    Tags,
    /// A redirect to itself, or to nowhere.
    Redirect,
    /// A body larger than the rule allows.
    TooLarge,
    /// The app's own cache is out of date, and stays so.
    Outdated,
    /// No room in the memory budget.
    NoRoom,
    /// The cache itself is at fault.
    Fault,
}

impl Unstorable {
    /// The word of header, log and metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::ContentEncoding => "content-encoding",
            Self::EventStream => "event-stream",
            Self::Tags => "tags",
            Self::Redirect => "redirect",
            Self::TooLarge => "too-large",
            Self::Outdated => "outdated",
            Self::NoRoom => "no-room",
            Self::Fault => "fault",
        }
    }
}

/// Judges an answer by its status and headers.
pub fn judge(plan: &Plan, key: &Key, status: StatusCode, headers: &HeaderMap) -> Judgement {
    if status.is_server_error() {
        return Judgement::Failure;
    }
    match storable(plan, key, status, headers) {
        Err(reason) => Judgement::Unstorable(reason),
        Ok(_) if is_outdated(headers) => Judgement::Outdated,
        Ok(tags) => Judgement::Store { tags },
    }
}

fn storable(plan: &Plan, key: &Key, status: StatusCode, headers: &HeaderMap) -> Result<TagSet, Unstorable> {
    let rule = &plan.rule;
    let refuse = |refused: bool, reason| if refused { Err(reason) } else { Ok(()) };
    refuse(!is_success(status), Unstorable::Status)?;
    refuse(
        Lifetime::of(plan, status).fresh_for == Interval::After(Duration::ZERO),
        Unstorable::Interval,
    )?;
    // What is said to shared caches alone (RFC 9213) may forbid to store as well.
    let said = [header::CACHE_CONTROL, CDN_CACHE_CONTROL].map(|name| headers.get_all(name));
    let control = CacheControl::parse(said.iter().flatten());
    refuse(control.no_store && !rule.overrides.no_store, Unstorable::NoStore)?;
    refuse(control.private && !rule.overrides.private, Unstorable::Private)?;
    let sets_cookie = headers.contains_key(header::SET_COOKIE);
    refuse(sets_cookie && !rule.overrides.set_cookie, Unstorable::SetCookie)?;
    refuse(Vary::of(headers) == Vary::Matters, Unstorable::Vary)?;
    refuse(
        is_encoded(headers) && coding::varies(headers),
        Unstorable::ContentEncoding,
    )?;
    refuse(is_event_stream(headers), Unstorable::EventStream)?;
    let comes_back = status.is_redirection() && location::comes_back(headers.get(header::LOCATION), key);
    refuse(comes_back, Unstorable::Redirect)?;
    let of_app = app_tags(headers).ok_or(Unstorable::Tags)?;
    let of_rule = plan.tags(key.path());
    TagSet::new(of_rule.iter().map(CompactString::as_str), of_app).map_err(|_| Unstorable::Tags)
}

/// The statuses that may become a page under a rule's interval.
fn is_success(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 301 | 302 | 307 | 308 | 404 | 410)
}

/// Next.js's own cache answered with a page that it is about to replace.
fn is_outdated(headers: &HeaderMap) -> bool {
    headers
        .get("x-nextjs-cache")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"STALE"))
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().any(|value| {
        let media = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// Comma-separated tags (Cloudflare's and Netlify's header) and space-separated ones (Fastly's).
static CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
static SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// The tags that the app names; `None` if they cannot be read as text.
fn app_tags(headers: &HeaderMap) -> Option<Vec<&str>> {
    let mut tags = Vec::new();
    for (name, separator) in [(&CACHE_TAG, ','), (&SURROGATE_KEY, ' ')] {
        for value in headers.get_all(name) {
            let value = str::from_utf8(value.as_bytes()).ok()?;
            tags.extend(
                value
                    .split(separator)
                    .map(str::trim)
                    .filter(|tag| !tag.is_empty()),
            );
        }
    }
    Some(tags)
}

/// Headers that concern one connection (RFC 9110 §7.6.1) or that whoever answers sets anew.
static FRAMING: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The app's word on freshness; under a rule's own interval the rule's takes its place.
static FRESHNESS: [HeaderName; 6] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::PRAGMA,
    CDN_CACHE_CONTROL,
    HeaderName::from_static("surrogate-control"),
];

/// Takes out of an app's headers what belongs to its connection alone, the headers that `Connection` names included, and
/// what cannot be shared by many: `Set-Cookie`.
pub fn shared_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&FRAMING) {
        headers.remove(name);
    }
    headers.remove(header::SET_COOKIE);
}

/// What visitors see of the headers of an answer that is stored: [`shared_headers`], without the app's word on freshness
/// and, unless the rule keeps them, without the headers that name tags.
pub fn page_headers(plan: &Plan, headers: &mut HeaderMap) {
    shared_headers(headers);
    for name in &FRESHNESS {
        headers.remove(name);
    }
    if !plan.rule.keep_tags {
        headers.remove(&CACHE_TAG);
        headers.remove(&SURROGATE_KEY);
    }
}

/// Headers as a page keeps them: their values in one piece of memory, which is no part of what they were read from.
pub fn compact(headers: &HeaderMap) -> Box<[(HeaderName, HeaderValue)]> {
    let mut blob = bytes::BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values() {
        blob.extend_from_slice(value.as_bytes());
    }
    let mut blob = blob.freeze();
    headers
        .iter()
        .map(|(name, value)| {
            let own = blob.split_to(value.len());
            // The same bytes were a value a moment ago.
            let own = HeaderValue::from_maybe_shared(own).unwrap_or_else(|_| value.clone());
            (name.clone(), own)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        config::Rule,
        mk::{mk_key, mk_plan},
    };

    fn headers(fields: &[&str]) -> HeaderMap {
        let fields = fields.iter().map(|field| field.split_once(": ").unwrap());
        fields
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn judged(change: impl FnOnce(&mut Rule), status: u16, fields: &[&str]) -> Judgement {
        let status = StatusCode::from_u16(status).unwrap();
        judge(&mk_plan(change), &mk_key("/a"), status, &headers(fields))
    }

    fn word(judgement: &Judgement) -> &'static str {
        match judgement {
            Judgement::Store { .. } => "store",
            Judgement::Unstorable(reason) => reason.as_str(),
            Judgement::Failure => "failure",
            Judgement::Outdated => "outdated",
        }
    }

    #[rstest]
    #[case(200, &[], "store")]
    #[case(404, &[], "store")]
    #[case(410, &[], "store")]
    #[case(301, &["location: /b"], "store")]
    #[case(308, &["location: /b"], "store")]
    #[case(307, &["location: /a"], "redirect")]
    #[case(302, &[], "redirect")]
    #[case(303, &["location: /b"], "status")]
    #[case(201, &[], "status")]
    #[case(204, &[], "status")]
    #[case(206, &[], "status")]
    #[case(304, &[], "status")]
    #[case(401, &[], "status")]
    #[case(429, &[], "status")]
    #[case(500, &[], "failure")]
    #[case(503, &["cache-control: no-store"], "failure")]
    // Under an interval of the rule only what forbids storing counts.
    #[case(200, &["cache-control: no-cache, max-age=0, must-revalidate", "pragma: no-cache", "expires: 0"], "store")]
    #[case(200, &["cache-control: no-store"], "no-store")]
    #[case(200, &["cache-control: public", "cache-control: private"], "private")]
    #[case(200, &["cache-control: public, max-age=9", "cdn-cache-control: no-store"], "no-store")]
    #[case(200, &["cdn-cache-control: private"], "private")]
    #[case(200, &["set-cookie: a=b"], "set-cookie")]
    #[case(200, &["vary: RSC, Accept-Encoding"], "store")]
    #[case(200, &["vary: Cookie"], "vary")]
    #[case(200, &["vary: *"], "vary")]
    #[case(200, &["content-encoding: gzip"], "store")]
    #[case(200, &["content-encoding: gzip", "vary: accept-encoding"], "content-encoding")]
    #[case(200, &["content-encoding: identity"], "store")]
    #[case(200, &["content-type: Text/Event-Stream; charset=utf-8"], "event-stream")]
    #[case(200, &["content-type: text/html"], "store")]
    #[case(200, &["x-nextjs-cache: HIT"], "store")]
    #[case(200, &["x-nextjs-cache: STALE"], "outdated")]
    #[case(200, &["x-nextjs-cache: STALE", "set-cookie: a=b"], "set-cookie")]
    fn judge_by_status_and_headers(#[case] status: u16, #[case] fields: &[&str], #[case] expected: &str) {
        assert_eq!(word(&judged(|_| (), status, fields)), expected);
    }

    #[rstest]
    #[case(|rule: &mut Rule| rule.overrides.no_store = true, &["cache-control: no-store"], "store")]
    #[case(|rule: &mut Rule| rule.overrides.private = true, &["cache-control: private"], "store")]
    #[case(|rule: &mut Rule| rule.overrides.private = true, &["cache-control: private, no-store"], "no-store")]
    #[case(|rule: &mut Rule| rule.overrides.set_cookie = true, &["set-cookie: a=b"], "store")]
    #[case(|rule: &mut Rule| rule.overrides.no_store = true, &["vary: *"], "vary")]
    #[case(|rule: &mut Rule| rule.revalidate = None, &[], "interval")]
    #[case(|rule: &mut Rule| rule.revalidate = Some(Interval::After(Duration::ZERO)), &[], "interval")]
    #[case(|rule: &mut Rule| rule.revalidate = Some(Interval::Never), &[], "store")]
    fn judge_by_the_rule(#[case] change: fn(&mut Rule), #[case] fields: &[&str], #[case] expected: &str) {
        assert_eq!(word(&judged(change, 200, fields)), expected);
    }

    #[test]
    fn judge_collects_the_tags_of_rule_and_app() {
        let fields = ["cache-tag: a, b,,c", "cache-tag: site", "surrogate-key: d  e b"];
        let Judgement::Store { tags } = judged(|_| (), 200, &fields) else {
            panic!("it is storable");
        };
        assert_eq!(tags.all(), ["site", "a", "b", "c", "d", "e"]);
    }

    #[test]
    fn judge_drops_no_tag() {
        let many = |count: usize| {
            (0..count)
                .map(|tag| format!("t{tag}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let judged = |tags: String| word(&judged(|_| (), 200, &[&format!("cache-tag: {tags}")])).to_owned();
        assert_eq!(judged(many(TagSet::MAX - 1)), "store");
        assert_eq!(judged(many(TagSet::MAX)), "tags");
        assert_eq!(judged("x".repeat(TagSet::MAX_LENGTH)), "store");
        assert_eq!(judged("x".repeat(TagSet::MAX_LENGTH + 1)), "tags");
        let mut latin = HeaderMap::new();
        latin.insert("cache-tag", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let judgement = judge(&mk_plan(|_| ()), &mk_key("/a"), StatusCode::OK, &latin);
        assert_eq!(word(&judgement), "tags");
    }

    #[rstest]
    #[case(Some(Interval::After(Duration::from_secs(1))), 3)]
    #[case(Some(Interval::After(Duration::from_secs(10))), 10)]
    #[case(Some(Interval::After(Duration::from_mins(1))), 30)]
    #[case(Some(Interval::Never), 30)]
    fn lifetime_of_a_back_off(#[case] revalidate: Option<Interval>, #[case] seconds: u64) {
        let plan = mk_plan(|rule| rule.revalidate = revalidate);
        assert_eq!(back_off(&plan, Moment(500)), Moment(500 + seconds * 1000));
    }

    #[test]
    fn lifetime_left() {
        let lifetime = Lifetime::of(&mk_plan(|_| ()), StatusCode::OK);
        assert_eq!(lifetime.ttl(Duration::from_millis(500)), Some(59));
        assert_eq!(lifetime.ttl(Duration::from_millis(60_500)), Some(-1));
        let plan = mk_plan(|rule| rule.revalidate = Some(Interval::Never));
        assert_eq!(
            Lifetime::of(&plan, StatusCode::OK).ttl(Duration::from_hours(9)),
            None
        );
        let negative = Lifetime::of(&plan, StatusCode::GONE);
        assert_eq!(
            (negative.ttl(Duration::ZERO), negative.stale_until),
            (Some(10), None)
        );
    }

    #[test]
    fn page_headers_are_what_all_may_see() {
        let mut seen = headers(&[
            "connection: close, x-hop",
            "x-hop: 1",
            "transfer-encoding: chunked",
            "content-length: 4",
            "keep-alive: timeout=5",
            "set-cookie: a=b",
            "cache-control: private",
            "expires: 0",
            "pragma: no-cache",
            "age: 7",
            "cdn-cache-control: no-store",
            "surrogate-control: no-store",
            "cache-tag: a",
            "surrogate-key: a",
            "content-type: text/html",
            "x-own: 1",
        ]);
        let mut kept = seen.clone();
        page_headers(&mk_plan(|_| ()), &mut seen);
        assert_eq!(seen, headers(&["content-type: text/html", "x-own: 1"]));
        page_headers(&mk_plan(|rule| rule.keep_tags = true), &mut kept);
        assert!(kept.contains_key("cache-tag") && kept.contains_key("surrogate-key"));
        let compact = compact(&seen);
        assert!(compact.iter().map(|(name, value)| (name, value)).eq(seen.iter()));
    }
}
