//! Whole pods in, whole pods out.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::{Reason, Refusal, Settings, inject};

fn settings() -> Settings {
    Settings {
        image: "localhost/coppice-sidecar:0.1.0".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        operator_url: "https://coppice-operator-stream.coppice-system.svc:9444".to_owned(),
        ca_bundle: "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n".to_owned(),
        log: "info".to_owned(),
        native: true,
    }
}

fn mk_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "web-1", "labels": { "app": "web", "coppice.dev/inject": "enabled" } },
        "spec": {
            "containers": [{
                "name": "web",
                "image": "web:1",
                "ports": [{ "name": "http", "containerPort": 3000, "protocol": "TCP" }],
            }],
        },
    })
}

/// The pod with `change` merged into it (RFC 7396).
fn changed(change: &Value) -> Value {
    let mut pod = mk_pod();
    json_patch::merge(&mut pod, change);
    pod
}

fn with_containers(containers: Value) -> Value {
    let mut pod = mk_pod();
    pod["spec"]["containers"] = containers;
    pod
}

fn apply(pod: &Value, settings: &Settings) -> Result<Value, Refusal> {
    let patch = inject(pod, None, settings)?;
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).expect("the patch fits the pod that it was made for");
    Ok(patched)
}

fn sidecar(pod: &Value) -> &Value {
    pod["spec"]["initContainers"]
        .as_array()
        .and_then(|all| all.last())
        .expect("a native sidecar")
}

fn env<'a>(pod: &'a Value, name: &str) -> &'a str {
    sidecar(pod)["env"]
        .as_array()
        .and_then(|all| all.iter().find(|e| e["name"] == name))
        .and_then(|e| e["value"].as_str())
        .expect("the variable is set")
}

fn words(result: &Result<Value, Refusal>) -> Vec<&'static str> {
    match result {
        Ok(_) => vec![],
        Err(refusal) => refusal.reasons.iter().map(Reason::as_str).collect(),
    }
}

#[test]
fn inject_whole_pod() {
    let pod = changed(&json!({
        "metadata": { "annotations": { "coppice.dev/memory": "256Mi", "example.com/own": "kept" } },
        "spec": {
            "terminationGracePeriodSeconds": 30,
            "aFieldOfTomorrow": { "kept": true },
            "initContainers": [{ "name": "migrate", "image": "web:1", "command": ["migrate"] }],
            "volumes": [{ "name": "uploads", "emptyDir": {} }],
            "containers": [
                {
                    "name": "log-shipper",
                    "image": "shipper:1",
                    "ports": [{ "name": "metrics", "containerPort": 9102 }],
                    "livenessProbe": { "httpGet": { "port": "metrics", "path": "/" } },
                },
                {
                    "name": "web",
                    "image": "web:1",
                    "ports": [
                        { "name": "debug", "containerPort": 9229 },
                        { "name": "http", "containerPort": 3000, "protocol": "TCP" },
                        { "name": "dns", "containerPort": 53, "protocol": "UDP" },
                    ],
                    "startupProbe": { "tcpSocket": { "port": "http" } },
                    "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 2 },
                    "livenessProbe": { "httpGet": { "path": "/healthz", "port": "debug" } },
                    "lifecycle": {
                        "postStart": { "httpGet": { "path": "/warm", "port": "http" } },
                        "preStop": { "exec": { "command": ["sleep", "1"] } },
                    },
                },
            ],
        },
    }));
    insta::assert_json_snapshot!(apply(&pod, &settings()).unwrap());
}

#[test]
fn inject_as_an_ordinary_container_before_1_33() {
    let old = Settings {
        native: false,
        ..settings()
    };
    let pod = apply(&mk_pod(), &old).unwrap();
    assert!(pod["spec"]["initContainers"].is_null());
    let container = &pod["spec"]["containers"][1];
    assert_eq!(container["name"], "coppice-sidecar");
    assert!(container["restartPolicy"].is_null());
    let job = changed(&json!({ "spec": { "restartPolicy": "Never" } }));
    assert_eq!(words(&apply(&job, &old)), ["RunsToCompletion"]);
    assert_eq!(words(&apply(&job, &settings())), [""; 0]);
}

