//! `coppice dev`: the operator's index, its stream over loopback and the sidecar in one process.
//!
//! ```text
//! files ──watch.rs──► manifests/ ──Changes──► plane.rs (State, push) ──gRPC──► Sidecar ──► app.rs (the app)
//!                         │ Problems              │ statuses                    │ visits
//!                         └───────────────────────┴──► terminal.rs ◄────────────┘
//! ```
//!
//! [`run`] is the one entry point. Files stand where the API server stands in a cluster; nothing else is different.

mod app;
pub mod args;
pub mod manifests;
mod plane;
pub mod reap;
mod terminal;
mod watch;

use std::{io, net::SocketAddr, time::Duration};

use coppice_sidecar::{
    BindError, Sidecar,
    config::{Settings, VisitLine},
};
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use app::{App, Plan};
use args::Dev;
use manifests::{Changes, Manifests, SkippedKind};
use plane::Plane;
use terminal::{Colour, Terminal};
use watch::Watch;

/// A port is in use, or the app does not answer.
const FAILED: u8 = 1;
/// A manifest is broken at the start.
const BROKEN: u8 = 2;
/// The sidecar is on loopback: it has its routes in far less.
const IN_FORCE: Duration = Duration::from_secs(10);
/// Lines of requests that wait to be printed; more are dropped, so that no visitor waits for a terminal.
const VISITS: usize = 1024;

/// Runs until the app ends or a signal comes. Returns the exit code.
pub async fn run(args: Dev) -> u8 {
    let terminal = Terminal::standard();
    let mut manifests = Manifests::new(args.manifests.clone(), args.namespace.clone());
    let mut first = manifests.reload(Timestamp::now(), true);
    if !say_problems(&first, &terminal) {
        terminal.error("nothing was started: correct the manifests, then run it again");
        return BROKEN;
    }
    say_skipped(&first, &terminal);
    if first.routes.is_empty() {
        terminal
            .warn("there is no IsrRoute in these manifests: everything passes through until one is saved");
    }
    first.problems.clear();
    match serve(&args, manifests, first, &terminal).await {
        Ok(code) => code,
        Err(words) => {
            terminal.error(&words);
            FAILED
        }
    }
}

/// Everything after the manifests were found whole. An error is what to tell the user.
async fn serve(
    args: &Dev,
    mut manifests: Manifests,
    first: Changes,
    terminal: &Terminal,
) -> Result<u8, String> {
    let mut signals = Signals::new().map_err(|error| format!("failed to listen for signals: {error}"))?;
    let mut watch = Watch::start(&args.manifests).map_err(|error| error.to_string())?;
    let plan = Plan::new(args).await.map_err(|error| error.to_string())?;
    let plane = Plane::start(manifests.namespace(), first)
        .await
        .map_err(|error| format!("failed to open the stream to the sidecar: {error}"))?;
    let (visits, lines) = mpsc::channel(VISITS);
    let sidecar = Sidecar::bind(Settings {
        listen: args.listen,
        admin: Some(args.admin),
        app: plan.address(),
        memory: args.memory,
        regenerations: args.regenerations,
        drain: Duration::ZERO,
        control: Some(plane.control()),
        dev: true,
        names_key: !args.no_key,
        visits: (!args.quiet).then_some(visits),
    })
    .map_err(|error| in_use(&error))?;
    let listen = sidecar.local_addr().unwrap_or(args.listen);
    let admin = sidecar.admin_addr().unwrap_or(args.admin);

    // From here on there may be processes to end: no early return without `stop`.
    let what = described(&plan, args);
    let mut app = plan.start().map_err(|error| error.to_string())?;
    if let Some(ended) = wait_for_app(&mut app, args, &mut signals, terminal).await {
        let signal = if let Ended::Told(signal) = &ended {
            *signal
        } else {
            Signal::TERM
        };
        let code = app.stop(signal).await;
        plane.stop().await;
        return match ended {
            Ended::Early(code) => Err(format!(
                "{what} ended before it answered, with exit code {code}: see what it said above"
            )),
            Ended::Silent => Err(silent(&what, args)),
            Ended::Told(_) => Ok(code.unwrap_or(0)),
        };
    }

    let leave = CancellationToken::new();
    let mut serving = tokio::spawn(sidecar.run(leave.clone()));
    let printer = tokio::spawn(print_visits(lines, terminal.clone()));
    let mut told = None;
    let code = tokio::select! {
        code = app.ended() => {
            terminal.say(&format!("the app has ended, with exit code {code}"));
            Some(code)
        }
        ended = &mut serving => {
            let words = match ended {
                Ok(Ok(_)) => "the sidecar has ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => format!("the sidecar has failed: {error}"),
            };
            terminal.error(&words);
            Some(FAILED)
        }
        () = plane.statuses(terminal) => Some(FAILED),
        () = session(&mut manifests, &mut watch, &plane, &what, listen, admin, terminal) => Some(FAILED),
        signal = signals.next() => {
            told = Some(signal);
            None
        }
    };
    leave.cancel();
    let stopped = tokio::select! {
        code = app.stop(told.unwrap_or(Signal::TERM)) => code,
        // Whoever asks twice does not want to wait; the reaper ends what is left.
        _ = signals.next() => Some(FAILED),
    };
    if !serving.is_finished() {
        let _ = tokio::time::timeout(Duration::from_secs(2), &mut serving).await;
        serving.abort();
    }
    plane.stop().await;
    printer.abort();
    Ok(code.or(stopped).unwrap_or(0))
}

