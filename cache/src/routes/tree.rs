//! Patterns of one hostname as a tree of segments. The way down tries a literal, then `[name]`, then the catch-alls, so
//! that the first leaf found is the most specific pattern that matches ([`crate::pattern::Pattern`]'s order).

use std::{borrow::Cow, str::Split};

use ahash::HashMap;

use crate::{
    path,
    pattern::{Pattern, Segment},
};

/// A node: what may follow one prefix of segments.
#[derive(Debug)]
pub(super) struct Tree<T> {
    literals: HashMap<Box<str>, Tree<T>>,
    one: Option<Box<Tree<T>>>,
    catch_all: Option<T>,
    optional: Option<T>,
    end: Option<T>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self {
            literals: HashMap::default(),
            one: None,
            catch_all: None,
            optional: None,
            end: None,
        }
    }
}

impl<T> Tree<T> {
    /// The place of a pattern; occupied where a pattern of equal shape came before.
    pub(super) fn place(&mut self, pattern: &Pattern) -> &mut Option<T> {
        let mut node = self;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::One(_) => node.one.get_or_insert_with(Box::default),
                Segment::CatchAll(_) => return &mut node.catch_all,
                Segment::OptionalCatchAll(_) => return &mut node.optional,
            };
        }
        &mut node.end
    }

    /// What the most specific pattern that matches `path` holds; `path` is in normal form.
    pub(super) fn find(&self, path: &str) -> Option<&T> {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return self.end.as_ref().or(self.optional.as_ref());
        }
        self.descend(inner.split('/'))
    }

    /// Each node is visited at most once a path, since a node has one depth and one way to it.
    fn descend(&self, mut left: Split<'_, char>) -> Option<&T> {
        let Some(segment) = left.next() else {
            return self.end.as_ref().or(self.optional.as_ref());
        };
        if !self.literals.is_empty() {
            let text = if segment.contains('%') {
                path::decode(segment)
            } else {
                Cow::Borrowed(segment)
            };
            let found = self
                .literals
                .get(&*text)
                .and_then(|node| node.descend(left.clone()));
            if found.is_some() {
                return found;
            }
        }
        self.one
            .as_ref()
            .and_then(|node| node.descend(left))
            .or(self.catch_all.as_ref())
            .or(self.optional.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "[x]", "[...x]", "[[...x]]"]).prop_map(str::to_owned)
    }

    fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
        let text = prop::collection::vec(segment(), 0..4)
            .prop_map(|segments| format!("/{}", segments.join("/").replace("[x]", "[y]")));
        let parsed = text.prop_filter_map("a pattern", |text| Pattern::parse(&text).ok());
        prop::collection::vec(parsed, 0..12)
    }

    proptest! {
        /// The tree finds what a look through the patterns in the order of precedence finds.
        #[test]
        fn routes_tree_agrees_with_precedence(
            mut patterns in patterns(),
            path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "%5B"]), 0..5),
            slash in any::<bool>(),
        ) {
            let slash = if slash && !path.is_empty() { "/" } else { "" };
            let path = format!("/{}{slash}", path.join("/"));
            let mut tree = Tree::default();
            for pattern in &patterns {
                tree.place(pattern).get_or_insert_with(|| pattern.shape());
            }
            patterns.sort();
            let expected = patterns.iter().find(|pattern| pattern.is_match(&path)).map(Pattern::shape);
            prop_assert_eq!(tree.find(&path), expected.as_ref());
        }
    }
}
