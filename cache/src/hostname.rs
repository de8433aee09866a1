//! Hostnames of routes and purges, matched by the rules of the Gateway API: exact, or a wildcard as the first label
//! that stands for one or more labels (`*.example.com` is not `example.com`).

use std::fmt;

/// A hostname as a route or a purge names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hostname {
    /// This host.
    Exact(Box<str>),
    /// Hosts that end with this, the dot included: `.example.com` for `*.example.com`.
    Suffix(Box<str>),
}

/// Why a text is no hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// Longer than 253 characters.
    #[error("a hostname has 1 to 253 characters")]
    Length,
    /// `*` elsewhere than as the whole first label.
    #[error("a wildcard stands for the whole first label, such as *.example.com")]
    Wildcard,
    /// A label that RFC 1123 does not allow.
    #[error("each label has 1 to 63 lower-case letters, digits and inner hyphens")]
    Label,
    /// An IP address, which the Gateway API excludes.
    #[error("an IP address is no hostname: leave hostnames out to match any host")]
    Address,
}

impl Hostname {
    /// Parses a hostname: lower case, no port, no trailing dot.
    pub fn parse(text: &str) -> Result<Self, HostnameError> {
        if text.is_empty() || text.len() > 253 {
            return Err(HostnameError::Length);
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(HostnameError::Wildcard);
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(HostnameError::Address);
        }
        if !name.split('.').all(is_label) {
            return Err(HostnameError::Label);
        }
        Ok(if wildcard {
            Self::Suffix(format!(".{name}").into())
        } else {
            Self::Exact(name.into())
        })
    }

    /// Whether it matches the host of a key: lower case, without trailing dot; a port does not count.
    pub fn matches(&self, host: &str) -> bool {
        let host = without_port(host);
        match self {
            Self::Exact(name) => **name == *host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }

    /// The host, if it names exactly one: what a prerendered page needs.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(name) => Some(name),
            Self::Suffix(_) => None,
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A host without its port; the brackets of an IPv6 address stay.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("shop.example.com", "shop.example.com", true)]
    #[case("shop.example.com", "shop.example.com:8080", true)]
    #[case("shop.example.com", "example.com", false)]
    #[case("shop.example.com", "a.shop.example.com", false)]
    #[case("*.example.com", "shop.example.com", true)]
    #[case("*.example.com", "a.b.example.com:81", true)]
    #[case("*.example.com", "example.com", false)]
    #[case("*.example.com", ".example.com", false)]
    #[case("*.example.com", "badexample.com", false)]
    #[case("localhost", "localhost:3000", true)]
    #[case("localhost", "[::1]:3000", false)]
    fn hostname_matches_like_the_gateway_api(
        #[case] hostname: &str,
        #[case] host: &str,
        #[case] expected: bool,
    ) {
        let hostname = Hostname::parse(hostname).unwrap();
        assert_eq!(hostname.matches(host), expected);
    }

    #[rstest]
    #[case("", HostnameError::Length)]
    #[case("*", HostnameError::Wildcard)]
    #[case("a.*.com", HostnameError::Wildcard)]
    #[case("*a.com", HostnameError::Wildcard)]
    #[case("*.*.com", HostnameError::Wildcard)]
    #[case("*.", HostnameError::Label)]
    #[case("Shop.example.com", HostnameError::Label)]
    #[case("shop.example.com.", HostnameError::Label)]
    #[case("shop.example.com:80", HostnameError::Label)]
    #[case("-a.com", HostnameError::Label)]
    #[case("a_b.com", HostnameError::Label)]
    #[case("10.0.0.1", HostnameError::Address)]
    #[case("::1", HostnameError::Address)]
    fn hostname_is_refused(#[case] text: &str, #[case] reason: HostnameError) {
        assert_eq!(Hostname::parse(text), Err(reason));
    }

    #[test]
    fn hostname_too_long() {
        let long = vec!["a".repeat(60); 5].join(".");
        assert_eq!(Hostname::parse(&long), Err(HostnameError::Length));
    }

    #[rstest]
    #[case("a.com", Some("a.com"))]
    #[case("*.a.com", None)]
    fn hostname_shows_as_written(#[case] text: &str, #[case] exact: Option<&str>) {
        let hostname = Hostname::parse(text).unwrap();
        assert_eq!(hostname.to_string(), text);
        assert_eq!(hostname.exact(), exact);
    }
}
