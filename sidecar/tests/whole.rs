//! The whole sidecar between an operator and an app: a route, visits, purges, and the end.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use coppice_cache::ledger::{Line, Selector, Strategy};
use coppice_sidecar::{Sidecar, serve::Limits};
use coppice_wire::{
    convert::lines_to_pb,
    pb::{self, from_operator::Message as Say, from_sidecar::Message as Said},
};
use support::{
    Running, app, ask, get,
    operator::{self, Attached, Operator},
    run, settings, until,
};

fn config(paths: &[&str]) -> pb::Config {
    let named = |(position, path): (usize, &&str)| (format!("route-{position}"), (*path).to_owned());
    operator::config(paths.iter().enumerate().map(named))
}

/// An app whose every answer has a number, until it goes away.
struct App {
    address: String,
    answers: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
}

async fn numbered() -> App {
    let (answers, gone) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let (count, away) = (answers.clone(), gone.clone());
    let address = app(move |mut peer| {
        let (count, away) = (count.clone(), away.clone());
        async move {
            while peer.head_or_end().await.is_some() && !away.load(Ordering::SeqCst) {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let body = format!("answer {number}.");
                let length = body.len();
                peer.say(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{body}"
                ))
                .await;
            }
        }
    })
    .await;
    App {
        address,
        answers,
        gone,
    }
}

async fn attached(app: &App, paths: &[&str]) -> (Running, Operator, Attached) {
    let mut operator = Operator::start().await;
    let mut settings = settings(app.address.clone());
    settings.control = Some(operator.settings());
    settings.admin = Some("127.0.0.1:0".parse().unwrap());
    settings.drain = Duration::from_secs(10);
    let limits = Limits {
        reconnect: Duration::from_millis(50),
        ..Limits::default()
    };
    let sidecar = run(Sidecar::bind_with(settings, limits).unwrap());
    let mut stream = operator.attached().await;
    configure(&mut stream, paths).await;
    (sidecar, operator, stream)
}

async fn configure(stream: &mut Attached, paths: &[&str]) {
    stream.say(Say::Config(config(paths))).await;
    match stream.hear().await {
        Said::ConfigAck(_) => {}
        other => panic!("no acknowledgement: {other:?}"),
    }
}

async fn purge(stream: &mut Attached, sequence: u64, strategy: Strategy) -> pb::SweepReport {
    let line = Line {
        sequence,
        selector: Selector {
            tags: vec!["all".into()],
            ..Selector::default()
        },
        strategy,
    };
    stream
        .say(Say::Lines(lines_to_pb([&line], sequence, 0).remove(0)))
        .await;
    assert_eq!(
        stream.hear().await,
        Said::LinesAck(pb::LinesAck { head: sequence })
    );
    stream.report().await
}

