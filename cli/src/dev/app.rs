//! The app behind the sidecar: one that runs already, one that is started here, or the built-in demonstration.
//!
//! ```text
//! Plan (from the flags) ──address()──► the sidecar knows where to ask
//!                        └─start()──► Running ──answers()──► ready ──ended()──► exit code
//!                                        └──stop()──► nothing of it is left
//! ```
//!
//! A started app gets a process group of its own, and a reaper (`reap.rs`) that ends the group even where this
//! process is killed.

use std::{io, process::ExitStatus, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{args::Dev, reap::Reaper};

/// Between two tries to reach the app.
const RETRY: Duration = Duration::from_millis(100);
/// How long an app that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Stands for the port in the arguments of a command, as in a container's `command`.
const PORT: &str = "$(PORT)";

/// Which app, and where it will be.
#[derive(Debug)]
pub(super) enum Plan {
    /// The built-in demonstration.
    Demo(TcpListener),
    /// One that runs already.
    Running(String),
    /// A command to start.
    Command {
        /// What to run.
        command: Vec<String>,
        /// The free port that it is told.
        port: u16,
    },
}

/// Why there is no app.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppError {
    /// No port is free.
    #[error("failed to find a free port for the app: {0}")]
    NoPort(#[source] io::Error),
    /// The command does not start.
    #[error("failed to start {command:?}: {source}")]
    NotStarted {
        /// The program.
        command: String,
        /// What the system said.
        source: io::Error,
    },
}

/// An app that was started, or that runs anyway.
#[derive(Debug)]
pub(super) struct App {
    address: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Demo {
        stop: CancellationToken,
        task: JoinHandle<()>,
    },
    Running,
    Child(Box<Started>),
}

/// A command that was started.
#[derive(Debug)]
struct Started {
    child: Child,
    /// Every process of the app, unless one leaves on purpose.
    group: Pid,
    /// `None`: it could not be started, or is dismissed.
    reaper: Option<Reaper>,
    ended: Option<ExitStatus>,
}

impl Plan {
    /// What the flags ask for.
    pub(super) async fn new(args: &Dev) -> Result<Self, AppError> {
        if let Some(app) = &args.app {
            return Ok(Self::Running(app.clone()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(AppError::NoPort)?;
        if args.command.is_empty() {
            return Ok(Self::Demo(listener));
        }
        let port = listener.local_addr().map_err(AppError::NoPort)?.port();
        let command = args.command.clone();
        Ok(Self::Command { command, port })
    }

    /// Where the app will be, `host:port`.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Demo(listener) => listener
                .local_addr()
                .map(|address| address.to_string())
                .unwrap_or_default(),
            Self::Running(address) => address.clone(),
            // Some apps listen on ::1 only, some on 127.0.0.1 only; the name stands for both.
            Self::Command { port, .. } => format!("localhost:{port}"),
        }
    }

    /// Starts it.
    pub(super) fn start(self) -> Result<App, AppError> {
        let address = self.address();
        let kind = match self {
            Self::Running(_) => Kind::Running,
            Self::Demo(listener) => {
                let stop = CancellationToken::new();
                let stopped = stop.clone().cancelled_owned();
                let task = tokio::spawn(coppice_demo::serve(listener, "this laptop".to_owned(), stopped));
                Kind::Demo { stop, task }
            }
            Self::Command { command, port } => spawn(&command, port)?,
        };
        Ok(App { address, kind })
    }
}

fn spawn(command: &[String], port: u16) -> Result<Kind, AppError> {
    let port = port.to_string();
    let expanded: Vec<_> = command.iter().map(|word| word.replace(PORT, &port)).collect();
    let (program, arguments) = expanded
        .split_first()
        .map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let failed = |source| AppError::NotStarted {
        command: program.to_owned(),
        source,
    };
    let child = Command::new(program)
        .args(arguments)
        .env("PORT", &port)
        // A group in the background that reads from the terminal would be stopped.
        .stdin(std::process::Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
        .ok_or_else(|| failed(io::Error::other("it ended at once")))?;
    Ok(Kind::Child(Box::new(Started {
        child,
        group,
        reaper: Reaper::start(group),
        ended: None,
    })))
}

impl App {
    /// Returns once the app at this address has answered a request, whatever it said; `false` after `limit`. An app
    /// that ends before never answers: [`App::ended`] tells.
    pub(super) async fn answers(address: &str, limit: Duration) -> bool {
        let asked = async {
            while ask(address).await.is_err() {
                sleep(RETRY).await;
            }
        };
        timeout(limit, asked).await.is_ok()
    }

    /// Must it be waited for? The built-in app's port is open before it starts.
    pub(super) fn needs_time(&self) -> bool {
        !matches!(self.kind, Kind::Demo { .. })
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns when the app has ended, with the exit code that says how; never for an app that was not started here.
    pub(super) async fn ended(&mut self) -> u8 {
        match &mut self.kind {
            Kind::Running => std::future::pending().await,
            Kind::Demo { task, .. } => {
                let _ = task.await;
                0
            }
            Kind::Child(started) => match started.child.wait().await {
                Ok(status) => {
                    started.ended = Some(status);
                    exit_code(status)
                }
                Err(_) => 1,
            },
        }
    }

    /// Ends the app: passes the signal on that asks for it, waits, then insists. Nothing of its process group is left.
    /// Returns its exit code if it was started here.
    pub(super) async fn stop(mut self, signal: Signal) -> Option<u8> {
        match &mut self.kind {
            Kind::Running => None,
            Kind::Demo { stop, task } => {
                stop.cancel();
                let _ = task.await;
                None
            }
            Kind::Child(started) => started.stop(signal).await,
        }
    }
}

impl Started {
    async fn stop(&mut self, signal: Signal) -> Option<u8> {
        // Errors mean that the group has ended already.
        let _ = kill_process_group(self.group, signal);
        let gone = async {
            let status = self.child.wait().await;
            // It may have left children of its own; those that a shell put into the background ignore SIGINT.
            let _ = kill_process_group(self.group, Signal::TERM);
            while test_kill_process_group(self.group).is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
            status
        };
        let status = if let Ok(status) = timeout(PATIENCE, gone).await {
            status
        } else {
            let _ = kill_process_group(self.group, Signal::KILL);
            self.child.wait().await
        };
        if let Some(reaper) = self.reaper.take() {
            reaper.dismiss().await;
        }
        self.ended.or(status.ok()).map(exit_code)
    }
}

/// Asks the app for `/` and reads the beginning of an answer.
async fn ask(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUser-Agent: coppice-dev\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut start = [0; 5];
    stream.read_exact(&mut start).await?;
    if start == *b"HTTP/" {
        Ok(())
    } else {
        Err(io::Error::other("that is no HTTP"))
    }
}

/// As a shell has it: the code, or 128 and the signal.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
