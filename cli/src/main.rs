//! The `coppice` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coppice_cli::dev::{self, args::Dev, reap};
use tracing_subscriber::EnvFilter;

/// Incremental Static Regeneration for any HTTP app.
#[derive(Debug, Parser)]
#[command(name = "coppice", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(Dev),
    /// Ends a process group once standard input closes.
    #[command(name = reap::SUBCOMMAND, hide = true)]
    Reap {
        group: i32,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Dev(args) => {
            let filter =
                EnvFilter::try_from_env(coppice_wire::env::LOG).unwrap_or_else(|_| EnvFilter::new("error"));
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .init();
            let runtime = match coppice_sidecar::runtime() {
                Ok(runtime) => runtime,
                Err(error) => {
                    eprintln!("error: failed to start: {error}");
                    return ExitCode::FAILURE;
                }
            };
            let code = runtime.block_on(dev::run(args));
            // A read of a terminal or of a file that hangs must not keep it from ending.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Command::Reap { group } => {
            reap::run(group);
            ExitCode::SUCCESS
        }
    }
}
