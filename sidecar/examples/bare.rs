//! The floor of the benchmark: `bare <address>` answers `/store/<bytes>/…` with so many bytes and the headers of a stored
//! page, and looks nothing up. What the sidecar takes more than this is its own doing; what this takes is hyper's and the
//! kernel's.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

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

fn main() -> anyhow::Result<()> {
    let Some(address) = std::env::args().nth(1) else {
        anyhow::bail!("usage: bare <address>");
    };
    coppice_sidecar::runtime()?.block_on(async {
        let listener = TcpListener::bind(&address).await?;
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let size = request
                    .uri()
                    .path()
                    .split('/')
                    .nth(2)
                    .and_then(|size| size.parse().ok());
                let body = body.slice(..body.len().min(size.unwrap_or_default()));
                async move { Ok::<_, Infallible>(answer(body)) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
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
