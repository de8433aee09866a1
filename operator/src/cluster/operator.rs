//! The whole operator, put together: which task does what, and how it ends.

use std::{
    fmt::Debug,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use coppice_api::{IsrRoute, RevalidationRequest};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client, Resource, core::DynamicObject, discovery::ApiResource};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    admission::{self, Admission, Static},
    auth::Reviewer,
    brief,
    events::{self, Events},
    flags::Flags,
    listener,
    metrics::ClusterMetrics,
    pki::Pki,
    readiness::{Latch, Readiness},
    seen::Seen,
    sinks::{CoreSink, CustomSink, Taken},
    status::{Job, Pace, Writer},
    trust::Trust,
    version,
    watch::{self as watches, Sink},
    webhook::WebhookBundle,
};
use crate::{
    State,
    admin::{self, Admin},
    index::Selecting,
    push,
};

/// For everything that is in progress when the operator is told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Between two tries to ask the API server for its version.
const VERSION_RETRY: Duration = Duration::from_secs(2);
/// The operator counts as stuck when its clock has not ticked for this long.
const STUCK_AFTER_SECONDS: i64 = 60;
/// Kinds that are watched.
const KINDS: usize = 5;

/// What the tasks share.
struct Operator {
    flags: Flags,
    client: Client,
    state: State,
    metrics: Arc<ClusterMetrics>,
    routes: Arc<Seen<IsrRoute>>,
    requests: Arc<Seen<RevalidationRequest>>,
    readiness: Readiness,
    /// Watches that have not delivered their first list.
    unsynced: Arc<AtomicUsize>,
    jobs: mpsc::UnboundedSender<Job>,
    cancel: CancellationToken,
    tasks: JoinSet<&'static str>,
}

/// Runs until cancelled, or until a part of it ends that should not.
pub async fn run(flags: Flags, cancel: CancellationToken) -> anyhow::Result<()> {
    let config = kube::Config::infer()
        .await
        .context("failed to find the API server: no service account and no kubeconfig")?;
    let client = Client::try_from(config).context("failed to make a client of the API server")?;
    let (jobs, job_queue) = mpsc::unbounded_channel();
    let mut operator = Operator {
        flags,
        client,
        state: State::new(Selecting::Labels),
        metrics: Arc::default(),
        routes: Arc::default(),
        requests: Arc::default(),
        readiness: Readiness::default(),
        unsynced: Arc::new(AtomicUsize::new(KINDS)),
        jobs,
        cancel: cancel.clone(),
        tasks: JoinSet::new(),
    };
    operator.start(job_queue).await?;
    let ended = operator.wait().await;
    cancel.cancel();
    operator.stop().await;
    ended
}

impl Operator {
    async fn start(&mut self, jobs: mpsc::UnboundedReceiver<Job>) -> anyhow::Result<()> {
        let beat = self.clock();
        self.admin(beat)?;
        let events = self.events();
        let pki = Pki::new(self.client.clone(), &self.flags.namespace, self.flags.names());
        self.webhook(&pki, events.clone()).await?;
        self.streams(&pki).await?;
        self.trust(&pki);
        let cancel = self.cancel.clone();
        self.spawn("certificates", pki.run(cancel));
        self.watches();
        self.writer(jobs, events);
        Ok(())
    }

