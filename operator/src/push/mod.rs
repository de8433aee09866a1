//! The streams: one per sidecar, opened by it. Accept, authenticate, then a session each.
//!
//! ```text
//! connection ─► token ─► pod known and injected? ─► Hello ─► session ─► detached when the stream, the pod or the operator ends
//! ```
//!
//! The one entry point is [`serve`]. Everything is bounded: sessions, authentications at a time, what waits in a
//! session (one message; what comes later is read from the state when it can be sent), how long each step may take.

mod auth;
mod session;

use std::{sync::Arc, time::Duration};

use coppice_wire::{
    convert::MAX_MESSAGE_BYTES,
    pb::{
        FromOperator, FromSidecar,
        control_server::{Control, ControlServer},
    },
};
use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::MetadataMap,
    transport::server::{Connected, Server},
};

pub use auth::{Authenticator, Fixed, Identity};

use crate::{State, index::ConnectError};

/// Pings keep middleboxes from forgetting a quiet stream, and find dead peers within two of these.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Authentication and Hello may each take this long.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// A sidecar may be faster than the watch that brings its pod; it is waited for this long.
const POD_LIMIT: Duration = Duration::from_secs(3);
/// Open connections may take this long to close at the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// More sessions are refused: twice what one operator is designed for.
const MAX_SESSIONS: usize = 20_000;
/// Token reviews at a time, so that a restart does not become a storm on the API server.
const MAX_AUTHENTICATING: usize = 64;
/// A sidecar needs one stream; one more while it reconnects.
const MAX_STREAMS: u32 = 4;
/// Sidecars send small messages.
const MAX_INBOUND_BYTES: usize = 256 << 10;

/// Serves streams on these connections until cancelled; then every stream ends with `UNAVAILABLE`.
pub async fn serve<I, IO, E, A>(
    incoming: I,
    state: State,
    authenticator: A,
    cancel: CancellationToken,
) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
    A: Authenticator,
{
    let service = Service {
        state,
        authenticator: Arc::new(authenticator),
        sessions: Arc::new(Semaphore::new(MAX_SESSIONS)),
        authenticating: Arc::new(Semaphore::new(MAX_AUTHENTICATING)),
        cancel: cancel.clone(),
    };
    let service = ControlServer::new(service)
        .max_decoding_message_size(MAX_INBOUND_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .serve_with_incoming_shutdown(service, incoming, cancel.clone().cancelled_owned());
    let drained = async {
        cancel.cancelled().await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    tokio::select! {
        ended = server => ended,
        () = drained => {
            tracing::warn!("streams were cut off: they did not end within {DRAIN_LIMIT:?}");
            Ok(())
        }
    }
}

struct Service<A> {
    state: State,
    authenticator: Arc<A>,
    sessions: Arc<Semaphore>,
    authenticating: Arc<Semaphore>,
    cancel: CancellationToken,
}

#[tonic::async_trait]
impl<A: Authenticator> Control for Service<A> {
    type AttachStream = ReceiverStream<Result<FromOperator, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromSidecar>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (pod, permit) = self.admit(request.metadata()).await.inspect_err(|status| {
            self.state.metrics().refused(status.code());
            tracing::debug!(code = ?status.code(), reason = status.message(), "a stream is refused");
        })?;
        let (outbound, answers) = mpsc::channel(1);
        let session = session::run(
            self.state.clone(),
            pod,
            request.into_inner(),
            outbound,
            self.cancel.clone(),
        );
        tokio::spawn(async move {
            session.await;
            drop(permit);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl<A: Authenticator> Service<A> {
    /// Whose stream is it, and may it be opened now?
    async fn admit(&self, metadata: &MetadataMap) -> Result<(Identity, OwnedSemaphorePermit), Status> {
        if !self.state.is_synced() {
            return Err(Status::unavailable("the operator does not know everything yet"));
        }
        let permit = (self.sessions.clone().try_acquire_owned())
            .map_err(|_| Status::unavailable("the operator has as many streams as it takes"))?;
        let late = |_| Status::unavailable("the token could not be checked in time");
        let pod = timeout(STEP_LIMIT, async {
            let _one = self.authenticating.acquire().await;
            self.authenticator.authenticate(bearer(metadata)).await
        })
        .await
        .map_err(late)??;
        self.known(&pod).await?;
        Ok((pod, permit))
    }

    /// Waits until the watch has brought the pod, or says why it is refused.
    async fn known(&self, pod: &Identity) -> Result<(), Status> {
        let mut pods = self.state.pods();
        let refusal = |error: ConnectError| {
            Status::permission_denied(format!("{}/{}: {error}", pod.namespace, pod.pod))
        };
        let known = timeout(POD_LIMIT, async {
            loop {
                pods.borrow_and_update();
                match self.state.may_attach(pod) {
                    Err(ConnectError::UnknownPod) if pods.changed().await.is_ok() => {}
                    decided => return decided,
                }
            }
        });
        known
            .await
            .unwrap_or(Err(ConnectError::UnknownPod))
            .map_err(refusal)
    }
}

/// The token of `authorization: Bearer …` (RFC 6750).
fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
