//! `cargo xtask soak`: a sidecar between an app and visitors that misbehave, for as long as one likes. The test behind it
//! runs for some seconds among the unit tests; this is the same one, optimised and for minutes.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::paths::Paths;
use crate::process;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=25))]
    minutes: u64,
}

/// The command.
pub(crate) fn run(paths: &Paths, arguments: &Arguments) -> Result<ExitCode> {
    let mut cargo = process::cargo(paths);
    cargo
        .args(["test", "--locked", "--release", "--package", "coppice-sidecar"])
        .args(["--test", "soak", "--", "--nocapture"])
        .env("COPPICE_SOAK_SECONDS", (arguments.minutes * 60).to_string());
    let status = process::live("soak", &mut cargo, |_| ())?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
