//! Fuzz targets of the wire: whatever bytes a peer sends are a message that is understood, or an error, and take no more
//! memory than they are long, times a constant.
#![allow(clippy::unwrap_used, unreachable_pub)] // a test may panic; its module is private to it

#[path = "../../cache/tests/mutate/mod.rs"]
mod mutate;

use std::sync::LazyLock;

use coppice_cache::{
    config::{Config, Interval, Query, Route, Rule},
    ledger::{Line, Selector, Strategy as Purge},
    routes::Routes,
};
use coppice_wire::{
    convert::{config_from_pb, config_to_pb, line_from_pb, line_to_pb, lines_from_pb, lines_to_pb},
    pb,
};
use mutate::{cases, mutated};
use proptest::prelude::*;
use prost::Message;

/// Leaks, once for each corpus: tests have them until they end.
fn leaked(entries: Vec<Vec<u8>>) -> &'static [&'static [u8]] {
    let entries: Vec<&'static [u8]> = entries.into_iter().map(|entry| &*entry.leak()).collect();
    entries.leak()
}

static CONFIGS: LazyLock<&'static [&'static [u8]]> = LazyLock::new(|| {
    let mut rule = Rule::new("blog", &["/blog/[slug]", "/docs/[[...rest]]"]);
    rule.revalidate = Some(Interval::Never);
    rule.tags = vec!["post:[slug]".to_owned()];
    rule.query = Query::Allow(vec!["page".to_owned()]);
    rule.key_headers = vec!["x-country".to_owned()];
    let mut route = Route::new("shop", vec![rule.clone(), Rule::new("all", &["/[[...all]]"])]);
    route.hostnames = vec!["*.example.com".to_owned()];
    let many = (0..20).map(|number| Route::new(&format!("route-{number}"), vec![rule.clone()]));
    let configs = [
        Config { routes: vec![route] },
        Config {
            routes: many.collect(),
        },
        Config { routes: Vec::new() },
    ];
    leaked(
        configs
            .iter()
            .map(|config| config_to_pb(config).encode_to_vec())
            .collect(),
    )
});

static LINES: LazyLock<&'static [&'static [u8]]> = LazyLock::new(|| {
    let line = |sequence: u64, strategy| Line {
        sequence,
        selector: Selector {
            paths: vec!["/blog/hello".to_owned()],
            patterns: vec!["/docs/[...rest]".to_owned()],
            tags: vec!["post:hello".to_owned()],
            route: Some("shop".to_owned()),
            ..Selector::default()
        },
        strategy,
    };
    let lines = [
        line(1, Purge::Refresh),
        line(u64::MAX, Purge::Expire),
        line(300, Purge::Delete),
    ];
    let message = lines_to_pb(&lines, 300, 7).remove(0);
    leaked(vec![
        message.encode_to_vec(),
        lines_to_pb([], 0, 0).remove(0).encode_to_vec(),
    ])
});

/// Tags, lengths and numbers that make a decoder wait for, or believe in, more than there is.
const WORDS: &[&[u8]] = &[
    b"\x0a",
    b"\x12",
    b"\x2a",
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    b"\x0a\x00",
    b"\x2a\x00",
    b"\x2a\x02\x0a\x00",
    b"\xc3\x28",
    b"\x0b",
    b"\x0c",
];

proptest! {
    #![proptest_config(cases())]

    /// A configuration is understood or refused; one that is understood says the same after another way over the wire,
    /// and compiles or is refused.
    #[test]
    fn fuzz_config(bytes in mutated(&CONFIGS, WORDS)) {
        let Ok(message) = pb::Config::decode(&*bytes) else { return Ok(()) };
        // What is decoded is bounded by what was sent: nothing is allocated on the word of a length.
        prop_assert!(message.encoded_len() <= bytes.len() * 2);
        prop_assert!(message.routes.len() <= bytes.len());
        let Ok(config) = config_from_pb(message) else { return Ok(()) };
        prop_assert_eq!(config_from_pb(config_to_pb(&config)).unwrap(), config.clone());
        let _ = Routes::compile(&config);
    }

    /// Lines are always understood, and say the same after another way over the wire: a purge is widened once, never
    /// narrowed.
    #[test]
    fn fuzz_lines(bytes in mutated(&LINES, WORDS)) {
        let Ok(message) = pb::Lines::decode(&*bytes) else { return Ok(()) };
        prop_assert!(message.lines.len() <= bytes.len());
        let (lines, ..) = lines_from_pb(message);
        for line in lines {
            prop_assert_eq!(line_from_pb(line_to_pb(&line)), line);
        }
    }

    /// Neither side's messages make the other one panic.
    #[test]
    fn fuzz_messages(bytes in mutated(&CONFIGS, WORDS), lines in mutated(&LINES, WORDS)) {
        for bytes in [bytes, lines] {
            let _ = pb::FromOperator::decode(&*bytes);
            let _ = pb::FromSidecar::decode(&*bytes);
        }
    }
}
