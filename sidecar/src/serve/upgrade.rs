//! Connections that changed their protocol (WebSocket and the like): bytes both ways until one side ends.
//!
//! hyper lets go of such a connection of HTTP/1.1, so its graceful shutdown does not see it; one of HTTP/2 lasts as long as
//! the WebSocket in it. [`Tunnels`] counts them and ends those that outlive the drain.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// All tunnels of a sidecar. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tunnels {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// Room for a tunnel, as long as it is there.
#[derive(Debug, Clone)]
pub struct Room {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Tunnels {
    /// With room for so many.
    pub fn new(most: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(most)),
            tasks: TaskTracker::default(),
            end: CancellationToken::default(),
        }
    }

    /// Room for another one, to be had before the app is asked for it.
    pub fn room(&self) -> Option<Room> {
        let permit = self.room.clone().try_acquire_owned().ok()?;
        Some(Room {
            _permit: Arc::new(permit),
        })
    }

    /// Joins visitor and app as soon as both have changed the protocol.
    pub fn join<V, S>(&self, room: Room, visitor: V, app: OnUpgrade)
    where
        V: Future<Output = hyper::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            let tunnel = async {
                let (mut visitor, app) = tokio::try_join!(visitor, app)?;
                let mut app = TokioIo::new(app);
                // One side that breaks off ends the other; there is nobody to tell.
                let _ = tokio::io::copy_bidirectional(&mut visitor, &mut app).await;
                Ok::<_, hyper::Error>(())
            };
            tokio::select! {
                joined = tunnel => if let Err(error) = joined {
                    tracing::debug!(%error, "failed to change the protocol");
                },
                () = end.cancelled() => {}
            }
            drop(room);
        });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Returns when the last one has ended.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all of them, and those that are joined later.
    pub fn end(&self) {
        self.end.cancel();
    }
}
