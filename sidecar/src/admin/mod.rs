//! The admin listener, on a thread and a runtime of its own, so that probes answer while the visitors' side is busy.
//!
//! ```text
//! /live  /ready  /metrics                  for everybody who reaches the port
//! /  /explain  /state  /log-level          for the pod itself (loopback) only: paths and tags are nobody else's business
//!
//! request ─► guard.rs ─┬─ / and /state ─► state/ (reads View) ──┬─► html/
//!                      ├─ /explain ─────► explain/ (reads View) ┴─► JSON
//!                      └─ /log-level ───► level.rs
//! ```

mod explain;
mod guard;
mod html;
mod level;
mod reply;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::{convert::Infallible, io, net::IpAddr, net::TcpListener, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as HttpBody;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::{
    explain::{Explanation, Question},
    reply::{CSS, HTML, OPEN_METRICS, Reply, SCRIPT, json, text, typed},
    state::{State, Wanted},
};
pub use self::{level::LogLevel, view::View};
use crate::body::BoxError;

/// Connections at a time; probes and scrapes are few.
const CONNECTIONS: usize = 64;

/// What the admin listener shows and may change.
#[derive(Debug)]
pub struct Admin {
    view: View,
    registry: Registry,
    level: Option<LogLevel>,
}

impl Admin {
    /// Shows `view`; without `level`, the log filter is nobody's to change.
    pub fn new(view: View, level: Option<LogLevel>) -> Self {
        let mut registry = Registry::default();
        view.metrics().register(&mut registry);
        Self {
            view,
            registry,
            level,
        }
    }

    /// Serves on a thread of its own until `stop`.
    pub fn start(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                let served = runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    tokio::select! {
                        () = Arc::new(self).listen(listener) => {}
                        () = stop.cancelled() => {}
                    }
                    io::Result::Ok(())
                });
                if let Err(error) = served {
                    tracing::error!(%error, "failed to serve the admin port");
                }
            })?;
        Ok(())
    }

    async fn listen(self: Arc<Self>, listener: tokio::net::TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let permit = room.clone().acquire_owned().await.ok();
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection on the admin port");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let admin = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let admin = admin.clone();
                    async move { Ok::<_, Infallible>(admin.answer(peer.ip(), request).await) }
                });
                // Who asks and leaves early is nobody's concern.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .max_buf_size(16 << 10)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(permit);
            });
        }
    }

    async fn answer<B>(&self, peer: IpAddr, request: Request<B>) -> Reply
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if !is_read && path != "/log-level" {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        match path.as_str() {
            "/live" => return text(StatusCode::OK, "live\n"),
            "/ready" => return self.ready(),
            "/metrics" => return self.metrics(),
            _ => {}
        }
        if let Err(refusal) = guard::check(peer, request.uri(), request.headers()) {
            return text(StatusCode::FORBIDDEN, refusal.words());
        }
        match path.as_str() {
            "/" => {
                let state = State::of(&self.view, Wanted::read(&query)).await;
                let reload = !query.split('&').any(|parameter| parameter == "live=no");
                typed(StatusCode::OK, HTML, html::overview(&state, reload))
            }
            "/page.css" => typed(StatusCode::OK, CSS, html::STYLE),
            "/page.js" => typed(StatusCode::OK, SCRIPT, html::SCRIPT),
            "/state" => json(StatusCode::OK, &State::of(&self.view, Wanted::read(&query)).await),
            "/explain" => self.explain(&query, request.headers()),
            "/log-level" => level::answer(self.level.as_ref(), request).await,
            _ => text(
                StatusCode::NOT_FOUND,
                "there are / /explain /state /log-level /live /ready /metrics\n",
            ),
        }
    }

    fn ready(&self) -> Reply {
        let (ready, words) = self.view.ready();
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        text(status, &format!("{words}\n"))
    }

    fn metrics(&self) -> Reply {
        self.view.measure();
        let mut text_out = String::new();
        match prometheus_client::encoding::text::encode(&mut text_out, &self.registry) {
            Ok(()) => typed(StatusCode::OK, OPEN_METRICS, text_out),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }

    fn explain(&self, query: &str, headers: &HeaderMap) -> Reply {
        let question = Question::read(query);
        let as_json = question.json || wants_json(headers);
        let answer = match (question.url.as_str(), as_json) {
            ("", false) => None,
            ("", true) => Some(Err(
                "ask about a URL: /explain?url=https://shop.example.com/blog/hello".to_owned(),
            )),
            _ => Some(Explanation::of(&self.view, &question)),
        };
        let status = match &answer {
            Some(Err(_)) => StatusCode::BAD_REQUEST,
            None | Some(Ok(_)) => StatusCode::OK,
        };
        match &answer {
            Some(Ok(answer)) if as_json => json(status, answer),
            Some(Err(error)) if as_json => json(status, &serde_json::json!({ "error": error })),
            answer => {
                let app = self.view.site.passage.upstream.app();
                typed(status, HTML, html::explain(app, &question, answer.as_ref()))
            }
        }
    }
}

/// The first that the client names decides; a browser names HTML first.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).map(HeaderValue::as_bytes);
    accept.is_some_and(|accept| accept.trim_ascii().starts_with(b"application/json"))
}
