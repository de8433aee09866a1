use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    ledger::{Ledger, Line, Selector, Strategy as Purge},
    mk::{mk_key, mk_owner, mk_page, mk_parts, mk_plan, texts},
    page::{BackOff, Parts, TagSet},
    time::Moment,
};

const MIB: u64 = 1 << 20;

fn put(store: &Store, plan: &Plan, path: &str, stamp: u64, length: usize) -> Inserted {
    store.insert(&mk_page(plan, path, stamp, length))
}

#[test]
fn store_never_goes_back_in_time() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    assert_eq!(put(&store, &plan, "/a", 5, 1), Inserted::Stored);
    assert_eq!(put(&store, &plan, "/a", 4, 2), Inserted::Older);
    assert_eq!(store.get(&mk_key("/a")).unwrap().stamp(), 5);
    assert_eq!(put(&store, &plan, "/a", 5, 3), Inserted::Stored);
    assert_eq!(store.get(&mk_key("/a")).unwrap().body().len(), 3);
}

#[test]
fn store_keeps_the_old_page_where_the_new_one_is_too_heavy() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    put(&store, &plan, "/a", 1, 1);
    assert_eq!(put(&store, &plan, "/a", 2, MIB as usize), Inserted::TooHeavy);
    assert_eq!(store.get(&mk_key("/a")).unwrap().stamp(), 1);
}

/// Capacity is split over shards, so many shards would silently refuse large pages.
#[test]
fn store_takes_the_largest_body_whatever_the_budget() {
    for mib in [12, 64, 128, 200, 1024, 1 << 14] {
        let store = Store::new(mib * MIB);
        assert!(store.fits(LARGEST + 4096), "{mib} MiB");
        assert!(store.pages.num_shards() <= MAX_SHARDS as usize);
        assert!(store.pages.capacity() <= mib * MIB);
    }
}

#[test]
fn store_brings_pages_under_the_plan_in_force() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    let ledger = Ledger::new();
    let line = |sequence, tag: &str| Line {
        sequence,
        selector: Selector {
            tags: texts(&[tag]),
            ..Selector::default()
        },
        strategy: Purge::Expire,
    };
    put(&store, &plan, "/a", 0, 1);
    ledger.append([line(1, "new")], 1, 0);
    assert_eq!(store.find(&mk_key("/a"), &plan).unwrap().check(&ledger), None);
    // The tag that was purged is a tag of the page only now.
    let changed = mk_plan(|rule| rule.tags = texts(&["new"]));
    let adopted = store.find(&mk_key("/a"), &changed).unwrap();
    assert_eq!(adopted.check(&ledger), Some(Purge::Expire));
    assert!(adopted.is(&store.find(&mk_key("/a"), &changed).unwrap()));
}

#[test]
fn store_keeps_a_tag_of_the_app_that_the_rule_no_longer_names() {
    let (store, plan) = (Store::new(MIB), mk_plan(|rule| rule.tags = texts(&["posts"])));
    let parts = mk_parts(&plan, "/a", 0, 1);
    store.insert(&Page::new(Parts {
        tags: TagSet::new(["posts"], ["posts"]).unwrap(),
        ..parts
    }));
    let bare = mk_plan(|rule| rule.tags.clear());
    let page = store.find(&mk_key("/a"), &bare).unwrap();
    assert_eq!(page.tags().iter().collect::<Vec<_>>(), ["posts"]);
    let again = store.find(&mk_key("/a"), &plan).unwrap();
    assert_eq!(again.tags().iter().collect::<Vec<_>>(), ["posts"]);
    let gone = TagSet::new(["posts"], []).unwrap();
    store.insert(&Page::new(Parts {
        tags: gone,
        ..mk_parts(&plan, "/a", 0, 1)
    }));
    assert!(
        store.find(&mk_key("/a"), &bare).unwrap().tags().is_empty(),
        "the rule's alone"
    );
}

#[test]
fn store_drops_pages_that_the_rule_would_not_store_any_more() {
    use crate::config::Rule;
    let withdrawn: [fn(&mut Rule); 4] = [
        |rule| rule.overrides.private = true,
        |rule| rule.overrides.no_store = true,
        |rule| rule.overrides.set_cookie = true,
        |rule| rule.heuristic = true,
    ];
    for allow in withdrawn {
        let (store, allowing, strict) = (Store::new(MIB), mk_plan(allow), mk_plan(|_| ()));
        put(&store, &strict, "/a", 0, 1);
        assert!(
            store.find(&mk_key("/a"), &allowing).is_some(),
            "nothing was withdrawn"
        );
        assert!(store.find(&mk_key("/a"), &strict).is_none());
        assert!(store.is_empty());
    }
}

