//! Developer commands behind `cargo xtask`.
//!
//! - [`cluster`] – a real single-node Kubernetes in a network namespace of its own
//! - [`build`] – the programs as they are released: static, linked as one, guided by a profile of visits
//! - [`images`], [`install`] – the OCI archives; bringing them and the chart into the cluster
//! - [`demo`] – all of it, shown to a person
//! - [`bench`] – speed beside nginx, Varnish and Next.js, and what a hit costs
//! - [`test`], [`generate`] – everything that must hold; files that programs write
//! - [`soak`] – a sidecar among misbehaving apps and visitors, for minutes
//! - [`tools`] – what it and the checks need, installed and built once, kept in the cache folder
//! - [`process`] – running commands: progress, tails, Ctrl-C
//! - [`paths`] – where things are

mod bench;
mod build;
mod cluster;
mod demo;
mod generate;
mod images;
mod install;
mod netns;
mod paths;
mod process;
mod soak;
mod test;
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
    /// Write the images of operator, sidecar and demonstration app to target/images
    Images(images::Arguments),
    /// Check and test everything, or a part
    Test(test::Arguments),
    /// Measure the sidecar beside nginx, Varnish and Next.js
    Bench(bench::Arguments),
    /// Coppice on a cluster of its own with three replicas of a blog: a route, visits, a purge
    Demo(demo::Arguments),
    /// A sidecar between an app and visitors that misbehave, for minutes
    Soak(soak::Arguments),
    /// Write the files that are generated: CRDs, the chart's README
    Generate,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::watch_signals();
    let done = Paths::find().and_then(|paths| match arguments.command {
        Command::Cluster(command) => cluster::run(&paths, command),
        Command::Soak(arguments) => soak::run(&paths, &arguments),
        Command::Test(arguments) => test::run(&paths, &arguments),
        Command::Demo(arguments) => demo::run(&paths, &arguments),
        Command::Generate => generate::write(&paths).map(|()| ExitCode::SUCCESS),
        Command::Bench(arguments) => bench::run(&paths, &arguments).map(|()| ExitCode::SUCCESS),
        Command::Images(arguments) => images::run(&paths, &arguments).map(|()| ExitCode::SUCCESS),
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
