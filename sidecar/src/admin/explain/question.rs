//! What somebody asks about: a URL as people write it, a method, headers; and the request that a visitor would send.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, request::Parts};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Headers that one question may have.
const MAX_HEADERS: usize = 64;

/// What a browser escapes before it sends a path or a query.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// The query of `/explain`, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::admin) struct Question {
    pub(in crate::admin) url: String,
    pub(in crate::admin) method: String,
    /// `Name: value`, one a line.
    pub(in crate::admin) headers: String,
    /// The answer is for a program.
    pub(in crate::admin) json: bool,
}

impl Question {
    pub(in crate::admin) fn read(query: &str) -> Self {
        let mut question = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "url" => value.trim().clone_into(&mut question.url),
                "method" => value.trim().clone_into(&mut question.method),
                "format" => question.json = value == "json",
                "header" => {
                    for line in value.lines().map(str::trim).filter(|line| !line.is_empty()) {
                        question.headers.push_str(line);
                        question.headers.push('\n');
                    }
                }
                _ => {}
            }
        }
        question
    }

    /// The request that a visitor would send; `host` is that of a path without one. An error says what to write instead.
    pub(super) fn request(&self, host: Option<&str>) -> Result<Parts, String> {
        let method = match self.method.as_str() {
            "" => Method::GET,
            method => Method::from_bytes(method.as_bytes())
                .map_err(|_| format!("{method:?} is no method: GET, HEAD, POST …"))?,
        };
        let (scheme, authority, target) = split(&self.url, host)?;
        let mut headers = self.headers()?;
        let target = utf8_percent_encode(target, ESCAPED).to_string();
        let uri = if headers.contains_key(header::HOST) {
            // A proxy's form of a request, where the two may disagree.
            format!("http://{authority}{target}")
        } else {
            let value = HeaderValue::from_str(authority).map_err(|_| format!("{authority:?} is no host"))?;
            headers.insert(header::HOST, value);
            target
        };
        let uri = Uri::try_from(&uri).map_err(|error| format!("{uri:?} can be no request: {error}"))?;
        if scheme == "https" && !headers.contains_key("x-forwarded-proto") {
            headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        (parts.method, parts.uri, parts.headers) = (method, uri, headers);
        Ok(parts)
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for line in self.headers.lines() {
            // The line is not said again: it may hold a password.
            let (name, value) = line
                .split_once(':')
                .ok_or("a header is written Name: value, one a line")?;
            let name = HeaderName::from_bytes(name.trim().as_bytes())
                .map_err(|_| format!("{:?} is no name of a header", name.trim()))?;
            let value = HeaderValue::from_str(value.trim())
                .map_err(|_| format!("the value of {name} has characters that no header may have"))?;
            headers.append(name, value);
            if headers.len() > MAX_HEADERS {
                return Err(format!("at most {MAX_HEADERS} headers"));
            }
        }
        Ok(headers)
    }
}

/// Scheme, authority, and path with query, of a URL as people write it: the scheme may be missing, and on a laptop the
/// host. The path is left as it is: what is odd about it is the answer.
fn split<'a>(url: &'a str, host: Option<&'a str>) -> Result<(&'static str, &'a str, &'a str), String> {
    let url = url.split('#').next().unwrap_or(url);
    if url.starts_with('/') && !url.starts_with("//") {
        let host = host.ok_or("name the host too, such as https://shop.example.com/blog/hello")?;
        return Ok(("http", host, url));
    }
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
        Some((scheme, _)) if !scheme.contains(['/', '?', '.', ':']) => {
            return Err(format!("the scheme is http or https, not {scheme:?}"));
        }
        _ => ("http", url.trim_start_matches('/')),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.is_empty() {
        return Err("a URL has a host, such as https://shop.example.com/blog/hello".to_owned());
    }
    if authority.contains('@') {
        return Err("a URL with a user's name is none that a visitor sends".to_owned());
    }
    Ok((scheme, authority, if target.is_empty() { "/" } else { target }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://a.test/b?c#d", Ok(("http", "a.test", "/b?c")))]
    #[case("HTTPS://a.test:8443", Ok(("https", "a.test:8443", "/")))]
    #[case("a.test/b//c", Ok(("http", "a.test", "/b//c")))]
    #[case("a.test/?to=http://b.test", Ok(("http", "a.test", "/?to=http://b.test")))]
    #[case("/b", Ok(("http", "localhost:8080", "/b")))]
    #[case("http://[::1]:80/b", Ok(("http", "[::1]:80", "/b")))]
    #[case("ftp://a.test/", Err("the scheme is http or https"))]
    #[case("http:///b", Err("a URL has a host"))]
    #[case("http://me:secret@a.test/", Err("a user's name"))]
    fn urls_as_people_write_them(
        #[case] url: &str,
        #[case] expected: Result<(&'static str, &'static str, &'static str), &str>,
    ) {
        match (split(url, Some("localhost:8080")), expected) {
            (Err(words), Err(expected)) => assert!(words.contains(expected), "{words}"),
            (split, expected) => assert_eq!(split.map_err(|_| ""), expected),
        }
    }

    #[test]
    fn a_question_is_the_request_of_a_visitor() {
        let question = Question::read(
            "url=https://a.test/caf%C3%A9+x&header=Cookie:+a%3D1%0D%0ARSC:+1&header=X-A:b&format=json&method=HEAD",
        );
        assert!(question.json);
        let parts = question.request(None).unwrap();
        assert_eq!((parts.method, parts.uri.path()), (Method::HEAD, "/caf%C3%A9%20x"));
        assert_eq!(parts.headers["host"], "a.test");
        assert_eq!(parts.headers["cookie"], "a=1");
        assert_eq!(parts.headers["rsc"], "1");
        assert_eq!(parts.headers["x-a"], "b");
        assert_eq!(parts.headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn what_is_no_question_says_what_is() {
        for (query, words) in [
            ("url=/a", "name the host too"),
            ("url=http://a.test/&method=G+T", "is no method"),
            ("url=http://a.test/&header=secret", "Name: value"),
            ("url=http://a.test/&header=a+b:secret", "is no name of a header"),
            ("url=http://a.test/&header=a:secret%01", "the value of a has"),
        ] {
            let said = Question::read(query).request(None).unwrap_err();
            assert!(said.contains(words) && !said.contains("secret"), "{said}");
        }
    }
}
