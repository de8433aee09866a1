//! The headers of pages: what visitors may see of the app's, and how they are kept.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    control,
    freshness::{Arrival, CDN_CACHE_CONTROL},
    page::Fields,
    routes::Plan,
};

/// Comma-separated tags (Cloudflare's and Netlify's header) and space-separated ones (Fastly's).
pub static CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// See [`CACHE_TAG`].
pub static SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Headers that concern one connection (RFC 9110 §7.6.1) or that whoever answers sets anew.
static FRAMING: [HeaderName; 11] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The app's word on freshness; under a rule's own interval the rule's takes its place.
static FRESHNESS: [HeaderName; 5] = [
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::PRAGMA,
    CDN_CACHE_CONTROL,
    HeaderName::from_static("surrogate-control"),
];

/// Takes out of an app's headers what belongs to its connection alone, the headers that `Connection` names included; what
/// cannot be shared by many: `Set-Cookie`; and, unless the rule keeps them, the headers that name tags.
pub fn shared_headers(plan: &Plan, headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = control::list(headers, &header::CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named.iter().chain(&FRAMING) {
        headers.remove(name);
    }
    headers.remove(header::SET_COOKIE);
    if !plan.rule.keep_tags {
        headers.remove(&CACHE_TAG);
        headers.remove(&SURROGATE_KEY);
    }
}

/// What visitors see of the headers of an answer that is stored: [`shared_headers`], with the date of its arrival where the
/// app gave none (RFC 9110 section 6.6.1), without its age, which goes on; and, where the rule decides, without the app's word
/// on freshness.
pub fn page_headers(plan: &Plan, headers: &mut HeaderMap, arrival: Arrival) {
    shared_headers(plan, headers);
    headers.remove(header::AGE);
    if !headers.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(arrival.at))
    {
        headers.insert(header::DATE, date);
    }
    if !plan.app_decides() {
        strip_freshness(headers);
    }
}

/// Takes out the app's word on freshness, also that to caches which it addresses by fields of their own.
pub fn strip_freshness(headers: &mut HeaderMap) {
    for name in &FRESHNESS {
        headers.remove(name);
    }
}

/// A header that names tags.
pub fn names_tags(name: &HeaderName) -> bool {
    *name == CACHE_TAG || *name == SURROGATE_KEY
}

/// Digests of a body in the coding in which the app sent it: RFC 9530's, and those that it took the place of.
pub static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];

/// Fields that, beside [`DIGESTS`], a 304 does not change in a stored page: they describe the body that is stored (RFC 9111
/// section 3.2).
static OF_THE_BODY: [HeaderName; 4] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ETAG,
];

/// The headers of a stored page as a 304 confirms them: each field that the 304 has takes the place of the stored one.
/// Both as visitors may see them.
pub fn confirmed_headers(stored: Fields<'_>, confirming: &HeaderMap) -> HeaderMap {
    let of_the_body = |name: &HeaderName| OF_THE_BODY.contains(name) || DIGESTS.contains(name);
    let changes = |name: &HeaderName| confirming.contains_key(name) && !of_the_body(name);
    let mut headers = HeaderMap::with_capacity(stored.len());
    for (name, value) in stored.filter(|(name, _)| !changes(name)) {
        headers.append(name, value.into());
    }
    for (name, value) in confirming.iter().filter(|(name, _)| changes(name)) {
        headers.append(name, value.clone());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mk::{mk_arrival, mk_headers as headers, mk_parts, mk_plan},
        page::{Page, Parts},
    };

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
        page_headers(&mk_plan(|_| ()), &mut seen, mk_arrival());
        assert_eq!(
            seen,
            headers(&[
                "content-type: text/html",
                "x-own: 1",
                "date: Tue, 24 Nov 2026 12:00:00 GMT"
            ])
        );
        page_headers(&mk_plan(|rule| rule.keep_tags = true), &mut kept, mk_arrival());
        assert!(kept.contains_key("cache-tag") && kept.contains_key("surrogate-key"));
    }

    #[test]
    fn page_headers_where_the_app_decides() {
        let mut seen = headers(&[
            "cache-control: max-age=60",
            "expires: 0",
            "age: 7",
            "date: Mon, 23 Nov 2026 12:00:00 GMT",
        ]);
        page_headers(&mk_plan(|rule| rule.revalidate = None), &mut seen, mk_arrival());
        let kept = [
            "cache-control: max-age=60",
            "expires: 0",
            "date: Mon, 23 Nov 2026 12:00:00 GMT",
        ];
        assert_eq!(seen, headers(&kept));
    }

    #[test]
    fn page_headers_as_a_304_confirms_them() {
        let stored = Page::new(Parts {
            headers: headers(&[
                "etag: \"a\"",
                "x-own: 1",
                "x-own: 2",
                "content-encoding: gzip",
                "link: </a>",
            ]),
            ..mk_parts(&mk_plan(|_| ()), "/a", 0, 1)
        });
        let confirming = headers(&[
            "etag: \"b\"",
            "x-own: 3",
            "content-encoding: br",
            "repr-digest: sha-256=:AA==:",
            "x-new: 4",
        ]);
        let expected = headers(&[
            "etag: \"a\"",
            "content-encoding: gzip",
            "link: </a>",
            "x-own: 3",
            "x-new: 4",
        ]);
        assert_eq!(confirmed_headers(stored.headers(), &confirming), expected);
    }
}
