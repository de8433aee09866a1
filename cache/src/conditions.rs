//! Conditional requests (RFC 9110 section 13), answered for a page without asking the app (RFC 9111 section 4.3.2).
//!
//! `If-Match` and `If-Unmodified-Since`, which a cache may leave to others, are evaluated as well: a client that puts a
//! download together piece by piece would otherwise be given pieces of two pages.

use std::{
    str,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What tells one state of a page from another (RFC 9110 section 8.8).
#[derive(Debug, Clone, Copy, Default)]
pub struct Validators<'a> {
    /// `ETag`; `None`: it is not known, or not yet.
    pub etag: Option<&'a [u8]>,
    /// `Last-Modified`.
    pub last_modified: Option<&'a [u8]>,
    /// `Date`: when the app made the answer, or when it was received.
    pub date: Option<&'a [u8]>,
}

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// The request is answered as if it had none.
    Go,
    /// The visitor has the page already: 304.
    NotModified,
    /// The visitor does not want this page: 412.
    Failed,
}

impl<'a> Validators<'a> {
    /// Those among the headers of an answer.
    pub fn of(headers: impl IntoIterator<Item = (&'a HeaderName, &'a [u8])>) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let place = match *name {
                header::ETAG => &mut found.etag,
                header::LAST_MODIFIED => &mut found.last_modified,
                header::DATE => &mut found.date,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        found
    }

    /// Those of an answer that is no page yet.
    pub fn of_head(headers: &'a HeaderMap) -> Self {
        Self::of(headers.iter().map(|(name, value)| (name, value.as_bytes())))
    }

    fn tag(&self) -> Option<Tag<'a>> {
        self.etag.map(|value| Tag::of(value.trim_ascii()))
    }
}

/// Evaluates the conditions of a GET or HEAD in the order of RFC 9110 section 13.2.2, but for `If-Range`, which is
/// [`if_range`]'s. They only concern an answer that would be a 200 (section 13.2.1).
pub fn evaluate(asked: &HeaderMap, page: &Validators<'_>) -> Met {
    if holds_if_match(asked, page) == Some(false) {
        return Met::Failed;
    }
    let modified = if asked.contains_key(header::IF_NONE_MATCH) {
        holds_if_none_match(asked, page)
    } else {
        is_modified_since(asked, page)
    };
    if modified { Met::Go } else { Met::NotModified }
}

/// Sections 13.1.1 and 13.1.4; `None`: there is no such condition, or it cannot be evaluated.
fn holds_if_match(asked: &HeaderMap, page: &Validators<'_>) -> Option<bool> {
    if asked.contains_key(header::IF_MATCH) {
        let own = page.tag()?;
        return Some(list(asked, header::IF_MATCH).any(|other| other.is_any() || own.is_strongly(other)));
    }
    let since = date(asked, header::IF_UNMODIFIED_SINCE)?;
    let modified = read(page.last_modified?)?;
    Some(modified <= since)
}

/// Section 13.1.2: false if the visitor names the page's tag, compared weakly.
fn holds_if_none_match(asked: &HeaderMap, page: &Validators<'_>) -> bool {
    let own = page.tag();
    !list(asked, header::IF_NONE_MATCH)
        .any(|other| other.is_any() || own.is_some_and(|own| own.is_weakly(other)))
}

/// Section 13.1.3: true too where there is no such condition or no date in it. A page without `Last-Modified` is as old
/// as its `Date` (RFC 9111 section 4.3.2).
fn is_modified_since(asked: &HeaderMap, page: &Validators<'_>) -> bool {
    let Some(since) = date(asked, header::IF_MODIFIED_SINCE) else {
        return true;
    };
    let modified = page
        .last_modified
        .and_then(read)
        .or_else(|| page.date.and_then(read));
    modified.is_none_or(|modified| modified > since)
}

