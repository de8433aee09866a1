//! The normal form of paths. A path outside of it is passed through and never stored, because app, proxies and cache
//! could each read it as another page: [`check`] is the one judge.
//!
//! Escapes stay as the visitor wrote them in the key; they are decoded once, segment by segment, where a path is
//! compared with something that a person wrote: [`segments`], [`decode`], [`covers`].

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why a path is not in normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotNormal {
    /// It does not begin with `/`: `*`, an authority, nothing.
    #[error("a path begins with /")]
    NotAbsolute,
    /// `//`.
    #[error("it has an empty segment (//)")]
    EmptySegment,
    /// A segment `.` or `..`.
    #[error("it has a segment . or ..")]
    DotSegment,
    /// `\`, plain or as an escape: some servers take it for `/`.
    #[error("it has a backslash")]
    Backslash,
    /// `%2F`.
    #[error("it has an encoded slash (%2F)")]
    EncodedSlash,
    /// An escape of a letter, a digit, or one of `-._~` (RFC 3986 section 2.3).
    #[error("it escapes a character that needs no escape")]
    EscapedUnreserved,
    /// `%` without two hexadecimal digits.
    #[error("it has a % without two hexadecimal digits")]
    MalformedEscape,
    /// A control character, NUL among them, plain or as an escape.
    #[error("it has a control character")]
    Control,
    /// `;`, plain or as an escape: some servers cut the path there.
    #[error("it has a semicolon")]
    Semicolon,
    /// `?` or `#`.
    #[error("a query or a fragment is no part of a path")]
    Query,
    /// The escapes do not decode to UTF-8.
    #[error("its escapes are not UTF-8")]
    NotUtf8,
}

impl NotNormal {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "not-absolute",
            Self::EmptySegment => "empty-segment",
            Self::DotSegment => "dot-segment",
            Self::Backslash => "backslash",
            Self::EncodedSlash => "encoded-slash",
            Self::EscapedUnreserved => "escaped-unreserved",
            Self::MalformedEscape => "malformed-escape",
            Self::Control => "control",
            Self::Semicolon => "semicolon",
            Self::Query => "query",
            Self::NotUtf8 => "not-utf8",
        }
    }
}

/// Whether `path` is in normal form. One pass over its bytes; allocates only where there is an escape beyond ASCII.
pub fn check(path: &str) -> Result<(), NotNormal> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(NotNormal::NotAbsolute);
    }
    let mut beyond_ascii = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'/' => check_segment_start(&bytes[at..])?,
            b'%' => {
                let escaped = escape(&bytes[at..]).ok_or(NotNormal::MalformedEscape)?;
                at += 2;
                beyond_ascii |= check_escaped(escaped)?;
            }
            b'\\' => return Err(NotNormal::Backslash),
            b';' => return Err(NotNormal::Semicolon),
            b'?' | b'#' => return Err(NotNormal::Query),
            0..0x20 | 0x7F => return Err(NotNormal::Control),
            0x80.. => beyond_ascii = true,
            _ => {}
        }
    }
    if beyond_ascii {
        let decoded = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| NotNormal::NotUtf8)?;
        if decoded.chars().any(char::is_control) {
            return Err(NotNormal::Control);
        }
    }
    Ok(())
}

/// What follows a slash: no second slash, no dot segment.
fn check_segment_start(rest: &[u8]) -> Result<(), NotNormal> {
    match rest {
        [b'/', ..] => Err(NotNormal::EmptySegment),
        [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => Err(NotNormal::DotSegment),
        _ => Ok(()),
    }
}

/// Whether an escaped byte is allowed; true if it lies beyond ASCII.
fn check_escaped(byte: u8) -> Result<bool, NotNormal> {
    match byte {
        b'/' => Err(NotNormal::EncodedSlash),
        b'\\' => Err(NotNormal::Backslash),
        b';' => Err(NotNormal::Semicolon),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            Err(NotNormal::EscapedUnreserved)
        }
        0..0x20 | 0x7F => Err(NotNormal::Control),
        0x80.. => Ok(true),
        _ => Ok(false),
    }
}

/// The byte that two hexadecimal digits at the start of `rest` stand for.
pub(crate) fn escape(rest: &[u8]) -> Option<u8> {
    let digit = |at: usize| {
        rest.get(at)
            .and_then(|&byte| char::from(byte).to_digit(16))
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(0)? << 4 | digit(1)?)
}

/// The segments of a path in normal form, still escaped. One trailing slash makes no segment, and `/` has none.
pub fn segments(path: &str) -> impl Iterator<Item = &str> + Clone {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let count = if inner.is_empty() { 0 } else { usize::MAX };
    inner.split('/').take(count)
}

