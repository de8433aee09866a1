//! Cache poisoning: an app that reflects all that it is asked into body and headers, an attacker who sends what caches
//! are known to overlook, and the innocent visitor after that (invariant 5).

use std::collections::HashMap;

use coppice_cache::{
    config::Interval,
    ledger::{Line, Selector, Strategy},
};
use rstest::rstest;

use crate::{
    support::{
        stage::{Got, LONG, SHORT},
        until,
    },
    world::{Seen, World},
};

/// What an attacker gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    /// The page that everybody gets, without a trace of the attack.
    Shared,
    /// An answer of their own: passed through, or under a key or a variant of its own.
    Apart,
    /// 400, and the app is not asked.
    Refused,
}

use Gets::{Apart, Refused, Shared};

/// Headers that lead apps to another page, host, scheme, language or user, none of them in the key unless it says so.
const HEADERS: &[(&str, Gets)] = &[
    // Who the visitor was before the proxies.
    ("x-forwarded-for: 203.0.113.9", Shared),
    ("x-forwarded-host: evil.test", Apart),
    ("x-forwarded-host: a.test, evil.test", Shared),
    ("x-forwarded-host: a.test\r\nx-forwarded-host: evil.test", Shared),
    ("x-forwarded-host: evil.test, a.test", Apart),
    ("x-forwarded-host: A.TEST:80", Shared),
    ("x-forwarded-host: a.test:1337", Apart),
    ("x-forwarded-host: a.test/evil", Apart),
    ("x-forwarded-host: a.test\"><evil", Apart),
    ("x-forwarded-host:", Apart),
    ("x-forwarded-proto: https", Apart),
    ("x-forwarded-proto: evil", Apart),
    ("x-forwarded-proto: http, evil", Shared),
    ("x-forwarded-proto:", Apart),
    ("x-forwarded-prefix: /evil", Shared),
    ("x-forwarded-port: 1337", Shared),
    ("x-forwarded-scheme: evil", Shared),
    ("x-forwarded-protocol: evil", Shared),
    ("x-forwarded-ssl: on", Shared),
    ("x-forwarded-server: evil.test", Shared),
    ("x-forwarded-path: /evil", Shared),
    ("x-forwarded-uri: /evil", Shared),
    ("x-forwarded-by: evil", Shared),
    ("x-forwarded: for=evil", Shared),
    ("forwarded: for=evil;host=evil.test;proto=https", Shared),
    ("front-end-https: on", Shared),
    ("x-scheme: evil", Shared),
    ("x-url-scheme: evil", Shared),
    ("x-real-ip: 203.0.113.9", Shared),
    ("x-client-ip: evil", Shared),
    ("true-client-ip: evil", Shared),
    ("cf-connecting-ip: evil", Shared),
    ("fastly-client-ip: evil", Shared),
    ("via: 1.1 evil.test", Shared),
    ("x-host: evil.test", Shared),
    ("x-http-host-override: evil.test", Shared),
    ("x-original-host: evil.test", Shared),
    ("x-backend-host: evil.test", Shared),
    ("x-wap-profile: http://evil.test/", Shared),
    // Another URL or method than the one that was asked for.
    ("x-original-url: /evil", Shared),
    ("x-rewrite-url: /evil", Shared),
    ("x-original-uri: /evil", Shared),
    ("x-override-url: /evil", Shared),
    ("destination: /evil", Shared),
    ("base-url: http://evil.test/", Shared),
    ("x-http-method: POST", Shared),
    ("x-http-method-override: POST", Shared),
    ("x-method-override: DELETE", Shared),
    ("max-forwards: 0", Shared),
    // What Next.js and its hosts say to themselves.
    ("x-middleware-prefetch: 1", Shared),
    (
        "x-middleware-subrequest: middleware:middleware:middleware",
        Shared,
    ),
    ("x-middleware-rewrite: /evil", Shared),
    ("x-middleware-next: 1", Shared),
    ("x-middleware-invoke: 1", Shared),
    ("x-middleware-set-cookie: evil=1", Shared),
    ("x-middleware-override-headers: evil", Shared),
    ("x-nextjs-data: 1", Shared),
    ("x-nextjs-redirect: /evil", Shared),
    ("x-nextjs-rewrite: /evil", Shared),
    ("x-nextjs-matched-path: /evil", Shared),
    ("x-now-route-matches: 1=evil", Shared),
    ("x-matched-path: /evil", Shared),
    ("x-invoke-path: /evil", Shared),
    ("x-invoke-query: evil", Shared),
    ("x-invoke-status: 500", Shared),
    ("x-invoke-error: evil", Shared),
    ("x-invoke-output: /evil", Shared),
    ("x-vercel-id: evil", Shared),
    ("x-prerender-revalidate: evil", Apart),
    ("x-prerender-revalidate-if-generated: 1", Shared),
    ("next-action: evil", Apart),
    ("next-resume: 1", Apart),
    ("rsc: 1", Apart),
    ("rsc: evil", Apart),
    ("next-url: /evil", Apart),
    ("next-router-state-tree: evil", Apart),
    ("next-router-prefetch: 1", Apart),
    ("next-router-prefetch: evil", Apart),
    ("next-router-segment-prefetch: /evil", Apart),
    ("next-router-stale-reload: 1", Apart),
    // A part of the page, or none of it.
    ("range: bytes=0-3", Shared),
    ("range: bytes=0-3,5-7", Shared),
    ("range: evil=1", Shared),
    ("if-range: \"evil\"\r\nrange: bytes=0-3", Shared),
    ("if-none-match: \"evil\"", Shared),
    ("if-match: \"evil\"", Shared),
    ("if-modified-since: Tue, 24 Nov 2026 00:00:00 GMT", Shared),
    ("if-unmodified-since: Sat, 01 Jan 2000 00:00:00 GMT", Shared),
    // What the visitor likes, and who they are.
    ("accept: application/evil", Shared),
    ("accept: text/x-component", Shared),
    ("accept-language: xx-evil", Shared),
    ("accept-charset: evil", Shared),
    ("accept-encoding: evil", Shared),
    ("user-agent: evil", Shared),
    ("user-agent: Googlebot/2.1", Shared),
    ("origin: http://evil.test", Shared),
    ("access-control-request-method: GET", Shared),
    ("referer: http://evil.test/", Shared),
    ("sec-fetch-dest: evil", Shared),
    ("sec-fetch-mode: evil", Shared),
    ("sec-ch-ua-mobile: ?1", Shared),
    ("save-data: on", Shared),
    ("x-requested-with: XMLHttpRequest", Shared),
    ("x-purpose: preview", Shared),
    ("purpose: prefetch", Shared),
    ("cookie: lang=evil", Shared),
    ("cookie: __prerender_bypass=evil", Apart),
    ("cookie: a=b; __next_preview_data=evil", Apart),
    ("cookie: a=b\r\ncookie: __prerender_bypass=evil", Apart),
    ("authorization: Basic ZXZpbA==", Apart),
    ("proxy-authorization: Basic ZXZpbA==", Shared),
    ("x-api-key: evil", Shared),
    // What the visitor wants of caches.
    ("cache-control: no-cache", Shared),
    ("cache-control: no-store, max-age=0", Shared),
    ("pragma: no-cache", Shared),
    ("surrogate-capability: evil=\"ESI/1.0\"", Shared),
    ("cdn-loop: evil", Shared),
    ("x-cache-key: evil", Shared),
    ("fastly-debug: 1", Shared),
    // What concerns one connection.
    ("expect: evil", Shared),
    ("te: trailers", Shared),
    ("te: evil", Shared),
    (
        "connection: close, x-forwarded-proto\r\nx-forwarded-proto: http",
        Shared,
    ),
    ("connection: close, host", Shared),
    (
        "connection: close, cookie\r\ncookie: __prerender_bypass=evil",
        Apart,
    ),
    ("upgrade: evil", Apart),
    ("upgrade-insecure-requests: 1", Shared),
    ("trailer: host", Shared),
    ("keep-alive: evil", Shared),
    ("http2-settings: evil", Shared),
    // Traces, and anything at all.
    ("traceparent: 00-evil", Shared),
    ("x-request-id: evil", Shared),
    ("x-amzn-trace-id: evil", Shared),
    (
        "x-oversized: evil evil evil evil evil evil evil evil evil evil evil evil evil evil evil evil",
        Shared,
    ),
    ("x_forwarded_host: evil.test", Shared),
    ("x-any: evil", Shared),
    ("x-any: \u{e9}vil", Shared),
    // A fat GET: whoever reads the body would answer for everybody.
    ("content-length: 0", Shared),
    ("content-length: 00", Apart),
    ("transfer-encoding: identity", Refused),
];

