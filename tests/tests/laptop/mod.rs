//! A running `coppice dev` and the folder of manifests that it watches.
//!
//! ```text
//! Laptop::of(files) ──start()──► Session   said("…")  save(file)  get(path)  ended()
//! ```
//!
//! Every wait is for a condition and fails with all that was said until then.

// Each test program uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
pub use coppice_tests::visit::Answer;
use coppice_tests::visit::{Visit, visit};
use http::{Method, StatusCode};
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// No condition takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// The binary under test.
pub fn coppice() -> Result<PathBuf> {
    std::env::var_os("COPPICE_BIN")
        .map(PathBuf::from)
        .context("COPPICE_BIN names no binary: run these tests with `cargo xtask test dev`")
}

/// A folder of manifests and the flags of a session.
pub struct Laptop {
    pub folder: TempDir,
    flags: Vec<String>,
    command: Vec<String>,
    environment: Vec<(String, String)>,
}

/// `coppice dev`, started.
pub struct Session {
    process: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
    pub folder: TempDir,
}

/// A session that serves.
pub struct Serving {
    pub session: Session,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

impl Laptop {
    /// A folder with these files.
    pub fn of(files: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text)?;
        }
        Ok(Self {
            folder,
            flags: Vec::new(),
            command: Vec::new(),
            environment: Vec::new(),
        })
    }

    /// Flags besides those for the ports.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&f| f.to_owned()));
        self
    }

    /// The app's command.
    pub fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|&c| c.to_owned()).collect();
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it on free ports, or on those that the flags name.
    pub fn start(self) -> Result<Session> {
        let mut command = Command::new(coppice()?);
        command.arg("dev");
        for flag in ["--listen", "--admin"] {
            if !self.flags.iter().any(|f| f == flag) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        command.args(&self.flags).arg(self.folder.path());
        if !self.command.is_empty() {
            command.arg("--").args(&self.command);
        }
        let mut process = command
            .envs(self.environment)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start coppice")?;
        let said = Arc::new(Mutex::new(String::new()));
        let mut readers = Vec::new();
        if let Some(out) = process.stdout.take() {
            readers.push(tokio::spawn(listen(out, said.clone())));
        }
        if let Some(error) = process.stderr.take() {
            readers.push(tokio::spawn(listen(error, said.clone())));
        }
        Ok(Session {
            process,
            said,
            readers,
            folder: self.folder,
        })
    }

    /// Starts it and waits until it serves.
    pub async fn serve(self) -> Result<Serving> {
        self.start()?.serving().await
    }

    /// Starts it and waits until it has ended: exit code and everything it said.
    pub async fn run(self) -> Result<(i32, String)> {
        self.start()?.ended().await
    }
}

async fn listen(mut pipe: impl AsyncRead + Unpin, said: Arc<Mutex<String>>) {
    let mut buffer = vec![0; 8192];
    while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
        lock(&said).push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}

fn lock(said: &Mutex<String>) -> MutexGuard<'_, String> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Everything it has said.
    pub fn so_far(&self) -> String {
        lock(&self.said).clone()
    }

    /// Waits until it has said this.
    pub async fn said(&self, words: &str) -> Result<()> {
        self.said_times(words, 1).await
    }

    /// Waits until it has said this so many times.
    pub async fn said_times(&self, words: &str, times: usize) -> Result<()> {
        let said = || async { Ok(self.so_far().matches(words).count() >= times) };
        wait(&format!("it says {words:?} {times} times"), said)
            .await
            .with_context(|| format!("it said:\n{}", self.so_far()))
    }

    pub async fn serving(self) -> Result<Serving> {
        self.said("Ctrl-C ends it").await?;
        let said = self.so_far();
        let address = |after: &str| -> Result<SocketAddr> {
            let (_, rest) = said
                .split_once(after)
                .with_context(|| format!("no {after:?} in {said}"))?;
            let rest = rest.trim_start().trim_start_matches("http://");
            let end = rest.find([' ', '/', '\n']).unwrap_or(rest.len());
            Ok(rest[..end].parse()?)
        };
        Ok(Serving {
            address: address("\nhttp://")?,
            admin: address("\n  state ")?,
            session: self,
        })
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a file as editors do that write another one and rename it.
    pub fn save(&self, file: &str, text: &str) -> Result<()> {
        let draft = self.path(&format!(".{file}.draft"));
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, self.path(file))?;
        Ok(())
    }

    pub fn id(&self) -> Result<u32> {
        self.process.id().context("it has ended")
    }

    /// Sends a signal to this process alone.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let id = self.id()?.to_string();
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &id])
            .status()
            .await?;
        ensure!(status.success(), "failed to send {signal}");
        Ok(())
    }

    /// Waits until it has ended: exit code (negative: a signal) and everything it said.
    pub async fn ended(mut self) -> Result<(i32, String)> {
        use std::os::unix::process::ExitStatusExt as _;
        let ended = timeout(PATIENCE, self.process.wait()).await;
        let Ok(status) = ended else {
            bail!("it has not ended; it said:\n{}", self.so_far());
        };
        let status = status?;
        for reader in self.readers.drain(..) {
            reader.await?;
        }
        let code = status
            .code()
            .or_else(|| status.signal().map(|s| -s))
            .unwrap_or(-1);
        Ok((code, self.so_far()))
    }
}

