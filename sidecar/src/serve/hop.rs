//! Fields that concern one connection only (RFC 9110 section 7.6.1) and never go on.

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
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
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
    if headers.contains_key(TE) {
        let trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
        headers.remove(TE);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// The protocol that a request of HTTP/1.1 asks to change to; `h2c` is none that is passed on (RFC 9113 dropped it).
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE)?;
    (asked && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

/// The tokens of a comma-separated list in one or more fields; a field that is no text has none.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    (headers.get_all(name).iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
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
