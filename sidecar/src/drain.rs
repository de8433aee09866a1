//! Leaving: go on accepting while others still send, then finish what has begun, then end what does not.
//!
//! ```text
//! told ──► leaving: accepts as before, says `Connection: close` ──(drain)──► closing: accepts nothing more,
//!          connections end after the request in hand ──(LIMIT)──► ended: what is left is cut off
//! ```
//!
//! Kubernetes sends SIGTERM while endpoints still propagate, so visitors keep arriving for some seconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::serve::upgrade::Tunnels;

/// How long requests in hand and tunnels have after the sidecar has stopped accepting. With the default of 5 s of
/// accepting it stays below the 30 s after which Kubernetes kills.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A stage of leaving. Whether it is reached costs one load; waiting for it takes a lock. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stage {
    is_reached: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Stage {
    /// From now on it is reached.
    pub fn reach(&self) {
        self.is_reached.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// It is reached.
    pub fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Acquire)
    }

    /// Returns when it is reached.
    pub async fn reached(&self) {
        self.token.cancelled().await;
    }
}

/// The stages of leaving, and all connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Told to leave; still accepting.
    pub leaving: Stage,
    /// Accepts nothing more; each connection ends after the request in hand.
    pub closing: Stage,
    /// Cut off.
    pub ended: Stage,
    /// The tasks of all connections.
    pub connections: TaskTracker,
}

/// How leaving went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections and tunnels that were cut off.
    pub cut_off: usize,
}

impl Drain {
    /// Walks through the stages; `accepting` is the time in which new visitors are still taken.
    pub async fn leave(&self, accepting: Duration, limit: Duration, tunnels: &Tunnels) -> Drained {
        self.leaving.reach();
        tokio::time::sleep(accepting).await;
        self.closing.reach();
        self.connections.close();
        let finished = async {
            self.connections.wait().await;
            tunnels.ended().await;
        };
        let cut_off = match tokio::time::timeout(limit, finished).await {
            Ok(()) => 0,
            Err(_) => self.connections.len() + tunnels.count(),
        };
        self.ended.reach();
        tunnels.end();
        // What is cut off ends as soon as its task runs.
        self.connections.wait().await;
        tunnels.ended().await;
        Drained { cut_off }
    }
}
