//! Pods that come, go, and come again under the same name.

use super::*;

#[test]
fn a_pod_of_the_same_name_is_another_pod() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let connection = serve(&mut index, "web-1", 0);
    let mut next = mk_pod("web-1");
    next.uid = "uid-next".to_owned();
    assert!(index.apply_pod(next, at(1)));
    assert_eq!(index.take_gone(), [("shop".to_owned(), "uid-web-1".to_owned())]);
    assert!(connection.config.has_changed().is_err(), "its session ends");
    assert_eq!(index.facts(&name("a"), at(1)).unwrap().applied, 0);
    assert!(
        !index.ack(&connection.key, Arc::new(Compiled::new(Config::default()))),
        "it is not heard any more"
    );
    let refused = index
        .connect("shop", "web-1", "uid-web-1", "", at(1))
        .unwrap_err();
    assert_eq!(refused, ConnectError::OtherUid);
}

#[test]
fn a_pod_that_has_ended_is_gone() {
    let mut index = mk_index(&[mk_route("a", 1, json!({}))]);
    let mut ended = mk_pod("web-1");
    ended.phase = Phase::Ended;
    assert!(index.apply_pod(ended, at(1)));
    assert_eq!(index.take_gone().len(), 1);
    assert_eq!(index.facts(&name("a"), at(1)).unwrap().desired, 0);
}

#[test]
fn only_injected_pods_connect() {
    let mut index = mk_index(&[]);
    index.apply_pod(
        Pod {
            injected: false,
            ..mk_pod("plain")
        },
        at(0),
    );
    let mut connect = |pod: &str| {
        index
            .connect("shop", pod, &format!("uid-{pod}"), "", at(0))
            .map(drop)
    };
    assert_eq!(connect("plain"), Err(ConnectError::NotInjected));
    assert_eq!(connect("nobody"), Err(ConnectError::UnknownPod));
    assert_eq!(connect("web-1"), Ok(()));
}

#[test]
fn a_pod_is_read_from_what_the_api_server_says() {
    let object = json!({
        "metadata": {"namespace": "shop", "name": "web-1", "uid": "u", "labels": {"coppice.dev/injected": "true"},
            "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "containers": [{"name": "app", "ports": [{"containerPort": 3000}]}],
            "initContainers": [{"name": "coppice-sidecar", "restartPolicy": "Always",
                "ports": [{"name": "http", "containerPort": 15080}],
                "env": [{"name": "COPPICE_APP", "value": "$(POD_IP):3000"}]}],
        },
        "status": {"phase": "Running", "initContainerStatuses": [{"name": "coppice-sidecar", "image": "", "imageID": "",
            "ready": true, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]},
    });
    let read = |object: &Value| {
        Pod::try_from(&serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(object.clone()).unwrap())
            .unwrap()
    };
    let pod = read(&object);
    let mut copied = object.clone();
    copied["spec"]["initContainers"] = json!([]);
    assert!(!read(&copied).injected, "a label alone is no sidecar");
    assert!(pod.injected && pod.ending && pod.serving());
    assert_eq!(
        (pod.phase, pod.app_port, pod.sidecar_since),
        (Phase::Running, Some(3000), Some(at(0)))
    );
    assert!(
        pod.ports
            .iter()
            .any(|port| port.of_sidecar && port.name.as_deref() == Some("http"))
    );
    assert!(Pod::try_from(&k8s_openapi::api::core::v1::Pod::default()).is_err());
}
