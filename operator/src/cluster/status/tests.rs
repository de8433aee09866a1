//! Looks at objects, against an API server that is told what to say.

use std::sync::Arc;

use coppice_api::{IsrRoute, RevalidationRequest, names::condition, status::Conditions as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{Job, Outcome, Pace, Writer};
use crate::{
    ObjectName, State,
    cluster::{
        events::{Events, Warning},
        seen::{self, Kind, Seen},
        sinks::{CustomSink, Taken},
        testing::{ApiServer, Call},
        watch::Sink as _,
    },
    index::{Pod, Selecting},
};

const ROUTE: &str = "/apis/coppice.dev/v1alpha1/namespaces/shop/isrroutes/web/status";
const REQUEST: &str = "/apis/coppice.dev/v1alpha1/namespaces/shop/revalidationrequests/purge/status";
const REQUESTS: &str = "/apis/coppice.dev/v1alpha1/namespaces/shop/revalidationrequests";

struct World {
    writer: Writer,
    server: ApiServer,
    warnings: mpsc::Receiver<Warning>,
    jobs: mpsc::UnboundedReceiver<Job>,
    sender: mpsc::UnboundedSender<Job>,
}

fn world() -> World {
    let (client, server) = ApiServer::new();
    let (events, warnings) = Events::channel();
    let (sender, jobs) = mpsc::unbounded_channel();
    let writer = Writer {
        client,
        state: State::new(Selecting::Labels),
        routes: Arc::default(),
        requests: Arc::default(),
        events,
        metrics: Arc::default(),
        pace: Arc::new(Pace::default()),
    };
    World {
        writer,
        server,
        warnings,
        jobs,
        sender,
    }
}

impl World {
    /// As the watch brings it.
    fn sees(&self, object: &Value) {
        match object["kind"].as_str() {
            Some("IsrRoute") => self.bring::<IsrRoute>(&self.writer.routes, object),
            _ => self.bring::<RevalidationRequest>(&self.writer.requests, object),
        }
    }

    fn bring<K: Taken>(&self, seen: &Arc<Seen<K>>, object: &Value) {
        let sink = CustomSink {
            state: self.writer.state.clone(),
            seen: seen.clone(),
            jobs: self.sender.clone(),
            metrics: Arc::default(),
        };
        let object = serde_json::from_value(object.clone()).expect("an object");
        sink.apply(sink.read(object).expect("a name"));
    }

    /// One injected pod, whose sidecar runs and has said nothing yet.
    fn has_a_pod(&self) {
        let mut pod = Pod::local("shop");
        pod.labels.insert("app".to_owned(), "web".to_owned());
        self.writer.state.apply_pod(pod, Timestamp::now());
    }

    fn synced(self) -> Self {
        self.writer.state.set_synced(Timestamp::now());
        self
    }

    async fn silent(mut self) {
        drop(self.writer);
        assert!(self.server.next().await.is_none(), "no call was expected");
    }
}

fn route() -> Value {
    json!({
        "apiVersion": "coppice.dev/v1alpha1",
        "kind": "IsrRoute",
        "metadata": { "namespace": "shop", "name": "web", "uid": "r-1", "generation": 1, "resourceVersion": "5" },
        "spec": {
            "podSelector": { "matchLabels": { "app": "web" } },
            "rules": [{ "paths": ["/"], "revalidate": 60 }],
        },
    })
}

fn request() -> Value {
    json!({
        "apiVersion": "coppice.dev/v1alpha1",
        "kind": "RevalidationRequest",
        "metadata": { "namespace": "shop", "name": "purge", "uid": "q-1", "generation": 1, "resourceVersion": "7" },
        "spec": { "tags": ["post:1"] },
    })
}

fn route_job() -> Job {
    Job::Route(ObjectName::new("shop", "web"))
}

fn request_job() -> Job {
    Job::Request(ObjectName::new("shop", "purge"))
}

/// The object as it is after this write.
fn after(mut object: Value, call: &Call, version: &str) -> Value {
    object["status"] = call.body["status"].clone();
    object["metadata"]["resourceVersion"] = json!(version);
    object
}

fn observed<K: Kind>(seen: &Seen<K>, name: &str) -> seen::Observed<K> {
    seen.get(&ObjectName::new("shop", name)).expect("known")
}

#[tokio::test(start_paused = true)]
async fn status_of_a_route_is_applied_and_then_nothing_is() {
    let world = world().synced();
    world.sees(&route());
    let World {
        writer, mut server, ..
    } = world;
    let api = async {
        let call = server.expect("PATCH", ROUTE).await;
        assert!(call.path.contains("fieldManager=coppice-operator") && call.path.contains("force=true"));
        assert_eq!(call.body["metadata"], json!({ "name": "web", "uid": "r-1" }));
        assert_eq!(call.body["status"]["observedGeneration"], 1);
        let answer = after(route(), &call, "6");
        call.reply(&answer);
    };
    let job = route_job();
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Written);
    assert!(
        observed(&writer.routes, "web")
            .status
            .is_some_and(|status| status.is_true(condition::READY))
    );
    // Radio silence: neither the watch that brings the write back, nor time, nor another look make a call.
    assert_eq!(writer.look(&job, Some(Instant::now())).await, Outcome::Same);
    tokio::time::advance(Duration::from_hours(1)).await;
    writer.state.tick(Timestamp::now());
    assert_eq!(writer.look(&job, Some(Instant::now())).await, Outcome::Same);
    drop(writer);
    assert!(server.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn status_that_stands_already_is_not_written_by_a_new_operator() {
    let first = world().synced();
    first.sees(&route());
    let World {
        writer, mut server, ..
    } = first;
    let api = async {
        let call = server.expect("PATCH", ROUTE).await;
        let answer = after(route(), &call, "6");
        call.reply(&answer);
        answer
    };
    let job = route_job();
    let (_, stands) = tokio::join!(writer.look(&job, None), api);
    let second = world();
    second.sees(&stands);
    let mut second = second.synced();
    let stop = tokio_util::sync::CancellationToken::new();
    let jobs = std::mem::replace(&mut second.jobs, mpsc::unbounded_channel().1);
    let run = tokio::spawn(second.writer.clone().run(jobs, stop.clone()));
    tokio::time::sleep(Duration::from_mins(10)).await;
    stop.cancel();
    run.await.expect("ends");
    second.silent().await;
}

#[tokio::test]
async fn status_waits_until_everything_is_known() {
    let world = world();
    world.sees(&route());
    assert!(matches!(
        world.writer.look(&route_job(), None).await,
        Outcome::Later(_)
    ));
    world.silent().await;
}

#[tokio::test]
async fn status_of_a_malformed_route_says_so_and_an_event_too() {
    let world = world().synced();
    let mut bad = route();
    bad["spec"]["rules"] = json!(5);
    world.sees(&bad);
    let World {
        writer,
        mut server,
        mut warnings,
        ..
    } = world;
    let api = async {
        let call = server.expect("PATCH", ROUTE).await;
        let accepted = call.body["status"]["conditions"][0].clone();
        let answer = after(bad.clone(), &call, "6");
        call.reply(&answer);
        accepted
    };
    let job = route_job();
    let (outcome, accepted) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Written);
    assert_eq!(
        (&accepted["type"], &accepted["reason"]),
        (&json!("Accepted"), &json!("Invalid"))
    );
    assert!(
        accepted["message"]
            .as_str()
            .expect("a message")
            .contains("cannot be read")
    );
    let event = warnings.recv().await.expect("an Event");
    assert_eq!(
        (event.reason, event.regarding.uid.as_deref()),
        ("Invalid", Some("r-1"))
    );
}

#[tokio::test]
async fn purge_is_committed_with_a_precondition_before_anybody_hears_of_it() {
    let world = world();
    world.sees(&route());
    world.has_a_pod();
    world.sees(&request());
    let World {
        writer, mut server, ..
    } = world.synced();
    let lines = || writer.state.counts().1;
    let api = async {
        let call = server.expect("PATCH", REQUEST).await;
        assert_eq!(call.body["metadata"]["resourceVersion"], "7");
        assert!(call.body["status"]["sequence"].is_i64() && call.body["status"]["identity"].is_string());
        assert_eq!(lines(), 0, "the line is not out while its write is under way");
        let answer = after(request(), &call, "8");
        let sequence = call.body["status"]["sequence"].clone();
        call.reply(&answer);
        // Now that there is a line there are targets, and the status says so at once.
        let call = server.expect("PATCH", REQUEST).await;
        assert_eq!(call.body["status"]["sequence"], sequence);
        assert_eq!(call.body["status"]["sidecars"]["targeted"], 1);
        assert!(call.body["metadata"]["resourceVersion"].is_null());
        let answer = after(request(), &call, "9");
        call.reply(&answer);
    };
    let job = request_job();
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!((outcome, lines()), (Outcome::Written, 1));
    assert_eq!(writer.look(&job, Some(Instant::now())).await, Outcome::Same);
    drop(writer);
    assert!(server.next().await.is_none());
}

#[tokio::test]
async fn purge_reads_again_when_the_object_has_changed_meanwhile() {
    let world = world();
    world.sees(&route());
    world.has_a_pod();
    world.sees(&request());
    let World {
        writer, mut server, ..
    } = world.synced();
    let api = async {
        let first = server.expect("PATCH", REQUEST).await;
        let identity = first.body["status"]["identity"].clone();
        first.fail(409, "Conflict");
        let mut changed = request();
        changed["metadata"]["resourceVersion"] = json!("20");
        changed["metadata"]["generation"] = json!(2);
        changed["spec"]["tags"] = json!(["post:2"]);
        let object = REQUEST.strip_suffix("/status").expect("a status");
        server.expect("GET", object).await.reply(&changed);
        let second = server.expect("PATCH", REQUEST).await;
        assert_eq!(second.body["metadata"]["resourceVersion"], "20");
        assert_ne!(
            second.body["status"]["identity"], identity,
            "what it selects now is what is purged"
        );
        assert_eq!(second.body["status"]["observedGeneration"], 2);
        let answer = after(changed, &second, "21");
        second.reply(&answer);
        let third = server.expect("PATCH", REQUEST).await;
        let answer = after(answer, &third, "22");
        third.reply(&answer);
    };
    let job = request_job();
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Written);
}

