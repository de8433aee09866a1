//! The stream to the operator, over a real connection: what it says is in force before it is acknowledged, and its
//! absence is no concern of a visitor's.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::time::Duration;

use coppice_cache::ledger::{Line, Selector, Strategy};
use coppice_sidecar::{
    Sidecar,
    config::{Ca, ControlSettings, Token},
    control::Standing,
    serve::Limits,
};
use coppice_wire::{
    convert::lines_to_pb,
    pb::{self, from_operator::Message as Say, from_sidecar::Message as Said},
};
use support::{
    Running, answering, get, nobody,
    operator::{self, Operator, certificates},
    run, settings, soon,
};
use tokio::sync::watch;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn config(route: &str, path: &str) -> pb::Config {
    operator::config([(route, path.to_owned())])
}

fn lines(sequences: std::ops::RangeInclusive<u64>, strategy: Strategy) -> Say {
    let head = *sequences.end();
    let lines: Vec<Line> = sequences
        .map(|sequence| Line {
            sequence,
            selector: Selector {
                tags: vec!["all".into()],
                ..Selector::default()
            },
            strategy,
        })
        .collect();
    Say::Lines(lines_to_pb(&lines, head, 0).remove(0))
}

fn sidecar(app: String, control: ControlSettings) -> (Running, watch::Receiver<Standing>) {
    let mut settings = settings(app);
    settings.control = Some(control);
    settings.admin = Some("127.0.0.1:0".parse().unwrap());
    let limits = Limits {
        reconnect: Duration::from_millis(50),
        ..Limits::default()
    };
    let sidecar = Sidecar::bind_with(settings, limits).unwrap();
    let standing = sidecar.ready();
    (run(sidecar), standing)
}

async fn stands(standing: &mut watch::Receiver<Standing>, how: impl FnMut(&Standing) -> bool) -> Standing {
    soon(standing.wait_for(how)).await.unwrap().clone()
}

#[tokio::test]
async fn it_says_what_it_has_and_acknowledges_what_is_in_force() {
    let mut operator = Operator::start().await;
    let (sidecar, mut standing) = sidecar(answering(|_| OK.into()).await, operator.settings());
    let mut stream = operator.attached().await;
    assert_eq!(stream.bearer.as_deref(), Some("Bearer t0ken"));
    assert_eq!(stream.hello.protocol, 1);
    assert_eq!(
        (stream.hello.config_version.as_str(), stream.hello.ledger_head),
        ("", 0)
    );

    let first = config("shop", "/[slug]");
    let version = first.version.clone();
    stream.say(Say::Config(first)).await;
    assert_eq!(
        stream.hear().await,
        Said::ConfigAck(pb::ConfigAck {
            version: version.clone()
        })
    );
    let standing = stands(&mut standing, |standing| standing.config.is_some()).await;
    assert_eq!(standing.config, Some(version.clone()));
    let ready = get(sidecar.admin.unwrap(), "/ready").await;
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains(&version),
        "{ready}"
    );
}

#[tokio::test]
async fn a_bad_configuration_is_refused_as_a_whole_and_the_old_one_stays() {
    let mut operator = Operator::start().await;
    let (_sidecar, mut standing) = sidecar(nobody().await, operator.settings());
    let mut stream = operator.attached().await;
    let good = config("shop", "/[slug]");
    let version = good.version.clone();
    stream.say(Say::Config(good)).await;
    stream.hear().await;

    // One that the engine refuses, one that does not convert, one without a version.
    let mut unconverted = config("shop", "/a");
    unconverted.routes[0].origin = None;
    let mut unnamed = config("shop", "/a");
    unnamed.version.clear();
    for (bad, words) in [
        (config("blog", "no-slash"), "route blog, rule pages, paths[0]"),
        (unconverted, "route shop: origin is missing"),
        (unnamed, "has no version"),
    ] {
        let refused = bad.version.clone();
        stream.say(Say::Config(bad)).await;
        match stream.hear().await {
            Said::ConfigNack(nack) => {
                assert_eq!(nack.version, refused);
                assert!(nack.reason.contains(words), "{words} not in {}", nack.reason);
            }
            other => panic!("no refusal: {other:?}"),
        }
    }
    let now = stands(&mut standing, |standing| standing.refused.is_some()).await;
    assert_eq!(now.config.as_deref(), Some(version.as_str()));
    drop(stream);
    assert_eq!(operator.attached().await.hello.config_version, version);
}

