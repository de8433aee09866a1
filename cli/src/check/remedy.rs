//! What to do about a violation: a neighbour with a similar name, the allowed values, or what the field is for.

use serde_json::Value;

use super::{
    schema,
    violation::{Class, Violation},
};
use crate::yaml::{Path, Step};

/// A remedy for a violation of this schema, where one can be said.
pub(super) fn of(violation: &Violation, root: &Value) -> Option<String> {
    let path = &violation.path;
    let here = schema::at(root, path);
    match violation.class {
        Class::UnknownField => unknown(path, root),
        Class::DuplicateField => Some("remove one of the two; only the last would count".to_owned()),
        Class::Required => Some(match here {
            Some(schema) => format!("add `{}`{}", name(path)?, about(schema)),
            None => format!("add `{}`", name(path)?),
        }),
        Class::Unsupported => Some("write one of the supported values".to_owned()),
        Class::TooLong => Some("write a shorter text".to_owned()),
        Class::TooMany => Some("split the object: several may select the same pods".to_owned()),
        Class::Duplicate => Some("remove one of the two".to_owned()),
        Class::Type | Class::Invalid => Some(here.map_or_else(
            || "correct this value".to_owned(),
            |schema| format!("`{}`{}", name(path).unwrap_or_default(), about(schema)),
        )),
        // The rules' own messages say what to write.
        Class::Rule | Class::NotChecked => None,
        Class::NoSuchKind => violation.remedy.clone(),
    }
}

/// `: what the field is for`, in the schema's words.
fn about(schema: &Value) -> String {
    schema
        .get("description")
        .and_then(Value::as_str)
        .map(|words| format!(": {}", words.split_whitespace().collect::<Vec<_>>().join(" ")))
        .unwrap_or_default()
}

/// The last name in a path; of an item, the list's.
fn name(path: &Path) -> Option<&str> {
    path.0.iter().rev().find_map(|step| match step {
        Step::Field(name) | Step::Key(name) => Some(name.as_str()),
        Step::Item(_) => None,
    })
}

fn unknown(path: &Path, root: &Value) -> Option<String> {
    let (last, above) = path.0.split_last()?;
    let (Step::Field(written) | Step::Key(written)) = last else {
        return None;
    };
    if above == [Step::Field("metadata".to_owned())] {
        return Some(
            "metadata takes name, generateName, namespace, labels, annotations and the API server's own fields"
                .to_owned(),
        );
    }
    let known: Vec<&str> = schema::at(root, &Path(above.to_vec()))
        .and_then(schema::properties)?
        .keys()
        .map(String::as_str)
        .filter(|k| !above.is_empty() || *k != "status")
        .collect();
    let nearest = known
        .iter()
        .map(|k| (distance(&written.to_lowercase(), &k.to_lowercase()), *k))
        .min()
        .filter(|(far, k)| *far <= 2.max(k.len() / 3));
    Some(match nearest {
        Some((_, k)) => format!("did you mean `{k}`?"),
        None => format!("known here: {}", known.join(", ")),
    })
}

/// The Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = (diagonal + usize::from(x != *y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("path", "paths"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
