//! Web cache deception: a victim is led to a URL that an app takes for a private page and a cache for a public file, and
//! the attacker asks for the same URL afterwards. The app here is as careless as apps get: it takes almost anything for the
//! account, and says nothing of caching.

use percent_encoding::percent_decode_str;

use crate::{
    support::until,
    world::{Seen, World},
};

/// URLs of the account as attackers dress it up.
const DRESSED: &[&str] = &[
    "/account",
    "/account/",
    "/account/x.css",
    "/account/static/x.js",
    "/account.css",
    "/account/.css",
    "/account;x.css",
    "/account%3bx.css",
    "/account;/x.css",
    "/account%2fx.css",
    "/account%2Fx.css",
    "/account%5cx.css",
    "/account\\x.css",
    "/account%00x.css",
    "/account%0ax.css",
    "/account%09x.css",
    "/account%23x.css",
    "/account%3fx.css",
    "/account%20.css",
    "/account%ff.css",
    "/account%c0%afx.css",
    "/account,x.css",
    "/account!x.css",
    "/account$x.css",
    "/account@x.css",
    "/account~x.css",
    "/account.",
    "/account/.",
    "/account/..",
    "/account/../account/x.css",
    "/account//x.css",
    "//account/x.css",
    "//account",
    "/./account",
    "/account/./x.css",
    "/static/../account",
    "/static/..%2faccount",
    "/static/..%2Faccount",
    "/static/%2e%2e/account",
    "/static/.%2e/account",
    "/static%2f..%2faccount",
    "/static/..\\account",
    "/static/..%5caccount",
    "/static/..;/account",
    "/static/;/../account",
    "/static/x.css/..%2f..%2faccount",
    "/static/%2e%2e%2faccount",
    "/static/%252e%252e/account",
    "/static/..%252faccount",
    "/%61ccount/x.css",
    "/ACCOUNT/x.css",
    "/accoun%74",
    "/account%E2%80%8Bx.css",
    "/account?x.css",
    "/account?utm_source=/x.css",
    "/account?/static/x.css",
    "/account#/x.css",
    "/robots.txt/../account",
    "/account/favicon.ico",
    "/account/robots.txt",
    "/_next/static/../../account",
    "/_next/static/..%2f..%2faccount",
    "/_next/data/build/account.json",
    "/_next/image/..%2faccount",
];

/// The account for almost any path, with the name that the cookie says.
fn careless(seen: &Seen) -> String {
    let cookie = seen.header("cookie");
    let name = cookie.strip_prefix("session=").unwrap_or("nobody");
    let path = seen.head.split(' ').nth(1).unwrap();
    let path = percent_decode_str(path).decode_utf8_lossy().to_lowercase();
    let body = if percent_decode_str(&path).decode_utf8_lossy().contains("account") {
        format!("account of {name}")
    } else {
        "public".to_owned()
    };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/css\r\nx-user: {name}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Whether anybody but the victim may see the name.
async fn leaks(world: &World, target: &str) -> bool {
    let shows = |got: &crate::support::stage::Got| format!("{got:?}").contains("victim");
    let victim = "cookie: session=victim\r\n";
    let first = world.get(target, victim).await;
    until("every flight has ended", async || {
        world.site.fetcher.in_the_air() == 0
    })
    .await;
    let stored = shows(&first) && first.outcome() != "BYPASS";
    let attacker = world.get(target, "").await;
    let again = world.get(target, "").await;
    let plain = world.get("/account", "").await;
    stored || shows(&attacker) || shows(&again) || shows(&plain)
}

#[tokio::test]
async fn invariant_5_no_path_deceives_where_every_path_is_a_page() {
    let world = World::with(careless, |_| ()).await;
    for target in DRESSED {
        assert!(!leaks(&world, target).await, "{target}");
    }
    let pages: Vec<_> = world.site.fetcher.store().pages().collect();
    assert!(
        pages
            .iter()
            .all(|page| !String::from_utf8_lossy(page.bytes()).contains("victim"))
    );
    // Those that are in normal form are pages, so the test would see it if one held the victim's name.
    assert!(pages.len() > 10, "{}", pages.len());
}

#[tokio::test]
async fn invariant_5_no_path_deceives_a_rule_for_static_files() {
    let world = World::with(careless, |rule| {
        rule.paths = ["/static/[...file]", "/_next/static/[...file]", "/robots.txt"]
            .map(String::from)
            .to_vec();
    })
    .await;
    for target in DRESSED {
        assert!(!leaks(&world, target).await, "{target}");
    }
    // The account itself is behind no rule: the victim gets theirs, every time, and it is stored nowhere.
    for _ in 0..2 {
        let own = world.get("/account", "cookie: session=victim\r\n").await;
        assert_eq!(
            (own.outcome(), own.body.as_str()),
            ("BYPASS", "account of victim")
        );
    }
    // A path in normal form that only this app takes for the account is asked for without the victim's cookie.
    let twice = world
        .get("/static/%252e%252e/account", "cookie: session=victim\r\n")
        .await;
    assert_eq!(twice.body, "account of nobody");
}

#[tokio::test]
async fn invariant_5_what_names_a_user_is_not_stored() {
    for (headers, override_it) in [
        ("set-cookie: session=victim", false),
        ("cache-control: private", false),
        ("cache-control: no-store", false),
        ("cache-control: max-age=60, PRIVATE", false),
        ("cache-control: private=\"x-user\"", false),
        ("cache-control: ext=\"a, private", false),
        ("cache-control: max-age=60\r\ncache-control: no-store", false),
        ("cdn-cache-control: no-store", false),
        ("vary: *", false),
        ("set-cookie: session=victim", true),
    ] {
        let world = World::with(
            move |seen| {
                let body = format!("for {}", seen.header("cookie"));
                format!(
                    "HTTP/1.1 200 OK\r\n{headers}\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
            },
            |rule| rule.overrides.set_cookie = override_it,
        )
        .await;
        let victim = world.get("/a", "cookie: session=victim\r\n").await;
        let other = world.get("/a", "cookie: session=other\r\n").await;
        if override_it {
            // The rule's author took it on: the cookie is neither stored nor sent, and the page names nobody.
            for got in [&victim, &other] {
                assert_eq!(
                    (got.body.as_str(), got.header("set-cookie")),
                    ("for ", ""),
                    "{got:?}"
                );
            }
        } else {
            assert_eq!(
                (victim.outcome(), victim.body.as_str()),
                ("BYPASS", "for session=victim"),
                "{headers}"
            );
            assert_eq!(
                (other.outcome(), other.body.as_str()),
                ("BYPASS", "for session=other"),
                "{headers}"
            );
            assert!(world.site.fetcher.store().is_empty(), "{headers}");
        }
    }
}
