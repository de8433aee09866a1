//! The status of an IsrRoute.

use coppice_api::{
    names::{condition, label, reason::Reason},
    route::{IsrRouteStatus, SidecarCounts},
    status::Conditions as _,
};
use jiff::Timestamp;

use super::{Conditions, counted, named};
use crate::index::{Bypass, RouteFacts, service::Target};

/// What is to be written about a route, given what is written.
pub fn route(facts: &RouteFacts, written: Option<&IsrRouteStatus>, now: Timestamp) -> IsrRouteStatus {
    let mut conditions = Conditions::new(
        written
            .map(|status| status.conditions.as_slice())
            .unwrap_or_default(),
        facts.generation,
        now,
    );
    let accepted = facts.accepted == Reason::Accepted;
    conditions.set(
        condition::ACCEPTED,
        accepted,
        facts.accepted,
        facts.message.clone(),
    );
    let unresolved = unresolved(facts);
    match &unresolved {
        Some((reason, message)) => conditions.set(condition::RESOLVED_REFS, false, *reason, message),
        None if facts.refers && facts.accepted != Reason::Unsupported => {
            let message = "every Secret that the route refers to is there";
            conditions.set(condition::RESOLVED_REFS, true, Reason::Resolved, message);
        }
        None => conditions.set(
            condition::RESOLVED_REFS,
            true,
            Reason::Resolved,
            "nothing is referred to",
        ),
    }
    injected(facts, &mut conditions);
    traffic_routed(facts, &mut conditions);
    let (programmed, reason, message) = programmed(facts, written);
    conditions.set(condition::PROGRAMMED, programmed, reason, message.clone());
    if !accepted {
        conditions.set(condition::READY, false, facts.accepted, facts.message.clone());
        conditions.set(condition::STALLED, true, facts.accepted, facts.message.clone());
    } else if let Some((reason, message)) = unresolved {
        conditions.set(condition::READY, false, reason, message.clone());
        conditions.set(condition::STALLED, true, reason, message);
    } else if !programmed {
        conditions.set(condition::READY, false, reason, message.clone());
        let (kind, why) = match reason {
            Reason::Rejected => (condition::STALLED, Reason::Rejected),
            _ => (condition::RECONCILING, Reason::Progressing),
        };
        conditions.set(kind, true, why, message);
    } else if facts.desired == 0 {
        conditions.set(
            condition::READY,
            true,
            Reason::NoPods,
            "no running pod with a sidecar matches podSelector",
        );
    } else {
        conditions.set(condition::READY, true, Reason::Ready, "the route is served");
    }
    IsrRouteStatus {
        observed_generation: Some(facts.generation),
        conditions: conditions.built,
        sidecars: Some(SidecarCounts {
            desired: facts.desired as i32,
            applied: facts.applied as i32,
            missing: (facts.desired - facts.applied) as i32,
            summary: format!("{}/{}", facts.applied, facts.desired),
        }),
        last_handled_requested_at: (facts.last_handled.clone())
            .or_else(|| written.and_then(|status| status.last_handled_requested_at.clone())),
    }
}

/// The first word and all messages of the references that lead nowhere, and what holds meanwhile.
fn unresolved(facts: &RouteFacts) -> Option<(Reason, String)> {
    let first = facts.unresolved.first()?;
    let messages: Vec<_> = (facts.unresolved.iter())
        .map(|problem| problem.message.as_str())
        .collect();
    let meanwhile = match facts.in_force {
        None => "until then the paths of the route pass through".to_owned(),
        Some(former) if former == facts.generation => {
            "until then what was in force stays so, with the values that it had".to_owned()
        }
        Some(former) => format!("until then generation {former} stays in force"),
    };
    Some((first.reason, format!("{}; {meanwhile}", messages.join("; "))))
}

/// True once every connected sidecar has acknowledged this generation; false again only for a new generation or a
/// refusal, so that pods which come and go flip nothing.
fn programmed(facts: &RouteFacts, written: Option<&IsrRouteStatus>) -> (bool, Reason, String) {
    let generation = facts.generation;
    if facts.in_force != Some(generation) {
        let why = if facts.unresolved.is_empty() {
            "is not accepted"
        } else {
            "refers to what is not there"
        };
        let message = match facts.in_force {
            Some(former) => format!("generation {generation} {why}; generation {former} stays in force"),
            None => format!("generation {generation} {why}; nothing is in force"),
        };
        return (false, Reason::Pending, message);
    }
    if let Some(rejection) = &facts.rejected {
        let message = format!(
            "{} refused the configuration and kept the former one ({}): {}",
            counted(rejection.count, "sidecar"),
            named(&rejection.pods, rejection.count),
            rejection.reason
        );
        return (false, Reason::Rejected, message);
    }
    let was = written
        .and_then(|status| status.condition(condition::PROGRAMMED))
        .is_some_and(|written| written.status == "True" && written.observed_generation == Some(generation));
    if facts.desired == 0 {
        let message = "no running pod with a sidecar matches podSelector";
        (true, Reason::NoPods, message.to_owned())
    } else if was || (facts.waiting == 0 && facts.applied > 0) {
        (
            true,
            Reason::Programmed,
            format!("generation {generation} has been acknowledged"),
        )
    } else {
        let message = format!(
            "{} of {} have acknowledged generation {generation}",
            facts.applied,
            counted(facts.desired, "sidecar")
        );
        (false, Reason::Pending, message)
    }
}

fn injected(facts: &RouteFacts, conditions: &mut Conditions) {
    let count = facts.without_sidecar;
    if count == 0 {
        let (reason, message) = match facts.desired {
            0 => (Reason::NoPods, "no running pod matches podSelector"),
            _ => (
                Reason::Injected,
                "every running pod that matches carries a sidecar",
            ),
        };
        return conditions.set(condition::INJECTED, true, reason, message);
    }
    let label = label::INJECT;
    let opt_in = if facts.opted_in {
        String::new()
    } else {
        format!("label the namespace {label}=enabled (or the pods), then ")
    };
    let message = format!(
        "{} without a sidecar, and a pod gets none while it lives: {opt_in}restart with kubectl rollout restart",
        if count == 1 {
            "1 matching pod runs".to_owned()
        } else {
            format!("{count} matching pods run")
        }
    );
    conditions.set(condition::INJECTED, false, Reason::SidecarMissing, message);
}

fn traffic_routed(facts: &RouteFacts, conditions: &mut Conditions) {
    let Some(Bypass {
        service,
        target,
        remedy,
    }) = &facts.bypass
    else {
        let message = "no Service goes around the sidecars";
        return conditions.set(condition::TRAFFIC_ROUTED, true, Reason::Routed, message);
    };
    let target = match target {
        Target::Name(name) => format!("port {name:?}"),
        Target::Number(number) => format!("port {number}"),
    };
    let remedy = match remedy {
        Some(name) => format!("set targetPort to the port's name, {name:?}"),
        None => "set targetPort to the name of the app's port".to_owned(),
    };
    let message = format!("Service {service:?} sends to {target} and so around the sidecars: {remedy}");
    conditions.set(condition::TRAFFIC_ROUTED, false, Reason::Bypassed, message);
}
