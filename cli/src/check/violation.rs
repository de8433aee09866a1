//! One thing that is wrong with an object, in the API server's words.

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::yaml::Path;

/// What sort of violation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A field that the schema does not know.
    UnknownField,
    /// A key that occurs twice in one map.
    DuplicateField,
    /// A kind or version that does not exist.
    NoSuchKind,
    /// A field that is missing.
    Required,
    /// A value of another type.
    Type,
    /// A value that is not among the allowed ones.
    Unsupported,
    /// A string beyond its maximum.
    TooLong,
    /// A list or map beyond its maximum.
    TooMany,
    /// A list item that is there already.
    Duplicate,
    /// Any other value that the schema refuses.
    Invalid,
    /// A CEL rule refuses it.
    Rule,
    /// CEL rules were not checked because of other violations.
    NotChecked,
}

impl Class {
    /// The API server evaluates no CEL rule on an object with such a violation.
    pub(super) const fn blocks_rules(self) -> bool {
        matches!(
            self,
            Self::Unsupported | Self::Required | Self::TooLong | Self::TooMany | Self::Type
        )
    }
}

/// One thing that is wrong with an object. It prints as the API server says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field concerned.
    pub path: Path,
    /// What sort of violation it is.
    pub class: Class,
    /// What to do about it, where that can be said.
    pub remedy: Option<String>,
    words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Violation {
    fn new(path: Path, class: Class, words: String) -> Self {
        Self {
            path,
            class,
            remedy: None,
            words,
        }
    }

    fn at(path: Path, class: Class, body: &str) -> Self {
        let words = format!("{path}: {body}");
        Self::new(path, class, words)
    }

    pub(super) fn unknown_field(path: Path) -> Self {
        let words = format!("unknown field \"{path}\"");
        Self::new(path, Class::UnknownField, words)
    }

    pub(super) fn duplicate_field(path: Path) -> Self {
        let words = format!("duplicate field \"{path}\"");
        Self::new(path, Class::DuplicateField, words)
    }

    pub(super) fn no_such_kind(path: Path, kind: &str, api_version: &str) -> Self {
        let words = format!("no matches for kind {kind:?} in version {api_version:?}");
        Self {
            remedy: Some(
                "write apiVersion coppice.dev/v1alpha1 and kind IsrRoute or RevalidationRequest".to_owned(),
            ),
            ..Self::new(path, Class::NoSuchKind, words)
        }
    }

    pub(super) fn required(path: Path, detail: &str) -> Self {
        let body = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self::at(path, Class::Required, &body)
    }

    /// `actual` is the name of the JSON type that was found.
    pub(super) fn wrong_type(path: Path, wanted: &str, actual: &str) -> Self {
        let body =
            format!("Invalid value: \"{actual}\": {path} in body must be of type {wanted}: \"{actual}\"");
        Self::at(path, Class::Type, &body)
    }

    pub(super) fn unsupported(path: Path, value: &Value, supported: &[Value]) -> Self {
        let supported: Vec<_> = supported
            .iter()
            .map(|v| go_quote(&v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect();
        let body = format!(
            "Unsupported value: {}: supported values: {}",
            shown(value),
            supported.join(", ")
        );
        Self::at(path, Class::Unsupported, &body)
    }

    pub(super) fn too_long(path: Path, most: u64) -> Self {
        let bytes = if most == 1 { "byte" } else { "bytes" };
        Self::at(
            path,
            Class::TooLong,
            &format!("Too long: may not be more than {most} {bytes}"),
        )
    }

    pub(super) fn too_many(path: Path, actual: usize, most: u64) -> Self {
        let items = if most == 1 { "item" } else { "items" };
        Self::at(
            path,
            Class::TooMany,
            &format!("Too many: {actual}: must have at most {most} {items}"),
        )
    }

    pub(super) fn duplicate(path: Path, value: &Value) -> Self {
        Self::at(
            path,
            Class::Duplicate,
            &format!("Duplicate value: {}", shown(value)),
        )
    }

    /// `words` go after `<path> in body`.
    pub(super) fn invalid(path: Path, value: &Value, words: &str) -> Self {
        let body = format!("Invalid value: {}: {path} in body {words}", shown(value));
        Self::at(path, Class::Invalid, &body)
    }

    pub(super) fn metadata(path: Path, value: &Value, words: &str) -> Self {
        let body = format!("Invalid value: {}: {words}", shown(value));
        Self::at(path, Class::Invalid, &body)
    }

    /// A CEL rule that failed; `value` is printed where the rule's subject is a scalar.
    pub(super) fn rule(path: Path, value: Option<&Value>, message: &str, reason: Option<&str>) -> Self {
        let body = match (reason, value) {
            (Some("FieldValueForbidden"), _) => format!("Forbidden: {message}"),
            (Some("FieldValueRequired"), _) => format!("Required value: {message}"),
            (Some("FieldValueDuplicate"), Some(value)) => format!("Duplicate value: {}", shown(value)),
            (Some("FieldValueDuplicate"), None) => "Duplicate value".to_owned(),
            (_, Some(value)) => format!("Invalid value: {}: {message}", shown(value)),
            (_, None) => format!("Invalid value: {message}"),
        };
        if path.0.is_empty() {
            return Self::new(path, Class::Rule, format!("<nil>: {body}"));
        }
        Self::at(path, Class::Rule, &body)
    }

    /// Something that no schema and no rule can see.
    pub fn other(path: Path, words: &str) -> Self {
        let body = format!("Invalid value: {words}");
        Self::at(path, Class::Invalid, &body)
    }

    pub(super) fn blocked() -> Self {
        let words = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
                     correct the existing errors to complete validation";
        Self::new(Path::default(), Class::NotChecked, words.to_owned())
    }
}

/// A value as `field.Error` of Kubernetes prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => value
            .to_string()
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026"),
    }
}

/// A string as Go's `%q` prints it.
fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(go_quote("a\"b\\c\n\u{1}é"), r#""a\"b\\c\n\x01é""#);
    }

    #[test]
    fn complex_values_are_json_as_go_writes_it() {
        assert_eq!(
            shown(&serde_json::json!({"a": "<b>"})),
            r#"{"a":"\u003cb\u003e"}"#
        );
    }
}
