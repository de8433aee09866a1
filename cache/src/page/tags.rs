//! The tags of a page, in one piece of memory.

use std::str;

/// The tags of a page: those that its rule alone names, those that both name, those that the app alone names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSet {
    /// See [`TagList`].
    written: Box<[u8]>,
}

/// The tags of a [`TagSet`], wherever they are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct TagList<'a> {
    /// How many are the rule's alone, and then for each tag its length less one, and the tag; or nothing, where there is no
    /// tag.
    written: &'a [u8],
}

/// Why tags make a page unstorable: a dropped tag would be a missed purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a page has at most {} tags of at most {} bytes",
    TagSet::MAX,
    TagSet::MAX_LENGTH
)]
pub struct TooManyTags;

impl TagSet {
    /// A page has at most this many tags.
    pub const MAX: usize = 128;
    /// A tag has at most this many bytes.
    pub const MAX_LENGTH: usize = 256;

    /// The tags of the rule and of the app, each once.
    pub fn new<S: AsRef<str>>(
        of_rule: impl IntoIterator<Item = S>,
        of_app: impl IntoIterator<Item = S>,
    ) -> Result<Self, TooManyTags> {
        let (of_rule, of_app) = (tags(of_rule)?, tags(of_app)?);
        let both = |tag: &&S| of_app.iter().any(|other| other.as_ref() == tag.as_ref());
        let (both, alone): (Vec<_>, Vec<_>) = of_rule.iter().partition(both);
        let by_rule = |tag: &&S| of_rule.iter().any(|other| other.as_ref() == tag.as_ref());
        let others: Vec<_> = of_app.iter().filter(|tag| !by_rule(tag)).collect();
        if of_rule.len() + others.len() > Self::MAX {
            return Err(TooManyTags);
        }
        if of_rule.is_empty() && others.is_empty() {
            return Ok(Self::default());
        }
        let mut written = vec![alone.len() as u8];
        for tag in alone.into_iter().chain(both).chain(others) {
            let tag = tag.as_ref().as_bytes();
            written.push((tag.len() - 1) as u8);
            written.extend_from_slice(tag);
        }
        Ok(Self {
            written: written.into(),
        })
    }

    /// All of them.
    pub fn list(&self) -> TagList<'_> {
        TagList {
            written: &self.written,
        }
    }
}

/// Each tag once; an empty one is none.
fn tags<S: AsRef<str>>(all: impl IntoIterator<Item = S>) -> Result<Vec<S>, TooManyTags> {
    let mut tags: Vec<S> = Vec::new();
    for tag in all {
        let text = tag.as_ref();
        if text.len() > TagSet::MAX_LENGTH {
            return Err(TooManyTags);
        }
        if text.is_empty() || tags.iter().any(|known| known.as_ref() == text) {
            continue;
        }
        if tags.len() == TagSet::MAX {
            return Err(TooManyTags);
        }
        tags.push(tag);
    }
    Ok(tags)
}

impl<'a> TagList<'a> {
    /// What [`TagList::written`] gave.
    pub(super) const fn read(written: &'a [u8]) -> Self {
        Self { written }
    }

    /// As they are kept.
    pub(super) const fn written(self) -> &'a [u8] {
        self.written
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut rest = self.written.get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (tag, after) = after.split_at_checked(usize::from(*length) + 1)?;
            rest = after;
            str::from_utf8(tag).ok()
        })
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// There is none.
    pub fn is_empty(self) -> bool {
        self.written.is_empty()
    }

    /// The same tags of the app with other tags of a rule. What both named is the app's too.
    pub(super) fn under<S: AsRef<str>>(self, of_rule: &[S]) -> Result<TagSet, TooManyTags> {
        let alone = usize::from(self.written.first().copied().unwrap_or_default());
        TagSet::new(of_rule.iter().map(AsRef::as_ref), self.iter().skip(alone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_each_there_once() {
        let long = "x".repeat(TagSet::MAX_LENGTH);
        let tags = TagSet::new(["site", "", "é"], ["site", "a", &long, "a"]).unwrap();
        let all = |list: TagList<'_>| list.iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(all(tags.list()), ["é", "site", "a", &long]);
        assert_eq!(tags.list().len(), 4);
        let under = tags.list().under(&["a", "b"]).unwrap();
        assert_eq!(all(under.list()), ["b", "a", "site", &long]);
        // What the app names stays, whether the rule names it too or no longer does.
        assert_eq!(
            all(under.list().under::<&str>(&[]).unwrap().list()),
            ["a", "site", &long]
        );
        assert_eq!(TagSet::new([""], []).unwrap(), TagSet::default());
        assert!(TagSet::default().list().is_empty());
    }

    #[test]
    fn tags_are_few_and_short() {
        let many = |count: usize| TagSet::new((0..count).map(|tag| tag.to_string()), []);
        assert_eq!(many(TagSet::MAX).unwrap().list().len(), TagSet::MAX);
        assert_eq!(many(TagSet::MAX + 1), Err(TooManyTags));
        assert_eq!(TagSet::new(["x".repeat(257)], []), Err(TooManyTags));
    }
}
