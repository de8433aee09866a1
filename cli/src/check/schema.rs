//! An object against a structural schema (`OpenAPI` v3 as Kubernetes allows it), with the messages of the API server.

use std::{collections::BTreeSet, sync::LazyLock};

use parking_lot::Mutex;
use regex::Regex;
use serde_json::{Map, Value};

use super::{meta, violation::Violation};
use crate::yaml::{Path, Step};

/// Compiled patterns: a schema has a few dozen.
static PATTERNS: LazyLock<Mutex<std::collections::HashMap<String, Option<Regex>>>> =
    LazyLock::new(Mutex::default);

/// The keywords that this module understands, or that say nothing about validity. A test holds the CRDs against it.
#[cfg(test)]
pub(super) const KEYWORDS: [&str; 30] = [
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "uniqueItems",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Calls `f` for each CEL rule of a schema and of all that is in it.
pub(super) fn each_rule(schema: &Value, f: &mut impl FnMut(&Value)) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        f(rule);
    }
    for (_, inner) in properties(schema).into_iter().flatten() {
        each_rule(inner, f);
    }
    for inner in [items(schema), additional(schema)].into_iter().flatten() {
        each_rule(inner, f);
    }
}

/// Puts what `f` makes of it in the place of each CEL rule.
pub(super) fn rewrite_rules(schema: &mut Value, f: &impl Fn(&str) -> String) {
    match schema {
        Value::Object(fields) => {
            for (keyword, inner) in fields {
                if keyword == "x-kubernetes-validations" {
                    for rule in inner.as_array_mut().into_iter().flatten() {
                        if let Some(Value::String(text)) = rule.get_mut("rule") {
                            *text = f(text);
                        }
                    }
                } else {
                    rewrite_rules(inner, f);
                }
            }
        }
        Value::Array(list) => {
            for inner in list {
                rewrite_rules(inner, f);
            }
        }
        _ => {}
    }
}

/// The schema of the field at `path`, for words about it.
pub(super) fn at<'a>(schema: &'a Value, path: &Path) -> Option<&'a Value> {
    path.0.iter().try_fold(schema, |schema, step| match step {
        Step::Field(name) | Step::Key(name) => field(schema, name),
        Step::Item(_) => items(schema),
    })
}

/// The fields that a schema names.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

fn items(schema: &Value) -> Option<&Value> {
    schema.get("items").filter(|s| s.is_object())
}

fn additional(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|s| s.is_object())
}

fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    properties(schema)
        .and_then(|p| p.get(name))
        .or_else(|| additional(schema))
}

fn flag(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).and_then(Value::as_bool).unwrap_or(false)
}

/// Fields that the schema does not name. The API server looks at the type of an object's own value only, so this goes
/// on where types do not fit.
pub(super) fn unknown_fields(schema: &Value, object: &Value, found: &mut Vec<Violation>) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = Path::default().field(name);
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => unknown_at(&meta::SCHEMA, value, &path, found),
            _ => match properties(schema).and_then(|p| p.get(name)) {
                Some(inner) => unknown_at(inner, value, &path, found),
                None => found.push(Violation::unknown_field(path)),
            },
        }
    }
}

fn unknown_at(schema: &Value, value: &Value, path: &Path, found: &mut Vec<Violation>) {
    match value {
        Value::Object(fields) => {
            let open = flag(schema, "x-kubernetes-preserve-unknown-fields")
                || schema.get("additionalProperties") == Some(&Value::Bool(true));
            for (name, value) in fields {
                let path = path.field(name);
                match field(schema, name) {
                    Some(inner) => unknown_at(inner, value, &path, found),
                    None if open => {}
                    None => found.push(Violation::unknown_field(path)),
                }
            }
        }
        Value::Array(list) => {
            for (n, (item, inner)) in list.iter().zip(items(schema).into_iter().cycle()).enumerate() {
                unknown_at(inner, item, &path.item(n), found);
            }
        }
        _ => {}
    }
}

