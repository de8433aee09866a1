//! `cargo xtask soak`: a sidecar between an app and visitors that misbehave, for as long as one likes. The test behind it
//! runs for some seconds among the unit tests; this is the same one, optimised and for minutes. Before it, crawlers ask for
//! far more URLs than there is room for, also further than in the unit tests.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::paths::Paths;
use crate::process;

/// Distinct URLs that the crawlers ask for.
const URLS: usize = 100_000;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=25))]
    minutes: u64,
}

/// The command.
pub(crate) fn run(paths: &Paths, arguments: &Arguments) -> Result<ExitCode> {
    let test = |name: &str, arguments: &[&str], variable: &str, value: String| {
        let mut cargo = process::cargo(paths);
        cargo
            .args(["test", "--locked", "--release", "--package", "coppice-sidecar"])
            .args(["--test", name, "--"])
            .args(arguments)
            .env(variable, value);
        process::live(name, &mut cargo, |_| ()).map(|status| status.success())
    };
    let passed = test("hostile", &["crawl"], "COPPICE_CRAWL", URLS.to_string())? && {
        let seconds = arguments.minutes * 60;
        test(
            "soak",
            &["--nocapture"],
            "COPPICE_SOAK_SECONDS",
            seconds.to_string(),
        )?
    };
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
