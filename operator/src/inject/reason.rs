//! Why a pod gets no sidecar: a closed list of stable words. All that apply are collected, so that all can be mended in one go.

use std::fmt;

use coppice_api::names::{annotation, label, object};
use serde_json::Value;

/// One reason against injection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Neither the pod nor its namespace asks for it.
    NotEnabled,
    /// The pod says `disabled`.
    Disabled,
    /// It has a sidecar.
    AlreadyInjected,
    /// The label says neither `enabled` nor `disabled`.
    UnknownLabelValue(String),
    /// It shares the node's network: its ports are the node's, and its address too.
    HostNetwork,
    /// It runs on Windows.
    Windows,
    /// It is a file on a node, which admission cannot change.
    StaticPod,
    /// It ends by itself, and an ordinary container would keep it from ending.
    RunsToCompletion,
    /// A container has the port that the sidecar needs.
    PortTaken(u16),
    /// A volume has a name that the sidecar's volumes have.
    VolumeTaken(String),
    /// No container names a port.
    NoPort,
    /// Several ports may be meant.
    AmbiguousPort(Vec<String>),
    /// The annotation names a port that no container has.
    UnknownPort(String),
    /// The port has no name whose traffic could be moved.
    UnnamedPort(u16),
    /// The port is not TCP.
    NotTcp(String),
    /// An annotation has a value that is not allowed.
    InvalidAnnotation {
        /// Name of the annotation.
        name: &'static str,
        /// What it says, and what it may say.
        problem: String,
    },
    /// The pod asks for something that this release cannot do.
    Unsupported(&'static str),
}

impl Reason {
    /// The stable word: in Events, metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotEnabled => "NotEnabled",
            Self::Disabled => "Disabled",
            Self::AlreadyInjected => "AlreadyInjected",
            Self::UnknownLabelValue(_) => "UnknownLabelValue",
            Self::HostNetwork => "HostNetwork",
            Self::Windows => "Windows",
            Self::StaticPod => "StaticPod",
            Self::RunsToCompletion => "RunsToCompletion",
            Self::PortTaken(_) => "PortTaken",
            Self::VolumeTaken(_) => "VolumeTaken",
            Self::NoPort => "NoPort",
            Self::AmbiguousPort(_) => "AmbiguousPort",
            Self::UnknownPort(_) => "UnknownPort",
            Self::UnnamedPort(_) => "UnnamedPort",
            Self::NotTcp(_) => "NotTcp",
            Self::InvalidAnnotation { .. } => "InvalidAnnotation",
            Self::Unsupported(_) => "Unsupported",
        }
    }

    /// Is this what the pod's author wanted, so that nobody needs to hear of it?
    pub const fn is_wanted(&self) -> bool {
        matches!(self, Self::NotEnabled | Self::Disabled | Self::AlreadyInjected)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnabled => write!(
                f,
                "neither pod nor namespace has the label {}=enabled",
                label::INJECT
            ),
            Self::Disabled => write!(f, "the pod has the label {}=disabled", label::INJECT),
            Self::AlreadyInjected => write!(f, "the pod has a container {}", object::SIDECAR_CONTAINER),
            Self::UnknownLabelValue(value) => {
                write!(
                    f,
                    "label {} is {value:?}: write enabled or disabled",
                    label::INJECT
                )
            }
            Self::HostNetwork => {
                f.write_str("the pod uses hostNetwork: its ports and its address are the node's")
            }
            Self::Windows => f.write_str("the pod runs on Windows"),
            Self::StaticPod => f.write_str("the pod is static: kubelet reads it from a file"),
            Self::RunsToCompletion => {
                f.write_str("the pod runs to completion, and native sidecars need Kubernetes 1.33")
            }
            Self::PortTaken(port) => write!(f, "a container has port {port}, which the sidecar needs"),
            Self::VolumeTaken(name) => write!(f, "a volume is called {name}, which the sidecar's is"),
            Self::NoPort => {
                f.write_str("no container has a named TCP port: name the port that Services target")
            }
            Self::AmbiguousPort(ports) => write!(
                f,
                "several ports may be the app's ({}): say which with the annotation {}, and name it once",
                ports.join(", "),
                annotation::PORT
            ),
            Self::UnknownPort(port) => {
                write!(
                    f,
                    "annotation {} is {port:?}, which no container's TCP port is called",
                    annotation::PORT
                )
            }
            Self::UnnamedPort(port) => {
                write!(
                    f,
                    "port {port} has no name: name it, and let Services target the name"
                )
            }
            Self::NotTcp(port) => write!(f, "port {port} is not TCP"),
            Self::InvalidAnnotation { name, problem } => write!(f, "annotation {name} {problem}"),
            Self::Unsupported(what) => write!(f, "{what} is not supported yet"),
        }
    }
}

/// Why a pod gets no sidecar: at least one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In the order in which they were found.
    pub reasons: Vec<Reason>,
}

impl Refusal {
    /// Is this what the pod's author wanted?
    pub fn is_wanted(&self) -> bool {
        self.reasons.iter().all(Reason::is_wanted)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, reason) in self.reasons.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {reason}", reason.as_str())?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reasons: vec![reason],
        }
    }
}

/// Do pod and namespace want a sidecar? The pod's word wins.
pub(super) fn consent(pod: &Value, namespace_word: Option<&str>) -> Result<(), Reason> {
    match pod["metadata"]["labels"][label::INJECT].as_str() {
        Some("enabled") => Ok(()),
        Some("disabled") => Err(Reason::Disabled),
        Some(other) => Err(Reason::UnknownLabelValue(other.to_owned())),
        None if namespace_word == Some("enabled") => Ok(()),
        None => Err(Reason::NotEnabled),
    }
}
