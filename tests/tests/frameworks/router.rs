//! What Next.js's routers send when they go from one page to another, and what must not come of it.

use anyhow::{Result, ensure};
use http::{Method, StatusCode};

use crate::site::{self, App};

#[test]
fn frameworks_next_rsc_requests_harm_no_page() -> Result<()> {
    site::on(App::Next, async |site| {
        let host = "rsc.test";
        let page = site.get(host, "/blog/rsc").await?;
        // Next.js sends a client without its hash of the headers to the URL that has it.
        let rsc = [("rsc", "1")];
        let mut path = "/blog/rsc".to_owned();
        let flight = loop {
            let answer = site.ask(Method::GET, host, &path, &rsc, "").await?;
            if answer.status != StatusCode::TEMPORARY_REDIRECT {
                break answer;
            }
            ensure!(path != answer.header("location"), "{answer:?}");
            answer.header("location").clone_into(&mut path);
        };
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
