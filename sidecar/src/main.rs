//! The caching sidecar of Coppice: parse, log, bind, run, drain, say how it ended.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use coppice_sidecar::{
    Sidecar,
    admin::LogLevel,
    config::{Args, Settings},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, reload, util::SubscriberInitExt};

fn main() -> ExitCode {
    let args = Args::parse();
    let level = match log(&args.log) {
        Ok(level) => level,
        Err(error) => {
            eprintln!("coppice-sidecar: {error:#}");
            return ExitCode::from(2);
        }
    };
    match serve(args.into(), level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to stderr; what is returned changes the filter later.
fn log(filter: &str) -> anyhow::Result<LogLevel> {
    let parse = |filter: &str| EnvFilter::try_new(filter);
    let words = || format!("failed to read the log filter {filter:?} (--log, COPPICE_LOG)");
    let (layer, handle) = reload::Layer::new(parse(filter).with_context(words)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    tracing_subscriber::registry().with(layer).with(lines).init();
    let reader = handle.clone();
    Ok(LogLevel::new(
        move || reader.with_current(ToString::to_string).unwrap_or_default(),
        move |filter| {
            let filter = parse(filter).map_err(|error| error.to_string())?;
            handle.reload(filter).map_err(|error| error.to_string())
        },
    ))
}

fn serve(settings: Settings, level: LogLevel) -> anyhow::Result<()> {
    let runtime = coppice_sidecar::runtime().context("failed to start the runtime")?;
    let drained = runtime.block_on(async {
        let app = settings.app.clone();
        let sidecar = Sidecar::bind(settings)?.with_log_level(level);
        tracing::info!(
            release = env!("CARGO_PKG_VERSION"),
            visitors = %sidecar.local_addr()?,
            admin = ?sidecar.admin_addr(),
            app,
            "serving"
        );
        let told = CancellationToken::new();
        tokio::spawn(signals(told.clone()));
        anyhow::Ok(sidecar.run(told).await?)
    })?;
    // Nothing that is left is worth waiting for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match drained.cut_off {
        0 => tracing::info!("drained: nobody was cut off"),
        cut_off => tracing::warn!(
            cut_off,
            "drained: connections that did not end in time were cut off"
        ),
    }
    Ok(())
}

/// SIGTERM or an interrupt begins the drain; a second one means now.
async fn signals(told: CancellationToken) {
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("failed to listen for signals; only SIGKILL ends this process");
        return;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        if told.is_cancelled() {
            tracing::warn!("told twice: leaving at once");
            std::process::exit(1);
        }
        told.cancel();
    }
}