#[tokio::test]
async fn lines_are_held_before_they_are_acknowledged_and_reports_are_said_again() {
    let mut operator = Operator::start().await;
    let (_sidecar, _) = sidecar(nobody().await, operator.settings());
    let mut stream = operator.attached().await;
    stream.say(lines(7..=9, Strategy::Refresh)).await;
    assert_eq!(stream.hear().await, Said::LinesAck(pb::LinesAck { head: 9 }));
    let mut swept: Vec<u64> = Vec::new();
    for _ in 0..3 {
        swept.push(stream.report().await.sequence);
    }
    swept.sort_unstable();
    assert_eq!(swept, [7, 8, 9]);

    // The stream ends; the next one says what there is, and how the sweeps went.
    drop(stream);
    let mut stream = operator.attached().await;
    assert_eq!(stream.hello.ledger_head, 9);
    for _ in 0..3 {
        assert!(swept.contains(&stream.report().await.sequence));
    }
    // Lines that it has are acknowledged once more, and change nothing.
    stream.say(lines(8..=10, Strategy::Refresh)).await;
    assert_eq!(stream.hear().await, Said::LinesAck(pb::LinesAck { head: 10 }));
    assert_eq!(stream.report().await.sequence, 10);
}

#[tokio::test]
async fn a_reset_makes_it_start_empty() {
    let mut operator = Operator::start().await;
    let (_sidecar, _) = sidecar(nobody().await, operator.settings());
    let mut stream = operator.attached().await;
    stream.say(lines(1000..=1000, Strategy::Delete)).await;
    assert_eq!(stream.hear().await, Said::LinesAck(pb::LinesAck { head: 1000 }));
    stream.report().await;
    stream.say(Say::Reset(pb::Reset {})).await;
    stream.say(lines(5..=5, Strategy::Delete)).await;
    assert_eq!(stream.hear().await, Said::LinesAck(pb::LinesAck { head: 5 }));
}

#[tokio::test]
async fn without_an_operator_visitors_notice_nothing() {
    let control = ControlSettings {
        url: format!("http://{}", nobody().await),
        token: None,
        ca: None,
    };
    let (sidecar, mut standing) = sidecar(answering(|_| OK.into()).await, control);
    let standing = stands(&mut standing, |standing| standing.error.is_some()).await;
    assert!(!standing.attached);
    let error = standing.error.unwrap().to_lowercase();
    assert!(error.contains("connection refused"), "{error}");
    let answer = get(sidecar.address, "/").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("x-coppice-cache: BYPASS"),
        "{answer}"
    );
    let ready = get(sidecar.admin.unwrap(), "/ready").await;
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("passes through"),
        "{ready}"
    );
}

#[tokio::test]
async fn a_renewed_token_is_read_at_the_next_connection() {
    let mut operator = Operator::with(None, Some("new")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let mut control = operator.settings();
    control.token = Some(Token::File(file.clone()));
    let (_sidecar, mut standing) = sidecar(nobody().await, control);
    let refused = stands(&mut standing, |standing| standing.error.is_some()).await;
    assert!(refused.error.unwrap().contains("that token is not known here"));
    std::fs::write(&file, "new\n").unwrap();
    assert_eq!(operator.attached().await.bearer.as_deref(), Some("Bearer new"));
    stands(&mut standing, |standing| {
        standing.attached && standing.error.is_none()
    })
    .await;
}

#[tokio::test]
async fn only_its_own_ca_is_trusted_and_the_file_goes_before_the_bundle() {
    let (ca, server) = certificates();
    let (other, _) = certificates();
    let mut operator = Operator::with(Some(server), None).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    let mut control = operator.settings();
    control.ca = Some(Ca {
        bundle: Some(other.clone()),
        file: Some(file.clone()),
    });
    // The file is not there yet, and the bundle names another CA.
    let (_sidecar, mut standing) = sidecar(nobody().await, control);
    let refused = stands(&mut standing, |standing| standing.error.is_some()).await;
    let words = refused.error.unwrap();
    assert!(words.contains("invalid peer certificate"), "{words}");
    // Two CAs of one name overlap while one replaces the other.
    std::fs::write(&file, format!("{other}\n{ca}")).unwrap();
    operator.attached().await;
}

#[tokio::test]
async fn nobody_is_trusted_without_a_certificate() {
    let control = ControlSettings {
        url: "https://127.0.0.1:1".into(),
        token: None,
        ca: Some(Ca::default()),
    };
    let (_sidecar, mut standing) = sidecar(nobody().await, control);
    let standing = stands(&mut standing, |standing| standing.error.is_some()).await;
    assert!(
        standing
            .error
            .unwrap()
            .contains("neither a CA file nor a CA bundle")
    );
}