/// What has left the store and is still read is in memory.
#[test]
fn store_counts_what_somebody_holds_and_takes_no_more_than_the_rest() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    let mut held = Vec::new();
    let mut number = 0;
    // Who holds every page of it.
    loop {
        let page = mk_page(&plan, &format!("/{number}"), 0, 50_000);
        let mut room = store.reserve();
        if !room.grow(page.weight()) {
            break;
        }
        store.insert(&page);
        drop(room);
        held.push(page.body());
        number += 1;
        assert!(store.bytes() <= store.budget(), "{} pages", held.len());
        assert!(held.len() < 100, "it is never full");
    }
    assert!(held.len() * 50_000 > MIB as usize / 2, "{}", held.len());
    held.clear();
    assert!(store.reserve().grow(60_000));
    number += 1;
    put(&store, &plan, &format!("/{}", number - 1), 0, 50_000);
    // A page that others of its kind take the place of lives on in them.
    let body = store.get(&mk_key(&format!("/{}", number - 1))).unwrap().body();
    let before = store.bytes();
    let page = store.get(&mk_key(&format!("/{}", number - 1))).unwrap();
    assert!(store.encode(&page, Coding::Gzip, vec![0; 10].into()));
    drop(page);
    assert!(store.bytes() < before + 1000, "{before} {}", store.bytes());
    drop(body);
    store.clear();
    assert_eq!(store.bytes(), 0);
}

/// Whoever replaces pages holds each for a moment: no page makes way for that.
#[test]
fn store_keeps_what_is_brought_under_another_plan() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    for number in 0..200 {
        put(&store, &plan, &format!("/{number}"), 0, 10_000);
    }
    let stored = store.len();
    let changed = mk_plan(|rule| rule.tags = texts(&["new"]));
    let pages: Vec<_> = store.pages().collect();
    for page in &pages {
        store.adopt(page, &changed);
    }
    // As long as all are held there are two of each; then there are not.
    assert!(store.bytes() > MIB);
    drop(pages);
    let mut room = store.reserve();
    assert!(room.grow(1));
    assert_eq!(store.len(), stored);
}

/// Two pages with one body that have both left do not hold each other.
#[test]
fn store_lets_go_of_a_page_that_another_was_made_of() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    put(&store, &plan, "/a", 1, 50_000);
    let old = store.get(&mk_key("/a")).unwrap();
    assert!(store.remove(&old));
    let new = old.confirmed(http::HeaderMap::new(), None, Moment(1));
    assert_eq!(store.insert(&new), Inserted::Stored);
    old.hand_on(&new);
    drop(old);
    assert!(store.bytes() < 60_000);
    assert!(store.remove(&new));
    drop(new);
    assert_eq!(store.bytes(), 0);
}

#[test]
fn store_drops_pages_of_another_route() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    put(&store, &plan, "/a", 0, 1);
    let mut other = mk_plan(|_| ());
    other.owner = mk_owner("other", &plan);
    assert!(store.find(&mk_key("/a"), &other).is_none());
    assert!(store.is_empty());
}

#[test]
fn store_removes_only_the_page_that_was_meant() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    put(&store, &plan, "/a", 1, 1);
    let old = store.get(&mk_key("/a")).unwrap();
    put(&store, &plan, "/a", 2, 1);
    assert!(!store.remove(&old));
    assert_eq!(store.len(), 1);
    assert_eq!(store.pages().count(), 1);
}

fn encoded(store: &Store, path: &str) -> Vec<Coding> {
    let page = store.get(&mk_key(path)).unwrap();
    let codings = Coding::ALL.into_iter();
    codings.filter(|coding| page.encoded(*coding).is_some()).collect()
}

#[test]
fn store_weighs_a_page_with_its_encodings() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    put(&store, &plan, "/a", 1, 3000);
    let (page, before) = (store.get(&mk_key("/a")).unwrap(), store.bytes());
    assert!(store.encode(&page, Coding::Gzip, vec![1; 1000].into()));
    // Work that began before there was the other encoding.
    assert!(store.encode(&page, Coding::Zstd, vec![2; 500].into()));
    drop(page);
    assert_eq!(encoded(&store, "/a"), [Coding::Zstd, Coding::Gzip]);
    let more = store.bytes() - before;
    assert!((1500..1950).contains(&more), "{more}");
    assert_eq!(store.bytes(), store.get(&mk_key("/a")).unwrap().weight());
    // Once more takes the place of the first.
    let page = store.get(&mk_key("/a")).unwrap();
    assert!(store.encode(&page, Coding::Gzip, vec![1; 900].into()));
    drop(page);
    assert_eq!(store.bytes() - before, more - 100);
}

