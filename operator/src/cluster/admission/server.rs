//! HTTPS for the one path, with limits on everything that a client could drag out.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Admission;

/// The API server refuses objects over 3 MiB; a review may hold two of them.
const LARGEST_BODY: usize = 8 << 20;
/// For a body to arrive, and for headers.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// For reviews in progress when the operator stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Answers reviews on these connections until cancelled; reviews in progress are finished.
pub async fn serve<N, S, I>(incoming: S, admission: Arc<Admission<N>>, cancel: CancellationToken)
where
    N: Fn(&str) -> Option<String> + Send + Sync + 'static,
    S: Stream<Item = std::io::Result<I>> + Unpin,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut incoming = incoming;
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256);
    loop {
        let io = tokio::select! {
            next = incoming.next() => match next {
                Some(Ok(io)) => io,
                Some(Err(error)) => {
                    debug!(%error, "failed to take a connection");
                    continue;
                }
                None => break,
            },
            () = cancel.cancelled() => break,
        };
        let admission = admission.clone();
        let service = service_fn(move |request| {
            let admission = admission.clone();
            async move { Ok::<_, Infallible>(respond(&admission, request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(io), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection of the webhook broke");
            }
        });
    }
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!("reviews were still in progress when the webhook stopped");
    }
}

async fn respond<N>(admission: &Admission<N>, request: Request<Incoming>) -> Response<Full<Bytes>>
where
    N: Fn(&str) -> Option<String> + Send + Sync,
{
    if request.uri().path() != "/mutate" {
        return plain(StatusCode::NOT_FOUND, "the webhook is at /mutate");
    }
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview");
    }
    let body = Limited::new(request.into_body(), LARGEST_BODY).collect();
    let body = match tokio::time::timeout(READ_LIMIT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            return plain(
                StatusCode::BAD_REQUEST,
                &format!("failed to read the body: {error}"),
            );
        }
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    match admission.answer(&body).await {
        Ok(review) => json(&review),
        Err(error) => {
            warn!(%error, "refused a review");
            plain(StatusCode::BAD_REQUEST, &error.to_string())
        }
    }
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::OK, &value.to_string());
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}
