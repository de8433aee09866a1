//! One sidecar's session: what it has, what it lacks, what it says.

use std::{collections::VecDeque, sync::Arc};

use coppice_wire::{
    convert::{config_to_pb, lines_to_pb},
    pb::{self, FromOperator, FromSidecar, Hello, Reset, from_operator, from_sidecar},
};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{Identity, STEP_LIMIT};
use crate::{
    State,
    index::{Compiled, SessionKey},
    purge::{Lines, Report},
    state::Attached,
};

/// Of a refusal's reason, this much is kept.
const MAX_REASON: usize = 512;

type Outbound = mpsc::Sender<Result<FromOperator, Status>>;

/// Talks with one sidecar until either side ends, its pod goes, or a newer stream of the pod takes over.
pub(super) async fn run(
    state: State,
    pod: Identity,
    mut inbound: Streaming<FromSidecar>,
    outbound: Outbound,
    cancel: CancellationToken,
) {
    let ended = tokio::select! {
        () = cancel.cancelled() => Err(shutting_down()),
        ended = async {
            let hello = greeting(&mut inbound).await?;
            let mut session = Session::begin(state, &pod, &hello)?;
            session.talk(inbound, &outbound).await
        } => ended,
    };
    if let Err(status) = ended {
        tracing::debug!(namespace = pod.namespace, pod = pod.pod, code = ?status.code(), reason = status.message(), "a stream ends");
        // Whoever does not read is not told; the stream ends all the same.
        let _ = timeout(STEP_LIMIT, outbound.send(Err(status))).await;
    }
}

/// The first message, within its limit.
async fn greeting(inbound: &mut Streaming<FromSidecar>) -> Result<Hello, Status> {
    let first = timeout(STEP_LIMIT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello came"))??;
    match first.and_then(|first| first.message) {
        Some(from_sidecar::Message::Hello(hello)) if hello.protocol > 0 => Ok(hello),
        Some(from_sidecar::Message::Hello(_)) => {
            Err(Status::failed_precondition("Hello names no protocol version"))
        }
        _ => Err(Status::invalid_argument("the first message must be Hello")),
    }
}

fn shutting_down() -> Status {
    Status::unavailable("the operator is shutting down")
}

struct Session {
    state: State,
    key: SessionKey,
    config: watch::Receiver<Arc<Compiled>>,
    lines: watch::Receiver<Arc<Lines>>,
    replaced: CancellationToken,
    /// The version that the sidecar has; what it refused is not sent again.
    held: String,
    refused: Option<String>,
    /// Sent, not answered: one configuration at a time.
    unanswered: Option<Arc<Compiled>>,
    /// The sidecar must start empty.
    reset: bool,
    /// The greatest head that it may name.
    head: u64,
    /// The published lines up to here were sent, or were held at the start.
    told: u64,
    /// Lines that are being sent, where they need several messages.
    chunks: VecDeque<pb::Lines>,
    /// A floor has to be told although no line is new.
    first: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.state.detach(&self.key, Timestamp::now());
        self.state.metrics().sessions.dec();
    }
}

impl Session {
    fn begin(state: State, pod: &Identity, hello: &Hello) -> Result<Self, Status> {
        let now = Timestamp::now();
        let attached = state.attach(pod, &hello.config_version, hello.ledger_head, now);
        let Attached {
            connection,
            lines,
            believed,
        } = attached.map_err(|error| Status::permission_denied(error.to_string()))?;
        tracing::debug!(
            namespace = pod.namespace,
            pod = pod.pod,
            release = hello.release,
            head = hello.ledger_head,
            believed,
            "a sidecar is connected"
        );
        state.metrics().sessions.inc();
        let held = if believed { hello.ledger_head } else { 0 };
        let published = lines.borrow().head();
        Ok(Self {
            key: connection.key,
            config: connection.config,
            replaced: connection.replaced,
            lines,
            held: hello.config_version.clone(),
            refused: None,
            unanswered: None,
            reset: !believed,
            head: held,
            // What it holds beyond the published lines was published by an operator whose requests are gone.
            told: held.min(published),
            chunks: VecDeque::new(),
            first: true,
            state,
        })
    }