/// The outcome, and the number of the answer.
async fn visit(sidecar: &Running, path: &str) -> String {
    let answer = get(sidecar.address, path).await;
    let outcome = answer
        .split("x-coppice-cache: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let number = answer
        .split("answer ")
        .nth(1)
        .and_then(|rest| rest.split('.').next());
    format!("{} {}", outcome.unwrap_or(&answer), number.unwrap_or("-"))
}

#[tokio::test]
async fn a_page_is_fetched_once_and_purged_by_a_line() {
    let app = numbered().await;
    let (sidecar, _operator, mut stream) = attached(&app, &["/[slug]"]).await;
    assert_eq!(visit(&sidecar, "/a").await, "MISS 1");
    until("it is stored", || async {
        visit(&sidecar, "/a").await == "HIT 1"
    })
    .await;
    assert_eq!(visit(&sidecar, "/not/matched").await, "BYPASS 2");

    let report = purge(&mut stream, 10, Strategy::Delete).await;
    assert_eq!((report.sequence, report.matched), (10, 1));
    assert_eq!(visit(&sidecar, "/a").await, "MISS 3");
    until("it is stored", || async {
        visit(&sidecar, "/a").await == "HIT 3"
    })
    .await;

    // A page that was visited a moment ago is regenerated before the report is final.
    let report = purge(&mut stream, 11, Strategy::Refresh).await;
    assert_eq!((report.matched, report.regenerated, report.failed), (1, 1, 0));
    assert_eq!(visit(&sidecar, "/a").await, "HIT 4");

    let report = purge(&mut stream, 12, Strategy::Expire).await;
    assert_eq!(report.matched, 1);
    assert_eq!(visit(&sidecar, "/a").await, "REVALIDATED 5");
    assert_eq!(app.answers.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn pages_of_a_route_that_leaves_are_gone_before_it_is_acknowledged() {
    let app = numbered().await;
    let (sidecar, _operator, mut stream) = attached(&app, &["/a", "/b"]).await;
    visit(&sidecar, "/a").await;
    visit(&sidecar, "/b").await;
    until("both are stored", || async {
        visit(&sidecar, "/a").await == "HIT 1" && visit(&sidecar, "/b").await == "HIT 2"
    })
    .await;
    configure(&mut stream, &["/a"]).await;
    let state = look(&sidecar, "/state").await;
    assert!(state.contains("\"pageCount\": 1"), "{state}");
    assert_eq!(visit(&sidecar, "/a").await, "HIT 1");
    assert_eq!(visit(&sidecar, "/b").await, "BYPASS 3");
    configure(&mut stream, &["/a", "/b"]).await;
    assert_eq!(visit(&sidecar, "/b").await, "MISS 4");
}

#[tokio::test]
async fn what_is_stored_outlives_operator_and_app() {
    let app = numbered().await;
    let (sidecar, operator, stream) = attached(&app, &["/[slug]"]).await;
    visit(&sidecar, "/a").await;
    until("it is stored", || async {
        visit(&sidecar, "/a").await == "HIT 1"
    })
    .await;
    drop((operator, stream));
    app.gone.store(true, Ordering::SeqCst);
    assert_eq!(visit(&sidecar, "/a").await, "HIT 1");
    let down = get(sidecar.address, "/b").await;
    assert!(
        down.starts_with("HTTP/1.1 502") && down.contains("The app did not answer"),
        "{down}"
    );

    // Leaving, it serves what it has; what it does not have is the pod's end, not a bad gateway.
    sidecar.told.cancel();
    until("it says that it leaves", || async {
        get(sidecar.address, "/b").await.starts_with("HTTP/1.1 503")
    })
    .await;
    assert_eq!(visit(&sidecar, "/a").await, "HIT 1");
    sidecar.run.abort();
}

#[tokio::test]
async fn a_reset_drops_all_pages() {
    let app = numbered().await;
    let (sidecar, _operator, mut stream) = attached(&app, &["/[slug]"]).await;
    visit(&sidecar, "/a").await;
    until("it is stored", || async {
        visit(&sidecar, "/a").await == "HIT 1"
    })
    .await;
    stream.say(Say::Reset(pb::Reset {})).await;
    purge(&mut stream, 3, Strategy::Refresh).await;
    assert_eq!(visit(&sidecar, "/a").await, "MISS 2");
}

/// What the admin address shows to who asks it by a name of its own.
async fn look(sidecar: &Running, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    ask(sidecar.admin.unwrap(), &request).await
}

#[tokio::test]
async fn the_page_for_people_lists_pages_and_purges() {
    let app = numbered().await;
    let (sidecar, _operator, mut stream) = attached(&app, &["/[slug]"]).await;
    visit(&sidecar, "/%3Cb%3E").await;
    until("it is stored", || async {
        visit(&sidecar, "/%3Cb%3E").await == "HIT 1"
    })
    .await;
    purge(&mut stream, 9, Strategy::Expire).await;
    let page = look(&sidecar, "/").await;
    for there in [
        "http://a.test/%3Cb%3E",
        "route-0/pages",
        ">9</th>",
        "<code>tag all</code>",
        ">REVALIDATED</span>",
    ] {
        assert!(page.contains(there), "{there} not in {page}");
    }
    assert!(!page.contains("answer 1"), "a body shows: {page}");
}
