//! A page in the form that a visitor gets: status, headers and body, without what the cache says of itself.

use std::{
    fmt::Write as _,
    hash::{BuildHasher, RandomState},
    ops::Range,
};

use bytes::{Bytes, BytesMut};
use coppice_cache::{
    coding::Coding,
    form::Form,
    page::{Lent, Page},
    range::Parts,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, DATE,
        ETAG, EXPIRES, LAST_MODIFIED, VARY,
    },
};

use super::own;
use crate::body::Body;

const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// Headers that every answer of the cache adds.
const OWN_HEADERS: usize = 7;

/// Fields of a 200 that its 304 has as well (RFC 9110 section 15.4.5), and those by which outer caches are told how long.
static NOT_MODIFIED: [HeaderName; 9] = [
    CACHE_CONTROL,
    CONTENT_LOCATION,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    VARY,
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];

/// Digests of a whole answer's content, which is not that of a part.
static DIGESTS: [HeaderName; 2] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
];

/// Status, headers and body of an answer. The length is the body's, also where a HEAD leaves that away.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) length: Option<u64>,
    pub(super) body: Body,
    /// It is in the cache's own words, which nobody is to store.
    pub(super) own: bool,
}

impl Shape {
    /// A page in a form.
    pub(super) fn of(page: &Page, form: &Form) -> Self {
        match form {
            Form::Whole { coding, .. } => whole(page, *coding),
            Form::NotModified { coding } => {
                let mut shape = not_modified(page.lend().headers());
                encode(&mut shape.headers, page, *coding);
                shape.headers.remove(CONTENT_ENCODING);
                shape
            }
            Form::Part(part) => one_part(page, part),
            Form::Parts(parts) => several_parts(page, parts),
            Form::Failed => failed(),
            Form::Unsatisfiable => {
                let text = "Nothing of the range that was asked for is there.\n";
                let mut shape = own(StatusCode::RANGE_NOT_SATISFIABLE, text);
                let range = content_range(None, page.bytes().len());
                shape.headers.insert(CONTENT_RANGE, range);
                shape.headers.insert(ACCEPT_RANGES, BYTES);
                shape
            }
        }
    }
}

fn headers(page: &Lent<'_>) -> HeaderMap {
    let fields = page.headers();
    let mut headers = HeaderMap::with_capacity(fields.len() + OWN_HEADERS);
    for (name, value) in fields {
        headers.append(name, value);
    }
    headers
}

fn whole(page: &Page, coding: Option<Coding>) -> Shape {
    let lent = page.lend();
    let mut headers = headers(&lent);
    let body = encode(&mut headers, page, coding).unwrap_or_else(|| lent.body());
    if page.status() == StatusCode::OK {
        headers.insert(ACCEPT_RANGES, BYTES);
    }
    Shape {
        status: page.status(),
        headers,
        length: Some(body.len() as u64),
        body: Body::whole(body),
        own: false,
    }
}

/// Makes a page's headers those of its body in a coding, and gives that body.
fn encode(headers: &mut HeaderMap, page: &Page, coding: Option<Coding>) -> Option<Bytes> {
    let encoded = page.encoded(coding?)?;
    headers.insert(
        CONTENT_ENCODING,
        HeaderValue::from_static(encoded.coding.as_str()),
    );
    if let Some(etag) = &encoded.etag {
        headers.insert(ETAG, etag.clone());
    }
    Some(encoded.body.clone())
}

/// 304 for an answer with these headers. `Last-Modified` only where no tag says it better.
pub(super) fn not_modified<'a>(all: impl Iterator<Item = (&'a HeaderName, HeaderValue)>) -> Shape {
    let mut headers = HeaderMap::with_capacity(NOT_MODIFIED.len() + OWN_HEADERS);
    for (name, value) in all.filter(|(name, _)| NOT_MODIFIED.contains(name)) {
        headers.append(name, value);
    }
    if headers.contains_key(ETAG) {
        headers.remove(LAST_MODIFIED);
    }
    Shape {
        status: StatusCode::NOT_MODIFIED,
        headers,
        length: None,
        body: Body::empty(),
        own: false,
    }
}

/// 412.
pub(super) fn failed() -> Shape {
    own(
        StatusCode::PRECONDITION_FAILED,
        "The page is not the one that the request's conditions are about.\n",
    )
}

fn own(status: StatusCode, text: &str) -> Shape {
    let (head, body) = own::words(status, text).into_parts();
    Shape {
        status,
        headers: head.headers,
        length: Some(text.len() as u64),
        body,
        own: true,
    }
}

fn one_part(page: &Page, part: &Range<u64>) -> Shape {
    let lent = page.lend();
    let mut headers = headers(&lent);
    headers.insert(CONTENT_RANGE, content_range(Some(part), page.bytes().len()));
    partial(headers, lent.body().slice(bytes(part)))
}

/// RFC 9110 section 14.6.
fn several_parts(page: &Page, parts: &Parts) -> Shape {
    let mut headers = headers(&page.lend());
    let media = headers.remove(CONTENT_TYPE);
    let boundary = boundary();
    let mut body = BytesMut::new();
    for part in parts {
        let mut head = format!("\r\n--{boundary}\r\n");
        if let Some(media) = media.as_ref().and_then(|media| media.to_str().ok()) {
            // Writing to a string does not fail.
            let _ = write!(head, "Content-Type: {media}\r\n");
        }
        let _ = write!(
            head,
            "Content-Range: {}\r\n\r\n",
            range_words(part, page.bytes().len())
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&page.bytes()[bytes(part)]);
    }
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let media = format!("multipart/byteranges; boundary={boundary}");
    headers.insert(CONTENT_TYPE, value(media));
    partial(headers, body.freeze())
}

fn partial(mut headers: HeaderMap, body: Bytes) -> Shape {
    for name in &DIGESTS {
        headers.remove(name);
    }
    headers.insert(ACCEPT_RANGES, BYTES);
    Shape {
        status: StatusCode::PARTIAL_CONTENT,
        headers,
        length: Some(body.len() as u64),
        body: Body::whole(body),
        own: false,
    }
}

/// Positions of a page's own body, which is in memory.
fn bytes(part: &Range<u64>) -> Range<usize> {
    part.start as usize..part.end as usize
}

fn content_range(part: Option<&Range<u64>>, length: usize) -> HeaderValue {
    value(part.map_or_else(|| format!("bytes */{length}"), |part| range_words(part, length)))
}

fn range_words(part: &Range<u64>, length: usize) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("visible ASCII and spaces")
}

/// At random, so that no page can hold it on purpose.
fn boundary() -> String {
    let (one, two) = (RandomState::new().hash_one(0), RandomState::new().hash_one(1));
    format!("coppice-{one:016x}{two:016x}")
}
