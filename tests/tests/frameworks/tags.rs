//! Next.js's own tags: what the app says with `revalidateTag` and `updateTag`, and a purge by the same tag.

use anyhow::{Result, ensure};
use http::StatusCode;
use serde_json::json;

use crate::{
    around::submit,
    face::{Page, TAGGED_HTML, TAGGED_RSC},
    site::{self, App, Site},
};

/// All of a page's forms are in the store, and show this edition.
async fn show(forms: &[Page<'_>], edition: &str) -> Result<()> {
    for form in forms {
        let answer = form.visit().await?;
        ensure!(
            answer.cache() == "HIT" && form.edition(&answer)? == edition,
            "not {edition}: {answer:?}"
        );
    }
    Ok(())
}

/// A page in both forms, visited.
async fn forms(page: Page<'_>) -> Result<[Page<'_>; 2]> {
    let forms = [page.in_form_of(TAGGED_RSC), page];
    for form in &forms {
        let first = form.visit().await?;
        ensure!(
            (first.status, first.cache()) == (StatusCode::OK, "MISS") && form.edition(&first)? == "1",
            "{first:?}"
        );
    }
    Ok(forms)
}

async fn revalidate(site: &Site, tag: &str, profile: &str) -> Result<()> {
    let path = format!("/api/revalidate?tag={tag}{profile}");
    site.post(&path, &json!({})).await.map(drop)
}

/// The app's cache first, then this one: it takes both, by one page's tag and by one of many. With the profile `max`
/// Next.js shows its old page once more, which is not taken for the new one.
#[test]
fn frameworks_next_revalidate_tag_goes_with_a_purge_by_the_same_tag() -> Result<()> {
    site::on(App::Next, async |site| {
        for (row, profile) in [("tag", ""), ("tag-max", "&profile=max")] {
            let page = site.page(TAGGED_HTML, row);
            let host = page.host.clone();
            let tag = format!("post:{}", page.slug);
            let other = forms(page.sibling()).await?;
            let page = forms(page).await?;
            for one in [&page[0], &other[0]] {
                one.tell(json!({ "edition": "2" })).await?;
            }

            site.purge(&host, &format!("tags: [{tag:?}]")).await?;
            show(&page, "1").await?;
            revalidate(site, &tag, profile).await?;
            show(&page, "1").await?;
            site.purge(&host, &format!("tags: [{tag:?}]")).await?;
            show(&page, "2").await?;
            show(&other, "1").await?;

            for one in [&page[0], &other[0]] {
                one.tell(json!({ "edition": "3" })).await?;
            }
            revalidate(site, "tagged", profile).await?;
            site.purge(&host, "tags: [tagged]").await?;
            show(&page, "3").await?;
            show(&other, "3").await?;
        }
        Ok(())
    })
}

/// The action's post renews its own page in every form; where else its tag is shown, a purge by that tag does.
#[test]
fn frameworks_next_update_tag_of_an_action_goes_with_a_purge_by_the_same_tag() -> Result<()> {
    site::on(App::Next, async |site| {
        let page = site.page(TAGGED_HTML, "update-tag");
        let tag = format!("post:{}", page.slug);
        let elsewhere = forms(page.through("/rewritten")).await?;
        let page = forms(page).await?;
        page[0].tell(json!({ "edition": "2" })).await?;
        let [_, html] = &page;
        let form = html.visit().await?;
        let posted = submit(site, &html.host, &form, &html.path(), ("tag", &tag)).await?;
        ensure!(
            (posted.status, posted.cache()) == (StatusCode::OK, "BYPASS") && html.edition(&posted)? == "2",
            "who posts sees what it did: {posted:?}"
        );
        for form in &page {
            let new = form.visit().await?;
            ensure!(
                new.cache() == "REVALIDATED" && form.edition(&new)? == "2",
                "{new:?}"
            );
        }
        show(&elsewhere, "1").await?;
        site.purge(&html.host, &format!("tags: [{tag:?}]")).await?;
        show(&elsewhere, "2").await?;
        show(&page, "2").await
    })
}
