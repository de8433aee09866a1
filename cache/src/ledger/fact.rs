//! What a line that names its pages and a page that it selects have in common, as a hash: how one finds the other without
//! comparing all with all. Two facts may share a hash, so [`Ledger::selects`](super::Ledger::selects) has the last word.

use std::hash::{BuildHasher, Hash, Hasher};

use super::{Facts, Selector, Tags};
use crate::{hostname::Hostname, key, page::TagList, path};

/// Hash of a tag, or of a path with all that a purge of it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fact(pub(crate) u32);

impl Fact {
    fn tag(tag: &str) -> Self {
        Self(key::seed().hash_one(tag) as u32)
    }

    /// The same for all paths that are one to [`path::covers`].
    pub(crate) fn path(path: &str) -> Self {
        let mut hasher = key::seed().build_hasher();
        // A tag of that word is something else.
        hasher.write_u8(b'/');
        for segment in path::segments(path) {
            path::decode(segment).hash(&mut hasher);
        }
        Self(hasher.finish() as u32)
    }
}

impl Facts<'_> {
    /// All that a line may name the page by, but for tags that are not known.
    pub(crate) fn each(&self) -> impl Iterator<Item = Fact> {
        let page = path::data_path(self.path);
        let paths = [Some(Fact::path(self.path)), page.map(|page| Fact::path(&page))];
        let tags = match self.tags {
            Tags::Known(tags) => tags,
            Tags::Unknown => TagList::default(),
        };
        let tags = tags.iter().map(Fact::tag);
        paths.into_iter().flatten().chain(tags)
    }

    /// A bit for each of them.
    pub(super) fn mask(&self) -> u64 {
        match self.tags {
            Tags::Known(_) => mask(self.each()),
            Tags::Unknown => u64::MAX,
        }
    }
}

impl Selector {
    /// The facts of which each page has one that it selects, whatever else narrows it; `None`: it does not name its pages
    /// by tags and exact paths alone.
    pub(crate) fn facts(&self) -> Option<impl Iterator<Item = Fact>> {
        let is_understood = |name: &String| Hostname::parse(name).is_ok();
        let names = !self.everything && self.patterns.is_empty() && self.hostnames.iter().all(is_understood);
        names.then(|| {
            let tags = self.tags.iter().map(|tag| Fact::tag(tag));
            tags.chain(self.paths.iter().map(|path| Fact::path(path)))
        })
    }

    /// What it selects has one of these bits in its own mask.
    pub(super) fn mask(&self) -> u64 {
        self.facts().map_or(u64::MAX, mask)
    }
}

fn mask(facts: impl Iterator<Item = Fact>) -> u64 {
    facts.fold(0, |mask, fact| mask | 1 << (fact.0 % u64::BITS))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{
        ledger::{FEW, Ledger, Line, Strategy as Purge},
        page::TagSet,
    };

    const PATHS: &[&str] = &[
        "/",
        "/a",
        "/a/",
        "/A",
        "/a/b",
        "/caf%C3%A9",
        "/caf%c3%a9/",
        "/café",
        "/docs",
        "/a.json",
        "/_next/data/x/a.json",
        "/docs/_next/data/x/index.json",
    ];
    const TAGS: &[&str] = &["a", "/a", "b", "site"];

    /// Most lines name pages; others do besides, or instead.
    fn selector() -> impl Strategy<Value = Selector> {
        let some = |words: &'static [&str], most| vec(select(words).prop_map(str::to_owned), 0..most);
        let hostnames = some(&["shop.example.com", "*.example.com", "example.com", "*.*"], 2);
        (
            some(PATHS, 3),
            some(TAGS, 3),
            some(&["/[slug]", "/[slug"], 2),
            hostnames,
            any::<[u8; 3]>(),
        )
            .prop_map(|(paths, tags, patterns, hostnames, dice)| Selector {
                route: (dice[0] < 64).then(|| "blog".to_owned()),
                hostnames,
                paths,
                patterns: if dice[1] < 64 { patterns } else { Vec::new() },
                tags,
                everything: dice[2] < 16,
            })
    }

    proptest! {
        /// By what it has in common with a page, a line is never missed that selects it.
        #[test]
        fn facts_agree_with_what_lines_select(
            selectors in vec(selector(), 1..4 * FEW),
            path in select(PATHS),
            tags in prop::option::of(prop::sample::subsequence(TAGS, 0..TAGS.len())),
        ) {
            let ledger = Ledger::new();
            let lines = (1..).zip(&selectors).map(|(sequence, selector)| Line {
                sequence,
                selector: selector.clone(),
                strategy: Purge::Expire,
            });
            ledger.append(lines, 0, 0);
            let own = TagSet::new(tags.iter().flatten(), []).expect("few tags");
            let facts = Facts {
                route: "shop",
                host: "shop.example.com",
                path,
                tags: tags.map_or(Tags::Unknown, |_| Tags::Known(own.list())),
            };
            let mut selected = None;
            for (before, selector) in selectors.iter().enumerate().rev() {
                let before = before as u64;
                if ledger.selects(before + 1, &facts) {
                    selected = Some(Purge::Expire);
                    let has = |fact: Fact| facts.each().any(|own| own == fact);
                    if let (Some(mut named), Tags::Known(_)) = (selector.facts(), facts.tags) {
                        prop_assert!(named.any(has), "{:?}", selector);
                    }
                }
                prop_assert_eq!(ledger.effect(&facts, before), selected);
            }
        }
    }
}
