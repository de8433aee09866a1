//! h2spec, the public conformance suite for HTTP/2, on the listener: h2c with prior knowledge.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::{
    laptop::Laptop,
    table::{self, Row, Table, Why, cell},
};

const ROUTE: &str = include_str!("../../../examples/blog/route.yaml");

/// One test of h2spec's.
struct Case {
    /// Suite and section of the RFC, and the how-manieth test of that section.
    id: String,
    name: String,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

#[tokio::test]
async fn conformance_http2_is_as_the_document_says() -> Result<()> {
    let cases = run().await?;
    let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
    let scores = Row {
        cells: vec![
            count(Outcome::Passed).to_string(),
            count(Outcome::Failed).to_string(),
            count(Outcome::Skipped).to_string(),
        ],
        why: Why::None,
    };
    let failing = cases.iter().filter(|case| case.outcome != Outcome::Passed);
    let rows = failing.map(|case| Row {
        cells: vec![format!("`{}`", case.id), cell(&case.name)],
        why: Why::Kept,
    });
    table::check(&[
        Table {
            name: "h2spec scores",
            columns: &["passed", "failed", "skipped"],
            rows: vec![scores],
        },
        Table {
            name: "h2spec",
            columns: &["test", "it does", "why"],
            rows: rows.collect(),
        },
    ])
}

async fn run() -> Result<Vec<Case>> {
    let site = Laptop::of(&[("route.yaml", ROUTE)])?
        .flags(&["--quiet"])
        .serve()
        .await?;
    // A page of the store, so that the suite meets the answers that visitors meet.
    site.until("/", "HIT", |answer| answer.cache() == "HIT").await?;
    let report = site.session.path("h2spec.xml");
    let port = site.address.port().to_string();
    let output = Command::new(h2spec())
        .args(["--strict", "--host", "127.0.0.1", "--port", &port, "--path", "/"])
        // Only a test that fails takes so long.
        .args(["--timeout", "10", "--junit-report"])
        .arg(&report)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("failed to start h2spec: `cargo xtask test conformance` installs it")?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let report =
        std::fs::read_to_string(&report).with_context(|| format!("no report; h2spec said:\n{said}"))?;
    let cases = read(&report);
    ensure!(!cases.is_empty(), "h2spec ran nothing:\n{said}");
    Ok(cases)
}

fn h2spec() -> PathBuf {
    let folder = std::env::var_os("COPPICE_TOOLS").map(PathBuf::from);
    folder.unwrap_or_default().join("h2spec")
}

/// The cases of a report as `JUnit` writes them.
fn read(report: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for element in report.split("<testcase ").skip(1) {
        let attribute = |name: &str| {
            let (_, rest) = element.split_once(&format!("{name}=\""))?;
            Some(plain(rest.split_once('"')?.0))
        };
        let section = attribute("package").unwrap_or_default();
        let nth = cases.iter().filter(|case| case.section() == section).count() + 1;
        let has = |what: &str| element.contains(what);
        cases.push(Case {
            id: format!("{section}/{nth}"),
            name: attribute("classname").unwrap_or_default(),
            outcome: if has("<failure") || has("<error") {
                Outcome::Failed
            } else if has("<skipped") {
                Outcome::Skipped
            } else {
                Outcome::Passed
            },
        });
    }
    cases
}

impl Case {
    fn section(&self) -> &str {
        self.id.rsplit_once('/').map_or("", |(section, _)| section)
    }
}

/// Text without XML's escapes.
fn plain(text: &str) -> String {
    let escapes = [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    escapes
        .iter()
        .fold(text.to_owned(), |text, (escape, char)| text.replace(escape, char))
}
