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

/// Data has the locale in its path, the default one too, which no visitor sees: tags find it, and rules with the locale.
#[test]
fn frameworks_next_data_of_locales_is_found_by_tag_and_path() -> Result<()> {
    site::on(App::Localised, async |site| {
        let host = "localised-data.test";
        let data = |locale: &str| format!("/docs/_next/data/{}/{locale}/data.json", site.build);
        for locale in ["en", "de"] {
            let first = site.get(host, &data(locale)).await?;
            ensure!(
                first.cache() == "MISS" && first.body.contains(&format!("\"locale\":\"{locale}\"")),
                "{first:?}"
            );
        }
        let renew = async |edition: &str, selector: &str| -> Result<Vec<bool>> {
            for locale in ["en", "de"] {
                let orders = json!({ "path": format!("/{locale}/data"), "edition": edition });
                site.post("/docs/api/script", &orders).await?;
            }
            site.purge(host, selector).await?;
            let mut renewed = Vec::new();
            for locale in ["en", "de"] {
                let answer = site.get(host, &data(locale)).await?;
                ensure!(answer.cache() == "HIT", "{answer:?}");
                renewed.push(answer.body.contains(&format!("\"edition\":\"{edition}\"")));
            }
            Ok(renewed)
        };
        ensure!(renew("2", "tags: [\"page:data\"]").await? == [true, true]);
        ensure!(renew("3", "tags: [\"locale:en\"]").await? == [true, false]);
        ensure!(renew("4", "paths: [/docs/de/data]").await? == [false, true]);
        ensure!(renew("5", "patterns: [\"/docs/[locale]/[slug]\"]").await? == [true, true]);
        Ok(())
    })
}
