//! Which requests are looked up at all.

use super::*;

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
    let mut nowhere = parts(Request::get("/a"));
    nowhere.version = Version::HTTP_10;
    assert_eq!(reason(&routes, &nowhere), PassReason::HostUnknown);
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
