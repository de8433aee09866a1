//! The demonstration app: a small blog that knows nothing of Coppice. Each page says when it was rendered and by
//! which pod, and whoever visits may edit the posts, so that one can watch pages being served from memory,
//! regenerated and purged.
//!
//! ```text
//! serve ──► site.rs   which page, which knob      ──► html.rs   how it looks
//!              │                                       blog.rs   what it says, kept in memory
//!              └─► behaviour.rs  bad days, scripted by tests ──► body.rs  bodies that fall silent or break off
//! ```

mod behaviour;
mod blog;
mod body;
mod html;
mod site;

use std::{future::Future, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::TcpListener;

use site::{Answer, Site};

/// The port on which the binary listens where `PORT` is not set.
pub const DEFAULT_PORT: u16 = 3000;
/// How long requests under way may take after the app was told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves the blog (HTTP/1.1 and h2c) until `stop` resolves, then lets the requests under way finish for two seconds.
///
/// `pod` is the name that its pages show.
pub async fn serve(listener: TcpListener, pod: String, stop: impl Future<Output = ()>) {
    let site = Arc::new(Site::new(pod));
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: give the others a moment to close theirs.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let site = site.clone();
        let service = service_fn(move |request| {
            let site = site.clone();
            async move {
                match site.answer(request).await {
                    Answer::Response(response) => Ok::<_, HangUp>(*response),
                    Answer::HangUp => Err(HangUp),
                }
            }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            // A visitor that leaves, or a connection that was to be closed: nothing to be done about either.
            let _ = connection.await;
        });
    }
    let _ = tokio::time::timeout(DRAIN, connections.shutdown()).await;
}

/// Closes the connection without an answer, because a test asked for it.
#[derive(Debug)]
struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("told to hang up")
    }
}

impl std::error::Error for HangUp {}
