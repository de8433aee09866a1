//! What visitors get, and when.

use anyhow::{Result, ensure};
use http::{Method, StatusCode};

use crate::{
    ROUTE, blog,
    laptop::{Laptop, wait},
    purge,
};

#[tokio::test]
async fn dev_first_run_shows_miss_hit_stale_and_a_new_page() -> Result<()> {
    let laptop = blog()?.serve().await?;
    let first = laptop.get("/").await?;
    ensure!(
        (first.cache(), first.status) == ("MISS", StatusCode::OK),
        "{first:?}"
    );
    let stale = laptop.until("/", "STALE", |a| a.cache() == "STALE").await?;
    ensure!(
        stale.rendering() == first.rendering(),
        "the old page is served at once: {stale:?}"
    );
    let new = laptop
        .until("/", "the new page", |a| a.rendering() != first.rendering())
        .await?;
    ensure!(new.body.contains("The Coppice"), "{new:?}");

    let post = laptop.get("/blog/hello").await?;
    ensure!(post.cache() == "MISS", "{post:?}");
    let again = laptop.get("/blog/hello").await?;
    ensure!(
        again.cache() == "HIT" && again.rendering() == post.rendering(),
        "{again:?}"
    );
    ensure!(again.header("cache-status").contains("key="), "{again:?}");
    ensure!(laptop.get("/nowhere").await?.cache() == "BYPASS");

    let said = laptop.session.so_far();
    ensure!(
        said.contains("/blog/[slug]") && said.contains("revalidate 1h"),
        "{said}"
    );
    let (code, said) = laptop.end().await?;
    ensure!(code == 0, "Ctrl-C ends it well: {code}\n{said}");
    ensure!(
        !said.contains('\u{1b}'),
        "no colours where there is no terminal: {said:?}"
    );
    for line in ["MISS", "HIT ", "STALE", "BYPASS      no-route"] {
        ensure!(said.contains(&format!("\n{line}")), "no line of {line}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn dev_editing_a_post_shows_after_a_purge() -> Result<()> {
    let laptop = blog()?.serve().await?;
    laptop.get("/blog/hello").await?;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let edited = laptop
        .ask(Method::POST, "/edit/hello", &form, "text=fresh+from+the+press")
        .await?;
    ensure!(
        edited.status == StatusCode::SEE_OTHER && edited.cache() == "BYPASS",
        "{edited:?}"
    );
    let old = laptop.get("/blog/hello").await?;
    ensure!(
        !old.body.contains("fresh from the press") && old.cache() == "HIT",
        "{old:?}"
    );

    laptop
        .session
        .save("purge.yaml", &purge("p", "post:hello", "Refresh", ""))?;
    laptop.session.said("1 matched, 1 regenerated, 0 failed").await?;
    let new = laptop.get("/blog/hello").await?;
    ensure!(
        new.cache() == "HIT" && new.body.contains("fresh from the press"),
        "{new:?}"
    );
    Ok(())
}

#[tokio::test]
async fn dev_saving_a_changed_interval_applies_to_stored_pages() -> Result<()> {
    let laptop = blog()?.serve().await?;
    let first = laptop.get("/blog/hello").await?;
    laptop.session.save("route.yaml", &ROUTE.replace("1h", "1s"))?;
    laptop.session.said("route blog in force").await?;
    let stale = laptop
        .until("/blog/hello", "STALE", |a| a.cache() == "STALE")
        .await?;
    ensure!(stale.rendering() == first.rendering());
    laptop
        .until("/blog/hello", "new", |a| a.rendering() != first.rendering())
        .await?;
    Ok(())
}

#[tokio::test]
async fn dev_a_failing_app_keeps_the_old_page() -> Result<()> {
    let laptop = blog()?.serve().await?;
    let good = laptop.get("/").await?;
    for behaviour in [
        r#"{"path": "/", "status": 500}"#,
        r#"{"path": "/", "closeAfter": 100}"#,
        r#"{"path": "/", "closeAfter": 0}"#,
    ] {
        laptop.script(behaviour).await?;
        let before = laptop.renders("/").await?;
        let failed = || async {
            let answer = laptop.get("/").await?;
            ensure!(answer.rendering() == good.rendering(), "{behaviour}: {answer:?}");
            Ok(laptop.renders("/").await? > before)
        };
        wait("the app was asked and failed", failed).await?;
        let kept = laptop.get("/").await?;
        ensure!(
            (kept.status, kept.rendering()) == (StatusCode::OK, good.rendering()),
            "{behaviour}: {kept:?}"
        );
    }
    laptop.script(r#"{"path": "/"}"#).await?;
    laptop
        .until("/", "new again", |a| a.rendering() != good.rendering())
        .await?;
    Ok(())
}

#[tokio::test]
async fn dev_prerenders_before_anybody_asks() -> Result<()> {
    let route = ROUTE
        .replace("spec:\n", "spec:\n  hostnames: [laptop.test]\n")
        .replace(
            "revalidate: 1h\n",
            "revalidate: 1h\n      prerender: [/blog/hello]\n",
        );
    let laptop = Laptop::of(&[("route.yaml", &route)])?.serve().await?;
    let rendered = |path: &'static str| {
        let laptop = &laptop;
        async move || Ok(laptop.renders(path).await? == 1)
    };
    wait("it is fetched without a visitor", rendered("/blog/hello")).await?;
    laptop
        .until("/blog/hello", "stored", |answer| answer.cache() == "HIT")
        .await?;
    ensure!(
        laptop.renders("/blog/hello").await? == 1,
        "nobody asked for it twice"
    );

    laptop
        .session
        .save("route.yaml", &route.replace("[/blog/hello]", "[/nowhere]"))?;
    laptop.session.said("no path of this rule matches it").await?;
    Ok(())
}
