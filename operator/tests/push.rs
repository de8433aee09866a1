//! The stream as a sidecar sees it: a raw client on an in-memory connection, so that time can be paused.

// What the tests share stands outside of their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use coppice_api::{IsrRoute, RevalidationRequest, names::condition, status::Conditions as _};
use coppice_operator::{
    ObjectName, State,
    index::{Phase, Pod, Selecting},
    purge::{Commit, MAX_AHEAD_MS},
    push::{self, Authenticator, Identity},
};
use coppice_wire::{
    PROTOCOL,
    pb::{
        Config, ConfigAck, ConfigNack, FromOperator, FromSidecar, Hello, Lines, LinesAck, SweepReport,
        control_client::ControlClient, from_operator::Message as Said, from_sidecar::Message as Say,
    },
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    io::DuplexStream,
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, Streaming, transport::Endpoint};

/// A token is `namespace/pod/uid`.
struct Talkative;

impl Authenticator for Talkative {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Identity, Status> {
        let parts: Vec<_> = bearer.unwrap_or_default().split('/').collect();
        match parts[..] {
            [namespace, pod, uid] => Ok(Identity {
                namespace: namespace.to_owned(),
                pod: pod.to_owned(),
                uid: uid.to_owned(),
            }),
            _ => Err(Status::unauthenticated("whose token is this?")),
        }
    }
}

