//! Builders for tests.

use coppice_api::{IsrRoute, RevalidationRequest};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::index::{Phase, Pod};

/// A moment: 2026-01-01, and this many seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// An IsrRoute of namespace `shop` that selects pods by `app: <name>`.
pub(crate) fn mk_route(name: &str, generation: i64, spec: Value) -> IsrRoute {
    let mut all = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "rules": [{"paths": ["/blog/[slug]"], "revalidate": 60}],
    });
    let Value::Object(fields) = spec else {
        panic!("a spec is an object");
    };
    for (field, value) in fields {
        all[field] = value;
    }
    serde_json::from_value(json!({
        "apiVersion": "coppice.dev/v1alpha1", "kind": "IsrRoute",
        "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}"), "generation": generation,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": all,
    }))
    .unwrap()
}

/// A running injected pod of namespace `shop` with the label `app: web`.
pub(crate) fn mk_pod(name: &str) -> Pod {
    Pod {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        phase: Phase::Running,
        injected: true,
        sidecar_since: Some(at(-1000)),
        ..Pod::default()
    }
}

/// A RevalidationRequest of namespace `shop`.
pub(crate) fn mk_request(name: &str, spec: Value) -> RevalidationRequest {
    let mut object = json!({
        "apiVersion": "coppice.dev/v1alpha1", "kind": "RevalidationRequest",
        "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}"), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
    });
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}