    /// Returns when the operator is told to stop, or with an error when a part of it has ended by itself.
    async fn wait(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            () = self.cancel.cancelled() => Ok(()),
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(_) if self.cancel.is_cancelled() => Ok(()),
                Ok(task) => bail!("{task} ended by itself"),
                Err(error) => Err(error).context("a part of the operator broke"),
            }
        }
    }

    async fn stop(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOP_LIMIT, all).await.is_err() {
            warn!("stopped although not everything had ended within {STOP_LIMIT:?}");
        }
    }

    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            name
        });
    }

    /// Lets time pass in the state, and shows that it does.
    fn clock(&mut self) -> Arc<AtomicI64> {
        let beat = Arc::new(AtomicI64::new(Timestamp::now().as_second()));
        let (state, cancel, shown) = (self.state.clone(), self.cancel.clone(), beat.clone());
        self.spawn("the clock", async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        let now = Timestamp::now();
                        state.tick(now);
                        shown.store(now.as_second(), Ordering::Relaxed);
                    }
                    () = cancel.cancelled() => return,
                }
            }
        });
        beat
    }

    fn admin(&self, beat: Arc<AtomicI64>) -> anyhow::Result<()> {
        let mut registry = Registry::default();
        self.state.metrics().register(&mut registry);
        self.metrics.register(&mut registry);
        let alive = move || Timestamp::now().as_second() - beat.load(Ordering::Relaxed) < STUCK_AFTER_SECONDS;
        let admin = Admin {
            readiness: self.readiness.clone(),
            registry,
            alive: Box::new(alive),
            state: Box::new(self.state_dump()),
        };
        let address = self.flags.admin_listen;
        let bound =
            admin::spawn(address, admin).with_context(|| format!("failed to listen on {address} (admin)"))?;
        info!(address = %bound, "admin listens");
        Ok(())
    }

    fn state_dump(&self) -> impl Fn() -> Value + Send + Sync + 'static {
        let (state, readiness) = (self.state.clone(), self.readiness.clone());
        let (routes, requests) = (self.routes.clone(), self.requests.clone());
        move || {
            let (sidecars, purges) = state.counts();
            json!({
                "release": env!("CARGO_PKG_VERSION"),
                "missing": readiness.missing(),
                "sidecars": { "connected": sidecars },
                "purges": { "open": purges },
                "routes": routes.summary(),
                "requests": requests.summary(),
            })
        }
    }

    fn events(&mut self) -> Events {
        let (events, warnings) = Events::channel();
        let (client, cancel) = (self.client.clone(), self.cancel.clone());
        self.spawn("Events", events::publish(client, warnings, cancel));
        events
    }

    async fn webhook(&mut self, pki: &Pki, events: Events) -> anyhow::Result<()> {
        let listener = bind(self.flags.webhook_listen, "webhook").await?;
        let config = pki.serving().server_config(&["h2", "http/1.1"]);
        let incoming = listener::incoming(listener, config, self.cancel.clone());
        let state = self.state.clone();
        let admission = Admission {
            fixed: Static {
                image: self.flags.sidecar_image.clone(),
                pull_policy: self.flags.sidecar_pull_policy.clone(),
                operator_url: self.flags.operator_url(),
                log: self.flags.sidecar_log.clone(),
            },
            bundle: pki.bundle(),
            native: self.version(),
            namespace_word: move |namespace: &str| state.inject_word(namespace),
            client: self.client.clone(),
            events,
            metrics: self.metrics.clone(),
        };
        let cancel = self.cancel.clone();
        self.spawn(
            "the webhook",
            admission::serve(incoming, Arc::new(admission), cancel),
        );
        let latch = self.readiness.latch("CA bundle in the webhook configuration");
        let configuration = WebhookBundle::new(self.client.clone(), self.flags.webhook_configuration.clone());
        let keep = configuration.run(pki.bundle(), latch, self.cancel.clone());
        self.spawn("the webhook's CA bundle", keep);
        Ok(())
    }

    /// Asks the API server once which Kubernetes it is.
    fn version(&mut self) -> watch::Receiver<Option<bool>> {
        let (sender, receiver) = watch::channel(None);
        let (client, cancel) = (self.client.clone(), self.cancel.clone());
        let latch = self.readiness.latch("version of the API server");
        self.spawn("the version", async move {
            loop {
                match client.apiserver_version().await {
                    Ok(info) => {
                        let native = version::has_native_sidecars(&info);
                        info!(
                            version = info.git_version,
                            native_sidecars = native,
                            "found the API server"
                        );
                        sender.send_replace(Some(native));
                        latch.release();
                        return cancel.cancelled().await;
                    }
                    Err(error) => warn!(
                        error = brief(&error),
                        "failed to ask the API server for its version"
                    ),
                }
                tokio::select! {
                    () = tokio::time::sleep(VERSION_RETRY) => {}
                    () = cancel.cancelled() => return,
                }
            }
        });
        receiver
    }

    async fn streams(&mut self, pki: &Pki) -> anyhow::Result<()> {
        let listener = bind(self.flags.stream_listen, "stream").await?;
        let config = pki.serving().server_config(&["h2"]);
        let incoming = listener::incoming(listener, config, self.cancel.clone());
        let reviewer = Reviewer::new(self.client.clone(), self.metrics.clone());
        let (state, cancel) = (self.state.clone(), self.cancel.clone());
        self.spawn("the stream listener", async move {
            if let Err(error) = push::serve(incoming, state, reviewer, cancel).await {
                warn!(%error, "the stream listener ended");
            }
        });
        Ok(())
    }

    fn trust(&mut self, pki: &Pki) {
        let state = self.state.clone();
        let trust = Trust::new(self.client.clone());
        let wanted = move || state.trusting_namespaces();
        let keep = trust.run(pki.bundle(), wanted, self.cancel.clone());
        self.spawn("the trust of namespaces", keep);
    }

    fn watches(&mut self) {
        let state = self.state.clone();
        self.watch_custom("IsrRoutes", self.routes.clone());
        self.watch_custom("RevalidationRequests", self.requests.clone());
        self.watch(
            "pods",
            Api::all(self.client.clone()),
            CoreSink::<core::Pod>::new(state.clone()),
        );
        self.watch(
            "Services",
            Api::all(self.client.clone()),
            CoreSink::<core::Service>::new(state.clone()),
        );
        self.watch(
            "namespaces",
            Api::all(self.client.clone()),
            CoreSink::<core::Namespace>::new(state),
        );
    }

    fn watch_custom<K: Taken>(&mut self, name: &'static str, seen: Arc<Seen<K>>) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&()));
        let sink = CustomSink {
            state: self.state.clone(),
            seen,
            jobs: self.jobs.clone(),
            metrics: self.metrics.clone(),
        };
        self.watch(name, api, sink);
    }

    fn watch<S>(&mut self, name: &'static str, api: Api<S::Object>, sink: S)
    where
        S: Sink + Send + Sync + 'static,
        S::Item: Send,
        S::Object: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let latch: Latch = self.readiness.latch(name);
        let (unsynced, state) = (self.unsynced.clone(), self.state.clone());
        let synced = move || {
            if unsynced.fetch_sub(1, Ordering::AcqRel) == 1 {
                state.set_synced(Timestamp::now());
            }
        };
        let watch = watches::run(
            api,
            sink,
            latch,
            synced,
            self.metrics.clone(),
            self.cancel.clone(),
        );
        self.spawn(name, watch);
    }

    fn writer(&mut self, jobs: mpsc::UnboundedReceiver<Job>, events: Events) {
        let writer = Writer {
            client: self.client.clone(),
            state: self.state.clone(),
            routes: self.routes.clone(),
            requests: self.requests.clone(),
            events,
            metrics: self.metrics.clone(),
            pace: Arc::new(Pace::default()),
        };
        let cancel = self.cancel.clone();
        self.spawn("the writer of statuses", writer.run(jobs, cancel));
    }
}

async fn bind(address: std::net::SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address} ({what})"))?;
    info!(address = %listener.local_addr()?, "{what} listens");
    Ok(listener)
}