/// A segment with its escapes decoded, once: `%2525` becomes `%25`. Borrows where there is nothing to decode.
pub fn decode(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

/// Whether a purge of the path `purged` concerns the page visited as `visited`: the same path in either slash form and
/// whatever the case of its escapes' digits, or the data of that page that Next.js's pages router asks for,
/// `/_next/data/<build>/<path>.json`.
pub fn covers(purged: &str, visited: &str) -> bool {
    purged == visited || same(purged, visited) || data_path(visited).is_some_and(|page| same(purged, &page))
}

fn same(one: &str, other: &str) -> bool {
    segments(one).map(decode).eq(segments(other).map(decode))
}

/// The page that a request of Next.js's pages router for data is about: `/docs/_next/data/<build>/a.json` is about
/// `/docs/a` (where `/docs` is the app's base path), and `index.json` about its root.
pub(crate) fn data_path(visited: &str) -> Option<String> {
    // Asked of every visit: most paths end here.
    let visited = visited.strip_suffix(".json")?;
    let (base, rest) = visited.split_once("/_next/data/")?;
    let (_build, page) = rest.split_once('/')?;
    Some(if page == "index" {
        format!("{base}/")
    } else {
        format!("{base}/{page}")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/")]
    #[case("/blog/hello")]
    #[case("/blog/hello/")]
    #[case("/Blog/HELLO")]
    #[case("/a.b/..c/...")]
    #[case("/caf%C3%A9/%e3%81%82")]
    #[case("/café")]
    #[case("/a%20b/%25/%5B%5D")]
    #[case("/a:b@c!$&'()*+,=")]
    fn path_is_normal(#[case] path: &str) {
        assert_eq!(check(path), Ok(()));
    }

    #[rstest]
    #[case("", NotNormal::NotAbsolute)]
    #[case("*", NotNormal::NotAbsolute)]
    #[case("blog", NotNormal::NotAbsolute)]
    #[case("//", NotNormal::EmptySegment)]
    #[case("/a//b", NotNormal::EmptySegment)]
    #[case("/a//", NotNormal::EmptySegment)]
    #[case("/.", NotNormal::DotSegment)]
    #[case("/./a", NotNormal::DotSegment)]
    #[case("/a/..", NotNormal::DotSegment)]
    #[case("/a/../b", NotNormal::DotSegment)]
    #[case("/a\\b", NotNormal::Backslash)]
    #[case("/a%5Cb", NotNormal::Backslash)]
    #[case("/a%5cb", NotNormal::Backslash)]
    #[case("/a%2Fb", NotNormal::EncodedSlash)]
    #[case("/a%2fb", NotNormal::EncodedSlash)]
    #[case("/%2e%2e/b", NotNormal::EscapedUnreserved)]
    #[case("/%41", NotNormal::EscapedUnreserved)]
    #[case("/%7E", NotNormal::EscapedUnreserved)]
    #[case("/100%", NotNormal::MalformedEscape)]
    #[case("/%4", NotNormal::MalformedEscape)]
    #[case("/%zz", NotNormal::MalformedEscape)]
    #[case("/%+1", NotNormal::MalformedEscape)]
    #[case("/a\0", NotNormal::Control)]
    #[case("/a%00", NotNormal::Control)]
    #[case("/a%0d%0a", NotNormal::Control)]
    #[case("/a\u{7f}", NotNormal::Control)]
    #[case("/a%7F", NotNormal::Control)]
    #[case("/a%C2%85", NotNormal::Control)]
    #[case("/a;b", NotNormal::Semicolon)]
    #[case("/a%3Bb", NotNormal::Semicolon)]
    #[case("/a?b", NotNormal::Query)]
    #[case("/a#b", NotNormal::Query)]
    #[case("/a%FF", NotNormal::NotUtf8)]
    #[case("/a%C3/%A9", NotNormal::NotUtf8)]
    #[case("/a%C0%AF", NotNormal::NotUtf8)]
    fn path_is_not_normal(#[case] path: &str, #[case] reason: NotNormal) {
        assert_eq!(check(path), Err(reason));
    }

    #[rstest]
    #[case("/", &[])]
    #[case("/a", &["a"])]
    #[case("/a/", &["a"])]
    #[case("/a/b%2525", &["a", "b%25"])]
    fn path_segments_decode_once(#[case] path: &str, #[case] expected: &[&str]) {
        assert_eq!(segments(path).map(decode).collect::<Vec<_>>(), expected);
    }

    #[rstest]
    #[case("/blog/hello", "/blog/hello", true)]
    #[case("/blog/hello", "/blog/hello/", true)]
    #[case("/blog/hello/", "/blog/hello", true)]
    #[case("/café", "/caf%C3%A9", true)]
    #[case("/caf%C3%A9", "/caf%c3%a9/", true)]
    #[case("/blog/hello", "/_next/data/b1/blog/hello.json", true)]
    #[case("/docs/a", "/docs/_next/data/b1/a.json", true)]
    #[case("/", "/_next/data/b1/index.json", true)]
    #[case("/blog/hello", "/blog/Hello", false)]
    #[case("/blog", "/blog/hello", false)]
    #[case("/blog/hello", "/_next/data/b1/blog/other.json", false)]
    #[case("/blog/hello", "/_next/data/b1/blog/hello", false)]
    #[case("/", "/a", false)]
    fn path_purge_covers(#[case] purged: &str, #[case] visited: &str, #[case] expected: bool) {
        assert_eq!(covers(purged, visited), expected);
    }

    proptest! {
        /// Whatever passes has one reading: decoding changes neither the number of segments nor makes a dot segment.
        #[test]
        fn path_normal_has_one_reading(path in "/[a-c./%2eEfF\\\\;0-9é]{0,12}") {
            if check(&path).is_ok() {
                let decoded = decode(&path).into_owned();
                prop_assert_eq!(segments(&path).count(), segments(&decoded).count());
                prop_assert!(segments(&decoded).all(|s| !s.is_empty() && s != "." && s != ".."));
            }
        }

        #[test]
        fn path_check_never_panics(path in "\\PC*") {
            let _ = check(&path);
        }
    }
}
