//! Fuzz targets of the engine, each tried with a fixed number of cases: see [`mutate`] for how to try more.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)] // a test may panic; its module is private to it

mod mutate;

use std::{collections::HashSet, sync::LazyLock, time::Duration};

use coppice_cache::{
    cache_status::{Answer, CacheStatus},
    config::{Config, Interval, Query, Route, Rule},
    control::CacheControl,
    hostname::Hostname,
    key::{self, Key, Lookup, Reading, Selection},
    outcome::{Forward, PassReason},
    path,
    pattern::Pattern,
    routes::Routes,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, request::Parts};
use mutate::{cases, mutated};
use proptest::prelude::*;
use sfv::{FieldType, ListEntry, Parser};

/// A rule for everything, and some that choose parameters.
static ROUTES: LazyLock<Routes> = LazyLock::new(|| {
    let rule = |name: &str, path: &str, change: &dyn Fn(&mut Rule)| {
        let mut rule = Rule::new(name, &[path]);
        rule.revalidate = Some(Interval::After(Duration::from_mins(1)));
        change(&mut rule);
        rule
    };
    let rules = vec![
        rule("all", "/[[...all]]", &|_| ()),
        rule("listed", "/listed/[slug]", &|rule| {
            rule.query = Query::Allow(vec!["page".to_owned()]);
        }),
        rule("none", "/none/[slug]", &|rule| {
            rule.query = Query::Allow(Vec::new());
        }),
    ];
    Routes::compile(&Config {
        routes: vec![Route::new("site", rules)],
    })
    .unwrap()
});

/// The request that these bytes would be: a line, then fields; `None` where no HTTP server would let it in.
fn request(bytes: &[u8]) -> Option<Parts> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = words.next()?.try_into().ok()?;
    *request.uri_mut() = Uri::try_from(words.next()?).ok()?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request.into_parts().0)
}

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP\nhost: a.test",
    b"GET /blog/hello?page=2&utm_source=x\nhost: shop.example.com:8080\ncookie: a=b; c=d",
    b"GET http://A.test:80/x?b=2&a=1&a=2\nhost: a.test.\naccept-language: de",
    b"HEAD /listed/a?page=1&x=2&_rsc=3\nhost: a.test\nx-forwarded-host: b.test, c.test\nx-forwarded-proto: https",
    b"GET /none/%C3%A9%20a?x\nhost: [2001:db8::1]:443\nx-forwarded-proto: HTTPS",
    b"GET /a?%61=1&a=2&+=3&=4&&\nhost: a.test\nrsc: 1\nnext-router-prefetch: 1\nnext-url: /b",
    b"POST /a;b/../c//d?e\nhost: a.test\ncontent-length: 0",
    b"OPTIONS *\nhost: a.test",
    b"GET /a\nhost: a.test\nhost: a.test\nauthorization: Basic x\nrange: bytes=0-1\nif-none-match: \"x\"",
];

const WORDS: &[&[u8]] = &[
    b"%2f",
    b"%2F",
    b"%00",
    b"%",
    b"%zz",
    b"%c3%a9",
    b"\xc3\xa9",
    b"\xff",
    b"/",
    b"//",
    b"/../",
    b"/./",
    b"..",
    b"\\",
    b";",
    b"?",
    b"&",
    b"=",
    b"+",
    b"#",
    b"*",
    b"@",
    b":",
    b"[",
    b"]",
    b".",
    b",",
    b" ",
    b"\t",
    b"\r",
    b"\0",
    b"\"",
    b"utm_",
    b"_rsc=",
    b"page=",
    b"\nhost: evil.test",
    b"\nx-forwarded-host: evil.test",
    b"\nx-forwarded-proto: https",
    b"\ncookie: __prerender_bypass=1",
    b"\nconnection: host",
    b"\nx-evil: 1",
    b":80",
    b":443",
    b":99999",
    b"http://",
];

