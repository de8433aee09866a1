//! Running other programs: [`quiet`] says how far it is and shows the end of the output where it fails, [`live`] shows
//! all of it, [`capture`] returns it.
//!
//! A signal sets a flag that every wait looks at, so that what was started can be ended in order; a second one ends at once.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::paths::Paths;

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// How long a silent command may be silent before a line says that it still runs.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long any command may run.
const LIMIT: Duration = Duration::from_mins(30);
/// How many lines of a failed command's output are shown.
const TAIL: usize = 40;

/// Turns signals into the flag that [`check_interrupt`] reads.
pub(crate) fn watch_signals() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let flag = Arc::clone(&INTERRUPTED);
        // Registered first, so that only a second signal finds the flag set. Neither can fail for these three signals.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag));
        let _ = signal_hook::flag::register(signal, flag);
    }
}

/// Whether a signal asked this program to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// An error once a signal has asked this program to end.
pub(crate) fn check_interrupt() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

/// A command whose programs are also looked for in the folders of system programs, which a root's `PATH` may lack.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path());
    command.stdin(Stdio::null());
    command
}

/// `PATH` with the folders of system programs.
pub(crate) fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    for folder in ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"] {
        if !env::split_paths(&path).any(|known| known.as_os_str() == folder) {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(folder);
        }
    }
    path
}

/// The cargo that runs this program, in the workspace, without the variables that it set for this program.
pub(crate) fn cargo(paths: &Paths) -> Command {
    let mut command = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&paths.root);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Whether a program of this name can be run.
pub(crate) fn installed(program: &str) -> bool {
    env::split_paths(&search_path()).any(|folder| folder.join(program).is_file())
}

/// Runs a short command; its standard output, or an error with what it said.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command
        .output()
        .with_context(|| format!("failed to start {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that may take long without showing its output: a line says every few seconds how far it is, and where
/// it fails the end of what it printed is shown.
pub(crate) fn quiet(label: &str, command: &mut Command) -> Result<()> {
    quiet_with(label, command, |_| false)
}

/// The same, handing every line to `read`; those that it takes are not shown.
pub(crate) fn quiet_with(
    label: &str,
    command: &mut Command,
    mut read: impl FnMut(&str) -> bool,
) -> Result<()> {
    let began = Instant::now();
    let mut tail = VecDeque::with_capacity(TAIL);
    let mut lines = 0_usize;
    let status = watch(command, |event| match event {
        Event::Line(line) => {
            lines += 1;
            if read(&line) {
                return;
            }
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        Event::Idle => {
            let last = tail.back().map(String::as_str).unwrap_or_default();
            let last: String = last.trim().chars().take(80).collect();
            eprintln!(
                "  … {label}: {} s, {lines} lines so far: {last}",
                began.elapsed().as_secs()
            );
        }
    })?;
    if !status.success() {
        for line in &tail {
            eprintln!("    {line}");
        }
        bail!("{label} failed ({status})");
    }
    Ok(())
}

/// Runs a command, showing every line as it comes, and handing it to `read`; says so where it is silent for long.
pub(crate) fn live(label: &str, command: &mut Command, mut read: impl FnMut(&str)) -> Result<ExitStatus> {
    let began = Instant::now();
    let mut heard = Instant::now();
    watch(command, |event| match event {
        Event::Line(line) => {
            heard = Instant::now();
            println!("{line}");
            read(&line);
        }
        Event::Idle if heard.elapsed() >= HEARTBEAT * 2 => {
            heard = Instant::now();
            println!("  … {label}: {} s", began.elapsed().as_secs());
        }
        Event::Idle => {}
    })
}

/// What a running command shows.
enum Event {
    Line(String),
    /// [`HEARTBEAT`] or more has passed since the last time; lines may have come meanwhile.
    Idle,
}

/// Runs a command to its end, or ends it when a signal comes.
fn watch(command: &mut Command, mut tell: impl FnMut(Event)) -> Result<ExitStatus> {
    check_interrupt()?;
    let name = name(command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {name}"))?;
    let (lines, received) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, lines.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, lines);
    }
    let began = Instant::now();
    let mut told = began;
    loop {
        match received.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => tell(Event::Line(line)),
            Err(RecvTimeoutError::Timeout) => {
                // A grandchild may hold the pipes open after the command itself has ended.
                if let Some(status) = child.try_wait()? {
                    while let Ok(line) = received.recv_timeout(Duration::from_millis(200)) {
                        tell(Event::Line(line));
                    }
                    return Ok(status);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(child.wait()?),
        }
        // Less often as it takes longer.
        if told.elapsed() >= HEARTBEAT.max(began.elapsed() / 10).min(HEARTBEAT * 3) {
            told = Instant::now();
            tell(Event::Idle);
        }
        if interrupted() {
            end(&mut child);
            bail!("interrupted");
        }
        if began.elapsed() > LIMIT {
            end(&mut child);
            bail!("{name} did not end within {} minutes", LIMIT.as_secs() / 60);
        }
    }
}

/// Asks a child to end, and insists after five seconds.
fn end(child: &mut std::process::Child) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    let patience = Instant::now() + Duration::from_secs(5);
    while Instant::now() < patience {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn forward(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line);
            if lines.send(text.trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
}

fn name(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let short = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let first = command.get_args().next();
    first.map_or(short.clone(), |argument| {
        format!("{short} {}", argument.to_string_lossy())
    })
}
