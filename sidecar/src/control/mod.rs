//! The stream to the operator: what it says is applied, what became of it is said back.
//!
//! ```text
//! run ─► connect (connect.rs: token, certificates) ─► Hello{what it has} ─► Config ─► ACK or NACK
//!  ▲                                                                     ├► Lines  ─► ledger ─► ACK ─► sweep ─► reports
//!  └──── within RECONNECT, at random ◄── the stream ends                 └► Reset  ─► everything is dropped
//! ```
//!
//! Visitors never wait for any of this: before the first configuration they pass through, and a sidecar that is cut off
//! goes on with what it has.

mod apply;
mod connect;

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use coppice_wire::{
    PROTOCOL,
    convert::MAX_MESSAGE_BYTES,
    pb::{
        FromOperator, FromSidecar, Hello, SweepReport, control_client::ControlClient,
        from_operator::Message as Said, from_sidecar::Message as Say,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Streaming};

pub use self::{apply::Engine, connect::ControlError};
use crate::{config::ControlSettings, sweep::Report};

/// A stream that ends is opened again after a random time up to this, so that the sidecars of a cluster do not come all
/// at once.
pub const RECONNECT: Duration = Duration::from_secs(10);
/// How long the operator may take to accept a stream.
const ACCEPT: Duration = Duration::from_secs(30);
/// Messages to the operator that wait for it; beyond them, reports wait in the sweeper.
const WAITING: usize = 64;

/// How it stands with the operator, for `/ready`, `/state` and the page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// There is an operator to attach to.
    pub configured: bool,
    /// The stream is open.
    pub attached: bool,
    /// Version of the configuration in force; `None`: none yet, everything passes through.
    pub config: Option<String>,
    /// Why the last configuration was refused, if it was; the former one is in force.
    pub refused: Option<String>,
    /// Why the stream is not open.
    pub error: Option<String>,
}

/// The client of the operator's stream.
#[derive(Debug)]
pub struct Control {
    settings: ControlSettings,
    engine: Engine,
    standing: watch::Sender<Standing>,
    reconnect: Duration,
}

impl Control {
    /// A client that applies what it is told to `engine` and keeps `standing` true.
    pub fn new(
        settings: ControlSettings,
        engine: Engine,
        standing: watch::Sender<Standing>,
        reconnect: Duration,
    ) -> Self {
        Self {
            settings,
            engine,
            standing,
            reconnect,
        }
    }

    /// Keeps a stream open until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let client = async {
            loop {
                let error = match self.attach().await {
                    Ok(()) => "the operator ended the stream".to_owned(),
                    Err(error) => connect::words(&error),
                };
                self.engine.metrics.attached.set(0);
                let wait = jitter(self.reconnect);
                tracing::warn!(
                    operator = self.settings.url,
                    error,
                    "cut off from the operator; serving what there is, trying again in {wait:.1?}"
                );
                self.standing.send_modify(|standing| {
                    standing.attached = false;
                    standing.error = Some(error);
                });
                tokio::time::sleep(wait).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = client => {}
        }
    }

    /// One stream, from its beginning to its end.
    async fn attach(&self) -> Result<(), ControlError> {
        let channel = connect::channel(&self.settings).await?;
        let token = connect::token(&self.settings)?;
        let mut client = ControlClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (say, messages) = mpsc::channel(WAITING);
        // There is room: nothing was said yet.
        let _ = say.try_send(message(Say::Hello(self.hello())));
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token);
        }
        let accepted = tokio::time::timeout(ACCEPT, client.attach(request)).await;
        let stream = accepted.map_err(|_| ControlError::Silent)??.into_inner();
        tracing::info!(operator = self.settings.url, "attached to the operator");
        self.engine.metrics.attached.set(1);
        self.standing.send_modify(|standing| {
            standing.attached = true;
            standing.error = None;
        });
        self.converse(stream, &say).await
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            config_version: self.standing.borrow().config.clone().unwrap_or_default(),
            ledger_head: self.engine.head(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn converse(
        &self,
        mut stream: Streaming<FromOperator>,
        say: &mpsc::Sender<FromSidecar>,
    ) -> Result<(), ControlError> {
        // All that is known is said again: the operator may not have heard it.
        let mut reports = self.engine.sweeper.reports();
        loop {
            let answers: Vec<Say> = tokio::select! {
                said = stream.message() => match said? {
                    Some(said) => self.hear(said).await.into_iter().collect(),
                    None => return Ok(()),
                },
                reports = reports.next() => reports.into_iter().map(report).map(Say::SweepReport).collect(),
            };
            for answer in answers {
                if say.send(message(answer)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Applies what the operator says. What it says in words of a later release is left alone.
    async fn hear(&self, said: FromOperator) -> Option<Say> {
        match said.message? {
            Said::Config(config) => Some(self.engine.configure(config, &self.standing).await),
            Said::Lines(lines) => Some(Say::LinesAck(self.engine.take(lines))),
            Said::Reset(_) => {
                tracing::warn!("the operator does not know our ledger: dropping all pages");
                self.engine.reset();
                None
            }
        }
    }
}

fn message(message: Say) -> FromSidecar {
    FromSidecar {
        message: Some(message),
    }
}

fn report(report: Report) -> SweepReport {
    SweepReport {
        sequence: report.sequence,
        matched: report.matched,
        regenerated: report.regenerated,
        failed: report.failed,
        origin_cached: report.origin_cached,
        finished: report.finished,
    }
}

/// A random time up to `most` (full jitter). The standard library's hash keys are random, which is all that it takes.
fn jitter(most: Duration) -> Duration {
    let random = RandomState::new().hash_one(Instant::now());
    most.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_fills_its_range_and_stays_in_it() {
        let waits: Vec<f64> = (0..1000).map(|_| jitter(RECONNECT).as_secs_f64()).collect();
        assert!(waits.iter().all(|wait| (0.0..10.0).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 2.0) && waits.iter().any(|wait| *wait > 8.0));
    }
}
