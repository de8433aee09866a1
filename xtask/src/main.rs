//! Developer commands behind `cargo xtask`.
//!
//! - [`cluster`] – a real single-node Kubernetes in a network namespace of its own
//! - [`images`] – the OCI archives
//! - [`tools`] – what it and the checks need, installed and built once, kept in the cache folder
//! - [`process`] – running commands: progress, tails, Ctrl-C
//! - [`paths`] – where things are

mod cluster;
mod images;
mod paths;
mod process;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::paths::Paths;

/// Developer commands of Coppice
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A real single-node Kubernetes on this machine, for tests and demonstrations
    #[command(subcommand)]
    Cluster(cluster::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::watch_signals();
    let done = Paths::find().and_then(|paths| match arguments.command {
        Command::Cluster(command) => cluster::run(&paths, command),
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
