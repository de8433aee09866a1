//! The tags of a page, in one piece of memory.

use std::str;

/// The tags of a page: those of its rule, then those that the app named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSet {
    /// See [`TagList`].
    written: Box<[u8]>,
}

/// The tags of a [`TagSet`], wherever they are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct TagList<'a> {
    /// How many are the rule's, and then for each tag its length less one, and the tag; or nothing, where there is no tag.
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
        let (mut written, mut count) = (vec![0], 0);
        for tag in of_rule {
            count += usize::from(push(&mut written, tag.as_ref(), count)?);
        }
        written[0] = count as u8;
        for tag in of_app {
            count += usize::from(push(&mut written, tag.as_ref(), count)?);
        }
        if count == 0 {
            written.clear();
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

/// Writes a tag behind `count` others, unless it is among them. False: it was.
fn push(written: &mut Vec<u8>, tag: &str, count: usize) -> Result<bool, TooManyTags> {
    if tag.len() > TagSet::MAX_LENGTH {
        return Err(TooManyTags);
    }
    if tag.is_empty() || TagList::read(written).iter().any(|known| known == tag) {
        return Ok(false);
    }
    if count == TagSet::MAX {
        return Err(TooManyTags);
    }
    written.push((tag.len() - 1) as u8);
    written.extend_from_slice(tag.as_bytes());
    Ok(true)
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

    /// The same tags of the app with other tags of a rule.
    pub(super) fn under<S: AsRef<str>>(self, of_rule: &[S]) -> Result<TagSet, TooManyTags> {
        let old = usize::from(self.written.first().copied().unwrap_or_default());
        TagSet::new(of_rule.iter().map(AsRef::as_ref), self.iter().skip(old))
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
        assert_eq!(all(tags.list()), ["site", "é", "a", &long]);
        assert_eq!(tags.list().len(), 4);
        let under = tags.list().under(&["a", "b"]).unwrap();
        assert_eq!(all(under.list()), ["a", "b", &long]);
        assert_eq!(
            all(under.list().under::<&str>(&[]).unwrap().list()),
            [long.as_str()]
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