impl Serving {
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer> {
        request(self.address, method, path, headers, body)
            .send()
            .await
            .with_context(|| format!("it said:\n{}", self.session.so_far()))
    }

    /// An answer whose body is yet to come.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<http::Response<Incoming>> {
        request(self.address, method, path, headers, body)
            .open()
            .await
            .with_context(|| format!("it said:\n{}", self.session.so_far()))
    }

    /// Visits until the answer is as wished.
    pub async fn until(&self, path: &str, what: &str, wished: impl Fn(&Answer) -> bool) -> Result<Answer> {
        let mut last = None;
        let seen = async {
            loop {
                let answer = self.get(path).await?;
                if wished(&answer) {
                    return Ok(answer);
                }
                last = Some(answer);
                sleep(LOOK).await;
            }
        };
        match timeout(PATIENCE, seen).await {
            Ok(answer) => answer,
            Err(_) => bail!(
                "{path} is never {what}; the last answer was {last:?}; it said:\n{}",
                self.session.so_far()
            ),
        }
    }

    /// Scripts the demonstration app.
    pub async fn script(&self, behaviour: &str) -> Result<()> {
        let answer = self.ask(Method::POST, "/_demo/behaviour", &[], behaviour).await?;
        ensure!(answer.status == StatusCode::OK, "{answer:?}");
        Ok(())
    }

    /// How often the demonstration app has rendered a path.
    pub async fn renders(&self, path: &str) -> Result<u64> {
        let renders: serde_json::Value = serde_json::from_str(&self.get("/_demo/renders").await?.body)?;
        Ok(renders[path].as_u64().unwrap_or(0))
    }

    /// Ends it as Ctrl-C does.
    pub async fn end(self) -> Result<(i32, String)> {
        self.session.signal("INT").await?;
        self.session.ended().await
    }
}

/// A request for the host `laptop.test`.
pub fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Visit {
    let mut request = visit(address, path).method(method).header("host", b"laptop.test");
    if !body.is_empty() {
        request = request.body("application/octet-stream", body.to_owned());
    }
    headers
        .iter()
        .fold(request, |r, (name, value)| r.header(name, value.as_bytes()))
}

/// Waits until a condition holds.
pub async fn wait<F: Future<Output = Result<bool>>>(what: &str, mut holds: impl FnMut() -> F) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until a process is no more, or only a zombie that nobody has collected yet.
pub async fn gone(id: &str) -> Result<()> {
    let status = Path::new("/proc").join(id).join("stat");
    wait(&format!("process {id} is gone"), || async {
        let Ok(stat) = std::fs::read_to_string(&status) else {
            return Ok(true);
        };
        Ok(stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z')))
    })
    .await
}

/// Waits until a file holds a line, and returns it.
pub async fn line_of(path: &Path) -> Result<String> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    wait(&format!("{} is written", path.display()), || async {
        Ok(read().ends_with('\n'))
    })
    .await?;
    Ok(read().trim().to_owned())
}
