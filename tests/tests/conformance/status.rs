//! `Cache-Status` of every kind of answer, read by a parser of RFC 9651 and held against RFC 9211.

use anyhow::{Context as _, Result, bail, ensure};
use coppice_tests::visit::Answer;
use http::Method;
use sfv::{BareItem, Item, List, ListEntry, Parser};

use crate::laptop::{Laptop, Serving};

const ROUTE: &str = include_str!("status.yaml");

/// What a visitor's answer says of how it came about.
#[derive(Debug, PartialEq)]
struct Status {
    /// `hit`, or why the request went on to the app.
    how: String,
    ttl: Option<i64>,
    stored: bool,
    detail: Option<String>,
}

#[tokio::test]
async fn conformance_cache_status_of_pages() -> Result<()> {
    let site = serve().await?;
    let first = site.get("/blog/hello").await?;
    ensure!(first.cache() == "MISS", "{first:?}");
    let status = read(&first)?;
    ensure!(
        status.how == "uri-miss" && status.stored && status.ttl > Some(3000),
        "{status:?}"
    );
    let again = site.get("/blog/hello").await?;
    ensure!(again.cache() == "HIT", "{again:?}");
    let status = read(&again)?;
    ensure!(status.how == "hit" && status.ttl > Some(3000), "{status:?}");

    site.get("/").await?;
    let stale = site
        .until("/", "STALE", |answer| answer.cache() == "STALE")
        .await?;
    let status = read(&stale)?;
    ensure!(status.how == "hit" && status.ttl < Some(0), "{status:?}");

    purge(&site, 1, "/blog/hello")?;
    let is_new = |answer: &Answer| answer.cache() == "REVALIDATED";
    let revalidated = site.until("/blog/hello", "REVALIDATED", is_new).await?;
    let status = read(&revalidated)?;
    ensure!(
        status.how == "stale" && status.stored && status.ttl > Some(3000),
        "{status:?}"
    );

    site.script(r#"{"path": "/blog/hello", "status": 500}"#).await?;
    purge(&site, 2, "/blog/hello")?;
    let is_old = |answer: &Answer| answer.cache() == "STALE";
    let old = site.until("/blog/hello", "STALE", is_old).await?;
    let status = read(&old)?;
    ensure!(
        status.how == "hit" && status.detail.as_deref() == Some("app-failed"),
        "{status:?}"
    );
    Ok(())
}

#[tokio::test]
async fn conformance_cache_status_of_parts_and_heads() -> Result<()> {
    let site = serve().await?;
    let page = site.until("/blog/hello", "HIT", |a| a.cache() == "HIT").await?;
    let tag = page.header("etag").to_owned();
    for (method, header, status) in [
        (Method::HEAD, ("accept", "*/*"), 200),
        (Method::GET, ("if-none-match", tag.as_str()), 304),
        (Method::GET, ("range", "bytes=0-3"), 206),
        (Method::GET, ("range", "bytes=9999999-"), 416),
        (Method::GET, ("accept-encoding", "gzip"), 200),
    ] {
        let answer = site.ask(method, "/blog/hello", &[header], "").await?;
        ensure!(answer.status == status && answer.cache() == "HIT", "{answer:?}");
        ensure!(read(&answer)?.how == "hit", "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn conformance_cache_status_of_what_passes_through() -> Result<()> {
    let site = serve().await?;
    site.script(r#"{"path": "/blog/own", "headers": {"Set-Cookie": "a=b"}}"#)
        .await?;
    let basic = ("authorization", "Basic YTpi");
    let draft = ("cookie", "__prerender_bypass=1");
    for (method, path, header, how, detail) in [
        (Method::GET, "/healthz", None, "bypass", "no-route"),
        (Method::GET, "/live", None, "bypass", "never-stored"),
        (Method::GET, "/blog/own", None, "bypass", "set-cookie"),
        (Method::POST, "/blog/hello", None, "method", "method"),
        (
            Method::GET,
            "/blog/hello",
            Some(basic),
            "request",
            "authorization",
        ),
        (
            Method::GET,
            "/blog/hello",
            Some(draft),
            "request",
            "bypass-cookie",
        ),
        (Method::GET, "/blog//hello", None, "request", "path-not-normal"),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let answer = site.ask(method, path, &headers, "").await?;
        ensure!(answer.cache() == "BYPASS", "{path}: {answer:?}");
        let status = read(&answer)?;
        ensure!(
            (status.how.as_str(), status.detail.as_deref()) == (how, Some(detail)) && !status.stored,
            "{path}: {status:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn conformance_cache_status_comes_behind_that_of_caches_before() -> Result<()> {
    let site = serve().await?;
    site.script(r#"{"path": "/blog/two", "headers": {"Cache-Status": "\"an inner one\"; hit; ttl=9"}}"#)
        .await?;
    for expected in ["MISS", "HIT"] {
        let answer = site.get("/blog/two").await?;
        ensure!(answer.cache() == expected, "{answer:?}");
        let list = list(&answer)?;
        ensure!(list.len() == 2, "{answer:?}");
        read(&answer)?;
    }
    Ok(())
}

async fn serve() -> Result<Serving> {
    Laptop::of(&[("route.yaml", ROUTE)])?.serve().await
}

fn purge(site: &Serving, nth: usize, path: &str) -> Result<()> {
    site.session.save(
        &format!("purge-{nth}.yaml"),
        &format!(
            "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {{ name: purge-{nth} }}\nspec: {{ paths: [\"{path}\"], strategy: Expire }}\n"
        ),
    )
}

/// The header's lines, parsed as one list.
fn list(answer: &Answer) -> Result<List> {
    let lines = answer.headers.get_all("cache-status").iter();
    let lines: Vec<_> = lines.map(|line| line.to_str()).collect::<Result<_, _>>()?;
    let whole = lines.join(", ");
    Parser::new(&whole)
        .parse::<List>()
        .with_context(|| format!("Cache-Status is no list: {whole:?}"))
}

/// Coppice's own member, the last one, by the grammar of RFC 9211 section 2.
fn read(answer: &Answer) -> Result<Status> {
    let list = list(answer)?;
    let mut names = Vec::new();
    for member in &list {
        let ListEntry::Item(item) = member else {
            bail!("a member that is a list: {member:?}");
        };
        names.push(match &item.bare_item {
            BareItem::Token(name) => name.as_str(),
            BareItem::String(name) => name.as_str(),
            other => bail!("a cache named {other:?}"),
        });
    }
    ensure!(names.last() == Some(&"coppice"), "{names:?}");
    let Some(ListEntry::Item(own)) = list.last() else {
        bail!("no member");
    };
    of(own).with_context(|| format!("{answer:?}"))
}

fn of(item: &Item) -> Result<Status> {
    let mut status = Status {
        how: String::new(),
        ttl: None,
        stored: false,
        detail: None,
    };
    let mut is_forwarded = false;
    for (name, value) in &item.params {
        match (name.as_str(), value) {
            ("hit", BareItem::Boolean(true)) => "hit".clone_into(&mut status.how),
            ("fwd", BareItem::Token(why)) => {
                let known = [
                    "bypass",
                    "method",
                    "uri-miss",
                    "vary-miss",
                    "miss",
                    "request",
                    "stale",
                    "partial",
                ];
                ensure!(known.contains(&why.as_str()), "fwd={why}");
                ensure!(status.how.is_empty(), "both hit and fwd");
                is_forwarded = true;
                why.as_str().clone_into(&mut status.how);
            }
            ("ttl", BareItem::Integer(ttl)) => status.ttl = Some(i64::from(*ttl)),
            ("stored", BareItem::Boolean(stored)) => status.stored = *stored,
            ("collapsed", BareItem::Boolean(_)) | ("fwd-status", BareItem::Integer(_)) => {
                ensure!(is_forwarded, "{name} of an answer that was not forwarded");
            }
            ("key", BareItem::String(_)) => {}
            ("detail", BareItem::Token(detail)) => status.detail = Some(detail.as_str().to_owned()),
            (other, value) => bail!("{other}={value:?} is not in RFC 9211, or is of another type"),
        }
    }
    ensure!(!status.how.is_empty(), "neither hit nor fwd");
    ensure!(is_forwarded || !status.stored, "stored without fwd");
    Ok(status)
}
