//! What surrounds pages in Next.js: overrides, images, route handlers, server actions, streaming, assets.

use anyhow::{Context as _, Result, ensure};
use coppice_tests::visit::Answer;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::site::{self, App, NEXT, Site};

fn rendered(answer: &Answer) -> Result<&str> {
    answer.between("<time id=\"rendered\">", "</time>")
}

/// A session of its own, since it changes the route.
#[tokio::test]
async fn frameworks_next_pages_that_forbid_storing_are_cached_by_override() -> Result<()> {
    let site = site::next(&[("route.yaml", NEXT)], App::Next).await?;
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
    let strict = NEXT.replace("      override: [no-store, private]\n", "");
    ensure!(strict != NEXT);
    site.session.save("route.yaml", &strict)?;
    site.session.said("route next in force").await?;
    let fresh = ["/blog/fresh", "/blog/fresh"];
    let mut renders = Vec::new();
    for path in fresh {
        let answer = site.get(path).await?;
        ensure!(answer.cache() != "HIT" && answer.cache() != "STALE", "{answer:?}");
        ensure!(answer.header("cache-control").contains("no-store"), "{answer:?}");
        renders.push(rendered(&answer)?.to_owned());
    }
    ensure!(renders[0] != renders[1], "{renders:?}");
    Ok(())
}

