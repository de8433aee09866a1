//! The operator of `coppice dev`: the real state and the real stream, over loopback, fed by files.
//!
//! ```text
//! Changes ──apply──► State ──push──► sidecar (gRPC on 127.0.0.1)
//!                      │ dirty
//!                      └──► statuses: purges are planned and committed, what changes is printed
//! ```
//!
//! A purge is durable here as soon as it is in memory: the cache that it concerns lives no longer.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use coppice_api::{
    IsrRoute, IsrRouteStatus, RevalidationRequest, RevalidationRequestStatus,
    names::{condition, reason::Reason},
    status::Conditions,
};
use coppice_operator::{
    Dirty, State,
    index::{Pod, Selecting},
    push::{self, Fixed, Identity},
    status::{self, table},
};
use coppice_sidecar::config::{ControlSettings, Token};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::MissedTickBehavior};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::{
    manifests::Changes,
    terminal::{Colour, Terminal},
};

/// Deadlines and grace times are looked at this often.
const TICK: Duration = Duration::from_secs(1);

/// The control plane.
#[derive(Debug)]
pub(super) struct Plane {
    state: State,
    namespace: String,
    objects: Arc<Mutex<Objects>>,
    url: String,
    token: String,
    /// True once the sidecar serves by every route that there is.
    in_force: watch::Sender<bool>,
    stop: CancellationToken,
    stream: JoinHandle<()>,
}

/// The objects and their statuses: what the API server would hold.
#[derive(Debug, Default)]
struct Objects {
    routes: BTreeMap<String, (IsrRoute, Option<IsrRouteStatus>)>,
    requests: BTreeMap<String, (RevalidationRequest, Option<RevalidationRequestStatus>)>,
    /// Requests that were there at the start and have not changed: nothing is said of them.
    adopted: BTreeSet<String>,
    /// Requests whose table has been begun, with the line that it is about.
    shown: BTreeMap<String, Option<i64>>,
}

