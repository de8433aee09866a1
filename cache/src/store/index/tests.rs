//! The index against a look at every page.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use compact_str::CompactString;
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    coding::Coding,
    config::Scheme,
    key::Key,
    ledger::{Ledger, Selector, Strategy as Purge},
    mk::{mk_key, mk_page, mk_parts, mk_plan, mk_variant, texts},
    page::{Page, TagSet},
    routes::Plan,
    store::{Inserted, Store},
};

/// Little enough for pages to be evicted.
const BUDGET: u64 = 300_000;
const TAGS: &[&str] = &["a", "b", "c"];
/// Of the rule, before it is changed and after.
const RULES: [&str; 2] = ["site", "page"];

/// Pages that one purge of a path covers, others near to them, and data of Next.js.
fn keys() -> Vec<Arc<Key>> {
    let key = |host, path, query| Arc::new(Key::new(Scheme::Https, host, path, query).expect("a good key"));
    let mut keys: Vec<_> = ["", "x=1", "x=2"]
        .map(|query| key("example.com", "/a", query))
        .into();
    keys.extend(["/a/", "/b", "/caf%C3%A9", "/a.json", "/_next/data/x/a.json"].map(mk_key));
    keys.extend(["de", "en"].map(|value| mk_variant("/a", "accept-language", value)));
    keys.push(key("other.com", "/a", ""));
    keys
}

fn selectors() -> Vec<Selector> {
    let by = |tags: &[&str], paths: &[&str], hostnames: &[&str]| Selector {
        tags: texts(tags),
        paths: texts(paths),
        hostnames: texts(hostnames),
        ..Selector::default()
    };
    let mut selectors: Vec<_> = TAGS
        .iter()
        .chain(&RULES)
        .map(|tag| by(&[tag], &[], &[]))
        .collect();
    selectors.extend(["/a", "/b/", "/café", "/a.json", "/"].map(|path| by(&[], &[path], &[])));
    selectors.push(by(&["a", "b"], &["/a"], &[]));
    selectors.push(by(&["b"], &[], &["other.com"]));
    selectors
}

/// One line for each of them, after the stamps of all pages.
fn purge(ledger: &Ledger, selectors: Vec<Selector>) -> Vec<Line> {
    let lines = (1..).zip(selectors).map(|(sequence, selector)| Line {
        sequence,
        selector,
        strategy: Purge::Refresh,
    });
    let lines: Vec<_> = lines.collect();
    ledger.append(lines.iter().cloned(), 0, 0);
    lines
}

fn mk_tagged(plan: &Plan, key: &Arc<Key>, tags: &[&str], length: usize) -> Page {
    let mut parts = mk_parts(plan, key.path(), 0, length);
    parts.key = key.clone();
    let of_app = tags.iter().map(|tag| CompactString::from(*tag));
    parts.tags = TagSet::new(plan.tags(key.path()), of_app).expect("few tags");
    Page::new(parts)
}

fn ids(pages: impl Iterator<Item = Page>) -> Vec<u64> {
    pages.map(|page| page.id()).collect()
}

