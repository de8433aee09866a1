//! What the RFCs tell a server to refuse and hyper lets in: requests that whoever reads them next could read as others.

use coppice_cache::outcome::RefuseReason;
use http::{
    HeaderMap, Version,
    header::{HOST, TRANSFER_ENCODING},
    request::Parts,
};

/// Why the request is answered with 400, before anybody else looks at it.
pub fn refuse(parts: &Parts) -> Option<RefuseReason> {
    let headers = &parts.headers;
    let hosts = headers.get_all(HOST).iter().count();
    // HTTP/2 names its host as an authority, and HTTP/1.0 knows none.
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return Some(RefuseReason::HostCount);
    }
    is_coded(headers).then_some(RefuseReason::TransferCoding)
}

/// The body has another transfer coding than one `chunked`. hyper takes `chunked` off, and looks for no other.
fn is_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(only), None) => !only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}
