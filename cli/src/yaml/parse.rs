//! The parser's events to nodes.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::{Document, Entry, Kind, Node, Place, scalar};

/// More nodes than this in one file are refused: aliases of aliases grow without bound.
const MAX_NODES: usize = 200_000;
/// Deeper nesting than this is refused.
const MAX_DEPTH: usize = 64;

/// Why a text is no YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the YAML: {words}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What the parser found.
    pub words: String,
}

/// Reads all documents of a text. Empty documents are left out.
pub fn parse(text: &str) -> Result<Vec<Document>, SyntaxError> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    while let Some((event, _)) = reader.next()? {
        match event {
            Event::DocumentStart(..) => {
                reader.anchors.clear();
                let Some((event, span)) = reader.next()? else {
                    break;
                };
                if matches!(event, Event::DocumentEnd) {
                    continue;
                }
                let root = reader.node(event, span, 0)?;
                if root.kind != Kind::Scalar(serde_json::Value::Null) {
                    documents.push(Document { root });
                }
            }
            Event::StreamEnd => break,
            _ => {}
        }
    }
    Ok(documents)
}

struct Reader<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> {
    events: I,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Reader<'a, I> {
    /// The next event that is no comment.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, SyntaxError> {
        loop {
            return match self.events.next() {
                None => Ok(None),
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => continue,
                Some(Ok(event)) => Ok(Some(event)),
                Some(Err(error)) => Err(SyntaxError {
                    place: Place {
                        line: error.marker().line(),
                        column: error.marker().col() + 1,
                    },
                    words: error.info().clone(),
                }),
            };
        }
    }

    fn some(&mut self, place: Place) -> Result<(Event<'a>, Span), SyntaxError> {
        self.next()?
            .ok_or_else(|| error(place, "the text ends in the middle of a value"))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, SyntaxError> {
        let place = place_of(&span);
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(error(place, "there is too much in this file"));
        }
        if depth > MAX_DEPTH {
            return Err(error(place, "this is nested too deeply"));
        }
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let string = tag.is_some_and(|t| t.is_yaml_core_schema_tag("str"));
                let value = if style == ScalarStyle::Plain && !string {
                    scalar::resolve(&text)
                } else {
                    serde_json::Value::String(text.into_owned())
                };
                (Kind::Scalar(value), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.some(place)?;
                    if matches!(event, Event::SequenceEnd) {
                        break (Kind::List(items), anchor);
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
            }
            Event::MappingStart(_, anchor, _) => {
                let mut entries = Vec::new();
                let mut merged = Vec::new();
                loop {
                    let (event, span) = self.some(place)?;
                    let at = place_of(&span);
                    let Some(key) = key_of(event).map_err(|words| error(at, words))? else {
                        break;
                    };
                    let (event, span) = self.some(at)?;
                    let value = self.node(event, span, depth + 1)?;
                    match key {
                        Key::Merge => merged.push(value),
                        Key::Name(key) => entries.push(Entry {
                            key,
                            place: at,
                            value,
                        }),
                    }
                }
                for value in merged {
                    merge(&mut entries, value)?;
                }
                (Kind::Map(entries), anchor)
            }
            Event::Alias(id) => {
                let node = self
                    .anchors
                    .get(&id)
                    .cloned()
                    .ok_or_else(|| error(place, "this alias names nothing"))?;
                self.nodes += count(&node);
                return Ok(node);
            }
            _ => return Err(error(place, "a value was expected here")),
        };
        let node = Node { place, kind };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

enum Key {
    Name(String),
    /// `<<`: the entries of another map, where this one lacks them.
    Merge,
}

/// The key of an entry; `None` at the end of the map.
fn key_of(event: Event<'_>) -> Result<Option<Key>, &'static str> {
    match event {
        Event::MappingEnd => Ok(None),
        Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<" => Ok(Some(Key::Merge)),
        Event::Scalar(text, ..) => Ok(Some(Key::Name(text.into_owned()))),
        _ => Err("a key must be a plain word"),
    }
}

/// Adds the entries that are not there yet.
fn merge(entries: &mut Vec<Entry>, value: Node) -> Result<(), SyntaxError> {
    match value.kind {
        Kind::Map(more) => {
            for entry in more {
                if !entries.iter().any(|e| e.key == entry.key) {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Kind::List(items) => items.into_iter().try_for_each(|item| merge(entries, item)),
        Kind::Scalar(_) => Err(error(value.place, "only a map can be merged with `<<`")),
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Scalar(_) => 0,
        Kind::List(items) => items.iter().map(count).sum(),
        Kind::Map(entries) => entries.iter().map(|e| count(&e.value)).sum(),
    }
}

fn place_of(span: &Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn error(place: Place, words: &str) -> SyntaxError {
    SyntaxError {
        place,
        words: words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(text: &str) -> Vec<serde_json::Value> {
        parse(text).unwrap().iter().map(|d| d.root.to_json()).collect()
    }

    #[test]
    fn reads_many_documents_and_skips_empty_ones() {
        assert_eq!(
            values("---\n# only a comment\n---\na: 1\n---\n\n---\nb: 'on'\n...\n"),
            [json!({"a": 1}), json!({"b": "on"})]
        );
        assert_eq!(values(""), Vec::<serde_json::Value>::new());
    }

    #[test]
    fn follows_anchors_and_merges() {
        assert_eq!(
            values("base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\nsame: *b\n"),
            [json!({"base": {"x": 1, "y": 2}, "more": {"y": 3, "x": 1}, "same": {"x": 1, "y": 2}})]
        );
    }

    #[test]
    fn refuses_bombs() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 10].join(",");
            bomb = format!("{bomb}a{n}: &a{n} [{list}]\n");
        }
        assert!(parse(&bomb).unwrap_err().words.contains("too much"));
        assert!(parse(&"[".repeat(1000)).is_err());
    }

    #[test]
    fn says_where_it_breaks() {
        let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.place.line >= 2, "{error:?}");
        assert!(parse("a: *nothing\n").is_err());
        assert!(parse("? [a]\n: b\n").is_err());
    }
}