#[test]
fn store_encodes_nothing_that_has_gone() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    let body = || Bytes::from_static(&[0; 100]);
    put(&store, &plan, "/a", 1, 3000);
    let old = store.get(&mk_key("/a")).unwrap();
    // Another page has taken its place, with the very same bytes.
    put(&store, &plan, "/a", 2, 3000);
    assert!(!store.encode(&old, Coding::Gzip, body()));
    assert_eq!(encoded(&store, "/a"), []);
    let new = store.get(&mk_key("/a")).unwrap();
    assert!(store.remove(&new));
    assert!(!store.encode(&new, Coding::Gzip, body()));
    assert!(store.is_empty());
    put(&store, &plan, "/b", 1, 3000);
    let page = store.get(&mk_key("/b")).unwrap();
    store.clear();
    assert!(!store.encode(&page, Coding::Gzip, body()));
    assert!(store.is_empty());
    // Too heavy together: the page stays as it was.
    put(&store, &plan, "/c", 1, MIB as usize / 2);
    let page = store.get(&mk_key("/c")).unwrap();
    assert!(!store.encode(&page, Coding::Gzip, vec![0; MIB as usize / 2].into()));
    assert!(page.is(&store.get(&mk_key("/c")).unwrap()));
}

#[test]
fn store_keeps_what_was_left_on_a_page_that_is_encoded() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    let ledger = Ledger::new();
    let purge = |sequence, strategy| {
        let selector = Selector {
            everything: true,
            ..Selector::default()
        };
        let line = Line {
            sequence,
            selector,
            strategy,
        };
        ledger.append([line], sequence, 0);
    };
    put(&store, &plan, "/a", 0, 3000);
    let page = store.get(&mk_key("/a")).unwrap();
    purge(1, Purge::Refresh);
    assert_eq!(page.check(&ledger), Some(Purge::Refresh));
    page.visit(Moment(5000));
    page.back_off(Moment(9000), BackOff::Failed);
    assert!(store.encode(&page, Coding::Gzip, vec![1; 10].into()));
    let encoded = store.get(&mk_key("/a")).unwrap();
    assert_eq!(encoded.effect(), Some(Purge::Refresh));
    assert_eq!(encoded.visited(), Moment(6000));
    assert!(encoded.backs_off(Moment(8999)).is_some());
    purge(2, Purge::Delete);
    assert_eq!(encoded.check(&ledger), Some(Purge::Delete));
    // Under a plan with other tags it is still the same body.
    let changed = mk_plan(|rule| rule.tags = texts(&["new"]));
    store.find(&mk_key("/a"), &changed).unwrap();
    assert!(store.encode(&page, Coding::Zstd, vec![1; 10].into()));
    assert_eq!(super::tests::encoded(&store, "/a"), [Coding::Zstd, Coding::Gzip]);
}

/// What an unsafe request did to a page is not lost where an encoding is added at the same moment.
#[test]
fn store_invalidates_whatever_is_encoded_meanwhile() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    for stamp in 0..300 {
        put(&store, &plan, "/a", stamp, 3000);
        let page = store.get(&mk_key("/a")).unwrap();
        std::thread::scope(|scope| {
            for coding in Coding::ALL {
                let (store, page) = (&store, &page);
                scope.spawn(move || store.encode(page, coding, vec![1; 10].into()));
            }
            store.invalidate(&mk_key("/a"), &plan);
        });
        assert_eq!(encoded(&store, "/a").len(), 3);
        let effect = store.get(&mk_key("/a")).unwrap().effect();
        assert_eq!(effect, Some(Purge::Expire));
    }
}

/// Nor where a rule has changed, and the page is brought under it.
#[test]
fn store_invalidates_whatever_is_adopted_meanwhile() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    let other = mk_plan(|rule| rule.tags = vec!["other".to_owned()]);
    for stamp in 0..5000 {
        put(&store, &plan, "/a", stamp, 100);
        let page = store.get(&mk_key("/a")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| store.adopt(&page, &other));
            store.invalidate(&mk_key("/a"), &plan);
        });
        let effect = store.get(&mk_key("/a")).unwrap().effect();
        assert_eq!(effect, Some(Purge::Expire));
    }
}

