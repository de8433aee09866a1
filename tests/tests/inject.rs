//! Pods that are opted in get a sidecar, and everything that reached the app before reaches it still.

// Tests may panic, and nobody minds the size of their futures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures)]

use anyhow::Result;
use coppice_api::{
    IsrRoute,
    names::{condition, label, object, port},
    status::Conditions as _,
};
use coppice_tests::{
    app::{is_injected, well},
    build::{from_json, mk_app, mk_blog_route, mk_service, opted_in},
    check,
    space::{self, Space, eventually},
    visit::get,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
    events::v1::Event,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

/// A Deployment, changed.
fn changed(deployment: &Deployment, patch: &Value) -> Deployment {
    let mut value = serde_json::to_value(deployment).expect("a Deployment is JSON");
    merge(&mut value, patch);
    from_json(value)
}

fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

/// The first Event with this reason about anything in the namespace.
async fn event(space: &Space, reason: &str) -> Result<Event> {
    eventually(&format!("an Event with reason {reason}"), || async {
        match space.api::<Event>().list(&ListParams::default()).await {
            Ok(list) => {
                let reasons: Vec<_> = list
                    .items
                    .iter()
                    .map(|e| e.reason.clone().unwrap_or_default())
                    .collect();
                let found = list
                    .items
                    .into_iter()
                    .find(|e| e.reason.as_deref() == Some(reason));
                found.ok_or_else(|| format!("{reasons:?}"))
            }
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

async fn route_with(space: &Space, name: &str, kind: &str, status: &str) -> Result<IsrRoute> {
    space
        .wait(name, &format!("{kind} is {status}"), |route: &IsrRoute| {
            route
                .status
                .as_ref()
                .and_then(|s| s.condition(kind))
                .is_some_and(|c| c.status == status && c.observed_generation == route.metadata.generation)
        })
        .await
}

#[tokio::test]
async fn inject_puts_a_native_sidecar_between_service_and_app() {
    // The namespace enforces the strictest pod security, so the pod would not start if the sidecar fell short of it.
    space::run("inject-native", async |space| {
        let app = space.app("web", 1).await?;
        let pod: Pod = space.api().get(&app.pod().name).await?;
        check!(is_injected(&pod), "the pod has no sidecar: {:?}", pod.spec);
        let spec = pod.spec.unwrap_or_default();
        let sidecar = spec
            .init_containers
            .iter()
            .flatten()
            .find(|c| c.name == object::SIDECAR_CONTAINER);
        let sidecar = sidecar.expect("is_injected saw it");
        check!(
            sidecar.restart_policy.as_deref() == Some("Always"),
            "no native sidecar: {:?}",
            sidecar.restart_policy
        );
        let resources = sidecar.resources.clone().unwrap_or_default();
        check!(
            resources
                .requests
                .is_some_and(|r| r.contains_key("memory") && r.contains_key("cpu")),
            "memory and CPU are requested"
        );
        let limits = resources.limits.unwrap_or_default();
        check!(
            limits.contains_key("memory") && !limits.contains_key("cpu"),
            "limits: {limits:?}"
        );
        let ports: Vec<_> = sidecar
            .ports
            .iter()
            .flatten()
            .map(|p| (p.name.as_deref(), p.container_port))
            .collect();
        check!(
            ports.contains(&(Some("http"), i32::from(port::SIDECAR))),
            "the sidecar took over the name: {ports:?}"
        );

        // The probe named a port; it still asks the app, whatever the name means now.
        let probe = spec.containers[0]
            .readiness_probe
            .as_ref()
            .and_then(|p| p.http_get.as_ref());
        let target = serde_json::to_value(probe.map(|p| &p.port))?;
        check!(target == json!(3000), "the probe asks {target}");

        let answer = space
            .get_until(&app, "/", "it is answered", |a| a.status == 200)
            .await?;
        check!(
            answer.cache() == "BYPASS",
            "no route yet, so it passes through the sidecar: {:?}",
            answer.headers
        );
        check!(
            answer.header("x-demo-pod") == app.pod().name,
            "{:?}",
            answer.headers
        );
        let live = get(app.pod().admin(), "/live").await?;
        check!(live.status == 200, "admin: {}", live.status);
        let state = get(app.pod().admin(), "/state").await?;
        check!(
            state.status != 200,
            "the state is for loopback only, but says {}",
            state.body
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn inject_leaves_a_hung_app_unready() {
    space::run("inject-probes", async |space| {
        let probe = json!({"httpGet": {"path": "/blog/hello", "port": "http"}, "periodSeconds": 1});
        let mut deployment = mk_app("web", 1);
        if let Some(spec) = deployment.spec.as_mut().and_then(|s| s.template.spec.as_mut()) {
            spec.containers[0].readiness_probe = Some(from_json(probe));
        }
        let app = space.app_of(deployment, mk_service("web")).await?;
        // The page is stored, so the sidecar could answer the probe; it is not asked.
        space.route(&mk_blog_route("web", 3600), 1).await?;
        app.pod()
            .get_until("/blog/hello", "it is stored", |a| a.cache() == "HIT")
            .await?;
        app.pod()
            .behave(json!({"path": "/blog/hello", "status": 503}))
            .await?;
        let pod = app.pod().name.clone();
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions
                .into_iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
        };
        space
            .wait(&pod, "it is not ready, because its app is not", |p: &Pod| {
                !is_ready(p)
            })
            .await?;
        app.pod().behave(well("/blog/hello")).await?;
        space.wait(&pod, "it is ready again", is_ready).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn inject_heeds_the_pods_own_word() {
    space::run("inject-optout", async |space| {
        let out = json!({"spec": {"template": {"metadata": {"labels": {label::INJECT: "disabled"}}}}});
        let app = space
            .app_of(changed(&mk_app("out", 1), &out), mk_service("out"))
            .await?;
        let pod: Pod = space.api().get(&app.pod().name).await?;
        check!(!is_injected(&pod), "a pod that opted out has a sidecar");
        let answer = space
            .get_until(&app, "/", "it is answered", |a| a.status == 200)
            .await?;
        check!(answer.cache().is_empty(), "{:?}", answer.headers);
        Ok(())
    })
    .await;
    let plain = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    space::run_with("inject-optin", plain, async |space| {
        let app = space.app("plain", 1).await?;
        let pod: Pod = space.api().get(&app.pod().name).await?;
        check!(
            !is_injected(&pod),
            "a pod of a namespace that is not opted in has a sidecar"
        );
        let on = json!({"spec": {"template": {"metadata": {"labels": {label::INJECT: "enabled"}}}}});
        let app = space
            .app_of(changed(&mk_app("in", 1), &on), mk_service("in"))
            .await?;
        let pod: Pod = space.api().get(&app.pod().name).await?;
        check!(is_injected(&pod), "a pod that opted in itself has no sidecar");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn inject_says_in_an_event_why_a_pod_has_no_port() {
    space::run("inject-noport", async |space| {
        let mut deployment = mk_app("mute", 1);
        if let Some(spec) = deployment.spec.as_mut().and_then(|s| s.template.spec.as_mut()) {
            spec.containers[0].ports = None;
            spec.containers[0].readiness_probe = None;
        }
        let app = space.app_of(deployment, mk_service("mute")).await?;
        let pod: Pod = space.api().get(&app.pod().name).await?;
        check!(!is_injected(&pod), "there is no port to take over");
        let event = event(&space, "NoPort").await?;
        check!(event.type_.as_deref() == Some("Warning"), "{event:?}");
        check!(
            event.note.as_deref().is_some_and(|note| note.len() > 20),
            "{event:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn inject_condition_counts_pods_that_run_without_a_sidecar() {
    let plain = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    space::run_with("inject-missing", plain, async |space| {
        space.app("web", 2).await?;
        space.create(&mk_blog_route("web", 60)).await?;
        let route = route_with(&space, "web", condition::INJECTED, "False").await?;
        let status = route.status.unwrap_or_default();
        let injected = status.condition(condition::INJECTED).cloned().unwrap();
        check!(
            injected.reason == "SidecarMissing" && injected.message.contains('2'),
            "{injected:?}"
        );
        check!(
            injected.message.contains("rollout restart"),
            "no remedy: {injected:?}"
        );
        check!(
            status.is_true(condition::READY),
            "Injected never holds up Ready: {status:?}"
        );

        // The remedy works.
        let namespaces: Api<Namespace> = Api::all(space.client.clone());
        let labels = json!({"metadata": {"labels": opted_in()}});
        namespaces
            .patch(&space.name, &PatchParams::default(), &Patch::Merge(&labels))
            .await?;
        space.api::<Deployment>().restart("web").await?;
        let app = space.running("web").await?;
        space.route_ready("web", 2).await?;
        route_with(&space, "web", condition::INJECTED, "True").await?;
        let first = space.get_until(&app, "/blog/hello", "it is cached", |a| {
            a.cache() == "MISS" || a.cache() == "HIT"
        });
        first.await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn inject_condition_names_a_service_that_bypasses_the_sidecars() {
    space::run("inject-routed", async |space| {
        let mut service = mk_service("web");
        if let Some(spec) = service.spec.as_mut() {
            spec.ports = Some(vec![from_json(
                json!({"name": "http", "port": 80, "targetPort": 3000}),
            )]);
        }
        space.app_of(mk_app("web", 1), service).await?;
        space.create(&mk_blog_route("web", 60)).await?;
        let route = route_with(&space, "web", condition::TRAFFIC_ROUTED, "False").await?;
        let routed = route
            .status
            .as_ref()
            .and_then(|s| s.condition(condition::TRAFFIC_ROUTED))
            .cloned()
            .unwrap();
        check!(
            routed.reason == "Bypassed" && routed.message.contains("\"web\""),
            "{routed:?}"
        );
        check!(routed.message.contains("targetPort"), "no remedy: {routed:?}");
        let patch = json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
        space
            .merge::<k8s_openapi::api::core::v1::Service>("web", patch)
            .await?;
        route_with(&space, "web", condition::TRAFFIC_ROUTED, "True").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn inject_survives_restarts_of_pods() {
    space::run("inject-restart", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 60), 1).await?;
        let former = app.pod().clone();
        space
            .api::<Pod>()
            .delete(&former.name, &DeleteParams::default())
            .await?;
        let app = space.running("web").await?;
        check!(app.pod().name != former.name, "the pod was replaced");
        let pod: Pod = space.api().get(&app.pod().name).await?;
        check!(is_injected(&pod), "{} has no sidecar", pod.name_any());
        let first = app
            .pod()
            .get_until("/blog/hello", "the new sidecar knows the route", |a| {
                a.cache() == "MISS"
            });
        first.await?;
        let second = app.pod().get("/blog/hello").await?;
        check!(second.cache() == "HIT", "{:?}", second.headers);
        Ok(())
    })
    .await;
}
