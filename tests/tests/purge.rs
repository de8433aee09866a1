//! Purges: on every replica, counted truthfully, once for each change.

// Tests may panic, and nobody minds the size of their futures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures)]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use coppice_api::{
    IsrRoute, RevalidationRequest, RevalidationRequestSpec, Strategy,
    names::{annotation, condition},
    status::Conditions as _,
};
use coppice_tests::{
    app::{App, Replica, well},
    build::{mk_blog_route, mk_request},
    check,
    space::{self, Space, eventually},
    visit::Answer,
};
use kube::api::ListParams;
use serde_json::json;

fn by_path(path: &str) -> RevalidationRequestSpec {
    RevalidationRequestSpec {
        paths: vec![path.to_owned()],
        ..RevalidationRequestSpec::default()
    }
}

fn by_tag(tag: &str) -> RevalidationRequestSpec {
    RevalidationRequestSpec {
        tags: vec![tag.to_owned()],
        ..RevalidationRequestSpec::default()
    }
}

fn holds(request: &RevalidationRequest, kind: &str) -> bool {
    request.status.as_ref().is_some_and(|status| {
        status.observed_generation == request.metadata.generation && status.is_true(kind)
    })
}

async fn acknowledged(space: &Space, name: &str) -> Result<RevalidationRequest> {
    space
        .wait(name, "Acknowledged is True", |r: &RevalidationRequest| {
            holds(r, condition::ACKNOWLEDGED)
        })
        .await
}

async fn ready(space: &Space, name: &str) -> Result<RevalidationRequest> {
    space
        .wait(
            name,
            "Acknowledged and Ready are True",
            |r: &RevalidationRequest| holds(r, condition::ACKNOWLEDGED) && holds(r, condition::READY),
        )
        .await
}

/// Every replica has this page stored; returns what each serves.
async fn stored(app: &App, path: &str) -> Result<Vec<Answer>> {
    let mut pages = Vec::new();
    for pod in &app.pods {
        pages.push(
            pod.get_until(path, "it is stored", |a| a.cache() == "HIT")
                .await?,
        );
    }
    Ok(pages)
}

async fn new_page(pod: &Replica, path: &str, old: &Answer) -> Result<Answer> {
    pod.get_until(path, "the new page is served", |a| {
        a.rendering() != old.rendering() && a.status == 200
    })
    .await
}

/// Checks `acknowledged/targeted` and the number of matched pages.
fn counted(request: &RevalidationRequest, summary: &str, matched: i64) -> Result<()> {
    let status = request.status.as_ref().context("no status")?;
    let sidecars = status.sidecars.as_ref().context("no sidecars")?;
    let pages = status.pages.as_ref().context("no pages")?;
    check!(sidecars.summary == summary, "{sidecars:?}");
    check!(
        pages.matched == matched && pages.failed == 0,
        "{pages:?} instead of {matched}"
    );
    check!(
        status.sequence.is_some() && status.start_time.is_some() && status.completion_time.is_some(),
        "{status:?}"
    );
    Ok(())
}