/// Takes out nulls where the schema has neither `nullable` nor a default, as the API server does before it validates.
pub(super) fn prune_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let inner = field(schema, name);
                !(value.is_null()
                    && inner.is_some_and(|s| !flag(s, "nullable") && s.get("default").is_none()))
            });
            for (name, value) in fields {
                if let Some(inner) = field(schema, name) {
                    prune_nulls(inner, value);
                }
            }
        }
        Value::Array(list) => {
            if let Some(inner) = items(schema) {
                for item in list {
                    prune_nulls(inner, item);
                }
            }
        }
        _ => {}
    }
}

/// Checks types, bounds, patterns, enumerations and required fields of a whole object.
pub(super) fn check(schema: &Value, object: &Value, found: &mut Vec<Violation>) {
    check_at(schema, object, &Path::default(), found);
}

/// Checks a value within an object.
pub(super) fn check_at(schema: &Value, value: &Value, path: &Path, found: &mut Vec<Violation>) {
    check_type(schema, value, path, found);
    match value {
        Value::String(text) => check_string(schema, value, text, path, found),
        Value::Number(_) => check_number(schema, value, path, found),
        Value::Array(list) => check_list(schema, list, path, found),
        // Of these, only type and enumeration are looked at here.
        Value::Null | Value::Bool(_) | Value::Object(_) => {}
    }
    if let Some(supported) = schema.get("enum").and_then(Value::as_array)
        && !supported.contains(value)
    {
        found.push(Violation::unsupported(path.clone(), value, supported));
    }
    if let Value::Object(fields) = value {
        check_object(schema, fields, path, found);
    }
}

fn check_type(schema: &Value, value: &Value, path: &Path, found: &mut Vec<Violation>) {
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let wanted = match schema.get("type").and_then(Value::as_str) {
        _ if int_or_string => "integer,string",
        Some(kind) => kind,
        None => return,
    };
    let (actual, fits) = match value {
        Value::Null => ("null", flag(schema, "nullable")),
        Value::Bool(_) => ("boolean", wanted == "boolean"),
        Value::String(_) => ("string", wanted == "string" || int_or_string),
        Value::Number(n) if n.is_f64() => ("number", wanted == "number"),
        Value::Number(_) => ("integer", matches!(wanted, "integer" | "number") || int_or_string),
        Value::Array(_) => ("array", wanted == "array"),
        Value::Object(_) => ("object", wanted == "object"),
    };
    if !fits {
        found.push(Violation::wrong_type(path.clone(), wanted, actual));
    }
}

fn check_string(schema: &Value, value: &Value, text: &str, path: &Path, found: &mut Vec<Violation>) {
    let length = text.chars().count() as u64;
    if let Some(most) = number(schema, "maxLength")
        && length > most
    {
        found.push(Violation::too_long(path.clone(), most));
    }
    if let Some(least) = number(schema, "minLength")
        && length < least
    {
        let words = format!("should be at least {least} chars long");
        found.push(Violation::invalid(path.clone(), value, &words));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        let mut patterns = PATTERNS.lock();
        let compiled = patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).ok());
        if !compiled.as_ref().is_some_and(|re| re.is_match(text)) {
            let words = format!("should match '{pattern}'");
            found.push(Violation::invalid(path.clone(), value, &words));
        }
    }
}

fn check_number(schema: &Value, value: &Value, path: &Path, found: &mut Vec<Violation>) {
    let Some(n) = value.as_f64() else { return };
    let bound = |keyword| schema.get(keyword).and_then(Value::as_f64);
    if let Some(most) = bound("maximum") {
        let exclusive = flag(schema, "exclusiveMaximum");
        if n > most || (exclusive && n >= most) {
            let or_equal = if exclusive { "" } else { " or equal to" };
            let words = format!("should be less than{or_equal} {most}");
            found.push(Violation::invalid(path.clone(), value, &words));
        }
    }
    if let Some(least) = bound("minimum") {
        let exclusive = flag(schema, "exclusiveMinimum");
        if n < least || (exclusive && n <= least) {
            let or_equal = if exclusive { "" } else { " or equal to" };
            let words = format!("should be greater than{or_equal} {least}");
            found.push(Violation::invalid(path.clone(), value, &words));
        }
    }
}

