//! `cargo xtask bench`: the sidecar beside nginx, Varnish and Next.js, in one run on one machine.
//!
//! ```text
//! packages, build ─► network, cores ─► app ─► for each case: peers start ─► pages are stored, and checked
//!                                                     └─► rounds: wrk on each peer in turn ─► CPU time, latency, memory
//!                                                                                               └─► table, JSON
//! ```
//!
//! The server that is measured has one core for itself, the app and the visitors share the other. What counts is the CPU
//! time of the server's processes for a request: unlike the requests of a second, it says the same on a machine that does
//! other things too. [`micro`] counts allocations and instructions, which say the same on any machine.

mod app;
mod cases;
mod client;
mod configs;
mod cores;
mod load;
mod micro;
mod network;
mod next;
mod peers;
mod purge;
mod report;
mod training;
mod usage;

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};

use self::app::App;
use self::cases::{Bench, Case};
use self::cores::{Cores, Priority};
use self::peers::{Ground, Peer};
use self::report::Report;
pub(crate) use self::training::{TRAINING, train};
use crate::build::{self, Recipe, Wanted};
use crate::paths::Paths;
use crate::process;
use crate::tools::system;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// What to measure; everything by default
    #[arg(long = "case", value_enum, value_name = "CASE", value_delimiter = ',')]
    cases: Vec<Case>,
    /// Who takes part
    #[arg(long, value_enum, value_name = "PEER", value_delimiter = ',', default_values_t = Peer::value_variants().to_vec())]
    peers: Vec<Peer>,
    /// How long each server is under load in a round
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How often each server is measured; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    #[command(flatten)]
    recipe: Recipe,
    /// Also write all rounds as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the cases and end
    #[arg(long)]
    list: bool,
}

#[derive(Subcommand)]
enum Part {
    /// Count the allocations and instructions of a hit, the same on every machine
    Micro,
}

/// The command.
pub(crate) fn run(paths: &Paths, arguments: &Arguments) -> Result<()> {
    if let Some(Part::Micro) = arguments.part {
        return micro::run(paths);
    }
    if arguments.list {
        for case in Case::value_variants() {
            if let Some(value) = case.to_possible_value() {
                let help = value.get_help().map(ToString::to_string).unwrap_or_default();
                println!("{:<13}{help}", value.get_name());
            }
        }
        return Ok(());
    }
    let cases = if arguments.cases.is_empty() {
        Case::value_variants()
    } else {
        &arguments.cases
    };
    system::ensure_bench()?;
    let programs = if arguments.peers.contains(&Peer::Coppice) {
        arguments.recipe.build(paths, Wanted::Bench)?.programs
    } else {
        PathBuf::new()
    };
    let with_floors = arguments.peers.iter().any(|peer| peer.is_floor());
    let floors = with_floors.then(|| build::floors(paths)).transpose()?;
    let wanted = arguments.peers.contains(&Peer::Next)
        && cases
            .iter()
            .any(|case| matches!(case, Case::Next | Case::Idle | Case::Start));
    let next = wanted.then(|| next::built(paths)).transpose()?;

    let folder = Folder::make()?;
    // Not before all is built, which may take what is on the net.
    let network = network::enter();
    let _priority = Priority::raise();
    let mut report = Report::default();
    let bench = Bench {
        ground: Ground {
            programs,
            floors,
            next,
            cores: Cores::take()?,
            folder: folder.0.clone(),
        },
        app: App::start()?,
        peers: arguments.peers.clone(),
        seconds: arguments.seconds,
        rounds: usize::from(arguments.rounds),
    };
    report.about = about(arguments, network);
    let mut failed = 0;
    for case in cases {
        process::check_interrupt()?;
        // What the others measured is not lost.
        if let Err(error) = case.run(&bench, &mut report) {
            process::check_interrupt()?;
            failed += 1;
            let name = case.to_possible_value();
            let name = name.as_ref().map_or("a case", |value| value.get_name());
            report.remark(format!("{name} failed: {error:#}"));
        }
    }
    report
        .about
        .push(format!("load of the machine in the end: {}", loadavg()));
    for line in &report.about {
        println!("{line}");
    }
    println!("\n{}", report.table());
    if let Some(file) = &arguments.json {
        fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    ensure!(failed == 0, "{failed} cases failed");
    Ok(())
}

/// What a reader must know to weigh the numbers.
fn about(arguments: &Arguments, network: String) -> Vec<String> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let version = |program: &str, flag: &str| {
        let output = process::command(program).arg(flag).output().ok();
        // Both say it on standard error.
        let said = output.map(|output| [output.stdout, output.stderr].concat());
        let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
        let first = said.lines().next().unwrap_or_default();
        first.trim_start_matches("nginx version: ").to_owned()
    };
    vec![
        format!(
            "{processor}; a core for the server, a core for the app and wrk with {} connections",
            load::CONNECTIONS
        ),
        network,
        format!(
            "coppice dev --quiet --no-key, built as {}; {}; {}",
            arguments.recipe.describe(),
            version("nginx", "-v"),
            version("varnishd", "-V")
        ),
        format!(
            "medians of {} rounds of {} s",
            arguments.rounds, arguments.seconds
        ),
        format!("load of the machine in the beginning: {}", loadavg()),
    ]
}

/// The average number of processes that ran or wanted to, in the last minute.
fn loadavg() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self> {
        let folder = env::temp_dir().join(format!("coppice-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
