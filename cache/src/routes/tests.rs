use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::{
    config::{Route, Rule},
    mk::{mk_route, mk_routes, mk_rule, texts},
};

fn found<'a>(routes: &'a Routes, host: &str, path: &str) -> Option<(&'a str, &'a str)> {
    let plan = routes.find(host, path)?;
    Some((&plan.owner.route, &plan.owner.rule))
}

#[rstest]
#[case("shop.example.com", Some("exact"))]
#[case("shop.example.com:8080", Some("exact"))]
#[case("a.shop.example.com", Some("longer"))]
#[case("b.a.shop.example.com", Some("longer"))]
#[case("blog.example.com", Some("shorter"))]
#[case("example.com", Some("any"))]
#[case("[::1]:8080", Some("any"))]
fn routes_hostname_goes_before_pattern(#[case] host: &str, #[case] expected: Option<&str>) {
    // The pattern is the more specific, the less specific the hostname is.
    let routes = mk_routes(vec![
        mk_route("any", &[], vec![mk_rule("r", &["/a/b"])]),
        mk_route("shorter", &["*.example.com"], vec![mk_rule("r", &["/a/[x]"])]),
        mk_route(
            "longer",
            &["*.shop.example.com"],
            vec![mk_rule("r", &["/[...x]"])],
        ),
        mk_route("exact", &["shop.example.com"], vec![mk_rule("r", &["/[[...x]]"])]),
    ]);
    assert_eq!(found(&routes, host, "/a/b").map(|(route, _)| route), expected);
}

#[test]
fn routes_less_specific_hostname_serves_what_the_other_does_not_match() {
    let routes = mk_routes(vec![
        mk_route("exact", &["a.example.com"], vec![mk_rule("r", &["/only"])]),
        mk_route("wildcard", &["*.example.com"], vec![mk_rule("r", &["/[x]"])]),
        mk_route("any", &[], vec![mk_rule("r", &["/[...x]"])]),
    ]);
    assert_eq!(found(&routes, "a.example.com", "/only"), Some(("exact", "r")));
    assert_eq!(found(&routes, "a.example.com", "/other"), Some(("wildcard", "r")));
    assert_eq!(found(&routes, "a.example.com", "/other/b"), Some(("any", "r")));
    assert_eq!(found(&routes, "a.example.com", "/"), None);
}

#[rstest]
#[case("/blog/new", "literal")]
#[case("/blog/new/", "literal")]
#[case("/blog/a%20b", "literal")]
#[case("/blog/hello", "one")]
#[case("/blog/a/b", "all")]
#[case("/blog", "optional")]
#[case("/", "optional")]
#[case("/blog/a/c/d", "deep")]
#[case("/blog/x/c/d", "all")]
fn routes_most_specific_pattern_wins_in_any_order(#[case] path: &str, #[case] expected: &str) {
    let mut rules = vec![
        mk_rule("optional", &["/[[...x]]"]),
        mk_rule("all", &["/blog/[...x]"]),
        mk_rule("one", &["/blog/[x]"]),
        mk_rule("literal", &["/blog/new", "/blog/a b"]),
        mk_rule("deep", &["/blog/a/[x]/d"]),
    ];
    for _ in 0..rules.len() {
        rules.rotate_left(1);
        let routes = mk_routes(vec![mk_route("route", &[], rules.clone())]);
        assert_eq!(found(&routes, "a.com", path), Some(("route", expected)));
    }
}

#[test]
fn routes_earlier_one_wins_and_the_loser_is_named() {
    let routes = mk_routes(vec![
        mk_route(
            "older",
            &["a.com", "b.com"],
            vec![mk_rule("r1", &["/blog/[slug]", "/x"])],
        ),
        mk_route(
            "newer",
            &["b.com"],
            vec![
                mk_rule("r2", &["/blog/[id]/"]),
                mk_rule("r3", &["/y", "/blog/[a]"]),
            ],
        ),
    ]);
    assert_eq!(found(&routes, "b.com", "/blog/1"), Some(("older", "r1")));
    assert_eq!(found(&routes, "b.com", "/y"), Some(("newer", "r3")));
    let shadowed = |path: &str, rule: &str| Shadowed {
        hostname: Some("b.com".to_owned()),
        path: path.to_owned(),
        loser: ("newer".into(), rule.into()),
        winner: ("older".into(), "r1".into()),
    };
    assert_eq!(
        routes.shadowed(),
        [shadowed("/blog/[id]/", "r2"), shadowed("/blog/[a]", "r3")]
    );
}

#[test]
fn routes_a_rule_does_not_shadow_itself() {
    let routes = mk_routes(vec![mk_route("r", &[], vec![mk_rule("r", &["/a", "/a/"])])]);
    assert_eq!(routes.shadowed(), []);
}

#[test]
fn routes_tags_come_from_the_pattern_that_matched() {
    let mut rule = mk_rule("r", &["/docs/[...rest]", "/blog/[slug]", "/about"]);
    rule.tags = texts(&["site", "post:[slug]", "docs:[rest]"]);
    let routes = mk_routes(vec![mk_route("r", &[], vec![rule])]);
    let tags = |path: &str| routes.find("a.com", path).unwrap().tags(path).to_vec();
    assert_eq!(tags("/blog/a%20b"), ["site", "post:a b"]);
    assert_eq!(tags("/docs/a/b/"), ["site", "docs:a/b"]);
    assert_eq!(tags("/about"), ["site"]);
}

