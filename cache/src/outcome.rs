//! Closed enums for what became of a request: the header, the log and the metric use the same word.

use crate::judge::Unstorable;

/// What a visitor was answered with: the value of `x-coppice-cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A fresh page from the store.
    Hit,
    /// A stale page from the store; its regeneration is under way or due.
    Stale,
    /// Fetched because nothing was stored.
    Miss,
    /// Waited for the regeneration of an expired page.
    Revalidated,
    /// Passed through.
    Bypass,
}

impl Outcome {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Stale => "STALE",
            Self::Miss => "MISS",
            Self::Revalidated => "REVALIDATED",
            Self::Bypass => "BYPASS",
        }
    }

    /// For an atomic byte; 0 is "none yet".
    pub(crate) const fn encode(outcome: Option<Self>) -> u8 {
        match outcome {
            None => 0,
            Some(outcome) => outcome as u8 + 1,
        }
    }

    pub(crate) const fn decode(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Hit),
            2 => Some(Self::Stale),
            3 => Some(Self::Miss),
            4 => Some(Self::Revalidated),
            5 => Some(Self::Bypass),
            _ => None,
        }
    }
}

/// Why a request passed through. Ordered: where several hold, the least is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PassReason {
    /// The path is not in normal form.
    PathNotNormal,
    /// No host, or one that is none.
    HostUnknown,
    /// `X-Forwarded-Proto` is neither `http` nor `https`.
    SchemeUnknown,
    /// No rule matches, or there is no configuration yet.
    NoRoute,
    /// The route says `suspend`.
    Suspended,
    /// The rule says `revalidate: 0`.
    NeverStored,
    /// Neither GET nor HEAD.
    Method,
    /// The connection is to become something else.
    Upgrade,
    /// The request is authenticated.
    Authorization,
    /// A header by which Next.js or the rule bypasses the cache.
    BypassHeader,
    /// A cookie by which Next.js or the rule bypasses the cache.
    BypassCookie,
    /// The headers and cookies that choose the variant are too long to be part of a key.
    Variant,
    /// A GET with a body, on which the answer could depend.
    Body,
    /// The page is for those who send no cookies but the keyed ones: its `Vary` names `Cookie`.
    VaryCookie,
    /// The app's answer is not one to store and share.
    Unstorable(Unstorable),
}

impl PassReason {
    /// Every reason that a request itself gives, before the app is asked; in order.
    pub const BEFORE: [Self; 14] = [
        Self::PathNotNormal,
        Self::HostUnknown,
        Self::SchemeUnknown,
        Self::NoRoute,
        Self::Suspended,
        Self::NeverStored,
        Self::Method,
        Self::Upgrade,
        Self::Authorization,
        Self::BypassHeader,
        Self::BypassCookie,
        Self::Variant,
        Self::Body,
        Self::VaryCookie,
    ];

    /// The word: `detail` of `Cache-Status`, and the label in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PathNotNormal => "path-not-normal",
            Self::HostUnknown => "host-unknown",
            Self::SchemeUnknown => "scheme-unknown",
            Self::NoRoute => "no-route",
            Self::Suspended => "suspended",
            Self::NeverStored => "never-stored",
            Self::Method => "method",
            Self::Upgrade => "upgrade",
            Self::Authorization => "authorization",
            Self::BypassHeader => "bypass-header",
            Self::BypassCookie => "bypass-cookie",
            Self::Variant => "variant",
            Self::Body => "body",
            Self::VaryCookie => "vary-cookie",
            Self::Unstorable(reason) => reason.as_str(),
        }
    }

    /// The word of RFC 9211 section 2.2: the method, the request, or how the cache is configured.
    pub const fn forward(self) -> Forward {
        match self {
            Self::Method => Forward::Method,
            Self::PathNotNormal
            | Self::HostUnknown
            | Self::SchemeUnknown
            | Self::Upgrade
            | Self::Authorization
            | Self::BypassHeader
            | Self::BypassCookie
            | Self::Variant
            | Self::Body
            | Self::VaryCookie => Forward::Request,
            Self::NoRoute | Self::Suspended | Self::NeverStored | Self::Unstorable(_) => Forward::Bypass,
        }
    }
}

/// Why a request went on to the app: `fwd` of `Cache-Status` (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was configured not to handle it.
    Bypass,
    /// The method requires it.
    Method,
    /// Something else in the request requires it.
    Request,
    /// Nothing is stored for the URL.
    UriMiss,
    /// Pages are stored for the URL, but not this variant.
    VaryMiss,
    /// What is stored may not serve.
    Stale,
}

impl Forward {
    /// The token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::Request => "request",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
        }
    }
}

/// Why a request is refused with 400, which only a malformed one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// The authority of the request line (`:authority` in HTTP/2) and `Host` disagree (RFC 9112 section 3.2, RFC 9113
    /// section 8.3.1): app and cache could each believe another one.
    HostsDisagree,
    /// HTTP/1.1 with no `Host`, or with more than one (RFC 9112 section 3.2).
    HostCount,
    /// An authority with a user in it (RFC 9110 section 4.2.4, RFC 9113 section 8.3.1).
    UserInfo,
    /// A transfer coding other than one `chunked`: it would be gone from the request while the body still has it.
    TransferCoding,
}

impl RefuseReason {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostsDisagree => "hosts-disagree",
            Self::HostCount => "host-count",
            Self::UserInfo => "user-info",
            Self::TransferCoding => "transfer-coding",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn outcome_fits_into_a_byte() {
        use Outcome::{Bypass, Hit, Miss, Revalidated, Stale};
        for outcome in [
            None,
            Some(Hit),
            Some(Stale),
            Some(Miss),
            Some(Revalidated),
            Some(Bypass),
        ] {
            assert_eq!(Outcome::decode(Outcome::encode(outcome)), outcome);
        }
    }

    #[test]
    fn outcome_every_reason_has_its_own_word() {
        let all = PassReason::BEFORE;
        let words: HashSet<_> = all.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), all.len());
        assert!(all.is_sorted());
    }
}
