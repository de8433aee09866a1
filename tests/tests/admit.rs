//! What a real API server with the CRDs accepts and refuses, and that `coppice dev` says the same of the same files.

// Tests may panic, and nobody minds the size of their futures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use coppice_api::{
    IsrRoute, RevalidationRequest, Strategy,
    names::condition,
    route::{IsrRouteStatus, SidecarCounts},
};
use coppice_cli::{
    check::{Checker, Kind},
    yaml::{self, Node},
};
use coppice_tests::{
    build::{from_json, mk_blog_route},
    check, command,
    space::{self, Space},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The documents of a folder below `tests/manifests`, by file name.
fn manifests(folder: &str) -> Result<Vec<(String, Node)>> {
    let folder: PathBuf = command::root().join("tests/manifests").join(folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let documents =
            yaml::parse(&fs::read_to_string(&path)?).map_err(|error| anyhow::anyhow!("{name}: {error:?}"))?;
        found.extend(
            documents
                .into_iter()
                .map(|document| (name.clone(), document.root)),
        );
    }
    check!(!found.is_empty(), "no manifests in {}", folder.display());
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Creates an object as `kubectl create --validate=strict` does. `Err`: what the API server complains of, one by one.
async fn create(space: &Space, object: &Value) -> Result<Result<Value, BTreeSet<String>>> {
    let plural = match object["kind"].as_str() {
        Some("IsrRoute") => "isrroutes",
        _ => "revalidationrequests",
    };
    let path = format!(
        "/apis/coppice.dev/v1alpha1/namespaces/{}/{plural}?fieldValidation=Strict",
        space.name
    );
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object)?)?;
    match space.client.request::<Value>(request).await {
        Ok(created) => Ok(Ok(created)),
        Err(kube::Error::Api(status)) => Ok(Err(complaints(&status))),
        Err(error) => Err(error.into()),
    }
}

fn complaints(status: &kube::core::Status) -> BTreeSet<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let said: BTreeSet<_> = causes
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    if said.is_empty() {
        // Strict decoding has no causes: … strict decoding error: unknown field "a", unknown field "b"
        let message = status
            .message
            .rsplit("strict decoding error: ")
            .next()
            .unwrap_or_default();
        message.split(", ").map(str::to_owned).collect()
    } else {
        said
    }
}

