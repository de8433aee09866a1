//! Configurations and lines that are sent, and what comes back.

use coppice_api::{names::condition, status::Conditions as _};
use coppice_operator::{ObjectName, purge::MAX_AHEAD_MS};
use coppice_wire::pb::{
    ConfigNack, Lines, LinesAck, SweepReport, from_operator::Message as Said, from_sidecar::Message as Say,
};
use serde_json::json;
use tonic::Code;

use crate::{Operator, mk_route, now};

fn sequences(lines: &Lines) -> Vec<u64> {
    lines.lines.iter().map(|line| line.sequence).collect()
}

#[tokio::test]
async fn push_sends_what_is_missing_and_each_change() {
    let operator = Operator::warm();
    let mut sidecar = operator.attach("web-1", "", 0).await;
    let first = sidecar.take_config().await;
    assert_eq!(first.routes[0].name, "blog");
    operator
        .until("ready", |status| status.is_true(condition::READY))
        .await;

    operator
        .state
        .apply_route(&mk_route("blog", 2, &json!({"suspend": true})), now());
    let second = sidecar.take_config().await;
    assert_ne!(first.version, second.version);
    operator
        .until("ready again", |status| status.is_true(condition::READY))
        .await;

    let mut again = operator.attach("web-1", &second.version, 0).await;
    operator
        .until("applied", |status| {
            status.sidecars.as_ref().is_some_and(|counts| counts.applied == 1)
        })
        .await;
    // Nothing is missing: the next that it hears is the next change.
    operator
        .state
        .apply_route(&mk_route("blog", 3, &json!({})), now());
    assert_eq!(
        again.take_config().await.version,
        first.version,
        "the same content, the same version"
    );
}

#[tokio::test]
async fn push_does_not_repeat_what_was_refused() {
    let operator = Operator::warm();
    let mut sidecar = operator.attach("web-1", "", 0).await;
    let refused = sidecar.config().await;
    sidecar
        .say(Say::ConfigNack(ConfigNack {
            version: refused.version.clone(),
            reason: "cannot".to_owned(),
        }))
        .await;
    operator
        .until("rejected", |status| {
            status
                .condition(condition::PROGRAMMED)
                .is_some_and(|condition| condition.reason == "Rejected")
        })
        .await;
    operator
        .state
        .apply_route(&mk_route("blog", 2, &json!({"suspend": true})), now());
    assert_ne!(sidecar.take_config().await.version, refused.version);
    operator
        .until("ready", |status| status.is_true(condition::READY))
        .await;
}

#[tokio::test]
async fn push_carries_a_purge_there_and_its_progress_back() {
    let operator = Operator::warm();
    let mut sidecar = operator.attach("web-1", "", 0).await;
    sidecar.take_config().await;
    let sequence = operator.purge("r", "post:1");
    let lines = sidecar.lines().await;
    assert_eq!(
        (sequences(&lines), lines.head, lines.floor),
        (vec![sequence], sequence, 0)
    );
    sidecar.say(Say::LinesAck(LinesAck { head: lines.head })).await;
    operator.until_request("r", condition::ACKNOWLEDGED).await;
    sidecar
        .say(Say::SweepReport(SweepReport {
            sequence,
            matched: 3,
            regenerated: 2,
            failed: 1,
            finished: true,
            origin_cached: 1,
        }))
        .await;
    operator.until_request("r", condition::READY).await;
    let status = operator
        .state
        .request_status(&ObjectName::new("shop", "r"), None, now())
        .unwrap();
    let ready = (status.conditions.iter()).find(|condition| condition.type_ == condition::READY);
    let ready = ready.unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("True", "OriginCacheNotBypassed")
    );
    assert!(
        ready.message.contains("for 1 page out of a cache of its own"),
        "{}",
        ready.message
    );
    let pages = status.pages.unwrap();
    assert_eq!((pages.matched, pages.regenerated, pages.failed), (3, 2, 1));
}

#[tokio::test]
async fn push_sends_lines_since_the_head_and_before_the_configuration() {
    let operator = Operator::warm();
    let sent: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| operator.purge(name, name))
        .collect();
    let mut fresh = operator.attach("web-1", "", 0).await;
    assert_eq!(sequences(&fresh.lines().await), sent);
    fresh.config().await;
    let mut behind = operator.attach("web-1", "", sent[0]).await;
    assert_eq!(sequences(&behind.lines().await), sent[1..]);
    let mut current = operator.attach("web-1", "", sent[2]).await;
    current.config().await;
    operator.until_request("c", condition::ACKNOWLEDGED).await;
}

#[tokio::test]
async fn push_lets_a_sidecar_with_an_impossible_head_start_empty() {
    let operator = Operator::warm();
    let sequence = operator.purge("r", "post:1");
    let ahead = sequence + 2 * MAX_AHEAD_MS;
    let mut sidecar = operator.attach("web-1", "", ahead).await;
    assert!(matches!(sidecar.next().await.unwrap(), Said::Reset(_)));
    assert_eq!(sequences(&sidecar.lines().await), [sequence]);
    sidecar.say(Say::LinesAck(LinesAck { head: sequence })).await;
    operator.until_request("r", condition::ACKNOWLEDGED).await;
}

#[tokio::test]
async fn push_resets_who_seems_to_hold_a_line_that_it_never_got() {
    let operator = Operator::warm();
    let commit = operator.plan("r", "post:1");
    // While the line is written, a sidecar comes with a head that another operator's clock gave it.
    let mut sidecar = operator
        .attach("web-1", "", commit.line.sequence + MAX_AHEAD_MS / 2)
        .await;
    sidecar.take_config().await;
    operator
        .until("connected", |status| status.is_true(condition::READY))
        .await;
    operator.state.committed(&commit, now());
    assert!(matches!(sidecar.next().await.unwrap(), Said::Reset(_)));
    assert_eq!(sequences(&sidecar.lines().await), [commit.line.sequence]);
}

#[tokio::test]
async fn push_refuses_acknowledgements_of_lines_that_were_never_told() {
    let operator = Operator::warm();
    let mut sidecar = operator.attach("web-1", "", 0).await;
    sidecar.take_config().await;
    sidecar.say(Say::LinesAck(LinesAck { head: 1 })).await;
    assert_eq!(sidecar.end().await, Code::InvalidArgument);
}
