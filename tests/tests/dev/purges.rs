//! Requests that are saved, and what is printed of them.

use anyhow::{Result, ensure};

use crate::{ROUTE, blog, laptop::Laptop, purge};

#[tokio::test]
async fn dev_a_request_purges_once_and_prints_its_status() -> Result<()> {
    let laptop = blog()?.serve().await?;
    laptop.get("/blog/hello").await?;
    laptop.get("/blog/hazel").await?;
    let request = purge("delete-hello", "post:hello", "Delete", "");
    laptop.session.save("purge.yaml", &request)?;
    laptop.session.said("1 matched, 0 regenerated, 0 failed").await?;
    let said = laptop.session.so_far();
    for line in [
        "NAME           ACKNOWLEDGED   READY   SIDECARS   AGE",
        "delete-hello   True           True    1/1 ",
    ] {
        ensure!(said.contains(line), "no line {line:?}: {said}");
    }
    ensure!(laptop.get("/blog/hello").await?.cache() == "MISS");
    ensure!(
        laptop.get("/blog/hazel").await?.cache() == "HIT",
        "another tag is not touched"
    );

    // Saved again with another deadline and a comment: no new purge. The route saved after it shows when it was read.
    let same = format!(
        "# again\n{}",
        request.replace("strategy: Delete", "strategy: Delete, deadline: 1m")
    );
    laptop.session.save("purge.yaml", &same)?;
    laptop.session.save("route.yaml", &ROUTE.replace("1h", "2h"))?;
    laptop.session.said("route blog in force").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");

    // Another nonce is another purge.
    laptop.session.save(
        "purge.yaml",
        &request.replace("strategy: Delete", "strategy: Delete, nonce: two"),
    )?;
    laptop
        .session
        .said_times("1 matched, 0 regenerated, 0 failed", 2)
        .await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "MISS");
    Ok(())
}

#[tokio::test]
async fn dev_requests_that_are_there_at_the_start_purge_nothing() -> Result<()> {
    let laptop = Laptop::of(&[(
        "all.yaml",
        &format!("{ROUTE}---\n{}", purge("old", "post:hello", "Delete", "")),
    )])?;
    let laptop = laptop.serve().await?;
    laptop.get("/blog/hello").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    let (_, said) = laptop.end().await?;
    ensure!(!said.contains("ACKNOWLEDGED"), "{said}");
    Ok(())
}

#[tokio::test]
async fn dev_purges_by_every_selector() -> Result<()> {
    let laptop = blog()?.serve().await?;
    for (n, selector) in [
        r#"paths: ["/blog/hello"]"#,
        r#"patterns: ["/blog/[slug]"]"#,
        "everything: true",
        "routeRef: {name: blog}, everything: true",
    ]
    .into_iter()
    .enumerate()
    {
        laptop.get("/blog/hello").await?;
        ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
        let request = format!(
            "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {{ generateName: cms- }}\n\
             spec: {{ {selector}, strategy: Delete }}\n"
        );
        laptop.session.save(&format!("purge-{n}.yaml"), &request)?;
        laptop.session.said_times("regenerated, 0 failed", n + 1).await?;
        let answer = laptop.get("/blog/hello").await?;
        ensure!(answer.cache() == "MISS", "{selector}: {answer:?}");
    }
    Ok(())
}