#[test]
fn inject_makes_the_lists_that_are_missing() {
    let pod = json!({
        "metadata": {},
        "spec": { "containers": [{ "name": "web", "ports": [{ "name": "web", "containerPort": 80 }] }] },
    });
    let patch = inject(&pod, Some("enabled"), &settings()).unwrap();
    let mut patched = pod;
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(
        patched["metadata"]["labels"],
        json!({ "coppice.dev/injected": "true" })
    );
    assert_eq!(
        sidecar(&patched)["ports"][0],
        json!({ "name": "web", "containerPort": 15080, "protocol": "TCP" })
    );
}

#[rstest]
#[case(None, None, &["NotEnabled"])]
#[case(None, Some("disabled"), &["NotEnabled"])]
#[case(None, Some("enabled"), &[])]
#[case(Some("enabled"), None, &[])]
#[case(Some("enabled"), Some("disabled"), &[])]
#[case(Some("disabled"), Some("enabled"), &["Disabled"])]
#[case(Some("true"), Some("enabled"), &["UnknownLabelValue"])]
fn inject_the_pods_word_wins(
    #[case] pod_word: Option<&str>,
    #[case] namespace: Option<&str>,
    #[case] expected: &[&str],
) {
    let mut pod = mk_pod();
    pod["metadata"]["labels"] = pod_word.map_or(json!({}), |word| json!({ "coppice.dev/inject": word }));
    let result = inject(&pod, namespace, &settings()).map(|_| Value::Null);
    assert_eq!(words(&result), expected);
}

#[rstest]
#[case::no_ports(json!([{ "name": "web" }]), None, &["NoPort"])]
#[case::no_names(json!([{ "name": "web", "ports": [{ "containerPort": 80 }] }]), None, &["NoPort"])]
#[case::only_named(json!([{ "name": "a", "ports": [{ "containerPort": 80 }, { "name": "x", "containerPort": 81 }] }]), None, &[])]
#[case::two_named(json!([{ "name": "a", "ports": [{ "name": "x", "containerPort": 80 }, { "name": "y", "containerPort": 81 }] }]), None, &["AmbiguousPort"])]
#[case::two_named_one_said(json!([{ "name": "a", "ports": [{ "name": "x", "containerPort": 80 }, { "name": "y", "containerPort": 81 }] }]), Some("y"), &[])]
#[case::number_said(json!([{ "name": "a", "ports": [{ "name": "x", "containerPort": 80 }, { "name": "y", "containerPort": 81 }] }]), Some("81"), &[])]
#[case::number_without_name(json!([{ "name": "a", "ports": [{ "containerPort": 80 }] }]), Some("80"), &["UnnamedPort"])]
#[case::number_not_declared(json!([{ "name": "a" }]), Some("80"), &["UnnamedPort"])]
#[case::name_not_declared(json!([{ "name": "a" }]), Some("web"), &["UnknownPort"])]
#[case::udp(json!([{ "name": "a", "ports": [{ "name": "http", "containerPort": 80, "protocol": "UDP" }] }]), None, &["NotTcp"])]
#[case::udp_said(json!([{ "name": "a", "ports": [{ "name": "q", "containerPort": 80, "protocol": "UDP" }] }]), Some("80"), &["NotTcp"])]
#[case::udp_beside_tcp(json!([{ "name": "a", "ports": [{ "name": "q", "containerPort": 80, "protocol": "UDP" }, { "name": "t", "containerPort": 80 }] }]), None, &[])]
#[case::two_containers(json!([{ "name": "a", "ports": [{ "name": "http", "containerPort": 80 }] }, { "name": "b", "ports": [{ "name": "http", "containerPort": 81 }] }]), None, &["AmbiguousPort"])]
#[case::two_containers_number_said(json!([{ "name": "a", "ports": [{ "name": "http", "containerPort": 80 }] }, { "name": "b", "ports": [{ "name": "http", "containerPort": 81 }] }]), Some("81"), &["AmbiguousPort"])]
#[case::zero(json!([{ "name": "a", "ports": [{ "name": "http", "containerPort": 80 }] }]), Some("0"), &["InvalidAnnotation"])]
#[case::too_large(json!([{ "name": "a", "ports": [{ "name": "http", "containerPort": 80 }] }]), Some("65536"), &["InvalidAnnotation"])]
#[case::no_port_name(json!([{ "name": "a", "ports": [{ "name": "http", "containerPort": 80 }] }]), Some("Not A Port"), &["InvalidAnnotation"])]
#[case::empty(json!([{ "name": "a", "ports": [{ "name": "http", "containerPort": 80 }] }]), Some(""), &["InvalidAnnotation"])]
fn inject_finds_the_port(
    #[case] containers: Value,
    #[case] annotation: Option<&str>,
    #[case] expected: &[&str],
) {
    let mut pod = with_containers(containers);
    if let Some(text) = annotation {
        pod["metadata"]["annotations"] = json!({ "coppice.dev/port": text });
    }
    assert_eq!(words(&apply(&pod, &settings())), expected);
}

