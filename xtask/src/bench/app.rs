//! The app that all servers stand before: pages of any size, as fast as a plain thread for each connection gives them.
//!
//! | path | answer |
//! |---|---|
//! | `/store/<bytes>/<name>` | a page that may be kept for a day, tagged `page-<name>` |
//! | `/gzip/<bytes>/<name>` | the same, compressed where the request allows it |
//! | `/slow/<bytes>/<name>` | the same as the first, after [`SLOW`] |
//! | `/pass/<bytes>/<name>` | an answer that nobody may keep |

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};

/// How long the app takes for a slow page.
pub(super) const SLOW: Duration = Duration::from_millis(200);
/// The largest head of a request that it reads.
const HEAD: usize = 16 << 10;

/// The app. It answers until this program ends.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl App {
    /// Starts answering on a free port of loopback, on the core of this thread.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("failed to listen on loopback")?;
        let app = Self {
            address: listener.local_addr()?,
            asked: Arc::default(),
        };
        let asked = app.asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = asked.clone();
                thread::spawn(move || serve(stream, &asked));
            }
        });
        Ok(app)
    }

    /// How many requests it has got.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Answers one connection until it ends or says something odd.
fn serve(mut stream: TcpStream, asked: &AtomicU64) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let mut head = Vec::with_capacity(HEAD);
    let mut bodies = Bodies::default();
    let mut piece = [0; HEAD];
    loop {
        let end = loop {
            if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
            head.extend_from_slice(&piece[..read]);
            if head.len() > HEAD {
                return None;
            }
        };
        let count = asked.fetch_add(1, Ordering::Relaxed);
        let answer = bodies.answer(std::str::from_utf8(&head[..end]).ok()?, count)?;
        // The request's body is read and not looked at.
        let mut length = content_length(&head[..end]);
        let here = length.min(head.len() - end);
        head.drain(..end + here);
        length -= here;
        while length > 0 {
            let most = length.min(piece.len());
            let read = stream.read(&mut piece[..most]).ok().filter(|read| *read > 0)?;
            length -= read;
        }
        stream.write_all(&answer).ok()?;
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Bodies that this connection has sent already.
#[derive(Default)]
struct Bodies {
    plain: Vec<Vec<u8>>,
    compressed: Vec<(usize, Vec<u8>)>,
}

impl Bodies {
    fn answer(&mut self, head: &str, count: u64) -> Option<Vec<u8>> {
        let path = head.split(' ').nth(1)?;
        let mut parts = path.trim_start_matches('/').splitn(3, '/');
        let kind = parts.next()?;
        let size = parts.next().and_then(|size| size.parse().ok()).unwrap_or(64);
        let name = parts.next().unwrap_or_default();
        if kind == "slow" {
            thread::sleep(SLOW);
        }
        let compress = kind == "gzip" && accepts_gzip(head);
        let body = if compress {
            self.compressed(size)
        } else {
            self.plain(size)
        };
        let keep = if kind == "pass" {
            "no-store"
        } else {
            "public, max-age=86400"
        };
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: {keep}\r\nETag: \"{size}-{name}\"\r\nCache-Tag: page-{name}\r\nX-Render: {count}\r\n",
            body.len()
        );
        if kind == "gzip" {
            answer += "Vary: Accept-Encoding\r\n";
        }
        if compress {
            answer += "Content-Encoding: gzip\r\n";
        }
        answer += "\r\n";
        let mut answer = answer.into_bytes();
        answer.extend_from_slice(body);
        Some(answer)
    }

    fn plain(&mut self, size: usize) -> &[u8] {
        let known = self.plain.iter().position(|body| body.len() == size);
        let at = known.unwrap_or_else(|| {
            self.plain.push(page(size));
            self.plain.len() - 1
        });
        &self.plain[at]
    }

    fn compressed(&mut self, size: usize) -> &[u8] {
        let known = self.compressed.iter().position(|(whole, _)| *whole == size);
        let at = known.unwrap_or_else(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
            // Writing to memory does not fail.
            let _ = encoder.write_all(&page(size));
            self.compressed.push((size, encoder.finish().unwrap_or_default()));
            self.compressed.len() - 1
        });
        &self.compressed[at].1
    }
}

fn accepts_gzip(head: &str) -> bool {
    head.lines().any(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        name.eq_ignore_ascii_case("accept-encoding") && value.contains("gzip")
    })
}

/// Text that compresses as well as HTML does: the same tags around words that differ.
fn page(size: usize) -> Vec<u8> {
    let mut page = Vec::with_capacity(size + 64);
    let mut state = 7_u32;
    while page.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let line = format!(
            "<li class=\"item\"><a href=\"/{:x}\">{:08x}</a></li>\n",
            state >> 20,
            state
        );
        page.extend_from_slice(line.as_bytes());
    }
    page.truncate(size);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_size_and_its_encoding() {
        let mut bodies = Bodies::default();
        let answer = |bodies: &mut Bodies, head: &str| {
            String::from_utf8_lossy(&bodies.answer(head, 3).unwrap()).into_owned()
        };
        let plain = answer(&mut bodies, "GET /store/1024/a HTTP/1.1\r\n\r\n");
        let (head, body) = plain.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Content-Length: 1024") && head.contains("Cache-Tag: page-a"));
        assert_eq!(body.len(), 1024);
        let packed = answer(
            &mut bodies,
            "GET /gzip/16384/a HTTP/1.1\r\naccept-encoding: br, gzip\r\n\r\n",
        );
        assert!(packed.contains("Content-Encoding: gzip") && packed.len() < 12_000);
        let passed = answer(&mut bodies, "GET /pass/10/a HTTP/1.1\r\n\r\n");
        assert!(passed.contains("Cache-Control: no-store"));
    }

    #[test]
    fn the_body_of_a_request_is_no_request() {
        let app = App::start().unwrap();
        let mut stream = TcpStream::connect(app.address).unwrap();
        let posted = "POST /pass/4/a HTTP/1.1\r\ncontent-length: 30000\r\n\r\n";
        stream.write_all(posted.as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; 30_000]).unwrap();
        stream
            .write_all(b"GET /pass/5/a HTTP/1.1\r\nConnection: close\r\n\r\n")
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
        assert!(answers.contains("Content-Length: 4\r\n") && answers.contains("Content-Length: 5\r\n"));
    }
}