/// What a request that is built from a key may say beside the key's own parts.
const BUILT: [&str; 6] = [
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Nothing in the request that the app is asked comes from anywhere but the key.
fn assert_built(asked: &Request<()>, lookup: &Lookup, visitor: &Parts) {
    let key = &*lookup.key;
    assert_eq!(asked.method(), "GET");
    assert_eq!(asked.uri().to_string(), key.target());
    assert_eq!(key.path(), visitor.uri.path());
    let theirs: HashSet<&str> = visitor.uri.query().unwrap_or_default().split('&').collect();
    assert!(key.query().is_empty() || key.query().split('&').all(|own| theirs.contains(own)));
    for (name, value) in asked.headers() {
        let name = name.as_str();
        // Next.js's own set is a variant wherever it is sent.
        let variant = name == "rsc" || name.starts_with("next-");
        assert!(BUILT.contains(&name) || variant, "{name}: {value:?}");
        if variant {
            // Its lines joined, and the white space of lists written in one way (RFC 9111 section 4.1).
            let lines = visitor.headers.get_all(name).iter().map(HeaderValue::as_bytes);
            let own = lines.collect::<Vec<_>>().join(&b","[..]);
            assert_eq!(dense(value.as_bytes()), dense(&own), "{name}: {value:?}");
        }
    }
    assert_eq!(asked.headers()["host"], key.host());
    let forwarded = key.forwarded_host().unwrap_or(key.host());
    assert_eq!(asked.headers()["x-forwarded-host"], forwarded);
    assert_eq!(asked.headers()["x-forwarded-proto"], key.scheme().as_str());
}

/// Without its white space.
fn dense(value: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    value.iter().copied().filter(|byte| !is_space(byte)).collect()
}

proptest! {
    #![proptest_config(cases())]

    /// Every request has a reading. One that may be looked up has a key in normal form; the request that is built from
    /// the key says nothing else, and reading that again gives the same key.
    #[test]
    fn fuzz_request_to_key(bytes in mutated(REQUESTS, WORDS)) {
        let Some(visitor) = request(&bytes) else { return Ok(()) };
        let Reading::Lookup(lookup) = key::read(&ROUTES, &visitor) else { return Ok(()) };
        prop_assert!(path::check(lookup.key.path()).is_ok());
        let asked = lookup.origin_request();
        assert_built(&asked, &lookup, &visitor);
        let Reading::Lookup(again) = key::read(&ROUTES, &asked.into_parts().0) else {
            return Err(TestCaseError::fail(format!("{lookup:?} is not read again")));
        };
        prop_assert_eq!(&again.key, &lookup.key);
        prop_assert_eq!(ROUTES.revisit(&lookup.key).map(|lookup| lookup.key), Some(lookup.key));
    }

    /// A pattern is refused or matches; what it captures is a part of the path, and its literal form matches itself.
    #[test]
    fn fuzz_pattern(pattern in mutated(PATTERNS, PATTERN_WORDS), path in mutated(PATHS, WORDS)) {
        let (pattern, path) = (String::from_utf8_lossy(&pattern), String::from_utf8_lossy(&path));
        let Ok(pattern) = Pattern::parse(&pattern) else { return Ok(()) };
        prop_assert_eq!(Pattern::parse(pattern.as_str()).unwrap().shape(), pattern.shape());
        if let Some(literal) = pattern.literal() {
            prop_assert!(pattern.is_match(literal), "{}", literal);
        }
        if path::check(&path).is_ok() {
            let captures = pattern.matches(&path);
            prop_assert_eq!(captures.is_some(), pattern.is_match(&path));
            let decoded = path::decode(&path).into_owned();
            for name in pattern.names() {
                let captured = captures.as_ref().and_then(|captures| captures.get(name));
                prop_assert!(captured.is_none_or(|part| decoded.contains(&*part)));
            }
        }
    }

    /// Any bytes have a reading. More fields never allow what fewer forbid, and never keep a page for longer.
    #[test]
    fn fuzz_cache_control(one in mutated(CONTROLS, CONTROL_WORDS), other in mutated(CONTROLS, CONTROL_WORDS)) {
        let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).ok();
        let (Some(one), Some(other)) = (value(&one), value(&other)) else { return Ok(()) };
        let (alone, both) = (CacheControl::parse([&one]), CacheControl::parse([&one, &other]));
        prop_assert!(!alone.no_store || both.no_store);
        prop_assert!(!alone.private || both.private);
        prop_assert!(!alone.no_cache || both.no_cache);
        prop_assert!(alone.max_age.is_none_or(|age| both.max_age.unwrap() <= age));
        prop_assert!(alone.s_maxage.is_none_or(|age| both.s_maxage.unwrap() <= age));
        prop_assert_eq!(both, CacheControl::parse([&other, &one]));
        prop_assert!(CacheControl::parse([&one, &HeaderValue::from_static("no-store")]).no_store);
    }

    /// Any `Vary` has a reading. `*` anywhere makes the answer nobody's; order, case and lines mean nothing; more names never
    /// select less, and too many none.
    #[test]
    fn fuzz_vary(
        lines in proptest::collection::vec(mutated(VARIES, VARY_WORDS), 1..4),
        more in mutated(VARIES, VARY_WORDS),
    ) {
        let Some(headers) = vary(&lines) else { return Ok(()) };
        let read = Selection::of(&headers);
        let mut members: Vec<Vec<u8>> = lines
            .iter()
            .flat_map(|line| line.split(|byte| *byte == b','))
            .map(<[u8]>::to_ascii_uppercase)
            .collect();
        members.reverse();
        prop_assert_eq!(&Selection::of(&vary(&members).unwrap()), &read);
        prop_assert_eq!(&Selection::of(&vary(&[members.join(&b" ,\t"[..])]).unwrap()), &read);

        let names: HashSet<_> = members.iter().map(|member| member.trim_ascii()).collect();
        prop_assert!(!names.contains(&b"*"[..]) || read.is_err());
        if let Ok(selection) = &read {
            prop_assert!(selection.names().len() <= Selection::MAX);
            let is_named = |name: &HeaderName| names.contains(name.as_str().to_ascii_uppercase().as_bytes());
            prop_assert!(selection.names().iter().all(is_named));
            prop_assert_eq!(selection.by_cookie(), names.contains(&b"COOKIE"[..]));
        }

        let both = [lines, vec![more]].concat();
        let Some(Ok(both)) = vary(&both).map(|headers| Selection::of(&headers)) else { return Ok(()) };
        let alone = read.map_err(|_| TestCaseError::fail("more names made it one to share"))?;
        prop_assert!(alone.names().iter().all(|name| both.names().contains(name)));
        prop_assert!(!alone.by_cookie() || both.by_cookie());
    }

    /// What Coppice says of an answer is one item of a list of structured fields, and reads back as it was meant.
    #[test]
    fn fuzz_cache_status(
        answer in answer(),
        ttl in proptest::option::of(any::<i64>()),
        detail in proptest::option::of(proptest::sample::select(&PassReason::BEFORE[..])),
        bytes in mutated(REQUESTS, WORDS),
    ) {
        let read = request(&bytes).map(|visitor| key::read(&ROUTES, &visitor));
        let key = match &read {
            Some(Reading::Lookup(lookup)) => Some(&*lookup.key),
            _ => None,
        };
        let status = CacheStatus { answer, ttl, detail: detail.map(PassReason::as_str), key };
        assert_reads_back(&status);
    }

    /// A hostname is refused, or names what it names and nothing else.
    #[test]
    fn fuzz_hostname(bytes in mutated(HOSTS, HOST_WORDS)) {
        let text = String::from_utf8_lossy(&bytes);
        let Ok(hostname) = Hostname::parse(&text) else { return Ok(()) };
        prop_assert!(!hostname.matches(""));
        prop_assert!(!hostname.matches("evil.invalid"));
        if let Some(exact) = hostname.exact() {
            prop_assert!(hostname.matches(exact));
            prop_assert!(hostname.matches(&[exact, ":8080"].concat()));
            prop_assert!(!hostname.matches(&["x.", exact].concat()));
        } else {
            let name = text.strip_prefix("*").unwrap();
            prop_assert!(hostname.matches(&["a", name].concat()));
            prop_assert!(!hostname.matches(&name[1..]));
        }
    }

    /// `Key::new` takes only what a visit could come to.
    #[test]
    fn fuzz_key(bytes in mutated(REQUESTS, WORDS), host in mutated(HOSTS, HOST_WORDS)) {
        let (text, host) = (String::from_utf8_lossy(&bytes).into_owned(), String::from_utf8_lossy(&host).into_owned());
        let target = text.split(['\n', ' ']).nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if let Ok(key) = Key::new(coppice_cache::config::Scheme::Http, &host, path, query) {
            prop_assert_eq!((key.host(), key.path(), key.query()), (&*host, path, query));
            prop_assert!(key.weight() >= target.len());
            prop_assert!(Uri::try_from(key.target()).is_ok());
        }
    }
}

