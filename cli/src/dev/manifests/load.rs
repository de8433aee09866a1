//! One file to objects, or to everything that is wrong with it.

use std::path::Path as FilePath;

use coppice_api::{IsrRoute, RevalidationRequest};
use coppice_operator::index::{Secret, Secrets, compile::compile};
use serde_json::Value;

use super::{Problem, SkippedKind, secret};
use crate::{
    check::{Checker, Class, Kind, Violation},
    yaml::{self, Node, Path, Place},
};

/// What one file holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded {
    pub(super) objects: Vec<Object>,
    pub(super) skipped: Vec<SkippedKind>,
}

/// An object of ours, as it was written.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) place: Place,
    /// The namespace that it names.
    pub(super) namespace: Option<String>,
    /// Where the namespace was written, or would be.
    pub(super) namespace_place: Place,
    pub(super) value: Parsed,
}

/// An object of ours.
#[derive(Debug, Clone)]
pub(super) enum Parsed {
    Route(Box<IsrRoute>),
    Request(Box<RevalidationRequest>),
    /// Its namespace is not filled in yet.
    Secret(Box<Secret>),
}

impl Object {
    /// The line that it stands on may hold a value: it is shown to nobody.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.value, Parsed::Secret(_))
    }
}

/// Reads the text of a file.
pub(super) fn load(file: &FilePath, text: &str, checker: &Checker) -> Result<Loaded, Vec<Problem>> {
    let problem = |place: Place, words: String, remedy: Option<String>| Problem {
        file: file.to_owned(),
        place: Some(place),
        words,
        remedy,
        line: text.lines().nth(place.line.saturating_sub(1)).map(str::to_owned),
    };
    let documents = yaml::parse(text).map_err(|error| {
        let remedy = "indent with spaces, quote texts with special characters, close what is open";
        let problem = problem(error.place, error.to_string(), Some(remedy.to_owned()));
        // What it is cannot be known yet.
        vec![if text.contains("Secret") {
            problem.discreet()
        } else {
            problem
        }]
    })?;
    let mut loaded = Loaded::default();
    let mut problems = Vec::new();
    for document in documents.iter().flat_map(|d| members(&d.root)) {
        match object(document, checker) {
            Ok(Found::Ours(object)) => loaded.objects.push(*object),
            Ok(Found::Other(kind)) => loaded.skipped.push(kind),
            Err(violations) => {
                for violation in violations {
                    // Of what was not checked, the others are the cause.
                    if violation.class != Class::NotChecked {
                        let place = place_of(document, &violation);
                        let problem = problem(place, violation.to_string(), violation.remedy);
                        problems.push(if secret::is(document) {
                            problem.discreet()
                        } else {
                            problem
                        });
                    }
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(loaded)
    } else {
        problems.sort_by_key(|p| p.place);
        Err(problems)
    }
}

/// The second place of a duplicate, else where the field is.
fn place_of(document: &Node, violation: &Violation) -> Place {
    (document.duplicates().into_iter())
        .find(|(path, _)| violation.class == Class::DuplicateField && *path == violation.path)
        .map_or_else(|| document.locate(&violation.path), |(_, place)| place)
}

/// The document, or the objects of a `List`.
fn members(document: &Node) -> Vec<&Node> {
    match (
        document.text("apiVersion"),
        document.text("kind"),
        document.get("items"),
    ) {
        (Some("v1"), Some("List"), Some(items)) => items.value.items().iter().collect(),
        _ => vec![document],
    }
}

enum Found {
    Ours(Box<Object>),
    Other(SkippedKind),
}

fn object(document: &Node, checker: &Checker) -> Result<Found, Vec<Violation>> {
    let Some(kind) = Checker::kind_of(document).map_err(|violation| vec![violation])? else {
        if secret::is(document) {
            let secret = Parsed::Secret(Box::new(secret::read(document)?));
            return Ok(Found::Ours(Box::new(placed(document, secret))));
        }
        let (version, kind) = (document.text("apiVersion"), document.text("kind"));
        let other = kind.filter(|_| version.is_some()).map(str::to_owned);
        return Ok(Found::Other(SkippedKind(other)));
    };
    let value = checker.check(kind, document)?;
    let parsed = match kind {
        Kind::IsrRoute => {
            let route: Box<IsrRoute> = typed(value)?;
            let name = route.metadata.name.as_deref().unwrap_or_default();
            let verdict = compile(name, &route.spec, Secrets::Unwatched);
            if verdict.compiled.is_none() {
                return Err(beyond_the_schema(&verdict.message));
            }
            Parsed::Route(route)
        }
        Kind::RevalidationRequest => {
            let request: Box<RevalidationRequest> = typed(value)?;
            if let Err(problems) = coppice_operator::purge::selector(&request.spec) {
                return Err(beyond_the_schema(&problems.join("; ")));
            }
            Parsed::Request(request)
        }
    };
    Ok(Found::Ours(Box::new(placed(document, parsed))))
}

fn placed(document: &Node, value: Parsed) -> Object {
    let metadata = document.get("metadata").map(|m| &m.value);
    let at = Path::parse("metadata.namespace");
    Object {
        place: document.place,
        namespace: metadata
            .and_then(|m| m.text("namespace"))
            .filter(|n| !n.is_empty())
            .map(str::to_owned),
        namespace_place: document.locate(&at),
        value,
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<Box<T>, Vec<Violation>> {
    serde_json::from_value(value)
        .map_err(|error| vec![Violation::other(Path::parse("spec"), &error.to_string())])
}

/// What only the engine can see, such as a path pattern that no path matches: `field: what; field: what`, the fields
/// within `spec`.
fn beyond_the_schema(message: &str) -> Vec<Violation> {
    let spec = Path::parse("spec");
    message
        .split("; ")
        .map(|words| {
            let field = words.split_once(": ").map_or("", |(field, _)| field);
            let inner = if field.contains(' ') {
                Path::default()
            } else {
                Path::parse(field)
            };
            let path = Path(spec.0.iter().chain(&inner.0).cloned().collect());
            Violation::other(
                path,
                words
                    .strip_prefix(field)
                    .map_or(words, |w| w.trim_start_matches(": ")),
            )
        })
        .collect()
}
