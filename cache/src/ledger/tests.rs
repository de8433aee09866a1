use rstest::rstest;

use super::*;
use crate::page::{TagList, TagSet};

fn selector(terms: &[&str]) -> Selector {
    let mut selector = Selector::default();
    for term in terms {
        let (kind, value) = term.split_once(' ').unwrap_or((term, ""));
        let value = value.to_owned();
        match kind {
            "route" => selector.route = Some(value),
            "host" => selector.hostnames.push(value),
            "path" => selector.paths.push(value),
            "pattern" => selector.patterns.push(value),
            "tag" => selector.tags.push(value),
            "everything" => selector.everything = true,
            _ => panic!("no such term: {term}"),
        }
    }
    selector
}

fn line(sequence: u64, terms: &[&str], strategy: Strategy) -> Line {
    Line {
        sequence,
        selector: selector(terms),
        strategy,
    }
}

fn ledger(lines: impl IntoIterator<Item = Line>) -> Ledger {
    let ledger = Ledger::new();
    ledger.append(lines, 0, 0);
    ledger
}

fn tags(tags: &[&str]) -> TagSet {
    TagSet::new(tags.iter().copied(), []).unwrap()
}

fn facts<'a>(path: &'a str, tags: TagList<'a>) -> Facts<'a> {
    Facts {
        route: "shop",
        host: "shop.example.com:8080",
        path,
        tags: Tags::Known(tags),
    }
}

#[rstest]
#[case(&["path /blog/a"], true)]
#[case(&["path /blog/a/"], true)]
#[case(&["path /blog"], false)]
#[case(&["path /blog/A"], false)]
#[case(&["pattern /blog/[slug]"], true)]
#[case(&["pattern /docs/[slug]"], false)]
#[case(&["tag post:a"], true)]
#[case(&["tag post"], false)]
#[case(&["everything"], true)]
#[case(&["everything", "route shop"], true)]
#[case(&["everything", "route blog"], false)]
#[case(&["everything", "host shop.example.com"], true)]
#[case(&["everything", "host *.example.com"], true)]
#[case(&["everything", "host example.com"], false)]
#[case(&["tag post:a", "host example.com"], false)]
#[case(&["tag other", "path /blog/a"], true)]
#[case(&["host shop.example.com"], false)]
#[case(&["route shop"], false)]
// What cannot be read selects everything that the route leaves.
#[case(&["pattern /blog/[slug"], true)]
#[case(&["tag other", "host *.*"], true)]
#[case(&["pattern /blog/[slug", "route blog"], false)]
fn ledger_selects(#[case] terms: &[&str], #[case] expected: bool) {
    let ledger = ledger([line(7, terms, Strategy::Expire)]);
    let tags = tags(&["blog", "post:a"]);
    let facts = facts("/blog/a", tags.list());
    assert_eq!(ledger.effect(&facts, 0), expected.then_some(Strategy::Expire));
    assert_eq!(ledger.selects(7, &facts), expected);
    assert!(!ledger.selects(8, &facts));
}

#[rstest]
#[case(&["path /blog/a"], true)]
#[case(&["path /blog/a/"], true)]
#[case(&["pattern /blog/[slug]"], true)]
#[case(&["path /blog/b"], false)]
#[case(&["pattern /docs/[slug]"], false)]
fn ledger_covers_the_data_of_a_page(#[case] terms: &[&str], #[case] expected: bool) {
    let ledger = ledger([line(7, terms, Strategy::Refresh)]);
    let facts = facts("/_next/data/build-1/blog/a.json", TagList::default());
    assert_eq!(ledger.effect(&facts, 0).is_some(), expected);
}

#[test]
fn ledger_combines_the_lines_after_a_stamp() {
    let ledger = ledger([
        line(1, &["everything"], Strategy::Delete),
        line(2, &["everything"], Strategy::Refresh),
        line(3, &["everything"], Strategy::Expire),
        line(4, &["everything"], Strategy::Refresh),
    ]);
    let effects: Vec<_> = (0..=5)
        .map(|since| ledger.effect(&facts("/", TagList::default()), since))
        .collect();
    let expected = [
        Some(Strategy::Delete),
        Some(Strategy::Expire),
        Some(Strategy::Expire),
        Some(Strategy::Refresh),
        None,
        None,
    ];
    assert_eq!(effects, expected);
}

#[test]
fn ledger_counts_unknown_tags_as_matching() {
    let ledger = ledger([line(1, &["tag x"], Strategy::Refresh)]);
    let unknown = Facts {
        tags: Tags::Unknown,
        ..facts("/", TagList::default())
    };
    assert_eq!(ledger.effect(&unknown, 0), Some(Strategy::Refresh));
    assert_eq!(ledger.effect(&facts("/", TagList::default()), 0), None);
}

#[test]
fn ledger_takes_a_line_once() {
    let ledger = Ledger::new();
    let lines = [2, 1, 2].map(|sequence| line(sequence, &["everything"], Strategy::Refresh));
    assert_eq!(ledger.append(lines.clone(), 2, 0), [1, 2]);
    assert_eq!(ledger.append(lines, 5, 0), Vec::<u64>::new());
    assert_eq!(ledger.head(), 5);
    let held: Vec<_> = ledger.last(9).iter().map(|line| line.sequence).collect();
    assert_eq!(held, [2, 1]);
}

#[test]
fn ledger_expires_what_lies_before_the_floor() {
    let ledger = Ledger::new();
    ledger.append([], 10, 0);
    ledger.append([line(30, &["path /x"], Strategy::Refresh)], 30, 20);
    let facts = facts("/", TagList::default());
    assert_eq!(ledger.effect(&facts, 10), Some(Strategy::Expire));
    assert_eq!(ledger.effect(&facts, 20), None);
    assert_eq!(ledger.last(9).len(), 1);
    // It reaches back to the head that was held before: nothing was missed.
    ledger.append([line(40, &["path /x"], Strategy::Refresh)], 40, 25);
    assert_eq!(ledger.effect(&facts, 24), None);
}

#[test]
fn ledger_is_bounded_and_forgets_nothing_that_mattered() {
    let ledger = Ledger::new();
    ledger.append([line(1, &["path /gone"], Strategy::Delete)], 1, 0);
    let many = 2..=(MAX_LINES as u64 + 1);
    ledger.append(
        many.map(|sequence| line(sequence, &["path /x"], Strategy::Refresh)),
        0,
        0,
    );
    assert_eq!(ledger.last(usize::MAX).len(), MAX_LINES);
    assert_eq!(
        ledger.effect(&facts("/gone", TagList::default()), 0),
        Some(Strategy::Delete)
    );
    assert_eq!(ledger.effect(&facts("/other", TagList::default()), 1), None);
}

#[test]
fn ledger_starts_anew() {
    let ledger = ledger([line(9, &["everything"], Strategy::Delete)]);
    ledger.reset();
    assert_eq!(
        (ledger.head(), ledger.effect(&facts("/", TagList::default()), 0)),
        (0, None)
    );
    assert_eq!(
        ledger.append([line(3, &["everything"], Strategy::Refresh)], 3, 0),
        [3]
    );
}
