//! `cargo xtask test`: everything that must hold before a change lands, or a part of it.
//!
//! ```text
//! fmt  clippy  deny  generated ─► build tests ─► unit ─► build coppice ─► dev  page  frameworks  conformance  chart
//!                                            │                               └─► training
//!                                            └─► cluster ─► images ─► install ─► admit  inject  serve  purge  disrupt
//! ```
//!
//! A step that fails does not stop the others, unless they need what it makes. The last line sums up all tests.

mod builds;
mod checks;
mod families;
mod summary;

use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::builds::Binaries;
use self::families::Stage;
use self::summary::{Counts, Outcome, Summary};
use crate::cluster::Cluster;
use crate::paths::Paths;
use crate::process;
use crate::tools::Tools;

#[derive(Args)]
pub(crate) struct Arguments {
    /// What to run; everything by default
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Leave out what needs a cluster
    #[arg(long)]
    without_cluster: bool,
    /// Leave the cluster as it is in the end, to look at it or to be faster the next time
    #[arg(long)]
    keep: bool,
    /// Print the parts and end
    #[arg(long)]
    list: bool,
    /// For the test programs themselves, such as a test's name
    #[arg(last = true)]
    filter: Vec<String>,
}

/// A part of the tests, by the name it has on the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Part {
    /// fmt, clippy, deny and generated
    Lint,
    /// Formatting
    Fmt,
    /// Lints
    Clippy,
    /// Licences, banned and foreign dependencies
    Deny,
    /// Generated files are up to date
    Generated,
    /// Unit and property tests of all crates
    Unit,
    /// coppice dev, without a cluster
    Dev,
    /// The admin page of coppice dev, in a browser
    Page,
    /// Real framework apps behind coppice dev
    Frameworks,
    /// Public conformance suites: HTTP caching, HTTP/2, Cache-Status
    Conformance,
    /// What the profile of a released build is made with
    Training,
    /// The chart: lint, schemas, what it renders
    Chart,
    /// The API server's checks of both kinds
    Admit,
    /// Injection of sidecars
    Inject,
    /// Visitors' pages
    Serve,
    /// Purges
    Purge,
    /// Bad days
    Disrupt,
}

impl Part {
    /// Its name on the command line, and that of its test program if it has one.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Deny => "deny",
            Self::Generated => "generated",
            Self::Unit => "unit",
            Self::Dev => "dev",
            Self::Page => "page",
            Self::Frameworks => "frameworks",
            Self::Conformance => "conformance",
            Self::Training => "training",
            Self::Chart => "chart",
            Self::Admit => "admit",
            Self::Inject => "inject",
            Self::Serve => "serve",
            Self::Purge => "purge",
            Self::Disrupt => "disrupt",
        }
    }

    /// Whether it needs a cluster.
    const fn on_cluster(self) -> bool {
        matches!(
            self,
            Self::Admit | Self::Inject | Self::Serve | Self::Purge | Self::Disrupt
        )
    }

    /// Whether it is a test program of the crate `coppice-tests`.
    const fn is_family(self) -> bool {
        self.on_cluster()
            || matches!(
                self,
                Self::Dev | Self::Page | Self::Frameworks | Self::Conformance | Self::Chart
            )
    }

    /// Whether something has to be made for it before (`families::needs`).
    const fn has_needs(self) -> bool {
        self.is_family() || matches!(self, Self::Training)
    }

    /// Whether it cannot do without programs built with Go.
    const fn with_tools(self) -> bool {
        self.on_cluster() || matches!(self, Self::Conformance | Self::Chart | Self::Generated)
    }
}

/// The command.
pub(crate) fn run(paths: &Paths, arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        for part in Part::value_variants() {
            let help = part
                .to_possible_value()
                .and_then(|value| value.get_help().map(ToString::to_string));
            println!("{:<12}{}", part.as_str(), help.unwrap_or_default());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let parts = selected(arguments)?;
    let mut session = Session {
        paths,
        tools: Tools::new(paths)?,
        cluster: Cluster::find(paths)?,
        arguments,
        summary: Summary::default(),
        binaries: None,
        stage: Stage::default(),
        lock: None,
    };
    for part in parts {
        session.part(part);
        if process::interrupted() {
            break;
        }
    }
    session.leave_cluster();
    Ok(session.summary.print())
}

/// Every part once, in the order in which they run.
fn selected(arguments: &Arguments) -> Result<Vec<Part>> {
    let lint = [Part::Fmt, Part::Clippy, Part::Deny, Part::Generated];
    let wanted = |part: &Part| {
        let named =
            arguments.parts.contains(part) || (lint.contains(part) && arguments.parts.contains(&Part::Lint));
        *part != Part::Lint && (named || arguments.parts.is_empty())
    };
    let all = Part::value_variants().iter().copied().filter(wanted);
    let parts: Vec<_> = all
        .filter(|part| !(arguments.without_cluster && part.on_cluster()))
        .collect();
    if parts.is_empty() {
        bail!("nothing is left to run without a cluster");
    }
    Ok(parts)
}

/// One run: what has been made so far, and how it went.
struct Session<'a> {
    paths: &'a Paths,
    tools: Tools,
    cluster: Cluster,
    arguments: &'a Arguments,
    summary: Summary,
    /// The test programs, once built; an error's text where that failed.
    binaries: Option<Result<Binaries, String>>,
    stage: Stage,
    /// One run at a time uses the machine's cluster.
    lock: Option<File>,
}

