//! The chart, without a cluster: what it renders, what it refuses, what rights it asks for.

// Tests may panic, and nobody minds the size of their futures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures)]

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use coppice_api::crds;
use coppice_tests::{check, command::tool};
use serde_json::{Value, json};

const CHART: &str = "charts/coppice";

/// Renders the chart with these further arguments, as one YAML stream.
fn template(arguments: &[&str]) -> Result<String> {
    let mut all = vec!["template", "coppice", CHART, "--namespace", "coppice-system"];
    all.extend(arguments);
    tool("helm", &all, None)?
        .ok()
        .with_context(|| format!("helm template {arguments:?}"))
}

/// The objects of a YAML stream.
fn objects(stream: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in stream.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).with_context(|| document.to_owned())?;
        if object.is_object() {
            objects.push(object);
        }
    }
    Ok(objects)
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .with_context(|| format!("the chart renders no {kind} {name}"))
}

fn each<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Ways in which users set values.
const MATRIX: [&[&str]; 9] = [
    &[],
    &["--set", "replicas=0"],
    &[
        "--set",
        "image.registry=registry.example.com/team,image.tag=v1.2.3,image.pullPolicy=Always",
    ],
    &[
        "--set",
        "image.pullSecrets={one,two},priorityClassName=system-cluster-critical",
    ],
    &[
        "--set-json",
        r#"tolerations=[{"key":"a","operator":"Exists"}]"#,
        "--set-json",
        r#"nodeSelector={"a":"b"}"#,
    ],
    &[
        "--set-json",
        r#"affinity={"nodeAffinity":{}}"#,
        "--set-json",
        r#"podAnnotations={"a":"b"}"#,
    ],
    &[
        "--set",
        "webhook.failurePolicy=Fail,webhook.timeoutSeconds=10",
        "--set-json",
        r#"webhook.namespaceSelector={"matchLabels":{"tier":"web"},"matchExpressions":[{"key":"x","operator":"Exists"}]}"#,
    ],
    &[
        "--set-json",
        r#"metrics.annotations={"prometheus.io/scrape":"true"}"#,
        "--set",
        "serviceAccount.annotations.a=b,podLabels.c=d",
    ],
    &["--set", "crds.install=false,rbac.aggregate=false,logLevel=debug"],
];

#[test]
fn chart_lints() -> Result<()> {
    tool("helm", &["lint", "--strict", CHART], None)?.ok()?;
    Ok(())
}

#[test]
fn chart_renders_valid_objects_whatever_the_values() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let schemas = schemas(folder.path())?;
    for arguments in MATRIX {
        let stream = template(arguments)?;
        check!(
            !stream.contains("<no value>"),
            "{arguments:?}: something has no value"
        );
        let validated = tool(
            "kubeconform",
            &[
                "-strict",
                "-ignore-missing-schemas",
                "-schema-location",
                &schemas,
                "-summary",
                "-",
            ],
            Some(&stream),
        )?;
        check!(
            validated.success,
            "{arguments:?}: {}{}",
            validated.out,
            validated.err
        );
        let all = objects(&stream)?;
        let mut seen = BTreeSet::new();
        for object in &all {
            check!(
                object["apiVersion"].is_string() && object["metadata"]["name"].is_string(),
                "{object}"
            );
            let id = format!("{} {}", object["kind"], object["metadata"]["name"]);
            check!(seen.insert(id.clone()), "{arguments:?}: {id} twice");
        }
        check!(all.len() >= 9, "{arguments:?}: {} objects", all.len());
    }
    Ok(())
}

