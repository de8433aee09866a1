//! `metadata`: what an API server checks of every object.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::{schema, violation::Violation};
use crate::yaml::Path;

/// RFC 1123 subdomain, as Kubernetes spells it.
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const MAX_NAME: usize = 253;
const MAX_NAMESPACE: usize = 63;

static SUBDOMAIN_RE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&format!("^{SUBDOMAIN}$")).ok());

/// The fields of `ObjectMeta` that a person writes, and those that come along when an object is exported.
pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let any = json!({"x-kubernetes-preserve-unknown-fields": true});
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "generateName": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": texts,
            "annotations": texts,
            "finalizers": any,
            "ownerReferences": any,
            "uid": any,
            "resourceVersion": any,
            "generation": any,
            "creationTimestamp": any,
            "deletionTimestamp": any,
            "deletionGracePeriodSeconds": any,
            "selfLink": any,
            "managedFields": any,
        },
    })
});

pub(super) fn check(object: &Value, found: &mut Vec<Violation>) {
    let path = Path::default().field("metadata");
    let empty = json!({});
    let metadata = object.get("metadata").unwrap_or(&empty);
    let before = found.len();
    schema::check_at(&SCHEMA, metadata, &path, found);
    if found.len() > before {
        return;
    }
    let text = |field: &str| {
        metadata
            .get(field)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    match (text("name"), text("generateName")) {
        (None, None) => found.push(Violation::required(
            path.field("name"),
            "name or generateName is required",
        )),
        (Some(name), _) => subdomain(path.field("name"), name, name, found),
        // What the API server will append is alphanumeric.
        (None, Some(prefix)) => subdomain(path.field("generateName"), prefix, &format!("{prefix}a"), found),
    }
    if let Some(namespace) = text("namespace")
        && (namespace.len() > MAX_NAMESPACE || namespace.contains('.') || !is_subdomain(namespace))
    {
        found.push(Violation::metadata(
            path.field("namespace"),
            &Value::from(namespace),
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
             with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ));
    }
}

fn is_subdomain(text: &str) -> bool {
    SUBDOMAIN_RE.as_ref().is_some_and(|re| re.is_match(text))
}

fn subdomain(path: Path, written: &str, name: &str, found: &mut Vec<Violation>) {
    if name.len() > MAX_NAME {
        found.push(Violation::metadata(
            path.clone(),
            &Value::from(written),
            &format!("must be no more than {MAX_NAME} bytes"),
        ));
    }
    if !is_subdomain(name) {
        found.push(Violation::metadata(
            path,
            &Value::from(written),
            &format!(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                 start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN}')"
            ),
        ));
    }
}
