//! What a request says of where it goes, found in one walk over its fields; and which of that makes it one to refuse.

use http::{
    HeaderMap, HeaderValue, Version,
    header::{HOST, TRANSFER_ENCODING},
    request::Parts,
};

use super::{X_FORWARDED_HOST, X_FORWARDED_PROTO, host};
use crate::{config::Scheme, control, outcome::RefuseReason};

/// The fields that say where a request goes; of those that proxies add, the first of each.
#[derive(Debug, Default)]
pub(super) struct Target<'a> {
    host: Option<&'a HeaderValue>,
    hosts: usize,
    pub(super) forwarded_host: Option<&'a HeaderValue>,
    pub(super) forwarded_proto: Option<&'a HeaderValue>,
    is_transferred: bool,
}

impl<'a> Target<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut target = Self::default();
        for (name, value) in headers {
            match *name {
                HOST => {
                    target.host.get_or_insert(value);
                    target.hosts += 1;
                }
                TRANSFER_ENCODING => target.is_transferred = true,
                _ if name == X_FORWARDED_HOST => {
                    target.forwarded_host.get_or_insert(value);
                }
                _ if name == X_FORWARDED_PROTO => {
                    target.forwarded_proto.get_or_insert(value);
                }
                _ => {}
            }
        }
        target
    }

    /// What the outermost proxy said the visitor came by; `None` if it is no scheme that a page has.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        let Some(said) = self.forwarded_proto else {
            return Some(Scheme::Http);
        };
        let said = outermost(said);
        [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|scheme| said.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
    }

    /// The host that the request names. An error: the RFCs tell a server to refuse the request, which hyper lets in, since
    /// whoever reads it next could read it as another one.
    pub(super) fn named(&self, parts: &'a Parts) -> Result<Option<&'a [u8]>, RefuseReason> {
        // HTTP/2 names its host as an authority, and HTTP/1.0 knows none.
        if self.hosts > 1 || (self.hosts == 0 && parts.version == Version::HTTP_11) {
            return Err(RefuseReason::HostCount);
        }
        let host = self.host.map(HeaderValue::as_bytes);
        let mut named = host;
        if let Some(authority) = parts.uri.authority() {
            let authority = authority.as_str().as_bytes();
            if authority.contains(&b'@') {
                return Err(RefuseReason::UserInfo);
            }
            let scheme = self.scheme().unwrap_or(Scheme::Http);
            let agrees = |host: &[u8]| {
                host == authority
                    || host::normal(authority, scheme)
                        .is_some_and(|authority| host::normal(host, scheme) == Some(authority))
            };
            if !host.is_none_or(agrees) {
                return Err(RefuseReason::HostsDisagree);
            }
            named = Some(authority);
        }
        if self.is_transferred && control::is_coded(&parts.headers) {
            return Err(RefuseReason::TransferCoding);
        }
        Ok(named)
    }
}

/// The first of a list: each proxy appends.
pub(super) fn outermost(value: &HeaderValue) -> &[u8] {
    let bytes = value.as_bytes();
    let end = memchr::memchr(b',', bytes).unwrap_or(bytes.len());
    bytes[..end].trim_ascii()
}