#[test]
fn reservation_takes_from_the_pages_and_gives_back() {
    let (store, plan) = (Store::new(MIB), mk_plan(|_| ()));
    for page in 0..200 {
        put(&store, &plan, &format!("/{page}"), 0, 8 << 10);
    }
    let full = store.bytes();
    assert!(full > MIB / 2 && full <= MIB, "{full}");
    let mut room = store.reserve();
    assert!(room.grow(MIB / 2));
    assert!(!room.grow(1), "flights take half of it at most");
    assert!(store.bytes() <= MIB, "{}", store.bytes());
    room.shrink_to(10);
    drop(room);
    assert_eq!(store.pages.capacity(), for_pages(MIB));
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, usize),
    Encode(usize, Coding, usize),
    Grow(usize, u64),
    Release(usize),
    /// Somebody reads a page.
    Hold(usize),
    LetGo,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..50_usize, 0..600_000_usize).prop_map(|(path, length)| Step::Put(path, length)),
        (0..50_usize, 0..3_usize, 0..300_000_usize).prop_map(|(path, coding, length)| Step::Encode(
            path,
            Coding::ALL[coding],
            length
        )),
        (0..4_usize, 0..300_000_u64).prop_map(|(flight, bytes)| Step::Grow(flight, bytes)),
        (0..4_usize).prop_map(Step::Release),
        (0..50_usize).prop_map(Step::Hold),
        prop::bool::weighted(0.1).prop_map(|all| if all { Step::LetGo } else { Step::Hold(0) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Pages and flights stay within one budget, whatever comes.
    #[test]
    fn invariant_6_the_memory_bound_holds(steps in prop::collection::vec(step(), 1..80), mib in 1..6_u64) {
        let (store, plan) = (Store::new(mib * MIB), mk_plan(|_| ()));
        let mut flights: Vec<_> = (0..4).map(|_| store.reserve()).collect();
        // What visitors read of pages, however long ago these have left.
        let mut held = Vec::new();
        let mut refused = 0;
        for step in steps {
            match step {
                Step::Put(path, length) => {
                    let page = mk_page(&plan, &format!("/{path}"), 0, length);
                    // As a flight does before it lands.
                    let mut room = store.reserve();
                    if room.grow(page.weight()) {
                        let inserted = store.insert(&page);
                        let found = store.get(&page.key()).is_some_and(|found| found.is(&page));
                        prop_assert_eq!(inserted == Inserted::Stored, found);
                    } else {
                        refused += 1;
                    }
                }
                Step::Hold(path) => {
                    held.extend(store.get(&mk_key(&format!("/{path}"))).map(|page| page.body()));
                }
                Step::LetGo => held.clear(),
                Step::Encode(path, coding, length) => {
                    let mut room = store.reserve();
                    if let Some(page) = store.get(&mk_key(&format!("/{path}")))
                        && room.grow(length as u64 + 200)
                    {
                        let added = store.encode(&page, coding, vec![0; length].into());
                        let found = store.get(&page.key());
                        prop_assert!(!added || found.is_some_and(|found| found.encoded(coding).is_some()));
                    }
                }
                Step::Grow(flight, bytes) => {
                    flights[flight].grow(bytes);
                }
                Step::Release(flight) => flights[flight] = store.reserve(),
            }
            prop_assert!(store.bytes() <= store.budget(), "{} of {}", store.bytes(), store.budget());
            let bodies: BTreeMap<_, _> = held.iter().map(|body: &Bytes| (body.as_ptr(), body.len())).collect();
            let in_hands = bodies.values().sum::<usize>() as u64;
            prop_assert!(in_hands <= store.bytes(), "{in_hands} are not counted: {}", store.bytes());
        }
        // Whatever was held, nothing is kept from those who come later.
        drop((held, flights));
        prop_assert!(store.reserve().grow(store.budget() / 2), "after {refused} refusals");
    }
}

#[test]
fn store_takes_the_largest_body_that_a_flight_may_bring() {
    let plan = mk_plan(|_| ());
    for budget in [1, 16, 79, 128, 1000] {
        let store = Store::new(budget << 20);
        let largest = store.largest();
        assert!(
            largest > LARGEST.min(store.budget() / 4),
            "{largest} of {budget} MiB"
        );
        for number in 0..3 {
            let page = mk_page(&plan, &format!("/{number}"), 0, usize::try_from(largest).unwrap());
            let mut room = store.reserve();
            assert!(room.grow(page.weight()), "{budget} MiB");
            assert_eq!(store.insert(&page), Inserted::Stored, "{budget} MiB");
        }
    }
}
