//! The admin listener, on a thread and a runtime of its own, so that probes answer while the visitors' side is busy.
//!
//! ```text
//! /live  /ready  /metrics      for everybody who reaches the port
//! /      /state  /log-level    for the pod itself (loopback) only: paths and tags are nobody else's business
//! ```

mod page;
mod state;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::state::State;
pub use self::state::View;
use crate::body::BoxError;

/// Connections at a time; probes and scrapes are few.
const CONNECTIONS: usize = 64;
/// A log filter is no longer than this.
const MAX_FILTER: usize = 1024;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type SetFilter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// The process's log filter, for reading and setting.
#[derive(Clone)]
pub struct LogLevel {
    get: Arc<dyn Fn() -> String + Send + Sync>,
    set: Arc<SetFilter>,
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogLevel").field(&(self.get)()).finish()
    }
}

impl LogLevel {
    /// `get` says the filter in force; `set` takes another, or says what is wrong with it.
    pub fn new(
        get: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            get: Arc::new(get),
            set: Arc::new(set),
        }
    }
}

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

    async fn answer<B>(&self, peer: IpAddr, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let path = request.uri().path().to_owned();
        let inside = peer.to_canonical().is_loopback();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match path.as_str() {
            "/live" | "/ready" | "/metrics" | "/" | "/state" if !is_read => {
                text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n")
            }
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" => {
                let (ready, words) = self.view.ready();
                let status = if ready {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                text(status, &format!("{words}\n"))
            }
            "/metrics" => self.metrics(),
            "/" | "/state" | "/log-level" if !inside => text(
                StatusCode::FORBIDDEN,
                "only from within the pod: kubectl port-forward, or kubectl exec\n",
            ),
            "/" => typed(
                StatusCode::OK,
                "text/html; charset=utf-8",
                page::render(&State::of(&self.view)),
            ),
            "/state" => match serde_json::to_vec_pretty(&State::of(&self.view)) {
                Ok(json) => typed(StatusCode::OK, "application/json", json),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            "/log-level" => self.log_level(request).await,
            _ => text(
                StatusCode::NOT_FOUND,
                "there are / /state /log-level /live /ready /metrics\n",
            ),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        self.view.measure();
        let mut text_out = String::new();
        match prometheus_client::encoding::text::encode(&mut text_out, &self.registry) {
            Ok(()) => typed(StatusCode::OK, OPEN_METRICS, text_out),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }

    async fn log_level<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Some(level) = &self.level else {
            return text(
                StatusCode::NOT_FOUND,
                "this process does not set its log filter here\n",
            );
        };
        match *request.method() {
            Method::GET | Method::HEAD => {}
            Method::PUT | Method::POST => {
                let filter = match Limited::new(request.into_body(), MAX_FILTER).collect().await {
                    Ok(body) => body.to_bytes(),
                    Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
                };
                if let Err(problem) = (level.set)(String::from_utf8_lossy(&filter).trim()) {
                    return text(StatusCode::BAD_REQUEST, &format!("{problem}\n"));
                }
            }
            _ => return text(StatusCode::METHOD_NOT_ALLOWED, "GET, or PUT a filter\n"),
        }
        text(StatusCode::OK, &format!("{}\n", (level.get)()))
    }
}

fn text(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", words.to_owned())
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::sync::watch;

    use super::*;
    use crate::{Sidecar, config::Settings, control::Standing};

    const INSIDE: &str = "127.0.0.1";
    const OUTSIDE: &str = "10.1.2.3";

    fn admin(standing: Standing) -> Admin {
        let sidecar = Sidecar::bind(Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            admin: None,
            app: "<app>:80".into(),
            memory: 1 << 20,
            drain: Duration::ZERO,
            control: None,
            dev: false,
            visits: None,
        });
        let view = View {
            site: sidecar.unwrap().site().clone(),
            standing: watch::channel(standing).1,
        };
        let filter = Arc::new(Mutex::new("info".to_owned()));
        let set = filter.clone();
        let level = LogLevel::new(
            move || filter.lock().clone(),
            move |text| match text {
                "bad" => Err("no filter".into()),
                text => {
                    *set.lock() = text.to_owned();
                    Ok(())
                }
            },
        );
        Admin::new(view, Some(level))
    }

    async fn ask(admin: &Admin, peer: &str, method: Method, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Full::from(body.to_owned()));
        let response = admin.answer(peer.parse().unwrap(), request.unwrap()).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn paths_and_tags_are_for_the_pod_itself() {
        let admin = admin(Standing::default());
        for path in ["/", "/state", "/log-level"] {
            assert_eq!(ask(&admin, OUTSIDE, Method::GET, path, "").await.0, 403, "{path}");
            assert_eq!(ask(&admin, INSIDE, Method::GET, path, "").await.0, 200, "{path}");
            assert_eq!(
                ask(&admin, "::ffff:127.0.0.1", Method::GET, path, "").await.0,
                200,
                "{path}"
            );
        }
        for path in ["/live", "/ready", "/metrics"] {
            assert_eq!(ask(&admin, OUTSIDE, Method::GET, path, "").await.0, 200, "{path}");
            assert_eq!(
                ask(&admin, OUTSIDE, Method::POST, path, "").await.0,
                405,
                "{path}"
            );
        }
        assert_eq!(ask(&admin, INSIDE, Method::GET, "/other", "").await.0, 404);
    }

    #[tokio::test]
    async fn the_filter_changes_only_for_the_better() {
        let admin = admin(Standing::default());
        assert_eq!(
            ask(&admin, OUTSIDE, Method::PUT, "/log-level", "debug").await.0,
            403
        );
        assert_eq!(
            ask(&admin, INSIDE, Method::PUT, "/log-level", "bad").await,
            (400, "no filter\n".into())
        );
        assert_eq!(
            ask(&admin, INSIDE, Method::PUT, "/log-level", &"x".repeat(2000))
                .await
                .0,
            400
        );
        assert_eq!(
            ask(&admin, INSIDE, Method::GET, "/log-level", "").await.1,
            "info\n"
        );
        assert_eq!(
            ask(&admin, INSIDE, Method::PUT, "/log-level", "debug\n").await,
            (200, "debug\n".into())
        );
    }

    #[tokio::test]
    async fn the_page_is_text_and_the_words_are_true() {
        let standing = Standing {
            configured: true,
            error: Some("<b>gone</b>".into()),
            config: Some("abc".into()),
            ..Standing::default()
        };
        let admin = admin(standing);
        let (_, page) = ask(&admin, INSIDE, Method::GET, "/", "").await;
        assert!(
            page.contains("&lt;b&gt;gone&lt;/b&gt;") && !page.contains("<b>"),
            "{page}"
        );
        assert!(page.contains("before <code>&lt;app&gt;:80</code>"), "{page}");
        let (_, ready) = ask(&admin, OUTSIDE, Method::GET, "/ready", "").await;
        assert_eq!(
            ready,
            "ready: cut off from the operator, going on with configuration abc\n"
        );
        let (_, state) = ask(&admin, INSIDE, Method::GET, "/state", "").await;
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        assert_eq!(state["memory"]["budget"], 1 << 20);
        assert_eq!(state["operator"]["error"], "<b>gone</b>");
        admin.view.site.drain.leaving.cancel();
        assert_eq!(
            ask(&admin, OUTSIDE, Method::GET, "/ready", "").await,
            (503, "leaving\n".into())
        );
    }

    #[tokio::test]
    async fn metrics_have_every_outcome_from_the_start() {
        let admin = admin(Standing::default());
        let (_, metrics) = ask(&admin, OUTSIDE, Method::GET, "/metrics", "").await;
        for outcome in ["HIT", "STALE", "MISS", "REVALIDATED", "BYPASS"] {
            let line = format!("coppice_requests_total{{outcome=\"{outcome}\"}} 0");
            assert!(metrics.contains(&line), "{line} not in {metrics}");
        }
        assert!(
            metrics.contains("coppice_memory_budget_bytes 1048576"),
            "{metrics}"
        );
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    }
}
