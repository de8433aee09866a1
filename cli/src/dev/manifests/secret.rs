//! A Secret as it was written. Nothing in here repeats a value, and no line of it is shown in an error.

use std::collections::BTreeMap;

use coppice_api::names::label;
use coppice_operator::index::Secret;
use k8s_openapi::ByteString;
use serde_json::Value;

use crate::{
    check::Violation,
    yaml::{Entry, Kind, Node, Path},
};

/// Whether a document is a Secret.
pub(super) fn is(document: &Node) -> bool {
    (document.text("apiVersion"), document.text("kind")) == (Some("v1"), Some("Secret"))
}

/// Reads a Secret; its namespace is left to who knows it. `stringData` wins over `data`, as in the API server.
pub(super) fn read(document: &Node) -> Result<Secret, Vec<Violation>> {
    let mut found = Vec::new();
    let metadata = document.get("metadata").map(|entry| &entry.value);
    let name = metadata
        .and_then(|metadata| metadata.text("name"))
        .unwrap_or_default();
    if name.is_empty() {
        let path = Path::parse("metadata.name");
        found.push(Violation::other(path, "Required value: a Secret has a name"));
    }
    let labels = metadata.and_then(|metadata| metadata.get("labels"));
    let consent = labels.and_then(|labels| labels.value.text(label::ALLOW_REFERENCE));
    let mut data = BTreeMap::new();
    for field in ["data", "stringData"] {
        for Entry { key, value, .. } in entries(document, field) {
            let value = match (&value.kind, field) {
                (Kind::Scalar(Value::Null), _) => Some(Vec::new()),
                (Kind::Scalar(Value::String(text)), "data") => decoded(text),
                (Kind::Scalar(Value::String(text)), _) => Some(text.clone().into_bytes()),
                _ => None,
            };
            let Some(value) = value else {
                let path = Path::parse(field).field(key);
                let words = match field {
                    "data" => {
                        "Invalid value: it is no base64 text; write it plainly under stringData, or encode it"
                    }
                    _ => "Invalid value: it is no text; put it in quotes",
                };
                found.push(Violation::other(path, words));
                continue;
            };
            data.insert(key.clone(), value);
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    Ok(Secret {
        namespace: String::new(),
        name: name.to_owned(),
        allowed: consent == Some("true"),
        data,
    })
}

fn entries<'a>(document: &'a Node, field: &str) -> &'a [Entry] {
    match document.get(field).map(|entry| &entry.value.kind) {
        Some(Kind::Map(entries)) => entries,
        _ => &[],
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    // A long value may be folded over several lines.
    let text: String = text.split_ascii_whitespace().collect();
    let bytes: Result<ByteString, _> = serde_json::from_value(Value::String(text));
    bytes.ok().map(|bytes| bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Secret, Vec<String>> {
        let document = crate::yaml::parse(text).unwrap().remove(0).root;
        assert!(is(&document));
        super::read(&document).map_err(|found| found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_secret_is_read_as_the_api_server_reads_it() {
        let secret = read(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s, labels: {coppice.dev/allow-reference: 'true'}}\n\
             data: {a: b25l, b: dHdv, n: }\nstringData: {b: three}\n",
        )
        .unwrap();
        assert!(secret.allowed);
        let data: Vec<_> = secret
            .data
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_slice()))
            .collect();
        assert_eq!(data, [("a", &b"one"[..]), ("b", b"three"), ("n", b"")]);
        let unlabelled = read("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n").unwrap();
        assert!(!unlabelled.allowed);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_repeated() {
        let found = read(
            "apiVersion: v1\nkind: Secret\nmetadata: {}\ndata: {token: 'quite=secret'}\nstringData: {pin: 4711}\n",
        )
        .unwrap_err();
        assert_eq!(found.len(), 3, "{found:?}");
        for (words, field) in found
            .iter()
            .zip(["metadata.name", "data.token", "stringData.pin"])
        {
            assert!(words.starts_with(field), "{words}");
            assert!(!words.contains("quite") && !words.contains("4711"), "{words}");
        }
    }
}