impl Plane {
    /// Opens the stream's port and serves it. The objects of `first` are there from the start: its requests purge
    /// nothing, for the cache is empty.
    pub(super) async fn start(namespace: &str, first: Changes) -> io::Result<Self> {
        let now = Timestamp::now();
        let state = State::new(Selecting::Everything);
        let mut objects = Objects::default();
        let pod = Pod::local(namespace);
        let identity = Identity {
            namespace: namespace.to_owned(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
        };
        state.apply_namespace(namespace, BTreeMap::new(), now);
        state.apply_pod(pod, now);
        state.reset_secrets(first.secrets, now);
        state.reset_routes(&first.routes, now);
        state.reset_requests(&[], now);
        for route in first.routes {
            objects.routes.insert(name_of(&route.metadata), (route, None));
        }
        for request in first.requests {
            state.adopt_request(&request, now);
            let name = name_of(&request.metadata);
            objects.adopted.insert(name.clone());
            objects.requests.insert(name, (request, None));
        }
        state.set_synced(now);

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let token = token()?;
        let stop = CancellationToken::new();
        let stream = tokio::spawn({
            let (state, stop) = (state.clone(), stop.clone());
            let authenticator = Fixed::new(token.clone(), identity);
            async move {
                if let Err(error) =
                    push::serve(TcpListenerStream::new(listener), state, authenticator, stop).await
                {
                    tracing::error!("the stream to the sidecar ended: {error}");
                }
            }
        });
        Ok(Self {
            state,
            namespace: namespace.to_owned(),
            objects: Arc::new(Mutex::new(objects)),
            url,
            token,
            in_force: watch::Sender::new(false),
            stop,
            stream,
        })
    }

    /// How the sidecar reaches it.
    pub(super) fn control(&self) -> ControlSettings {
        ControlSettings {
            url: self.url.clone(),
            token: Some(Token::Fixed(self.token.clone())),
            ca: None,
        }
    }

    /// Applies what has changed in the files.
    pub(super) fn apply(&self, changes: Changes, terminal: &Terminal) {
        let now = Timestamp::now();
        let mut objects = self.objects.lock();
        // First the Secrets: a route that comes with one finds it.
        for name in changes.secrets_gone {
            self.state.delete_secret(&self.namespace, &name, now);
            terminal.say(&format!("secret {name} removed"));
        }
        for secret in changes.secrets {
            let words = format!("secret {} applied", secret.name);
            if self.state.apply_secret(secret, now) {
                terminal.say(&words);
            }
        }
        for name in changes.routes_gone {
            self.state.delete_route(&self.namespace, &name, now);
            objects.routes.remove(&name);
            terminal.say(&format!("route {name} removed: its paths pass through"));
        }
        for name in changes.requests_gone {
            self.state.delete_request(&self.namespace, &name, now);
            objects.requests.remove(&name);
            objects.adopted.remove(&name);
            objects.shown.remove(&name);
        }
        for route in changes.routes {
            self.state.apply_route(&route, now);
            let status = objects
                .routes
                .remove(&name_of(&route.metadata))
                .and_then(|(_, s)| s);
            objects.routes.insert(name_of(&route.metadata), (route, status));
        }
        for request in changes.requests {
            self.state.apply_request(&request, now);
            let name = name_of(&request.metadata);
            let status = objects.requests.remove(&name).and_then(|(_, s)| s);
            objects.adopted.remove(&name);
            objects.requests.insert(name, (request, status));
        }
    }

    /// Returns once the sidecar serves by every route that there is; `false` after `limit`.
    pub(super) async fn in_force(&self, limit: Duration) -> bool {
        let mut changes = self.in_force.subscribe();
        let waited = tokio::time::timeout(limit, changes.wait_for(|all| *all)).await;
        matches!(waited, Ok(Ok(_)))
    }

    /// Plans purges and prints statuses as they change, until the plane stops.
    pub(super) async fn statuses(&self, terminal: &Terminal) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.state.changed() => {}
                _ = tick.tick() => self.state.tick(Timestamp::now()),
            }
            let dirty = self.state.take_dirty();
            self.write(&dirty, terminal);
        }
    }

    /// What the operator's status writer does, with memory in the API server's place.
    fn write(&self, dirty: &Dirty, terminal: &Terminal) {
        let now = Timestamp::now();
        let mut objects = self.objects.lock();
        let objects = &mut *objects;
        for name in &dirty.routes {
            let Some((route, written)) = objects.routes.get_mut(&name.name) else {
                continue;
            };
            let Some(new) = self.state.route_status(name, written.as_ref(), now) else {
                continue;
            };
            if status::same(written.as_ref(), &new) {
                continue;
            }
            if *self.in_force.borrow() {
                say_route(route, written.as_ref(), &new, terminal);
            }
            *written = Some(new);
        }
        for name in &dirty.requests {
            let Some((request, written)) = objects.requests.get_mut(&name.name) else {
                continue;
            };
            if let Some(commit) = self.state.plan(name, written.as_ref(), now) {
                *written = Some(commit.status.clone());
                self.state.committed(&commit, now);
            }
            let Some(new) = self.state.request_status(name, written.as_ref(), now) else {
                continue;
            };
            let changed = written.as_ref().is_none_or(|old| words(old) != words(&new));
            let fresh = objects.shown.get(&name.name) != Some(&new.sequence);
            if (changed || fresh) && !objects.adopted.contains(&name.name) {
                objects.shown.insert(name.name.clone(), new.sequence);
                say_request(request, &new, fresh, now, terminal);
            }
            *written = Some(new);
        }
        let all = objects.routes.values().all(|(route, status)| {
            let accepted = |s: &IsrRouteStatus| {
                let refused = |kind| s.condition(kind).is_some_and(|c| c.status == "False");
                s.is_true(condition::READY)
                    || refused(condition::ACCEPTED)
                    || refused(condition::RESOLVED_REFS)
            };
            (status.as_ref())
                .is_some_and(|s| s.observed_generation == route.metadata.generation && accepted(s))
        });
        if all && self.state.counts().0 > 0 {
            self.in_force
                .send_if_modified(|was| !std::mem::replace(was, true));
        }
    }

    /// The routes that are not in force, each with the reason.
    pub(super) fn refused(&self) -> Vec<String> {
        let objects = self.objects.lock();
        (objects.routes.values())
            .filter_map(|(route, status)| refusal(route, status.as_ref()?))
            .collect()
    }

    /// Ends the stream.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = self.stream.await;
    }
}

