//! What must have happened once before the operator is ready: one latch each, released for good.

use std::sync::Arc;

use parking_lot::Mutex;

/// Knows which latches are still held.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    latches: Arc<Mutex<Vec<(&'static str, bool)>>>,
}

/// Something that readiness waits for.
#[derive(Debug)]
pub struct Latch {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Readiness waits for this one too; `name` is what `/ready` says is missing.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.latches.lock().push((name, false));
        Latch {
            name,
            readiness: self.clone(),
        }
    }

    /// The latches that are still held, in the order in which they were made; none: ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let latches = self.latches.lock();
        let held = latches.iter().filter(|(_, released)| !released);
        held.map(|(name, _)| *name).collect()
    }
}

impl Latch {
    /// It has happened; once is enough.
    pub fn release(&self) {
        let mut latches = self.readiness.latches.lock();
        if let Some(latch) = latches
            .iter_mut()
            .find(|(name, released)| *name == self.name && !released)
        {
            latch.1 = true;
            drop(latches);
            tracing::info!(what = self.name, "ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_ready_names_what_is_missing() {
        let readiness = Readiness::default();
        let (pods, routes) = (readiness.latch("pods"), readiness.latch("routes"));
        assert_eq!(readiness.missing(), ["pods", "routes"]);
        pods.release();
        pods.release();
        assert_eq!(readiness.missing(), ["routes"]);
        routes.release();
        assert_eq!(readiness.missing(), [""; 0]);
    }
}
