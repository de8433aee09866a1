//! Files that are broken, removed, not ours, or of several namespaces.

use anyhow::{Result, ensure};

use crate::{ROUTE, blog, laptop::Laptop, purge};

#[tokio::test]
async fn dev_a_broken_manifest_at_the_start_ends_it_with_2() -> Result<()> {
    // What is wrong, the line it is in, what is said of it, and what to do.
    for (wrong, line, words, remedy) in [
        (
            ROUTE.replace("revalidate: 1h", "revalidat: 1h"),
            10,
            r#"unknown field "spec.rules[1].revalidat""#,
            "did you mean `revalidate`?",
        ),
        (
            ROUTE.replace("revalidate: 1h", "revalidate: 1x"),
            10,
            r#"spec.rules[1].revalidate: Invalid value: "1x""#,
            "write 90, 5m or never",
        ),
        (
            ROUTE.replace("revalidate: 1h", "revalidate: [1]"),
            10,
            r#"spec.rules[1].revalidate: Invalid value: "array""#,
            "remedy: ",
        ),
        (
            ROUTE.replace("revalidate: 1h", "override: [nostore]"),
            10,
            r#"spec.rules[1].override[0]: Unsupported value: "nostore""#,
            "write one of the supported values",
        ),
        (
            ROUTE.replace(
                "    - paths: [\"/blog/[slug]\"]\n      revalidate",
                "    - revalidate",
            ),
            9,
            "spec.rules[1].paths: Required value",
            "add `paths`",
        ),
        (
            ROUTE.replace("/blog/[slug]", "blog/[slug]"),
            9,
            r#"spec.rules[1].paths[0]: Invalid value: "blog/[slug]""#,
            "",
        ),
        (
            ROUTE.replace("name: blog", "name: Blog"),
            3,
            r#"metadata.name: Invalid value: "Blog""#,
            "lower case",
        ),
        (
            ROUTE.replace("v1alpha1", "v9"),
            1,
            r#"no matches for kind "IsrRoute" in version "coppice.dev/v9""#,
            "coppice.dev/v1alpha1",
        ),
        (
            format!("{ROUTE}  suspend: true\n  suspend: false\n"),
            13,
            r#"duplicate field "spec.suspend""#,
            "remove one of the two",
        ),
        (
            ROUTE.replace("[\"/blog/[slug]\"]", "[\"/blog/[slug]\""),
            0,
            "failed to read the YAML",
            "close what is open",
        ),
        (
            format!("{ROUTE}---\n{ROUTE}"),
            13,
            "IsrRoute \"blog\" is there already",
            "rename one",
        ),
        (
            format!("{ROUTE}---\n{}", purge("p", "x", "Never", "")),
            16,
            "spec.strategy: Unsupported value: \"Never\": supported values: \"Refresh\", \"Expire\", \"Delete\"",
            "supported",
        ),
    ] {
        let (code, said) = Laptop::of(&[("route.yaml", &wrong)])?.run().await?;
        ensure!(code == 2, "exit code {code} for {words}: {said}");
        ensure!(said.contains(words), "{words:?} is not said: {said}");
        ensure!(said.contains(remedy), "{remedy:?} is not said: {said}");
        let place = if line > 0 {
            format!("route.yaml:{line}:")
        } else {
            "route.yaml:".to_owned()
        };
        ensure!(said.contains(&place), "{place} is not said: {said}");
        ensure!(said.contains("nothing was started"), "{said}");
    }
    let (code, said) = Laptop::of(&[])?.flags(&["missing.yaml"]).run().await?;
    ensure!(
        code == 2 && said.contains("missing.yaml: failed to read it"),
        "{code}: {said}"
    );
    Ok(())
}

#[tokio::test]
async fn dev_a_broken_manifest_later_leaves_everything_in_force() -> Result<()> {
    let laptop = blog()?.serve().await?;
    laptop.get("/blog/hello").await?;
    for (n, broken) in [
        ROUTE.replace("revalidate: 1h", "revalidate: 1x"),
        ROUTE.replace("revalidate: 1h", "revalidate: \"1h"),
        ROUTE.replace("paths:", "path:"),
    ]
    .into_iter()
    .enumerate()
    {
        laptop.session.save("route.yaml", &broken)?;
        laptop
            .session
            .said_times("what was in force before stays in force", n + 1)
            .await?;
        ensure!(laptop.get("/blog/hello").await?.cache() == "HIT", "{broken}");
    }
    laptop.session.save("route.yaml", ROUTE)?;
    laptop.session.said("route.yaml is whole again").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    Ok(())
}

#[tokio::test]
async fn dev_removing_a_file_removes_its_objects() -> Result<()> {
    let other = ROUTE
        .replace("name: blog", "name: other")
        .replace("/blog/", "/edit/");
    let laptop = Laptop::of(&[
        ("route.yaml", ROUTE),
        ("other.yaml", &other.replace("\"/\", ", "")),
    ])?;
    let laptop = laptop.serve().await?;
    laptop.get("/blog/hello").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    std::fs::remove_file(laptop.session.path("route.yaml"))?;
    laptop.session.said("route blog removed").await?;
    laptop
        .until("/blog/hello", "passed through", |a| a.cache() == "BYPASS")
        .await?;
    ensure!(
        laptop.get("/edit/hello").await?.cache() != "BYPASS",
        "the other file's route stays"
    );

    laptop.session.save("route.yaml", ROUTE)?;
    laptop
        .until("/blog/hello", "cached again", |a| a.cache() == "HIT")
        .await?;
    Ok(())
}

#[tokio::test]
async fn dev_a_real_manifest_folder_works_as_it_is() -> Result<()> {
    let folder = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: blog, namespace: shop }
spec: { template: { spec: { containers: [] } } }
---
apiVersion: v1
kind: Service
metadata: { name: blog, namespace: shop }
---
apiVersion: v1
kind: Secret
metadata: { name: token, namespace: shop }
stringData: { key: value }
";
    let route = ROUTE.replace("name: blog }", "name: blog, namespace: shop }");
    let laptop = Laptop::of(&[("app.yaml", folder), ("more.yaml", folder), ("route.yml", &route)])?;
    let (code, said) = laptop.run().await?;
    ensure!(
        code == 2 && said.contains("Secret \"token\" is there already"),
        "{said}"
    );

    let laptop = Laptop::of(&[("app.yaml", folder), ("route.yml", &route)])?
        .serve()
        .await?;
    laptop.get("/blog/hello").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    let (_, said) = laptop.end().await?;
    ensure!(
        said.matches("Deployment").count() == 1 && said.contains("Service"),
        "{said}"
    );
    ensure!(!said.contains("Secret"), "{said}");
    Ok(())
}

#[tokio::test]
async fn dev_several_namespaces_need_a_word() -> Result<()> {
    let of =
        |namespace: &str| ROUTE.replace("name: blog }", &format!("name: blog, namespace: {namespace} }}"));
    let files = [
        ("a.yaml", of("shop")),
        ("b.yaml", of("docs").replace("/blog/", "/edit/")),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let (code, said) = Laptop::of(&files)?.run().await?;
    ensure!(
        code == 2 && said.contains("choose one with --namespace: docs, shop"),
        "{code}: {said}"
    );
    ensure!(said.contains("a.yaml:3:") && said.contains("b.yaml:3:"), "{said}");

    let laptop = Laptop::of(&files)?
        .flags(&["--namespace", "docs"])
        .serve()
        .await?;
    ensure!(laptop.get("/edit/hello").await?.cache() == "MISS");
    ensure!(laptop.get("/blog/hello").await?.cache() == "BYPASS");
    Ok(())
}