/// An answer's `Vary`, a line each; `None` where no HTTP client would let it in.
fn vary(lines: &[Vec<u8>]) -> Option<HeaderMap> {
    let value = |line: &Vec<u8>| Some((header::VARY, HeaderValue::from_bytes(line).ok()?));
    lines.iter().map(value).collect()
}

fn answer() -> impl Strategy<Value = Answer> {
    let why = proptest::sample::select(
        &[
            Forward::Bypass,
            Forward::Method,
            Forward::Request,
            Forward::UriMiss,
            Forward::VaryMiss,
            Forward::Stale,
        ][..],
    );
    let forwarded = (why, any::<bool>(), any::<bool>());
    prop_oneof![
        Just(Answer::Hit),
        forwarded.prop_map(|(why, stored, collapsed)| Answer::Forwarded {
            why,
            stored,
            collapsed
        }),
    ]
}

fn assert_reads_back(status: &CacheStatus<'_>) {
    let value = status.value();
    let list = Parser::new(value.as_bytes()).parse::<sfv::List>().unwrap();
    let again = list.serialize().unwrap();
    assert_eq!(Parser::new(&again).parse::<sfv::List>().unwrap(), list);
    let [ListEntry::Item(item)] = &list[..] else {
        panic!("one item: {value:?}");
    };
    let param = |name: &str| item.params.get(sfv::KeyRef::from_str(name).unwrap());
    assert_eq!(item.bare_item.as_token().unwrap().as_str(), "coppice");
    let told = |name: &str| param(name).is_some_and(|flag| flag.as_boolean() == Some(true));
    match status.answer {
        Answer::Hit => assert!(told("hit") && param("fwd").is_none()),
        Answer::Forwarded {
            why,
            stored,
            collapsed,
        } => {
            assert_eq!(param("fwd").unwrap().as_token().unwrap().as_str(), why.as_str());
            assert_eq!(
                (told("stored"), told("collapsed"), told("hit")),
                (stored, collapsed, false)
            );
        }
    }
    assert_eq!(param("ttl").is_some(), status.ttl.is_some());
    let detail = param("detail").map(|detail| detail.as_token().unwrap().as_str());
    assert_eq!(detail, status.detail);
    assert_eq!(param("key").is_some(), status.key.is_some());
}