/// Ways to ask for `/p?a=1` in other words.
const TARGETS: &[(&str, Gets)] = &[
    ("/p?a=1&utm_source=evil", Shared),
    ("/p?utm_source=evil&a=1", Shared),
    ("/p?%75tm_source=evil&a=1", Shared),
    ("/p?a=1&fbclid=evil&gclid=evil", Shared),
    ("/p?a=1&", Shared),
    ("/p?&&a=1", Shared),
    ("/p?a=1#evil", Shared),
    // Cloaked in a semicolon, which some apps split at.
    ("/p?a=1;b=evil", Apart),
    ("/p?utm_source=x;a=evil&a=1", Shared),
    ("/p?a=1&utm_source=x;b=evil", Shared),
    // Named twice, named oddly.
    ("/p?a=1&a=evil", Apart),
    ("/p?a=evil&a=1", Apart),
    ("/p?a[]=1", Apart),
    ("/p?%61=1", Apart),
    ("/p?A=1", Apart),
    ("/p?a=1%00", Apart),
    ("/p?a=%31", Apart),
    ("/p?a=1&_rsc=evil", Apart),
    ("/p?a=1&__nextLocale=evil", Apart),
    ("/p?a=1&nxtPslug=evil", Apart),
    ("/p?a=1?b=evil", Apart),
    ("/p?a=1%26b=evil", Apart),
    ("/p?a=1%23evil", Apart),
    ("/p?a=1%0d%0ax-evil:1", Apart),
    // Other paths, that some apps take for the same.
    ("/P?a=1", Apart),
    ("/p/?a=1", Apart),
    ("/%70?a=1", Apart),
    ("//p?a=1", Apart),
    ("/./p?a=1", Apart),
    ("/x/../p?a=1", Apart),
    ("/x/%2e%2e/p?a=1", Apart),
    ("/x%2f..%2fp?a=1", Apart),
    ("/p%20?a=1", Apart),
    ("/p%00?a=1", Apart),
    ("/p;evil?a=1", Apart),
    ("/p%3fa=1", Apart),
    ("/p%23?a=1", Apart),
    ("/\\p?a=1", Apart),
];