fn check_list(schema: &Value, list: &[Value], path: &Path, found: &mut Vec<Violation>) {
    if let Some(inner) = items(schema) {
        for (n, item) in list.iter().enumerate() {
            check_at(inner, item, &path.item(n), found);
        }
    }
    if let Some(least) = number(schema, "minItems")
        && (list.len() as u64) < least
    {
        let words = format!("should have at least {least} items");
        found.push(Violation::invalid(path.clone(), &Value::from(list.len()), &words));
    }
    if let Some(most) = number(schema, "maxItems")
        && list.len() as u64 > most
    {
        found.push(Violation::too_many(path.clone(), list.len(), most));
    }
}

fn check_object(schema: &Value, fields: &Map<String, Value>, path: &Path, found: &mut Vec<Violation>) {
    if let Some(least) = number(schema, "minProperties")
        && (fields.len() as u64) < least
    {
        let words = format!("should have at least {least} properties");
        found.push(Violation::invalid(
            path.clone(),
            &Value::from(fields.len()),
            &words,
        ));
    }
    if let Some(most) = number(schema, "maxProperties")
        && fields.len() as u64 > most
    {
        found.push(Violation::too_many(path.clone(), fields.len(), most));
    }
    for (name, value) in fields {
        if let Some(inner) = field(schema, name) {
            check_at(inner, value, &path.field(name), found);
        }
    }
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(name) = name.as_str()
            && !fields.contains_key(name)
        {
            found.push(Violation::required(path.field(name), ""));
        }
    }
}

fn number(schema: &Value, keyword: &str) -> Option<u64> {
    schema.get(keyword).and_then(Value::as_u64)
}

/// Items that occur twice in lists of type `set`, and keys that occur twice in lists of type `map`.
pub(super) fn list_types(schema: &Value, object: &Value, found: &mut Vec<Violation>) {
    list_types_at(schema, object, &Path::default(), found);
}

fn list_types_at(schema: &Value, value: &Value, path: &Path, found: &mut Vec<Violation>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let named = properties(schema).and_then(|p| p.get(name));
                if let Some(inner) = named {
                    list_types_at(inner, value, &path.field(name), found);
                } else if let Some(inner) = additional(schema) {
                    list_types_at(inner, value, &path.with(Step::Key(name.clone())), found);
                }
            }
        }
        Value::Array(list) => {
            match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => twice(list.iter().cloned(), path, found),
                Some("map") => twice(list.iter().map(|item| map_key(schema, item)), path, found),
                _ => {}
            }
            if let Some(inner) = items(schema) {
                for (n, item) in list.iter().enumerate() {
                    list_types_at(inner, item, &path.item(n), found);
                }
            }
        }
        _ => {}
    }
}

/// The fields of a list item that must be unique.
fn map_key(schema: &Value, item: &Value) -> Value {
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    let key: Map<_, _> = keys
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(|k| Some((k.to_owned(), item.get(k)?.clone())))
        .collect();
    Value::Object(key)
}

/// Reports each value at its second appearance, once.
fn twice(values: impl Iterator<Item = Value>, path: &Path, found: &mut Vec<Violation>) {
    let mut seen = BTreeSet::new();
    let mut reported = BTreeSet::new();
    for (n, value) in values.enumerate() {
        let text = value.to_string();
        if !seen.insert(text.clone()) && reported.insert(text) {
            found.push(Violation::duplicate(path.item(n), &value));
        }
    }
}