#[tokio::test]
async fn purge_reaches_every_replica_by_path_pattern_tag_and_everything() {
    space::run("purge-reach", async |space| {
        let app = space.app("web", 3).await?;
        space.route(&mk_blog_route("web", 3600), 3).await?;
        let pattern = RevalidationRequestSpec {
            patterns: vec!["/blog/[[...rest]]".to_owned()],
            ..RevalidationRequestSpec::default()
        };
        let everything = RevalidationRequestSpec { everything: true, ..RevalidationRequestSpec::default() };
        // Two pages on each replica: /blog/hello is hit by all four, / by the last one only.
        for (name, spec, matched) in [
            ("path", by_path("/blog/hello"), 3),
            ("pattern", pattern, 3),
            ("tag", by_tag("post:hello"), 3),
            ("everything", everything, 6),
        ] {
            let posts = stored(&app, "/blog/hello").await?;
            let homes = stored(&app, "/").await?;
            let start = Instant::now();
            space.create(&mk_request(name, "web", spec)).await?;
            let created = start.elapsed();
            acknowledged(&space, name).await?;
            let done = start.elapsed();
            println!("purge by {name}: created in {created:.0?}, 3/3 acknowledged and seen {done:.0?} after kubectl would have sent it");
            let request = ready(&space, name).await?;
            counted(&request, "3/3", matched).with_context(|| name.to_owned())?;
            for (pod, old) in app.pods.iter().zip(&posts) {
                new_page(pod, "/blog/hello", old).await.with_context(|| name.to_owned())?;
            }
            for (pod, old) in app.pods.iter().zip(&homes) {
                if matched == 6 {
                    new_page(pod, "/", old).await?;
                } else {
                    let home = pod.get("/").await?;
                    check!(home.cache() == "HIT" && home.rendering() == old.rendering(), "{name} purged /: {:?}", home.headers);
                }
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn purge_with_refresh_regenerates_hot_pages_by_itself() {
    space::run("purge-refresh", async |space| {
        let app = space.app("web", 2).await?;
        space.route(&mk_blog_route("web", 3600), 2).await?;
        stored(&app, "/blog/hello").await?;
        for pod in &app.pods {
            pod.edit("hello", "Edited for all").await?;
        }
        space
            .create(&mk_request("refresh", "web", by_tag("post:hello")))
            .await?;
        let request = ready(&space, "refresh").await?;
        let pages = request.status.and_then(|s| s.pages).unwrap_or_default();
        check!(pages.regenerated == 2, "visited a moment ago, so hot: {pages:?}");
        for pod in &app.pods {
            // Ready says that the pages are new: no visit is needed to make them so.
            let answer = pod.get("/blog/hello").await?;
            check!(
                answer.cache() == "HIT" && answer.body.contains("Edited for all"),
                "{:?}",
                answer.headers
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn purge_strategies_differ_in_what_the_next_visitor_gets() {
    space::run("purge-strategy", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        let pod = app.pod();
        let old = stored(&app, "/blog/hello").await?.remove(0);
        let strategy = |name: &str, strategy: Strategy| {
            mk_request(
                name,
                "web",
                RevalidationRequestSpec {
                    strategy,
                    ..by_path("/blog/hello")
                },
            )
        };

        // Expire: waits for the new page; the old one where the app fails.
        space.create(&strategy("expire", Strategy::Expire)).await?;
        acknowledged(&space, "expire").await?;
        let answer = pod.get("/blog/hello").await?;
        check!(
            answer.cache() == "REVALIDATED" && answer.rendering() != old.rendering(),
            "{:?}",
            answer.headers
        );
        pod.behave(json!({"path": "/blog/hello", "status": 503})).await?;
        space.create(&strategy("expire-fail", Strategy::Expire)).await?;
        acknowledged(&space, "expire-fail").await?;
        let kept = pod.get("/blog/hello").await?;
        check!(
            kept.status == 200 && kept.cache() == "STALE",
            "{} {:?}",
            kept.status,
            kept.headers
        );
        check!(
            kept.rendering() == answer.rendering(),
            "the old page: {:?}",
            kept.headers
        );

        // Delete: the app's error, because the old page no longer exists.
        space.create(&strategy("delete-fail", Strategy::Delete)).await?;
        acknowledged(&space, "delete-fail").await?;
        let gone = pod.get("/blog/hello").await?;
        check!(gone.status == 503, "{} {:?}", gone.status, gone.headers);
        pod.behave(well("/blog/hello")).await?;
        let page = pod
            .get_until("/blog/hello", "the app is well again", |a| a.status == 200)
            .await?;
        check!(page.cache() == "MISS", "{:?}", page.headers);
        space.create(&strategy("delete", Strategy::Delete)).await?;
        acknowledged(&space, "delete").await?;
        let answer = pod.get("/blog/hello").await?;
        check!(
            answer.cache() == "MISS" && answer.rendering() != page.rendering(),
            "{:?}",
            answer.headers
        );

        // Refresh: the old page while the app is slow to make the new one.
        pod.behave(json!({"path": "/blog/hello", "hang": true})).await?;
        space.create(&strategy("refresh", Strategy::Refresh)).await?;
        let request = acknowledged(&space, "refresh").await?;
        check!(
            !holds(&request, condition::READY),
            "the hot page cannot be new yet: {:?}",
            request.status
        );
        let stale = pod.get("/blog/hello").await?;
        check!(
            stale.cache() == "STALE" && stale.rendering() == answer.rendering(),
            "{:?}",
            stale.headers
        );
        pod.behave(well("/blog/hello")).await?;
        ready(&space, "refresh").await?;
        let fresh = pod.get("/blog/hello").await?;
        check!(
            fresh.cache() == "HIT" && fresh.rendering() != answer.rendering(),
            "{:?}",
            fresh.headers
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn purge_happens_once_for_each_change_of_what_is_selected() {
    space::run("purge-identity", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        let old = stored(&app, "/blog/hello").await?.remove(0);
        space
            .create(&mk_request("again", "web", by_tag("post:hello")))
            .await?;
        let first = ready(&space, "again").await?.status.and_then(|s| s.sequence);
        let new = new_page(app.pod(), "/blog/hello", &old).await?;

        // Neither applying it unchanged nor another deadline is a purge.
        space
            .merge::<RevalidationRequest>("again", json!({"metadata": {"labels": {"touched": "yes"}}}))
            .await?;
        space
            .merge::<RevalidationRequest>("again", json!({"spec": {"deadline": "9m"}}))
            .await?;
        let same = ready(&space, "again").await?.status.and_then(|s| s.sequence);
        check!(same == first, "{first:?} became {same:?}");
        let answer = app.pod().get("/blog/hello").await?;
        check!(
            answer.cache() == "HIT" && answer.rendering() == new.rendering(),
            "{:?}",
            answer.headers
        );

        // Another nonce is one.
        space
            .merge::<RevalidationRequest>("again", json!({"spec": {"nonce": "2"}}))
            .await?;
        let second = ready(&space, "again").await?.status.and_then(|s| s.sequence);
        check!(second > first, "{first:?}, then {second:?}");
        new_page(app.pod(), "/blog/hello", &new).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn purge_overtakes_a_page_that_is_being_rendered() {
    space::run("purge-midflight", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        let pod = app.pod().clone();
        // The app has begun to render the old text, and the visitor waits.
        pod.behave(json!({"path": "/blog/hello", "stallAfter": 20, "body": "the outdated page, rendered before the edit"})).await?;
        let slow = tokio::spawn({
            let pod = pod.clone();
            async move { pod.get("/blog/hello").await }
        });
        eventually("the app renders", || async {
            match pod.renders("/blog/hello").await {
                Ok(n) if n > 0 => Ok(()),
                other => Err(other.ok()),
            }
        })
        .await?;
        space.create(&mk_request("edit", "web", by_path("/blog/hello"))).await?;
        acknowledged(&space, "edit").await?;
        pod.behave(well("/blog/hello")).await?;
        // Whoever comes after the acknowledgement gets a page that was asked for after it.
        let answer = pod.get("/blog/hello").await?;
        check!(answer.status == 200 && !answer.body.contains("outdated"), "{} {}", answer.status, answer.body);
        let _ = slow.await;
        let answer = pod.get("/blog/hello").await?;
        check!(!answer.body.contains("outdated"), "the overtaken page was stored: {:?}", answer.headers);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn purge_of_a_route_that_does_not_exist_is_not_accepted() {
    space::run("purge-noroute", async |space| {
        space.create(&mk_request("lost", "nowhere", by_tag("a"))).await?;
        let request: RevalidationRequest = space
            .wait("lost", "Accepted is False", |r: &RevalidationRequest| {
                r.status
                    .as_ref()
                    .and_then(|s| s.condition(condition::ACCEPTED))
                    .is_some_and(|c| c.status == "False" && c.reason == "RouteNotFound")
            })
            .await?;
        let status = request.status.unwrap_or_default();
        check!(status.sequence.is_none(), "nothing was purged: {status:?}");
        let accepted = status.condition(condition::ACCEPTED).cloned().unwrap();
        check!(accepted.message.contains("nowhere"), "{accepted:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn purge_without_pods_is_done_at_once() {
    space::run("purge-nopods", async |space| {
        space.create(&mk_blog_route("nobody", 60)).await?;
        space.create(&mk_request("none", "nobody", by_tag("a"))).await?;
        let request = ready(&space, "none").await?;
        let acknowledged = request
            .status
            .as_ref()
            .and_then(|s| s.condition(condition::ACKNOWLEDGED))
            .cloned()
            .unwrap();
        check!(acknowledged.reason == "NoPods", "{acknowledged:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn purge_by_the_annotation_on_the_route() {
    space::run("purge-annotation", async |space| {
        let app = space.app("web", 1).await?;
        space.route(&mk_blog_route("web", 3600), 1).await?;
        let old = stored(&app, "/blog/hello").await?.remove(0);
        let patch = json!({"metadata": {"annotations": {annotation::REQUESTED_AT: "2026-01-01T00:00:00Z"}}});
        space.merge::<IsrRoute>("web", patch).await?;
        space
            .wait("web", "the annotation is handled", |r: &IsrRoute| {
                r.status
                    .as_ref()
                    .and_then(|s| s.last_handled_requested_at.as_deref())
                    == Some("2026-01-01T00:00:00Z")
            })
            .await?;
        new_page(app.pod(), "/blog/hello", &old).await?;
        let made = space
            .api::<RevalidationRequest>()
            .list(&ListParams::default())
            .await?;
        check!(made.items.len() == 1, "{} requests", made.items.len());
        let owners = made.items[0]
            .metadata
            .owner_references
            .clone()
            .unwrap_or_default();
        check!(
            owners.iter().any(|o| o.kind == "IsrRoute" && o.name == "web"),
            "{owners:?}"
        );
        Ok(())
    })
    .await;
}

/// The promise is 300 ms for a thousand sidecars; on a busy test machine three may take a little longer, but not much.
#[tokio::test]
async fn purge_is_acknowledged_by_three_of_three_soon() {
    space::run("purge-latency", async |space| {
        let app = space.app("web", 3).await?;
        space.route(&mk_blog_route("web", 3600), 3).await?;
        stored(&app, "/blog/hello").await?;
        let mut times = Vec::new();
        for round in 0..10 {
            let name = format!("round-{round}");
            let start = Instant::now();
            space
                .create(&mk_request(&name, "web", by_tag("post:hello")))
                .await?;
            let request = acknowledged(&space, &name).await?;
            times.push(start.elapsed());
            let summary = request.status.and_then(|s| s.sidecars).map(|s| s.summary);
            check!(summary.as_deref() == Some("3/3"), "{summary:?}");
        }
        times.sort();
        println!(
            "purge latency: from create to 3/3 acknowledged: median {:.0?}, worst {:.0?} of 10",
            times[5], times[9]
        );
        check!(times[5] < Duration::from_secs(2), "{times:?}");
        Ok(())
    })
    .await;
}
