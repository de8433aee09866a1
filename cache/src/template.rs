//! Tags of a rule: texts in which `[name]` stands for what the path pattern captured under that name.

use std::fmt;

use compact_str::CompactString;

use crate::pattern::Captures;

/// A parsed tag: `post:[slug]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: Box<str>,
    pieces: Box<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Capture(Box<str>),
}

/// Why a text is no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing.
    #[error("a tag is not empty")]
    Empty,
    /// A bracket without its other half, or nothing between them.
    #[error("brackets enclose the name of a capture, such as post:[slug]")]
    Brackets,
    /// Something that no header could carry.
    #[error("a tag has no control characters")]
    Control,
}

impl Template {
    /// Parses a tag. A catch-all may be named in either way: `[rest]`, `[...rest]`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(TemplateError::Control);
        }
        let mut pieces = Vec::new();
        let mut left = text;
        while let Some((before, after)) = left.split_once('[') {
            let (name, after) = enclosed(after).ok_or(TemplateError::Brackets)?;
            if before.contains(']') {
                return Err(TemplateError::Brackets);
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(Piece::Capture(name.into()));
            left = after;
        }
        if left.contains(']') {
            return Err(TemplateError::Brackets);
        }
        if !left.is_empty() {
            pieces.push(Piece::Text(left.into()));
        }
        Ok(Self {
            source: text.into(),
            pieces: pieces.into(),
        })
    }

    /// The captures that it needs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Capture(name) => Some(&**name),
        })
    }

    /// The tag of a page. `None` where the page's pattern does not capture all that the tag names (a rule may have
    /// several patterns), or where nothing is left.
    pub fn fill(&self, captures: &Captures<'_>) -> Option<CompactString> {
        let mut tag = CompactString::default();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => tag.push_str(text),
                Piece::Capture(name) => tag.push_str(&captures.get(name)?),
            }
        }
        (!tag.is_empty()).then_some(tag)
    }
}

/// The name after an opening bracket and what follows the closing one.
fn enclosed(text: &str) -> Option<(&str, &str)> {
    let (name, after) = if let Some(text) = text.strip_prefix("[...") {
        text.split_once("]]")?
    } else {
        text.strip_prefix("...").unwrap_or(text).split_once(']')?
    };
    (!name.is_empty() && !name.contains(['[', ']'])).then_some((name, after))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::pattern::Pattern;

    #[rstest]
    #[case("blog", "/blog/[slug]", "/blog/a", Some("blog"))]
    #[case("post:[slug]", "/blog/[slug]", "/blog/a%20b", Some("post:a b"))]
    #[case("[a]-[b]!", "/[a]/[b]", "/1/2", Some("1-2!"))]
    #[case("docs:[rest]", "/docs/[...rest]", "/docs/a/b", Some("docs:a/b"))]
    #[case("docs:[...rest]", "/docs/[...rest]", "/docs/a/b", Some("docs:a/b"))]
    #[case("[[...rest]]", "/docs/[[...rest]]", "/docs/a", Some("a"))]
    #[case("[rest]", "/docs/[[...rest]]", "/docs", None)]
    #[case("post:[slug]", "/about", "/about", None)]
    fn template_fills(
        #[case] tag: &str,
        #[case] pattern: &str,
        #[case] path: &str,
        #[case] expected: Option<&str>,
    ) {
        let pattern = Pattern::parse(pattern).unwrap();
        let captures = pattern.matches(path).unwrap();
        let template = Template::parse(tag).unwrap();
        assert_eq!(template.fill(&captures).as_deref(), expected);
        assert_eq!(template.to_string(), tag);
    }

    #[rstest]
    #[case("", TemplateError::Empty)]
    #[case("post:[slug", TemplateError::Brackets)]
    #[case("post:slug]", TemplateError::Brackets)]
    #[case("a]b[c]", TemplateError::Brackets)]
    #[case("post:[]", TemplateError::Brackets)]
    #[case("[[slug]]", TemplateError::Brackets)]
    #[case("a\nb", TemplateError::Control)]
    fn template_is_refused(#[case] text: &str, #[case] reason: TemplateError) {
        assert_eq!(Template::parse(text), Err(reason));
    }
}