/// Section 13.1.5: the ranges that are asked for are those of this page; true where there is no such condition. Tags are
/// compared strongly. A date has to be the page's own, and one that is no weak validator: a second older than the answer
/// (section 8.8.2.2).
pub fn if_range(asked: &HeaderMap, page: &Validators<'_>) -> bool {
    let mut values = asked.get_all(header::IF_RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return !asked.contains_key(header::IF_RANGE);
    };
    let Some(wanted) = read(value.as_bytes()) else {
        let other = Tag::of(value.as_bytes().trim_ascii());
        return page.tag().is_some_and(|own| own.is_strongly(other));
    };
    let modified = page.last_modified.and_then(read);
    let made = page.date.and_then(read);
    match (modified, made) {
        (Some(modified), Some(made)) => modified == wanted && made >= modified + Duration::from_secs(1),
        _ => false,
    }
}

/// The one date of a condition; of several, or of one that is none, nothing comes.
fn date(asked: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let mut values = asked.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    read(value.as_bytes())
}

/// A date in any of the three forms of RFC 9110 section 5.6.7.
fn read(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(str::from_utf8(value).ok()?.trim()).ok()
}

/// An entity tag: what it is compared by is everything but its `W/`, quotes included. One that lacks its quotes is taken
/// as it stands, and equals only one that stands there in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag<'a> {
    opaque: &'a [u8],
    weak: bool,
}

impl<'a> Tag<'a> {
    fn of(text: &'a [u8]) -> Self {
        match text.strip_prefix(b"W/") {
            Some(opaque) => Self { opaque, weak: true },
            None => Self {
                opaque: text,
                weak: false,
            },
        }
    }

    fn is_any(self) -> bool {
        self.opaque == b"*" && !self.weak
    }

    /// RFC 9110 section 8.8.3.2.
    fn is_weakly(self, other: Self) -> bool {
        self.opaque == other.opaque
    }

