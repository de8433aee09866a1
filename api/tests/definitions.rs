//! The definitions as a whole: bounded, structural, small, and the same as the files of the repository.

use std::path::Path;

use coppice_api::crds;
use serde_json::Value;

fn schema_of(definition: &impl serde::Serialize) -> Value {
    let definition = serde_json::to_value(definition).expect("a definition is JSON");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `look` with every schema below `spec` and `status`, and its path.
fn walk(path: &str, schema: &Value, look: &mut impl FnMut(&str, &Value)) {
    look(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, look);
    }
    for part in ["items", "additionalProperties"] {
        if schema[part].is_object() {
            walk(&format!("{path}[]"), &schema[part], look);
        }
    }
}

#[test]
fn everything_is_bounded_and_typed() {
    for definition in crds::all() {
        let mut wrong = Vec::new();
        let schema = schema_of(&definition);
        for part in ["spec", "status"] {
            walk(part, &schema["properties"][part], &mut |path, schema| {
                let has = |key: &str| !schema[key].is_null();
                let missing = match schema["type"].as_str() {
                    Some("string") if !has("enum") && !has("maxLength") => "maxLength",
                    Some("array") if !has("maxItems") => "maxItems",
                    Some("array") if !has("x-kubernetes-list-type") => "list type",
                    Some("integer") if !matches!(schema["format"].as_str(), Some("int32" | "int64")) => {
                        "format int32 or int64"
                    }
                    Some("object") if !has("properties") && !has("additionalProperties") => "properties",
                    None if !has("x-kubernetes-int-or-string") => "type",
                    _ if schema["nullable"] == true => "a plain type instead of nullable",
                    _ => return,
                };
                wrong.push(format!("{path}: {missing}"));
            });
        }
        assert_eq!(wrong, [""; 0]);
    }
}

#[test]
fn every_rule_names_a_remedy() {
    for definition in crds::all() {
        walk("", &schema_of(&definition), &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let message = rule["message"].as_str().unwrap_or_default();
                assert!(message.len() > 20, "{path}: {rule}");
                assert!(
                    !message.contains('\n') && !message.ends_with('.'),
                    "{path}: {message}"
                );
            }
        });
    }
}

#[test]
fn a_status_starts_as_never_observed() {
    for definition in crds::all() {
        let schema = schema_of(&definition);
        assert_eq!(
            schema["properties"]["status"]["default"]["observedGeneration"],
            -1
        );
    }
}

#[test]
fn the_columns_are_the_promised_ones() {
    let columns = crds::all().map(|definition| {
        let columns = definition.spec.versions[0]
            .additional_printer_columns
            .clone()
            .unwrap();
        let default = columns.into_iter().filter(|c| c.priority.unwrap_or(0) == 0);
        default.map(|c| c.name).collect::<Vec<_>>()
    });
    assert_eq!(columns[0], ["Ready", "Sidecars", "Age"]);
    assert_eq!(columns[1], ["Acknowledged", "Ready", "Sidecars", "Age"]);
}

/// Client-side apply keeps the whole object in an annotation, and annotations end at 256 KiB.
#[test]
fn the_files_are_up_to_date_and_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in crds::files().unwrap() {
        let there = std::fs::read_to_string(root.join(&file.path)).unwrap_or_default();
        assert!(there == file.text, "{} is out of date: run crdgen", file.path);
        assert!(
            file.text.len() < 128 * 1024,
            "{}: {} bytes",
            file.path,
            file.text.len()
        );
    }
}

#[test]
fn the_yaml_is_read_back_as_it_was() {
    for (definition, file) in crds::all().iter().zip(crds::files().unwrap().iter().step_by(2)) {
        let read: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_saphyr::from_str(&file.text).unwrap();
        assert_eq!(&read, definition, "{}", file.path);
    }
}
