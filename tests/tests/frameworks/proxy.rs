//! Next.js's proxy (middleware): what it makes of a request, for every face of a page.

use anyhow::{Result, ensure};
use coppice_tests::visit::Answer;
use http::StatusCode;
use serde_json::json;

use crate::{
    face::{self, Face, Form, Page},
    site::{self, App},
};

/// The faces of Next.js's pages.
fn faces() -> impl Iterator<Item = Face> {
    face::ALL.into_iter().filter(|face| face.app == App::Next)
}

/// A rule matches the path that the visitor sees. The routers' forms are rewritten as HTML is, and say to where.
#[test]
fn frameworks_next_proxy_rewrites_are_cached_in_every_form() -> Result<()> {
    site::on(App::Next, async |site| {
        for face in faces() {
            let target = site.page(face, "rewritten");
            let page = target.through("/rewritten");
            let shows = |answer: &Answer, edition: &str| -> Result<bool> {
                let said = match face.form {
                    Form::Html => true,
                    Form::Rsc => answer.header("x-nextjs-rewritten-path") == target.path(),
                    Form::Data => answer.header("x-nextjs-rewrite") == target.path(),
                };
                Ok(said && page.edition(answer)? == edition)
            };
            let first = page.visit().await?;
            ensure!(first.cache() == "MISS" && shows(&first, "1")?, "{first:?}");
            page.tell(json!({ "edition": "2" })).await?;
            // The path that it leads to is another page to the cache.
            target.purge(&format!("paths: [{:?}]", target.path())).await?;
            let same = page.visit().await?;
            ensure!(
                same.cache() == "HIT" && shows(&same, "1")? && same.body == first.body,
                "{same:?}"
            );
            page.purge(&format!("paths: [{:?}]", page.path())).await?;
            let new = page.visit().await?;
            ensure!(new.cache() == "HIT" && shows(&new, "2")?, "{new:?}");
        }
        Ok(())
    })
}

/// A redirect is a page, and leads the router to the same form of where it goes. For data it is not one to HTTP, since the
/// pages router reads it from a field of Next.js's: that passes through.
#[test]
fn frameworks_next_proxy_redirects_lead_in_every_form() -> Result<()> {
    site::on(App::Next, async |site| {
        for face in faces() {
            let target = site.page(face, "moved");
            let page = target.through("/moved");
            for visit in ["MISS", "HIT"] {
                let moved = page.visit().await?;
                let (field, outcome) = match face.form {
                    Form::Html | Form::Rsc => ("location", visit),
                    Form::Data => ("x-nextjs-redirect", "BYPASS"),
                };
                ensure!(
                    (moved.status, moved.cache()) == (StatusCode::TEMPORARY_REDIRECT, outcome),
                    "{moved:?}"
                );
                ensure!(moved.header(field) == target.path(), "{moved:?}");
            }
            let there = target.visit().await?;
            ensure!(
                there.cache() == "MISS" && target.edition(&there)? == "1",
                "{there:?}"
            );
        }
        Ok(())
    })
}

/// The fields that it adds are the page's.
#[test]
fn frameworks_next_proxy_headers_are_cached() -> Result<()> {
    site::on(App::Next, async |site| {
        for face in [
            face::APP_HTML,
            face::APP_RSC,
            face::STATIC_HTML,
            face::STATIC_DATA,
        ] {
            let page: Page<'_> = site.page(face, "seen");
            for outcome in ["MISS", "HIT"] {
                let answer = page.visit().await?;
                ensure!(
                    (answer.cache(), answer.header("x-example-proxy")) == (outcome, "seen"),
                    "{answer:?}"
                );
            }
        }
        Ok(())
    })
}
