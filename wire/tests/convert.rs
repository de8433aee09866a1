//! Conversions: whatever the engine can say survives the way over the wire, and what a later release may say is read
//! on the safe side.

#![allow(clippy::unwrap_used)] // a test may panic

use std::time::Duration;

use coppice_cache::{
    config::{Config, Interval, Origin, Overrides, Query, Route, Rule, Scheme, Secret},
    ledger::{Line, Selector, Strategy as Purge},
};
use coppice_wire::{
    convert::{
        LINES_CHUNK_BYTES, MAX_SPAN, Place, Problem, config_from_pb, config_to_pb, line_from_pb, line_to_pb,
        lines_from_pb, lines_to_pb, version,
    },
    pb,
};
use proptest::{collection::vec, option, prelude::*};

fn word() -> impl Strategy<Value = String> {
    "[a-z/\\[\\]*.: äöü]{1,12}"
}

fn words() -> impl Strategy<Value = Vec<String>> {
    vec(word(), 0..4)
}

fn span() -> impl Strategy<Value = Duration> {
    (0..=u64::try_from(MAX_SPAN.as_millis()).unwrap()).prop_map(Duration::from_millis)
}

prop_compose! {
    fn rule()(
        name in word(),
        paths in vec(word(), 1..4),
        revalidate in option::of(prop_oneof![span().prop_map(Interval::After), Just(Interval::Never)]),
        spans in (span(), span()),
        tags in words(),
        query in option::of(words()),
        lists in (words(), words(), words(), words(), words()),
        flags in any::<[bool; 6]>(),
        max_body_bytes in any::<u64>(),
        cache_control in word(),
    ) -> Rule {
        Rule {
            name, paths, revalidate,
            expire: spans.0,
            negative: spans.1,
            tags,
            query: query.map_or(Query::AllButTracking, Query::Allow),
            key_headers: lists.0,
            key_cookies: lists.1,
            bypass_cookies: lists.2,
            bypass_headers: lists.3,
            overrides: Overrides { no_store: flags[0], private: flags[1], set_cookie: flags[2], authorization: flags[3] },
            max_body_bytes, cache_control,
            keep_tags: flags[4],
            heuristic: flags[5],
            prerender: lists.4,
        }
    }
}

prop_compose! {
    fn origin()(ms in 1_u64..100_000, tls in any::<bool>(), headers in vec((word(), word()), 0..3)) -> Origin {
        Origin {
            timeout: Duration::from_millis(ms),
            scheme: if tls { Scheme::Https } else { Scheme::Http },
            headers: headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
        }
    }
}

prop_compose! {
    fn config()(routes in vec((words(), any::<bool>(), origin(), vec(rule(), 0..3)), 0..4)) -> Config {
        Config {
            routes: routes.into_iter().enumerate().map(|(position, (hostnames, suspend, origin, rules))| Route {
                name: format!("route-{position}"),
                hostnames, suspend, origin, rules,
            }).collect(),
        }
    }
}

prop_compose! {
    fn line()(
        sequence in any::<u64>(),
        route in option::of(word()),
        lists in (words(), words(), words(), words()),
        everything in any::<bool>(),
        strategy in prop_oneof![Just(Purge::Refresh), Just(Purge::Expire), Just(Purge::Delete)],
    ) -> Line {
        let nothing = lists.1.is_empty() && lists.2.is_empty() && lists.3.is_empty();
        Line {
            sequence, strategy,
            selector: Selector {
                route,
                hostnames: lists.0,
                paths: lists.1,
                patterns: lists.2,
                tags: lists.3,
                // A line that selects nothing is never written.
                everything: everything || nothing,
            },
        }
    }
}

proptest! {
    #[test]
    fn a_configuration_survives(config in config()) {
        let message = config_to_pb(&config);
        prop_assert_eq!(config_from_pb(message).unwrap(), config);
    }

    #[test]
    fn equal_content_equal_version_and_only_then(a in config(), b in config()) {
        prop_assert_eq!(version(&a), version(&a.clone()));
        prop_assert_eq!(version(&a) == version(&b), a == b);
        prop_assert!(version(&a).len() == 32 && version(&a).bytes().all(|b| b.is_ascii_hexdigit()));
    }

    #[test]
    fn a_line_survives(line in line()) {
        prop_assert_eq!(line_from_pb(line_to_pb(&line)), line);
    }

    #[test]
    fn any_message_becomes_a_line(sequence in any::<u64>(), strategy in any::<i32>(), kinds in vec(0..5, 0..4)) {
        use pb::term::Term;
        let terms = kinds.iter().map(|kind| pb::Term { term: match kind {
            0 => Some(Term::Path("/a".into())),
            1 => Some(Term::Pattern("/[a]".into())),
            2 => Some(Term::Tag("a".into())),
            3 => Some(Term::Everything(false)),
            _ => None,
        }}).collect();
        let selector = Some(pb::Selector { terms, ..pb::Selector::default() });
        let line = line_from_pb(pb::Line { sequence, selector, strategy });
        prop_assert_eq!(line.selector.everything, kinds.is_empty() || kinds.iter().any(|kind| *kind >= 3));
        if !(1..=2).contains(&strategy) {
            prop_assert_eq!(line.strategy, Purge::Delete);
        }
    }
}

