//! Events: what a person who looks at an object with `kubectl describe` should know.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::brief;

/// More than this many waiting Events are dropped: a flood tells nobody anything.
const WAITING: usize = 256;

/// A warning about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// The object.
    pub regarding: ObjectReference,
    /// A stable word.
    pub reason: &'static str,
    /// What was tried: `Inject`, `Accept`.
    pub action: &'static str,
    /// For people.
    pub note: String,
}

/// Where warnings are handed in; never waits.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::Sender<Warning>,
}

impl Events {
    /// A place to hand in, and what was handed in.
    pub fn channel() -> (Self, mpsc::Receiver<Warning>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender }, receiver)
    }

    /// Hands in a warning.
    pub fn warn(&self, warning: Warning) {
        if self.sender.try_send(warning).is_err() {
            debug!("dropped an Event: too many are waiting");
        }
    }
}

/// Publishes until cancelled; the same warning about the same object becomes a series.
pub async fn publish(client: Client, mut warnings: mpsc::Receiver<Warning>, cancel: CancellationToken) {
    let reporter = Reporter {
        controller: coppice_api::names::object::STATUS_MANAGER.to_owned(),
        instance: None,
    };
    let recorder = Recorder::new(client, reporter);
    loop {
        let warning = tokio::select! {
            warning = warnings.recv() => warning,
            () = cancel.cancelled() => return,
        };
        let Some(warning) = warning else { return };
        let event = Event {
            type_: EventType::Warning,
            reason: warning.reason.to_owned(),
            // The API allows 1024 bytes.
            note: Some(shorten(&warning.note, 1000)),
            action: warning.action.to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &warning.regarding).await {
            debug!(error = brief(&error), "failed to publish an Event");
        }
    }
}

/// At most this many bytes, cut between characters.
pub fn shorten(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}