impl Store {
    /// The index knows what is stored and nothing else, and finds all that lines select.
    fn check_index(&self, ledger: &Ledger, lines: &[Line]) -> Result<(), TestCaseError> {
        let facts = |page: Page| page.facts().each().collect::<BTreeSet<_>>().len();
        let expected: usize = self.pages().map(facts).sum();
        prop_assert_eq!(self.registers.index.lock().len(), expected);
        for line in lines.iter().map(std::slice::from_ref).chain([lines]) {
            let facts = named(line).expect("all are named");
            let found = self.keys_with(&facts, usize::MAX).expect("fewer");
            prop_assert!(found.is_sorted_by(|one, next| one < next));
            let selects = |page: &Page| {
                line.iter()
                    .any(|line| ledger.selects(line.sequence, &page.facts()))
            };
            for id in ids(self.pages().filter(selects)) {
                prop_assert!(found.contains(&id));
            }
            if let Some(pages) = self.candidates(line) {
                prop_assert_eq!(ids(pages), found);
            } else {
                let each = facts
                    .iter()
                    .filter_map(|fact| self.keys_with(&[*fact], usize::MAX));
                prop_assert!(each.map(|ids| ids.len()).sum::<usize>() >= self.len());
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, Vec<&'static str>, usize),
    /// The rule's tag changes, and a visitor comes to a page.
    Adopt(usize, usize),
    Encode(usize, usize),
    Remove(usize),
    /// Flights take room from the pages, or give it back.
    Grow(u64),
    Land,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let (keys, tags) = (keys().len(), vec(select(TAGS), 0..3));
    prop_oneof![
        12 => (0..keys, tags, 0..60_000_usize).prop_map(|(key, tags, length)| Step::Put(key, tags, length)),
        4 => (0..keys, 0..RULES.len()).prop_map(|(key, rule)| Step::Adopt(key, rule)),
        4 => (0..keys, 0..20_000_usize).prop_map(|(key, length)| Step::Encode(key, length)),
        2 => (0..keys).prop_map(Step::Remove),
        2 => (0..100_000_u64).prop_map(Step::Grow),
        1 => Just(Step::Land),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn index_follows_the_store(steps in vec(step(), 1..60)) {
        let (store, ledger, keys) = (Store::new(BUDGET), Ledger::new(), keys());
        let plans = RULES.map(|tag| mk_plan(|rule| rule.tags = texts(&[tag])));
        let lines = purge(&ledger, selectors());
        let mut flight = store.reserve();
        for step in steps {
            let stored = |key: usize| store.peek(&keys[key]);
            match step {
                Step::Put(key, tags, length) => {
                    store.insert(&mk_tagged(&plans[0], &keys[key], &tags, length));
                }
                Step::Adopt(key, rule) => {
                    store.find(&keys[key], &plans[rule]);
                }
                Step::Encode(key, length) => {
                    let body = Bytes::from(vec![0; length]);
                    stored(key).map(|page| store.encode(&page, Coding::Gzip, body));
                }
                Step::Remove(key) => {
                    stored(key).map(|page| store.remove(&page));
                }
                Step::Grow(bytes) => {
                    flight.grow(bytes);
                }
                Step::Land => flight = store.reserve(),
                Step::Clear => store.clear(),
            }
            store.check_index(&ledger, &lines)?;
        }
        for page in store.pages() {
            store.remove(&page);
        }
        prop_assert_eq!(store.registers.index.lock().len(), 0);
    }
}

#[test]
fn index_forgets_what_is_evicted() {
    let (store, plan) = (Store::new(1 << 20), mk_plan(|_| ()));
    for number in 0..5000 {
        let page = mk_tagged(
            &plan,
            &mk_key(&format!("/{number}")),
            &["all", &number.to_string()],
            100,
        );
        assert_eq!(store.insert(&page), Inserted::Stored);
    }
    assert!(store.len() < 3000);
    // A path, the tag of the rule, two of the app.
    assert_eq!(store.registers.index.lock().len(), 4 * store.len());
    let last = purge(
        &Ledger::new(),
        vec![Selector {
            tags: texts(&["4999"]),
            ..Selector::default()
        }],
    );
    assert_eq!(
        ids(store.candidates(&last).expect("one of them")),
        [mk_key("/4999").id()]
    );
}

#[test]
fn index_forgets_what_becomes_too_heavy() {
    let (store, plan) = (Store::new(100_000), mk_plan(|_| ()));
    let of_length = |length: u64| Arc::new(mk_page(&plan, "/a", 0, length as usize));
    let most = store.pages.shard_capacity();
    let heaviest = (0..most)
        .rev()
        .step_by(16)
        .map(of_length)
        .find(|page| store.fits(page.weight()));
    assert_eq!(store.insert(&heaviest.expect("an empty one")), Inserted::Stored);
    let long = |number: usize| format!("{number:0200}");
    let changed = mk_plan(|rule| rule.tags = (0..32).map(long).collect());
    assert!(store.find(&mk_key("/a"), &changed).is_some());
    assert_eq!((store.len(), store.registers.index.lock().len()), (0, 0));
}

/// A page that is replaced by another, or by itself with one more coding, is there all the while.
#[test]
fn index_misses_no_page_that_is_being_replaced() {
    let (store, plan) = (Store::new(1 << 20), mk_plan(|_| ()));
    let line = purge(&Ledger::new(), vec![selectors().swap_remove(0)]);
    for path in ["/b", "/c"] {
        store.insert(&mk_tagged(&plan, &mk_key(path), &[], 1));
    }
    let page = || mk_tagged(&plan, &mk_key("/a"), TAGS, 3000);
    store.insert(&page());
    std::thread::scope(|scope| {
        let replaced = scope.spawn(|| {
            for round in 0..2000 {
                let page = page();
                store.insert(&page);
                assert!(store.encode(&page, Coding::ALL[round % 3], vec![1; 4].into()));
            }
        });
        while !replaced.is_finished() {
            let found = store.candidates(&line).expect("one of three");
            assert_eq!(ids(found), [mk_key("/a").id()]);
        }
    });
}
