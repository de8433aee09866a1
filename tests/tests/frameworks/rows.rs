//! The rows of Next.js's documentation of ISR, each for every face that a page has: as HTML, as React Server Components,
//! as data; and for an app that is not JavaScript.

use anyhow::{Context as _, Result, ensure};
use coppice_tests::visit::Answer;
use futures::future::try_join_all;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::{
    face::{self, Form, Page},
    site::{self, App},
};

/// Makes a test of a row for each of these faces: `row::face`.
macro_rules! row {
    ($row:ident: $($name:ident = $face:ident),+ $(,)?) => {
        mod $row {
            $(
                #[test]
                fn $name() -> anyhow::Result<()> {
                    super::run(super::face::$face, stringify!($row), super::$row)
                }
            )+
        }
    };
}

fn run(face: face::Face, test: &str, row: impl AsyncFnOnce(&Page<'_>) -> Result<()>) -> Result<()> {
    let name = test.trim_start_matches("frameworks_").replace('_', "-");
    site::on(face.app, async |site| row(&site.page(face, &name)).await)
}

/// A first visit: 200, and what it shows is stored.
async fn first(page: &Page<'_>) -> Result<Answer> {
    let first = page.visit().await?;
    ensure!(
        (first.status, first.cache()) == (StatusCode::OK, "MISS"),
        "{first:?}"
    );
    ensure!(page.edition(&first)? == "1", "{first:?}");
    Ok(first)
}

/// From the store, without a wait.
async fn hit(page: &Page<'_>) -> Result<Answer> {
    let answer = page.visit().await?;
    ensure!(answer.cache() == "HIT", "{answer:?}");
    Ok(answer)
}

row! { frameworks_interval:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA, python = PYTHON,
}

/// When the interval has passed, the next visitor gets the old page at once, and a new one is fetched behind it.
async fn frameworks_interval(page: &Page<'_>) -> Result<()> {
    first(page).await?;
    page.tell(json!({ "edition": "2" })).await?;
    let stale = page
        .until("stale", |answer| Ok(answer.cache() == "STALE"))
        .await?;
    ensure!(page.edition(&stale)? == "1", "{stale:?}");
    page.until_edition("2").await?;
    Ok(())
}

row! { frameworks_first_visit:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA, python = PYTHON,
}

/// A path that nobody has visited is rendered once, for all who ask for it meanwhile.
async fn frameworks_first_visit(page: &Page<'_>) -> Result<()> {
    let visits = try_join_all((0..4).map(|_| page.visit())).await?;
    let body = &visits.first().context("no visit")?.body;
    for visit in &visits {
        ensure!(
            visit.status == StatusCode::OK && matches!(visit.cache(), "MISS" | "HIT"),
            "{visit:?}"
        );
        ensure!(
            visit.body == *body,
            "{visit:?} is of another rendering than {body}"
        );
    }
    ensure!(hit(page).await?.body == *body);
    ensure!(page.begun().await? == 1, "rendered {} times", page.begun().await?);
    Ok(())
}

row! { frameworks_failure:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA, python = PYTHON,
}

/// A rendering that fails leaves the old page, however often; it is tried again, and the first that succeeds is shown.
async fn frameworks_failure(page: &Page<'_>) -> Result<()> {
    first(page).await?;
    page.tell(json!({ "does": "fail" })).await?;
    let begun = page.begun().await?;
    let mut tried = begun;
    while tried < begun + 2 {
        let old = page.visit().await?;
        ensure!(
            old.status == StatusCode::OK
                && matches!(old.cache(), "HIT" | "STALE")
                && page.edition(&old)? == "1",
            "{old:?}"
        );
        tried = page.begun().await?;
    }
    page.tell(json!({ "edition": "2" })).await?;
    page.until_edition("2").await?;
    Ok(())
}

row! { frameworks_failure_under_a_purge:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = TOKEN_ISR_HTML, isr_rsc = TOKEN_ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = TOKEN_STATIC_HTML, static_data = TOKEN_STATIC_DATA, python = PYTHON,
}

/// A purge whose rendering fails leaves the old page; one that deletes leaves nothing but the app's error.
async fn frameworks_failure_under_a_purge(page: &Page<'_>) -> Result<()> {
    first(page).await?;
    page.tell(json!({ "does": "fail" })).await?;
    let path = page.path();
    for strategy in ["Refresh", "Expire"] {
        page.purge(&format!("paths: [{path:?}], strategy: {strategy}"))
            .await?;
        let old = page.visit().await?;
        ensure!(
            (old.status, old.cache()) == (StatusCode::OK, "STALE") && page.edition(&old)? == "1",
            "{strategy}: {old:?}"
        );
    }
    page.purge(&format!("paths: [{path:?}], strategy: Delete"))
        .await?;
    for _ in 0..2 {
        let failed = page.visit().await?;
        let says = match page.face.form {
            // Its head, with a 200, left before React knew, unless it was for Next.js's own cache.
            Form::Rsc if page.face.app == App::Next => failed.body.contains(":E{\"digest\":\""),
            Form::Html | Form::Rsc | Form::Data => failed.status == StatusCode::INTERNAL_SERVER_ERROR,
        };
        ensure!(says && failed.cache() == "MISS", "{failed:?}");
    }
    Ok(())
}

row! { frameworks_on_demand_by_path:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA, python = PYTHON,
}

async fn frameworks_on_demand_by_path(page: &Page<'_>) -> Result<()> {
    on_demand(page, &format!("paths: [{:?}]", page.path())).await
}

row! { frameworks_on_demand_by_tag:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA,
}

/// A tag that the rule makes of the path.
async fn frameworks_on_demand_by_tag(page: &Page<'_>) -> Result<()> {
    on_demand(page, &format!("tags: [\"post:{}\"]", page.slug)).await
}

row! { frameworks_on_demand_by_tag_of_the_app:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA, python = PYTHON,
}

/// A tag that the app names in `Cache-Tag`, which no visitor sees.
async fn frameworks_on_demand_by_tag_of_the_app(page: &Page<'_>) -> Result<()> {
    let tag = if page.face.app == App::Python {
        "post"
    } else {
        "slug"
    };
    on_demand(page, &format!("tags: [\"{tag}-{}\"]", page.slug)).await?;
    let answer = page.visit().await?;
    ensure!(!answer.headers.contains_key("cache-tag"), "{answer:?}");
    Ok(())
}

/// Ready means that the new page is there, and that no other page was touched.
async fn on_demand(page: &Page<'_>, selector: &str) -> Result<()> {
    first(page).await?;
    let sibling = page.sibling();
    let other = sibling.visit().await?;
    for edition in ["2", "3"] {
        for one in [page, &sibling] {
            one.tell(json!({ "edition": edition })).await?;
        }
        page.purge(selector).await?;
        let new = hit(page).await?;
        ensure!(page.edition(&new)? == edition, "{new:?}");
        ensure!(hit(&sibling).await?.body == other.body);
    }
    Ok(())
}

row! { frameworks_on_demand_by_pattern:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA, python = PYTHON,
}

/// A pattern reaches every page that it matches.
async fn frameworks_on_demand_by_pattern(page: &Page<'_>) -> Result<()> {
    let sibling = page.sibling();
    for one in [page, &sibling] {
        first(one).await?;
        one.tell(json!({ "edition": "2" })).await?;
    }
    // In the app's own cache, where it has one.
    sibling.purge("tags: [none]").await?;
    page.purge(&format!("patterns: [{:?}]", page.pattern())).await?;
    for one in [page, &sibling] {
        let new = hit(one).await?;
        ensure!(one.edition(&new)? == "2", "{new:?}");
    }
    Ok(())
}

row! { frameworks_purge_amid_a_slow_render:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = TOKEN_ISR_HTML, isr_rsc = TOKEN_ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = TOKEN_STATIC_HTML, static_data = TOKEN_STATIC_DATA, python = PYTHON,
}

/// A rendering that a purge overtook is for those who waited for it, and is never stored. Next.js's own cache renders once
/// for all who ask meanwhile, and has what a purge overtook for new: with its token it is asked once more.
async fn frameworks_purge_amid_a_slow_render(page: &Page<'_>) -> Result<()> {
    page.tell(json!({ "does": "wait" })).await?;
    let early = async {
        let answer = page.open().await?;
        anyhow::Ok(answer.into_body().collect().await?.to_bytes())
    };
    let later = async {
        page.until_begun(0).await?;
        let before = page.in_the_air_since().await?;
        page.tell(json!({ "does": "wait", "edition": "2" })).await?;
        page.site
            .purge(&page.host, &format!("paths: [{:?}]", page.path()))
            .await?;
        let late = page.visit();
        let told = async {
            if page.face.app == App::Token {
                let anew = async || page.in_the_air_since().await;
                site::until("it is asked for anew", anew, |now| Ok(*now > before)).await?;
            } else {
                page.until_begun(1).await?;
            }
            page.tell(json!({ "edition": "2" })).await
        };
        let (late, ()) = futures::try_join!(late, told)?;
        anyhow::Ok(late)
    };
    let (early, late) = futures::try_join!(early, later)?;
    let early = String::from_utf8_lossy(&early).into_owned();
    let shows = |body: String| -> Result<String> {
        let answer = Answer { body, ..late.clone() };
        page.edition(&answer).map(str::to_owned)
    };
    ensure!(
        shows(early.clone())? == "1",
        "who asked before the purge: {early}"
    );
    ensure!(page.edition(&late)? == "2", "who asked after the purge: {late:?}");
    let stored = hit(page).await?;
    ensure!(page.edition(&stored)? == "2", "{stored:?}");
    Ok(())
}

row! { frameworks_draft:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC,
    props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA,
}

/// Who has the draft cookie sees the draft, who has not the page, and nothing of a draft is stored.
async fn frameworks_draft(page: &Page<'_>) -> Result<()> {
    first(page).await?;
    let enabled = page
        .site
        .ask(http::Method::POST, &page.host, "/draft", &[], "")
        .await?;
    let cookie = enabled
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap_or_default()
        .to_owned();
    ensure!(cookie.starts_with("__prerender_bypass="), "{enabled:?}");
    page.tell(json!({ "edition": "2" })).await?;
    let draft = page.visit_with(&[("cookie", &cookie)]).await?;
    ensure!(
        (draft.status, draft.cache()) == (StatusCode::OK, "BYPASS") && page.edition(&draft)? == "2",
        "{draft:?}"
    );
    let says = match page.face.form {
        Form::Html => "<p id=\"draft\">",
        Form::Rsc => "\"id\":\"draft\"",
        Form::Data => "\"draft\":true",
    };
    ensure!(draft.body.contains(says), "{draft:?}");
    let public = hit(page).await?;
    ensure!(
        page.edition(&public)? == "1" && !public.body.contains(says),
        "{public:?}"
    );
    Ok(())
}

row! { frameworks_redirect:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA, python = PYTHON,
}

/// A page that redirects is stored as that, until a purge finds it to be a page.
async fn frameworks_redirect(page: &Page<'_>) -> Result<()> {
    for (does, status) in [
        ("redirect", StatusCode::TEMPORARY_REDIRECT),
        ("move", StatusCode::PERMANENT_REDIRECT),
    ] {
        page.tell(json!({ "does": does, "to": "/blog/elsewhere" }))
            .await?;
        // The second time there is a page to be replaced.
        page.purge(&format!("paths: [{:?}]", page.path())).await?;
        let visits = [page.visit().await?, hit(page).await?];
        for visit in &visits {
            let leads = match page.face.form {
                Form::Html => visit.status == status && visit.header("location") == "/blog/elsewhere",
                // Their routers follow it themselves.
                Form::Rsc => {
                    visit.body.contains("NEXT_REDIRECT;") && visit.body.contains(";/blog/elsewhere;")
                }
                Form::Data => visit.body.contains("\"__N_REDIRECT\":\"/blog/elsewhere\""),
            };
            ensure!(leads, "{visit:?}");
        }
    }
    page.tell(json!({})).await?;
    page.purge(&format!("paths: [{:?}]", page.path())).await?;
    let page_again = hit(page).await?;
    ensure!(
        page_again.status == StatusCode::OK && page.edition(&page_again)? == "1",
        "{page_again:?}"
    );
    Ok(())
}

row! { frameworks_not_found:
    app_html = APP_HTML, app_rsc = APP_RSC, isr_html = ISR_HTML, isr_rsc = ISR_RSC, props_html = PROPS_HTML, props_data = PROPS_DATA, static_html = STATIC_HTML, static_data = STATIC_DATA, python = PYTHON,
}

/// What is not there is not asked for each time; when it is there after all, it is found.
async fn frameworks_not_found(page: &Page<'_>) -> Result<()> {
    page.tell(json!({ "does": "gone" })).await?;
    let missing = page.visit().await?;
    let is_missing = |answer: &Answer| match page.face.form {
        // The head is on its way before React knows.
        Form::Rsc => answer.body.contains("NEXT_HTTP_ERROR_FALLBACK;404"),
        Form::Html | Form::Data => answer.status == StatusCode::NOT_FOUND,
    };
    ensure!(missing.cache() == "MISS" && is_missing(&missing), "{missing:?}");
    page.tell(json!({})).await?;
    let what = format!("{} is there", page.path());
    let found = site::until(
        &what,
        async || page.visit().await,
        |answer| {
            ensure!(answer.cache() != "BYPASS", "{answer:?}");
            Ok(!is_missing(answer))
        },
    )
    .await?;
    ensure!(
        found.status == StatusCode::OK && page.edition(&found)? == "1",
        "{found:?}"
    );
    Ok(())
}
