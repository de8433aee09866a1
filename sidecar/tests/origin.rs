//! What the sidecar asks the app without a visitor: the headers of regenerations, and pages before anybody wants them.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use coppice_cache::{
    config::{Config, Route, Secret},
    ledger::{Line, Selector, Strategy},
};
use coppice_sidecar::Sidecar;
use coppice_wire::{
    convert::{config_to_pb, lines_to_pb},
    pb::{self, from_operator::Message as Say, from_sidecar::Message as Said},
};
use rstest::rstest;
use support::{
    Running, ask,
    operator::{Attached, Operator},
    run, settings,
    stage::{self, App},
};
use tokio::io::AsyncReadExt;

const TOKEN: &str = "x-prerender-revalidate: t0ken\r\n";

/// An operator, a sidecar and an app, each in the test's hands.
struct Scene {
    app: App,
    sidecar: Running,
    stream: Attached,
    _operator: Operator,
}

/// A route for `a.test` whose pages stay until they are purged, and whose regenerations carry a token.
fn route(prerender: &[&str]) -> Route {
    let mut rule = stage::rule();
    rule.prerender = prerender.iter().map(|&entry| entry.to_owned()).collect();
    let mut route = stage::config(rule).routes.remove(0);
    route.hostnames = vec!["a.test".to_owned()];
    route.origin.headers = vec![("x-prerender-revalidate".to_owned(), Secret::new("t0ken"))];
    route
}

impl Scene {
    async fn with(route: Route) -> Self {
        let app = App::start().await;
        let mut operator = Operator::start().await;
        let mut settings = settings(&app.address);
        settings.control = Some(operator.settings());
        let sidecar = run(Sidecar::bind(settings).unwrap());
        let stream = operator.attached().await;
        let mut scene = Self {
            app,
            sidecar,
            stream,
            _operator: operator,
        };
        scene.configure(route).await;
        scene
    }

    async fn configure(&mut self, route: Route) {
        let config = config_to_pb(&Config { routes: vec![route] });
        self.stream.say(Say::Config(config)).await;
        let heard = self.stream.hear().await;
        assert!(matches!(heard, Said::ConfigAck(_)), "{heard:?}");
    }

    async fn purge(&mut self, sequence: u64, strategy: Strategy, path: &str) {
        let selector = Selector {
            paths: vec![path.to_owned()],
            ..Selector::default()
        };
        let line = Line {
            sequence,
            selector,
            strategy,
        };
        let lines = lines_to_pb([&line], sequence, 0).remove(0);
        self.stream.say(Say::Lines(lines)).await;
        let ack = Said::LinesAck(pb::LinesAck { head: sequence });
        assert_eq!(self.stream.hear().await, ack);
    }

    /// What a visitor gets, whole; what the app is asked meanwhile is the test's business.
    fn visit(&self, path: &str) -> tokio::task::JoinHandle<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let address = self.sidecar.address;
        tokio::spawn(async move { ask(address, &request).await })
    }

    async fn hit(&self, path: &str) {
        support::until("it is stored", || async {
            self.visit(path).await.unwrap().contains("x-coppice-cache: HIT")
        })
        .await;
    }
}

#[tokio::test]
async fn the_headers_of_origin_go_with_regenerations_alone() {
    let mut scene = Scene::with(route(&[])).await;
    let visit = scene.visit("/a");
    let cold = scene.app.asked().await;
    assert!(!cold.head.contains(TOKEN), "a visitor's own miss: {}", cold.head);
    cold.page("one").await;
    visit.await.unwrap();
    scene.hit("/a").await;

    scene.purge(1, Strategy::Refresh, "/a").await;
    let again = scene.app.asked().await;
    assert!(again.head.contains(TOKEN), "{}", again.head);
    again
        .answer("200 OK", "x-nextjs-cache: REVALIDATED\r\n", "two")
        .await;
    let report = scene.stream.report().await;
    assert_eq!(
        (report.regenerated, report.failed, report.origin_cached),
        (1, 0, 0)
    );

    scene.purge(2, Strategy::Delete, "/a").await;
    scene.stream.report().await;
    let visit = scene.visit("/a");
    let after = scene.app.asked().await;
    assert!(
        after.head.contains(TOKEN),
        "behind a purge, the app's old page is no answer: {}",
        after.head
    );
    after.page("three").await;
    assert!(visit.await.unwrap().contains("x-coppice-cache: MISS"));

    let visit = scene.visit("/b");
    let other = scene.app.asked().await;
    assert!(
        !other.head.contains(TOKEN),
        "nobody has purged it: {}",
        other.head
    );
    other.page("b").await;
    visit.await.unwrap();
}

