//! Hosts as they stand in keys: lower case, without the scheme's own port, without a trailing dot.

use std::borrow::Cow;

use crate::config::Scheme;

/// The longest host that a key takes: a DNS name, a dot, a colon and a port.
const MAX: usize = 253 + 1 + 6;

/// The normal form of `Host`, `:authority` or `X-Forwarded-Host`; `None` if it is no host (RFC 3986 section 3.2.2,
/// without user information, escapes and characters that no DNS name has). Borrows where it is normal already.
pub(super) fn normal(written: &[u8], scheme: Scheme) -> Option<Cow<'_, str>> {
    if written.len() > MAX {
        return None;
    }
    let is_plain = written.iter().all(|byte| is_plain(*byte));
    let written = std::str::from_utf8(written).ok()?;
    // Nearly every one: it is read for each request.
    if is_plain && written.as_bytes().last().is_some_and(|last| *last != b'.') {
        return Some(Cow::Borrowed(written));
    }
    let (name, digits) = split(written)?;
    let port = match digits {
        "" => None,
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse::<u16>().ok()?),
        _ => return None,
    };
    let port = port.filter(|&port| port != own_port(scheme));
    let name = check(name)?;
    let length = match port {
        None => name.len(),
        Some(_) => name.len() + 1 + digits.trim_start_matches('0').len(),
    };
    if written.len() == length && !has_upper(name) {
        return Some(Cow::Borrowed(written));
    }
    let mut host = name.to_ascii_lowercase();
    if let Some(port) = port {
        host.push(':');
        host.push_str(&port.to_string());
    }
    Some(Cow::Owned(host))
}

/// Name and port; the brackets of an IPv6 address belong to the name.
fn split(written: &str) -> Option<(&str, &str)> {
    if written.starts_with('[') {
        let end = written.find(']')? + 1;
        let (address, port) = written.split_at(end);
        return match port.strip_prefix(':') {
            Some(port) => Some((address, port)),
            None => port.is_empty().then_some((address, "")),
        };
    }
    Some(written.split_once(':').unwrap_or((written, "")))
}

/// The name without its trailing dot, if it is one.
fn check(name: &str) -> Option<&str> {
    if let Some(address) = name.strip_prefix('[') {
        let address = address.strip_suffix(']')?;
        return address.parse::<std::net::Ipv6Addr>().ok().map(|_| name);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_uppercase() || is_plain(byte);
    (!name.is_empty() && !name.ends_with('.') && name.bytes().all(allowed)).then_some(name)
}

/// A byte of a name in its normal form.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_')
}

fn has_upper(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase())
}

const fn own_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("shop.example.com", "shop.example.com")]
    #[case("Shop.Example.COM", "shop.example.com")]
    #[case("shop.example.com.", "shop.example.com")]
    #[case("shop.example.com:80", "shop.example.com")]
    #[case("shop.example.com.:80", "shop.example.com")]
    #[case("shop.example.com:", "shop.example.com")]
    #[case("shop.example.com:0080", "shop.example.com")]
    #[case("shop.example.com:443", "shop.example.com:443")]
    #[case("Shop.example.com.:8080", "shop.example.com:8080")]
    #[case("10.0.0.1:8080", "10.0.0.1:8080")]
    #[case("my_service:3000", "my_service:3000")]
    #[case("[::1]", "[::1]")]
    #[case("[2001:DB8::1]:80", "[2001:db8::1]")]
    #[case("[::1]:8080", "[::1]:8080")]
    fn key_host_is_normalised(#[case] written: &str, #[case] expected: &str) {
        let host = normal(written.as_bytes(), Scheme::Http);
        assert_eq!(host.as_deref(), Some(expected));
        assert_eq!(
            normal(expected.as_bytes(), Scheme::Http).as_deref(),
            Some(expected)
        );
    }

    #[rstest]
    #[case("shop.example.com:443", "shop.example.com")]
    #[case("shop.example.com:80", "shop.example.com:80")]
    fn key_host_default_port_is_the_schemes(#[case] written: &str, #[case] expected: &str) {
        let host = normal(written.as_bytes(), Scheme::Https);
        assert_eq!(host.as_deref(), Some(expected));
    }

    #[rstest]
    #[case(b"")]
    #[case(b".")]
    #[case(b"a..")]
    #[case(b":80")]
    #[case(b"user@a.com")]
    #[case(b"a.com/b")]
    #[case(b"a.com,b.com")]
    #[case(b"a b")]
    #[case(b"a.com:x")]
    #[case(b"a.com:99999")]
    #[case(b"a.com:+80")]
    #[case(b"a:b:80")]
    #[case(b"[::1")]
    #[case(b"[::1]x")]
    #[case(b"[a.com]")]
    #[case(b"a%2Ecom")]
    #[case(b"\xFF.com")]
    #[case("é.com".as_bytes())]
    fn key_host_is_none(#[case] written: &[u8]) {
        assert_eq!(normal(written, Scheme::Http), None);
    }
}
