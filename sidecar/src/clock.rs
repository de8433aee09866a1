//! The one clock that the engine's [`Moment`]s are read from: milliseconds since the sidecar was built, monotonic.

use coppice_cache::time::Moment;
use tokio::time::Instant;

/// Where this sidecar's time begins. Copies share it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    zero: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { zero: Instant::now() }
    }

    /// The present moment.
    pub fn now(self) -> Moment {
        Moment(u64::try_from(self.zero.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