/// An operator that serves streams.
struct Operator {
    state: State,
    connections: mpsc::Sender<Result<DuplexStream, std::io::Error>>,
    cancel: CancellationToken,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn mk_pod(name: &str) -> Pod {
    Pod {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        phase: Phase::Running,
        ..Pod::local("shop")
    }
}

fn mk_route(name: &str, generation: i64, spec: &Value) -> IsrRoute {
    let mut object = json!({
        "apiVersion": "coppice.dev/v1alpha1", "kind": "IsrRoute",
        "metadata": {"namespace": "shop", "name": name, "uid": name, "generation": generation},
        "spec": {"podSelector": {}, "rules": [{"paths": [format!("/{name}/[slug]")], "revalidate": 60}]},
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn mk_request(name: &str, tag: &str) -> RevalidationRequest {
    serde_json::from_value(json!({
        "apiVersion": "coppice.dev/v1alpha1", "kind": "RevalidationRequest",
        "metadata": {"namespace": "shop", "name": name, "uid": name, "generation": 1},
        "spec": {"tags": [tag]},
    }))
    .unwrap()
}

impl Operator {
    /// Not synced, without objects.
    fn cold() -> Self {
        let state = State::new(Selecting::Labels);
        let (connections, incoming) = mpsc::channel(8);
        let cancel = CancellationToken::new();
        let serving = push::serve(
            ReceiverStream::new(incoming),
            state.clone(),
            Talkative,
            cancel.clone(),
        );
        Self {
            state,
            connections,
            cancel,
            served: tokio::spawn(serving),
        }
    }

    /// Synced, with the route `blog` and the pod `web-1`.
    fn warm() -> Self {
        let operator = Self::cold();
        operator
            .state
            .apply_route(&mk_route("blog", 1, &json!({})), now());
        operator.state.apply_pod(mk_pod("web-1"), now());
        operator.state.reset_requests(&[], now());
        operator.state.set_synced(now());
        operator
    }

    fn plan(&self, request: &str, tag: &str) -> Commit {
        self.state.apply_request(&mk_request(request, tag), now());
        self.state
            .plan(&ObjectName::new("shop", request), None, now())
            .unwrap()
    }

    fn purge(&self, request: &str, tag: &str) -> u64 {
        let commit = self.plan(request, tag);
        self.state.committed(&commit, now());
        commit.line.sequence
    }

    async fn client(&self) -> ControlClient<tonic::transport::Channel> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        self.connections.send(Ok(theirs)).await.unwrap();
        let connection = std::sync::Arc::new(Mutex::new(Some(ours)));
        let connector = tower::service_fn(move |_| {
            let connection = connection.clone();
            async move {
                let once = connection.lock().await.take();
                once.map(TokioIo::new)
                    .ok_or_else(|| std::io::Error::other("connected once"))
            }
        });
        let channel = Endpoint::from_static("http://operator")
            .connect_with_connector(connector)
            .await
            .unwrap();
        ControlClient::new(channel).max_decoding_message_size(coppice_wire::convert::MAX_MESSAGE_BYTES)
    }

    /// Opens a stream with a token, saying nothing yet.
    async fn open(&self, token: &str) -> Result<Sidecar, Status> {
        let (say, saying) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(saying));
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        let hear = self.client().await.attach(request).await?.into_inner();
        Ok(Sidecar { say, hear })
    }

    /// Opens a stream of a pod of namespace `shop` and says what it has.
    async fn attach(&self, pod: &str, config_version: &str, ledger_head: u64) -> Sidecar {
        let mut sidecar = self.open(&format!("shop/{pod}/uid-{pod}")).await.unwrap();
        sidecar.hello(config_version, ledger_head).await;
        sidecar
    }

    /// Waits until a condition of the route `blog` holds.
    async fn until(&self, what: &str, holds: impl Fn(&coppice_api::IsrRouteStatus) -> bool) {
        let name = ObjectName::new("shop", "blog");
        let reached = async {
            while !(self.state.route_status(&name, None, now())).is_some_and(|status| holds(&status)) {
                self.state.changed().await;
                self.state.take_dirty();
            }
        };
        (timeout(Duration::from_secs(10), reached).await)
            .unwrap_or_else(|_| panic!("{what}: {:?}", self.state.route_status(&name, None, now())));
    }

    async fn until_request(&self, request: &str, kind: &str) {
        let name = ObjectName::new("shop", request);
        let reached = async {
            while !(self.state.request_status(&name, None, now())).is_some_and(|status| status.is_true(kind))
            {
                self.state.changed().await;
                self.state.take_dirty();
            }
        };
        (timeout(Duration::from_secs(10), reached).await)
            .unwrap_or_else(|_| panic!("{kind}: {:?}", self.state.request_status(&name, None, now())));
    }
}

struct Sidecar {
    say: mpsc::Sender<FromSidecar>,
    hear: Streaming<FromOperator>,
}

impl Sidecar {
    async fn say(&mut self, message: Say) {
        self.say
            .send(FromSidecar {
                message: Some(message),
            })
            .await
            .unwrap();
    }

    async fn hello(&mut self, config_version: &str, ledger_head: u64) {
        self.say(Say::Hello(Hello {
            protocol: PROTOCOL,
            config_version: config_version.to_owned(),
            ledger_head,
            release: "test".to_owned(),
        }))
        .await;
    }

    async fn next(&mut self) -> Result<Said, Status> {
        let message = timeout(Duration::from_secs(30), self.hear.message())
            .await
            .expect("nothing was said");
        Ok(message?.expect("the stream ended").message.unwrap())
    }

    async fn config(&mut self) -> Config {
        match self.next().await.unwrap() {
            Said::Config(config) => config,
            other => panic!("a configuration, not {other:?}"),
        }
    }

    async fn lines(&mut self) -> Lines {
        match self.next().await.unwrap() {
            Said::Lines(lines) => lines,
            other => panic!("lines, not {other:?}"),
        }
    }

    /// Takes the configuration that comes and acknowledges it.
    async fn take_config(&mut self) -> Config {
        let config = self.config().await;
        self.say(Say::ConfigAck(ConfigAck {
            version: config.version.clone(),
        }))
        .await;
        config
    }

    /// How the stream ends.
    async fn end(mut self) -> Code {
        loop {
            if let Err(status) = self.next().await {
                return status.code();
            }
        }
    }
}

fn sequences(lines: &Lines) -> Vec<u64> {
    lines.lines.iter().map(|line| line.sequence).collect()
}

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
