//! A look at a request: the line that it needs is made durable first, and only then does anybody hear of it.

use std::time::Duration;

use coppice_api::{RevalidationRequest, RevalidationRequestStatus, names::reason::Reason};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::{CALL_LIMIT, Outcome, WriteError, Writer};
use crate::{
    ObjectName,
    cluster::seen::{self, Observed},
    purge::{Commit, RequestFacts, Stage},
    status,
};

/// Counts of a request are written once in this time; conditions at once.
const COUNTS_PAUSE: Duration = Duration::from_secs(1);
/// Somebody else may change the object between reading and writing; a few rounds settle it.
const ROUNDS: usize = 5;

impl Writer {
    pub(super) async fn look_at_request(&self, name: &ObjectName, written: Option<Instant>) -> Outcome {
        match self.commit(name).await {
            Ok(()) => {}
            Err(WriteError::Gone) => return Outcome::Gone,
            Err(error) => {
                warn!(%name, %error, "failed to commit a purge; it is tried again");
                self.metrics.status_written("RevalidationRequest", "uncommitted");
                return Outcome::Failed;
            }
        }
        let Some(observed) = self.requests.get(name) else {
            return Outcome::Gone;
        };
        let Some(status) = self.status_of_request(name, &observed) else {
            return Outcome::Same;
        };
        if status::same(observed.status.as_ref(), &status) {
            return Outcome::Same;
        }
        if !status::urgent(observed.status.as_ref(), &status) {
            if let Some(later) = Self::pause(written, COUNTS_PAUSE) {
                return later;
            }
            self.pace.turn().await;
        }
        let written = self.apply(&self.requests, name, &observed, &status, None).await;
        if written.is_ok() {
            self.report(&observed, name, &status);
        }
        self.outcome::<RevalidationRequest>(name, written)
    }

    fn status_of_request(
        &self,
        name: &ObjectName,
        observed: &Observed<RevalidationRequest>,
    ) -> Option<RevalidationRequestStatus> {
        let now = Timestamp::now();
        let written = observed.status.as_ref();
        match &observed.problem {
            None => self.state.request_status(name, written, now),
            Some(problem) => Some(status::request(&malformed(observed, problem), written, now)),
        }
    }

    /// Writes sequence and identity of the line that the request needs, if it needs one. Only where the object is still
    /// the version that was read: what another has written meanwhile is read before it is decided anew.
    async fn commit(&self, name: &ObjectName) -> Result<(), WriteError> {
        for _ in 0..ROUNDS {
            let Some(observed) = self
                .requests
                .get(name)
                .filter(|observed| observed.problem.is_none())
            else {
                return Ok(());
            };
            let Some(commit) = self.state.plan(name, observed.status.as_ref(), Timestamp::now()) else {
                return Ok(());
            };
            // Whatever becomes of this task, the line is committed or abandoned: later ones wait for it.
            let open = Open {
                writer: self,
                commit: Some(commit),
            };
            match open.write(&observed).await {
                Err(WriteError::Conflict) => {
                    debug!(%name, "a request has changed before its purge was committed");
                    self.read_again(name).await?;
                }
                written => return written,
            }
        }
        Err(WriteError::Conflict)
    }

    async fn read_again(&self, name: &ObjectName) -> Result<(), WriteError> {
        let api = self.untyped::<RevalidationRequest>(&name.namespace);
        let read = timeout(CALL_LIMIT, api.get_opt(&name.name)).await;
        let object = read
            .map_err(|_| WriteError::Slow)?
            .map_err(|error| WriteError::Api(Box::new(error)))?
            .ok_or(WriteError::Gone)?;
        let (name, observed) = seen::read::<RevalidationRequest>(object).ok_or(WriteError::Gone)?;
        let read = observed.object.clone();
        self.requests.put(name, observed);
        if let Some(request) = read {
            self.state.apply_request(&request, Timestamp::now());
        }
        Ok(())
    }
}

/// A line that is being written.
struct Open<'a> {
    writer: &'a Writer,
    commit: Option<Commit>,
}

impl Open<'_> {
    async fn write(mut self, observed: &Observed<RevalidationRequest>) -> Result<(), WriteError> {
        let Some(commit) = &self.commit else { return Ok(()) };
        if observed.metadata.uid.as_deref() != Some(commit.uid.as_str()) {
            return Err(WriteError::Conflict);
        }
        let version = observed.metadata.resource_version.as_deref();
        let requests = &self.writer.requests;
        self.writer
            .apply(requests, &commit.name, observed, &commit.status, version)
            .await?;
        self.writer
            .metrics
            .status_written("RevalidationRequest", "committed");
        if let Some(commit) = self.commit.take() {
            self.writer.state.committed(&commit, Timestamp::now());
        }
        Ok(())
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(commit) = &self.commit {
            self.writer.state.abandoned(commit, Timestamp::now());
        }
    }
}

/// What is true of a request whose newest version cannot be read.
fn malformed(observed: &Observed<RevalidationRequest>, problem: &str) -> RequestFacts {
    let last = observed.status.as_ref().and_then(|status| {
        let sequence = u64::try_from(status.sequence?).ok()?;
        Some((sequence, status.identity.clone()?))
    });
    RequestFacts {
        generation: observed.metadata.generation.unwrap_or_default(),
        accepted: Reason::Invalid,
        message: problem.to_owned(),
        last,
        stage: Stage::None,
    }
}
