//! What is written when, by plain values, through the one state.

use coppice_api::{IsrRouteStatus, names::reason::Reason, status::Conditions as _};
use serde_json::json;

use super::*;
use crate::{
    ObjectName, State,
    index::{Compiled, Pod, Selecting, Service, service::Target},
    push::Identity,
    state::Attached,
    testing::{at, mk_pod, mk_request, mk_route},
};

fn name(object: &str) -> ObjectName {
    ObjectName::new("shop", object)
}

fn mk_state(pods: &[Pod]) -> State {
    let state = State::new(Selecting::Labels);
    state.apply_route(&mk_route("web", 1, json!({})), at(0));
    for pod in pods {
        state.apply_pod(pod.clone(), at(0));
    }
    state.reset_requests(&[], at(0));
    state.set_synced(at(0));
    state
}

fn attach(state: &State, pod: &str, now: i64) -> Attached {
    let identity = Identity {
        namespace: "shop".to_owned(),
        pod: pod.to_owned(),
        uid: format!("uid-{pod}"),
    };
    state.attach(&identity, "", 0, at(now)).unwrap()
}

/// A sidecar connects and acknowledges what it is told.
fn serve(state: &State, pod: &str, now: i64) -> Attached {
    let attached = attach(state, pod, now);
    let compiled = attached.connection.config.borrow().clone();
    state.config_acked(&attached.connection.key, compiled, at(now));
    attached
}

fn route(state: &State, written: Option<&IsrRouteStatus>, now: i64) -> IsrRouteStatus {
    state.route_status(&name("web"), written, at(now)).unwrap()
}

fn reason<'a>(status: &'a IsrRouteStatus, kind: &str) -> (bool, &'a str) {
    let condition = status
        .condition(kind)
        .unwrap_or_else(|| panic!("{kind} in {status:?}"));
    (condition.status == "True", condition.reason.as_str())
}

fn kinds(status: &IsrRouteStatus) -> Vec<&str> {
    status
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect()
}

#[test]
fn a_route_becomes_ready_when_every_connected_sidecar_has_it() {
    let state = mk_state(&[mk_pod("web-1"), mk_pod("web-2")]);
    let pending = route(&state, None, 1);
    assert_eq!(reason(&pending, "Accepted"), (true, "Accepted"));
    assert_eq!(reason(&pending, "ResolvedRefs"), (true, "Resolved"));
    assert_eq!(reason(&pending, "Programmed"), (false, "Pending"));
    assert_eq!(reason(&pending, "Ready"), (false, "Pending"));
    assert_eq!(reason(&pending, "Reconciling"), (true, "Progressing"));
    assert_eq!(pending.observed_generation, Some(1));
    assert_eq!(pending.sidecars.as_ref().unwrap().summary, "0/2");
    serve(&state, "web-1", 2);
    let half = route(&state, Some(&pending), 3);
    assert_eq!(
        reason(&half, "Programmed"),
        (false, "Pending"),
        "the other one is waited for"
    );
    serve(&state, "web-2", 4);
    let ready = route(&state, Some(&half), 5);
    assert_eq!(reason(&ready, "Programmed"), (true, "Programmed"));
    assert_eq!(reason(&ready, "Ready"), (true, "Ready"));
    assert_eq!(
        kinds(&ready),
        [
            "Accepted",
            "ResolvedRefs",
            "Injected",
            "TrafficRouted",
            "Programmed",
            "Ready"
        ],
        "Reconciling and Stalled only while true"
    );
    let sidecars = ready.sidecars.unwrap();
    assert_eq!((sidecars.desired, sidecars.applied, sidecars.missing), (2, 2, 0));
}

