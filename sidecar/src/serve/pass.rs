//! Passing through: the visitor's own request goes to the app and the app's own answer comes back, both as they
//! arrive, with any method, trailers and upgrades. Nothing is held back and nothing is stored.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use coppice_cache::{
    cache_status::CacheStatus,
    outcome::{Outcome, PassReason},
};
use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE,
    },
};
use http_body::Body as _;
use hyper_util::rt::TokioIo;

use super::{
    Visitor,
    answer::{CACHE_STATUS, X_COPPICE_CACHE},
    own,
    upgrade::Tunnels,
    websocket::Handshake,
};
use crate::{
    body::Body,
    fetch::upstream::{Upstream, UpstreamError},
    hop,
    metrics::Metrics,
};

/// How long the app may take to begin an answer that is only passed through, whatever rules say. Generous: a report
/// that takes minutes worked before there was a sidecar.
pub const PATIENCE: Duration = Duration::from_mins(5);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where requests are passed to.
#[derive(Debug, Clone)]
pub struct Passage {
    /// The app.
    pub upstream: Upstream,
    /// The connections that changed their protocol.
    pub tunnels: Tunnels,
    /// How long the app may take to begin its answer.
    pub patience: Duration,
    /// Counts requests that the app did not answer.
    pub metrics: Arc<Metrics>,
}

impl Passage {
    /// Passes a visitor's request through. What comes back is the app's answer, or our own 502 or 504.
    pub async fn pass(
        &self,
        visitor: &Visitor,
        mut request: Box<Request<Body>>,
        why: PassReason,
    ) -> Response<Body> {
        if request.method() == Method::CONNECT {
            return said(no_tunnel(&request), why);
        }
        let handshake = request.extensions_mut().remove::<Handshake>();
        let upgraded = hyper::upgrade::on(&mut *request);
        let takes_interim = request.version() >= Version::HTTP_11;
        let upgrade = toward_app(visitor, &mut request, self.upstream.app());
        let room = upgrade.then(|| self.tunnels.room()).flatten();
        if upgrade && room.is_none() {
            tracing::warn!("too many connections have changed their protocol; refusing another one");
            let text = "There are too many open connections of this kind. Try again later.\n";
            return said(own::words(StatusCode::SERVICE_UNAVAILABLE, text), why);
        }
        let relay = takes_interim.then(|| visitor.interim.relay());
        if let Some(relay) = relay.clone() {
            hyper::ext::on_informational(&mut *request, move |interim| {
                relay.say(interim.status(), interim.headers());
            });
        }
        let answer = self.upstream.send(request, self.patience).await;
        if let Some(relay) = relay {
            relay.end().await;
        }
        let mut response = match answer {
            Ok(response) => response,
            Err(UpstreamError::Upload) => return said(own::no_answer(&UpstreamError::Upload), why),
            Err(error) => {
                self.metrics.unanswered(error.as_str());
                tracing::warn!(reason = error.as_str(), %error, "the app did not answer");
                return said(own::no_answer(&error), why);
            }
        };
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = response.headers().get(UPGRADE).cloned();
        hop::strip(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        if switched {
            let (Some(room), Some(protocol)) = (room, protocol) else {
                tracing::warn!("the app changed the protocol without being asked to");
                let text = "The app changed the protocol without being asked to.\n";
                return said(own::words(StatusCode::BAD_GATEWAY, text), why);
            };
            if let Some(handshake) = handshake {
                // The stream of HTTP/2 is joined to the app where it is answered.
                response.extensions_mut().insert(room);
                if let Err(text) = handshake.accept(&protocol, &mut response) {
                    tracing::warn!("{}", text.trim_end());
                    return said(own::words(StatusCode::BAD_GATEWAY, text), why);
                }
            } else {
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, protocol);
                let visitor = async { upgraded.await.map(TokioIo::new) };
                self.tunnels
                    .join(room, visitor, hyper::upgrade::on(&mut response));
            }
        } else if handshake.is_some() && response.status().is_success() {
            // To the visitor of HTTP/2 a success would say that the WebSocket is open.
            let text = "The app answered the request for a WebSocket as if it were any other.\n";
            return said(own::words(StatusCode::BAD_GATEWAY, text), why);
        }
        said(response, why)
    }
}

