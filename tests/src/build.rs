//! Objects that tests apply.

use coppice_api::{
    Interval, IsrRoute, IsrRouteSpec, RevalidationRequest, RevalidationRequestSpec, Rule, names::label,
    request::RouteRef,
};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Service},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde_json::json;
use std::time::Duration;

use crate::cluster::VERSION;

/// The port on which the demonstration app listens; named `http`.
pub const APP_PORT: u16 = 3000;

/// A rule: these paths, fresh for this many seconds.
pub fn mk_rule(paths: &[&str], seconds: u64) -> Rule {
    Rule {
        paths: paths.iter().map(ToString::to_string).collect(),
        revalidate: Some(Interval::After(Duration::from_secs(seconds))),
        ..Rule::default()
    }
}

/// A route named as its app, for pods with the label `app: <app>`.
pub fn mk_route(app: &str, rules: Vec<Rule>) -> IsrRoute {
    IsrRoute::new(
        app,
        IsrRouteSpec {
            pod_selector: LabelSelector {
                match_labels: Some([("app".to_owned(), app.to_owned())].into()),
                ..LabelSelector::default()
            },
            hostnames: Vec::new(),
            suspend: false,
            trigger: None,
            origin: None,
            rules,
        },
    )
}

/// The route of the demonstration app: `/` and `/blog/[slug]`, fresh for this many seconds, tag `post:[slug]`.
pub fn mk_blog_route(app: &str, seconds: u64) -> IsrRoute {
    let mut posts = mk_rule(&["/blog/[slug]"], seconds);
    posts.tags = vec!["post:[slug]".to_owned()];
    mk_route(app, vec![mk_rule(&["/"], seconds), posts])
}

/// A purge of one route.
pub fn mk_request(name: &str, route: &str, spec: RevalidationRequestSpec) -> RevalidationRequest {
    RevalidationRequest::new(
        name,
        RevalidationRequestSpec {
            route_ref: Some(RouteRef {
                name: route.to_owned(),
            }),
            ..spec
        },
    )
}

/// The demonstration app: a Deployment named `name`, its pods labelled `app: <name>`, its port named `http`.
pub fn mk_app(name: &str, replicas: u32) -> Deployment {
    from_json(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 10,
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "app",
                        "image": format!("localhost/coppice-demo:{VERSION}"),
                        "imagePullPolicy": "IfNotPresent",
                        "env": [{"name": "PORT", "value": APP_PORT.to_string()}],
                        "ports": [{"name": "http", "containerPort": APP_PORT}],
                        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
                        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    }],
                },
            },
        },
    }))
}

/// The Service of an app, on port 80, to the port named `http`.
pub fn mk_service(app: &str) -> Service {
    from_json(json!({
        "metadata": {"name": app},
        "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }))
}

/// Labels of a namespace whose pods get sidecars, on a cluster that enforces the strictest pod security.
pub fn opted_in() -> serde_json::Value {
    json!({label::INJECT: "enabled", "pod-security.kubernetes.io/enforce": "restricted"})
}

/// An object from its JSON; wrong JSON is a mistake in a test.
pub fn from_json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("the test's object fits its type")
}