const PATTERNS: &[&[u8]] = &[
    b"/",
    b"/blog/[slug]",
    b"/docs/[...rest]",
    b"/[[...all]]",
    b"/a/b.c/",
    b"/[lang]/blog/[slug]/[[...more]]",
    "/caf\u{e9}/[id]".as_bytes(),
];
const PATTERN_WORDS: &[&[u8]] = &[
    b"[", b"]", b"[[", b"]]", b"...", b"[...", b"[[...", b"/", b"//", b".", b"..", b"[]", b"%", b"%20",
    b"\\", b"*", b"?", b"\xff", b"\0", b"[a]", b"{", b"(", b")", b"|", b"^", b"$", b"+",
];
const PATHS: &[&[u8]] = &[
    b"/",
    b"/blog/hello",
    b"/docs/a/b/c",
    b"/caf%C3%A9/1",
    b"/de/blog/x/y/z/",
    b"/a/b.c",
];
const CONTROLS: &[&[u8]] = &[
    b"public, max-age=60",
    b"private=\"set-cookie\", no-store",
    b"s-maxage=1, stale-while-revalidate=\"2\", stale-if-error=3",
    b"no-cache, must-revalidate, proxy-revalidate, must-understand, no-transform",
    b"ext=\"a\\\"b, no-store\", max-age=",
    b"max-age=99999999999999999999",
];
const CONTROL_WORDS: &[&[u8]] = &[
    b",",
    b"=",
    b"\"",
    b"\\",
    b"\\\"",
    b" ",
    b"\t",
    b"no-store",
    b"private",
    b"max-age=",
    b"-1",
    b"0",
    b"\xff",
    b";",
    b"'",
];
const VARIES: &[&[u8]] = &[
    b"*",
    b"Accept-Language",
    b"rsc, next-router-state-tree, next-router-prefetch, Accept-Encoding",
    b"Cookie, User-Agent",
    b"a,b,c,d,e,f,g,h",
    b"Origin,, Save-Data ,\tDPR",
    b"",
];
const VARY_WORDS: &[&[u8]] = &[
    b"*",
    b",",
    b", ",
    b" ",
    b"\t",
    b"\"",
    b"*,",
    b",*",
    b"cookie",
    b"i",
    b"if-match",
    b"x-middleware-a",
    b"authorization",
    b"via",
    b"\xff",
    b"\0",
    b"=",
];
const HOSTS: &[&[u8]] = &[
    b"a.test",
    b"*.example.com",
    b"shop.example.com",
    b"10.0.0.1",
    b"[::1]",
    b"xn--caf-dma.test",
];
const HOST_WORDS: &[&[u8]] = &[
    b".", b"*", b"*.", b"-", b":", b":80", b"A", b"_", b"\xff", b"%", b"/", b"@", b"\0", b"[", b"]",
];