#[tokio::test]
async fn purge_that_could_not_be_written_is_planned_again() {
    let world = world();
    world.sees(&route());
    world.sees(&request());
    let World {
        writer, mut server, ..
    } = world.synced();
    let job = request_job();
    let api = async {
        server
            .expect("PATCH", REQUEST)
            .await
            .fail(503, "ServiceUnavailable");
    };
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Failed);
    let api = async {
        for version in ["8", "9"] {
            let call = server.expect("PATCH", REQUEST).await;
            let answer = after(request(), &call, version);
            call.reply(&answer);
        }
    };
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Written);
}

#[tokio::test]
async fn purge_of_a_deleted_request_is_given_up() {
    let world = world();
    world.sees(&route());
    world.sees(&request());
    let World {
        writer, mut server, ..
    } = world.synced();
    let api = async { server.expect("PATCH", REQUEST).await.fail(404, "NotFound") };
    let job = request_job();
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Gone);
}

#[tokio::test(start_paused = true)]
async fn purge_by_annotation_makes_one_request() {
    let world = world();
    let mut annotated = route();
    annotated["metadata"]["annotations"] = json!({ "coppice.dev/requested-at": "now" });
    world.sees(&annotated);
    let World {
        writer, mut server, ..
    } = world.synced();
    let api = async {
        let call = server.expect("POST", REQUESTS).await;
        assert_eq!(call.body["spec"]["everything"], true);
        assert_eq!(call.body["metadata"]["ownerReferences"][0]["uid"], "r-1");
        // Somebody was faster: the name says that it is the same one.
        call.fail(409, "AlreadyExists");
        let call = server.expect("PATCH", ROUTE).await;
        let answer = after(annotated.clone(), &call, "6");
        call.reply(&answer);
    };
    let job = route_job();
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Written);
}

