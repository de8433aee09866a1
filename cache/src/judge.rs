//! Whether an answer of the app becomes a page.

use std::{collections::BTreeSet, str, time::Duration};

use compact_str::CompactString;
use http::{HeaderMap, StatusCode, header};

use crate::{
    coding,
    config::Interval,
    control::{self, CacheControl},
    freshness::{self, Arrival, Freshness},
    headers::{self, CACHE_TAG, SURROGATE_KEY},
    key::{Key, Selection, Unshareable},
    lifetime::Lifetime,
    location,
    nextjs::OwnCache,
    page::{Page, TagList, TagSet},
    routes::Plan,
};

/// What becomes of an answer of the app to a request that was built from a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It becomes a page, once its body is complete.
    Store(Storable),
    /// 304: the page that was asked about is still good (RFC 9111 section 4.3.3).
    NotModified,
    /// It is for who asked: each waiting visitor's own request passes through.
    Unstorable(Unstorable),
    /// The app failed: those who wait share it, and a page that is stored stays.
    Failure,
    /// The app's own cache says that it is out of date: it neither satisfies a purge nor refreshes a page. With the tags of
    /// what it holds.
    Outdated(TagSet),
}

/// What is known of a page from the head of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storable {
    /// The rule's tags and the app's.
    pub tags: TagSet,
    /// What `Vary` names beyond what always chooses.
    pub vary: Selection,
    /// What the app says of how long it lives, where the app decides.
    pub app: Option<Freshness>,
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
    /// `Vary` names what no key holds.
    Vary,
    /// The app decides, and does not say that its answer may be used again.
    NoFreshness,
    /// `must-understand`, and a status that this cache does not know.
    NotUnderstood,
    /// The visitor is authenticated, and the app does not say that its answer is for such ones too.
    Authorized,
    /// A body that is encoded although identity was asked for, while others get it in another coding. One that everybody
    /// gets encoded in the same way, whatever they accept, is stored as it is.
    ContentEncoding,
    /// A stream of events.
    EventStream,
    /// Too many tags, or tags that are too long.
    Tags,
    /// A redirect to itself, or to nowhere.
    Redirect,
    /// A body larger than the rule allows, or than the store can take.
    TooLarge,
    /// The app's own cache is out of date, and stays so.
    Outdated,
    /// No room in the memory budget.
    NoRoom,
    /// The cache itself is at fault.
    Fault,
}

impl Unstorable {
    /// The app has failed to give a new page, and has said nothing of an old one, which is as good as before.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Status | Self::Outdated)
    }

    /// A visitor's own request passes through for it, also where an old page may serve (`has_old`): that serves where the
    /// app has but failed.
    pub const fn passes(self, has_old: bool) -> bool {
        !(has_old && self.is_failure())
    }

    /// The word of header, log and metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::NoFreshness => "no-freshness",
            Self::NotUnderstood => "not-understood",
            Self::Authorized => "authorized",
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

/// Judges an answer by its status and headers. `conditional`: it was asked for with the validators of a stored page.
pub fn judge(
    plan: &Plan,
    key: &Key,
    status: StatusCode,
    headers: &HeaderMap,
    arrival: Arrival,
    conditional: bool,
) -> Judgement {
    if conditional && status == StatusCode::NOT_MODIFIED {
        // It confirms what is about to be replaced. Its tags are those of the page that it was asked about.
        return if is_outdated(headers) {
            Judgement::Outdated(TagSet::default())
        } else {
            Judgement::NotModified
        };
    }
    if status.is_server_error() && !plan.app_decides() {
        return Judgement::Failure;
    }
    match storable(plan, key, status, headers, arrival) {
        Err(_) if status.is_server_error() => Judgement::Failure,
        Err(reason) => Judgement::Unstorable(reason),
        Ok(storable) if is_outdated(headers) => Judgement::Outdated(storable.tags),
        Ok(storable) => Judgement::Store(storable),
    }
}

