//! The listener, its probes and its guards.

use std::num::NonZeroU16;

use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::*;
use crate::{Sidecar, config::Settings, control::Standing};

const INSIDE: &str = "127.0.0.1";
const OUTSIDE: &str = "10.1.2.3";

fn admin(standing: Standing) -> Admin {
    let sidecar = Sidecar::bind(Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin: None,
        app: "<app>:80".into(),
        memory: 1 << 20,
        regenerations: NonZeroU16::MIN,
        drain: Duration::ZERO,
        control: None,
        dev: false,
        names_key: false,
        visits: None,
    });
    let view = View {
        site: sidecar.unwrap().site().clone(),
        standing: watch::channel(standing).1,
        sweeper: None,
        host: None,
    };
    let filter = Arc::new(Mutex::new("info".to_owned()));
    let set = filter.clone();
    let level = LogLevel::new(
        move || filter.lock().clone(),
        move |text| match text {
            "bad" => Err("no filter".into()),
            text => {
                *set.lock() = text.to_owned();
                Ok(())
            }
        },
    );
    Admin::new(view, Some(level))
}

async fn ask(admin: &Admin, peer: &str, method: Method, path: &str, body: &str) -> (u16, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Full::from(body.to_owned()));
    let response = admin.answer(peer.parse().unwrap(), request.unwrap()).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn paths_and_tags_are_for_the_pod_itself() {
    let admin = admin(Standing::default());
    for path in ["/", "/explain", "/state", "/log-level", "/page.css", "/page.js"] {
        assert_eq!(ask(&admin, OUTSIDE, Method::GET, path, "").await.0, 403, "{path}");
        assert_eq!(ask(&admin, INSIDE, Method::GET, path, "").await.0, 200, "{path}");
        assert_eq!(
            ask(&admin, "::ffff:127.0.0.1", Method::GET, path, "").await.0,
            200,
            "{path}"
        );
    }
    for path in ["/live", "/ready", "/metrics"] {
        assert_eq!(ask(&admin, OUTSIDE, Method::GET, path, "").await.0, 200, "{path}");
        assert_eq!(
            ask(&admin, OUTSIDE, Method::POST, path, "").await.0,
            405,
            "{path}"
        );
    }
    assert_eq!(ask(&admin, INSIDE, Method::GET, "/other", "").await.0, 404);
}

#[tokio::test]
async fn the_filter_changes_only_for_the_better() {
    let admin = admin(Standing::default());
    assert_eq!(
        ask(&admin, OUTSIDE, Method::PUT, "/log-level", "debug").await.0,
        403
    );
    assert_eq!(
        ask(&admin, INSIDE, Method::PUT, "/log-level", "bad").await,
        (400, "no filter\n".into())
    );
    assert_eq!(
        ask(&admin, INSIDE, Method::PUT, "/log-level", &"x".repeat(2000))
            .await
            .0,
        400
    );
    assert_eq!(
        ask(&admin, INSIDE, Method::GET, "/log-level", "").await.1,
        "info\n"
    );
    assert_eq!(
        ask(&admin, INSIDE, Method::PUT, "/log-level", "debug\n").await,
        (200, "debug\n".into())
    );
}

#[tokio::test]
async fn the_page_is_text_and_the_words_are_true() {
    let standing = Standing {
        configured: true,
        error: Some("<b>gone</b>".into()),
        config: Some("abc".into()),
        ..Standing::default()
    };
    let admin = admin(standing);
    let (_, page) = ask(&admin, INSIDE, Method::GET, "/", "").await;
    assert!(
        page.contains("&lt;b&gt;gone&lt;/b&gt;") && !page.contains("<b>"),
        "{page}"
    );
    assert!(page.contains("before <code>&lt;app&gt;:80</code>"), "{page}");
    let (_, ready) = ask(&admin, OUTSIDE, Method::GET, "/ready", "").await;
    assert_eq!(
        ready,
        "ready: cut off from the operator, going on with configuration abc\n"
    );
    let (_, state) = ask(&admin, INSIDE, Method::GET, "/state", "").await;
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["memory"]["budget"], 1 << 20);
    assert_eq!(state["operator"]["error"], "<b>gone</b>");
    admin.view.site.drain.leaving.reach();
    assert_eq!(
        ask(&admin, OUTSIDE, Method::GET, "/ready", "").await,
        (503, "leaving\n".into())
    );
}

#[tokio::test]
async fn metrics_have_every_outcome_from_the_start() {
    let admin = admin(Standing::default());
    let (_, metrics) = ask(&admin, OUTSIDE, Method::GET, "/metrics", "").await;
    for outcome in ["HIT", "STALE", "MISS", "REVALIDATED", "BYPASS"] {
        let line = format!("coppice_requests_total{{outcome=\"{outcome}\"}} 0");
        assert!(metrics.contains(&line), "{line} not in {metrics}");
    }
    assert!(
        metrics.contains("coppice_memory_budget_bytes 1048576"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}
