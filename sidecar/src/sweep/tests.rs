use std::num::NonZeroU16;

use coppice_cache::{
    config::Scheme,
    key::Key,
    ledger::{Ledger, Selector},
    page::{Parts, TagSet},
    routes::Owner,
    store::Store,
};
use http::{HeaderMap, StatusCode};

use super::*;
use crate::fetch::upstream::Upstream;

/// Among so many pages, each with a tag of its own.
fn mk_sweep(pages: usize) -> Sweep {
    mk_sweep_of(pages, "")
}

/// The same with a query in their keys.
fn mk_sweep_of(pages: usize, query: &str) -> Sweep {
    let (clock, store) = (Clock::start(), Store::new(64 << 20));
    let owner = Arc::new(Owner {
        route: "shop".into(),
        rule: "all".into(),
        fingerprint: 0,
        licences: [false; 4],
    });
    for number in 0..pages {
        let page = Page::new(Parts {
            key: Arc::new(Key::new(Scheme::Http, "a.test", &format!("/{number}"), query).unwrap()),
            owner: owner.clone(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: "body".into(),
            tags: TagSet::new(["site"], [format!("page:{number}").as_str()]).unwrap(),
            stamp: 0,
            stored: clock.now(),
            tagged: false,
            compressible: false,
            vary: None,
            app: None,
        });
        store.insert(&Arc::new(page));
    }
    Sweep {
        clock,
        fetcher: Fetcher::new(
            clock,
            Arc::default(),
            store,
            Arc::new(Ledger::new()),
            Upstream::new("a.test:80"),
            NonZeroU16::MIN,
        ),
        reports: Arc::default(),
    }
}

impl Sweep {
    /// Purges and sweeps: how many pages were examined, and selected by each line.
    async fn purge(&self, selectors: &[Selector], behind: &mut usize) -> (usize, Vec<u64>) {
        let head = self.fetcher.ledger().head();
        let lines = (head + 1..).zip(selectors).map(|(sequence, selector)| Line {
            sequence,
            selector: selector.clone(),
            strategy: Strategy::Expire,
        });
        let lines: Vec<_> = lines.collect();
        self.fetcher.ledger().append(lines.iter().cloned(), 0, 0);
        let batch = self.find(lines, behind).await;
        (
            batch.examined,
            batch.counts.iter().map(|count| count.matched).collect(),
        )
    }
}

fn selector(tags: &[&str], paths: &[&str], patterns: &[&str]) -> Selector {
    let texts = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Selector {
        tags: texts(tags),
        paths: texts(paths),
        patterns: texts(patterns),
        ..Selector::default()
    }
}

#[tokio::test]
async fn a_sweep_examines_no_page_that_its_lines_do_not_name() {
    let (few, many) = (mk_sweep(100), mk_sweep(5000));
    let everything = Selector {
        everything: true,
        ..Selector::default()
    };
    let elsewhere = Selector {
        hostnames: vec!["b.test".to_owned()],
        ..selector(&["page:7"], &[], &[])
    };
    for (selectors, examined, matched) in [
        (&[selector(&["page:7"], &[], &[])][..], Some(1), &[1][..]),
        (&[selector(&["none"], &["/none"], &[])], Some(0), &[0]),
        (&[selector(&["page:7"], &["/7/", "/8"], &[])], Some(2), &[2]),
        (
            &[
                selector(&["page:7"], &[], &[]),
                selector(&["page:8"], &["/7"], &[]),
            ],
            Some(2),
            &[1, 2],
        ),
        (&[elsewhere], Some(1), &[0]),
        (&[selector(&["page:7"], &[], &["/7/[slug]"])], None, &[1]),
        (
            &[selector(&["page:7"], &[], &[]), everything],
            None,
            &[1, u64::MAX],
        ),
        (&[selector(&["site"], &[], &[])], None, &[u64::MAX]),
    ] {
        for (sweep, pages) in [(&few, 100), (&many, 5000)] {
            let matched: Vec<_> = matched.iter().map(|count| (*count).min(pages)).collect();
            let found = sweep.purge(selectors, &mut 0).await;
            assert_eq!(
                found,
                (examined.unwrap_or(pages as usize), matched),
                "{selectors:?}"
            );
        }
    }
}

/// Pages that nobody visits and no purge names are in the store when lines leave the ledger.
#[tokio::test]
async fn a_sweep_leaves_no_page_behind_the_ledger() {
    let sweep = mk_sweep(10);
    let mut behind = 0;
    let mut examined = 0;
    for _ in 0..3 * MAX_LINES / 256 {
        examined += sweep
            .purge(&vec![selector(&["none"], &[], &[]); 256], &mut behind)
            .await
            .0;
    }
    let effects = sweep
        .fetcher
        .store()
        .pages()
        .map(|page| page.check(sweep.fetcher.ledger()));
    assert_eq!(effects.collect::<Vec<_>>(), [None; 10]);
    assert!(examined <= 6 * 10, "{examined}");
}

#[test]
fn a_storm_of_purges_is_reported_whole() {
    let reports = Reports::default();
    let report = |sequence| Report {
        sequence,
        matched: 0,
        regenerated: 0,
        failed: 0,
        origin_cached: 0,
        finished: true,
    };
    reports.publish((1..=MAX_LINES as u64).map(report));
    let (told, seen) = reports.after(0);
    assert_eq!(told.len(), MAX_LINES);
    reports.publish([report(MAX_LINES as u64 + 1)]);
    assert_eq!(reports.after(seen).0, [report(MAX_LINES as u64 + 1)]);
    assert_eq!(reports.after(0).0.len(), MAX_LINES, "and no more are kept");
}

/// Visitors make them as long as they like, and no budget knows of what a sweep holds.
#[test]
fn sweep_holds_no_keys() {
    const PAGES: usize = 1000;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let sweep = mk_sweep_of(PAGES, &"x".repeat(10_000));
    for page in sweep.fetcher.store().pages() {
        page.visit(sweep.clock.now());
    }
    let line = Line {
        sequence: 1,
        selector: Selector {
            tags: vec!["site".to_owned()],
            ..Selector::default()
        },
        strategy: Strategy::Refresh,
    };
    sweep.fetcher.ledger().append([line.clone()], 1, 0);
    let mut batch = None;
    let counted = allocation_counter::measure(|| {
        batch = Some(runtime.block_on(sweep.find(vec![line], &mut 0)));
    });
    assert_eq!(batch.map(|batch| batch.hot.len()), Some(PAGES));
    let each = counted.bytes_max / PAGES as u64;
    assert!(each < 200, "{each} bytes for each hot page");
}
