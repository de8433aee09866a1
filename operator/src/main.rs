//! The operator of Coppice: flags, log, run, stop.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use coppice_operator::cluster::{flags::Flags, operator};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let flags = Flags::parse();
    match start(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coppice-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(flags: Flags) -> anyhow::Result<()> {
    // Before anything speaks TLS: rustls takes the provider of the process.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    if provider.install_default().is_err() {
        anyhow::bail!("another TLS provider is in use");
    }
    let filter =
        EnvFilter::try_new(&flags.log).with_context(|| format!("{:?} is no log filter", flags.log))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let ended = runtime.block_on(run(flags));
    // Whatever still hangs has had its time.
    runtime.shutdown_background();
    ended
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    tracing::info!(release = env!("CARGO_PKG_VERSION"), "coppice-operator starts");
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop");
        stop.cancel();
    });
    operator::run(flags, cancel).await?;
    tracing::info!("stopped");
    Ok(())
}