/// Schemas of our own kinds, from our own definitions, where kubeconform looks for them; no network is asked.
fn schemas(folder: &std::path::Path) -> Result<String> {
    for definition in crds::all() {
        let version = &definition.spec.versions[0];
        let mut schema = serde_json::to_value(
            version
                .schema
                .as_ref()
                .and_then(|s| s.open_api_v3_schema.as_ref()),
        )?;
        strict(&mut schema);
        let name = format!(
            "{}-{}.json",
            definition.spec.names.kind.to_lowercase(),
            version.name
        );
        std::fs::write(folder.join(name), serde_json::to_vec(&schema)?)?;
    }
    Ok(format!(
        "{}/{{{{.ResourceKind}}}}-{{{{.ResourceAPIVersion}}}}.json",
        folder.display()
    ))
}

/// As an API server reads it: unknown fields are refused, "integer or text" is a type, kind and metadata are known.
fn strict(schema: &mut Value) {
    fn walk(schema: &mut Value) {
        let Some(map) = schema.as_object_mut() else { return };
        if map.get("x-kubernetes-int-or-string").is_some() {
            map.insert("type".to_owned(), json!(["integer", "string"]));
        }
        if map.contains_key("properties") {
            map.insert("additionalProperties".to_owned(), json!(false));
        }
        for property in map
            .get_mut("properties")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            walk(property.1);
        }
        if let Some(items) = map.get_mut("items") {
            walk(items);
        }
    }
    walk(schema);
    for (name, kind) in [
        ("apiVersion", "string"),
        ("kind", "string"),
        ("metadata", "object"),
    ] {
        schema["properties"][name] = json!({"type": kind});
    }
}

/// The manifests that users start from fit the definitions, too.
#[test]
fn chart_schemas_accept_good_manifests_and_refuse_bad_ones() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let schemas = schemas(folder.path())?;
    let validate = |file: &str| {
        tool(
            "kubeconform",
            &["-strict", "-schema-location", &schemas, file],
            None,
        )
    };
    for file in ["route-full", "route-small", "request-full"] {
        let validated = validate(&format!("tests/manifests/good/{file}.yaml"))?;
        check!(validated.success, "{file}: {}{}", validated.out, validated.err);
    }
    for file in [
        "unknown-field",
        "selector-missing",
        "request-strategy",
        "revalidate-type",
    ] {
        let validated = validate(&format!("tests/manifests/bad/{file}.yaml"))?;
        check!(!validated.success, "{file} was let through: {}", validated.out);
    }
    Ok(())
}

