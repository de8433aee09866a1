//! Path patterns in the manner of Next.js: `/blog/[slug]`, `/docs/[...rest]` (one segment or more),
//! `/shop/[[...rest]]` (none or more).
//!
//! A pattern is written as a person reads the path; the visitor's escapes are decoded once, per segment, for the
//! comparison and for what is captured. [`Ord`] is precedence: the most specific pattern comes first.

use std::{borrow::Cow, cmp::Ordering, fmt};

use smallvec::SmallVec;

use crate::path::{self, NotNormal};

/// Patterns deeper than this are refused: the way through the tree of patterns is recursive.
pub const MAX_SEGMENTS: usize = 64;

/// A parsed pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: Box<str>,
    segments: Box<[Segment]>,
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This text, decoded.
    Literal(Box<str>),
    /// `[name]`.
    One(Box<str>),
    /// `[...name]`, last.
    CatchAll(Box<str>),
    /// `[[...name]]`, last.
    OptionalCatchAll(Box<str>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Outside its captures a pattern obeys the rules for paths.
    #[error("no visited path matches it: {0}")]
    NotNormal(NotNormal),
    /// A bracket inside of a segment.
    #[error("brackets enclose a whole segment, such as /blog/[slug], and are not nested: {0:?}")]
    Brackets(String),
    /// `[]`, `[...]`.
    #[error("a capture needs a name of letters, digits, - and _: {0:?}")]
    Name(String),
    /// A name that occurs twice.
    #[error("a name is captured once: {0:?}")]
    Repeated(String),
    /// Something follows a catch-all.
    #[error("a catch-all is the last segment: {0:?}")]
    CatchAllNotLast(String),
    /// More than [`MAX_SEGMENTS`].
    #[error("a pattern has at most {MAX_SEGMENTS} segments")]
    TooDeep,
}

impl Pattern {
    /// Parses a pattern as the custom resources write it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        path::check(text).map_err(PatternError::NotNormal)?;
        let mut segments = Vec::new();
        for written in path::segments(text) {
            if matches!(
                segments.last(),
                Some(Segment::CatchAll(_) | Segment::OptionalCatchAll(_))
            ) {
                return Err(PatternError::CatchAllNotLast(text.to_owned()));
            }
            let segment = Segment::parse(written)?;
            if let Some(name) = segment.name()
                && segments
                    .iter()
                    .any(|earlier: &Segment| earlier.name() == Some(name))
            {
                return Err(PatternError::Repeated(name.to_owned()));
            }
            segments.push(segment);
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(PatternError::TooDeep);
        }
        Ok(Self {
            source: text.into(),
            segments: segments.into(),
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// What the pattern captures from `path`, which is in normal form; `None` if it does not match.
    pub fn matches<'a>(&'a self, path: &'a str) -> Option<Captures<'a>> {
        let mut captures = Captures::default();
        self.walk(path, |name, value| captures.values.push((name, value)))
            .then_some(captures)
    }

    /// Whether it matches `path`, which is in normal form. Allocates only where a literal meets an escape.
    pub fn is_match(&self, path: &str) -> bool {
        self.walk(path, |_, _| ())
    }

    /// Walks pattern and path together and hands on what is captured; false if they part.
    fn walk<'a>(&'a self, path: &'a str, mut capture: impl FnMut(&'a str, Captured<'a>)) -> bool {
        let mut visited = path::segments(path);
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => match visited.next() {
                    Some(seen) if is_literal(text, seen) => {}
                    _ => return false,
                },
                Segment::One(name) => match visited.next() {
                    Some(seen) => capture(name, Captured(seen)),
                    None => return false,
                },
                Segment::CatchAll(name) | Segment::OptionalCatchAll(name) => {
                    let rest = rest(path, self.segments.len() - 1);
                    let optional = matches!(segment, Segment::OptionalCatchAll(_));
                    if rest.is_empty() && !optional {
                        return false;
                    }
                    capture(name, Captured(rest));
                    return true;
                }
            }
        }
        visited.next().is_none()
    }

    /// The names that it captures.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::name)
    }

    /// The pattern without its names: patterns of equal shape match the same paths.
    pub fn shape(&self) -> String {
        let mut shape = String::with_capacity(self.source.len());
        for segment in &self.segments {
            shape.push('/');
            match segment {
                Segment::Literal(text) => shape.push_str(text),
                Segment::One(_) => shape.push_str("[]"),
                Segment::CatchAll(_) => shape.push_str("[...]"),
                Segment::OptionalCatchAll(_) => shape.push_str("[[...]]"),
            }
        }
        if shape.is_empty() {
            shape.push('/');
        }
        shape
    }

    /// The path, if the pattern captures nothing.
    pub fn literal(&self) -> Option<&str> {
        self.names().next().is_none().then_some(&*self.source)
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// Whether the literal of a pattern is the visited segment. Most segments have no escape, and none of these is decoded.
pub(crate) fn is_literal(literal: &str, seen: &str) -> bool {
    literal == seen || (seen.contains('%') && path::decode(seen) == literal)
}

/// What is left of `path` after `skip` segments, without slashes around it.
fn rest(path: &str, skip: usize) -> &str {
    let mut rest = path.strip_prefix('/').unwrap_or(path);
    for _ in 0..skip {
        rest = rest.split_once('/').map_or("", |(_, rest)| rest);
    }
    rest.strip_suffix('/').unwrap_or(rest)
}

impl Segment {
    fn parse(written: &str) -> Result<Self, PatternError> {
        let (make, name): (fn(Box<str>) -> Self, &str) = if let Some(name) = enclosed(written, "[[...", "]]")
        {
            (Self::OptionalCatchAll, name)
        } else if let Some(name) = enclosed(written, "[...", "]") {
            (Self::CatchAll, name)
        } else if let Some(name) = enclosed(written, "[", "]") {
            (Self::One, name)
        } else if written.contains(['[', ']']) {
            return Err(PatternError::Brackets(written.to_owned()));
        } else {
            return Ok(Self::Literal(path::decode(written).into()));
        };
        if name.contains(['[', ']']) {
            return Err(PatternError::Brackets(written.to_owned()));
        }
        let is_named = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !is_named {
            return Err(PatternError::Name(written.to_owned()));
        }
        Ok(make(name.into()))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::One(name) | Self::CatchAll(name) | Self::OptionalCatchAll(name) => Some(name),
        }
    }

    /// Precedence alone, names aside; 0 is the most specific.
    fn rank(&self) -> (u8, &str) {
        match self {
            Self::Literal(text) => (0, text),
            Self::One(_) => (2, ""),
            Self::CatchAll(_) => (3, ""),
            Self::OptionalCatchAll(_) => (4, ""),
        }
    }
}

