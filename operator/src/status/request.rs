//! The status of a RevalidationRequest.

use coppice_api::{
    RevalidationRequestStatus,
    interval::Span,
    names::{condition, reason::Reason},
    request::{PageCounts, TargetCounts},
};
use jiff::Timestamp;

use super::{Conditions, counted, named, time};
use crate::purge::{CommittedFacts, RequestFacts, Stage};

/// What is to be written about a request, given what is written.
pub fn request(
    facts: &RequestFacts,
    written: Option<&RevalidationRequestStatus>,
    now: Timestamp,
) -> RevalidationRequestStatus {
    if let Stage::Settled(settled) = &facts.stage {
        return self::settled(facts, settled, now);
    }
    let written = written
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let mut conditions = Conditions::new(written, facts.generation, now);
    let accepted = facts.accepted == Reason::Accepted;
    conditions.set(
        condition::ACCEPTED,
        accepted,
        facts.accepted,
        facts.message.clone(),
    );
    let mut status = RevalidationRequestStatus {
        observed_generation: Some(facts.generation),
        sequence: facts
            .last
            .as_ref()
            .and_then(|(sequence, _)| i64::try_from(*sequence).ok()),
        identity: facts.last.as_ref().map(|(_, identity)| identity.clone()),
        ..RevalidationRequestStatus::default()
    };
    match &facts.stage {
        Stage::Committed(purge) => {
            committed(purge, &mut conditions);
            status.sidecars = Some(TargetCounts {
                targeted: purge.targeted as i32,
                acknowledged: purge.acknowledged as i32,
                summary: format!("{}/{}", purge.acknowledged, purge.targeted),
            });
            status.pages = Some(PageCounts {
                matched: purge.matched as i64,
                regenerated: purge.regenerated as i64,
                failed: purge.failed as i64,
            });
            status.start_time = Some(time(purge.started));
            status.completion_time = purge.completed.map(time);
        }
        Stage::Adopted(since) => {
            let message =
                "the request was there at the start, when nothing was stored: there is nothing to purge";
            conditions.set(condition::ACKNOWLEDGED, true, Reason::NoPods, message);
            conditions.set(condition::READY, true, Reason::NoPods, message);
            status.start_time = Some(time(*since));
            status.completion_time = Some(time(*since));
        }
        Stage::None | Stage::Settled(_) if accepted => {
            let message = "the purge waits to be written to the ledger";
            conditions.set(condition::ACKNOWLEDGED, false, Reason::Pending, message);
            conditions.set(condition::READY, false, Reason::Pending, message);
            conditions.set(condition::RECONCILING, true, Reason::Progressing, message);
        }
        Stage::None | Stage::Settled(_) => {
            conditions.set(
                condition::ACKNOWLEDGED,
                false,
                facts.accepted,
                facts.message.clone(),
            );
            conditions.set(condition::READY, false, facts.accepted, facts.message.clone());
            conditions.set(condition::STALLED, true, facts.accepted, facts.message.clone());
        }
    }
    status.conditions = conditions.built;
    status
}

/// An earlier operator finished it: what it wrote stays, for the generation that there is now.
fn settled(
    facts: &RequestFacts,
    settled: &RevalidationRequestStatus,
    now: Timestamp,
) -> RevalidationRequestStatus {
    let mut conditions = Conditions::new(&settled.conditions, facts.generation, now);
    conditions.set(condition::ACCEPTED, true, facts.accepted, facts.message.clone());
    let others = settled
        .conditions
        .iter()
        .filter(|other| other.type_ != condition::ACCEPTED);
    let mut status = RevalidationRequestStatus {
        observed_generation: Some(facts.generation),
        ..settled.clone()
    };
    conditions.built.extend(others.cloned().map(|mut other| {
        other.observed_generation = Some(facts.generation);
        other
    }));
    status.conditions = conditions.built;
    status
}

fn committed(purge: &CommittedFacts, conditions: &mut Conditions) {
    let CommittedFacts {
        targeted,
        acknowledged,
        swept,
        ..
    } = *purge;
    if !purge.targets_known {
        let message = "the line is written; its targets are being looked up";
        conditions.set(condition::ACKNOWLEDGED, false, Reason::Pending, message);
        conditions.set(condition::READY, false, Reason::Pending, message);
        conditions.set(condition::RECONCILING, true, Reason::Progressing, message);
        return;
    }
    let missing = named(&purge.missing, purge.missing.len());
    let holds = format!("{acknowledged} of {} hold the line", counted(targeted, "sidecar"));
    let waiting = format!("{holds}, {swept} are done; waiting for {missing}");
    let no_pods = "no running sidecar serves the selected routes: there is nothing to purge";
    if targeted == 0 {
        conditions.set(condition::ACKNOWLEDGED, true, Reason::NoPods, no_pods);
    } else if acknowledged == targeted {
        conditions.set(condition::ACKNOWLEDGED, true, Reason::Acknowledged, holds.clone());
    } else {
        conditions.set(condition::ACKNOWLEDGED, false, Reason::Pending, waiting.clone());
    }
    if purge.completed.is_some() {
        let (reason, message) = match targeted {
            0 => (Reason::NoPods, no_pods.to_owned()),
            _ if purge.origin_cached > 0 => {
                (Reason::OriginCacheNotBypassed, origin_cached(purge.origin_cached))
            }
            _ => (
                Reason::Ready,
                format!("{} looked through their pages", counted(targeted, "sidecar")),
            ),
        };
        return conditions.set(condition::READY, true, reason, message);
    }
    let reason = if acknowledged == targeted {
        Reason::Sweeping
    } else {
        Reason::Pending
    };
    conditions.set(condition::READY, false, reason, waiting.clone());
    conditions.set(condition::RECONCILING, true, Reason::Progressing, waiting);
    if let Some(deadline) = purge.late {
        let message = format!(
            "not done after {}; delivery goes on; waiting for {missing}",
            Span(deadline)
        );
        conditions.set(condition::STALLED, true, Reason::DeadlineExceeded, message);
    }
}

/// What may have been stored again is an old page: the purge is done, and its author must know.
fn origin_cached(pages: u64) -> String {
    let answered = counted(usize::try_from(pages).unwrap_or(usize::MAX), "page");
    format!(
        "the app answered for {answered} out of a cache of its own although it was sent x-prerender-revalidate, so they may be old: the token is random for each build, so bring the Secret in origin.headers up to date and purge again"
    )
}
