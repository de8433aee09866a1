//! A visitor of our own, for what `wrk` cannot do: each page once, all at the same moment, until something is new.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process;

const PATIENCE: Duration = Duration::from_secs(20);
/// How many connections ask for many pages.
const FILLERS: usize = 64;

/// One connection, kept open.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer; header names in lower case.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let known = self.headers.iter().find(|(known, _)| known == name)?;
        Some(&known.1)
    }
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, stream),
        })
    }

    /// Asks and waits for the whole answer.
    pub(super) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.ask("GET", path, headers)?;
        self.answer()
    }

    /// Sends a request.
    pub(super) fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<()> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: bench.local\r\n");
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text += "\r\n";
        self.stream.get_mut().write_all(text.as_bytes())?;
        Ok(())
    }

    /// Reads the answer to the request that was sent first.
    pub(super) fn answer(&mut self) -> Result<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("{first:?} is no HTTP answer"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let answer = Answer { status, headers };
        if answer.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(self.line()?.trim(), 16)?;
                self.skip(size)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = answer.header("content-length").filter(|_| status != 304) {
            self.skip(length.parse()?)?;
        }
        Ok(answer)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }

    fn skip(&mut self, bytes: usize) -> Result<()> {
        let mut body = (&mut self.stream).take(bytes as u64);
        let read = std::io::copy(&mut body, &mut std::io::sink())?;
        if read < bytes as u64 {
            bail!("the server broke off");
        }
        Ok(())
    }
}

/// How long visitors waited, each from when it asked until its answer was read. They ask and read one behind the other, in one
/// thread, so of a fast server this says more of them: it is for comparing servers.
#[derive(Debug)]
pub(super) struct Waits {
    /// The shortest first.
    each: Vec<Duration>,
    /// From the first request to the last answer.
    took: Duration,
}

impl Waits {
    fn of(mut each: Vec<Duration>, took: Duration) -> Self {
        each.sort_unstable();
        Self { each, took }
    }

    /// So many of a hundred waited no longer.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let at = (self.each.len() * percent).div_ceil(100).saturating_sub(1);
        self.each.get(at).copied().unwrap_or_default()
    }

    /// Answers in a second.
    pub(super) fn rate(&self) -> f64 {
        self.each.len() as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// All of `asked`, one on each client, sent before the first answer is read; what they waited goes to `waits`.
fn all_at_once(
    clients: &mut [Client],
    asked: impl Iterator<Item = String>,
    waits: &mut Vec<Duration>,
) -> Result<()> {
    let mut began = Vec::with_capacity(clients.len());
    for (client, path) in clients.iter_mut().zip(asked) {
        began.push((Instant::now(), path));
        let (_, path) = &began[began.len() - 1];
        client.ask("GET", path, &[])?;
    }
    for (client, (began, path)) in clients.iter_mut().zip(began) {
        let answer = client.answer()?;
        waits.push(began.elapsed());
        if answer.status != 200 {
            bail!("{path} is answered with {}", answer.status);
        }
    }
    Ok(())
}

/// Asks for each of the pages `<prefix><n>` once, over a few connections: all of them are sent before the first is read,
/// so that a machine with other things to do loses its turn once for many pages.
pub(super) fn each_once(address: SocketAddr, prefix: &str, pages: usize) -> Result<Waits> {
    let mut clients = connected(address, FILLERS)?;
    let (began, mut waits) = (Instant::now(), Vec::with_capacity(pages));
    for first in (0..pages).step_by(FILLERS) {
        process::check_interrupt()?;
        let batch = first..pages.min(first + FILLERS);
        let paths = batch.map(|page| format!("{prefix}{page}"));
        all_at_once(&mut clients, paths, &mut waits)?;
    }
    Ok(Waits::of(waits, began.elapsed()))
}

/// All at once for one page.
pub(super) fn herd(address: SocketAddr, path: &str, visitors: usize) -> Result<Waits> {
    let mut clients = connected(address, visitors)?;
    let (began, mut waits) = (Instant::now(), Vec::with_capacity(visitors));
    let paths = std::iter::repeat_n(path.to_owned(), visitors);
    all_at_once(&mut clients, paths, &mut waits)?;
    Ok(Waits::of(waits, began.elapsed()))
}

fn connected(address: SocketAddr, clients: usize) -> Result<Vec<Client>> {
    (0..clients).map(|_| Client::connect(address)).collect()
}

/// Asks again and again until the answer pleases; how long that took.
pub(super) fn until(
    address: SocketAddr,
    (path, headers): (&str, &[(&str, &str)]),
    limit: Duration,
    pause: Duration,
    pleases: impl Fn(&Answer) -> bool,
) -> Result<Duration> {
    let began = Instant::now();
    let mut client = None;
    loop {
        process::check_interrupt()?;
        if client.is_none() {
            client = Client::connect(address).ok();
        }
        match client.as_mut().map(|client| client.get(path, headers)) {
            Some(Ok(answer)) if pleases(&answer) => return Ok(began.elapsed()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => client = None,
        }
        if began.elapsed() > limit {
            bail!(
                "{path} on {address} is not as expected after {} s",
                limit.as_secs()
            );
        }
        thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_who_waited() {
        let millis = |waits: &[u64]| {
            let each = waits.iter().copied().map(Duration::from_millis).collect();
            Waits::of(each, Duration::from_secs(2))
        };
        let waits = millis(&[30, 10, 20, 40]);
        let of = |percent| waits.percentile(percent).as_millis();
        assert_eq!([of(50), of(51), of(99), of(100)], [20, 30, 40, 40]);
        assert!((waits.rate() - 2.0).abs() < 1e-9);
        assert_eq!(millis(&[]).percentile(50), Duration::ZERO);
    }
}