/// The answer to a CONNECT that nothing here can be made of.
fn no_tunnel(request: &Request<Body>) -> Response<Body> {
    // RFC 8441, and RFC 9220 section 3 on protocols that are not known.
    if request.extensions().get::<Protocol>().is_some() {
        let text = "Of the protocols for which HTTP/2 has CONNECT, websocket alone passes through.\n";
        return own::words(StatusCode::NOT_IMPLEMENTED, text);
    }
    let text = "CONNECT asks for a forward proxy, and this is none.\n";
    own::words(StatusCode::METHOD_NOT_ALLOWED, text)
}

/// Makes a visitor's request one that goes to the app: origin form, nothing of the visitor's connection, and who the
/// visitor is. Returns whether it asks to change the protocol.
fn toward_app(visitor: &Visitor, request: &mut Request<Body>, app: &str) -> bool {
    let version = request.version();
    let authority = request.uri().authority().cloned();
    if authority.is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| http::Uri::from_static("/"), http::Uri::from);
    }
    let headers = request.headers_mut();
    // In HTTP/2 only `websocket::open` can have put it there.
    let upgrade = (version >= Version::HTTP_11)
        .then(|| hop::upgrade(headers))
        .flatten();
    hop::strip(headers);
    let has = Has::of(headers);
    if !has.host {
        let host = authority.as_ref().map_or(app, |authority| authority.as_str());
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(HOST, host);
        }
    }
    forwarded(visitor, headers, &has);
    let is_h2 = version == Version::HTTP_2;
    let grpc = is_h2
        && upgrade.is_none()
        && (headers.get(CONTENT_TYPE)).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_h2 && !grpc {
        join_cookies(headers);
    }
    if !grpc {
        if has.expect {
            // The visitor's connection says 100 as soon as the app's takes the body.
            headers.remove(EXPECT);
        }
        if has.te {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        *request.version_mut() = Version::HTTP_11;
        if !has.content_length && !request.body().is_end_stream() {
            // A body of unknown length is chunked whatever the method: hyper would leave that of a GET out.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
    }
    let asked = upgrade.is_some();
    if let Some(protocol) = upgrade {
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    asked
}

/// Which fields a request has of those that matter on its way to the app. Most have few of them, and each look-up in the
/// map would hash its name.
#[derive(Default)]
struct Has {
    host: bool,
    content_length: bool,
    expect: bool,
    te: bool,
    forwarded_for: bool,
    forwarded_host: bool,
    forwarded_proto: bool,
}

impl Has {
    fn of(headers: &HeaderMap) -> Self {
        let mut has = Self::default();
        for name in headers.keys() {
            match *name {
                HOST => has.host = true,
                CONTENT_LENGTH => has.content_length = true,
                EXPECT => has.expect = true,
                TE => has.te = true,
                _ => {
                    has.forwarded_for |= name == X_FORWARDED_FOR;
                    has.forwarded_host |= name == X_FORWARDED_HOST;
                    has.forwarded_proto |= name == X_FORWARDED_PROTO;
                }
            }
        }
        has
    }
}

/// Says who the visitor is. A proxy before us knows scheme and host better.
fn forwarded(visitor: &Visitor, headers: &mut HeaderMap, has: &Has) {
    if has.forwarded_for {
        let mut chain = Vec::new();
        for value in headers.get_all(X_FORWARDED_FOR) {
            chain.extend_from_slice(value.as_bytes());
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(visitor.address.as_bytes());
        if let Ok(chain) = HeaderValue::from_bytes(&chain) {
            headers.insert(X_FORWARDED_FOR, chain);
        }
    } else {
        headers.insert(X_FORWARDED_FOR, visitor.address.clone());
    }
    if !has.forwarded_proto {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !has.forwarded_host
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// HTTP/2 may split `Cookie`; HTTP/1.1 has one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

/// Says in the answer that it was passed through, and why.
fn said(mut response: Response<Body>, why: PassReason) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(
        X_COPPICE_CACHE,
        HeaderValue::from_static(Outcome::Bypass.as_str()),
    );
    headers.append(CACHE_STATUS, status_of(why));
    response
}

/// `Cache-Status` of a request that passed through; most reasons are known before, and so are their words.
fn status_of(why: PassReason) -> HeaderValue {
    static KNOWN: LazyLock<Vec<(PassReason, HeaderValue)>> = LazyLock::new(|| {
        let known = PassReason::BEFORE.into_iter();
        known.map(|why| (why, CacheStatus::passed(why).value())).collect()
    });
    let known = KNOWN.iter().find(|(known, _)| *known == why);
    known.map_or_else(|| CacheStatus::passed(why).value(), |(_, value)| value.clone())
}
