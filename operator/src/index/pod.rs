//! What the operator must know of a pod.

use std::collections::BTreeMap;

use coppice_api::names::object;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;

/// A pod, reduced to what routes, purges and statuses ask about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: a pod of the same name that comes later is another pod.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What its lifetime has come to.
    pub phase: Phase,
    /// It is being deleted; it still serves until it is gone.
    pub ending: bool,
    /// It carries a sidecar.
    pub injected: bool,
    /// Since when the sidecar's container has been running; `None`: it is not.
    pub sidecar_since: Option<Timestamp>,
    /// The ports of its containers.
    pub ports: Vec<Port>,
    /// The port on which the app itself listens, as the sidecar was told.
    pub app_port: Option<u16>,
}

/// What a pod's lifetime has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Not all containers have started.
    #[default]
    Pending,
    /// Its containers run.
    Running,
    /// All containers have ended, or it was evicted; none will run again.
    Ended,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its number.
    pub number: u16,
    /// Whether the sidecar's container declares it.
    pub of_sidecar: bool,
}

/// Why an object is no pod that can be indexed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to index a pod: metadata.{0} is missing")]
pub struct PodError(&'static str);

impl Pod {
    /// The one pod of `coppice dev`: an injected one whose sidecar runs.
    pub fn local(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: "local".to_owned(),
            uid: "local".to_owned(),
            phase: Phase::Running,
            injected: true,
            sidecar_since: Some(Timestamp::UNIX_EPOCH),
            ..Self::default()
        }
    }

    /// Does an injected sidecar run in it, by what kubelet says?
    pub fn serving(&self) -> bool {
        self.injected && self.sidecar_since.is_some() && self.phase != Phase::Ended
    }
}

impl TryFrom<&core::Pod> for Pod {
    type Error = PodError;

    fn try_from(pod: &core::Pod) -> Result<Self, PodError> {
        let meta = &pod.metadata;
        let labels = meta.labels.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let containers = || {
            spec.into_iter()
                .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
        };
        let sidecar_since = status
            .into_iter()
            .flat_map(|s| s.init_container_statuses.iter().chain(&s.container_statuses))
            .flatten()
            .find(|container| container.name == object::SIDECAR_CONTAINER)
            .and_then(|container| container.state.as_ref()?.running.as_ref())
            .map(|running| {
                running
                    .started_at
                    .clone()
                    .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
            });
        Ok(Self {
            namespace: meta.namespace.clone().ok_or(PodError("namespace"))?,
            name: meta.name.clone().ok_or(PodError("name"))?,
            uid: meta.uid.clone().ok_or(PodError("uid"))?,
            // Containers stay as they were created; a label may be copied without them, or taken away from them.
            injected: containers().any(|container| container.name == object::SIDECAR_CONTAINER),
            labels,
            phase: match status.and_then(|status| status.phase.as_deref()) {
                Some("Running") => Phase::Running,
                Some("Succeeded" | "Failed") => Phase::Ended,
                _ => Phase::Pending,
            },
            ending: meta.deletion_timestamp.is_some(),
            sidecar_since,
            ports: containers()
                .flat_map(|container| {
                    let of_sidecar = container.name == object::SIDECAR_CONTAINER;
                    (container.ports.iter().flatten()).filter_map(move |port| {
                        Some(Port {
                            name: port.name.clone(),
                            number: u16::try_from(port.container_port).ok()?,
                            of_sidecar,
                        })
                    })
                })
                .collect(),
            app_port: containers()
                .filter(|container| container.name == object::SIDECAR_CONTAINER)
                .flat_map(|container| container.env.iter().flatten())
                .find(|variable| variable.name == coppice_wire::env::APP)
                .and_then(|variable| variable.value.as_deref()?.rsplit_once(':')?.1.parse().ok()),
        })
    }
}
