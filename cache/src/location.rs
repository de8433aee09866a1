//! Where a redirect leads: whether it comes back to the key that it answers, which would be a loop for all who get it.

use std::borrow::Cow;

use http::{HeaderValue, Uri};

use crate::{key::Key, path};

/// Whether a `Location` leads back to the same scheme, host and path, or cannot be read. The query does not count, since
/// parameters that are ignored would hide a loop.
pub(crate) fn comes_back(location: Option<&HeaderValue>, key: &Key) -> bool {
    let Some(text) = location.and_then(|value| value.to_str().ok()).map(str::trim) else {
        return true;
    };
    if has_scheme(text) {
        return absolute(text, key);
    }
    if text.starts_with("//") {
        return absolute(&format!("{}:{text}", key.scheme().as_str()), key);
    }
    let target = text.split(['?', '#']).next().unwrap_or_default();
    if target.is_empty() {
        return true;
    }
    let target = if target.starts_with('/') {
        Cow::Borrowed(target)
    } else {
        Cow::Owned(format!("{}{target}", folder(key)))
    };
    is_same_path(&target, key.path())
}

/// Path and query that a `Location` or `Content-Location` leads to, where scheme and host are the key's own.
pub(crate) fn target(location: &HeaderValue, key: &Key) -> Option<String> {
    let text = location.to_str().ok()?.trim();
    let text = text.split('#').next().unwrap_or_default();
    if has_scheme(text) || text.starts_with("//") {
        let text = if has_scheme(text) {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(format!("{}:{text}", key.scheme().as_str()))
        };
        let uri = text.parse::<Uri>().ok()?;
        let is_own = uri.scheme_str() == Some(key.scheme().as_str()) && is_own_host(&uri, key);
        return is_own
            .then(|| uri.path_and_query().map(|target| target.as_str().to_owned()))
            .flatten();
    }
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    let path = if path.is_empty() {
        key.path().to_owned()
    } else if path.starts_with('/') {
        without_dots(path)
    } else {
        without_dots(&format!("{}{path}", folder(key)))
    };
    Some(query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")))
}

/// The part of the key's path that relative references are relative to.
fn folder(key: &Key) -> &str {
    key.path().rfind('/').map_or("/", |slash| &key.path()[..=slash])
}

/// `mailto:x` has a scheme, `a/b:c` has none (RFC 3986 §4.2).
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

fn absolute(text: &str, key: &Key) -> bool {
    let scheme = text.split(':').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(key.scheme().as_str()) {
        return false;
    }
    let text = text.split('#').next().unwrap_or_default();
    let Ok(uri) = text.parse::<Uri>() else {
        return true;
    };
    if uri.host().is_none() {
        return true;
    }
    is_own_host(&uri, key) && is_same_path(uri.path(), key.path())
}

/// The host is the key's own. A visitor who comes by a proxy comes back by the name that the proxy was asked for.
fn is_own_host(uri: &Uri, key: &Key) -> bool {
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let standard = if key.scheme().as_str() == "https" { 443 } else { 80 };
    let authority = match uri.port_u16() {
        Some(port) if port != standard => format!("{host}:{port}"),
        _ => host,
    };
    authority == key.host() || key.forwarded_host() == Some(authority.as_str())
}

/// The same path once its dot segments are gone and its escapes are read.
fn is_same_path(target: &str, own: &str) -> bool {
    path::decode(&without_dots(target)) == path::decode(own)
}

/// RFC 3986 §5.2.4.
fn without_dots(target: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in target.split('/').skip(1) {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut path: String = kept.iter().flat_map(|segment| ["/", segment]).collect();
    if ends_open || path.is_empty() {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::mk::mk_key;

    #[rstest]
    #[case("/blog/b", false)]
    #[case("/blog/a", true)]
    #[case("/blog/a?utm_source=x", true)]
    #[case("/blog/a#top", true)]
    #[case("/blog/a/", false)]
    #[case("/blog/A", false)]
    #[case("/blog/%61", true)]
    #[case("/blog/x/../a", true)]
    #[case("/blog/./a", true)]
    #[case("a", true)]
    #[case("./a", true)]
    #[case("b", false)]
    #[case("../blog/a", true)]
    #[case("..", false)]
    #[case("", true)]
    #[case("?page=2", true)]
    #[case("https://example.com/blog/a", true)]
    #[case("HTTPS://EXAMPLE.com.:443/blog/a", true)]
    #[case("https://example.com:8443/blog/a", false)]
    #[case("http://example.com/blog/a", false)]
    #[case("https://www.example.com/blog/a", false)]
    #[case("//example.com/blog/a", true)]
    #[case("//www.example.com/blog/a", false)]
    #[case("mailto:a@example.com", false)]
    // What cannot be read may lead anywhere.
    #[case("https://", true)]
    #[case("https://exa mple.com/x", true)]
    fn location_comes_back(#[case] location: &str, #[case] expected: bool) {
        let value = HeaderValue::from_str(location).unwrap();
        assert_eq!(comes_back(Some(&value), &mk_key("/blog/a")), expected);
    }

    #[rstest]
    #[case("https://shop.example.com/blog/a", true)]
    #[case("https://example.com/blog/a", true)]
    #[case("https://shop.example.com/blog/b", false)]
    fn location_comes_back_by_the_name_that_a_proxy_was_asked_for(
        #[case] location: &str,
        #[case] expected: bool,
    ) {
        let key = mk_key("/blog/a").forwarded("shop.example.com");
        let value = HeaderValue::from_str(location).unwrap();
        assert_eq!(comes_back(Some(&value), &key), expected);
    }

    #[rstest]
    #[case("/b?x=1#top", Some("/b?x=1"))]
    #[case("b", Some("/blog/b"))]
    #[case("../b", Some("/b"))]
    #[case("?x=1", Some("/blog/a?x=1"))]
    #[case("https://example.com/b?x=1", Some("/b?x=1"))]
    #[case("//example.com:443/b", Some("/b"))]
    #[case("http://example.com/b", None)]
    #[case("https://www.example.com/b", None)]
    #[case("mailto:a@example.com", None)]
    fn location_leads_to(#[case] location: &str, #[case] expected: Option<&str>) {
        let value = HeaderValue::from_str(location).unwrap();
        assert_eq!(target(&value, &mk_key("/blog/a")).as_deref(), expected);
    }

    #[test]
    fn location_that_is_missing_or_no_text_is_not_trusted() {
        assert!(comes_back(None, &mk_key("/")));
        assert!(comes_back(
            Some(&HeaderValue::from_bytes(b"/\xff").unwrap()),
            &mk_key("/")
        ));
    }
}
