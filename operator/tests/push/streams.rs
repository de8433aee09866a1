//! Who gets a stream, and when it ends.

use std::time::Duration;

use coppice_api::{names::condition, status::Conditions as _};
use coppice_operator::{ObjectName, index::Pod};
use coppice_wire::pb::{Hello, LinesAck, from_sidecar::Message as Say};
use tokio::time::timeout;
use tonic::Code;

use crate::{Operator, mk_pod, now};

#[tokio::test]
async fn push_refuses_until_everything_is_known() {
    let operator = Operator::cold();
    let refused = operator.open("shop/web-1/uid-web-1").await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable);
    operator.state.apply_pod(mk_pod("web-1"), now());
    operator.state.reset_requests(&[], now());
    operator.state.set_synced(now());
    assert!(operator.open("shop/web-1/uid-web-1").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn push_knows_pods_by_their_token() {
    let operator = Operator::warm();
    operator.state.apply_pod(
        Pod {
            injected: false,
            ..mk_pod("plain")
        },
        now(),
    );
    for (token, code) in [
        ("nonsense", Code::Unauthenticated),
        ("shop/web-1/another-uid", Code::PermissionDenied),
        ("other/web-1/uid-web-1", Code::PermissionDenied),
        ("shop/nobody/uid-nobody", Code::PermissionDenied),
        ("shop/plain/uid-plain", Code::PermissionDenied),
    ] {
        assert_eq!(
            operator.open(token).await.err().map(|status| status.code()),
            Some(code),
            "{token}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn push_waits_for_a_pod_that_the_watch_has_not_brought_yet() {
    let operator = Operator::warm();
    let state = operator.state.clone();
    let (opened, ()) = tokio::join!(operator.open("shop/fast/uid-fast"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        state.apply_pod(mk_pod("fast"), now());
    });
    assert!(opened.is_ok());
}

#[tokio::test(start_paused = true)]
async fn push_wants_hello_first_and_soon() {
    let operator = Operator::warm();
    let mut rude = operator.open("shop/web-1/uid-web-1").await.unwrap();
    rude.say(Say::LinesAck(LinesAck { head: 0 })).await;
    assert_eq!(rude.end().await, Code::InvalidArgument);
    let silent = operator.open("shop/web-1/uid-web-1").await.unwrap();
    assert_eq!(silent.end().await, Code::DeadlineExceeded);
    let mut twice = operator.attach("web-1", "", 0).await;
    twice.hello("", 0).await;
    assert_eq!(twice.end().await, Code::InvalidArgument);
    let mut old = operator.open("shop/web-1/uid-web-1").await.unwrap();
    old.say(Say::Hello(Hello::default())).await;
    assert_eq!(old.end().await, Code::FailedPrecondition);
}

#[tokio::test]
async fn push_keeps_one_stream_per_pod_the_newer() {
    let operator = Operator::warm();
    let mut older = operator.attach("web-1", "", 0).await;
    older.config().await;
    let mut newer = operator.attach("web-1", "", 0).await;
    newer.take_config().await;
    assert_eq!(older.end().await, Code::Aborted);
    operator
        .until("ready", |status| status.is_true(condition::READY))
        .await;
    assert_eq!(operator.state.counts().0, 1);
}

#[tokio::test]
async fn push_ends_a_stream_when_its_pod_is_gone() {
    let operator = Operator::warm();
    let mut sidecar = operator.attach("web-1", "", 0).await;
    sidecar.take_config().await;
    operator
        .until("ready", |status| status.is_true(condition::READY))
        .await;
    operator.state.delete_pod("shop", "web-1", now());
    assert_eq!(sidecar.end().await, Code::PermissionDenied);
}

#[tokio::test]
async fn push_ends_every_stream_when_the_operator_stops() {
    let operator = Operator::warm();
    let mut sidecar = operator.attach("web-1", "", 0).await;
    sidecar.take_config().await;
    let greeted = operator.open("shop/web-1/uid-web-1").await.unwrap();
    operator.cancel.cancel();
    assert_eq!(sidecar.end().await, Code::Unavailable);
    assert_eq!(
        greeted.end().await,
        Code::Unavailable,
        "also one that has not said Hello"
    );
    timeout(Duration::from_secs(4), operator.served)
        .await
        .expect("no stream is left")
        .unwrap()
        .unwrap();
    assert_eq!(operator.state.counts().0, 0);
}

#[tokio::test]
async fn push_counts_a_stream_that_breaks_off_as_ended() {
    let operator = Operator::warm();
    let mut sidecar = operator.attach("web-1", "", 0).await;
    sidecar.take_config().await;
    operator
        .until("ready", |status| status.is_true(condition::READY))
        .await;
    drop(sidecar);
    timeout(Duration::from_secs(10), async {
        while operator.state.counts().0 > 0 {
            operator.state.changed().await;
            operator.state.take_dirty();
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn push_is_not_held_up_by_a_sidecar_that_does_not_read() {
    let operator = Operator::warm();
    operator.state.apply_pod(mk_pod("web-2"), now());
    let deaf = operator.attach("web-1", "", 0).await;
    let mut sidecar = operator.attach("web-2", "", 0).await;
    sidecar.take_config().await;
    timeout(Duration::from_secs(10), async {
        while operator.state.counts().0 < 2 {
            operator.state.changed().await;
            operator.state.take_dirty();
        }
    })
    .await
    .expect("both are connected");
    // Far more than the window and the buffers of one connection hold.
    let tag = "x".repeat(200);
    let mut last = 0;
    for number in 0..2000 {
        last = operator.purge(&format!("r{number}"), &format!("{tag}{number}"));
    }
    let mut heard = 0;
    while heard < 2000 {
        heard += sidecar.lines().await.lines.len();
    }
    sidecar.say(Say::LinesAck(LinesAck { head: last })).await;
    let name = ObjectName::new("shop", "r1999");
    timeout(Duration::from_secs(10), async {
        loop {
            let status = operator.state.request_status(&name, None, now()).unwrap();
            if status.sidecars.unwrap().summary == "1/2" {
                return;
            }
            operator.state.changed().await;
            operator.state.take_dirty();
        }
    })
    .await
    .unwrap();
    drop(deaf);
}