#[test]
fn frameworks_next_route_handlers_are_cached_and_their_posts_pass() -> Result<()> {
    site::on(App::Next, async |site| {
        let host = "handler.test";
        let first = site.get(host, "/api/time").await?;
        ensure!(
            first.cache() == "MISS" && first.header("content-type") == "application/json",
            "{first:?}"
        );
        let again = site.get(host, "/api/time").await?;
        ensure!((again.cache(), &again.body) == ("HIT", &first.body), "{again:?}");
        let json = [("content-type", "application/json")];
        let posted = site
            .ask(Method::POST, host, "/api/time", &json, r#"{"a":1}"#)
            .await?;
        ensure!(
            (posted.cache(), posted.body.as_str()) == ("BYPASS", r#"{"echo":{"a":1}}"#),
            "{posted:?}"
        );
        Ok(())
    })
}

/// `next/image` answers as the visitor's `Accept` has it. No rule: Next.js has a cache of its own for them.
#[test]
fn frameworks_next_images_pass_through() -> Result<()> {
    site::on(App::Next, async |site| {
        let page = site.get("image.test", "/picture").await?;
        let picture = page.between("src=\"/_next/image?", "\"")?.replace("&amp;", "&");
        for kind in ["image/webp", "image/png"] {
            let path = format!("/_next/image?{picture}");
            let answer = site
                .ask(Method::GET, "image.test", &path, &[("accept", kind)], "")
                .await?;
            ensure!(
                (answer.status, answer.cache(), answer.header("content-type"))
                    == (StatusCode::OK, "BYPASS", kind),
                "{:?}",
                answer.headers
            );
        }
        Ok(())
    })
}

/// Submits the form of a page's server action, with one field, as a browser does without JavaScript.
pub(crate) async fn submit(
    site: &Site,
    host: &str,
    page: &Answer,
    path: &str,
    (name, value): (&str, &str),
) -> Result<Answer> {
    let action = page.between("name=\"$ACTION_ID_", "\"")?;
    let form = format!(
        "--x\r\nContent-Disposition: form-data; name=\"$ACTION_ID_{action}\"\r\n\r\n\r\n\
         --x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--x--\r\n"
    );
    let headers = [("content-type", "multipart/form-data; boundary=x")];
    site.ask(Method::POST, host, path, &headers, &form).await
}

/// A form of a server action, without JavaScript: it posts to its page's URL, and who comes after sees what it did.
#[test]
fn frameworks_next_server_actions_pass_and_renew_their_page() -> Result<()> {
    site::on(App::Next, async |site| {
        let host = "action.test";
        let page = site.get(host, "/guestbook").await?;
        ensure!(page.cache() == "MISS", "{page:?}");
        let action = page.between("name=\"$ACTION_ID_", "\"")?;
        let name = "Ada, without a script";
        let posted = submit(site, host, &page, "/guestbook", ("name", name)).await?;
        ensure!(
            (posted.status, posted.cache()) == (StatusCode::OK, "BYPASS"),
            "{posted:?}"
        );
        let new = site.get(host, "/guestbook").await?;
        ensure!(new.cache() == "REVALIDATED" && new.body.contains(name), "{new:?}");

        // As the router sends it.
        let headers = [
            ("next-action", action),
            ("content-type", "text/plain;charset=UTF-8"),
        ];
        let called = site.ask(Method::POST, host, "/guestbook", &headers, "[]").await?;
        ensure!(called.cache() == "BYPASS", "{called:?}");
        Ok(())
    })
}

#[test]
fn frameworks_next_streams_while_it_is_stored() -> Result<()> {
    site::on(App::Next, async |site| {
        streams(site, "/stream/html", "stream.test", &[]).await
    })
}

#[test]
fn frameworks_next_streams_components_while_they_are_stored() -> Result<()> {
    site::on(App::Next, async |site| {
        streams(site, "/stream/rsc?_rsc", "stream.test", &[("rsc", "1")]).await
    })
}

/// The late part failed when the head, with its 200, had left: that is no page to take the place of one.
#[test]
fn frameworks_next_a_part_that_fails_late_keeps_the_old_page() -> Result<()> {
    site::on(App::Next, async |site| {
        let host = "late.test";
        let forms: [(&str, &[(&str, &str)]); 2] =
            [("/stream/late", &[]), ("/stream/late?_rsc", &[("rsc", "1")])];
        for (path, headers) in forms {
            let first = site.ask(Method::GET, host, path, headers, "").await?;
            ensure!(
                first.cache() == "MISS" && first.body.contains("the late part"),
                "{first:?}"
            );
        }
        site.post("/api/script", &json!({ "path": "/stream/late", "does": "fail" }))
            .await?;
        site.purge(host, "paths: [/stream/late]").await?;
        for (path, headers) in forms {
            let old = site.ask(Method::GET, host, path, headers, "").await?;
            ensure!(
                old.cache() == "STALE" && old.body.contains("the late part"),
                "{old:?}"
            );
        }
        site.purge(host, "paths: [/stream/late], strategy: Delete")
            .await?;
        for (path, headers) in forms {
            for _ in 0..2 {
                let failed = site.ask(Method::GET, host, path, headers, "").await?;
                ensure!(
                    failed.cache() == "MISS" && !failed.body.contains("the late part"),
                    "{failed:?}"
                );
            }
        }
        Ok(())
    })
}

/// The early part is there while the late one waits; afterwards both are stored as one.
async fn streams(site: &Site, path: &str, host: &str, headers: &[(&str, &str)]) -> Result<()> {
    let page = path.split('?').next().unwrap_or(path);
    let tell = async |orders: serde_json::Value| site.post("/api/script", &orders).await;
    tell(json!({ "path": page, "does": "wait" })).await?;
    let with_host: Vec<_> = headers.iter().copied().chain([("host", host)]).collect();
    let answer = site.serving.open(Method::GET, path, &with_host, "").await?;
    ensure!(answer.headers()["x-coppice-cache"] == "MISS", "{answer:?}");
    let mut body = answer.into_body();
    let mut text = String::new();
    // The late part waits to be told, so what comes before has been streamed.
    while !text.contains("the early part") {
        let frame = body.frame().await.context("the body ended early")??;
        text.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap_or_default()));
    }
    ensure!(!text.contains("the late part"), "{text}");
    tell(json!({ "path": page })).await?;
    let rest = body.collect().await?.to_bytes();
    text.push_str(&String::from_utf8_lossy(&rest));
    ensure!(text.contains("the late part"), "{text}");

    let stored = site.ask(Method::GET, host, path, headers, "").await?;
    ensure!((stored.cache(), &stored.body) == ("HIT", &text), "{stored:?}");
    Ok(())
}

#[test]
fn frameworks_next_paths_without_a_rule_are_the_apps_own() -> Result<()> {
    site::on(App::Next, async |site| {
        let host = "ruleless.test";
        let home = site.get(host, "/").await?;
        ensure!(
            home.cache() == "BYPASS" && home.header("x-nextjs-cache") == "HIT",
            "{home:?}"
        );
        let asset = home.between("/_next/static/", "\"")?;
        let script = site.get(host, &format!("/_next/static/{asset}")).await?;
        ensure!(
            script.status == StatusCode::OK && script.header("cache-control").contains("immutable"),
            "{:?}",
            script.headers
        );
        let missing = site.get(host, "/nowhere").await?;
        ensure!(missing.status == StatusCode::NOT_FOUND, "{missing:?}");
        Ok(())
    })
}