fn enclosed<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

impl Ord for Pattern {
    /// The most specific first: segment by segment from the left, a literal before `[name]` before `[...name]` before
    /// `[[...name]]`; a pattern that ends goes before one that has an optional catch-all there.
    fn cmp(&self, other: &Self) -> Ordering {
        const END: (u8, &str) = (1, "");
        let own = self.segments.iter().map(Segment::rank).chain([END]);
        let others = other.segments.iter().map(Segment::rank).chain([END]);
        own.cmp(others).then_with(|| self.source.cmp(&other.source))
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// What a pattern captured from a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures<'a> {
    values: SmallVec<[(&'a str, Captured<'a>); 4]>,
}

/// One captured piece of a path, still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Captured<'a>(&'a str);

impl Captures<'_> {
    /// What `name` captured, decoded once; a catch-all gives its segments with `/` between them, an optional one that
    /// met none gives the empty text. `None`: the pattern does not capture that name.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.values
            .iter()
            .find(|(captured, _)| *captured == name)
            .map(|(_, Captured(value))| path::decode(value))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[rstest]
    #[case("/", "/", &[])]
    #[case("/blog", "/blog", &[])]
    #[case("/blog", "/blog/", &[])]
    #[case("/blog/", "/blog", &[])]
    #[case("/blog/[slug]", "/blog/hello", &[("slug", "hello")])]
    #[case("/blog/[slug]", "/blog/hello/", &[("slug", "hello")])]
    #[case("/blog/[slug]", "/blog/a%20b%2525", &[("slug", "a b%25")])]
    #[case("/[a]/x/[b]", "/1/x/2", &[("a", "1"), ("b", "2")])]
    #[case("/docs/[...rest]", "/docs/a", &[("rest", "a")])]
    #[case("/docs/[...rest]", "/docs/a/b%20c/", &[("rest", "a/b c")])]
    #[case("/shop/[[...rest]]", "/shop", &[("rest", "")])]
    #[case("/shop/[[...rest]]", "/shop/", &[("rest", "")])]
    #[case("/shop/[[...rest]]", "/shop/a/b", &[("rest", "a/b")])]
    #[case("/[[...all]]", "/", &[("all", "")])]
    #[case("/[[...all]]", "/a/b", &[("all", "a/b")])]
    #[case("/café", "/caf%C3%A9", &[])]
    #[case("/caf%C3%A9", "/caf%c3%a9", &[])]
    #[case("/a b", "/a%20b", &[])]
    fn pattern_matches(#[case] text: &str, #[case] path: &str, #[case] captured: &[(&str, &str)]) {
        let pattern = pattern(text);
        let captures = pattern.matches(path).expect("it matches");
        assert!(pattern.is_match(path));
        assert_eq!(captures.values.len(), captured.len());
        for (name, value) in captured {
            assert_eq!(captures.get(name).as_deref(), Some(*value));
        }
        assert_eq!(captures.get("other"), None);
    }