#[test]
fn chart_refuses_values_that_it_does_not_know() -> Result<()> {
    for (wrong, named) in [
        ("replica=1", "replica"),
        ("replicas=2", "replicas"),
        ("replicas=one", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.tga=v1", "tga"),
        ("image.tag=a b", "tag"),
        ("image.registry=", "registry"),
        ("webhook.failurePolicy=Maybe", "failurePolicy"),
        ("webhook.timeoutSeconds=31", "timeoutSeconds"),
        (
            "webhook.namespaceSelector.matchExpressions[0].operator=Is",
            "namespaceSelector",
        ),
        ("resources.limit.memory=1Gi", "limit"),
        ("tolerations.key=a", "tolerations"),
        ("crds.install=maybe", "install"),
        ("metrics.enabled=true", "enabled"),
        ("logLevel=", "logLevel"),
    ] {
        let rendered = tool("helm", &["template", "coppice", CHART, "--set", wrong], None)?;
        check!(!rendered.success, "--set {wrong} was let through");
        check!(rendered.err.contains(named), "--set {wrong}: {}", rendered.err);
    }
    Ok(())
}

#[test]
fn chart_asks_for_named_rights_only() -> Result<()> {
    let all = objects(&template(&[])?)?;
    for object in all
        .iter()
        .filter(|o| o["kind"] == "ClusterRole" || o["kind"] == "Role")
    {
        for rule in each(object, "/rules") {
            for list in ["/apiGroups", "/resources", "/verbs", "/resourceNames"] {
                for word in each(rule, list) {
                    check!(!word.as_str().unwrap_or_default().contains('*'), "{rule}");
                }
            }
            check!(each(rule, "/verbs").count() > 0, "{rule}");
            // The operator reads Secrets in its own namespace alone, and there one by name.
            if each(rule, "/resources").any(|r| r == "secrets") {
                check!(object["kind"] == "Role", "Secrets cluster-wide: {rule}");
                let only_create = each(rule, "/verbs").all(|v| v == "create");
                check!(only_create || each(rule, "/resourceNames").count() == 1, "{rule}");
            }
            for dangerous in ["escalate", "bind", "impersonate"] {
                check!(!each(rule, "/verbs").any(|v| v == dangerous), "{rule}");
            }
        }
    }
    let operator = find(&all, "ClusterRole", "coppice-operator")?;
    let writes_services = each(operator, "/rules").any(|rule| {
        each(rule, "/resources").any(|r| r == "services" || r == "pods")
            && each(rule, "/verbs")
                .any(|v| !["get", "list", "watch"].contains(&v.as_str().unwrap_or_default()))
    });
    check!(!writes_services, "Services and pods are never edited");
    Ok(())
}

#[test]
fn chart_carries_the_definitions_of_the_types_and_keeps_them() -> Result<()> {
    let all = objects(&template(&[])?)?;
    for definition in crds::all() {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let rendered = find(&all, "CustomResourceDefinition", &name)?;
        let spec = serde_json::to_value(&definition.spec)?;
        let read: Value = serde_json::to_value(serde_json::from_value::<
            k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionSpec,
        >(rendered["spec"].clone())?)?;
        check!(
            read == spec,
            "{name}: the chart renders something else than the types say"
        );
        check!(
            rendered["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep",
            "{name} would be deleted"
        );
    }
    let without = objects(&template(&["--set", "crds.install=false"])?)?;
    check!(
        !without.iter().any(|o| o["kind"] == "CustomResourceDefinition"),
        "crds.install=false installs them"
    );
    Ok(())
}

#[test]
fn chart_runs_the_operator_under_restricted_pod_security() -> Result<()> {
    let all = objects(&template(&[])?)?;
    let deployment = find(&all, "Deployment", "coppice-operator")?;
    let spec = &deployment["spec"];
    check!(
        spec["replicas"] == 1 && spec["strategy"]["type"] == "Recreate",
        "{spec}"
    );
    let pod = &spec["template"]["spec"];
    let security = &pod["securityContext"];
    check!(
        security["runAsNonRoot"] == true && security["seccompProfile"]["type"] == "RuntimeDefault",
        "{security}"
    );
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        check!(pod[host].is_null(), "{host}");
    }
    for container in each(pod, "/containers") {
        let security = &container["securityContext"];
        check!(security["allowPrivilegeEscalation"] == false, "{security}");
        check!(security["readOnlyRootFilesystem"] == true, "{security}");
        check!(security["capabilities"]["drop"] == json!(["ALL"]), "{security}");
        check!(
            container["resources"]["limits"]["memory"].is_string(),
            "no memory limit"
        );
        check!(
            container["image"] == format!("localhost/coppice-operator:{}", env!("CARGO_PKG_VERSION")),
            "{container}"
        );
    }
    // What the Services select is what the pods are.
    let labels = &spec["template"]["metadata"]["labels"];
    for service in all.iter().filter(|o| o["kind"] == "Service") {
        for (key, value) in service["spec"]["selector"].as_object().into_iter().flatten() {
            check!(&labels[key] == value, "{}: {key}", service["metadata"]["name"]);
        }
        for port in each(service, "/spec/ports") {
            let named = each(pod, "/containers/0/ports").any(|p| p["name"] == port["targetPort"]);
            check!(named, "{} leads nowhere: {port}", service["metadata"]["name"]);
        }
    }
    Ok(())
}

#[test]
fn chart_asks_for_pods_that_opted_in_and_for_no_others() -> Result<()> {
    let all = objects(&template(&[])?)?;
    let webhooks = find(&all, "MutatingWebhookConfiguration", "coppice-operator")?;
    check!(
        each(webhooks, "/webhooks").count() == 2,
        "one entry for namespaces, one for pods"
    );
    for webhook in each(webhooks, "/webhooks") {
        // The operator writes it; a template that had one would undo that at each upgrade.
        check!(webhook["clientConfig"]["caBundle"].is_null(), "{webhook}");
        check!(
            webhook["failurePolicy"] == "Ignore" && webhook["timeoutSeconds"] == 5,
            "{webhook}"
        );
        check!(webhook["reinvocationPolicy"] == "IfNeeded", "{webhook}");
        check!(
            webhook["rules"].as_array().is_some_and(|r| r.len() == 1),
            "{webhook}"
        );
        check!(
            webhook["rules"][0]["operations"] == json!(["CREATE"]),
            "{webhook}"
        );
    }
    for (namespace, pod, asked) in [
        (Some("enabled"), None, 1),
        (Some("enabled"), Some("enabled"), 1),
        (Some("enabled"), Some("disabled"), 0),
        (None, None, 0),
        (None, Some("enabled"), 1),
        (None, Some("disabled"), 0),
        (Some("disabled"), Some("enabled"), 1),
        (Some("disabled"), None, 0),
    ] {
        let asks = |name: &str| -> Result<usize> {
            let mut asks = 0;
            for webhook in each(webhooks, "/webhooks") {
                let of_namespace =
                    json!({"kubernetes.io/metadata.name": name, "coppice.dev/inject": namespace});
                let of_pod = json!({"coppice.dev/inject": pod});
                if selects(&webhook["namespaceSelector"], &of_namespace)?
                    && selects(&webhook["objectSelector"], &of_pod)?
                {
                    asks += 1;
                }
            }
            Ok(asks)
        };
        let asked_in = asks("shop")?;
        check!(
            asked_in == asked,
            "namespace {namespace:?}, pod {pod:?}: asked {asked_in} times, not {asked}"
        );
        for own in ["kube-system", "coppice-system"] {
            check!(asks(own)? == 0, "{own} must start without the operator");
        }
    }
    Ok(())
}

/// Does a label selector select these labels (null: not there)?
fn selects(selector: &Value, labels: &Value) -> Result<bool> {
    for expression in each(selector, "/matchExpressions") {
        let label = &labels[expression["key"].as_str().unwrap_or_default()];
        let among = each(expression, "/values").any(|value| value == label);
        let holds = match expression["operator"].as_str() {
            Some("In") => among,
            Some("NotIn") => !among,
            Some("Exists") => !label.is_null(),
            Some("DoesNotExist") => label.is_null(),
            other => bail!("unknown operator {other:?}"),
        };
        if !holds {
            return Ok(false);
        }
    }
    check!(
        selector["matchLabels"].is_null(),
        "matchLabels are not looked at: {selector}"
    );
    Ok(true)
}

#[test]
fn chart_notes_say_what_to_type_next() -> Result<()> {
    let arguments = [
        "install",
        "coppice",
        CHART,
        "--namespace",
        "coppice-system",
        "--dry-run=client",
    ];
    let notes = tool("helm", &arguments, None)?.ok()?;
    let notes = notes.split("NOTES:").nth(1).context("the chart has no notes")?;
    for typed in [
        "coppice.dev/inject=enabled",
        "kind: IsrRoute",
        "kind: RevalidationRequest",
        "kubectl -n default get isrreq",
    ] {
        check!(notes.contains(typed), "{typed:?} is missing in:\n{notes}");
    }
    // What they show is accepted by the definitions.
    for document in notes.split("<<YAML\n").skip(1) {
        let text = document.split("YAML").next().unwrap_or_default();
        let object: Value = serde_saphyr::from_str(text)?;
        check!(object["apiVersion"] == "coppice.dev/v1alpha1", "{text}");
    }
    Ok(())
}
