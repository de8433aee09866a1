//! What Next.js's routers send when they go from one page to another, and what must not come of it.

use anyhow::{Result, ensure};
use coppice_tests::visit::Answer;
use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    face,
    site::{self, App, Site},
};

/// What the app router asks for: the whole page when it goes there, what it has ready before, and the outline of that.
const REQUESTS: [&[(&str, &str)]; 3] = [
    &[("rsc", "1")],
    &[("rsc", "1"), ("next-router-prefetch", "1")],
    &[
        ("rsc", "1"),
        ("next-router-prefetch", "1"),
        ("next-router-segment-prefetch", "/_tree"),
    ],
];

/// Asks as the router does. A client that does not know Next.js's hash of the headers is sent to the URL that has it.
async fn flight(site: &Site, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let mut target = path.to_owned();
    loop {
        let answer = site.ask(Method::GET, host, &target, headers, "").await?;
        if answer.status != StatusCode::TEMPORARY_REDIRECT {
            return Ok(answer);
        }
        ensure!(
            answer.cache() == "BYPASS" && target != answer.header("location"),
            "{answer:?}"
        );
        answer.header("location").clone_into(&mut target);
    }
}

/// Each of the router's requests has an answer of its own, for as long as the page's: none is ever given for another.
#[test]
fn frameworks_next_requests_of_the_router_are_variants_of_their_page() -> Result<()> {
    site::on(App::Next, async |site| {
        for section in ["blog", "own"] {
            let host = format!("variants-{section}.test");
            let path = format!("/{section}/variants");
            let html = site.get(&host, &path).await?;
            ensure!(html.cache() == "MISS", "{html:?}");
            let mut bodies = vec![html.body];
            for outcome in ["MISS", "HIT"] {
                for (n, headers) in REQUESTS.into_iter().enumerate() {
                    let answer = flight(site, &host, &path, headers).await?;
                    ensure!(
                        (answer.status, answer.cache(), answer.header("content-type"))
                            == (StatusCode::OK, outcome, "text/x-component"),
                        "{headers:?}: {answer:?}"
                    );
                    match bodies.get(n + 1) {
                        Some(known) => ensure!(*known == answer.body, "{headers:?}: {answer:?}"),
                        None => bodies.push(answer.body),
                    }
                }
            }
            let again = site.get(&host, &path).await?;
            ensure!((again.cache(), &again.body) == ("HIT", &bodies[0]), "{again:?}");
        }
        Ok(())
    })
}

/// One purge is for a page in every form: who opens it and who comes by a link see the same edition.
#[test]
fn frameworks_next_forms_of_a_page_are_purged_together() -> Result<()> {
    site::on(App::Next, async |site| {
        for (html, other) in [
            (face::APP_HTML, face::APP_RSC),
            (face::ISR_HTML, face::ISR_RSC),
            (face::PROPS_HTML, face::PROPS_DATA),
            (face::STATIC_HTML, face::STATIC_DATA),
        ] {
            let page = site.page(html, "together");
            let other = page.in_form_of(other);
            for selector in [
                format!("paths: [{:?}]", page.path()),
                format!("tags: [\"post:{}\"]", page.slug),
                format!("tags: [\"slug-{}\"]", page.slug),
                format!("patterns: [{:?}]", page.pattern()),
            ] {
                page.visit().await?;
                other.visit().await?;
                page.tell(json!({ "edition": selector })).await?;
                page.purge(&selector).await?;
                for form in [&page, &other] {
                    let new = form.visit().await?;
                    let seen = new.body.replace("&quot;", "\"").replace("\\\"", "\"");
                    ensure!(
                        new.cache() == "HIT" && seen.contains(&selector),
                        "{selector}: {new:?}"
                    );
                }
            }
        }
        Ok(())
    })
}

#[test]
fn frameworks_next_rsc_requests_harm_no_page() -> Result<()> {
    site::on(App::Next, async |site| {
        let host = "rsc.test";
        let page = site.get(host, "/blog/rsc").await?;
        let flight = flight(site, host, "/blog/rsc", REQUESTS[0]).await?;
        ensure!(flight.header("content-type") == "text/x-component", "{flight:?}");
        let again = site.get(host, "/blog/rsc").await?;
        ensure!((again.cache(), &again.body) == ("HIT", &page.body), "{again:?}");
        let bare = site.get(host, "/blog/rsc?_rsc=1").await?;
        ensure!(
            bare.header("content-type").starts_with("text/html"),
            "a query that counts is a page of its own: {bare:?}"
        );
        Ok(())
    })
}

/// A prefetch of the proxy's turns a page into `{}` on Next.js: the app must not see the header where the answer is shared.
#[test]
fn frameworks_next_prefetches_of_the_proxy_poison_no_page() -> Result<()> {
    site::on(App::Next, async |site| {
        let host = "tricked.test";
        let trick = [
            ("x-middleware-prefetch", "1"),
            ("x-nextjs-data", "1"),
            ("purpose", "prefetch"),
        ];
        for section in ["blog", "account", "legacy", "own"] {
            let path = format!("/{section}/tricked");
            let shared = site.ask(Method::GET, host, &path, &trick, "").await?;
            ensure!(shared.body.contains(">tricked</h1>"), "{shared:?}");
            let visitor = site.get(host, &path).await?;
            ensure!(
                visitor.cache() == "HIT" && visitor.body.contains(">tricked</h1>"),
                "{visitor:?}"
            );
        }
        Ok(())
    })
}
