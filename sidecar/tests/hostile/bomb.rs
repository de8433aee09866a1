//! Variants as a weapon: values without end for a header that `Vary` names, names without end in `Vary`, and what an
//! attacker's own variant may teach the cache. A URL has at most 32 variants, and nobody gets another one's.

use crate::{
    support::until,
    world::{Seen, World},
};

/// At most this many pages of one URL: its variants, and the one of who sends none of the headers that choose.
const MOST: usize = 33;

/// Reflects a header into the body, and says so.
fn reflecting(name: &'static str, vary: &'static str) -> impl Fn(&Seen) -> String + Clone {
    move |seen| {
        let body = format!("for [{}]", seen.header(name));
        format!(
            "HTTP/1.1 200 OK\r\n{vary}x-echo: [{}]\r\ncontent-length: {}\r\n\r\n{body}",
            seen.header(name),
            body.len()
        )
    }
}

async fn settled(world: &World) {
    until("every flight has ended", async || {
        world.site.fetcher.in_the_air() == 0
    })
    .await;
}

/// Those who send nothing get what was made for them, whole.
async fn assert_plain(world: &World, context: &str) {
    for _ in 0..2 {
        let got = world.get("/a", "").await;
        settled(world).await;
        let own = (got.body.as_str(), got.header("x-echo"), got.whole);
        assert_eq!(own, ("for []", "[]", true), "{context}: {got:?}");
    }
}

#[tokio::test]
async fn invariant_5_a_variant_is_for_who_sends_its_headers() {
    for (name, vary) in [
        ("x-foo", "vary: x-foo\r\n"),
        ("x-foo", "vary: X-FOO, accept-encoding\r\nvary: x-bar\r\n"),
        // An app that reflects and does not say so is not sent the header.
        ("x-foo", ""),
        ("x-foo", "vary: accept-encoding\r\n"),
        ("accept-language", "vary: accept-language\r\n"),
        ("x-original-url", "vary: x-original-url\r\n"),
        ("x-http-method-override", "vary: x-http-method-override\r\n"),
        ("x-middleware-prefetch", "vary: x-middleware-prefetch\r\n"),
        ("range", "vary: range\r\n"),
        ("if-none-match", "vary: if-none-match\r\n"),
        ("cookie", "vary: cookie\r\n"),
        ("authorization", "vary: authorization\r\n"),
        ("x-foo", "vary: *\r\n"),
        ("x-foo", "vary: x-foo, *\r\n"),
        ("x-foo", "vary: not a name\r\n"),
        ("x-foo", "vary: ,,,x-foo,,\r\n"),
        ("rsc", ""),
        ("next-url", ""),
        ("next-router-state-tree", "vary: next-router-state-tree\r\n"),
    ] {
        // The attacker first, the innocent first.
        for attacker_first in [true, false] {
            let world = World::with(reflecting(name, vary), |_| ()).await;
            let context = format!("{name} {vary:?}");
            if !attacker_first {
                assert_plain(&world, &context).await;
            }
            for value in ["evil", "EVIL", "evil, evil", "\u{e9}vil"] {
                let evil = world.get("/a", &format!("{name}: {value}\r\n")).await;
                assert!(
                    evil.status == 200 || evil.status == 304 || evil.status == 416,
                    "{context}: {evil:?}"
                );
                settled(&world).await;
            }
            assert_plain(&world, &context).await;
            // Another attacker's value is not this one's.
            let other = world.get("/a", &format!("{name}: other\r\n")).await;
            assert!(!other.body.to_lowercase().contains("vil"), "{context}: {other:?}");
            settled(&world).await;
            assert_plain(&world, &context).await;
        }
    }
}

/// Two visitors at once, and an attacker's flight between them.
#[tokio::test]
async fn invariant_5_who_joins_an_attacker_s_flight_gets_their_own() {
    let world = std::sync::Arc::new(World::with(reflecting("x-foo", "vary: x-foo\r\n"), |_| ()).await);
    for round in 0..20 {
        let visit = |headers: &'static str| {
            let world = world.clone();
            tokio::spawn(async move { world.get(&format!("/{round}"), headers).await.body })
        };
        let visits = [
            visit("x-foo: evil\r\n"),
            visit(""),
            visit("x-foo: other\r\n"),
            visit(""),
            visit("x-foo: evil\r\n"),
        ];
        for (visit, own) in visits.into_iter().zip(["evil", "", "other", "", "evil"]) {
            assert_eq!(visit.await.unwrap(), format!("for [{own}]"));
        }
        settled(&world).await;
    }
}

