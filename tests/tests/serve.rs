//! What visitors get, through the Service of a real app, and what the route's status says of it.

// Tests may panic, and nobody minds the size of their futures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures)]

use anyhow::Result;
use coppice_api::{
    IsrRoute, Rule,
    names::condition,
    route::{Key, QueryKey, SecretKeyRef, Trigger},
    status::Conditions as _,
};
use coppice_tests::{
    app::well,
    build::{mk_blog_route, mk_route, mk_rule},
    check,
    space::{self, Space},
    visit::visit,
};
use serde_json::json;

/// Waits for the route's condition, for its present generation; returns its reason and message.
async fn reason(space: &Space, name: &str, kind: &str, status: &str) -> Result<(String, String)> {
    let route: IsrRoute = space
        .wait(name, &format!("{kind} is {status}"), |route: &IsrRoute| {
            route
                .status
                .as_ref()
                .and_then(|s| s.condition(kind))
                .is_some_and(|c| c.status == status && c.observed_generation == route.metadata.generation)
        })
        .await?;
    let condition = route
        .status
        .as_ref()
        .and_then(|s| s.condition(kind))
        .cloned()
        .unwrap();
    Ok((condition.reason, condition.message))
}

#[tokio::test]
async fn serve_caches_by_the_service_and_regenerates_by_interval() {
    space::run("serve-interval", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 2), 1).await?;
        let first = space
            .get_until(&app, "/blog/hello", "it is fetched", |a| a.cache() == "MISS")
            .await?;
        check!(first.status == 200, "{}", first.status);
        let second = visit(app.service, "/blog/hello").send().await?;
        check!(
            second.cache() == "HIT" && second.rendering() == first.rendering(),
            "{:?}",
            second.headers
        );
        check!(second.body == first.body, "a hit is the stored page");
        check!(
            second.header("cache-control") == "public, max-age=0, must-revalidate",
            "{:?}",
            second.headers
        );
        check!(
            second.header("cache-status").starts_with("coppice; hit"),
            "{:?}",
            second.headers
        );
        check!(!second.header("age").is_empty(), "{:?}", second.headers);

        // Past its interval: the old page at once, a new one behind it.
        let stale = app
            .pod()
            .get_until("/blog/hello", "it is stale", |a| a.cache() == "STALE")
            .await?;
        check!(stale.rendering() == first.rendering(), "{:?}", stale.headers);
        let fresh = app
            .pod()
            .get_until("/blog/hello", "the regenerated page is served", |a| {
                a.cache() == "HIT" && a.rendering() != first.rendering()
            })
            .await?;
        check!(fresh.status == 200, "{}", fresh.status);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn serve_applies_a_changed_interval_to_stored_pages() {
    space::run("serve-changed", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        let first = app.pod().get("/blog/hello").await?;
        check!(first.cache() == "MISS", "{:?}", first.headers);
        let mut route: IsrRoute = space.api().get("web").await?;
        for rule in &mut route.spec.rules {
            rule.revalidate = mk_rule(&[], 1).revalidate;
        }
        space
            .merge::<IsrRoute>("web", json!({"spec": {"rules": route.spec.rules}}))
            .await?;
        space.route_ready("web", 1).await?;
        app.pod()
            .get_until("/blog/hello", "it is stale by the new interval", |a| {
                a.cache() == "STALE"
            })
            .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn serve_keeps_the_page_when_the_app_fails() {
    space::run("serve-failure", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 1), 1).await?;
        let pod = app.pod();
        let page = pod.get("/blog/hello").await?;
        check!(page.cache() == "MISS", "{:?}", page.headers);
        for script in [
            json!({"path": "/blog/hello", "status": 500}),
            json!({"path": "/blog/hello", "closeAfter": 10}),
        ] {
            pod.behave(script.clone()).await?;
            let asked = pod.renders("/blog/hello").await?;
            // Visits within the back-off of a failure ask nothing of the app; one after it does.
            space::eventually("the app is asked again", || async {
                let answer = pod
                    .get("/blog/hello")
                    .await
                    .map_err(|error| format!("{error:#}"))?;
                match pod.renders("/blog/hello").await {
                    Ok(now) if now > asked => Ok(()),
                    now => Err(format!("{} after {asked} renderings: {now:?}", answer.cache())),
                }
            })
            .await?;
            let kept = pod.get("/blog/hello").await?;
            check!(
                kept.status == 200 && kept.body == page.body,
                "{script}: {} {:?}",
                kept.status,
                kept.headers
            );
            check!(kept.cache() == "STALE", "{:?}", kept.headers);
        }
        // What was never stored is the app's own error, shared and not kept.
        pod.behave(json!({"path": "/blog/coppicing", "status": 500}))
            .await?;
        let error = pod.get("/blog/coppicing").await?;
        check!(error.status == 500, "{}", error.status);
        pod.behave(well("/blog/hello")).await?;
        pod.get_until("/blog/hello", "a new page replaces it", |a| {
            a.rendering() != page.rendering()
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn serve_passes_through_while_suspended() {
    space::run("serve-suspend", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        check!(
            app.pod().get("/blog/hello").await?.cache() == "MISS",
            "the first visit fetches"
        );
        check!(
            app.pod().get("/blog/hello").await?.cache() == "HIT",
            "the second hits"
        );
        space
            .merge::<IsrRoute>("web", json!({"spec": {"suspend": true}}))
            .await?;
        space.route_ready("web", 1).await?;
        let answer = app.pod().get("/blog/hello").await?;
        check!(answer.cache() == "BYPASS", "{:?}", answer.headers);
        space
            .merge::<IsrRoute>("web", json!({"spec": {"suspend": false}}))
            .await?;
        space.route_ready("web", 1).await?;
        let answer = app.pod().get("/blog/hello").await?;
        check!(matches!(answer.cache(), "HIT" | "MISS"), "{:?}", answer.headers);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn serve_keys_by_the_query_that_counts() {
    space::run("serve-query", async |space| {
        let app = space.app("web", 1).await?;
        let allow = |names: Option<&[&str]>| Rule {
            key: Some(Key {
                query: Some(QueryKey {
                    allow: names.map(|n| n.iter().map(ToString::to_string).collect()),
                }),
                ..Key::default()
            }),
            ..mk_rule(&[], 3600)
        };
        let rules = vec![
            Rule {
                paths: vec!["/".to_owned()],
                ..allow(Some(&[]))
            },
            Rule {
                paths: vec!["/blog/[slug]".to_owned()],
                ..allow(Some(&["page"]))
            },
        ];
        space.route(&mk_route("web", rules), 1).await?;
        let outcome = async |target: &str| anyhow::Ok(app.pod().get(target).await?.cache().to_owned());
        for (target, wanted) in [
            ("/", "MISS"),
            ("/?a=1", "HIT"),
            ("/blog/hello?page=1", "MISS"),
            ("/blog/hello?page=2", "MISS"),
            ("/blog/hello?utm_source=x&page=1", "HIT"),
            ("/blog/hello", "MISS"),
            ("/blog/hello?page", "MISS"),
        ] {
            let seen = outcome(target).await?;
            check!(seen == wanted, "{target}: {seen}, not {wanted}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn serve_passes_bad_paths_and_headers_through() {
    space::run("serve-odd", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        for target in [
            "//blog/hello",
            "/blog/./hello",
            "/blog/%2e%2e/hello",
            "/blog/a%2fb",
            "/blog/a;b",
            "/blog/%ff",
        ] {
            for _ in 0..2 {
                let answer = app.pod().get(target).await?;
                check!(answer.cache() == "BYPASS", "{target}: {:?}", answer.headers);
            }
        }
        // A field that is not UTF-8 is no reason to fail, nor to store what depends on it.
        let odd = visit(app.pod().sidecar(), "/blog/hello")
            .header("x-odd", b"caf\xe9")
            .send()
            .await?;
        check!(
            odd.status == 200 && odd.cache() == "MISS",
            "{} {:?}",
            odd.status,
            odd.headers
        );
        let private = visit(app.pod().sidecar(), "/blog/hello")
            .header("authorization", b"Basic eDp5")
            .send()
            .await?;
        check!(private.cache() == "BYPASS", "{:?}", private.headers);
        // What the app forbids to store is never stored.
        app.pod()
            .behave(json!({"path": "/blog/coppicing", "headers": {"Set-Cookie": "a=b"}}))
            .await?;
        for _ in 0..3 {
            let answer = app.pod().get("/blog/coppicing").await?;
            check!(
                answer.cache() != "HIT" && answer.header("set-cookie") == "a=b",
                "{:?}",
                answer.headers
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn serve_gives_a_path_to_the_older_of_two_routes() {
    space::run("serve-conflict", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        let mut second = mk_route("web", vec![mk_rule(&["/blog/[id]"], 3600)]);
        second.metadata.name = Some("younger".to_owned());
        space.create(&second).await?;
        let (why, message) = reason(&space, "younger", condition::ACCEPTED, "False").await?;
        check!(why == "Conflicted", "{why}: {message}");
        check!(
            message.contains("web") && message.contains("/blog/["),
            "{message}"
        );
        let (why, _) = reason(&space, "web", condition::ACCEPTED, "True").await?;
        check!(why == "Accepted", "{why}");
        check!(
            app.pod().get("/blog/hello").await?.cache() == "MISS",
            "the older route is in force"
        );
        space
            .api::<IsrRoute>()
            .delete("web", &kube::api::DeleteParams::default())
            .await?;
        reason(&space, "younger", condition::ACCEPTED, "True").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn serve_is_ready_when_a_route_selects_nothing() {
    space::run("serve-nothing", async |space| {
        space.create(&mk_blog_route("nobody", 60)).await?;
        let (why, message) = reason(&space, "nobody", condition::READY, "True").await?;
        check!(why == "NoPods", "{why}: {message}");
        let route: IsrRoute = space.api().get("nobody").await?;
        check!(
            route
                .status
                .and_then(|s| s.sidecars)
                .is_some_and(|s| s.summary == "0/0"),
            "no sidecars to count"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn serve_names_a_field_that_is_not_supported_yet() {
    space::run("serve-unsupported", async |space| {
        let app = space.app("web", 1).await?;
        let mut route = mk_blog_route("web", 60);
        let secret = SecretKeyRef {
            name: "isr".to_owned(),
            key: "token".to_owned(),
        };
        route.spec.trigger = Some(Trigger {
            secret_refs: vec![secret],
        });
        space.create(&route).await?;
        let (why, message) = reason(&space, "web", condition::ACCEPTED, "False").await?;
        check!(
            why == "Unsupported" && message.contains("trigger"),
            "{why}: {message}"
        );
        let (why, _) = reason(&space, "web", condition::READY, "False").await?;
        check!(why == "Unsupported", "{why}");
        for _ in 0..2 {
            let answer = app.pod().get("/blog/hello").await?;
            check!(
                answer.cache() == "BYPASS",
                "such a route passes through: {:?}",
                answer.headers
            );
        }
        Ok(())
    })
    .await;
}
