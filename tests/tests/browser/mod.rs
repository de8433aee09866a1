//! A headless browser: Debian's Chromium, driven by `browser.mjs`.
//!
//! ```text
//! Browser::start() ──► goto(url)  click(selector)  text(selector)  run(expression)  errors() ──► end()
//! ```
//!
//! Everything waits until the page has what is asked for.

// Each test program uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use coppice_tests::npm::Project;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");
/// What distributions call it.
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
];
/// No command takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page and a profile of its own, which end with it.
pub struct Browser {
    process: Child,
    commands: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let chromium = chromium()?;
        let script = Project::of("browser", Path::new(SOURCES))
            .await?
            .folder
            .join("browser.mjs");
        let profile = tempfile::tempdir()?;
        let mut process = Command::new("node")
            .arg(script)
            .arg(chromium)
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start node")?;
        let answers = process.stdout.take().context("no standard output")?;
        let mut browser = Self {
            commands: process.stdin.take(),
            answers: BufReader::new(answers).lines(),
            process,
            _profile: profile,
        };
        browser.answer().await.context("the browser does not start")?;
        Ok(browser)
    }

    /// Opens a page as who types its address.
    pub async fn goto(&mut self, url: &str) -> Result<()> {
        let status = self.ask("goto", json!(url)).await?;
        ensure!(status == json!(200), "{url}: {status}");
        Ok(())
    }

    /// Clicks what a selector finds, once it is there.
    pub async fn click(&mut self, selector: &str) -> Result<()> {
        self.ask("click", json!(selector)).await.map(drop)
    }

    /// Types into a field.
    pub async fn fill(&mut self, selector: &str, text: &str) -> Result<()> {
        self.ask("fill", json!([selector, text])).await.map(drop)
    }

    /// The text of what a selector finds, once it is there.
    pub async fn text(&mut self, selector: &str) -> Result<String> {
        let text = self.ask("text", json!(selector)).await?;
        Ok(text.as_str().context("no text")?.to_owned())
    }

    /// What an expression of JavaScript has for a value.
    pub async fn run(&mut self, expression: &str) -> Result<Value> {
        self.ask("run", json!(expression)).await
    }

    /// The size of the page that one sees.
    pub async fn size(&mut self, width: u32, height: u32) -> Result<()> {
        self.ask("size", json!([width, height])).await.map(drop)
    }

    /// All errors and warnings of the console, all answers of 400 and more and all requests that failed, since the last time.
    pub async fn errors(&mut self) -> Result<Value> {
        self.ask("errors", json!(true)).await
    }

    /// Ends it.
    pub async fn end(mut self) -> Result<()> {
        drop(self.commands.take());
        let ended = timeout(PATIENCE, self.process.wait()).await;
        ensure!(ended.context("the browser does not end")??.success());
        Ok(())
    }

    async fn ask(&mut self, command: &str, argument: Value) -> Result<Value> {
        let commands = self.commands.as_mut().context("it has ended")?;
        let line = format!("{}\n", json!({ command: argument }));
        commands.write_all(line.as_bytes()).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<Value> {
        let line = timeout(PATIENCE, self.answers.next_line()).await;
        let line = line
            .context("the browser does not answer")??
            .context("the browser has ended")?;
        let mut answer: Value = serde_json::from_str(&line)?;
        if let Some(error) = answer.get("error") {
            bail!("{error}");
        }
        Ok(answer["ok"].take())
    }
}

/// `COPPICE_CHROMIUM`, or what the path has.
fn chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("COPPICE_CHROMIUM") {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    PROGRAMS
        .iter()
        .flat_map(|program| folders.iter().map(move |folder| folder.join(program)))
        .find(|program| program.is_file())
        .context("no Chromium: install Debian's package chromium, or say where it is in COPPICE_CHROMIUM")
}
