//! The hot path, over and over: one connection of a visitor, a sidecar and an app, all on one thread. Visitor and app use
//! what they have at hand, so that whatever is allocated is the sidecar's.

use std::sync::Arc;

use coppice_cache::routes::Routes;
use coppice_sidecar::Sidecar;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};

use super::{port, run, settings, stage, until};

/// The body of every answer.
const BODY: usize = 1024;
/// Longer than any head here.
const HEAD: usize = 4 << 10;
/// Requests until whatever grows at first has grown.
const WARM: usize = 200;

/// Which path a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the store.
    Hit,
    /// 304 from the store.
    NotModified,
    /// To the app and back.
    Pass,
}

/// A visitor's connection.
pub struct Hot {
    runtime: Runtime,
    stream: TcpStream,
    request: String,
    outcome: &'static str,
    body: usize,
}

impl Hot {
    /// Starts all three, and asks until the way is as it will be.
    pub fn start(way: Way) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stream = runtime.block_on(async {
            let sidecar = Sidecar::bind(settings(app().await)).unwrap();
            let routes = Routes::compile(&stage::config(stage::rule())).unwrap();
            sidecar.site().routes.store(Arc::new(routes));
            let site = sidecar.site().clone();
            let stream = TcpStream::connect(run(sidecar).address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            until("the sidecar runs", async || site.metrics.connections.get() > 0).await;
            stream
        });
        let (outcome, header, body) = match way {
            Way::Hit => ("HIT", "", BODY),
            Way::NotModified => ("HIT", "If-None-Match: \"a\"\r\n", 0),
            Way::Pass => ("BYPASS", "Authorization: Bearer of-a-visitor\r\n", BODY),
        };
        // What a browser says.
        let request = |header| {
            format!(
                "GET /blog/hello?page=2 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
                 Accept: text/html,*/*;q=0.8\r\nAccept-Language: en\r\nCookie: theme=dark\r\n{header}\r\n"
            )
        };
        let mut hot = Self {
            runtime,
            stream,
            request: request(""),
            outcome: "",
            body: BODY,
        };
        // The first answer is whole only where nothing else is asked for.
        hot.ask(1);
        hot.request = request(header);
        hot.body = body;
        hot.ask(WARM);
        hot.outcome = outcome;
        hot.ask(1);
        hot
    }

    /// Asks so many times, one after the other.
    pub fn ask(&mut self, times: usize) {
        let Self {
            runtime,
            stream,
            request,
            outcome,
            body,
        } = self;
        runtime.block_on(async {
            let mut buffer = [0; HEAD + BODY];
            for _ in 0..times {
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut filled = 0;
                let head = loop {
                    let read = stream.read(&mut buffer[filled..]).await.unwrap();
                    assert!(read > 0, "the sidecar closed the connection");
                    filled += read;
                    if let Some(head) = end_of_head(&buffer[..filled])
                        && filled == head + *body
                    {
                        break head;
                    }
                };
                let found = outcome.is_empty() || contains(&buffer[..head], outcome.as_bytes());
                assert!(found, "{}", String::from_utf8_lossy(&buffer[..head]));
            }
        });
    }
}

/// An app that allocates nothing for an answer.
async fn app() -> String {
    let (listener, address) = port().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {BODY}\r\n\
                     Cache-Control: public, max-age=60\r\nETag: \"a\"\r\n\r\n{}",
                    "x".repeat(BODY)
                );
                let mut buffer = [0; HEAD];
                let mut filled = 0;
                while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
                    filled += read;
                    if end_of_head(&buffer[..filled]).is_some() {
                        filled = 0;
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
