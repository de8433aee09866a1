use std::time::Duration;

use http::request::{Builder, Parts};
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    config::{Interval, Query, Rule},
    mk::{mk_route, mk_routes, mk_rule, texts},
    outcome::{PassReason, RefuseReason},
};

/// Routes of one rule that matches every path, changed by a test.
fn routes(change: impl FnOnce(&mut Rule)) -> Routes {
    let mut rule = mk_rule("all", &["/[[...all]]"]);
    change(&mut rule);
    mk_routes(vec![mk_route("site", &[], vec![rule])])
}

fn parts(request: Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

/// A visit of `target` at a.com with more headers.
fn visit(target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::get(target).header("host", "a.com");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    parts(request)
}

fn lookup(routes: &Routes, parts: &Parts) -> Lookup {
    match read(routes, parts) {
        Reading::Lookup(lookup) => lookup,
        other => panic!("not looked up: {other:?}"),
    }
}

fn key(target: &str, headers: &[(&str, &str)]) -> Key {
    Key::clone(&lookup(&routes(|_| ()), &visit(target, headers)).key)
}

fn reason(routes: &Routes, parts: &Parts) -> PassReason {
    match read(routes, parts) {
        Reading::Pass { reason, .. } => reason,
        other => panic!("not passed: {other:?}"),
    }
}

#[rstest]
// nothing counts
#[case("/p", "")]
#[case("/p?", "")]
#[case("/p?&&", "")]
// sorted stably by name
#[case("/p?b=1&a=2", "a=2&b=1")]
#[case("/p?a=2&b=1&a=1", "a=2&a=1&b=1")]
#[case("/p?a=1&%61=2&a=3", "a=1&%61=2&a=3")]
#[case("/p?b&%61", "%61&b")]
#[case("/p?a[]=2&a[]=1", "a[]=2&a[]=1")]
// bytes stay
#[case("/p?a", "a")]
#[case("/p?a=", "a=")]
#[case("/p?q=x+y", "q=x+y")]
#[case("/p?q=x%20y", "q=x%20y")]
#[case("/p?q=%FF", "q=%FF")]
#[case("/p?q=a=b", "q=a=b")]
// split on & only
#[case("/p?b=1;a=2", "b=1;a=2")]
#[case("/p?b=1;utm_source=x", "b=1;utm_source=x")]
// where a visitor came from does not count
#[case("/p?utm_source=x&a=1&gclid=2&fbclid=3", "a=1")]
#[case("/p?utm%5Fsource=x", "")]
#[case("/p?utm=x", "utm=x")]
fn key_query_by_default(#[case] target: &str, #[case] expected: &str) {
    assert_eq!(key(target, &[]).query(), expected);
}

#[rstest]
#[case(&["page"], "/p?page=2&sort=a", "page=2")]
#[case(&["page"], "/p?p%61ge=2", "p%61ge=2")]
#[case(&["page"], "/p?Page=2", "")]
#[case(&["a b"], "/p?a+b=1&a%20b=2", "a+b=1&a%20b=2")]
#[case(&[], "/p?page=2", "")]
#[case(&[], "/p?page=2&_rsc=x1", "_rsc=x1")]
#[case(&["utm_source"], "/p?utm_source=x", "utm_source=x")]
fn key_query_allow(#[case] allow: &[&str], #[case] target: &str, #[case] expected: &str) {
    let routes = routes(|rule| rule.query = Query::Allow(texts(allow)));
    assert_eq!(lookup(&routes, &visit(target, &[])).key.query(), expected);
}

#[rstest]
#[case("/p?a", "/p?a=")]
#[case("/p?q=x+y", "/p?q=x%20y")]
#[case("/p?a=1&a=2", "/p?a=2&a=1")]
#[case("/p", "/P")]
#[case("/p", "/p/")]
#[case("/p?a=1", "/p?A=1")]
fn key_differs_by_target(#[case] one: &str, #[case] other: &str) {
    assert_ne!(key(one, &[]), key(other, &[]));
}

#[rstest]
#[case(&[], &[("x-forwarded-proto", "https")])]
#[case(&[], &[("x-forwarded-host", "b.com")])]
#[case(&[("x-forwarded-host", "b.com")], &[("x-forwarded-host", "c.com")])]
fn key_differs_by_scheme_and_forwarded_host(#[case] one: &[(&str, &str)], #[case] other: &[(&str, &str)]) {
    assert_ne!(key("/p", one), key("/p", other));
}

#[rstest]
#[case(&[], &[("x-forwarded-proto", "http")])]
#[case(&[("x-forwarded-proto", "https")], &[("x-forwarded-proto", "HTTPS, http")])]
#[case(&[], &[("x-forwarded-host", "a.com")])]
#[case(&[], &[("x-forwarded-host", "A.com.:80")])]
#[case(&[("x-forwarded-host", "b.com")], &[("x-forwarded-host", "B.com, a.com")])]
#[case(&[], &[("accept", "text/plain"), ("accept-language", "de"), ("user-agent", "x"), ("cookie", "a=b")])]
#[case(&[], &[("cache-control", "no-cache"), ("if-none-match", "x"), ("range", "bytes=0-1")])]
fn key_is_the_same(#[case] one: &[(&str, &str)], #[case] other: &[(&str, &str)]) {
    let (one, other) = (key("/p", one), key("/p", other));
    assert_eq!(one, other);
    assert_eq!(seed().hash_one(&one), seed().hash_one(&other));
}

#[rstest]
#[case("A.com", "a.com")]
#[case("a.com.", "a.com")]
#[case("a.com:80", "a.com")]
#[case("a.com:443", "a.com:443")]
fn key_host_in_normal_form(#[case] host: &str, #[case] expected: &str) {
    let lookup = lookup(&routes(|_| ()), &parts(Request::get("/").header("host", host)));
    assert_eq!(lookup.key.host(), expected);
    assert_eq!(lookup.key.scheme(), Scheme::Http);
}

#[rstest]
#[case("http://a.com/", &["b.com"])]
#[case("http://a.com/", &["a.com:81"])]
#[case("http://a.com/", &["a.com", "b.com"])]
#[case("/", &["a.com", "b.com"])]
#[case("/", &["a b", "a.com"])]
#[case("http://a.com//no/rule", &["b.com"])]
fn key_hosts_that_disagree_are_refused(#[case] target: &str, #[case] hosts: &[&str]) {
    let request = hosts.iter().fold(Request::get(target), |request, host| {
        request.header("host", *host)
    });
    assert!(matches!(
        read(&Routes::default(), &parts(request)),
        Reading::Refuse(RefuseReason::HostsDisagree)
    ));
}

#[rstest]
#[case("http://a.com/", &[])]
#[case("http://a.com/", &["A.com:80"])]
#[case("http://a.com:80/", &["a.com."])]
#[case("/", &["a.com", "a.com"])]
fn key_hosts_that_agree(#[case] target: &str, #[case] hosts: &[&str]) {
    let request = hosts.iter().fold(Request::get(target), |request, host| {
        request.header("host", *host)
    });
    assert_eq!(lookup(&routes(|_| ()), &parts(request)).key.host(), "a.com");
}

#[rstest]
#[case("/a//b", &[], PassReason::PathNotNormal)]
#[case("/a/%2e%2e/b", &[], PassReason::PathNotNormal)]
#[case("/a;b", &[], PassReason::PathNotNormal)]
#[case("*", &[], PassReason::PathNotNormal)]
#[case("/a", &[("x-forwarded-proto", "gopher")], PassReason::SchemeUnknown)]
#[case("/a", &[("x-forwarded-proto", "")], PassReason::SchemeUnknown)]
#[case("/a", &[("x-forwarded-host", "a b")], PassReason::HostUnknown)]
#[case("/a", &[("x-forwarded-host", "")], PassReason::HostUnknown)]
#[case("/a", &[("authorization", "Bearer x")], PassReason::Authorization)]
#[case("/a", &[("upgrade", "websocket")], PassReason::Upgrade)]
#[case("/a", &[("next-action", "x")], PassReason::BypassHeader)]
#[case("/a", &[("next-resume", "1")], PassReason::BypassHeader)]
#[case("/a", &[("x-prerender-revalidate", "x")], PassReason::BypassHeader)]
#[case("/a", &[("cookie", "__prerender_bypass=x")], PassReason::BypassCookie)]
#[case("/a", &[("cookie", "a=b;  __next_preview_data=x; c=d")], PassReason::BypassCookie)]
#[case("/a", &[("cookie", "a=b"), ("cookie", "__prerender_bypass")], PassReason::BypassCookie)]
#[case("/a", &[("content-length", "3")], PassReason::Body)]
#[case("/a", &[("transfer-encoding", "chunked")], PassReason::Body)]
#[case("/a", &[("rsc", "1"), ("authorization", "x")], PassReason::Authorization)]
fn key_request_passes(#[case] target: &str, #[case] headers: &[(&str, &str)], #[case] expected: PassReason) {
    assert_eq!(reason(&routes(|_| ()), &visit(target, headers)), expected);
}

#[rstest]
#[case(&[("cookie", "x__prerender_bypass=x; a=__prerender_bypass")])]
#[case(&[("content-length", "0")])]
#[case(&[("x-middleware-prefetch", "1")])]
#[case(&[("purpose", "prefetch")])]
fn key_request_does_not_pass(#[case] headers: &[(&str, &str)]) {
    lookup(&routes(|_| ()), &visit("/a", headers));
}

#[test]
fn key_rule_adds_to_bypass_and_overrides() {
    let routes = routes(|rule| {
        rule.bypass_cookies = texts(&["session"]);
        rule.bypass_headers = texts(&["x-preview"]);
        rule.overrides.authorization = true;
    });
    let passes = |name, value| reason(&routes, &visit("/a", &[(name, value)]));
    assert_eq!(passes("cookie", "a=b; session=1"), PassReason::BypassCookie);
    assert_eq!(passes("cookie", "__prerender_bypass=1"), PassReason::BypassCookie);
    assert_eq!(passes("x-preview", ""), PassReason::BypassHeader);
    assert_eq!(passes("next-action", "x"), PassReason::BypassHeader);
    let authorized = lookup(&routes, &visit("/a", &[("authorization", "Bearer x")]));
    assert_eq!(authorized.key, lookup(&routes, &visit("/a", &[])).key);
    assert!(
        !authorized
            .origin_request()
            .headers()
            .contains_key("authorization")
    );
}

/// The fields of a built request that a visitor's request can have a say in.
fn sent(lookup: &Lookup) -> Vec<String> {
    let request = lookup.origin_request();
    let own = ["host", "accept-encoding", "x-forwarded-host", "x-forwarded-proto"];
    let mut fields: Vec<_> = request
        .headers()
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    fields.sort();
    fields
}

const DEFAULTS: [&str; 2] = [
    "accept: */*",
    concat!("user-agent: coppice/", env!("CARGO_PKG_VERSION")),
];

#[rstest]
#[case(("rsc", "1"))]
#[case(("next-url", "/"))]
#[case(("next-router-state-tree", "x"))]
#[case(("next-router-of-tomorrow", "x"))]
fn key_holds_what_next_js_chooses_by(#[case] field: (&str, &str)) {
    let routes = routes(|_| ());
    let plain = lookup(&routes, &visit("/a", &[]));
    let variant = lookup(&routes, &visit("/a", &[field, ("x-other", "1")]));
    assert_ne!(variant.key, plain.key);
    assert_eq!(
        (variant.key.base(), variant.key.plain()),
        (plain.key.base(), plain.key.clone())
    );
    let mut expected = vec![format!("{}: {}", field.0, field.1)];
    expected.extend(DEFAULTS.map(str::to_owned));
    expected.sort();
    assert_eq!(sent(&variant), expected);
    assert_eq!(routes.revisit(&variant.key).unwrap().key, variant.key);
}

#[test]
fn key_holds_the_rules_own_headers_and_cookies() {
    let routes = routes(|rule| {
        rule.key_headers = texts(&["accept-language", "rsc"]);
        rule.key_cookies = texts(&["theme", "ab"]);
    });
    let read = |headers: &[(&str, &str)]| lookup(&routes, &visit("/a", headers));
    let one = read(&[
        ("accept-language", "de"),
        ("cookie", "session=secret; theme=dark"),
        ("cookie", "ab=1"),
        ("rsc", "1"),
    ]);
    let mut expected = vec!["accept-language: de", "cookie: ab=1; theme=dark", "rsc: 1"];
    expected.extend(DEFAULTS);
    expected.sort_unstable();
    assert_eq!(sent(&one), expected);
    assert!(!one.key.is_variant());
    let same = read(&[
        ("cookie", "ab=1"),
        ("accept-language", "de"),
        ("rsc", "1"),
        ("cookie", " theme=dark;other=1"),
    ]);
    assert_eq!(one.key, same.key);
    assert_ne!(
        one.key,
        read(&[("accept-language", "de"), ("cookie", "theme=dark")]).key
    );
    assert_ne!(read(&[]).key, read(&[("accept-language", "")]).key);
    assert_eq!(sent(&read(&[])), DEFAULTS);
    assert_eq!(routes.revisit(&one.key).unwrap().key, one.key);
    assert!(
        self::routes(|_| ()).revisit(&one.key).is_none(),
        "nobody would come to it"
    );
}

fn selection(vary: &str) -> Selection {
    let mut headers = HeaderMap::new();
    headers.insert(header::VARY, HeaderValue::from_str(vary).unwrap());
    Selection::of(&headers).unwrap()
}

#[test]
fn key_narrows_to_the_visitors_variant() {
    let routes = routes(|rule| rule.key_headers = texts(&["x-own"]));
    let visitor = visit(
        "/a",
        &[
            ("accept-language", "de"),
            ("accept-language", "en"),
            ("foo", "1"),
            ("x-own", "o"),
        ],
    );
    let headers = &visitor.headers;
    let mut own = lookup(&routes, &visitor);
    let plain = own.key.clone();
    assert_eq!(
        own.suits(headers, &selection("Accept-Encoding, RSC, X-Own, Bar")),
        Suits::Yes
    );
    assert_eq!(own.suits(headers, &selection("Accept-Language")), Suits::Select);
    assert!(own.narrow(headers, &selection("Accept-Language")));
    assert_eq!(own.suits(headers, &selection("Accept-Language")), Suits::Yes);
    assert_eq!(own.key.plain(), plain);
    // What was seen before still counts.
    assert!(own.narrow(headers, &selection("Foo, Bar")));
    let variant: Vec<_> = own
        .key
        .variant()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(variant, [("accept-language", "de, en"), ("foo", "1")]);
    assert_eq!(
        sent(&own)
            .iter()
            .filter(|field| field.starts_with("x-own"))
            .count(),
        1
    );
}

#[test]
fn key_of_too_many_bytes_is_none() {
    let long = "x".repeat(MAX_SELECTING_BYTES);
    let visitor = visit("/a", &[("next-router-state-tree", &long)]);
    assert_eq!(reason(&routes(|_| ()), &visitor), PassReason::Variant);
    let visitor = visit("/a", &[("foo", &long)]);
    let mut own = lookup(&routes(|_| ()), &visitor);
    assert!(!own.narrow(&visitor.headers, &selection("foo")));
    let many: Vec<_> = (0..=Selection::MAX).map(|name| format!("x-{name}")).collect();
    let mut headers = HeaderMap::new();
    headers.insert(header::VARY, HeaderValue::from_str(&many.join(",")).unwrap());
    assert_eq!(Selection::of(&headers), Err(Unshareable));
}

#[test]
fn key_a_page_that_varies_by_cookie_is_for_those_without() {
    let routes = routes(|rule| rule.key_cookies = texts(&["theme"]));
    let suits = |cookie: &str| {
        let visitor = visit("/a", &[("cookie", cookie)]);
        lookup(&routes, &visitor).suits(&visitor.headers, &selection("Cookie"))
    };
    assert_eq!(suits("theme=dark"), Suits::Yes);
    assert_eq!(suits("theme=dark; session=1"), Suits::Cookie);
}

#[test]
fn key_odd_bytes_pass_or_do_not_matter() {
    let odd = |name: &str| {
        let request = Request::get("/a").header("host", "a.com");
        parts(request.header(name, HeaderValue::from_bytes(b"\xFF\xFE").unwrap()))
    };
    let routes = routes(|_| ());
    assert_eq!(reason(&routes, &odd("x-forwarded-host")), PassReason::HostUnknown);
    assert_eq!(
        reason(&routes, &odd("x-forwarded-proto")),
        PassReason::SchemeUnknown
    );
    lookup(&routes, &odd("cookie"));
    lookup(&routes, &odd("x-whatever"));
    let host = parts(Request::get("/a").header("host", HeaderValue::from_bytes(b"\xFF.com").unwrap()));
    assert_eq!(reason(&routes, &host), PassReason::HostUnknown);
    assert_eq!(
        reason(&routes, &parts(Request::get("/a"))),
        PassReason::HostUnknown
    );
}

#[rstest]
#[case(Method::POST, true)]
#[case(Method::PUT, true)]
#[case(Method::DELETE, true)]
#[case(Method::from_bytes(b"PURGE").unwrap(), true)]
#[case(Method::OPTIONS, false)]
#[case(Method::TRACE, false)]
fn key_method_passes_and_unsafe_ones_name_their_page(#[case] method: Method, #[case] is_unsafe: bool) {
    let routes = routes(|_| ());
    let mut request = visit("/a?b=1", &[("content-length", "3"), ("authorization", "x")]);
    request.method = method;
    let Reading::Pass { reason, invalidates } = read(&routes, &request) else {
        panic!("not passed");
    };
    assert_eq!(reason, PassReason::Method);
    let expected = is_unsafe.then(|| lookup(&routes, &visit("/a?b=1", &[])).key);
    assert_eq!(invalidates.map(|lookup| lookup.key), expected);
}

#[test]
fn key_head_is_the_same_page() {
    let routes = routes(|_| ());
    let mut request = visit("/a", &[]);
    let get = lookup(&routes, &request);
    request.method = Method::HEAD;
    let head = lookup(&routes, &request);
    assert!(head.head && !get.head);
    assert_eq!(head.key, get.key);
    assert_eq!(head.origin_request().method(), Method::GET);
}

#[test]
fn key_no_route_without_configuration() {
    assert_eq!(reason(&Routes::default(), &visit("/a", &[])), PassReason::NoRoute);
}

#[test]
fn key_builds_the_request_of_the_app() {
    let visited = visit(
        "/caf%C3%A9/?b=2&utm_source=x&a=1",
        &[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "Shop.example.com:443"),
            ("x-forwarded-for", "192.0.2.1"),
            ("cookie", "secret=1"),
            ("accept", "text/html"),
            ("accept-encoding", "br"),
            ("accept-language", "de"),
            ("user-agent", "a browser"),
            ("if-none-match", "\"x\""),
            ("range", "bytes=0-1"),
            ("x-middleware-prefetch", "1"),
            ("connection", "x-custom"),
            ("x-custom", "1"),
        ],
    );
    let request = lookup(&routes(|_| ()), &visited).origin_request();
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri(), "/caf%C3%A9/?a=1&b=2");
    let mut headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
            ("host", "a.com"),
            ("user-agent", USER_AGENT),
            ("x-forwarded-host", "shop.example.com"),
            ("x-forwarded-proto", "https"),
        ]
    );
}

