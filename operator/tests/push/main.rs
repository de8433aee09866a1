//! The stream as a sidecar sees it: a raw client on an in-memory connection, so that time can be paused.

// What the tests share stands outside of their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod delivery;
mod streams;

use std::time::Duration;

use coppice_api::{IsrRoute, RevalidationRequest, status::Conditions as _};
use coppice_operator::{
    ObjectName, State,
    index::{Phase, Pod, Selecting},
    purge::Commit,
    push::{self, Authenticator, Identity},
};
use coppice_wire::{
    PROTOCOL,
    pb::{
        Config, ConfigAck, FromOperator, FromSidecar, Hello, Lines, control_client::ControlClient,
        from_operator::Message as Said, from_sidecar::Message as Say,
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
