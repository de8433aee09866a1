//! What the RFCs tell a server to refuse and hyper lets in: requests that whoever reads them next could read as others.

use coppice_cache::outcome::RefuseReason;
use http::{Version, header::HOST, request::Parts};

use super::hop;

/// Why the request is answered with 400, before anybody else looks at it.
pub fn refuse(parts: &Parts) -> Option<RefuseReason> {
    let headers = &parts.headers;
    let hosts = headers.get_all(HOST).iter().count();
    // HTTP/2 names its host as an authority, and HTTP/1.0 knows none.
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return Some(RefuseReason::HostCount);
    }
    let authority = parts.uri.authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Some(RefuseReason::UserInfo);
    }
    hop::is_coded(headers).then_some(RefuseReason::TransferCoding)
}