#[test]
fn key_shows_as_a_url() {
    assert_eq!(key("/a?b=1", &[]).to_string(), "http://a.com/a?b=1");
    let forwarded = key(
        "/",
        &[("x-forwarded-proto", "https"), ("x-forwarded-host", "b.com")],
    );
    assert_eq!(forwarded.to_string(), "https://a.com/ for b.com");
}

#[rstest]
#[case("A.com", "/", "")]
#[case("a.com:80", "/", "")]
#[case("", "/", "")]
#[case("a.com", "a", "")]
#[case("a.com", "/a//b", "")]
#[case("a.com", "/a b", "")]
#[case("a.com", "/a", "b#c")]
#[case("a.com", "/a", "b c")]
fn key_of_odd_parts_is_refused(#[case] host: &str, #[case] path: &str, #[case] query: &str) {
    assert!(Key::new(Scheme::Http, host, path, query).is_err());
}

#[test]
fn key_is_visited_again_only_where_a_visit_would_come() {
    let key = Arc::new(Key::new(Scheme::Https, "a.com", "/a", "page=2").unwrap());
    let all = routes(|_| ());
    let again = all.revisit(&key).expect("it is reachable");
    assert_eq!(again.key, key);
    assert_eq!(again.plan.name.as_ref(), "all");
    assert!(
        routes(|rule| rule.query = Query::Allow(vec![]))
            .revisit(&key)
            .is_none()
    );
    assert!(routes(|rule| rule.revalidate = None).revisit(&key).is_some());
    let never = routes(|rule| rule.revalidate = Some(Interval::After(Duration::ZERO)));
    assert!(never.revisit(&key).is_none());
    assert!(routes(|rule| rule.paths = texts(&["/b"])).revisit(&key).is_none());
    assert!(Routes::default().revisit(&key).is_none());
}

