//! Real frameworks behind `coppice dev`: production builds of their newest releases, from their package registries.

mod laptop;
mod nextjs;

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use laptop::{Answer, Laptop, Serving};

/// The example's own route.
const ROUTE: &str = include_str!("../../examples/next/route.yaml");

async fn next() -> Result<Serving> {
    let app = nextjs::built().await?;
    let next = app.join("node_modules/.bin/next");
    Laptop::of(&[("route.yaml", ROUTE)])?
        .command(&[
            &next.to_string_lossy(),
            "start",
            "--hostname",
            "127.0.0.1",
            &app.to_string_lossy(),
        ])
        .environment("NEXT_TELEMETRY_DISABLED", "1")
        .serve()
        .await
}

fn rendered(answer: &Answer) -> Result<String> {
    answer
        .between("<time id=\"rendered\">", "</time>")
        .map(str::to_owned)
}

fn purge(spec: &str) -> String {
    format!(
        "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {{ generateName: cms- }}\nspec: {spec}\n"
    )
}

#[tokio::test]
async fn frameworks_next_pages_that_forbid_storing_are_cached_by_override() -> Result<()> {
    let site = next().await?;
    let first = site.get("/blog/hello").await?;
    ensure!(
        (first.status, first.cache()) == (StatusCode::OK, "MISS"),
        "{first:?}"
    );
    ensure!(first.body.contains("<h1 id=\"slug\">hello</h1>"), "{first:?}");
    ensure!(
        first.header("cache-control") == "public, max-age=0, must-revalidate",
        "{first:?}"
    );
    let again = site.get("/blog/hello").await?;
    ensure!(again.cache() == "HIT", "{again:?}");
    ensure!(rendered(&again)? == rendered(&first)?, "one render for both");
    let other = site.get("/blog/other").await?;
    ensure!(
        other.cache() == "MISS" && other.body.contains(">other</h1>"),
        "{other:?}"
    );

    // Without the override the app's word counts: nothing is stored, each request is a render of its own.
    let strict = ROUTE.replace("      override: [no-store, private]\n", "");
    ensure!(strict != ROUTE);
    site.session.save("route.yaml", &strict)?;
    site.session.said("route next in force").await?;
    let fresh = ["/blog/fresh", "/blog/fresh"];
    let mut renders = Vec::new();
    for path in fresh {
        let answer = site.get(path).await?;
        ensure!(answer.cache() != "HIT" && answer.cache() != "STALE", "{answer:?}");
        ensure!(answer.header("cache-control").contains("no-store"), "{answer:?}");
        renders.push(rendered(&answer)?);
    }
    ensure!(renders[0] != renders[1], "{renders:?}");
    Ok(())
}

#[tokio::test]
async fn frameworks_next_own_isr_is_cached_by_the_rules_interval() -> Result<()> {
    let site = next().await?;
    let first = site.until("/news", "HIT", |a| a.cache() == "HIT").await?;
    ensure!(first.status == StatusCode::OK, "{first:?}");
    let old = rendered(&first)?;
    let stale = site.until("/news", "STALE", |a| a.cache() == "STALE").await?;
    ensure!(
        rendered(&stale)? == old,
        "the old page is served at once: {stale:?}"
    );
    let is_new = |a: &Answer| rendered(a).is_ok_and(|at| at > old);
    let new = site.until("/news", "new", is_new).await?;
    ensure!(
        matches!(new.cache(), "HIT" | "STALE"),
        "nobody waited for it: {new:?}"
    );
    Ok(())
}