const INNOCENT: &str = "/p?a=1";

/// Echoes all that it is asked, in body and headers, and says that everybody may keep it.
fn reflect(seen: &Seen) -> String {
    let lines = seen.head.split("\r\n").enumerate();
    let echoes: Vec<_> = lines
        .map(|(at, line)| format!("x-echo-{at}: {line}\r\n"))
        .collect();
    let echoes = echoes.concat();
    let body = format!("{}\n{}", seen.head, seen.body);
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\netag: \"v1\"\r\ncache-control: public, max-age=60\r\n{echoes}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What of an answer the app made.
fn of_app(got: &Got) -> (u16, HashMap<String, String>, String) {
    let own = [
        "age",
        "cache-control",
        "cache-status",
        "connection",
        "date",
        "x-coppice-cache",
    ];
    let mut headers = got.headers.clone();
    headers.retain(|name, _| !own.contains(&name.as_str()));
    (got.status, headers, got.body.clone())
}

/// What the attack comes upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upon {
    /// Nothing is stored.
    Nothing,
    /// A page that is due, which the attack has regenerated.
    Stale,
    /// A page that a purge has expired, for which the attack waits.
    Expired,
}

struct Stand {
    world: World,
    clean: Got,
}

impl Stand {
    async fn new() -> Self {
        let world = World::with(reflect, |_| ()).await;
        let clean = world.get(INNOCENT, "").await;
        assert_eq!((clean.outcome(), clean.whole), ("MISS", true), "{clean:?}");
        Self { world, clean }
    }

