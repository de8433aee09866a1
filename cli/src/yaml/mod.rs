//! YAML with a memory: every node knows the line and column where it was written, so that an error can point at it.
//!
//! ```text
//! text ──► parse.rs (events ──► nodes) ──► Document ──► to_json()   what the API server would be sent
//!             scalar.rs (what a plain word is)     └──► locate()    where a field was written
//! ```

mod parse;
mod scalar;

use std::fmt;

use serde_json::{Map, Value};

pub use parse::{SyntaxError, parse};

/// A place in a file; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// One step from an object into a field of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A field of an object.
    Field(String),
    /// A key of a map, whose keys the user chooses.
    Key(String),
    /// An item of a list, from 0.
    Item(usize),
}

/// Where a field is within an object; printed as Kubernetes does: `spec.rules[0].paths`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// This path and one field more.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        self.with(Step::Field(name.to_owned()))
    }

    /// This path and one item more.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        self.with(Step::Item(index))
    }

    /// This path and one step more.
    #[must_use]
    pub fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Reads `spec.rules[0].paths`. Keys of maps with dots in them cannot be told from fields.
    pub fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        for part in text.split('.') {
            let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
            if !name.is_empty() {
                steps.push(Step::Field(name.to_owned()));
            }
            while let Some((inside, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
                steps.push(match inside.parse() {
                    Ok(index) => Step::Item(index),
                    Err(_) => Step::Key(inside.to_owned()),
                });
                rest = after;
            }
        }
        Self(steps)
    }

    /// The value at this path.
    pub fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Field(name) | Step::Key(name) => value.get(name),
            Step::Item(index) => value.get(index),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if n == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Key(name) => write!(f, "[{name}]")?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it holds.
    pub root: Node,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// The shapes of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Null, a boolean, a number or a string.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key as text; a key that is a number or a boolean counts as what was written.
    pub key: String,
    /// Where the key was written.
    pub place: Place,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The entry of a map; the first one, where a key occurs twice.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|e| e.key == key),
            Kind::Scalar(_) | Kind::List(_) => None,
        }
    }

    /// The string under `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Scalar(_) | Kind::Map(_) => &[],
        }
    }

    /// As JSON. Of a key that occurs twice the last value counts, as for kubectl.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Map(entries) => {
                let map: Map<_, _> = entries
                    .iter()
                    .map(|e| (e.key.clone(), e.value.to_json()))
                    .collect();
                Value::Object(map)
            }
        }
    }

    /// Where `path` was written, or the nearest thing above it that was: for a missing field, its parent.
    pub fn locate(&self, path: &Path) -> Place {
        let mut place = self.place;
        let mut node = self;
        for step in &path.0 {
            let next = match step {
                Step::Field(name) | Step::Key(name) => node.get(name).map(|e| (e.place, &e.value)),
                Step::Item(index) => node.items().get(*index).map(|n| (n.place, n)),
            };
            let Some((at, value)) = next else { break };
            (place, node) = (at, value);
        }
        place
    }

    /// Keys that occur twice in one map, each with its path and second place.
    pub fn duplicates(&self) -> Vec<(Path, Place)> {
        let mut found = Vec::new();
        self.collect_duplicates(&Path::default(), &mut found);
        found
    }

    fn collect_duplicates(&self, at: &Path, found: &mut Vec<(Path, Place)>) {
        match &self.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    item.collect_duplicates(&at.item(n), found);
                }
            }
            Kind::Map(entries) => {
                for (n, entry) in entries.iter().enumerate() {
                    let path = at.field(&entry.key);
                    if entries[..n].iter().any(|e| e.key == entry.key) {
                        found.push((path.clone(), entry.place));
                    }
                    entry.value.collect_duplicates(&path, found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        parse(text).unwrap().remove(0).root
    }

    #[test]
    fn finds_where_a_field_was_written() {
        let node = one("a: 1\nspec:\n  rules:\n    - paths: [x]\n      revalidate: 5\n    - paths: []\n");
        let line = |path: &str| node.locate(&Path::parse(path)).line;
        assert_eq!(line("spec.rules[0].revalidate"), 5);
        assert_eq!(line("spec.rules[1].paths"), 6);
        assert_eq!(line("spec.rules[0].paths[0]"), 4);
        assert_eq!(
            line("spec.rules[1].revalidate"),
            6,
            "a missing field is at its parent"
        );
        assert_eq!(line("spec.none.deeper"), 2);
        assert_eq!(
            node.locate(&Path::parse("spec.rules[0].paths")),
            Place { line: 4, column: 7 }
        );
    }

    #[test]
    fn paths_print_as_they_parse() {
        for text in [
            "spec.rules[0].paths[12]",
            "metadata",
            "spec.podSelector.matchLabels[app]",
        ] {
            assert_eq!(Path::parse(text).to_string(), text);
        }
    }

    #[test]
    fn sees_keys_that_occur_twice() {
        let node = one("a: 1\nb:\n  - c: 1\n    c: 2\na: 2\n");
        let found: Vec<_> = node
            .duplicates()
            .into_iter()
            .map(|(p, at)| (p.to_string(), at.line))
            .collect();
        assert_eq!(found, [("b[0].c".to_owned(), 4), ("a".to_owned(), 5)]);
        assert_eq!(node.to_json()["a"], 2);
    }
}