proptest! {
    /// The order in which different parameters are sent makes no other page, and what is built is asked for again.
    #[test]
    fn key_query_order_does_not_count(
        parameters in prop::collection::vec(("[a-e]", "[0-9+]{0,2}"), 0..6),
        seed in any::<u64>(),
    ) {
        let mut shuffled: Vec<_> = parameters.iter().enumerate().collect();
        // Moves whole names, so that duplicates keep their order.
        shuffled.sort_by_key(|(at, (name, _))| ((u64::from(name.as_bytes()[0]).wrapping_mul(seed | 1)) % 7, name.clone(), *at));
        let write = |list: Vec<(String, String)>| {
            let list: Vec<_> = list.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("/p?{}", list.join("&"))
        };
        let one = key(&write(parameters.clone()), &[]);
        let other = key(&write(shuffled.into_iter().map(|(_, parameter)| parameter.clone()).collect()), &[]);
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(&key(one.target(), &[]), &one);
    }

    /// Reading anything never panics, and whatever is looked up can be asked for.
    #[test]
    fn key_read_never_panics(
        target in "/[ -~é]{0,20}",
        names in prop::collection::vec((prop::sample::select(vec!["host", "x-forwarded-host", "x-forwarded-proto", "cookie", "rsc"]), prop::collection::vec(any::<u8>(), 0..8)), 0..4),
    ) {
        let mut request = Request::get(&target);
        for (name, value) in names {
            request = request.header(name, value);
        }
        if let Ok(request) = request.body(()) {
            let (parts, ()) = request.into_parts();
            if let Reading::Lookup(lookup) = read(&routes(|_| ()), &parts) {
                let asked = lookup.origin_request();
                prop_assert_eq!(asked.uri().path(), parts.uri.path());
            }
        }
    }
}