fn storable(
    plan: &Plan,
    key: &Key,
    status: StatusCode,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<Storable, Unstorable> {
    let rule = &plan.rule;
    let refuse = |refused: bool, reason| if refused { Err(reason) } else { Ok(()) };
    let (control, is_targeted) = freshness::directives(headers);
    let (mut no_store, mut private) = (control.no_store, control.private);
    if plan.app_decides() {
        refuse(!may_be_final(status), Unstorable::Status)?;
        if control.must_understand {
            // RFC 9111 section 5.2.2.3: who knows the status ignores the `no-store` beside it.
            refuse(!freshness::is_understood(status), Unstorable::NotUnderstood)?;
            no_store = false;
        }
    } else {
        refuse(!is_success(status), Unstorable::Status)?;
        refuse(
            Lifetime::of(plan, status, None).fresh_for == Interval::After(Duration::ZERO),
            Unstorable::Interval,
        )?;
        // Whichever of the two fields forbids to store is heard.
        let said = CacheControl::parse(headers.get_all(header::CACHE_CONTROL));
        no_store |= said.no_store;
        private |= said.private;
    }
    refuse(no_store && !rule.overrides.no_store, Unstorable::NoStore)?;
    refuse(private && !rule.overrides.private, Unstorable::Private)?;
    let sets_cookie = headers.contains_key(header::SET_COOKIE);
    refuse(sets_cookie && !rule.overrides.set_cookie, Unstorable::SetCookie)?;
    let vary = Selection::of(headers).map_err(|Unshareable| Unstorable::Vary)?;
    refuse(
        is_encoded(headers) && coding::varies(headers),
        Unstorable::ContentEncoding,
    )?;
    refuse(is_event_stream(headers), Unstorable::EventStream)?;
    let location = headers.get(header::LOCATION);
    // One that leads nowhere is what its body says; under an interval of the rule it is taken for a mistake.
    let leads = location.is_some() || !plan.app_decides();
    let comes_back = status.is_redirection() && leads && location::comes_back(location, key);
    refuse(
        comes_back && status != StatusCode::MULTIPLE_CHOICES,
        Unstorable::Redirect,
    )?;
    let app = plan.app_decides().then(|| {
        let app = Freshness::of(status, headers, &control, is_targeted, rule.heuristic, arrival);
        app.filter(|app| is_worth_it(status, headers, app))
    });
    let app = match app {
        None => None,
        Some(app) => Some(app.ok_or(Unstorable::NoFreshness)?),
    };
    let tags = tags(plan, key.path(), headers).ok_or(Unstorable::Tags)?;
    Ok(Storable { tags, vary, app })
}

/// What a 304 comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// The page is good, with what the 304 says.
    Of(Confirmed),
    /// The app says that the page has not changed, and names another one: nothing stored may be updated with it.
    OfAnother,
    /// The page may not be kept any more, or is to be kept for others or under other tags than it is: the app is to say all
    /// of it anew.
    Forbidden,
}

/// What a 304 makes of the page that it was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// The page's headers from now on.
    pub headers: HeaderMap,
    /// How long it lives from now on.
    pub app: Freshness,
}

/// Reads a 304 to a request with the validators of `page` (RFC 9111 section 4.3.4).
pub fn confirm(plan: &Plan, page: &Page, mut headers: HeaderMap, arrival: Arrival) -> Confirmation {
    let of_another = match (headers.get(header::ETAG), page.header(&header::ETAG)) {
        (Some(theirs), Some(own)) if !page.is_tagged() => opaque(theirs) != opaque(&own),
        _ => false,
    };
    let is_for_others = is_for_others(plan, page, &headers);
    let age: Vec<_> = headers.get_all(header::AGE).iter().cloned().collect();
    headers::page_headers(plan, &mut headers, arrival);
    let mut merged = headers::confirmed_headers(page.headers(), &headers);
    let (control, is_targeted) = freshness::directives(&merged);
    let is_forbidden =
        control.no_store && !plan.rule.overrides.no_store || control.private && !plan.rule.overrides.private;
    if is_forbidden || is_for_others {
        return Confirmation::Forbidden;
    }
    if of_another {
        return Confirmation::OfAnother;
    }
    for age in age {
        merged.append(header::AGE, age);
    }
    let heuristic = plan.rule.heuristic;
    let app = Freshness::of(page.status(), &merged, &control, is_targeted, heuristic, arrival);
    merged.remove(header::AGE);
    let confirmed = app.map(|app| Confirmed { headers: merged, app });
    confirmed.map_or(Confirmation::Forbidden, Confirmation::Of)
}

