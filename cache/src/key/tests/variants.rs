//! Headers and cookies: the rule's own, and what chooses a variant.

use super::*;

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