fn good() -> pb::Config {
    let rule = Rule {
        revalidate: Some(Interval::After(Duration::from_mins(1))),
        ..Rule::new("blog", &["/blog/[slug]"])
    };
    config_to_pb(&Config {
        routes: vec![Route::new("shop", vec![rule])],
    })
}

#[test]
fn no_debug_output_shows_a_secret() {
    let mut route = Route::new("shop", vec![]);
    let value = Secret::new("quite-secret");
    route.origin.headers = vec![("x-prerender-revalidate".into(), value)];
    let config = Config { routes: vec![route] };
    let message = config_to_pb(&config);
    assert_eq!(
        message.routes[0].origin.as_ref().unwrap().headers[0].value,
        "quite-secret"
    );
    let from = pb::FromOperator {
        message: Some(pb::from_operator::Message::Config(message.clone())),
    };
    for text in [
        format!("{config:?}"),
        format!("{message:#?}"),
        format!("{from:?}"),
    ] {
        assert!(text.contains("x-prerender-revalidate"), "{text}");
        assert!(!text.contains("quite"), "{text}");
    }
}

fn refused(break_it: impl FnOnce(&mut pb::Route)) -> (Place, &'static str, Problem) {
    let mut message = good();
    break_it(&mut message.routes[0]);
    let error = config_from_pb(message).unwrap_err();
    (error.place, error.field, error.problem)
}

#[test]
fn an_error_names_route_rule_and_field() {
    let route = || Place::Route("shop".into());
    let rule = || Place::Rule("shop".into(), "blog".into());
    assert_eq!(
        refused(|r| r.name.clear()),
        (Place::Route("number 1".into()), "name", Problem::Missing)
    );
    assert_eq!(
        refused(|r| r.origin = None),
        (route(), "origin", Problem::Missing)
    );
    let timeout = |ms| refused(|r| r.origin.as_mut().unwrap().timeout_ms = ms);
    assert_eq!(timeout(0), (route(), "origin.timeout_ms", Problem::Missing));
    assert_eq!(
        timeout(u64::MAX),
        (route(), "origin.timeout_ms", Problem::TooLong)
    );
    let scheme = |scheme| refused(|r| r.origin.as_mut().unwrap().scheme = scheme);
    assert_eq!(scheme(0), (route(), "origin.scheme", Problem::Missing));
    assert_eq!(scheme(7), (route(), "origin.scheme", Problem::Unknown));
    assert_eq!(
        refused(|r| r.rules[0].paths.clear()),
        (rule(), "paths", Problem::Missing)
    );
    let interval = |kind| refused(|r| r.rules[0].revalidate = Some(pb::Interval { kind }));
    assert_eq!(interval(None), (rule(), "revalidate", Problem::Unknown));
    assert_eq!(
        interval(Some(pb::interval::Kind::Never(false))),
        (rule(), "revalidate", Problem::Unknown)
    );
    assert_eq!(
        interval(Some(pb::interval::Kind::AfterMs(u64::MAX))),
        (rule(), "revalidate", Problem::TooLong)
    );
    assert_eq!(
        refused(|r| r.rules[0].expire_ms = u64::MAX),
        (rule(), "expire_ms", Problem::TooLong)
    );
    assert_eq!(
        refused(|r| r.rules[0].negative_ms = u64::MAX),
        (rule(), "negative_ms", Problem::TooLong)
    );
    let (place, field, problem) = refused(|r| r.rules[0].name.clear());
    assert_eq!(
        (place, field, problem),
        (
            Place::Rule("shop".into(), "number 1".into()),
            "name",
            Problem::Missing
        )
    );

    let mut twice = good();
    twice.routes.push(twice.routes[0].clone());
    let error = config_from_pb(twice).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to read the configuration: route shop: name is there twice"
    );
}

#[test]
fn a_long_ledger_comes_in_pieces_that_add_up() {
    let tag = "t".repeat(8 << 10);
    let lines: Vec<Line> = (1..=300)
        .map(|sequence| Line {
            sequence,
            selector: Selector {
                tags: vec![tag.clone()],
                ..Selector::default()
            },
            strategy: Purge::Refresh,
        })
        .collect();
    let messages = lines_to_pb(&lines, 400, 7);
    assert!(messages.len() > 1);
    let heads: Vec<u64> = messages.iter().map(|message| message.head).collect();
    assert!(heads.is_sorted() && heads.last() == Some(&400), "{heads:?}");
    let mut got = Vec::new();
    for message in messages {
        assert!(prost::Message::encoded_len(&message) < LINES_CHUNK_BYTES + (64 << 10));
        let (lines, head, floor) = lines_from_pb(message);
        assert!(lines.last().unwrap().sequence <= head && floor == 7);
        got.extend(lines);
    }
    assert_eq!(got, lines);
}

#[test]
fn a_head_without_lines_is_a_message() {
    let messages = lines_to_pb([], 5, 0);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].head, 5);
}
