//! Scheme, host, path and query.

use super::*;

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

/// A request of HTTP/1.1 with these hosts.
fn named(target: &str, hosts: &[&str]) -> Parts {
    let request = hosts.iter().fold(Request::get(target), |request, host| {
        request.header("host", *host)
    });
    parts(request)
}

#[rstest]
#[case("http://a.com/", &["b.com"], RefuseReason::HostsDisagree)]
#[case("http://a.com/", &["a.com:81"], RefuseReason::HostsDisagree)]
#[case("http://a.com//no/rule", &["b.com"], RefuseReason::HostsDisagree)]
#[case("http://a.com/", &["a.com", "b.com"], RefuseReason::HostCount)]
#[case("/", &["a.com", "b.com"], RefuseReason::HostCount)]
#[case("/", &["a.com", "a.com"], RefuseReason::HostCount)]
#[case("/", &[], RefuseReason::HostCount)]
#[case("http://a.com/", &[], RefuseReason::HostCount)]
#[case("http://me@a.com/", &["a.com"], RefuseReason::UserInfo)]
fn key_hosts_that_are_disputed_are_refused(
    #[case] target: &str,
    #[case] hosts: &[&str],
    #[case] expected: RefuseReason,
) {
    let read = read(&Routes::default(), &named(target, hosts));
    assert!(
        matches!(read, Reading::Refuse(reason) if reason == expected),
        "{read:?}"
    );
}

#[rstest]
#[case(&["chunked"], false)]
#[case(&[" Chunked "], false)]
#[case(&["gzip, chunked"], true)]
#[case(&["identity"], true)]
#[case(&[""], true)]
#[case(&["chunked", "chunked"], true)]
#[case(&["gzip", "chunked"], true)]
#[case(&["chunked", "gzip"], true)]
fn key_transfer_codings_but_chunked_are_refused(#[case] codings: &[&str], #[case] refused: bool) {
    let codings: Vec<_> = codings
        .iter()
        .map(|coding| ("transfer-encoding", *coding))
        .collect();
    let read = read(&Routes::default(), &visit("/a", &codings));
    let is_refused = matches!(read, Reading::Refuse(RefuseReason::TransferCoding));
    assert_eq!(is_refused, refused, "{read:?}");
}

#[rstest]
#[case("http://a.com/", &["A.com:80"])]
#[case("http://a.com:80/", &["a.com."])]
fn key_hosts_that_agree(#[case] target: &str, #[case] hosts: &[&str]) {
    let visited = named(target, hosts);
    assert_eq!(lookup(&routes(|_| ()), &visited).key.host(), "a.com");
}

#[test]
fn key_authority_of_http2_is_the_host() {
    let mut visited = named("http://a.com/", &[]);
    visited.version = Version::HTTP_2;
    assert_eq!(lookup(&routes(|_| ()), &visited).key.host(), "a.com");
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

/// The forms in which Next.js's routers ask for a page.
#[rstest]
#[case("/p", "/p", true)]
#[case("/p?_rsc=x", "/p", true)]
#[case("/p?_rsc", "/p", true)]
#[case("/p", "/p?_rsc=x", true)]
#[case("/p?_rsc=x&a=1", "/p?a=1", true)]
#[case("/_next/data/b1/p.json", "/p", true)]
#[case("/_next/data/b1/p.json?slug=p", "/p", true)]
#[case("/_next/data/b1/p.json", "/p?a=1", true)]
#[case("/docs/_next/data/b1/index.json", "/docs", true)]
#[case("/p?a=1", "/p", false)]
#[case("/p?_rsc=x&a=1", "/p", false)]
#[case("/p?_rsc=x", "/p?a=1", false)]
#[case("/q?_rsc=x", "/p", false)]
#[case("/_next/data/b1/q.json", "/p", false)]
#[case("/p", "/_next/data/b1/p.json", false)]
fn key_is_form_of_a_page(#[case] form: &str, #[case] page: &str, #[case] expected: bool) {
    assert_eq!(key(form, &[]).is_form_of(&key(page, &[])), expected);
    assert!(!expected || key(form, &[]).page() == key(page, &[]).page());
    let secure = key(form, &[("x-forwarded-proto", "https")]);
    assert!(!secure.is_form_of(&key(page, &[])), "of another site");
}