#[tokio::test]
async fn admit_accepts_good_objects_as_dev_does() {
    space::run("admit-good", async |space| {
        let checker = Checker::new();
        for (file, document) in manifests("good")? {
            let kind = Checker::kind_of(&document).map_err(|v| anyhow::anyhow!("{file}: {v}"))?;
            let local = checker.check(kind.context(file.clone())?, &document);
            let local = local.map_err(|violations| anyhow::anyhow!("{file}: {violations:?}"))?;
            let there = create(&space, &document.to_json()).await?;
            let there = there.map_err(|complaints| anyhow::anyhow!("{file}: {complaints:?}"))?;
            // What is in force is the same, defaults included.
            check!(
                there["spec"] == local["spec"],
                "{file}: {} here, {} there",
                local["spec"],
                there["spec"]
            );
            check!(
                there["status"]["observedGeneration"] == -1,
                "{file}: {}",
                there["status"]
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn admit_refuses_bad_objects_in_the_words_of_dev() {
    space::run("admit-bad", async |space| {
        let checker = Checker::new();
        let mut wrong = Vec::new();
        for (file, document) in manifests("bad")? {
            let kind = match document.text("kind") {
                Some("IsrRoute") => Kind::IsrRoute,
                _ => Kind::RevalidationRequest,
            };
            let local: BTreeSet<String> = match checker.check(kind, &document) {
                Ok(_) => BTreeSet::new(),
                Err(violations) => violations.iter().map(ToString::to_string).collect(),
            };
            let there = create(&space, &document.to_json())
                .await?
                .err()
                .unwrap_or_default();
            if there.is_empty() || there != local {
                wrong.push(format!(
                    "{file}\n  API server: {there:#?}\n  coppice dev: {local:#?}"
                ));
            }
        }
        check!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn admit_fills_in_defaults_and_keeps_the_status_apart() {
    space::run("admit-status", async |space| {
        // A route that no pod matches: the operator may write its status, so the test looks at what creation returned.
        let mut route = mk_blog_route("nobody", 60);
        route.status = Some(IsrRouteStatus {
            sidecars: Some(SidecarCounts {
                summary: "7/7".to_owned(),
                ..SidecarCounts::default()
            }),
            ..IsrRouteStatus::default()
        });
        let created = space.create(&route).await?;
        let status = created.status.unwrap_or_default();
        check!(
            status.observed_generation == Some(-1),
            "a new object was never observed: {status:?}"
        );
        check!(
            status.sidecars.is_none(),
            "a status is not created with its object: {status:?}"
        );
        let request: RevalidationRequest = from_json(json!({
            "metadata": {"name": "minimal"}, "spec": {"tags": ["a"]},
        }));
        let created = space.create(&request).await?;
        check!(created.spec.strategy == Strategy::Refresh, "{:?}", created.spec);

        // A status is written through its subresource, which leaves spec and generation alone.
        let generation = space.api::<IsrRoute>().get("nobody").await?.metadata.generation;
        let patch = json!({"spec": {"suspend": true}, "status": {"lastHandledRequestedAt": "once"}});
        let api = space.api::<IsrRoute>();
        let patched = api
            .patch_status("nobody", &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        check!(
            !patched.spec.suspend && patched.metadata.generation == generation,
            "{patched:?}"
        );
        let status = patched.status.unwrap_or_default();
        check!(
            status.last_handled_requested_at.as_deref() == Some("once"),
            "{status:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn admit_refuses_a_change_for_the_worse() {
    space::run("admit-update", async |space| {
        let route = space.create(&mk_blog_route("shop", 60)).await?;
        let mut spec = route.spec;
        spec.rules[0].paths = vec!["blog".to_owned()];
        // A patch: the operator writes the status meanwhile, so a replacement could be refused as a conflict.
        let patch = Patch::Merge(json!({ "spec": spec }));
        let api = space.api::<IsrRoute>();
        let refused = api.patch("shop", &PatchParams::default(), &patch).await;
        let Err(kube::Error::Api(status)) = refused else {
            anyhow::bail!("a path without '/' was let in: {refused:?}");
        };
        check!(
            status.message.contains("a path starts with '/'"),
            "{}",
            status.message
        );
        let there: IsrRoute = space.api().get("shop").await?;
        check!(
            there.spec.rules[0].paths == ["/"],
            "{:?}",
            there.spec.rules[0].paths
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn admit_prints_the_promised_columns() {
    space::run("admit-columns", async |space| {
        space.create(&mk_blog_route("shop", 60)).await?;
        let request: RevalidationRequest =
            from_json(json!({"metadata": {"name": "all"}, "spec": {"everything": true}}));
        space.create(&request).await?;
        let ready = |conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]| {
            conditions
                .iter()
                .any(|c| c.type_ == condition::READY && c.status == "True")
        };
        space
            .wait("shop", "Ready is True (no pods)", |r: &IsrRoute| {
                r.status.as_ref().is_some_and(|s| ready(&s.conditions))
            })
            .await?;
        space
            .wait("all", "Ready is True (no pods)", |r: &RevalidationRequest| {
                r.status.as_ref().is_some_and(|s| ready(&s.conditions))
            })
            .await?;
        for (plural, columns, cells) in [
            (
                "isrroutes",
                &["Name", "Ready", "Sidecars", "Age"][..],
                ["shop", "True", "0/0"].as_slice(),
            ),
            (
                "revalidationrequests",
                &["Name", "Acknowledged", "Ready", "Sidecars", "Age"],
                &["all", "True", "True"],
            ),
        ] {
            let path = format!("/apis/coppice.dev/v1alpha1/namespaces/{}/{plural}", space.name);
            let request = http::Request::get(path)
                .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
                .body(Vec::new())?;
            let table: Value = space.client.request(request).await?;
            let shown: Vec<_> = table["columnDefinitions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|column| column["priority"] == 0)
                .map(|column| column["name"].as_str().unwrap_or_default())
                .collect();
            check!(shown == columns, "{plural}: {shown:?}");
            for (index, cell) in cells.iter().enumerate() {
                check!(
                    table["rows"][0]["cells"][index] == *cell,
                    "{plural}: {}",
                    table["rows"][0]["cells"]
                );
            }
        }
        Ok(())
    })
    .await;
}