#[tokio::test(start_paused = true)]
async fn purge_by_annotation_that_cannot_be_made_keeps_no_status_back() {
    let world = world();
    let mut annotated = route();
    annotated["metadata"]["annotations"] = json!({ "coppice.dev/requested-at": "now" });
    world.sees(&annotated);
    let World {
        writer, mut server, ..
    } = world.synced();
    let api = async {
        let call = server.expect("POST", REQUESTS).await;
        call.fail(403, "Forbidden");
        let call = server.expect("PATCH", ROUTE).await;
        let answer = after(annotated.clone(), &call, "6");
        call.reply(&answer);
    };
    let job = route_job();
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Failed, "it is tried again");
    let written = observed(&writer.routes, "web").status.expect("written");
    assert!(written.is_true(condition::ACCEPTED));
    assert_eq!(written.last_handled_requested_at, None);
}

#[tokio::test(start_paused = true)]
async fn status_of_a_malformed_route_counts_what_is_still_in_force() {
    let world = world().synced();
    world.has_a_pod();
    world.sees(&route());
    let mut bad = route();
    bad["spec"]["rules"] = json!(5);
    bad["metadata"]["generation"] = json!(2);
    bad["metadata"]["resourceVersion"] = json!("6");
    world.sees(&bad);
    let World {
        writer, mut server, ..
    } = world;
    let api = async {
        let call = server.expect("PATCH", ROUTE).await;
        let answer = after(bad.clone(), &call, "7");
        call.reply(&answer);
    };
    let job = route_job();
    let (outcome, ()) = tokio::join!(writer.look(&job, None), api);
    assert_eq!(outcome, Outcome::Written);
    let written = observed(&writer.routes, "web").status.expect("written");
    assert_eq!(written.observed_generation, Some(2));
    assert_eq!(written.sidecars.as_ref().map(|counts| counts.desired), Some(1));
    let accepted = written.condition(condition::ACCEPTED).expect("always there");
    assert!(
        accepted.message.ends_with("generation 1 stays in force"),
        "{}",
        accepted.message
    );
}