/// The words for a route that is not, or not wholly, in force.
fn refusal(route: &IsrRoute, status: &IsrRouteStatus) -> Option<String> {
    [condition::ACCEPTED, condition::RESOLVED_REFS]
        .into_iter()
        .filter_map(|kind| status.condition(kind))
        .chain(
            status
                .condition(condition::PROGRAMMED)
                .filter(|c| c.reason == "Rejected"),
        )
        .find(|c| c.status == "False")
        .map(|c| {
            format!(
                "route {}: {}=False, {}: {}",
                name_of(&route.metadata),
                c.type_,
                c.reason,
                c.message
            )
        })
}

fn say_route(route: &IsrRoute, old: Option<&IsrRouteStatus>, new: &IsrRouteStatus, terminal: &Terminal) {
    let name = name_of(&route.metadata);
    let was = old.and_then(|old| refusal(route, old));
    match refusal(route, new) {
        Some(words) if was.as_ref() != Some(&words) => terminal.warn(&words),
        Some(_) => {}
        None => {
            let ready = |s: &IsrRouteStatus| {
                s.is_true(condition::READY) && s.observed_generation == route.metadata.generation
            };
            if ready(new) && !old.is_some_and(ready) {
                let words = terminal.paint(Colour::Green, "in force");
                terminal.say(&format!("route {name} {words}"));
            }
        }
    }
}

/// What a row of the table is printed for, once it changes.
fn words(status: &RevalidationRequestStatus) -> impl PartialEq + '_ {
    let conditions: Vec<_> = (status.conditions.iter())
        .map(|c| (&c.type_, &c.status, &c.reason))
        .collect();
    let sidecars = status.sidecars.as_ref().map(|counts| &counts.summary);
    (status.sequence, sidecars, conditions)
}

/// As `kubectl get --watch` prints it: the head once, then a row for each change.
fn say_request(
    request: &RevalidationRequest,
    status: &RevalidationRequestStatus,
    fresh: bool,
    now: Timestamp,
    terminal: &Terminal,
) {
    let text = table::requests([(request, Some(status))], now);
    let rows: Vec<_> = text.lines().skip(usize::from(!fresh)).collect();
    terminal.say(&rows.join("\n"));
    let refused = status
        .condition(condition::ACCEPTED)
        .filter(|c| c.status == "False");
    if let Some(c) = refused {
        terminal.warn(&format!(
            "request {}: {}: {}",
            name_of(&request.metadata),
            c.reason,
            c.message
        ));
    } else if let (true, Some(pages)) = (status.is_true(condition::READY), &status.pages) {
        let words = format!(
            "  pages: {} matched, {} regenerated, {} failed",
            pages.matched, pages.regenerated, pages.failed
        );
        terminal.say(&terminal.paint(Colour::Dim, &words));
        let not_bypassed = Reason::OriginCacheNotBypassed.as_str();
        if let Some(c) = (status.condition(condition::READY)).filter(|c| c.reason == not_bypassed) {
            let name = name_of(&request.metadata);
            terminal.warn(&format!("request {name}: {}: {}", c.reason, c.message));
        }
    }
}

fn name_of(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}

/// 128 random bits: another user of this machine must not be able to take the sidecar's place.
fn token() -> io::Result<String> {
    use std::{fmt::Write, io::Read};
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