    fn is_strongly(self, other: Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

/// The tags of a list, over any number of fields. A comma inside quotes separates nothing.
fn list(asked: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Tag<'_>> {
    asked.get_all(name).into_iter().flat_map(|value| {
        let mut rest = value.as_bytes();
        std::iter::from_fn(move || {
            while let [b' ' | b'\t' | b',', after @ ..] = rest {
                rest = after;
            }
            let mut quoted = false;
            let end = rest.iter().position(|byte| {
                quoted ^= *byte == b'"';
                *byte == b',' && !quoted
            });
            let (tag, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            (!tag.is_empty()).then(|| Tag::of(tag.trim_ascii_end()))
        })
    })
}

/// The tag of a body whose app gave none. Strong, since the body is what it is made of, and the same on every replica.
pub fn tag_of(body: &[u8]) -> HeaderValue {
    let tag = format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(body));
    HeaderValue::from_maybe_shared(bytes::Bytes::from(tag)).expect("hexadecimal digits in quotes")
}

/// A strong tag made weak, for another form of the same page; one that is weak already stays as it is.
pub fn weakened(etag: &HeaderValue) -> HeaderValue {
    let bytes = etag.as_bytes();
    if bytes.starts_with(b"W/") {
        return etag.clone();
    }
    // Two visible characters more are a header value as before.
    HeaderValue::from_bytes(&[b"W/", bytes].concat()).unwrap_or_else(|_| etag.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const OLD: &str = "Sat, 21 Nov 2026 10:00:00 GMT";
    const NEW: &str = "Sun, 22 Nov 2026 10:00:00 GMT";

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let pairs = fields.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        pairs.collect()
    }

    fn met(page: &[(&str, &str)], asked: &[(&str, &str)]) -> Met {
        evaluate(&headers(asked), &Validators::of_head(&headers(page)))
    }

    #[rstest]
    // No condition.
    #[case(&[("etag", "\"a\"")], &[], Met::Go)]
    // If-None-Match: lists, weakly compared.
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "\"a\"")], Met::NotModified)]
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "W/\"a\"")], Met::NotModified)]
    #[case(&[("etag", "W/\"a\"")], &[("if-none-match", "\"a\"")], Met::NotModified)]
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "\"b\", W/\"a\"")], Met::NotModified)]
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "\"b\""), ("if-none-match", ",,\"a\" ,")], Met::NotModified)]
    #[case(&[("etag", "\"a,b\"")], &[("if-none-match", "\"x\",\"a,b\"")], Met::NotModified)]
    #[case(&[("etag", "\"b\"")], &[("if-none-match", "\"a,\"b\",c\"")], Met::Go)]
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "*")], Met::NotModified)]
    #[case(&[], &[("if-none-match", "*")], Met::NotModified)]
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "\"*\"")], Met::Go)]
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "\"A\"")], Met::Go)]
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "a")], Met::Go)]
    #[case(&[("etag", "a")], &[("if-none-match", "a")], Met::NotModified)]
    #[case(&[("etag", "\"caf\u{e9}\"")], &[("if-none-match", "\"caf\u{e9}\"")], Met::NotModified)]
    #[case(&[("etag", "\"a\"")], &[("if-none-match", "")], Met::Go)]
    #[case(&[], &[("if-none-match", "\"a\"")], Met::Go)]
    // It goes before If-Modified-Since.
    #[case(&[("etag", "\"a\""), ("last-modified", OLD)], &[("if-none-match", "\"b\""), ("if-modified-since", NEW)], Met::Go)]
    #[case(&[("etag", "\"a\""), ("last-modified", NEW)], &[("if-none-match", "\"a\""), ("if-modified-since", OLD)], Met::NotModified)]
    // If-Modified-Since, in three forms.
    #[case(&[("last-modified", OLD)], &[("if-modified-since", OLD)], Met::NotModified)]
    #[case(&[("last-modified", OLD)], &[("if-modified-since", NEW)], Met::NotModified)]
    #[case(&[("last-modified", NEW)], &[("if-modified-since", OLD)], Met::Go)]
    #[case(&[("last-modified", OLD)], &[("if-modified-since", "Saturday, 21-Nov-26 10:00:00 GMT")], Met::NotModified)]
    #[case(&[("last-modified", OLD)], &[("if-modified-since", "Sat Nov 21 10:00:00 2026")], Met::NotModified)]
    #[case(&[("last-modified", NEW)], &[("if-modified-since", "Sat Nov 21 10:00:00 2026")], Met::Go)]
    #[case(&[("last-modified", OLD)], &[("if-modified-since", "yesterday")], Met::Go)]
    #[case(&[("last-modified", OLD)], &[("if-modified-since", NEW), ("if-modified-since", NEW)], Met::Go)]
    #[case(&[("date", OLD)], &[("if-modified-since", NEW)], Met::NotModified)]
    #[case(&[("date", NEW)], &[("if-modified-since", OLD)], Met::Go)]
    #[case(&[("date", OLD), ("last-modified", "never")], &[("if-modified-since", NEW)], Met::NotModified)]
    #[case(&[("date", NEW), ("last-modified", OLD)], &[("if-modified-since", OLD)], Met::NotModified)]
    #[case(&[], &[("if-modified-since", NEW)], Met::Go)]
    // If-Match: strongly compared.
    #[case(&[("etag", "\"a\"")], &[("if-match", "\"b\", \"a\"")], Met::Go)]
    #[case(&[("etag", "\"a\"")], &[("if-match", "\"b\"")], Met::Failed)]
    #[case(&[("etag", "\"a\"")], &[("if-match", "W/\"a\"")], Met::Failed)]
    #[case(&[("etag", "W/\"a\"")], &[("if-match", "\"a\"")], Met::Failed)]
    #[case(&[("etag", "\"a\"")], &[("if-match", "*")], Met::Go)]
    #[case(&[], &[("if-match", "\"a\"")], Met::Go)]
    #[case(&[("etag", "\"a\"")], &[("if-match", "\"a\""), ("if-none-match", "\"a\"")], Met::NotModified)]
    #[case(&[("etag", "\"a\"")], &[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Met::Failed)]
    // If-Unmodified-Since, unless there is an If-Match.
    #[case(&[("last-modified", OLD)], &[("if-unmodified-since", OLD)], Met::Go)]
    #[case(&[("last-modified", NEW)], &[("if-unmodified-since", OLD)], Met::Failed)]
    #[case(&[("date", NEW)], &[("if-unmodified-since", OLD)], Met::Go)]
    #[case(&[("last-modified", NEW)], &[("if-unmodified-since", "once")], Met::Go)]
    #[case(&[("etag", "\"a\""), ("last-modified", NEW)], &[("if-match", "\"a\""), ("if-unmodified-since", OLD)], Met::Go)]
    fn conditions_are_met(
        #[case] page: &[(&str, &str)],
        #[case] asked: &[(&str, &str)],
        #[case] expected: Met,
    ) {
        assert_eq!(met(page, asked), expected);
    }

    #[rstest]
    #[case(&[("etag", "\"a\"")], &[], true)]
    #[case(&[("etag", "\"a\"")], &[("if-range", "\"a\"")], true)]
    #[case(&[("etag", "\"a\"")], &[("if-range", "\"b\"")], false)]
    #[case(&[("etag", "\"a\"")], &[("if-range", "W/\"a\"")], false)]
    #[case(&[("etag", "W/\"a\"")], &[("if-range", "W/\"a\"")], false)]
    #[case(&[("etag", "\"a\"")], &[("if-range", "\"a\""), ("if-range", "\"a\"")], false)]
    #[case(&[("date", NEW), ("last-modified", OLD)], &[("if-range", OLD)], true)]
    #[case(&[("date", NEW), ("last-modified", OLD)], &[("if-range", NEW)], false)]
    #[case(&[("date", NEW), ("last-modified", OLD)], &[("if-range", "Sat Nov 21 10:00:00 2026")], true)]
    #[case(&[("date", OLD), ("last-modified", OLD)], &[("if-range", OLD)], false)]
    #[case(&[("last-modified", OLD)], &[("if-range", OLD)], false)]
    #[case(&[("date", NEW)], &[("if-range", NEW)], false)]
    fn if_range_is_strong(
        #[case] page: &[(&str, &str)],
        #[case] asked: &[(&str, &str)],
        #[case] expected: bool,
    ) {
        assert_eq!(
            if_range(&headers(asked), &Validators::of_head(&headers(page))),
            expected
        );
    }

    #[test]
    fn tag_is_of_the_body() {
        assert_eq!(tag_of(b"page"), tag_of(b"page"));
        assert_ne!(tag_of(b"page"), tag_of(b"Page"));
        assert_eq!(tag_of(b"").len(), 34);
    }

    #[test]
    fn weakened_once() {
        assert_eq!(weakened(&HeaderValue::from_static("\"a\"")), "W/\"a\"");
        assert_eq!(weakened(&HeaderValue::from_static("W/\"a\"")), "W/\"a\"");
    }

    proptest! {
        /// A visitor gets 304 for exactly the tags of the list, whatever commas and spaces are in and between them.
        #[test]
        fn a_tag_is_found_in_any_list(
            tags in prop::collection::vec(("(W/)?", "\"[!-~&&[^\"]]{0,6}\""), 1..6),
            own in 0..8_usize,
            separator in "[ ,]{0,2},[ ,]{0,2}",
        ) {
            let list: Vec<_> = tags.iter().map(|(weak, opaque)| format!("{weak}{opaque}")).collect();
            let own = tags.get(own).map_or("\"none of them\"", |(_, opaque)| opaque.as_str());
            let is_there = tags.iter().any(|(_, opaque)| opaque == own);
            let list = list.join(&separator);
            let expected = if is_there { Met::NotModified } else { Met::Go };
            prop_assert_eq!(met(&[("etag", own)], &[("if-none-match", &list)]), expected);
        }

        #[test]
        fn conditions_take_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let page = headers(&[("etag", "\"a\""), ("last-modified", OLD), ("date", NEW)]);
                for name in [
                    header::IF_MATCH,
                    header::IF_NONE_MATCH,
                    header::IF_MODIFIED_SINCE,
                    header::IF_UNMODIFIED_SINCE,
                    header::IF_RANGE,
                ] {
                    let mut asked = HeaderMap::new();
                    asked.insert(name, value.clone());
                    evaluate(&asked, &Validators::of_head(&page));
                    if_range(&asked, &Validators::of_head(&page));
                }
            }
        }
    }
}
