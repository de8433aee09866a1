//! Visitors: one request on a connection of its own, and what came back.

use std::{fmt, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// No visitor waits longer than this.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a visitor got.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: String,
}

impl Answer {
    /// The field, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// What became of the request: `HIT`, `STALE`, `MISS`, `REVALIDATED`, `BYPASS`; empty without a sidecar.
    pub fn cache(&self) -> &str {
        self.header("x-coppice-cache")
    }

    /// Which rendering of the demonstration app this is: its pod, and the how-manieth of that pod.
    pub fn rendering(&self) -> (String, String) {
        (
            self.header("x-demo-pod").to_owned(),
            self.header("x-demo-render").to_owned(),
        )
    }

    /// The text between two others.
    pub fn between(&self, before: &str, after: &str) -> Result<&str> {
        let (_, rest) = self
            .body
            .split_once(before)
            .with_context(|| format!("no {before} in {self:?}"))?;
        let (inside, _) = rest
            .split_once(after)
            .with_context(|| format!("no {after} in {self:?}"))?;
        Ok(inside)
    }
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Visit {
    address: SocketAddr,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A GET of this path (and query) at this address, for the host `shop.test`.
pub fn visit(address: SocketAddr, target: &str) -> Visit {
    Visit {
        address,
        method: Method::GET,
        target: target.to_owned(),
        headers: HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("shop.test"))]),
        body: Bytes::new(),
    }
}

/// Sends a plain GET.
pub async fn get(address: SocketAddr, target: &str) -> Result<Answer> {
    visit(address, target).send().await
}

impl Visit {
    /// Another method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// With this field in place of others of its name.
    pub fn header(mut self, name: &str, value: &[u8]) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the test's field name is one");
        let value = HeaderValue::from_bytes(value).expect("the test's field value is one");
        self.headers.insert(name, value);
        self
    }

    /// With this body.
    pub fn body(mut self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", kind.as_bytes())
    }

    /// Sends it. A body that breaks off is an error.
    pub async fn send(self) -> Result<Answer> {
        let what = self.to_string();
        let whole = async {
            let (head, body) = self.open().await?.into_parts();
            let body = body.collect().await.context("the body broke off")?.to_bytes();
            anyhow::Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        timeout(PATIENCE, whole)
            .await
            .with_context(|| format!("{what}: no whole answer in {PATIENCE:?}"))?
    }

    /// Sends it and leaves the body to come. The connection ends with the answer.
    pub async fn open(self) -> Result<Response<Incoming>> {
        let what = self.to_string();
        timeout(PATIENCE, self.ask())
            .await
            .with_context(|| format!("{what}: no answer in {PATIENCE:?}"))?
            .with_context(|| format!("{what}: failed"))
    }

    async fn ask(self) -> Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.address)
            .await
            .context("failed to connect")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.target)
            .body(Full::new(self.body))?;
        *request.headers_mut() = self.headers;
        Ok(sender.send_request(request).await?)
    }
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.method, self.target, self.address)
    }
}
