//! The floors of the benchmark: both answer `/store/<bytes>/…` with so many bytes and the headers of a stored page, and look
//! nothing up.
//!
//! - `bare hyper <address>` is a server of hyper's: what the sidecar takes more is its own doing.
//! - `bare sockets <address>` reads and writes, and takes for a request whatever it has read: no server that does both
//!   for each request takes less.

use std::{convert::Infallible, io};

use bytes::{Buf, Bytes};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const HEADERS: [(&str, &str); 9] = [
    ("content-type", "text/html; charset=utf-8"),
    ("etag", "\"1024-a\""),
    ("vary", "Accept-Encoding"),
    ("accept-ranges", "bytes"),
    ("cache-control", "public, max-age=0, must-revalidate"),
    ("x-render", "1"),
    ("x-coppice-cache", "HIT"),
    ("age", "12"),
    ("cache-status", "coppice; hit; ttl=86388"),
];

/// What is read at a time; a request is no longer.
const REQUEST: usize = 8 << 10;
/// A body of so many bytes or less costs less to copy than to have the kernel gather it.
const SMALL: usize = 4 << 10;

#[derive(Debug, Clone, Copy)]
enum Floor {
    Hyper,
    Sockets,
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let floor = match args.next().as_deref() {
        Some("hyper") => Floor::Hyper,
        Some("sockets") => Floor::Sockets,
        _ => anyhow::bail!("usage: bare hyper|sockets <address>"),
    };
    let Some(address) = args.next() else {
        anyhow::bail!("an address is missing, such as 127.0.0.1:8000");
    };
    coppice_sidecar::runtime()?.block_on(async {
        let listener = TcpListener::bind(&address).await?;
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match floor {
                Floor::Hyper => drop(tokio::spawn(hyper(stream, body.clone()))),
                Floor::Sockets => drop(tokio::spawn(sockets(stream, body.clone()))),
            }
        }
    })
}

/// The number in `/store/<bytes>/…`, at most what there is of the body.
fn size(path: &str, body: &Bytes) -> usize {
    let size = path.split('/').nth(2).and_then(|size| size.parse().ok());
    body.len().min(size.unwrap_or_default())
}

async fn hyper(stream: TcpStream, body: Bytes) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let body = body.slice(..size(request.uri().path(), &body));
        async move { Ok::<_, Infallible>(answer(body)) }
    });
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// One read and one write for a request.
async fn sockets(mut stream: TcpStream, body: Bytes) -> io::Result<()> {
    let mut request = vec![0; REQUEST];
    let mut answer = Vec::new();
    loop {
        let read = stream.read(&mut request).await?;
        if read == 0 {
            return Ok(());
        }
        let text = std::str::from_utf8(&request[..read]).unwrap_or_default();
        let size = size(text, &body);
        answer.clear();
        answer.extend_from_slice(b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
        for (name, value) in HEADERS {
            for part in [name, ": ", value, "\r\n"] {
                answer.extend_from_slice(part.as_bytes());
            }
        }
        answer.extend_from_slice(format!("content-length: {size}\r\n\r\n").as_bytes());
        if size <= SMALL {
            answer.extend_from_slice(&body[..size]);
            stream.write_all(&answer).await?;
        } else {
            let mut pieces = Buf::chain(answer.as_slice(), &body[..size]);
            stream.write_all_buf(&mut pieces).await?;
        }
    }
}

fn answer(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.reserve(HEADERS.len());
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