#[test]
fn routes_fingerprint_follows_paths_key_tags_and_licences() {
    let fingerprint = |change: fn(&mut config::Rule)| {
        let mut rule = mk_rule("r", &["/a"]);
        change(&mut rule);
        mk_routes(vec![mk_route("r", &[], vec![rule])]).plans()[0]
            .owner
            .fingerprint
    };
    let same = fingerprint(|_| ());
    assert_eq!(fingerprint(|rule| rule.name = "other".into()), same);
    assert_eq!(fingerprint(|rule| rule.expire = Duration::ZERO), same);
    assert_ne!(fingerprint(|rule| rule.paths.push("/b".into())), same);
    assert_ne!(fingerprint(|rule| rule.tags.push("b".into())), same);
    assert_ne!(fingerprint(|rule| rule.query = Query::Allow(vec![])), same);
    assert_ne!(fingerprint(|rule| rule.overrides.private = true), same);
    assert_ne!(fingerprint(|rule| rule.heuristic = true), same);
}

#[test]
fn routes_error_names_route_rule_field_and_remedy() {
    let mut rule = mk_rule("blog", &["/blog/[slug]", "/a//b"]);
    rule.tags = texts(&["ok", "x[", "y"]);
    rule.bypass_headers = texts(&["x-ok", "X-Upper"]);
    rule.bypass_cookies = texts(&["a=b"]);
    rule.query = Query::Allow(texts(&["page", ""]));
    rule.cache_control = "a\nb".to_owned();
    rule.max_body_bytes = 0;
    let mut broken = mk_route("storefront", &["ok.com", "Bad.com"], vec![rule]);
    broken.origin.timeout = Duration::ZERO;
    let mut capture = mk_rule("r", &["/[a]"]);
    capture.tags = texts(&["[b]"]);
    let config = Config {
        routes: vec![
            broken,
            mk_route("other", &[], vec![capture, mk_rule("none", &[])]),
            mk_route("other", &[], vec![]),
        ],
    };
    let errors = Routes::compile(&config).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            r#"route storefront, hostnames[1]: "Bad.com" is no hostname: each label has 1 to 63 lower-case letters, digits and inner hyphens"#,
            "route storefront, origin.timeout: it must be more than zero",
            r#"route storefront, rule blog, paths[1]: "/a//b" is no path pattern: no visited path matches it: it has an empty segment (//)"#,
            r#"route storefront, rule blog, tags[1]: "x[" is no tag: brackets enclose the name of a capture, such as post:[slug]"#,
            "route storefront, rule blog, key.query.allow[1]: a query parameter has a name",
            r#"route storefront, rule blog, bypass.headers[1]: "X-Upper" is no name of a header field; use lower-case letters, digits and hyphens"#,
            r#"route storefront, rule blog, bypass.cookies[0]: "a=b" is no name of a cookie; use letters, digits and - _ ."#,
            "route storefront, rule blog, maxBodyBytes: it must be more than zero",
            r#"route storefront, rule blog, cacheControl: "a\nb" is no value of a header field; use visible ASCII and spaces"#,
            "route other, rule r, tags[0]: no path of the rule captures [b]; name a capture of one of its paths",
            "route other, rule none, paths: give at least one",
            "route other, metadata.name: two routes have this name; names are unique in a namespace",
            "route other, rules: give at least one",
        ]
    );
}

#[rstest]
#[case(|route: &mut Route| route.suspend = true, PassReason::Suspended)]
#[case(|route: &mut Route| route.rules[0].revalidate = Some(Interval::After(Duration::ZERO)), PassReason::NeverStored)]
fn routes_rule_passes(#[case] change: fn(&mut Route), #[case] reason: PassReason) {
    let mut route = mk_route("r", &[], vec![mk_rule("r", &["/a"])]);
    assert_eq!(mk_routes(vec![route.clone()]).plans()[0].passes(), None);
    change(&mut route);
    assert_eq!(mk_routes(vec![route]).plans()[0].passes(), Some(reason));
}

#[test]
fn routes_none_match_nothing() {
    assert!(Routes::default().find("a.com", "/").is_none());
}

#[rstest]
#[case("/_next/data/b1/blog/hello.json", "blog", &["post:hello"])]
#[case("/_next/data/b1/index.json", "root", &[])]
#[case("/docs/_next/data/b1/de/intro.json", "docs", &["de", "intro"])]
#[case("/_next/data/b1/other.json", "all", &["all:other"])]
// No data of a page: whatever holds for the path itself.
#[case("/_next/data/b1/blog/hello", "all", &["all:_next/data/b1/blog/hello"])]
#[case("/_next/data/b1/feed/x.json", "named", &["b1"])]
fn routes_data_is_where_its_page_is(#[case] path: &str, #[case] name: &str, #[case] tags: &[&str]) {
    let tagged = |name: &str, path: &str, tags: &[&str]| Rule {
        tags: texts(tags),
        ..mk_rule(name, &[path])
    };
    let routes = mk_routes(vec![mk_route(
        "next",
        &[],
        vec![
            tagged("root", "/", &[]),
            tagged("blog", "/blog/[slug]", &["post:[slug]"]),
            tagged("docs", "/docs/[locale]/[slug]", &["[locale]", "[slug]"]),
            tagged("feed", "/feed/[x]", &["[x]"]),
            tagged("named", "/_next/data/[build]/feed/[x]", &["[build]"]),
            tagged("all", "/[...all]", &["all:[all]"]),
        ],
    )]);
    let plan = routes.find("a.com", path).unwrap();
    assert_eq!(&*plan.owner.rule, name);
    assert_eq!(plan.tags(path).to_vec(), tags);
}