#[rstest]
#[case("coppice.dev/memory", "lots")]
#[case("coppice.dev/memory", "1Mi")]
#[case("coppice.dev/memory", "2Ti")]
#[case("coppice.dev/regenerations", "0")]
#[case("coppice.dev/regenerations", "many")]
#[case("coppice.dev/drain", "soon")]
#[case("coppice.dev/drain", "-5s")]
#[case::longer_than_the_grace_period("coppice.dev/drain", "30s")]
#[case("coppice.dev/app-address", "example.com")]
#[case("coppice.dev/app-address", "0.0.0.0")]
#[case("coppice.dev/app-address", "::")]
#[case("coppice.dev/app-address", "127.0.0.1:3000")]
#[case("coppice.dev/app-address", "$(HOST)")]
fn inject_refuses_bad_annotations(#[case] name: &str, #[case] value: &str) {
    let pod = changed(&json!({ "metadata": { "annotations": { name: value } } }));
    let refusal = apply(&pod, &settings()).unwrap_err();
    assert_eq!(refusal.reasons.len(), 1);
    assert_eq!(refusal.reasons[0].as_str(), "InvalidAnnotation");
    let text = refusal.to_string();
    assert!(text.contains(name) && text.contains(value), "{text}");
}

#[rstest]
#[case(json!({}), "$(COPPICE_POD_IP):3000", "128Mi", "224Mi", "5s")]
#[case(json!({ "coppice.dev/app-address": "127.0.0.1" }), "127.0.0.1:3000", "128Mi", "224Mi", "5s")]
#[case(json!({ "coppice.dev/app-address": "::1" }), "[::1]:3000", "128Mi", "224Mi", "5s")]
#[case(json!({ "coppice.dev/app-address": "localhost" }), "localhost:3000", "128Mi", "224Mi", "5s")]
#[case(json!({ "coppice.dev/memory": "1Gi", "coppice.dev/drain": "1500ms" }), "$(COPPICE_POD_IP):3000", "1Gi", "1344Mi", "1s500ms")]
#[case::rounded_up_to_kibibytes(json!({ "coppice.dev/memory": "100000001" }), "$(COPPICE_POD_IP):3000", "100000001", "187607Ki", "5s")]
fn inject_obeys_annotations(
    #[case] annotations: Value,
    #[case] app: &str,
    #[case] budget: &str,
    #[case] limit: &str,
    #[case] drain: &str,
) {
    let pod = apply(
        &changed(&json!({ "metadata": { "annotations": annotations } })),
        &settings(),
    )
    .unwrap();
    assert_eq!(env(&pod, "COPPICE_APP"), app);
    assert_eq!(env(&pod, "COPPICE_MEMORY"), budget);
    assert_eq!(env(&pod, "COPPICE_DRAIN"), drain);
    let resources = &sidecar(&pod)["resources"];
    assert_eq!(resources["limits"], json!({ "memory": limit }));
    assert_eq!(resources["requests"]["memory"], limit);
}