/// Says what is served, then applies what is saved. Never returns.
async fn session(
    manifests: &mut Manifests,
    watch: &mut Watch,
    plane: &Plane,
    what: &str,
    listen: SocketAddr,
    admin: SocketAddr,
    terminal: &Terminal,
) {
    if !plane.in_force(IN_FORCE).await {
        terminal
            .warn("the sidecar has not confirmed its routes yet; until it does, everything passes through");
    }
    for words in plane.refused() {
        terminal.warn(&words);
    }
    welcome(manifests, what, listen, admin, terminal);
    loop {
        // First at once: something may have been saved before the watch had begun.
        let changes = manifests.reload(Timestamp::now(), false);
        if !say_problems(&changes, terminal) {
            terminal.warn("what was in force before stays in force");
        }
        for file in &changes.mended {
            terminal.say(&format!("{} is whole again", file.display()));
        }
        say_skipped(&changes, terminal);
        plane.apply(changes, terminal);
        watch.changed().await;
    }
}

/// How the wait for the app ended, where it did not answer.
enum Ended {
    /// The app ended, with this exit code.
    Early(u8),
    /// It did not answer in time.
    Silent,
    /// A signal came.
    Told(Signal),
}

/// `None`: it answers.
async fn wait_for_app(
    app: &mut App,
    args: &Dev,
    signals: &mut Signals,
    terminal: &Terminal,
) -> Option<Ended> {
    if !app.needs_time() {
        return None;
    }
    let address = app.address().to_owned();
    let answers = App::answers(&address, args.app_timeout);
    let patience = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        terminal.say(&format!("waiting for the app to answer on {address} …"));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answered = answers => (!answered).then_some(Ended::Silent),
        code = app.ended() => Some(Ended::Early(code)),
        signal = signals.next() => Some(Ended::Told(signal)),
        () = patience => None,
    }
}

fn silent(what: &str, args: &Dev) -> String {
    let limit = terminal::short(args.app_timeout);
    let remedy = if args.command.is_empty() {
        "start it, or give another address with --app"
    } else {
        "let it listen on the port in the variable PORT, or put $(PORT) where its arguments name the port"
    };
    format!("{what} did not answer within {limit}: {remedy}")
}

fn described(plan: &Plan, args: &Dev) -> String {
    match plan {
        Plan::Demo(_) => "the demonstration app".to_owned(),
        Plan::Running(address) => format!("the app on http://{address}"),
        Plan::Command { port, .. } => format!("`{}` (PORT={port})", args.command.join(" ")),
    }
}

fn in_use(error: &BindError) -> String {
    let flag = if error.purpose == "admin" {
        "--admin"
    } else {
        "--listen"
    };
    match error.source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{} is in use by another program: stop that, or choose another address with {flag}",
            error.address
        ),
        _ => format!("{error}: choose another address with {flag}"),
    }
}

/// Says everything that is wrong; `true`: nothing is.
fn say_problems(changes: &Changes, terminal: &Terminal) -> bool {
    for problem in &changes.problems {
        terminal.error(&problem.to_string());
    }
    changes.problems.is_empty()
}

fn say_skipped(changes: &Changes, terminal: &Terminal) {
    let kinds: Vec<_> = (changes.skipped.iter())
        .filter_map(|SkippedKind(kind)| kind.as_deref())
        .collect();
    if !kinds.is_empty() {
        terminal.say(&format!("skipped, not needed here: {}", kinds.join(", ")));
    }
    if changes.skipped.contains(&SkippedKind(None)) {
        terminal.say("skipped: documents without apiVersion and kind");
    }
    if changes.foreign > 0 {
        terminal.say(&format!(
            "skipped: {} objects of other namespaces",
            changes.foreign
        ));
    }
}

fn welcome(manifests: &Manifests, what: &str, listen: SocketAddr, admin: SocketAddr, terminal: &Terminal) {
    let title = terminal.paint(Colour::Bold, &format!("http://{listen}"));
    terminal.say(&format!("\n{title} serves {what} through the cache"));
    let mut tag = None;
    for route in manifests.routes() {
        let name = route.metadata.name.as_deref().unwrap_or_default();
        for rule in &route.spec.rules {
            let every = rule.revalidate.map_or_else(
                || "as the app says".to_owned(),
                |interval| format!("revalidate {interval}"),
            );
            let paths = rule.paths.join("  ");
            terminal.say(&format!("  {name:<12} {paths:<28} {every}"));
            tag = tag.or_else(|| rule.tags.first().cloned());
        }
    }
    let tag = tag
        .unwrap_or_else(|| "a-tag".to_owned())
        .replace("[slug]", "hello");
    terminal.say(&format!("  state        http://{admin}/"));
    let folder = manifests.first_path().display();
    terminal.say(&format!(
        "\nTry:\n  curl -si http://{listen}/ | grep x-coppice-cache     MISS, then HIT, then STALE\n  \
         change an interval in {folder} and save: it applies at once\n  \
         save this beside it to purge:\n    \
         {{apiVersion: coppice.dev/v1alpha1, kind: RevalidationRequest, metadata: {{name: purge}}, spec: {{tags: [\"{tag}\"]}}}}\n  \
         Ctrl-C ends it\n"
    ));
}

async fn print_visits(mut lines: mpsc::Receiver<VisitLine>, terminal: Terminal) {
    while let Some(visit) = lines.recv().await {
        terminal.visit(&visit);
    }
}

/// The signals that mean "end", and those that go on to the app.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
        }
    }
}
