//! A base path and locales are part of the path that a rule matches, as the visitor sees it.

use anyhow::{Result, ensure};
use http::StatusCode;
use serde_json::json;

use crate::site::{self, App};

#[test]
fn frameworks_next_locales_are_pages_of_their_own() -> Result<()> {
    site::on(App::Localised, async |site| {
        let host = "locales.test";
        let pages = [("/docs/intro", "en"), ("/docs/de/intro", "de")];
        for (path, locale) in pages {
            let first = site.get(host, path).await?;
            ensure!(
                (first.status, first.cache()) == (StatusCode::OK, "MISS"),
                "{first:?}"
            );
            ensure!(first.between("<span id=\"locale\">", "<")? == locale, "{first:?}");
            let orders = json!({ "path": format!("/{locale}/intro"), "edition": "2" });
            site.post("/docs/api/script", &orders).await?;
        }
        let edition = async |path: &str| -> Result<String> {
            let answer = site.get(host, path).await?;
            ensure!(answer.cache() == "HIT", "{answer:?}");
            answer.between("<b id=\"edition\">", "<").map(str::to_owned)
        };
        site.purge(host, "tags: [\"locale:de\"]").await?;
        ensure!(edition("/docs/intro").await? == "1" && edition("/docs/de/intro").await? == "2");
        site.purge(host, "paths: [/docs/intro]").await?;
        ensure!(edition("/docs/intro").await? == "2");
        Ok(())
    })
}
