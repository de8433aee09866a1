//! The public test suite for HTTP caches, `http-cache-tests` on npm, against `coppice dev` in two configurations.

use std::{collections::BTreeMap, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use coppice_tests::{command::root, npm::Project};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

use crate::{
    laptop::Laptop,
    table::{self, Row, Table, Why, cell},
};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance");

/// Every path, and nothing else: the app's `Cache-Control` decides.
const INSTALLED: &str = include_str!("installed.yaml");
/// All that a rule can open.
const OPEN: &str = include_str!("open.yaml");

/// What the suite says of one configuration.
#[derive(Deserialize)]
struct Report {
    tests: Vec<Test>,
    merged: BTreeMap<String, u32>,
}

#[derive(Clone, Deserialize)]
struct Test {
    id: String,
    name: String,
    kind: String,
    verdict: Verdict,
    message: String,
    /// The tests that must pass before this one says anything, and do not.
    needs: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Fail,
    Yes,
    No,
    /// What the test wants to look at did not come about.
    Setup,
    /// The origin was asked twice for one request.
    Retry,
    /// A test that this one builds on does not pass.
    Dependency,
    Harness,
    Untested,
}

#[tokio::test]
async fn conformance_http_caching_is_as_the_document_says() -> Result<()> {
    // One after the other: the suite measures ages in seconds.
    let installed = run("as installed", INSTALLED).await?;
    let open = run("open", OPEN).await?;
    table::check(&[
        scores(&installed, &open),
        failing("required", &installed, &open),
        failing("optimal", &installed, &open),
    ])?;
    // A line may end between two words.
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    for kind in ["required", "optimal"] {
        let score = open.score(kind);
        ensure!(
            readme.contains(&format!("{score} {kind}")),
            "README.md does not say that {score} {kind} tests pass"
        );
    }
    Ok(())
}

/// Runs the suite through a `coppice dev` with this route.
async fn run(name: &str, route: &str) -> Result<Report> {
    let project = Project::of("conformance", Path::new(SOURCES)).await?;
    let mut suite = Command::new("node")
        .args(["--no-warnings", "run.mjs"])
        .current_dir(&project.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("failed to start node: is Node.js 20.9 or newer installed?")?;
    let mut input = suite.stdin.take().context("no standard input")?;
    let mut lines = BufReader::new(suite.stdout.take().context("no standard output")?).lines();
    let origin = lines.next_line().await?.context("the suite has no origin")?;

    let cache = Laptop::of(&[("route.yaml", route)])?
        .flags(&["--quiet", "--app", &origin])
        .serve()
        .await?;
    input
        .write_all(format!("http://{}\n", cache.address).as_bytes())
        .await?;
    let said = lines
        .next_line()
        .await?
        .with_context(|| format!("the suite ended early; coppice said:\n{}", cache.session.so_far()))?;
    let report: Report = serde_json::from_str(&said)?;
    ensure!(suite.wait().await?.success(), "the suite failed");
    println!(
        "{name}: {} tests, merged exchanges {:?}",
        report.tests.len(),
        report.merged
    );
    for test in report.tests.iter().filter(|test| test.fails()) {
        println!("  {} {:?} {}", test.id, test.verdict, test.message);
    }
    Ok(report)
}

impl Test {
    /// Whether a test that is not only a question does not pass.
    fn fails(&self) -> bool {
        self.kind != "check" && self.verdict != Verdict::Pass
    }

    fn cell(&self) -> String {
        let needs = || self.needs.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>();
        match self.verdict {
            Verdict::Pass => "passes".to_owned(),
            Verdict::Fail => "**fails**".to_owned(),
            Verdict::Dependency => format!("needs {}", needs().join(", ")),
            Verdict::Setup => "**setup**".to_owned(),
            Verdict::Retry => "**retry**".to_owned(),
            Verdict::Harness | Verdict::Untested | Verdict::Yes | Verdict::No => {
                format!("**{:?}**", self.verdict).to_lowercase()
            }
        }
    }
}

impl Report {
    fn count(&self, kind: &str, counts: impl Fn(&Test) -> bool) -> usize {
        let of_kind = self.tests.iter().filter(|test| test.kind == kind);
        of_kind.filter(|test| counts(test)).count()
    }

    /// How many tests of a kind pass.
    fn score(&self, kind: &str) -> String {
        let passed = self.count(kind, |test| test.verdict == Verdict::Pass);
        format!("{passed} of {}", self.count(kind, |_| true))
    }
}

fn scores(installed: &Report, open: &Report) -> Table {
    let row = |name: &str, report: &Report| {
        let answered = |verdict| report.count("check", |test| test.verdict == verdict);
        let checks = format!(
            "{} yes, {} no, of {}",
            answered(Verdict::Yes),
            answered(Verdict::No),
            report.count("check", |_| true)
        );
        Row {
            cells: vec![
                name.to_owned(),
                report.score("required"),
                report.score("optimal"),
                checks,
            ],
            why: Why::None,
        }
    };
    Table {
        name: "scores",
        columns: &["configuration", "required", "optimal", "checks"],
        rows: vec![row("as installed", installed), row("open", open)],
    }
}

/// Tests of a kind that fail in one configuration at least.
fn failing(kind: &'static str, installed: &Report, open: &Report) -> Table {
    let both = installed.tests.iter().zip(&open.tests);
    let failing = both.filter(|(one, other)| one.kind == kind && (one.fails() || other.fails()));
    let rows = failing.map(|(one, other)| {
        let verdicts = [one.verdict, other.verdict];
        let is_derived = |verdict| matches!(verdict, Verdict::Pass | Verdict::Dependency);
        let why = if verdicts.into_iter().all(is_derived) {
            Why::Derived
        } else {
            Why::Kept
        };
        Row {
            cells: vec![format!("`{}`", one.id), cell(&one.name), one.cell(), other.cell()],
            why,
        }
    });
    Table {
        name: kind,
        columns: &["test", "it says", "as installed", "open", "why"],
        rows: rows.collect(),
    }
}