#[test]
fn a_sidecar_that_never_connects_is_waited_for_a_minute() {
    let state = mk_state(&[mk_pod("web-1"), mk_pod("web-2")]);
    serve(&state, "web-1", 1);
    assert_eq!(reason(&route(&state, None, 59), "Programmed"), (false, "Pending"));
    let status = route(&state, None, 60);
    assert_eq!(reason(&status, "Programmed"), (true, "Programmed"));
    let sidecars = status.sidecars.unwrap();
    assert_eq!(
        (sidecars.summary.as_str(), sidecars.missing),
        ("1/2", 1),
        "but it shows"
    );
    let nobody = mk_state(&[mk_pod("web-1")]);
    let status = route(&nobody, None, 1000);
    assert_eq!(
        reason(&status, "Programmed"),
        (false, "Pending"),
        "where nobody has it, nobody has it"
    );
}

#[test]
fn pods_that_come_and_go_never_flip_ready() {
    let state = mk_state(&[]);
    let none = route(&state, None, 1);
    assert_eq!(reason(&none, "Ready"), (true, "NoPods"));
    assert_eq!(reason(&none, "Programmed"), (true, "NoPods"));
    assert_eq!(none.sidecars.as_ref().unwrap().summary, "0/0");
    let mut written = none;
    let mut check = |state: &State, now: i64, what: &str| {
        let status = route(state, Some(&written), now);
        let (before, after) = (
            written.condition("Ready").unwrap(),
            status.condition("Ready").unwrap(),
        );
        assert_eq!(after.status, "True", "{what}");
        assert_eq!(after.last_transition_time, before.last_transition_time, "{what}");
        written = status;
    };
    state.apply_pod(mk_pod("web-1"), at(2));
    check(&state, 3, "a pod starts");
    let attached = attach(&state, "web-1", 4);
    check(&state, 5, "its sidecar connects");
    let compiled = attached.connection.config.borrow().clone();
    state.config_acked(&attached.connection.key, compiled, at(6));
    check(&state, 7, "it has the configuration");
    state.detach(&attached.connection.key, at(8));
    check(&state, 9, "its stream ends");
    check(&state, 100, "it is cut off for good");
    state.delete_pod("shop", "web-1", at(101));
    check(&state, 102, "it goes");
}