    fn purge(&self, strategy: Strategy) {
        let ledger = self.world.site.fetcher.ledger();
        let sequence = ledger.head() + 1;
        let selector = Selector {
            everything: true,
            ..Selector::default()
        };
        ledger.append(
            [Line {
                sequence,
                selector,
                strategy,
            }],
            sequence,
            0,
        );
    }

    async fn settled(&self) {
        until("every flight has ended", async || {
            self.world.site.fetcher.in_the_air() == 0
        })
        .await;
    }

    /// The attack, and then the innocent: what is wrong with what they got.
    async fn attack(
        &self,
        upon: Upon,
        method: &str,
        target: &str,
        headers: &str,
        gets: Gets,
    ) -> Option<String> {
        match upon {
            Upon::Nothing => self.purge(Strategy::Delete),
            Upon::Stale => self
                .world
                .rule(|rule| rule.revalidate = Some(Interval::After(SHORT))),
            Upon::Expired => self.purge(Strategy::Expire),
        }
        let headers = if headers.is_empty() {
            String::new()
        } else {
            format!("{headers}\r\n")
        };
        self.world.seen();
        let got = self.world.ask(method, target, &headers).await;
        self.settled().await;
        if upon == Upon::Stale {
            self.world
                .rule(|rule| rule.revalidate = Some(Interval::After(LONG)));
        }
        let asked = self.world.seen();
        let shared = self.is_shared(method, &got);
        let attacker = match gets {
            Shared => shared,
            Apart => !shared,
            Refused => got.status == 400 && asked.is_empty(),
        };
        let innocent = self.world.get(INNOCENT, "").await;
        self.settled().await;
        let untouched = of_app(&innocent) == of_app(&self.clean) && innocent.whole;
        (!attacker || !untouched).then(|| {
            format!("{upon:?} {method} {target} {headers:?}: not {gets:?}: {got:?}\n  innocent: {innocent:?}")
        })
    }

    /// The answer is the page that everybody gets, or the part of it that was asked for.
    fn is_shared(&self, method: &str, got: &Got) -> bool {
        let echoes = |(name, value): (&String, &String)| {
            !name.starts_with("x-echo-") || self.clean.headers.get(name) == Some(value)
        };
        let whole = got.status != 200 || method == "HEAD" || got.body == self.clean.body;
        got.outcome() != "BYPASS" && got.headers.iter().all(echoes) && whole
    }
}

#[rstest]
#[case(Upon::Nothing)]
#[case(Upon::Stale)]
#[case(Upon::Expired)]
#[tokio::test]
async fn invariant_5_no_header_poisons(#[case] upon: Upon) {
    let stand = Stand::new().await;
    let mut wrong = Vec::new();
    for (headers, gets) in HEADERS {
        for method in ["GET", "HEAD"] {
            wrong.extend(stand.attack(upon, method, INNOCENT, headers, *gets).await);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[rstest]
#[case(Upon::Nothing)]
#[case(Upon::Stale)]
#[case(Upon::Expired)]
#[tokio::test]
async fn invariant_5_no_target_poisons(#[case] upon: Upon) {
    let stand = Stand::new().await;
    let mut wrong = Vec::new();
    for (target, gets) in TARGETS {
        wrong.extend(stand.attack(upon, "GET", target, "", *gets).await);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
