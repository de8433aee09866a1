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

/// Asks for each of the pages `<prefix><n>` once, over a few connections: all of them are sent before the first is read,
/// so that a machine with other things to do loses its turn once for many pages.
pub(super) fn each_once(address: SocketAddr, prefix: &str, pages: usize) -> Result<()> {
    let mut clients = (0..FILLERS)
        .map(|_| Client::connect(address))
        .collect::<Result<Vec<_>>>()?;
    let mut page = 0;
    while page < pages {
        process::check_interrupt()?;
        let batch = FILLERS.min(pages - page);
        for (client, page) in clients[..batch].iter_mut().zip(page..) {
            client.ask("GET", &format!("{prefix}{page}"), &[])?;
        }
        for client in &mut clients[..batch] {
            let answer = client.answer()?;
            if answer.status != 200 {
                bail!("{address} answers a page of {prefix} with {}", answer.status);
            }
        }
        page += batch;
    }
    Ok(())
}

/// All at once for one page; how long the slowest waited.
pub(super) fn herd(address: SocketAddr, path: &str, visitors: usize) -> Result<Duration> {
    let mut clients = (0..visitors)
        .map(|_| Client::connect(address))
        .collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    for client in &mut clients {
        client.ask("GET", path, &[])?;
    }
    for client in &mut clients {
        let answer = client.answer()?;
        if answer.status != 200 {
            bail!("{path} is answered with {}", answer.status);
        }
    }
    Ok(began.elapsed())
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
