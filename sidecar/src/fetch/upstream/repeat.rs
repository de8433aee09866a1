//! The same request once more, for an app that closed the connection at the very moment that it was used again.
//!
//! Hardly any is needed and every one is made, so the header fields are written one behind the other into one piece of
//! memory, and only read where they are.

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use hyper::body::Body as _;

use crate::body::Body;

/// A copy of a request without a body.
#[derive(Debug)]
pub(super) struct Repeat {
    method: Method,
    uri: Uri,
    /// `name:value\n` for each field: no name has a colon in it, and no value a line feed.
    fields: Vec<u8>,
}

impl Repeat {
    /// A copy, if doing it twice does no harm: it has no body and a safe method (RFC 9110 section 9.2.2). Nobody is told of
    /// interim answers to it: they are hints.
    pub(super) fn of(request: &Request<Body>) -> Option<Self> {
        if !request.method().is_safe() || !request.body().is_end_stream() {
            return None;
        }
        let headers = request.headers();
        let length = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 2;
        let mut fields = Vec::with_capacity(headers.iter().map(length).sum());
        for (name, value) in headers {
            fields.extend_from_slice(name.as_str().as_bytes());
            fields.push(b':');
            fields.extend_from_slice(value.as_bytes());
            fields.push(b'\n');
        }
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields,
        })
    }

    /// The request.
    pub(super) fn request(self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        for field in self.fields.split(|byte| *byte == b'\n') {
            let mut parts = field.splitn(2, |byte| *byte == b':');
            let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
            let value = parts.next().and_then(|value| HeaderValue::from_bytes(value).ok());
            if let (Some(name), Some(value)) = (name, value) {
                request.headers_mut().append(name, value);
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static("/a?b=c");
        let headers = request.headers_mut();
        for (name, value) in [
            ("host", &b"a.test"[..]),
            ("x", b""),
            ("cookie", b"a:b=\xff: c"),
            ("cookie", b"\td"),
        ] {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        request
    }

    #[test]
    fn it_is_the_same_request() {
        let first = request(Method::HEAD, Body::empty());
        let again = Repeat::of(&first).unwrap().request();
        assert_eq!(again.method(), first.method());
        assert_eq!(again.uri(), first.uri());
        assert_eq!(again.headers(), first.headers());
    }

    #[test]
    fn what_might_do_harm_twice_is_not_repeated() {
        assert!(Repeat::of(&request(Method::POST, Body::empty())).is_none());
        assert!(Repeat::of(&request(Method::GET, Body::whole("x"))).is_none());
    }
}