#[tokio::test(start_paused = true)]
async fn status_of_a_route_is_written_once_in_five_seconds() {
    let world = world().synced();
    world.sees(&route());
    let job = route_job();
    let just_now = Some(Instant::now());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(
        world.writer.look(&job, just_now).await,
        Outcome::Later(Duration::from_secs(3))
    );
    tokio::time::advance(Duration::from_secs(3)).await;
    let World {
        writer, mut server, ..
    } = world;
    let api = async {
        let call = server.expect("PATCH", ROUTE).await;
        let answer = after(route(), &call, "6");
        call.reply(&answer);
    };
    let (outcome, ()) = tokio::join!(writer.look(&job, just_now), api);
    assert_eq!(outcome, Outcome::Written);
}

#[tokio::test(start_paused = true)]
async fn purge_by_annotation_does_not_wait_for_the_status() {
    let world = world();
    let mut annotated = route();
    annotated["metadata"]["annotations"] = json!({ "coppice.dev/requested-at": "now" });
    world.sees(&annotated);
    let World {
        writer, mut server, ..
    } = world.synced();
    let api = async {
        let call = server.expect("POST", REQUESTS).await;
        let answer = call.body.clone();
        call.reply(&answer);
    };
    let job = route_job();
    let (outcome, ()) = tokio::join!(writer.look(&job, Some(Instant::now())), api);
    assert!(matches!(outcome, Outcome::Later(_)), "{outcome:?}");
}
