//! The tables of `docs/conformance.md`: what the suites found is written between markers, the reasons are a person's.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Mutex};

use anyhow::{Context as _, Result, bail};
use coppice_tests::command::root;

const DOCUMENT: &str = "docs/conformance.md";
const UPDATE: &str = "COPPICE_UPDATE_DOCS";
/// Stands where nobody has written a reason yet.
const UNKNOWN: &str = "?";
/// The reason of a row that only follows from others.
const DERIVED: &str = "as those that it needs";

/// A table between `<!-- name -->` and `<!-- end name -->`.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Row>,
}

/// A line of a table, known by its first cell.
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) why: Why,
}

/// What the last cell holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Why {
    /// The table has no reasons.
    None,
    /// It follows from other rows.
    Derived,
    /// A person's words, kept as they are.
    Kept,
}

/// Fails where the document says something else, or lacks a reason.
pub(crate) fn check(tables: &[Table]) -> Result<()> {
    // The tests of one run share the file.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock();
    let file = root().join(DOCUMENT);
    let found = fs::read_to_string(&file).with_context(|| format!("failed to read {DOCUMENT}"))?;
    let mut wanted = found.clone();
    for table in tables {
        let (from, to) = between(&wanted, table.name)?;
        let written = table.write(&reasons(&wanted[from..to]));
        wanted.replace_range(from..to, &written);
    }
    if std::env::var_os(UPDATE).is_some() {
        fs::write(PathBuf::from(&file), &wanted)?;
    } else if wanted != found {
        bail!(
            "{DOCUMENT} is out of date (`{UPDATE}=1 cargo xtask test conformance` writes its tables):\n{}",
            difference(&found, &wanted)
        );
    }
    let open: Vec<_> = wanted
        .lines()
        .filter(|line| line.ends_with(&format!("| {UNKNOWN} |")))
        .collect();
    if !open.is_empty() {
        bail!("{DOCUMENT} does not say why these fail:\n{}", open.join("\n"));
    }
    Ok(())
}

impl Table {
    fn write(&self, reasons: &BTreeMap<String, String>) -> String {
        let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.columns);
        text += &line(&vec!["---"; self.columns.len()]);
        for row in &self.rows {
            let known = row.cells.first().and_then(|id| reasons.get(id));
            let mut cells: Vec<_> = row.cells.iter().map(String::as_str).collect();
            match &row.why {
                Why::None => {}
                Why::Derived => cells.push(DERIVED),
                Why::Kept => cells.push(known.map_or(UNKNOWN, String::as_str)),
            }
            text += &line(&cells);
        }
        text
    }
}

/// Where the text between a table's markers begins and ends.
fn between(text: &str, name: &str) -> Result<(usize, usize)> {
    let begin = format!("<!-- {name} -->\n");
    let from = text
        .find(&begin)
        .with_context(|| format!("{DOCUMENT} has no {begin:?}"))?
        + begin.len();
    let end = format!("<!-- end {name} -->");
    let to = text[from..]
        .find(&end)
        .with_context(|| format!("{DOCUMENT} has no {end:?}"))?
        + from;
    Ok((from, to))
}

/// The last cell of each line by its first.
fn reasons(table: &str) -> BTreeMap<String, String> {
    let cells = |line: &str| {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let (id, _) = inner.split_once(" | ")?;
        let (_, why) = inner.rsplit_once(" | ")?;
        (why != DERIVED).then(|| (id.to_owned(), why.to_owned()))
    };
    table.lines().filter_map(cells).collect()
}

/// The lines of one that the other lacks.
fn difference(found: &str, wanted: &str) -> String {
    let lacks = |text: &str, line: &str| !text.lines().any(|other| other == line);
    let gone = found.lines().filter(|line| lacks(wanted, line));
    let new = wanted.lines().filter(|line| lacks(found, line));
    let lines = gone
        .map(|line| format!("- {line}"))
        .chain(new.map(|line| format!("+ {line}")));
    lines.collect::<Vec<_>>().join("\n")
}

/// Text as a cell may hold it.
pub(crate) fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', " ")
}
