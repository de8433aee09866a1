//! What a request on the hot path costs in allocations and in instructions: counted, so the same on every machine that runs
//! the same build.
//!
//! `sidecar/benches/hot.rs` asks over one connection and counts allocations; valgrind counts the instructions of the same
//! program. Both are taken twice, for few requests and for more, so that the start of the program falls out.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::paths::Paths;
use crate::process;
use crate::tools::system;

const FEW: u64 = 1000;
const MORE: u64 = 5000;
/// The ways of a request that the program knows.
const WAYS: [(&str, &str); 3] = [
    ("hit", "hit, 1 KiB"),
    ("not-modified", "hit, 304"),
    ("pass", "pass through, 1 KiB"),
];

/// What a number of requests took.
struct Counted {
    allocations: u64,
    bytes: u64,
    instructions: u64,
}

/// What cargo says about something that it built.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The command. With few visitors at a time the visitor's and the app's own instructions count too: those of a loop
/// that reads and writes.
pub(super) fn run(paths: &Paths) -> Result<()> {
    system::ensure_count()?;
    let program = build(paths)?;
    println!("| request             | allocations | bytes allocated | instructions |");
    println!("|---------------------|-------------|-----------------|--------------|");
    for (way, words) in WAYS {
        let (few, more) =
            match count(&program, way, FEW).and_then(|few| Ok((few, count(&program, way, MORE)?))) {
                Ok(counted) => counted,
                Err(error) => {
                    eprintln!("  {words}: {error:#}");
                    continue;
                }
            };
        let each = |few: u64, more: u64| more.saturating_sub(few) as f64 / (MORE - FEW) as f64;
        println!(
            "| {words:<19} | {:>11.1} | {:>15.0} | {:>12.0} |",
            each(few.allocations, more.allocations),
            each(few.bytes, more.bytes),
            each(few.instructions, more.instructions),
        );
    }
    Ok(())
}

/// Builds the program that asks.
fn build(paths: &Paths) -> Result<PathBuf> {
    let mut cargo = process::cargo(paths);
    cargo.args(["build", "--locked", "--release", "--package", "coppice-sidecar"]);
    cargo.args(["--bench", "hot", "--message-format=json-render-diagnostics"]);
    let mut program = None;
    process::quiet_with("cargo build", &mut cargo, |line| {
        let Ok(message) = serde_json::from_str::<Message>(line) else {
            return false;
        };
        if message.target.is_some_and(|target| target.name == "hot") {
            program = message.executable.or(program.take());
        }
        true
    })?;
    program.context("cargo built no program named hot")
}

fn count(program: &Path, way: &str, requests: u64) -> Result<Counted> {
    let requests = requests.to_string();
    let mut valgrind = process::command("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(program).args([way, &requests]);
    let (said, counted) = both(&mut valgrind)?;
    let mut numbers = said.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next().and_then(Result::ok);
    Ok(Counted {
        allocations: next().context("the program printed no counts")?,
        bytes: next().context("the program printed no counts")?,
        instructions: collected(&counted).context("valgrind printed no count")?,
    })
}

/// Runs it to its end: what it printed, and what valgrind did.
fn both(command: &mut Command) -> Result<(String, String)> {
    process::check_interrupt()?;
    let output = command.output().context("failed to start valgrind")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "it failed ({}): {}",
        output.status,
        text(&output.stderr)
            .lines()
            .rev()
            .take(5)
            .collect::<Vec<_>>()
            .join("; ")
    );
    Ok((text(&output.stdout), text(&output.stderr)))
}

/// `==123== Collected : 4567`
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_valgrind_is_read() {
        assert_eq!(
            collected("==1== Events    : Ir\n==1== Collected : 9045123\n"),
            Some(9_045_123)
        );
        assert_eq!(collected("==1== nothing"), None);
    }
}