/// A 304 names other fields in `Vary`, or other tags, than the answer that the page was made of: by those it is chosen and
/// purged.
fn is_for_others(plan: &Plan, page: &Page, headers: &HeaderMap) -> bool {
    let varies = headers.contains_key(header::VARY)
        && Selection::of(headers).as_ref() != Ok(page.vary().unwrap_or(&Selection::default()));
    let is_as_before = |tags: TagSet| set(tags.list()) == set(page.tags());
    let is_tagged_anew = || !tags(plan, page.path(), headers).is_some_and(is_as_before);
    varies || headers.keys().any(headers::names_tags) && is_tagged_anew()
}

fn set(tags: TagList<'_>) -> BTreeSet<&str> {
    tags.iter().collect()
}

/// An entity tag without its mark of weakness (RFC 9110 section 8.8.3.2).
fn opaque(tag: &http::HeaderValue) -> &[u8] {
    let tag = tag.as_bytes();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// A page that may not be used when it arrives is of use if it may be served stale, or the app can be asked whether it is
/// still good. A redirect needs to be fresh.
fn is_worth_it(status: StatusCode, headers: &HeaderMap, app: &Freshness) -> bool {
    if app.begins_fresh() {
        return true;
    }
    let can_be_asked_about =
        headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    !freshness::needs_word(status)
        && !status.is_server_error()
        && (can_be_asked_about || !app.stale_while_revalidate.is_zero())
}

/// A status that may be stored where the app says how long: any final one but those of conditions and ranges, which were
/// not asked for.
fn may_be_final(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status,
            StatusCode::NOT_MODIFIED
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::PRECONDITION_FAILED
                | StatusCode::RANGE_NOT_SATISFIABLE
        )
}

/// The statuses that may become a page under a rule's interval.
fn is_success(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 301 | 302 | 307 | 308 | 404 | 410)
}

