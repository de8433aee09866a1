//! Is this object well-formed? The answer of an API server that has Coppice's CRDs, in its words, without one.
//!
//! ```text
//! document ──► unknown and duplicate fields ──► defaults ──► metadata, schema, list types ──► CEL rules
//!                (strict decoding, alone)                     meta.rs   schema.rs               cel, unless blocked
//! ```
//!
//! [`Checker::check`] is the one entry point. It goes through the same stages in the same order as the API server with
//! `fieldValidation: Strict`, which is what `kubectl` asks for; so an object that passes here is accepted there.

mod meta;
mod remedy;
mod schema;
mod violation;

use std::{collections::HashSet, sync::LazyLock};

use coppice_api::names;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use regex::Regex;
use serde_json::Value;

use crate::yaml::{Node, Path};

pub use violation::{Class, Violation};

/// A kind that Coppice defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `IsrRoute`.
    IsrRoute,
    /// `RevalidationRequest`.
    RevalidationRequest,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::IsrRoute, Self::RevalidationRequest];

    /// As in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IsrRoute => "IsrRoute",
            Self::RevalidationRequest => "RevalidationRequest",
        }
    }
}

/// The schemas and rules of both kinds, compiled once.
#[derive(Debug)]
pub struct Checker {
    route: Definition,
    request: Definition,
    rules: Validator,
}

/// What a CRD says of its kind.
#[derive(Debug)]
struct Definition {
    schema: Value,
    rules: CompiledSchema,
    /// Texts of rules that name a field of their own, whose value the API server does not print.
    with_field: HashSet<String>,
}

impl Definition {
    fn of(definition: &CustomResourceDefinition) -> Self {
        let crd = serde_json::to_value(definition).unwrap_or_default();
        let mut schema = crd
            .pointer("/spec/versions/0/schema/openAPIV3Schema")
            .cloned()
            .unwrap_or_default();
        schema::rewrite_rules(&mut schema, &without_type);
        let mut with_field = HashSet::new();
        schema::each_rule(&schema, &mut |rule| {
            if let (Some(text), Some(_)) = (rule["rule"].as_str(), rule.get("fieldPath")) {
                with_field.insert(text.to_owned());
            }
        });
        Self {
            rules: compile_schema(&schema),
            schema,
            with_field,
        }
    }
}

/// `type(x) == int`, which the CEL evaluator lacks, in terms that it has. It is asked of values that are integers or
/// strings, and exactly a string equals itself as a string.
fn without_type(rule: &str) -> String {
    static TYPE_IS_INT: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"type\(([A-Za-z0-9_.]+)\) == int").ok());
    match TYPE_IS_INT.as_ref() {
        Some(re) => re.replace_all(rule, "!($1 == string($1))").into_owned(),
        None => rule.to_owned(),
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// Reads the CRDs.
    pub fn new() -> Self {
        let [route, request] = coppice_api::crds::all();
        Self {
            route: Definition::of(&route),
            request: Definition::of(&request),
            rules: Validator::new(),
        }
    }

    fn definition(&self, kind: Kind) -> &Definition {
        match kind {
            Kind::IsrRoute => &self.route,
            Kind::RevalidationRequest => &self.request,
        }
    }

    /// Which of Coppice's kinds a document is; `None`: another one's. A kind or version of Coppice's group that does
    /// not exist is a violation.
    pub fn kind_of(document: &Node) -> Result<Option<Kind>, Violation> {
        let api_version = document.text("apiVersion").unwrap_or_default();
        let kind = document.text("kind").unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if group != names::GROUP {
            return Ok(None);
        }
        let known = Kind::ALL.into_iter().find(|k| k.as_str() == kind);
        if let (Some(kind), names::VERSION) = (known, version) {
            return Ok(Some(kind));
        }
        let field = if known.is_some() { "apiVersion" } else { "kind" };
        Err(Violation::no_such_kind(
            Path::default().field(field),
            kind,
            api_version,
        ))
    }

    /// Checks one object. Returns it as an API server would keep it: defaults filled in, without its status.
    pub fn check(&self, kind: Kind, document: &Node) -> Result<Value, Vec<Violation>> {
        let definition = self.definition(kind);
        let mut object = document.to_json();
        if let Value::Object(fields) = &mut object {
            // The status is its own resource: an API server drops what is written here.
            fields.remove("status");
        }

        let mut found: Vec<Violation> = document
            .duplicates()
            .into_iter()
            .map(|(path, _)| Violation::duplicate_field(path))
            .collect();
        schema::unknown_fields(&definition.schema, &object, &mut found);
        if found.is_empty() {
            schema::prune_nulls(&definition.schema, &mut object);
            object = apply_defaults(&definition.schema, &object);
            meta::check(&object, &mut found);
            schema::check(&definition.schema, &object, &mut found);
            schema::list_types(&definition.schema, &object, &mut found);
            if found.iter().any(|v| v.class.blocks_rules()) {
                found.push(Violation::blocked());
            } else {
                self.rules(definition, &object, &mut found);
            }
        }
        if found.is_empty() {
            return Ok(object);
        }
        for violation in &mut found {
            violation.remedy = remedy::of(violation, &definition.schema);
        }
        Err(found)
    }

    fn rules(&self, definition: &Definition, object: &Value, found: &mut Vec<Violation>) {
        let Err(errors) = self.rules.validate_compiled(&definition.rules, object, None) else {
            return;
        };
        for error in errors.into_vec() {
            let path = Path::parse(&error.field_path);
            let value = match path.of(object) {
                Some(Value::Object(_) | Value::Array(_)) | None => None,
                Some(_) if definition.with_field.contains(&error.rule) => None,
                Some(scalar) => Some(scalar),
            };
            found.push(Violation::rule(
                path.clone(),
                value,
                &error.message,
                error.reason.as_deref(),
            ));
        }
    }
}

#[cfg(test)]
mod tests;