    #[rstest]
    #[case("/", "/a")]
    #[case("/blog", "/Blog")]
    #[case("/blog", "/blog/a")]
    #[case("/blog/[slug]", "/blog")]
    #[case("/blog/[slug]", "/blog/")]
    #[case("/blog/[slug]", "/blog/a/b")]
    #[case("/docs/[...rest]", "/docs")]
    #[case("/docs/[...rest]", "/docs/")]
    #[case("/docs/[...rest]", "/docsa/b")]
    #[case("/shop/[[...rest]]", "/shopping")]
    #[case("/[slug]", "/")]
    fn pattern_does_not_match(#[case] text: &str, #[case] path: &str) {
        assert!(!pattern(text).is_match(path));
        assert_eq!(pattern(text).matches(path), None);
    }

    #[rstest]
    #[case("blog", PatternError::NotNormal(NotNormal::NotAbsolute))]
    #[case("/a//b", PatternError::NotNormal(NotNormal::EmptySegment))]
    #[case("/a/../[b]", PatternError::NotNormal(NotNormal::DotSegment))]
    #[case("/a?b", PatternError::NotNormal(NotNormal::Query))]
    #[case("/a-[b]", PatternError::Brackets("a-[b]".to_owned()))]
    #[case("/[a]b", PatternError::Brackets("[a]b".to_owned()))]
    #[case("/[[a]]", PatternError::Brackets("[[a]]".to_owned()))]
    #[case("/[[...a]", PatternError::Brackets("[[...a]".to_owned()))]
    #[case("/[...a]]", PatternError::Brackets("[...a]]".to_owned()))]
    #[case("/[", PatternError::Brackets("[".to_owned()))]
    #[case("/[]", PatternError::Name("[]".to_owned()))]
    #[case("/[...]", PatternError::Name("[...]".to_owned()))]
    #[case("/[a b]", PatternError::Name("[a b]".to_owned()))]
    #[case("/[..a]", PatternError::Name("[..a]".to_owned()))]
    #[case("/[a]/[a]", PatternError::Repeated("a".to_owned()))]
    #[case("/[...a]/b", PatternError::CatchAllNotLast("/[...a]/b".to_owned()))]
    #[case("/[[...a]]/[b]", PatternError::CatchAllNotLast("/[[...a]]/[b]".to_owned()))]
    fn pattern_is_refused(#[case] text: &str, #[case] reason: PatternError) {
        assert_eq!(Pattern::parse(text), Err(reason));
    }

    #[test]
    fn pattern_too_deep() {
        assert!(Pattern::parse(&"/a".repeat(MAX_SEGMENTS)).is_ok());
        assert_eq!(
            Pattern::parse(&"/a".repeat(MAX_SEGMENTS + 1)),
            Err(PatternError::TooDeep)
        );
    }

    #[test]
    fn pattern_order_is_precedence() {
        let in_order = [
            "/a/b/c",
            "/a/b",
            "/a/b/[c]",
            "/a/b/[...c]",
            "/a/b/[[...c]]",
            "/a",
            "/a/[b]/c",
            "/a/[b]",
            "/a/[...b]",
            "/a/[[...b]]",
            "/",
            "/[a]/b",
            "/[a]",
            "/[a]/[b]",
            "/[...a]",
            "/[[...a]]",
        ];
        let mut sorted: Vec<_> = in_order.iter().rev().map(|text| pattern(text)).collect();
        sorted.sort();
        let sorted: Vec<_> = sorted.iter().map(Pattern::as_str).collect();
        assert_eq!(sorted, in_order);
    }

    #[rstest]
    #[case("/blog/[slug]", "/blog/[id]/", true)]
    #[case("/[...a]", "/[...b]", true)]
    #[case("/caf%C3%A9", "/café", true)]
    #[case("/", "/", true)]
    #[case("/[...a]", "/[[...a]]", false)]
    #[case("/[a]", "/a", false)]
    fn pattern_shape_ignores_names(#[case] one: &str, #[case] other: &str, #[case] equal: bool) {
        assert_eq!(pattern(one).shape() == pattern(other).shape(), equal);
    }
}
