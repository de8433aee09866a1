//! Answers in the sidecar's own words, each marked as such: no answer of the app's, and for nobody to store.

use coppice_cache::outcome::{Outcome, RefuseReason};
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};

use super::{Answered, answer::X_COPPICE_CACHE};
use crate::{
    body::Body,
    fetch::{Failure, UpstreamError},
};

/// Marks, among an answer's extensions, one that is the sidecar's own and not the app's.
#[derive(Debug, Clone, Copy)]
pub struct Own;

/// An answer of these words.
pub fn words(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::whole(text.to_owned()));
    *response.status_mut() = status;
    response.extensions_mut().insert(Own);
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Where a flight brought no answer of the app's.
pub fn failed(failure: &Failure) -> Response<Body> {
    match failure {
        Failure::Upstream(error) => no_answer(error),
        Failure::BrokenOff(_) => words(
            failure.status(),
            "The app did not answer: it broke off in the middle of its answer.\n",
        ),
    }
}

/// Where the app gave no answer. It says why, without the app's address.
pub fn no_answer(error: &UpstreamError) -> Response<Body> {
    let why = match error {
        UpstreamError::Unknown { .. } => "its name does not resolve",
        UpstreamError::Refused { .. } => {
            "it refused the connection: it is not up, or listens on another address or port"
        }
        UpstreamError::Unreachable { .. } => "no connection to it could be made",
        UpstreamError::ConnectTimeout { .. } => "it did not take the connection in time",
        UpstreamError::Timeout { .. } => "it took the request and did not begin to answer in time",
        UpstreamError::Closed { .. } => "it closed the connection without an answer",
        UpstreamError::Head { .. } => "the head of its answer is larger than 64 KiB",
        UpstreamError::Broken { .. } => "what it sent is no HTTP answer",
        UpstreamError::Coded { .. } => "its answer has a transfer coding that is not understood here",
        UpstreamError::Upload => {
            return words(error.status(), "The request's body broke off or is malformed.\n");
        }
    };
    words(error.status(), &format!("The app did not answer: {why}.\n"))
}

/// While the sidecar drains and the app has already left.
pub fn leaving() -> Response<Body> {
    let mut response = words(
        StatusCode::SERVICE_UNAVAILABLE,
        "This pod is shutting down. Try again.\n",
    );
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Why a request is refused, in a sentence.
pub(crate) const fn refusal(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::HostsDisagree => {
            "The request names two hosts that differ: its authority and Host have to agree.\n"
        }
        RefuseReason::HostCount => "The request has no Host, or more than one: HTTP/1.1 asks for one.\n",
        RefuseReason::UserInfo => "The request's authority names a user, which none may.\n",
        RefuseReason::TransferCoding => {
            "The request's body has a transfer coding that is not understood here: chunked, once, is.\n"
        }
    }
}

/// A request that app and cache could each take for another one: 400, and the connection ends, since what follows could be
/// anything.
pub fn refused(reason: RefuseReason) -> Answered {
    let mut response = words(StatusCode::BAD_REQUEST, refusal(reason));
    let headers = response.headers_mut();
    headers.insert(
        X_COPPICE_CACHE,
        HeaderValue::from_static(Outcome::Bypass.as_str()),
    );
    // For HTTP/1.1: of HTTP/2, where it is the stream that ends, `h2` takes it off.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Answered {
        response,
        outcome: Outcome::Bypass,
        reason: reason.as_str(),
        age: None,
    }
}