#[test]
fn a_reference_that_leads_nowhere_is_not_ready_and_says_what_holds_meanwhile() {
    let state = mk_state(&[mk_pod("web-1")]);
    serve(&state, "web-1", 0);
    let header = json!({"name": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
    state.reset_secrets(vec![], at(1));
    state.apply_route(
        &mk_route("web", 2, json!({"origin": {"headers": [header]}})),
        at(1),
    );
    let status = route(&state, None, 2);
    assert_eq!(reason(&status, "Accepted"), (true, "Accepted"));
    assert_eq!(reason(&status, "ResolvedRefs"), (false, "SecretNotFound"));
    assert_eq!(reason(&status, "Programmed"), (false, "Pending"));
    assert_eq!(reason(&status, "Ready"), (false, "SecretNotFound"));
    assert_eq!(reason(&status, "Stalled"), (true, "SecretNotFound"));
    let message = &status.condition("ResolvedRefs").unwrap().message;
    assert_eq!(
        message,
        "origin.headers[x]: there is no Secret \"s\" in this namespace; create it, with the key \"k\"; until then generation 1 stays in force"
    );
}

#[test]
fn a_new_generation_is_programmed_anew() {
    let state = mk_state(&[mk_pod("web-1")]);
    let attached = serve(&state, "web-1", 1);
    let ready = route(&state, None, 2);
    state.apply_route(&mk_route("web", 2, json!({"suspend": true})), at(3));
    let pending = route(&state, Some(&ready), 4);
    assert_eq!(reason(&pending, "Ready"), (false, "Pending"));
    assert_eq!(pending.condition("Ready").unwrap().last_transition_time.0, at(4));
    assert_eq!(
        pending.condition("Accepted").unwrap().last_transition_time.0,
        at(2),
        "this one stayed true"
    );
    let compiled = attached.connection.config.borrow().clone();
    state.config_acked(&attached.connection.key, compiled, at(5));
    assert_eq!(
        reason(&route(&state, Some(&pending), 6), "Ready"),
        (true, "Ready")
    );
}

#[test]
fn after_a_restart_of_the_operator_what_was_programmed_stays_so() {
    let state = mk_state(&[mk_pod("web-1")]);
    serve(&state, "web-1", 1);
    let ready = route(&state, None, 2);
    let next = mk_state(&[mk_pod("web-1")]);
    let status = route(&next, Some(&ready), 10);
    assert_eq!(reason(&status, "Ready"), (true, "Ready"));
}

#[test]
fn a_refusal_is_said_with_the_pod_and_its_words() {
    let state = mk_state(&[mk_pod("web-1")]);
    let attached = serve(&state, "web-1", 1);
    let ready = route(&state, None, 2);
    state.apply_route(&mk_route("web", 2, json!({"suspend": true})), at(3));
    let version = attached.connection.config.borrow().version.clone();
    state.config_refused(&attached.connection.key, &version, "cannot", at(4));
    let status = route(&state, Some(&ready), 5);
    assert_eq!(reason(&status, "Programmed"), (false, "Rejected"));
    assert_eq!(reason(&status, "Ready"), (false, "Rejected"));
    assert_eq!(reason(&status, "Stalled"), (true, "Rejected"));
    let message = &status.condition("Programmed").unwrap().message;
    assert!(
        message.contains("web-1") && message.contains("cannot"),
        "{message}"
    );
}

#[test]
fn an_invalid_edit_is_not_ready_and_says_what_stays() {
    let state = mk_state(&[mk_pod("web-1")]);
    serve(&state, "web-1", 1);
    let ready = route(&state, None, 2);
    state.apply_route(&mk_route("web", 2, json!({"rules": []})), at(3));
    let status = route(&state, Some(&ready), 4);
    assert_eq!(reason(&status, "Accepted"), (false, "Invalid"));
    assert_eq!(reason(&status, "Ready"), (false, "Invalid"));
    assert_eq!(reason(&status, "Stalled"), (true, "Invalid"));
    assert_eq!(reason(&status, "Programmed"), (false, "Pending"));
    assert_eq!(
        status.sidecars.as_ref().unwrap().summary,
        "1/1",
        "of the former version"
    );
    assert!(
        status
            .condition("Programmed")
            .unwrap()
            .message
            .contains("generation 1 stays in force")
    );
    assert!(status.condition("Accepted").unwrap().message.contains("rules"));
}

#[test]
fn pods_without_a_sidecar_are_counted_and_do_not_matter_to_ready() {
    let plain = |name: &str| Pod {
        injected: false,
        ..mk_pod(name)
    };
    let state = mk_state(&[plain("old-1"), plain("old-2"), mk_pod("web-1")]);
    serve(&state, "web-1", 1);
    let status = route(&state, None, 2);
    assert_eq!(reason(&status, "Injected"), (false, "SidecarMissing"));
    assert_eq!(reason(&status, "Ready"), (true, "Ready"));
    let message = &status.condition("Injected").unwrap().message;
    assert!(
        message.contains("2 matching pods") && message.contains("coppice.dev/inject=enabled"),
        "{message}"
    );
    let labels = [("coppice.dev/inject".to_owned(), "enabled".to_owned())].into();
    state.take_dirty();
    assert!(state.apply_namespace("shop", labels, at(3)));
    assert!(state.take_dirty().routes.contains(&name("web")));
    let message = route(&state, None, 4)
        .condition("Injected")
        .unwrap()
        .message
        .clone();
    assert!(
        !message.contains("inject=enabled") && message.contains("rollout restart"),
        "{message}"
    );
}

#[test]
fn a_service_that_goes_around_is_named_with_the_remedy() {
    let pod = Pod {
        ports: vec![
            crate::index::pod::Port {
                name: Some("http".to_owned()),
                number: 15080,
                of_sidecar: true,
            },
            crate::index::pod::Port {
                name: None,
                number: 3000,
                of_sidecar: false,
            },
        ],
        app_port: Some(3000),
        ..mk_pod("web-1")
    };
    let state = mk_state(&[pod]);
    serve(&state, "web-1", 1);
    let service = Service {
        namespace: "shop".to_owned(),
        name: "front".to_owned(),
        selector: [("app".to_owned(), "web".to_owned())].into(),
        targets: vec![Target::Number(3000)],
    };
    assert!(state.apply_service(service.clone(), at(2)));
    assert!(!state.apply_service(service.clone(), at(2)));
    let status = route(&state, None, 3);
    assert_eq!(reason(&status, "TrafficRouted"), (false, "Bypassed"));
    assert_eq!(reason(&status, "Ready"), (true, "Ready"));
    let message = &status.condition("TrafficRouted").unwrap().message;
    assert!(
        message.contains("\"front\"") && message.contains("3000") && message.contains("\"http\""),
        "{message}"
    );
    let mended = Service {
        targets: vec![Target::Name("http".to_owned())],
        ..service
    };
    state.apply_service(mended, at(4));
    assert_eq!(
        reason(&route(&state, Some(&status), 5), "TrafficRouted"),
        (true, "Routed")
    );
}

#[test]
fn a_status_that_says_the_same_is_not_written() {
    let state = mk_state(&[mk_pod("web-1")]);
    let attached = serve(&state, "web-1", 1);
    state.apply_request(&mk_request("r", json!({"everything": true})), at(1));
    let commit = state.plan(&name("r"), None, at(1)).unwrap();
    state.committed(&commit, at(1));
    let (route_1, request_1) = (
        route(&state, None, 2),
        state.request_status(&name("r"), None, at(2)).unwrap(),
    );
    // What comes back from the API server has whole seconds.
    let read = serde_json::from_str::<IsrRouteStatus>(&serde_json::to_string(&route_1).unwrap()).unwrap();
    let read_request =
        serde_json::from_str::<RevalidationRequestStatus>(&serde_json::to_string(&request_1).unwrap())
            .unwrap();
    state.take_dirty();
    state.apply_route(&mk_route("web", 1, json!({})), at(3));
    state.apply_pod(mk_pod("web-1"), at(3));
    state.lines_acked(&attached.connection.key, 0, at(3));
    state.tick(at(4));
    assert!(state.take_dirty().is_empty(), "nothing is even looked at");
    assert!(same(Some(&read), &route(&state, Some(&read), 1000)));
    let again = state
        .request_status(&name("r"), Some(&read_request), at(5))
        .unwrap();
    assert!(same(Some(&read_request), &again), "{again:?}");
    state.lines_acked(&attached.connection.key, commit.line.sequence, at(6));
    let acked = state
        .request_status(&name("r"), Some(&read_request), at(6))
        .unwrap();
    assert!(!same(Some(&read_request), &acked) && urgent(Some(&read_request), &acked));
}

#[test]
fn counts_alone_are_not_urgent() {
    let state = mk_state(&[mk_pod("web-1"), mk_pod("web-2")]);
    let first = serve(&state, "web-1", 1);
    state.apply_request(&mk_request("r", json!({"everything": true})), at(1));
    let commit = state.plan(&name("r"), None, at(1)).unwrap();
    state.committed(&commit, at(1));
    let before = state.request_status(&name("r"), None, at(1)).unwrap();
    assert!(urgent(None, &before));
    state.lines_acked(&first.connection.key, commit.line.sequence, at(2));
    let after = state.request_status(&name("r"), Some(&before), at(2)).unwrap();
    assert_eq!(after.sidecars.as_ref().unwrap().summary, "1/2");
    assert!(!same(Some(&before), &after) && !urgent(Some(&before), &after));
}

#[test]
fn the_purge_annotation_is_echoed_when_its_request_is_there() {
    let state = mk_state(&[mk_pod("web-1")]);
    let mut annotated = mk_route("web", 1, json!({}));
    annotated.metadata.annotations = Some([("coppice.dev/requested-at".to_owned(), "now".to_owned())].into());
    assert!(state.apply_route(&annotated, at(1)));
    assert_eq!(route(&state, None, 1).last_handled_requested_at, None);
    let mut request = state.requested(&annotated).unwrap();
    request.metadata.uid = Some("made".to_owned());
    state.take_dirty();
    state.apply_request(&request, at(2));
    let dirty = state.take_dirty();
    assert!(dirty.routes.contains(&name("web")), "its status is looked at");
    assert_eq!(state.requested(&annotated), None, "once");
    let echoed = route(&state, None, 3);
    assert_eq!(echoed.last_handled_requested_at.as_deref(), Some("now"));
    let made = ObjectName::of(&request.metadata).unwrap();
    state.delete_request("shop", &made.name, at(4));
    annotated.status = Some(echoed.clone());
    state.apply_route(&annotated, at(5));
    assert_eq!(
        state.requested(&annotated),
        None,
        "also when the request has been cleared away"
    );
    assert!(same(Some(&echoed), &route(&state, Some(&echoed), 6)));
}

#[tokio::test]
async fn whoever_writes_statuses_is_woken() {
    let state = State::new(Selecting::Labels);
    let waiter = tokio::spawn({
        let state = state.clone();
        async move {
            state.changed().await;
            state.take_dirty()
        }
    });
    tokio::task::yield_now().await;
    state.apply_route(&mk_route("web", 1, json!({})), at(0));
    let dirty = waiter.await.unwrap();
    assert!(dirty.routes.contains(&name("web")));
    state.delete_route("shop", "web", at(1));
    state.changed().await;
    assert!(
        state.take_dirty().routes.contains(&name("web")),
        "a name whose object is gone comes once more"
    );
    assert_eq!(state.route_status(&name("web"), None, at(1)), None);
}

#[test]
fn a_message_is_cut_where_nobody_reads_on() {
    let mut conditions = Conditions::new(&[], 1, at(0));
    conditions.set("Accepted", false, Reason::Invalid, "ü".repeat(5000));
    assert_eq!(conditions.built[0].message.chars().count(), MAX_MESSAGE + 1);
}

#[test]
fn every_reason_is_a_word_that_conditions_allow() {
    let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), Reason::ALL.len());
    assert!(
        words
            .iter()
            .all(|word| word.chars().all(|letter| letter.is_ascii_alphabetic()))
    );
}