/// The token is not that of the app's build. An outdated answer is asked for again before anybody is told.
#[rstest]
#[case("HIT", 1, 1)]
#[case("STALE", 4, 0)]
#[tokio::test(start_paused = true)]
async fn an_app_that_answers_out_of_its_own_cache_is_reported(
    #[case] word: &str,
    #[case] times: usize,
    #[case] regenerated: u64,
) {
    let mut scene = Scene::with(route(&[])).await;
    let visit = scene.visit("/a");
    scene.app.asked().await.page("one").await;
    visit.await.unwrap();
    scene.hit("/a").await;
    scene.purge(1, Strategy::Refresh, "/a").await;
    let said = format!("x-nextjs-cache: {word}\r\n");
    for _ in 0..times {
        let asked = scene.app.asked().await;
        assert!(asked.head.contains(TOKEN), "{}", asked.head);
        asked.answer("200 OK", &said, "one").await;
    }
    let report = scene.stream.report().await;
    assert_eq!(
        (report.matched, report.regenerated, report.origin_cached),
        (1, regenerated, 1)
    );
    assert!(scene.app.is_idle());
}

/// Next.js renders a page once for all who ask meanwhile, in whatever form, and calls REVALIDATED what it began before the
/// purge.
#[rstest]
#[case("/a", true)]
#[case("/a?_rsc=hash", true)]
#[case("/_next/data/build/a.json", true)]
#[case("/b", false)]
#[tokio::test]
async fn what_the_app_began_before_a_purge_is_not_taken_for_new(#[case] form: &str, #[case] again: bool) {
    let mut scene = Scene::with(route(&[])).await;
    let early = scene.visit("/a");
    let first = scene.app.asked().await;
    for (sequence, path) in [(1, "/a"), (2, "/b")] {
        scene.purge(sequence, Strategy::Expire, path).await;
        scene.stream.report().await;
    }
    let late = scene.visit(form);
    let second = scene.app.asked().await;
    assert!(second.head.contains(TOKEN), "{}", second.head);
    first.answer("200 OK", "x-nextjs-cache: MISS\r\n", "old").await;
    assert!(early.await.unwrap().ends_with("old"));
    let said = "x-nextjs-cache: REVALIDATED\r\n";
    if again {
        second.answer("200 OK", said, "old").await;
        let third = scene.app.asked().await;
        assert!(third.head.contains(TOKEN), "{}", third.head);
        third.answer("200 OK", said, "new").await;
    } else {
        second.answer("200 OK", said, "new").await;
    }
    let late = late.await.unwrap();
    assert!(late.ends_with("new"), "{late}");
    scene.hit(form).await;
    assert!(scene.app.is_idle());
}

/// With the page that its own cache holds Next.js begins to render another, which who asks later gets too.
#[tokio::test]
async fn what_the_app_began_behind_an_outdated_answer_is_not_taken_for_new() {
    let mut scene = Scene::with(route(&[])).await;
    let early = scene.visit("/a");
    let first = scene.app.asked().await;
    first.answer("200 OK", "x-nextjs-cache: STALE\r\n", "old").await;
    assert!(early.await.unwrap().ends_with("old"));
    scene.purge(1, Strategy::Delete, "/a").await;
    scene.stream.report().await;
    let late = scene.visit("/a");
    let said = "x-nextjs-cache: REVALIDATED\r\n";
    for body in ["old", "new"] {
        scene.app.asked().await.answer("200 OK", said, body).await;
    }
    assert!(late.await.unwrap().ends_with("new"));
    scene.hit("/a").await;
}