#[test]
fn inject_obeys_the_number_of_regenerations() {
    let pod = changed(&json!({ "metadata": { "annotations": { "coppice.dev/regenerations": "2" } } }));
    let env_of = |pod: &Value| env(&apply(pod, &settings()).unwrap(), "COPPICE_REGENERATIONS").to_owned();
    assert_eq!(env_of(&pod), "2");
    assert_eq!(env_of(&changed(&json!({}))), "10");
}

#[rstest]
#[case(json!({ "spec": { "hostNetwork": true } }), "HostNetwork")]
#[case(json!({ "spec": { "os": { "name": "windows" } } }), "Windows")]
#[case(json!({ "spec": { "nodeSelector": { "kubernetes.io/os": "windows" } } }), "Windows")]
#[case(json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" } } }), "StaticPod")]
#[case(json!({ "metadata": { "annotations": { "coppice.dev/port-env": "PORT" } } }), "Unsupported")]
#[case(json!({ "spec": { "volumes": [{ "name": "coppice-token" }] } }), "VolumeTaken")]
#[case(json!({ "spec": { "initContainers": [{ "name": "x", "ports": [{ "containerPort": 9901 }] }] } }), "PortTaken")]
#[case::a_native_sidecar_has_the_name(
    json!({ "spec": { "initContainers": [{ "name": "x", "restartPolicy": "Always", "ports": [{ "name": "http", "containerPort": 81 }] }] } }),
    "AmbiguousPort"
)]
#[case(json!({ "spec": { "initContainers": [{ "name": "coppice-sidecar" }] } }), "AlreadyInjected")]
fn inject_says_what_stands_against_it(#[case] change: Value, #[case] word: &str) {
    assert_eq!(words(&apply(&changed(&change), &settings())), [word]);
}

#[test]
fn inject_collects_all_reasons() {
    let pod = json!({
        "metadata": {
            "labels": { "coppice.dev/inject": "enabled" },
            "annotations": { "coppice.dev/memory": "?", "coppice.dev/drain": "?", "coppice.dev/port-env": "PORT" },
        },
        "spec": { "hostNetwork": true, "containers": [{ "name": "web", "ports": [{ "containerPort": 15080 }] }] },
    });
    let refusal = inject(&pod, None, &settings()).unwrap_err();
    assert!(!refusal.is_wanted());
    let words: Vec<_> = refusal.reasons.iter().map(Reason::as_str).collect();
    assert_eq!(
        words,
        [
            "HostNetwork",
            "PortTaken",
            "Unsupported",
            "InvalidAnnotation",
            "InvalidAnnotation",
            "NoPort"
        ]
    );
}

#[test]
fn inject_survives_what_is_no_pod() {
    for nonsense in [
        json!(null),
        json!([]),
        json!("pod"),
        json!({ "spec": { "containers": {} } }),
    ] {
        assert!(inject(&nonsense, Some("enabled"), &settings()).is_err());
    }
}

fn any_port() -> impl Strategy<Value = Value> {
    (
        prop::option::of(prop::sample::select(vec!["http", "web", "grpc", "metrics"])),
        prop::sample::select(vec![80_u16, 3000, 8080, 9901, 15080]),
        prop::option::of(prop::sample::select(vec!["TCP", "UDP", "SCTP"])),
    )
        .prop_map(|(name, number, protocol)| {
            let mut port = json!({ "containerPort": number });
            if let Some(name) = name {
                port["name"] = json!(name);
            }
            if let Some(protocol) = protocol {
                port["protocol"] = json!(protocol);
            }
            port
        })
}

fn any_handler() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        prop::sample::select(vec!["http", "web", "metrics"]).prop_map(|name| json!(name)),
        Just(json!(3000)),
    ];
    (port, any::<bool>()).prop_map(|(port, http)| {
        let action = if http { "httpGet" } else { "tcpSocket" };
        json!({ action: { "port": port }, "periodSeconds": 7 })
    })
}

