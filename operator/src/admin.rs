//! The operator's admin listener: `/live`, `/ready`, `/metrics`; `/state` for loopback only. It has a thread and a
//! runtime of its own, so that probes are answered while the rest is busy.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::cluster::readiness::Readiness;

const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// Probes and scrapes need a handful.
const CONNECTIONS: usize = 64;

/// What the admin listener shows.
pub struct Admin {
    /// What is still missing before the operator is ready.
    pub readiness: Readiness,
    /// All metrics.
    pub registry: Registry,
    /// Does the rest of the operator make progress?
    pub alive: Box<dyn Fn() -> bool + Send + Sync>,
    /// What the operator knows, for people.
    pub state: Box<dyn Fn() -> Value + Send + Sync>,
}

/// Binds the address and serves on a thread of its own until the process ends.
pub fn spawn(address: SocketAddr, admin: Admin) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async {
            match TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, Arc::new(admin)).await,
                Err(error) => tracing::error!(%error, "failed to serve the admin listener"),
            }
        });
    })?;
    Ok(bound)
}

async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = permits.clone().acquire_owned().await;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = respond(&admin, &request, peer);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the admin listener broke");
            }
            drop(permit);
        });
    }
}

fn respond(admin: &Admin, request: &Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n");
    }
    match request.uri().path() {
        "/live" if (admin.alive)() => answer(StatusCode::OK, "text/plain", "alive\n"),
        "/live" => answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "no progress\n"),
        "/ready" => {
            let missing = admin.readiness.missing();
            if missing.is_empty() {
                answer(StatusCode::OK, "text/plain", "ready\n")
            } else {
                let text = format!("not ready, missing: {}\n", missing.join(", "));
                answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", &text)
            }
        }
        "/metrics" => {
            let mut text = String::new();
            match encode(&mut text, &admin.registry) {
                Ok(()) => answer(
                    StatusCode::OK,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    &text,
                ),
                Err(error) => answer(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "text/plain",
                    &error.to_string(),
                ),
            }
        }
        // It names objects of all namespaces.
        "/state" if peer.ip().is_loopback() => answer(
            StatusCode::OK,
            "application/json",
            &format!("{:#}\n", (admin.state)()),
        ),
        "/state" => answer(
            StatusCode::FORBIDDEN,
            "text/plain",
            "for loopback only: use kubectl port-forward\n",
        ),
        _ => answer(
            StatusCode::NOT_FOUND,
            "text/plain",
            "/live /ready /metrics /state\n",
        ),
    }
}

fn answer(status: StatusCode, kind: &'static str, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicBool, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    #[tokio::test]
    async fn admin_says_what_is_missing_and_then_that_it_is_ready() {
        let readiness = Readiness::default();
        let latch = readiness.latch("pods");
        let alive = Arc::new(AtomicBool::new(true));
        let probe = alive.clone();
        let admin = Admin {
            readiness,
            registry: Registry::default(),
            alive: Box::new(move || probe.load(Ordering::Relaxed)),
            state: Box::new(|| serde_json::json!({ "sidecars": 3 })),
        };
        let address = spawn((Ipv4Addr::LOCALHOST, 0).into(), admin).expect("binds");
        let missing = get(address, "/ready").await;
        assert!(
            missing.starts_with("HTTP/1.1 503") && missing.contains("missing: pods"),
            "{missing}"
        );
        latch.release();
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/live").await.starts_with("HTTP/1.1 200"));
        alive.store(false, Ordering::Relaxed);
        assert!(get(address, "/live").await.starts_with("HTTP/1.1 503"));
        assert!(get(address, "/metrics").await.contains("# EOF"));
        assert!(get(address, "/state").await.contains("\"sidecars\": 3"));
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    }
}