/// Nothing is stored yet and no line selects the page: a post alone has overtaken what the app is at work on.
#[tokio::test]
async fn what_the_app_began_before_a_post_is_not_taken_for_new() {
    let mut scene = Scene::with(route(&[])).await;
    let early = scene.visit("/a");
    let first = scene.app.asked().await;
    let address = scene.sidecar.address;
    let post = "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let posted = tokio::spawn(async move { ask(address, post).await });
    scene.app.asked().await.answer("200 OK", "", "posted").await;
    assert!(posted.await.unwrap().ends_with("posted"));
    let late = scene.visit("/a");
    let second = scene.app.asked().await;
    assert!(second.head.contains(TOKEN), "{}", second.head);
    first.answer("200 OK", "x-nextjs-cache: MISS\r\n", "old").await;
    assert!(early.await.unwrap().ends_with("old"));
    let said = "x-nextjs-cache: REVALIDATED\r\n";
    second.answer("200 OK", said, "old").await;
    scene.app.asked().await.answer("200 OK", said, "new").await;
    assert!(late.await.unwrap().ends_with("new"));
    scene.hit("/a").await;
}

#[tokio::test]
async fn pages_are_fetched_before_a_visitor_asks() {
    let mut scene = Scene::with(route(&["/p", "http://a.test/q?x=1"])).await;
    let mut targets = Vec::new();
    for _ in 0..2 {
        let asked = scene.app.asked().await;
        assert!(
            asked.head.contains("\r\nhost: a.test\r\n") && asked.head.contains(TOKEN),
            "{}",
            asked.head
        );
        targets.push(asked.head.split(' ').nth(1).unwrap().to_owned());
        asked.page("early").await;
    }
    targets.sort_unstable();
    assert_eq!(targets, ["/p", "/q?x=1"]);
    scene.hit("/p").await;
    scene.hit("/q?x=1").await;

    let mut changed = route(&["/p", "http://a.test/q?x=1", "/r"]);
    changed.rules[0].max_body_bytes += 1;
    scene.configure(changed).await;
    let asked = scene.app.asked().await;
    assert!(
        asked.head.starts_with("get /r "),
        "only what is new: {}",
        asked.head
    );
    asked.page("early").await;
    scene.hit("/r").await;
    assert!(scene.app.is_idle(), "none of them twice");
}

#[tokio::test]
async fn pages_are_fetched_when_their_rule_stores_them_and_anew_when_all_is_gone() {
    let mut suspended = route(&["/p"]);
    suspended.suspend = true;
    let mut scene = Scene::with(suspended).await;
    assert!(scene.app.is_idle());
    scene.configure(route(&["/p"])).await;
    scene.app.asked().await.page("early").await;
    scene.hit("/p").await;
    // Under other tags it is another page; under the same it is not.
    scene.configure(route(&["/p"])).await;
    assert!(scene.app.is_idle());
    scene.stream.say(Say::Reset(pb::Reset {})).await;
    scene.app.asked().await.page("again").await;
    scene.hit("/p").await;
}

#[tokio::test]
async fn an_app_that_is_not_up_is_asked_again() {
    let mut scene = Scene::with(route(&["/p"])).await;
    scene
        .app
        .asked()
        .await
        .answer("503 Service Unavailable", "", "starting")
        .await;
    scene.app.asked().await.page("up").await;
    scene.hit("/p").await;
}

#[tokio::test]
async fn a_page_that_is_not_one_to_store_is_not_asked_for_again() {
    let mut scene = Scene::with(route(&["/p", "/q"])).await;
    for _ in 0..2 {
        let asked = scene.app.asked().await;
        if asked.head.starts_with("get /p ") {
            asked
                .answer("200 OK", "cache-control: no-store\r\n", "mine")
                .await;
        } else {
            asked.page("early").await;
        }
    }
    scene.hit("/q").await;
    assert!(scene.app.is_idle());
}

/// It is within `maxBodyBytes`, and beyond what the store of 16 MiB can take.
#[tokio::test]
async fn a_page_that_is_too_large_for_the_store_is_refused_before_it_is_read() {
    let mut large = route(&["/p"]);
    large.rules[0].max_body_bytes = 100 << 20;
    let mut scene = Scene::with(large).await;
    let mut asked = scene.app.asked().await;
    asked
        .say("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
        .await;
    let left = support::soon(asked.stream.read(&mut [0])).await;
    assert!(!left.is_ok_and(|bytes| bytes > 0), "nobody reads it");
    let visit = scene.visit("/p");
    scene.app.asked().await.page("small").await;
    let passed = visit.await.unwrap();
    assert!(passed.contains("detail=too-large"), "{passed}");
}
