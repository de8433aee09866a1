//! Bad days: the operator away, sidecars killed, apps that fail, callers who are not who they should be.

// Tests may panic, and nobody minds the size of their futures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures)]

use anyhow::Result;
use coppice_api::{
    RevalidationRequest, RevalidationRequestSpec,
    names::{TOKEN_AUDIENCE, condition, label, object},
    status::Conditions as _,
};
use coppice_tests::{
    app::{Replica, replica, well},
    build::{from_json, mk_app, mk_blog_route, mk_request, mk_service},
    check, node, operator,
    space::{self, Space, eventually},
    stream::{self, Attached, PERMISSION_DENIED, UNAUTHENTICATED},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, api::DeleteParams};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

/// The operator is everybody's: tests that stop it, and those that need it, take turns within this family.
static OPERATOR: Mutex<()> = Mutex::const_new(());

async fn turn() -> MutexGuard<'static, ()> {
    OPERATOR.lock().await
}

async fn acknowledged(space: &Space, name: &str) -> Result<RevalidationRequest> {
    space
        .wait(name, "Acknowledged is True", |r: &RevalidationRequest| {
            r.status
                .as_ref()
                .is_some_and(|s| s.is_true(condition::ACKNOWLEDGED))
        })
        .await
}

#[tokio::test]
async fn disrupt_operator_away_harms_no_visitor_and_loses_no_purge() {
    let _turn = turn().await;
    space::run("disrupt-operator", async |space| {
        let app = space.app("web", 2).await?;
        space.route(&mk_blog_route("web", 3600), 2).await?;
        let mut old = Vec::new();
        for pod in &app.pods {
            pod.get("/blog/hello").await?;
            pod.get("/").await?;
            old.push(
                pod.get_until("/blog/hello", "it is stored", |a| a.cache() == "HIT")
                    .await?,
            );
        }
        operator::stop(&space.client).await?;
        let away = async {
            for (pod, old) in app.pods.iter().zip(&old) {
                let answer = pod.get("/blog/hello").await?;
                check!(
                    answer.cache() == "HIT" && answer.rendering() == old.rendering(),
                    "{:?}",
                    answer.headers
                );
                let other = pod.get("/blog/coppicing").await?;
                check!(
                    other.status == 200 && matches!(other.cache(), "MISS" | "HIT"),
                    "{:?}",
                    other.headers
                );
            }
            let by_tag = RevalidationRequestSpec {
                tags: vec!["post:hello".to_owned()],
                ..RevalidationRequestSpec::default()
            };
            space.create(&mk_request("meanwhile", "web", by_tag)).await?;
            for (pod, old) in app.pods.iter().zip(&old) {
                let answer = pod.get("/blog/hello").await?;
                check!(
                    answer.cache() == "HIT" && answer.rendering() == old.rendering(),
                    "{:?}",
                    answer.headers
                );
            }
            Ok(())
        }
        .await;
        operator::start(&space.client).await?;
        away?;
        let request = acknowledged(&space, "meanwhile").await?;
        let summary = request.status.and_then(|s| s.sidecars).map(|s| s.summary);
        check!(summary.as_deref() == Some("2/2"), "{summary:?}");
        for (pod, old) in app.pods.iter().zip(&old) {
            pod.get_until("/blog/hello", "the purge has arrived", |a| {
                a.rendering() != old.rendering()
            })
            .await?;
            // What no purge matched is as fresh as before the restart.
            let home = pod.get("/").await?;
            check!(home.cache() == "HIT", "{:?}", home.headers);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn disrupt_operator_restart_makes_nothing_stale_and_repeats_no_purge() {
    let _turn = turn().await;
    space::run("disrupt-restart", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        let pod = app.pod();
        pod.get("/blog/hello").await?;
        let by_tag = RevalidationRequestSpec {
            tags: vec!["post:hello".to_owned()],
            ..RevalidationRequestSpec::default()
        };
        space.create(&mk_request("before", "web", by_tag)).await?;
        let ready = |r: &RevalidationRequest| r.status.as_ref().is_some_and(|s| s.is_true(condition::READY));
        let before = space.wait("before", "Ready is True", ready).await?;
        let page = pod
            .get_until("/blog/hello", "it is stored", |a| a.cache() == "HIT")
            .await?;
        let rendered = pod.renders("/blog/hello").await?;

        operator::stop(&space.client).await?;
        operator::start(&space.client).await?;
        // The sidecar is back on its stream once it acknowledges something that it can only have heard there.
        let other = RevalidationRequestSpec {
            tags: vec!["post:other".to_owned()],
            ..RevalidationRequestSpec::default()
        };
        space.create(&mk_request("after", "web", other)).await?;
        let after = space.wait("after", "Ready is True", ready).await?;
        let summary = after
            .status
            .as_ref()
            .and_then(|s| s.sidecars.clone())
            .map(|s| s.summary);
        check!(summary.as_deref() == Some("1/1"), "{summary:?}");
        let answer = pod.get("/blog/hello").await?;
        check!(
            answer.cache() == "HIT" && answer.rendering() == page.rendering(),
            "{:?}",
            answer.headers
        );
        check!(
            pod.renders("/blog/hello").await? == rendered,
            "the page was regenerated for no reason"
        );
        let again: RevalidationRequest = space.api().get("before").await?;
        let (then, now) = (
            before.status.and_then(|s| s.sequence),
            again.status.and_then(|s| s.sequence),
        );
        check!(
            then == now,
            "a finished purge was repeated: {then:?}, then {now:?}"
        );
        check!(after.status.and_then(|s| s.sequence) > now, "sequences rise");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn disrupt_killed_sidecar_comes_back_empty_and_serves() {
    let _turn = turn().await;
    space::run("disrupt-sidecar", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        let pod = app.pod();
        pod.get("/blog/hello").await?;
        pod.get_until("/blog/hello", "it is stored", |a| a.cache() == "HIT")
            .await?;
        node::kill(&space, &pod.name, object::SIDECAR_CONTAINER).await?;
        space
            .wait(&pod.name, "its sidecar was restarted and runs", |p: &Pod| {
                let statuses = p
                    .status
                    .iter()
                    .flat_map(|s| s.init_container_statuses.iter().flatten());
                statuses.into_iter().any(|c| {
                    c.name == object::SIDECAR_CONTAINER
                        && c.restart_count > 0
                        && c.state.as_ref().is_some_and(|s| s.running.is_some())
                })
            })
            .await?;
        let first = pod
            .get_until("/blog/hello", "it is answered", |a| a.status == 200)
            .await?;
        check!(
            matches!(first.cache(), "BYPASS" | "MISS"),
            "it starts empty: {:?}",
            first.headers
        );
        pod.get_until("/blog/hello", "the route is known again", |a| a.cache() == "HIT")
            .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn disrupt_app_that_hangs_closes_or_is_not_up() {
    let _turn = turn().await;
    space::run("disrupt-app", async |space| {
        let app = space.app("web", 1).await?;
        let mut route = mk_blog_route("web", 3600);
        route.spec.origin = Some(from_json(json!({"timeout": "1s"})));
        space.route(&route, 1).await?;
        let pod = app.pod();
        // No answer within origin.timeout: 504, which says so, and nothing is stored.
        pod.behave(json!({"path": "/blog/hello", "hang": true})).await?;
        let late = pod.get("/blog/hello").await?;
        check!(
            late.status == 504 && late.body.contains("app"),
            "{} {}",
            late.status,
            late.body
        );
        // Closed before an answer: 502.
        pod.behave(json!({"path": "/blog/hello", "closeAfter": 0}))
            .await?;
        let closed = pod.get("/blog/hello").await?;
        check!(closed.status == 502, "{} {}", closed.status, closed.body);
        // Broken off in the middle: the visitor sees that it is not whole.
        pod.behave(json!({"path": "/blog/hello", "closeAfter": 20}))
            .await?;
        let broken = pod.get("/blog/hello").await;
        check!(
            broken.as_ref().map_or(true, |a| a.status == 502),
            "it ended as if it were whole: {broken:?}"
        );
        pod.behave(well("/blog/hello")).await?;
        let page = pod
            .get_until("/blog/hello", "the app is well again", |a| a.status == 200)
            .await?;
        check!(
            page.cache() == "MISS",
            "nothing of this was stored: {:?}",
            page.headers
        );

        // An app that is not up yet: the sidecar runs, and says that there is nobody behind it.
        let mut deployment = mk_app("late", 1);
        if let Some(spec) = deployment.spec.as_mut().and_then(|s| s.template.spec.as_mut()) {
            spec.containers[0].env = Some(vec![from_json(json!({"name": "PORT", "value": "3999"}))]);
            spec.containers[0].readiness_probe = None;
        }
        let late = space.app_of(deployment, mk_service("late")).await?;
        let answer = late.pod().get("/blog/hello").await?;
        check!(
            answer.status == 502 && answer.body.contains("app"),
            "{} {}",
            answer.status,
            answer.body
        );
        Ok(())
    })
    .await;
}

/// A bare pod of the demonstration app.
fn mk_pod(name: &str, inject: &str) -> Pod {
    let template = mk_app(name, 1).spec.unwrap().template;
    let mut pod = Pod {
        spec: template.spec,
        ..Pod::default()
    };
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.labels = Some(
        [
            ("app".to_owned(), name.to_owned()),
            (label::INJECT.to_owned(), inject.to_owned()),
        ]
        .into(),
    );
    pod
}

async fn pod(space: &Space, name: &str, inject: &str) -> Result<Replica> {
    space.create(&mk_pod(name, inject)).await?;
    let pod = space
        .wait(name, "it runs", |p: &Pod| {
            p.status
                .as_ref()
                .is_some_and(|s| s.phase.as_deref() == Some("Running") && s.pod_ip.is_some())
        })
        .await?;
    replica(&pod)
}

async fn end(space: &Space, pod: &Replica) -> Result<()> {
    let at_once = DeleteParams::default().grace_period(0);
    space.api::<Pod>().delete(&pod.name, &at_once).await?;
    eventually(&format!("pod {} is gone", pod.name), || async {
        match space.api::<Pod>().get_opt(&pod.name).await {
            Ok(None) => Ok(()),
            Ok(Some(there)) if there.uid().as_deref() != Some(pod.uid.as_str()) => Ok(()),
            Ok(Some(there)) => Err(format!("{:?}", there.metadata.deletion_timestamp)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

#[tokio::test]
async fn disrupt_stream_is_refused_to_whoever_is_no_sidecar() {
    let _turn = turn().await;
    space::run("disrupt-token", async |space| {
        operator::ready(&space.client).await?;
        let good = pod(&space, "good", "enabled").await?;
        let plain = pod(&space, "plain", "disabled").await?;
        let gone = pod(&space, "gone", "enabled").await?;

        // The way in works for a sidecar's own token, so that what follows is about the token alone.
        let token = stream::good_token(&space, &good).await?;
        eventually("the token of an injected pod is let in", || async {
            match stream::attach(&space, Some(&token)).await {
                Ok(Attached::Open) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;

        let refused = |what: &'static str, attached: Attached| {
            let fine = matches!(attached, Attached::Refused(UNAUTHENTICATED | PERMISSION_DENIED));
            check!(fine, "{what}: {attached:?}");
            Ok(())
        };
        refused("no token", stream::attach(&space, None).await?)?;
        refused("nonsense", stream::attach(&space, Some("nonsense")).await?)?;
        let wrong = stream::token(&space, Some(&good), "https://kubernetes.default.svc").await?;
        refused("wrong audience", stream::attach(&space, Some(&wrong)).await?)?;
        let unbound = stream::token(&space, None, TOKEN_AUDIENCE).await?;
        refused("bound to no pod", stream::attach(&space, Some(&unbound)).await?)?;
        let token = stream::good_token(&space, &plain).await?;
        refused(
            "a pod without a sidecar",
            stream::attach(&space, Some(&token)).await?,
        )?;

        let token = stream::good_token(&space, &gone).await?;
        end(&space, &gone).await?;
        refused("a pod that is gone", stream::attach(&space, Some(&token)).await?)?;
        let next = pod(&space, "gone", "enabled").await?;
        check!(next.uid != gone.uid, "a pod of the same name is another pod");
        refused(
            "a pod with another uid",
            stream::attach(&space, Some(&token)).await?,
        )?;
        Ok(())
    })
    .await;
}