#[tokio::test]
async fn frameworks_next_is_purged_by_tag_and_by_path() -> Result<()> {
    let site = next().await?;
    for (n, selector) in [r#"tags: ["post:hello"]"#, r#"paths: ["/blog/hello"]"#]
        .into_iter()
        .enumerate()
    {
        let old = rendered(&site.get("/blog/hello").await?)?;
        let other = rendered(&site.get("/blog/other").await?)?;
        let request = purge(&format!("{{ {selector} }}"));
        site.session.save(&format!("purge-{n}.yaml"), &request)?;
        site.session
            .said_times("1 matched, 1 regenerated, 0 failed", n + 1)
            .await?;
        let new = site.get("/blog/hello").await?;
        ensure!(
            new.cache() == "HIT" && rendered(&new)? > old,
            "Ready means that the new page is there: {new:?}"
        );
        ensure!(rendered(&site.get("/blog/other").await?)? == other, "{selector}");
    }
    Ok(())
}

#[tokio::test]
async fn frameworks_next_route_handlers_are_cached_and_their_posts_pass() -> Result<()> {
    let site = next().await?;
    let first = site.get("/api/time").await?;
    ensure!(
        first.cache() == "MISS" && first.header("content-type") == "application/json",
        "{first:?}"
    );
    let again = site.get("/api/time").await?;
    ensure!((again.cache(), &again.body) == ("HIT", &first.body), "{again:?}");
    let json = [("content-type", "application/json")];
    let posted = site.ask(Method::POST, "/api/time", &json, r#"{"a":1}"#).await?;
    ensure!(
        (posted.cache(), posted.body.as_str()) == ("BYPASS", r#"{"echo":{"a":1}}"#),
        "{posted:?}"
    );
    Ok(())
}

#[tokio::test]
async fn frameworks_next_rsc_requests_pass_through_and_harm_no_page() -> Result<()> {
    let site = next().await?;
    let page = site.get("/blog/hello").await?;
    // Next.js sends a client without its hash of the headers to the URL that has it.
    let rsc = [("rsc", "1")];
    let mut path = "/blog/hello".to_owned();
    let flight = loop {
        let answer = site.ask(Method::GET, &path, &rsc, "").await?;
        ensure!(answer.cache() == "BYPASS", "{answer:?}");
        if answer.status != StatusCode::TEMPORARY_REDIRECT {
            break answer;
        }
        ensure!(path != answer.header("location"), "{answer:?}");
        answer.header("location").clone_into(&mut path);
    };
    ensure!(flight.header("content-type") == "text/x-component", "{flight:?}");
    let again = site.get("/blog/hello").await?;
    ensure!((again.cache(), &again.body) == ("HIT", &page.body), "{again:?}");
    let bare = site.get("/blog/hello?_rsc=1").await?;
    ensure!(
        bare.header("content-type").starts_with("text/html"),
        "a query that counts is a page of its own: {bare:?}"
    );

    // A prefetch of the middleware's turns a page into `{}` on Next.js: the app must not see the header where the
    // answer is shared.
    let trick = [("x-middleware-prefetch", "1"), ("x-nextjs-data", "1")];
    let shared = site.ask(Method::GET, "/blog/tricked", &trick, "").await?;
    ensure!(shared.body.contains(">tricked</h1>"), "{shared:?}");
    let visitor = site.get("/blog/tricked").await?;
    ensure!(visitor.body.contains(">tricked</h1>"), "{visitor:?}");
    Ok(())
}

#[tokio::test]
async fn frameworks_next_streams_while_it_is_stored() -> Result<()> {
    let site = next().await?;
    let answer = site.open(Method::GET, "/slow", &[], "").await?;
    ensure!(answer.headers()["x-coppice-cache"] == "MISS", "{answer:?}");
    let mut body = answer.into_body();
    let mut text = String::new();
    // The late part waits for the gate, so what comes before it opens has been streamed.
    while !text.contains("the early part") {
        let frame = body.frame().await.context("the body ended early")??;
        text.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap_or_default()));
    }
    ensure!(!text.contains("the late part"), "{text}");
    let opened = site.ask(Method::POST, "/api/gate", &[], "").await?;
    ensure!(
        opened.status == StatusCode::OK && opened.cache() == "BYPASS",
        "{opened:?}"
    );
    let rest = body.collect().await?.to_bytes();
    text.push_str(&String::from_utf8_lossy(&rest));
    ensure!(text.contains("the late part"), "{text}");

    let stored = site.get("/slow").await?;
    ensure!((stored.cache(), &stored.body) == ("HIT", &text), "{stored:?}");
    Ok(())
}

#[tokio::test]
async fn frameworks_next_paths_without_a_rule_are_the_apps_own() -> Result<()> {
    let site = next().await?;
    let home = site.get("/").await?;
    ensure!(
        home.cache() == "BYPASS" && home.header("x-nextjs-cache") == "HIT",
        "{home:?}"
    );
    let asset = home.between("/_next/static/", "\"")?;
    let script = site.get(&format!("/_next/static/{asset}")).await?;
    ensure!(
        script.status == StatusCode::OK && script.header("cache-control").contains("immutable"),
        "{:?}",
        script.headers
    );
    let missing = site.get("/nowhere").await?;
    ensure!(missing.status == StatusCode::NOT_FOUND, "{missing:?}");
    Ok(())
}
