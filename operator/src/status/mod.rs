//! From facts to statuses. Pure functions: what is written depends on what is true, what was written, and `now`.
//!
//! ```text
//! RouteFacts   ──route────► IsrRouteStatus              ┐  same(old, new)?  nothing is written
//! RequestFacts ──request──► RevalidationRequestStatus   ┘  urgent(old, new)? at once, else once a second
//! table: both as `kubectl get` prints them
//! ```

mod request;
mod route;
pub mod table;
#[cfg(test)]
mod tests;

use coppice_api::{RevalidationRequestStatus, names::reason::Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use request::request;
pub use route::route;

/// Longer messages are cut: a status is read by people.
const MAX_MESSAGE: usize = 1024;

/// Does the written status say the same already? Then nothing is written.
pub fn same<T: PartialEq>(written: Option<&T>, computed: &T) -> bool {
    written == Some(computed)
}

/// Does a request's status say something else than other counts? Then it is written at once.
pub fn urgent(written: Option<&RevalidationRequestStatus>, computed: &RevalidationRequestStatus) -> bool {
    fn words(status: &RevalidationRequestStatus) -> impl PartialEq + '_ {
        let conditions: Vec<_> = (status.conditions.iter())
            .map(|condition| (&condition.type_, &condition.status, &condition.reason))
            .collect();
        (status.observed_generation, status.sequence, conditions)
    }
    written.is_none_or(|written| words(written) != words(computed))
}

/// A moment as Kubernetes writes it: whole seconds, so that what is read back is what was written.
pub(crate) fn time(moment: Timestamp) -> Time {
    Time(Timestamp::from_second(moment.as_second()).unwrap_or(moment))
}

/// Builds the conditions of one status.
struct Conditions<'a> {
    written: &'a [Condition],
    generation: i64,
    now: Timestamp,
    built: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    fn new(written: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self {
            written,
            generation,
            now,
            built: Vec::new(),
        }
    }

    /// Sets a condition; the time of its last transition stays where its status does.
    fn set(&mut self, kind: &str, status: bool, reason: Reason, message: impl Into<String>) {
        let status = if status { "True" } else { "False" };
        let kept = (self.written.iter())
            .find(|condition| condition.type_ == kind && condition.status == status)
            .map(|condition| condition.last_transition_time.clone());
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        self.built.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message,
            observed_generation: Some(self.generation),
            last_transition_time: kept.unwrap_or_else(|| time(self.now)),
        });
    }
}

/// Names at most three pods, and says how many more there are.
fn named(pods: &[String], count: usize) -> String {
    let shown: Vec<_> = pods
        .iter()
        .take(crate::index::NAMED_PODS)
        .map(String::as_str)
        .collect();
    match count - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `1 pod`, `2 pods`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
