//! TLS listeners: handshakes run beside each other and within a limit, so a peer that says nothing holds up nobody.

use std::{io, sync::Arc, time::Duration};

use futures::Stream;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Handshakes at a time; more wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// After `accept` itself failed (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that complete a handshake on this listener, until cancelled.
pub fn incoming(
    listener: TcpListener,
    config: ServerConfig,
    cancel: CancellationToken,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> + Send + Unpin {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(accept(
        listener,
        TlsAcceptor::from(Arc::new(config)),
        sender,
        cancel,
    ));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
    cancel: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let next = async {
            let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, permit))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = sender.closed() => return,
            () = cancel.cancelled() => return,
        };
        match accepted {
            Ok((stream, permit)) => {
                tokio::spawn(shake(acceptor.clone(), stream, sender.clone(), permit));
            }
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    sender: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
    permit: OwnedSemaphorePermit,
) {
    // Small messages in both directions: waiting to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "failed to set TCP_NODELAY");
    }
    let shaken = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await;
    drop(permit);
    match shaken {
        // The receiver is gone only when the server stops.
        Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
        Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
        Err(_) => debug!("a TLS handshake took too long"),
    }
}