impl Session<'_> {
    fn part(&mut self, part: Part) {
        if part.with_tools() && self.arguments.without_cluster && !self.tools.obtainable(self.paths) {
            let why = "needs Go, which is not to be had here";
            self.summary
                .add(part.as_str(), Instant::now(), Outcome::Skipped(why.to_owned()));
            return;
        }
        if part == Part::Unit || part.is_family() {
            self.build_tests();
        }
        if part.has_needs() {
            self.prepare(part);
        }
        let obstacle = self.obstacle(part);
        self.step(part.as_str(), |session| match obstacle {
            Some(why) => Ok(Outcome::Failed(format!("not run: {why}"))),
            None => session.carry_out(part),
        });
    }

    fn carry_out(&mut self, part: Part) -> Result<Outcome> {
        let filter = &self.arguments.filter;
        match part {
            Part::Lint => Ok(Outcome::Passed(Counts::default())),
            Part::Fmt => checks::fmt(self.paths),
            Part::Clippy => checks::clippy(self.paths),
            Part::Deny => checks::deny(self.paths),
            Part::Generated => checks::generated(self.paths, &self.tools),
            Part::Training => checks::training(self.paths),
            Part::Unit => match &self.binaries {
                Some(Ok(binaries)) => binaries.unit(self.paths, filter),
                _ => bail!("the tests are not built"),
            },
            family => match &self.binaries {
                Some(Ok(binaries)) => {
                    let command = self.stage.command(&self.cluster, &self.tools, family, binaries)?;
                    binaries.family(family, command, filter)
                }
                _ => bail!("the tests are not built"),
            },
        }
    }

    /// Runs one step under its name and adds it to the summary.
    fn step(&mut self, name: &str, run: impl FnOnce(&mut Self) -> Result<Outcome>) -> bool {
        let began = Instant::now();
        println!("\n=== {name}");
        let outcome = run(self).unwrap_or_else(|error| {
            eprintln!("  {error:#}");
            Outcome::Failed(format!("{error:#}"))
        });
        let good = !matches!(
            outcome,
            Outcome::Failed(_) | Outcome::Tests(Counts { failed: 1.., .. }, _)
        );
        self.summary.add(name, began, outcome);
        good
    }

    fn build_tests(&mut self) {
        if self.binaries.is_some() {
            return;
        }
        self.step("build tests", |session| {
            let built = builds::tests(session.paths);
            session.binaries = Some(match &built {
                Ok(binaries) => Ok(binaries.clone()),
                Err(error) => Err(format!("{error:#}")),
            });
            built.map(|_| Outcome::Passed(Counts::default()))
        });
    }

    /// Makes what a family needs, once.
    fn prepare(&mut self, part: Part) {
        if matches!(self.binaries, Some(Err(_))) {
            return;
        }
        for need in families::needs(part) {
            if self.stage.tried(need) {
                continue;
            }
            let blocked = self.stage.blocked(need);
            let good = blocked.is_none()
                && self.step(need.as_str(), |session| {
                    if need == families::Need::Cluster {
                        session.lock = Some(families::lock()?);
                    }
                    session
                        .stage
                        .make(need, session.paths, &session.cluster, &session.tools)?;
                    Ok(Outcome::Passed(Counts::default()))
                });
            self.stage.note(need, good);
        }
    }

    /// Why a part cannot run.
    fn obstacle(&self, part: Part) -> Option<String> {
        if (part == Part::Unit || part.is_family()) && matches!(self.binaries, Some(Err(_))) {
            return Some("build tests failed".to_owned());
        }
        if !part.has_needs() {
            return None;
        }
        let missing = families::needs(part)
            .into_iter()
            .find(|need| !self.stage.has(*need))?;
        let mut why = format!("{} failed", missing.as_str());
        if part.on_cluster() {
            why += " (--without-cluster leaves this out)";
        }
        Some(why)
    }

    /// Ends the cluster if this run started it.
    fn leave_cluster(&mut self) {
        if !self.stage.started_cluster() {
            return;
        }
        if self.arguments.keep {
            println!("\nthe cluster goes on: cargo xtask cluster status, cargo xtask cluster down");
        } else if let Err(error) = self.cluster.down() {
            self.summary.add(
                "cluster down",
                Instant::now(),
                Outcome::Failed(format!("{error:#}")),
            );
        }
    }
}
