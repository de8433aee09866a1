//! What was in a namespace when its test failed.

use std::fmt::Write as _;

use coppice_api::{IsrRoute, RevalidationRequest};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Event, Pod, Service},
};
use kube::{
    Api, Resource,
    api::{ListParams, LogParams},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{cluster::SYSTEM, space::Space};

/// An object as YAML, without what nobody reads.
pub(crate) fn yaml<K: Resource + Clone + Serialize>(object: &K) -> String {
    let mut object = object.clone();
    object.meta_mut().managed_fields = None;
    serde_saphyr::to_string(&object).unwrap_or_else(|error| format!("it cannot be printed: {error}"))
}

/// Prints routes, requests, Services, events, pods and logs of the namespace, and the operator's log.
pub(crate) async fn print(space: &Space) {
    let mut text = format!("\n──── namespace {} when the test failed ────\n", space.name);
    objects::<IsrRoute>(space, &mut text).await;
    objects::<RevalidationRequest>(space, &mut text).await;
    objects::<Service>(space, &mut text).await;
    events(space, &mut text).await;
    pods(&space.api(), &mut text, 60).await;
    pods(&Api::namespaced(space.client.clone(), SYSTEM), &mut text, 100).await;
    eprintln!("{text}──── end of {} ────", space.name);
}

async fn objects<K>(space: &Space, text: &mut String)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    match space.api::<K>().list(&ListParams::default()).await {
        Ok(list) => {
            for object in list {
                let _ = writeln!(text, "--- {}\n{}", K::kind(&()), yaml(&object));
            }
        }
        Err(error) => drop(writeln!(text, "--- {}: {error}", K::kind(&()))),
    }
}

async fn events(space: &Space, text: &mut String) {
    let Ok(events) = space.api::<Event>().list(&ListParams::default()).await else {
        return;
    };
    let _ = writeln!(text, "--- Events");
    for event in events {
        let _ = writeln!(
            text,
            "{} {}/{} {}: {}",
            event.type_.unwrap_or_default(),
            event.involved_object.kind.unwrap_or_default(),
            event.involved_object.name.unwrap_or_default(),
            event.reason.unwrap_or_default(),
            event.message.unwrap_or_default()
        );
    }
}

async fn pods(pods: &Api<Pod>, text: &mut String, lines: i64) {
    let Ok(list) = pods.list(&ListParams::default()).await else {
        return;
    };
    for pod in list {
        let name = pod.metadata.name.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let _ = writeln!(text, "--- Pod {name}: {}", status.phase.unwrap_or_default());
        for container in (status.init_container_statuses.into_iter().flatten())
            .chain(status.container_statuses.into_iter().flatten())
        {
            let _ = writeln!(
                text,
                "{}: {:?}, {} restarts",
                container.name, container.state, container.restart_count
            );
            let parameters = LogParams {
                container: Some(container.name.clone()),
                tail_lines: Some(lines),
                ..LogParams::default()
            };
            if let Ok(log) = pods.logs(&name, &parameters).await {
                for line in log.lines() {
                    let _ = writeln!(text, "  {} | {line}", container.name);
                }
            }
        }
    }
}
