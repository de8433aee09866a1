//! The test programs: built once for all parts, then run one by one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::Part;
use super::summary::{Counts, Outcome};
use crate::paths::Paths;
use crate::process;

/// The crate of the end-to-end tests; all others have unit tests.
const CRATE: &str = "tests";

/// A test program.
#[derive(Clone, Debug)]
pub(super) struct Binary {
    name: String,
    /// The crate's folder, in which it runs.
    folder: PathBuf,
    program: PathBuf,
}

/// All test programs of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    unit: Vec<Binary>,
    families: Vec<Binary>,
}

/// What cargo says about something that it built.
#[derive(Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds every test program in one go: built crate by crate, each would bring its own set of features.
pub(super) fn tests(paths: &Paths) -> Result<Binaries> {
    let mut cargo = process::cargo(paths);
    cargo.args([
        "test",
        "--locked",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    let mut built = Vec::new();
    process::quiet_with("cargo test --no-run", &mut cargo, |line| {
        if !line.starts_with('{') {
            return false;
        }
        built.extend(serde_json::from_str::<Message>(line).ok().and_then(binary));
        true
    })?;
    let end_to_end = paths.root.join(CRATE);
    let (families, unit) = built
        .into_iter()
        .partition(|binary: &Binary| binary.folder == end_to_end);
    Ok(Binaries { unit, families })
}

fn binary(message: Message) -> Option<Binary> {
    message.profile?.test.then_some(())?;
    Some(Binary {
        name: message.target?.name,
        folder: message.manifest_path?.parent()?.to_path_buf(),
        program: message.executable?,
    })
}

impl Binaries {
    /// Runs all unit and property tests, and the examples in the documentation.
    pub(super) fn unit(&self, paths: &Paths, filter: &[String]) -> Result<Outcome> {
        let mut tests = Tests::default();
        for binary in &self.unit {
            println!("--- {} ({})", binary.name, relative(paths, &binary.folder));
            let command = process::command(&binary.program);
            tests.run(binary, command, filter)?;
        }
        println!("--- documentation");
        let mut cargo = process::cargo(paths);
        cargo
            .args(["test", "--locked", "--workspace", "--doc", "--quiet", "--"])
            .args(filter);
        tests.watch("documentation", &mut cargo)?;
        Ok(tests.outcome())
    }

    /// Runs one family with a command that knows its program and surroundings.
    pub(super) fn family(&self, part: Part, command: Command, filter: &[String]) -> Result<Outcome> {
        let binary = self.find(part)?;
        let mut tests = Tests::default();
        tests.run(binary, command, filter)?;
        Ok(tests.outcome())
    }

    /// A family's program.
    pub(super) fn program(&self, part: Part) -> Result<&Path> {
        Ok(&self.find(part)?.program)
    }

    fn find(&self, part: Part) -> Result<&Binary> {
        self.families
            .iter()
            .find(|binary| binary.name == part.as_str())
            .with_context(|| format!("there is no tests/tests/{}.rs", part.as_str()))
    }
}

fn relative(paths: &Paths, folder: &Path) -> String {
    let short = folder.strip_prefix(&paths.root).unwrap_or(folder);
    short.display().to_string()
}

/// Running test programs and counting.
#[derive(Default)]
struct Tests {
    counts: Counts,
    failed: Vec<String>,
}

impl Tests {
    fn run(&mut self, binary: &Binary, mut command: Command, filter: &[String]) -> Result<()> {
        command.args(filter).current_dir(&binary.folder);
        command.env("CARGO_MANIFEST_DIR", &binary.folder);
        self.watch(&binary.name, &mut command)
    }

    fn watch(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let before = self.counts;
        let failed = &mut self.failed;
        let counts = &mut self.counts;
        let status = process::live(name, command, |line| {
            counts.read(line);
            if let Some(test) = line
                .strip_prefix("test ")
                .and_then(|rest| rest.strip_suffix(" ... FAILED"))
            {
                failed.push(test.to_owned());
            }
        })?;
        if !status.success() && self.counts.failed == before.failed {
            bail!("{name} failed without a failed test ({status})");
        }
        Ok(())
    }

    fn outcome(self) -> Outcome {
        Outcome::Tests(self.counts, self.failed)
    }
}