/// Next.js's own cache answered with a page that it is about to replace.
fn is_outdated(headers: &HeaderMap) -> bool {
    OwnCache::of(headers) == Some(OwnCache::Stale)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    control::list(headers, &header::CONTENT_ENCODING).any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let mut kinds = headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .map(control::media_type);
    kinds.any(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

/// The tags of a page by its rule and by the app's headers; `None`: they are no tags, or too many.
fn tags(plan: &Plan, path: &str, headers: &HeaderMap) -> Option<TagSet> {
    let of_rule = plan.tags(path);
    TagSet::new(of_rule.iter().map(CompactString::as_str), app_tags(headers)?).ok()
}

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
#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rstest::rstest;

    use super::*;
    use crate::{
        config::Rule,
        mk::{mk_arrival, mk_headers as headers, mk_key, mk_plan},
    };

    fn judged(change: impl FnOnce(&mut Rule), status: u16, fields: &[&str]) -> Judgement {
        let status = StatusCode::from_u16(status).unwrap();
        judge(
            &mk_plan(change),
            &mk_key("/a"),
            status,
            &headers(fields),
            mk_arrival(),
            false,
        )
    }

    fn word(judgement: &Judgement) -> &'static str {
        match judgement {
            Judgement::Store(_) => "store",
            Judgement::NotModified => "not-modified",
            Judgement::Unstorable(reason) => reason.as_str(),
            Judgement::Failure => "failure",
            Judgement::Outdated(_) => "outdated",
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
    #[case(200, &["vary: Cookie, Accept-Language"], "store")]
    #[case(200, &["vary: X-Forwarded-For"], "vary")]
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
    #[case(|rule: &mut Rule| rule.revalidate = None, &[], "no-freshness")]
    #[case(|rule: &mut Rule| rule.revalidate = Some(Interval::After(Duration::ZERO)), &[], "interval")]
    #[case(|rule: &mut Rule| rule.revalidate = Some(Interval::Never), &[], "store")]
    fn judge_by_the_rule(#[case] change: fn(&mut Rule), #[case] fields: &[&str], #[case] expected: &str) {
        assert_eq!(word(&judged(change, 200, fields)), expected);
    }

    #[rstest]
    #[case(200, &["cache-control: max-age=60"], "store")]
    #[case(201, &["cache-control: max-age=60"], "store")]
    #[case(404, &["cache-control: max-age=60"], "store")]
    #[case(503, &["cache-control: max-age=60"], "store")]
    #[case(503, &["cache-control: no-store, max-age=60"], "failure")]
    #[case(500, &[], "failure")]
    #[case(206, &["cache-control: max-age=60"], "status")]
    #[case(200, &["etag: \"a\""], "no-freshness")]
    #[case(200, &["cache-control: max-age=60", "age: 60"], "no-freshness")]
    #[case(200, &["cache-control: max-age=0"], "no-freshness")]
    #[case(200, &["cache-control: max-age=0, stale-while-revalidate=9"], "store")]
    #[case(200, &["cache-control: no-cache"], "no-freshness")]
    // It can be asked whether it is still good.
    #[case(200, &["cache-control: no-cache", "etag: \"a\""], "store")]
    #[case(200, &["cache-control: max-age=0", "last-modified: Tue, 24 Nov 2026 11:00:00 GMT"], "store")]
    #[case(301, &["location: /b"], "no-freshness")]
    #[case(301, &["location: /b", "cache-control: max-age=60"], "store")]
    #[case(301, &["location: /b", "cache-control: max-age=0", "etag: \"a\""], "no-freshness")]
    #[case(302, &["location: /a", "cache-control: max-age=60"], "redirect")]
    #[case(302, &["cache-control: max-age=60"], "store")]
    #[case(200, &["cache-control: must-understand, no-store, max-age=60"], "store")]
    #[case(299, &["cache-control: must-understand, no-store, max-age=60"], "not-understood")]
    #[case(200, &["cache-control: no-store", "cdn-cache-control: max-age=60"], "store")]
    #[case(200, &["cache-control: max-age=60", "cdn-cache-control: no-store"], "no-store")]
    #[case(200, &["cache-control: max-age=60, private"], "private")]
    #[case(200, &["cache-control: max-age=60", "set-cookie: a=b"], "set-cookie")]
    #[case(200, &["cache-control: max-age=60", "vary: *"], "vary")]
    fn judge_where_the_app_decides(#[case] status: u16, #[case] fields: &[&str], #[case] expected: &str) {
        let judgement = judged(|rule| rule.revalidate = None, status, fields);
        assert_eq!(word(&judgement), expected);
    }

    #[test]
    fn judge_takes_a_304_for_what_was_asked() {
        let judged = |conditional| {
            let plan = mk_plan(|rule| rule.revalidate = None);
            let status = StatusCode::NOT_MODIFIED;
            word(&judge(
                &plan,
                &mk_key("/a"),
                status,
                &headers(&[]),
                mk_arrival(),
                conditional,
            ))
        };
        assert_eq!((judged(true), judged(false)), ("not-modified", "status"));
    }

    #[test]
    fn judge_collects_the_tags_of_rule_and_app() {
        let fields = ["cache-tag: a, b,,c", "cache-tag: site", "surrogate-key: d  e b"];
        let Judgement::Store(Storable { tags, .. }) = judged(|_| (), 200, &fields) else {
            panic!("it is storable");
        };
        assert_eq!(
            tags.list().iter().collect::<Vec<_>>(),
            ["site", "a", "b", "c", "d", "e"]
        );
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
        let judgement = judge(
            &mk_plan(|_| ()),
            &mk_key("/a"),
            StatusCode::OK,
            &latin,
            mk_arrival(),
            false,
        );
        assert_eq!(word(&judgement), "tags");
    }
}