#[test]
fn tables_look_like_kubectl() {
    let state = mk_state(&[mk_pod("web-1")]);
    serve(&state, "web-1", 1);
    let status = route(&state, None, 2);
    let object = mk_route("web", 1, json!({}));
    let other = mk_route("a-longer-name", 1, json!({}));
    assert_eq!(
        table::routes([(&object, Some(&status)), (&other, None)], at(150)),
        "NAME            READY   SIDECARS   AGE\nweb             True    1/1        2m30s\na-longer-name                      2m30s\n"
    );
    state.apply_request(&mk_request("r", json!({"everything": true})), at(1));
    let commit = state.plan(&name("r"), None, at(1)).unwrap();
    state.committed(&commit, at(1));
    let status = state.request_status(&name("r"), None, at(1)).unwrap();
    assert_eq!(
        table::requests([(&mk_request("r", json!({})), Some(&status))], at(3 * 3600 + 60)),
        "NAME   ACKNOWLEDGED   READY   SIDECARS   AGE\nr      False          False   0/1        3h1m\n"
    );
}

#[test]
fn an_empty_configuration_has_a_version_too() {
    let state = mk_state(&[Pod {
        labels: std::collections::BTreeMap::new(),
        ..mk_pod("web-1")
    }]);
    let attached = attach(&state, "web-1", 1);
    let compiled: std::sync::Arc<Compiled> = attached.connection.config.borrow().clone();
    assert!(!compiled.version.is_empty() && compiled.config.routes.is_empty());
}
