//! Fields that concern one connection only (RFC 9110 section 7.6.1) and never go on.

use coppice_cache::control;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
        UPGRADE,
    },
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Always removed, whether `Connection` names them or not.
const ALWAYS: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
];

/// Removes the fields of one connection, those that `Connection` names among them. `TE` keeps its one value that goes
/// on, `trailers`. A length beside `Transfer-Encoding` frames nothing, and whoever comes next would believe it: it goes
/// too (RFC 9112 section 6.3).
pub fn strip(headers: &mut HeaderMap) {
    // Most have none of them, and each removal looks its name up.
    let (mut of_connection, mut lengths, mut odd, mut te) = (false, 0, false, false);
    for (name, value) in &*headers {
        of_connection |= ALWAYS.contains(name);
        if name == CONTENT_LENGTH {
            lengths += 1;
            odd |= !is_length(value);
        }
        te |= name == TE;
    }
    if lengths > 1 || odd {
        one_length(headers);
    }
    if of_connection {
        strip_connection(headers);
    }
    if te {
        let trailers = control::list(headers, &TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
        headers.remove(TE);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

fn strip_connection(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = control::list(headers, &CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            // A peer that names `Host` would take away what the app goes by.
            .filter(|name| name != HOST && name != TE)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in ALWAYS {
        headers.remove(name);
    }
}

/// Leaves one length, and none where there are several that differ or it is no number: an answer to a HEAD has no body by
/// which hyper would see that.
fn one_length(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    let agree = is_length(first) && lengths.all(|other| other == first);
    let kept = agree.then(|| first.clone());
    headers.remove(CONTENT_LENGTH);
    if let Some(kept) = kept {
        headers.insert(CONTENT_LENGTH, kept);
    }
}

fn is_length(value: &HeaderValue) -> bool {
    // `parse` alone would take a sign.
    let digits = value.to_str().ok().filter(|text| !text.starts_with('+'));
    digits.is_some_and(|text| text.parse::<u64>().is_ok())
}

/// Codings that somebody may have meant (IANA's registry of them): without its name, such a body is another one.
const REGISTERED: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];

/// Takes the transfer coding off an answer where it is one alone that says nothing: `identity`, or a name that nobody has
/// registered, which browsers and other proxies ignore too. Its body ends with the connection, and a length beside it is
/// none (RFC 9112 section 6.3). False: it says something, or could be read as `chunked` by somebody, and stays.
pub fn ignore_coding(headers: &mut HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let (Some(only), None) = (codings.next(), codings.next()) else {
        return false;
    };
    let name = only.as_bytes().trim_ascii().to_ascii_lowercase();
    let is_token = HeaderName::from_bytes(&name).is_ok();
    let hides_chunked = name.windows(7).any(|part| part == b"chunked");
    if !is_token || hides_chunked || REGISTERED.contains(&&*name) {
        return false;
    }
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONTENT_LENGTH);
    true
}

/// The protocol that a request of HTTP/1.1 asks to change to; `h2c` is none that is passed on (RFC 9113 dropped it).
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = control::list(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    (asked && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        (pairs.iter())
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_connection_names_goes_and_the_rest_stays() {
        let mut map = headers(&[
            ("connection", "close, X-One"),
            ("keep-alive", "timeout=5"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("te", "gzip, Trailers"),
        ]);
        map.append("connection", HeaderValue::from_static("x-three, host, te"));
        map.append("x-three", HeaderValue::from_static("3"));
        map.append("host", HeaderValue::from_static("shop.example.com"));
        strip(&mut map);
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "te", "x-two"]);
        assert_eq!(map["te"], "trailers");
    }

    #[test]
    fn one_length_stays_or_none() {
        let left = |lengths: &[&'static str]| {
            let mut map = HeaderMap::new();
            for length in lengths {
                map.append(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            strip(&mut map);
            let left: Vec<_> = map.get_all(CONTENT_LENGTH).iter().cloned().collect();
            left
        };
        assert_eq!(left(&["5"]), ["5"]);
        assert_eq!(left(&["5", "5"]), ["5"]);
        for lengths in [&["5", "4"][..], &["5, 5"], &["+5"], &[""], &["5", "x"]] {
            assert!(left(lengths).is_empty(), "{lengths:?}");
        }
    }

    #[test]
    fn a_coding_that_says_nothing_goes_with_the_length_beside_it() {
        for coding in ["foo", "identity", " Identity\t", "br", "x-"] {
            let mut map = headers(&[("transfer-encoding", coding), ("content-length", "5")]);
            assert!(ignore_coding(&mut map), "{coding:?}");
            assert!(map.is_empty(), "{coding:?}");
        }
    }

    #[test]
    fn a_coding_that_says_something_stays() {
        for coding in [
            "chunked",
            "Chunked",
            "xchunked",
            "x-CHUNKED-x",
            "\"chunked\"",
            "gzip",
            "X-GZip",
            "deflate",
            "compress",
            "x-compress",
            "foo, chunked",
            "chunked, foo",
            "foo, bar",
            "foo,",
            "foo;q=1",
            "\"foo\"",
            "f oo",
            "",
        ] {
            let mut map = headers(&[("transfer-encoding", coding), ("content-length", "5")]);
            assert!(!ignore_coding(&mut map), "{coding:?}");
            assert_eq!(map.len(), 2, "{coding:?}");
        }
        let mut two = headers(&[("transfer-encoding", "foo")]);
        two.append(TRANSFER_ENCODING, HeaderValue::from_static("foo"));
        assert!(!ignore_coding(&mut two));
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_is_not_h2c() {
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(upgrade(&headers(&websocket)).unwrap(), "websocket");
        assert_eq!(upgrade(&headers(&[("upgrade", "websocket")])), None);
        assert_eq!(
            upgrade(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])),
            None
        );
    }
}