    async fn talk(&mut self, mut inbound: Streaming<FromSidecar>, outbound: &Outbound) -> Result<(), Status> {
        let replaced = self.replaced.clone();
        loop {
            let pending = self.pending();
            tokio::select! {
                biased;
                () = replaced.cancelled() => return Err(Status::aborted("a newer stream of this pod took over")),
                permit = outbound.reserve(), if pending => match (permit, self.next()) {
                    (Ok(permit), Some(message)) => permit.send(Ok(FromOperator { message: Some(message) })),
                    (Ok(_), None) => {}
                    (Err(_), _) => return Ok(()),
                },
                changed = self.config.changed() => if changed.is_err() {
                    return Err(Status::permission_denied("the pod is gone"));
                },
                changed = self.lines.changed() => if changed.is_err() {
                    return Err(shutting_down());
                },
                heard = inbound.message() => match heard? {
                    Some(FromSidecar { message: Some(message) }) => self.hear(message)?,
                    // A message of a later protocol.
                    Some(FromSidecar { message: None }) => {}
                    None => return Ok(()),
                },
                () = outbound.closed() => return Ok(()),
            }
        }
    }

    fn pending(&self) -> bool {
        self.reset || !self.chunks.is_empty() || self.lines_pending() || self.config_pending()
    }

    fn lines_pending(&self) -> bool {
        let lines = self.lines.borrow();
        lines.head() > self.told || (self.first && lines.floor_for(self.head) > 0)
    }

    fn config_pending(&self) -> bool {
        let current = self.config.borrow();
        self.unanswered.is_none()
            && current.version != self.held
            && self.refused.as_ref() != Some(&current.version)
    }

    /// The next thing to say, from what is true now. Lines come before configuration: a page that a sidecar stores
    /// for a route that is new to it is then already stamped with the head.
    fn next(&mut self) -> Option<from_operator::Message> {
        if !self.reset && self.chunks.is_empty() && self.lines_pending() {
            self.read_lines();
        }
        if std::mem::take(&mut self.reset) {
            self.state.metrics().resets.inc();
            return Some(from_operator::Message::Reset(Reset {}));
        }
        if let Some(lines) = self.chunks.pop_front() {
            self.state.metrics().lines.inc_by(lines.lines.len() as u64);
            return Some(from_operator::Message::Lines(lines));
        }
        if self.config_pending() {
            let current = self.config.borrow_and_update().clone();
            let message = config_to_pb(&current.config);
            self.unanswered = Some(current);
            self.state.metrics().configs.inc();
            return Some(from_operator::Message::Config(message));
        }
        None
    }

    /// Reads the published lines that the sidecar was not told yet.
    fn read_lines(&mut self) {
        let lines = self.lines.borrow_and_update().clone();
        let behind = (lines.since(self.told).first())
            .is_some_and(|line| line.sequence <= self.head && self.head > self.told);
        if behind {
            // It holds a head above a line that it never got; only an empty cache holds that line for sure.
            self.reset = true;
            self.head = 0;
            self.told = 0;
            return;
        }
        let held = if self.first { self.head } else { self.told };
        self.first = false;
        let new = lines.since(self.told).iter().map(AsRef::as_ref);
        self.chunks = lines_to_pb(new, lines.head(), lines.floor_for(held)).into();
        self.told = lines.head();
        self.head = self.head.max(self.told);
    }

    fn hear(&mut self, message: from_sidecar::Message) -> Result<(), Status> {
        let now = Timestamp::now();
        match message {
            from_sidecar::Message::Hello(_) => return Err(Status::invalid_argument("Hello came twice")),
            from_sidecar::Message::ConfigAck(ack) => {
                if let Some(compiled) = self.unanswered.take_if(|sent| sent.version == ack.version) {
                    self.held = ack.version;
                    self.refused = None;
                    self.state.config_acked(&self.key, compiled, now);
                }
            }
            from_sidecar::Message::ConfigNack(nack) => {
                if self
                    .unanswered
                    .take_if(|sent| sent.version == nack.version)
                    .is_some()
                {
                    let reason: String = nack.reason.chars().take(MAX_REASON).collect();
                    self.state.metrics().nacks.inc();
                    tracing::warn!(
                        namespace = self.key.namespace,
                        pod = self.key.pod,
                        reason,
                        "a sidecar refused its configuration"
                    );
                    self.state.config_refused(&self.key, &nack.version, &reason, now);
                    self.refused = Some(nack.version);
                }
            }
            from_sidecar::Message::LinesAck(ack) if ack.head > self.head => {
                return Err(Status::invalid_argument(
                    "lines were acknowledged that were never told",
                ));
            }
            from_sidecar::Message::LinesAck(ack) => self.state.lines_acked(&self.key, ack.head, now),
            from_sidecar::Message::SweepReport(report) => {
                let report = Report {
                    sequence: report.sequence,
                    matched: report.matched,
                    regenerated: report.regenerated,
                    failed: report.failed,
                    origin_cached: report.origin_cached,
                    finished: report.finished,
                };
                self.state.reported(&self.key, &report, now);
            }
        }
        Ok(())
    }
}