#[tokio::test]
async fn invariant_6_values_without_end_make_few_variants() {
    for (name, vary) in [
        ("x-foo", "vary: x-foo\r\n"),
        ("next-router-state-tree", ""),
        ("rsc", "vary: rsc\r\n"),
    ] {
        let world = World::with(reflecting(name, vary), |_| ()).await;
        assert_plain(&world, name).await;
        for number in 0..300 {
            let got = world
                .get("/a", &format!("{name}: {number}{}\r\n", "x".repeat(1000)))
                .await;
            assert_eq!(got.status, 200);
        }
        settled(&world).await;
        let store = world.site.fetcher.store();
        assert!(store.len() <= MOST, "{name}: {} pages", store.len());
        assert!(store.bytes() <= 512 << 10, "{name}: {} bytes", store.bytes());
        // The page of those who send nothing is still there, untouched.
        let plain = world.get("/a", "").await;
        assert_eq!((plain.body.as_str(), plain.status), ("for []", 200), "{name}");
        if vary.is_empty() || name == "rsc" {
            assert_eq!(plain.outcome(), "HIT", "{name}: {plain:?}");
        }
    }
}

/// `Vary` names other headers each time, more and more of them.
#[tokio::test]
async fn invariant_6_names_without_end_in_vary_are_bounded() {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let world = World::with(
        move |_: &Seen| {
            let at = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let names: Vec<_> = (0..200).map(|number| format!("x-{at}-{number}")).collect();
            format!(
                "HTTP/1.1 200 OK\r\nvary: {}\r\nx-echo: []\r\ncontent-length: 6\r\n\r\nfor []",
                names.join(", ")
            )
        },
        |_| (),
    )
    .await;
    for number in 0..200 {
        let got = world
            .get(
                "/a",
                &format!("x-{number}-7: evil\r\nx-{}-7: evil\r\n", number + 1),
            )
            .await;
        assert_eq!((got.status, got.body.as_str()), (200, "for []"), "{got:?}");
    }
    settled(&world).await;
    let store = world.site.fetcher.store();
    assert!(store.len() <= MOST, "{} pages", store.len());
    assert!(store.bytes() <= 4 << 20, "{} bytes", store.bytes());
    assert_plain(&world, "after the names").await;
}

/// What is encoded although identity was asked for stays as it is: nothing here unpacks what an app sends.
#[tokio::test]
async fn invariant_6_a_decompression_bomb_stays_packed() {
    let bomb = "\u{1f}bomb".repeat(1000);
    for vary in ["", "vary: accept-encoding\r\n"] {
        let sent = bomb.clone();
        let world = World::with(
            move |_: &Seen| {
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-encoding: gzip, br, zstd\r\n{vary}content-length: {}\r\n\r\n{sent}",
                    sent.len()
                )
            },
            |_| (),
        )
        .await;
        for headers in [
            "",
            "accept-encoding: gzip\r\n",
            "accept-encoding: identity\r\n",
            "range: bytes=0-\r\n",
        ] {
            let got = world.get("/a", headers).await;
            assert_eq!(got.header("content-encoding"), "gzip, br, zstd", "{headers}");
            assert!(got.body == bomb, "{headers}: {} bytes", got.body.len());
            settled(&world).await;
            let store = world.site.fetcher.store();
            assert!(
                store.bytes() < 2 * bomb.len() as u64 + 4096,
                "{} bytes",
                store.bytes()
            );
        }
    }
}

/// Ranges without end, each of them all of the page.
#[tokio::test]
async fn invariant_6_ranges_without_end_are_the_page_once() {
    let page = "x".repeat(1 << 20);
    let world = World::with(
        move |_: &Seen| {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            )
        },
        |_| (),
    )
    .await;
    world.get("/a", "").await;
    settled(&world).await;
    for ranges in [
        vec!["0-"; 1000],
        vec!["0-,1-,2-"; 300],
        vec!["-1"; 1000],
        vec!["5-1"; 1000],
        vec!["0-0,2-2"; 1000],
    ] {
        let ranges = ranges.join(",");
        let got = world.get("/a", &format!("range: bytes={ranges}\r\n")).await;
        assert!(
            matches!(got.status, 200 | 206 | 416),
            "{:.60}: {}",
            ranges,
            got.status
        );
        assert!(
            got.body.len() <= (1 << 20) + 1024 && got.whole,
            "{:.60}: {} bytes",
            ranges,
            got.body.len()
        );
    }
    assert_eq!(world.get("/a", "").await.body.len(), 1 << 20);
}
