//! Who may see the state: the pod itself, by an address that nobody else can name.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Uri, header};

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request comes from outside of the pod.
    Outside,
    /// It names a host that anybody may point at this machine: a page of the web would read the state through a browser
    /// in here (DNS rebinding).
    Name,
    /// A browser sends it on behalf of a page.
    Page,
}

impl Refusal {
    /// What to do instead.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Outside => "only from within the pod: kubectl port-forward, or kubectl exec\n",
            Self::Name => "ask for localhost or for an IP address: other names may be anybody's\n",
            Self::Page => "not from a page in a browser: use a command such as curl\n",
        }
    }
}

/// Whether the peer may see the state.
pub(super) fn check(peer: IpAddr, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    if !peer.to_canonical().is_loopback() {
        return Err(Refusal::Outside);
    }
    let hosts = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    if hosts.chain(authority).all(is_own) {
        Ok(())
    } else {
        Err(Refusal::Name)
    }
}

/// Whether the peer may change something: no browser needs to, so what one sends is another site's.
pub(super) fn check_change(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Err(Refusal::Page);
    }
    Ok(())
}

/// An address, or a name that no resolver asks anybody for (RFC 6761 section 6.3).
fn is_own(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    if let Some(address) = host.strip_prefix('[') {
        return address
            .split_once(']')
            .is_some_and(|(address, _)| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("localhost:9901", true)]
    #[case("LOCALHOST", true)]
    #[case("coppice.localhost:80", true)]
    #[case("127.0.0.1:9901", true)]
    #[case("[::1]:9901", true)]
    #[case("[::1]", true)]
    #[case("evil.test:9901", false)]
    #[case("localhost.evil.test", false)]
    #[case("127.0.0.1.evil.test", false)]
    #[case("evillocalhost", false)]
    #[case("[evil]", false)]
    #[case("", false)]
    fn names_that_anybody_may_have_are_refused(#[case] host: &str, #[case] own: bool) {
        assert_eq!(is_own(host.as_bytes()), own);
    }

    #[test]
    fn the_request_line_counts_like_the_host() {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(check(peer, &Uri::from_static("/"), &headers), Ok(()));
        let absolute = Uri::from_static("http://evil.test/");
        assert_eq!(check(peer, &absolute, &headers), Err(Refusal::Name));
        assert_eq!(check(peer, &absolute, &HeaderMap::new()), Err(Refusal::Name));
        let outside = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(
            check(outside, &Uri::from_static("/"), &headers),
            Err(Refusal::Outside)
        );
    }
}