fn any_container() -> impl Strategy<Value = Value> {
    (
        prop::collection::vec(any_port(), 0..4),
        prop::option::of(any_handler()),
        prop::option::of(any_handler()),
        prop::option::of(any_handler()),
    )
        .prop_map(|(mut ports, liveness, readiness, pre_stop)| {
            // The API server accepts a name once per container.
            let mut seen = vec![];
            ports.retain(|port| {
                let fresh = port["name"].is_null() || !seen.contains(&port["name"]);
                seen.push(port["name"].clone());
                fresh
            });
            let mut container = json!({ "name": "c", "ports": ports, "unknown": { "deep": [1, 2] } });
            for (name, handler) in [("livenessProbe", liveness), ("readinessProbe", readiness)] {
                if let Some(handler) = handler {
                    container[name] = handler;
                }
            }
            if let Some(handler) = pre_stop {
                container["lifecycle"] = json!({ "preStop": handler });
            }
            container
        })
}

fn any_pod() -> impl Strategy<Value = Value> {
    (
        prop::collection::vec(any_container(), 1..4),
        prop::option::of(prop::collection::vec(any_container(), 0..2)),
        any::<bool>(),
        prop::option::of(prop::sample::select(vec!["http", "web", "3000", "80"])),
    )
        .prop_map(|(containers, init, volumes, port)| {
            let mut pod = mk_pod();
            pod["spec"]["containers"] = json!(containers);
            if let Some(init) = init {
                pod["spec"]["initContainers"] = json!(init);
            }
            if volumes {
                pod["spec"]["volumes"] = json!([{ "name": "own", "emptyDir": {} }]);
            }
            if let Some(port) = port {
                pod["metadata"]["annotations"] = json!({ "coppice.dev/port": port });
            }
            pod
        })
}

/// Every port that probes and hooks of a container name, resolved as kubelet does.
fn resolved(container: &Value) -> Vec<Option<u64>> {
    let by_name = |name: &str| {
        super::items(container, "ports")
            .find(|p| p["name"] == name)
            .and_then(|p| p["containerPort"].as_u64())
    };
    [
        &container["livenessProbe"],
        &container["readinessProbe"],
        &container["lifecycle"]["preStop"],
    ]
    .into_iter()
    .flat_map(|handler| [&handler["httpGet"]["port"], &handler["tcpSocket"]["port"]])
    .map(|port| port.as_u64().or_else(|| by_name(port.as_str()?)))
    .collect()
}

/// The port that a Service's `targetPort` finds.
fn target(pod: &Value, name: &str) -> Option<u64> {
    super::items(&pod["spec"], "containers")
        .chain(super::items(&pod["spec"], "initContainers").filter(|c| c["restartPolicy"] == "Always"))
        .flat_map(|c| super::items(c, "ports"))
        .find(|p| p["name"] == name && super::port::is_tcp(p))
        .and_then(|p| p["containerPort"].as_u64())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn inject_twice_is_once(pod in any_pod(), native in any::<bool>()) {
        let settings = Settings { native, ..settings() };
        if let Ok(once) = apply(&pod, &settings) {
            prop_assert_eq!(words(&apply(&once, &settings)), ["AlreadyInjected"]);
        }
    }

    #[test]
    fn inject_moves_the_name_and_nothing_else(pod in any_pod()) {
        if let Ok(after) = apply(&pod, &settings()) {
            let name = sidecar(&after)["ports"][0]["name"].as_str().expect("the name was moved");
            prop_assert_eq!(target(&after, name), Some(15080));
            let containers = |pod: &Value| super::items(&pod["spec"], "containers").cloned().collect::<Vec<_>>();
            for (before, after) in containers(&pod).iter().zip(&containers(&after)) {
                prop_assert_eq!(&before["unknown"], &after["unknown"]);
                let numbers = |c: &Value| super::items(c, "ports").map(|p| p["containerPort"].clone()).collect::<Vec<_>>();
                prop_assert_eq!(numbers(before), numbers(after));
                for (before, after) in resolved(before).into_iter().zip(resolved(after)) {
                    // A name that did not resolve before may be an error of the user's; one that did still does.
                    if before.is_some() {
                        prop_assert_eq!(before, after);
                    }
                }
            }
        }
    }
}
