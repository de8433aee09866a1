//! WebSocket over HTTP/2 (RFC 8441). An app of HTTP/1.1 sees the handshake that it knows (RFC 6455), a visitor the one of
//! HTTP/2:
//!
//! ```text
//! visitor                                             app
//! CONNECT, :protocol = websocket ──open──► GET, Upgrade: websocket, Sec-WebSocket-Key
//! 200                          ◄──accept── 101, Sec-WebSocket-Accept
//! ```

use std::hash::{BuildHasher, RandomState};

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use base64::{Engine, prelude::BASE64_STANDARD};
use h2::ext::Protocol;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
    request::Parts,
};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// RFC 6455 section 1.3: what only a server that speaks WebSocket puts behind the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A handshake that waits for the app's answer; among the extensions of the request.
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    /// What the app has to answer to the key.
    accept: String,
}

/// Makes an extended CONNECT for WebSocket the upgrade that stands for it; leaves any other request as it is.
pub(super) fn open(request: &mut Parts) {
    let asked = request.method == Method::CONNECT
        && (request.extensions.get::<Protocol>())
            .is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"));
    if !asked {
        return;
    }
    let key = key();
    let accept = accept(&key);
    let Ok(key) = HeaderValue::try_from(key) else {
        return;
    };
    request.extensions.remove::<Protocol>();
    request.extensions.insert(Handshake { accept });
    request.method = Method::GET;
    let headers = &mut request.headers;
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(SEC_WEBSOCKET_KEY, key);
}

impl Handshake {
    /// Makes the app's 101, which named this protocol, the 200 that stands for it; an error is what is wrong with it.
    pub(super) fn accept<B>(
        self,
        protocol: &HeaderValue,
        response: &mut Response<B>,
    ) -> Result<(), &'static str> {
        if !protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()) {
            return Err("The app changed to another protocol than WebSocket.\n");
        }
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        let accept = headers.remove(SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept != self.accept) {
            return Err("The app's Sec-WebSocket-Accept is not the one for the key that it got.\n");
        }
        *response.status_mut() = StatusCode::OK;
        Ok(())
    }
}

/// 16 random bytes. No secret hangs on them: they are to differ, and the standard library's hash keys do.
fn key() -> String {
    let random = || RandomState::new().hash_one(0).to_ne_bytes();
    BASE64_STANDARD.encode([random(), random()].concat())
}

/// RFC 6455 section 4.2.2.
fn accept(key: &str) -> String {
    let digest = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn keys_differ_and_are_answered_as_the_rfc_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_ne!(key(), key());
        assert_eq!(BASE64_STANDARD.decode(key()).unwrap().len(), 16);
    }

    #[test]
    fn only_a_connect_for_websocket_is_an_upgrade() {
        let made = |method: &Method, protocol: Option<&'static str>| {
            let (mut request, ()) = Request::new(()).into_parts();
            request.method = method.clone();
            if let Some(protocol) = protocol {
                request.extensions.insert(Protocol::from_static(protocol));
            }
            open(&mut request);
            request.headers.contains_key(UPGRADE)
        };
        assert!(made(&Method::CONNECT, Some("WebSocket")));
        assert!(!made(&Method::CONNECT, Some("connect-udp")));
        assert!(!made(&Method::CONNECT, None));
        assert!(!made(&Method::GET, Some("websocket")));
    }
}
