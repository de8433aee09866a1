//! Which sidecars are connected, and what they have acknowledged.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Compiled, Index, PodEntry};

/// A sidecar counts as gone this long after its stream ended, and one that never connected this long after it started:
/// long enough for a reconnect, short enough that a cut-off replica shows.
pub const SESSION_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// The stream of one pod's sidecar, or since when there is none.
#[derive(Debug)]
pub(super) struct Session {
    current: Option<(u64, CancellationToken)>,
    absent_since: Timestamp,
    counted_gone: bool,
}

/// Which session speaks; one that was replaced is not listened to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    id: u64,
}

/// An accepted session.
#[derive(Debug)]
pub struct Connection {
    /// Who speaks.
    pub key: SessionKey,
    /// What the pod must know; closed when the pod is gone.
    pub config: watch::Receiver<Arc<Compiled>>,
    /// Cancelled when a newer session of the same pod takes over.
    pub replaced: CancellationToken,
}

/// Why a session is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ConnectError {
    /// There is no such pod (any more, or yet).
    #[error("the pod is not known")]
    UnknownPod,
    /// A pod of this name exists, with another uid.
    #[error("the pod of this name has another uid")]
    OtherUid,
    /// The pod carries no sidecar that the operator injected.
    #[error("the pod is not injected")]
    NotInjected,
}

impl ConnectError {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownPod => "unknown_pod",
            Self::OtherUid => "other_uid",
            Self::NotInjected => "not_injected",
        }
    }
}

impl Session {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            current: None,
            absent_since: now,
            counted_gone: false,
        }
    }

    /// The sidecar has just started: it is given its time to connect.
    pub(super) fn expect(&mut self, now: Timestamp) {
        self.absent_since = now;
        self.counted_gone = false;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.current.is_some()
    }

    /// Is it connected, or was it so recently that it is waited for?
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        self.is_connected() || now.duration_since(self.absent_since) < SESSION_GRACE
    }
}

impl Index {
    /// A sidecar has opened its stream and says which configuration it has. A newer stream of a pod replaces the older.
    pub fn connect(
        &mut self,
        namespace: &str,
        pod: &str,
        uid: &str,
        config_version: &str,
        now: Timestamp,
    ) -> Result<Connection, ConnectError> {
        self.may_connect(namespace, pod, uid)?;
        self.last_session += 1;
        let id = self.last_session;
        let replaced = CancellationToken::new();
        let entry = (self.namespaces.get_mut(namespace))
            .and_then(|entries| entries.pods.get_mut(pod))
            .ok_or(ConnectError::UnknownPod)?;
        if let Some((_, older)) = entry.session.current.replace((id, replaced.clone())) {
            older.cancel();
        }
        entry.session.expect(now);
        let current = entry.config.borrow().clone();
        if current.version == config_version {
            entry.acked = Some(current);
        } else if (entry.acked.as_ref()).is_some_and(|acked| acked.version != config_version) {
            // It has restarted, or has what another operator told it.
            entry.acked = None;
        }
        let connection = Connection {
            key: SessionKey {
                namespace: namespace.to_owned(),
                pod: pod.to_owned(),
                uid: uid.to_owned(),
                id,
            },
            config: entry.config.subscribe(),
            replaced,
        };
        let routes = entry.routes.clone();
        self.mark(namespace, routes);
        Ok(connection)
    }

    /// Would [`Index::connect`] accept this pod?
    pub fn may_connect(&self, namespace: &str, pod: &str, uid: &str) -> Result<(), ConnectError> {
        let entry = (self.namespaces.get(namespace))
            .and_then(|entries| entries.pods.get(pod))
            .ok_or(ConnectError::UnknownPod)?;
        if entry.pod.uid != uid {
            Err(ConnectError::OtherUid)
        } else if !entry.pod.injected {
            Err(ConnectError::NotInjected)
        } else {
            Ok(())
        }
    }

    /// A stream has ended.
    pub fn disconnect(&mut self, session: &SessionKey, now: Timestamp) -> bool {
        self.with_session(session, |entry| {
            entry.session.current = None;
            entry.session.expect(now);
            true
        })
    }

    /// A sidecar serves by this configuration.
    pub fn ack(&mut self, session: &SessionKey, compiled: Arc<Compiled>) -> bool {
        self.with_session(session, |entry| {
            let changed = entry.nacked.is_some() || entry.acked.as_ref() != Some(&compiled);
            entry.nacked = None;
            entry.acked = Some(compiled);
            changed
        })
    }

    /// A sidecar has refused this version and keeps what it had.
    pub fn nack(&mut self, session: &SessionKey, version: &str, reason: &str) -> bool {
        self.with_session(session, |entry| {
            let nacked = Some((version.to_owned(), reason.to_owned()));
            let changed = entry.nacked != nacked;
            entry.nacked = nacked;
            changed
        })
    }

    /// Is this still the session of its pod?
    pub fn is_current(&self, session: &SessionKey) -> bool {
        (self.namespaces.get(&session.namespace))
            .and_then(|entries| entries.pods.get(&session.pod))
            .filter(|entry| entry.pod.uid == session.uid)
            .and_then(|entry| entry.session.current.as_ref())
            .is_some_and(|(id, _)| *id == session.id)
    }

    /// How many sidecars are connected.
    pub fn connected(&self) -> usize {
        (self.namespaces.values())
            .flat_map(|entries| entries.pods.values())
            .filter(|entry| entry.session.is_connected())
            .count()
    }

    /// Time has passed: sidecars that have been away for [`SESSION_GRACE`] count as gone from now on.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        for (namespace, entries) in &mut self.namespaces {
            for entry in entries.pods.values_mut() {
                if !entry.session.counted_gone && !entry.session.counts(now) {
                    entry.session.counted_gone = true;
                    changed = true;
                    let routes = entry.routes.iter();
                    (self.dirty).extend(routes.map(|route| crate::ObjectName::new(namespace, route)));
                }
            }
        }
        changed
    }

    /// Lets a session that is still the current one of its pod change the pod's entry.
    fn with_session(&mut self, session: &SessionKey, change: impl FnOnce(&mut PodEntry) -> bool) -> bool {
        let entry = (self.namespaces.get_mut(&session.namespace))
            .and_then(|entries| entries.pods.get_mut(&session.pod))
            .filter(|entry| entry.pod.uid == session.uid)
            .filter(|entry| (entry.session.current.as_ref()).is_some_and(|(id, _)| *id == session.id));
        let Some(entry) = entry else {
            return false;
        };
        let changed = change(entry);
        if changed {
            let routes = entry.routes.clone();
            self.mark(&session.namespace, routes);
        }
        changed
    }
}
