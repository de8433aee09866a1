//! The app's port, and the move of its name to the sidecar.
//!
//! A Service with `targetPort: http` reaches whichever container of the pod has the port of that name. So the sidecar
//! takes the name, and a pod without a sidecar goes on working behind the same Service. Kubelet resolves the names in
//! probes and lifecycle hooks among their own container's ports, so those that used the name are given the number.

use json_patch::PatchOperation;
use serde_json::{Value, json};

use super::{
    Reason, items,
    knobs::{Knobs, PortChoice},
    remove, replace,
};

/// The name that is the app's port where several are named and nobody says.
const USUAL_NAME: &str = "http";

/// The app's port and what must change for its name to move.
#[derive(Debug)]
pub(super) struct AppPort {
    /// The name that the sidecar takes over.
    pub(super) name: String,
    /// The number on which the app listens.
    pub(super) number: u16,
    /// Takes the name from the app's container and writes the number where the name was used.
    pub(super) moves: Vec<PatchOperation>,
}

/// A declared port of a container.
struct Declared<'a> {
    container: usize,
    index: usize,
    name: Option<&'a str>,
    number: u16,
    tcp: bool,
}

impl Declared<'_> {
    fn label(&self) -> String {
        self.name.map_or_else(|| self.number.to_string(), str::to_owned)
    }
}

/// Finds the app's port: what the annotation says, else the one named `http`, else the only named one.
pub(super) fn find(pod: &Value, knobs: &Knobs, reasons: &mut Vec<Reason>) -> Option<AppPort> {
    let declared = declared(pod);
    let chosen = choose(&declared, knobs.port.as_ref()).and_then(|(port, name)| {
        if holders(pod, name) == 1 {
            Ok((port, name))
        } else {
            Err(Reason::AmbiguousPort(vec![name.to_owned(); holders(pod, name)]))
        }
    });
    match chosen {
        Ok((port, name)) => Some(AppPort {
            name: name.to_owned(),
            number: port.number,
            moves: moves(pod, port, name),
        }),
        Err(reason) => {
            reasons.push(reason);
            None
        }
    }
}

/// Is this port TCP (the default)?
pub(super) fn is_tcp(port: &Value) -> bool {
    port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP")
}

/// How many TCP ports of containers and native sidecars have this name. A Service takes the first of them: were there
/// another, it would get the traffic when the app gives the name away.
fn holders(pod: &Value, name: &str) -> usize {
    let spec = &pod["spec"];
    items(spec, "containers")
        .chain(items(spec, "initContainers").filter(|c| c["restartPolicy"] == "Always"))
        .flat_map(|container| items(container, "ports"))
        .filter(|port| is_tcp(port) && port["name"] == name)
        .count()
}

fn declared(pod: &Value) -> Vec<Declared<'_>> {
    let mut all = Vec::new();
    for (container, spec) in items(&pod["spec"], "containers").enumerate() {
        for (index, port) in items(spec, "ports").enumerate() {
            let number = port["containerPort"].as_u64().and_then(|n| u16::try_from(n).ok());
            let Some(number) = number else { continue };
            all.push(Declared {
                container,
                index,
                name: port["name"].as_str().filter(|name| !name.is_empty()),
                number,
                tcp: is_tcp(port),
            });
        }
    }
    all
}

fn choose<'a>(
    declared: &'a [Declared<'a>],
    choice: Option<&PortChoice>,
) -> Result<(&'a Declared<'a>, &'a str), Reason> {
    let named =
        |wanted: &str| -> Vec<&Declared<'_>> { declared.iter().filter(|p| p.name == Some(wanted)).collect() };
    let candidates: Vec<&Declared<'_>> = match choice {
        Some(PortChoice::Number(number)) => declared.iter().filter(|p| p.number == *number).collect(),
        Some(PortChoice::Name(name)) => named(name),
        None => {
            let usual = named(USUAL_NAME);
            if usual.is_empty() {
                declared.iter().filter(|p| p.tcp && p.name.is_some()).collect()
            } else {
                usual
            }
        }
    };
    let tcp: Vec<_> = candidates.iter().copied().filter(|p| p.tcp).collect();
    let port = match (tcp.as_slice(), candidates.as_slice(), choice) {
        ([only], ..) => *only,
        ([], [], Some(PortChoice::Number(number))) => return Err(Reason::UnnamedPort(*number)),
        ([], [], Some(PortChoice::Name(name))) => return Err(Reason::UnknownPort(name.clone())),
        ([], [], None) => return Err(Reason::NoPort),
        ([], [udp, ..], _) => return Err(Reason::NotTcp(udp.label())),
        (several, ..) => return Err(Reason::AmbiguousPort(several.iter().map(|p| p.label()).collect())),
    };
    let name = port.name.ok_or(Reason::UnnamedPort(port.number))?;
    Ok((port, name))
}

fn moves(pod: &Value, port: &Declared<'_>, name: &str) -> Vec<PatchOperation> {
    let container = port.container.to_string();
    let at = ["spec", "containers", container.as_str()];
    let index = port.index.to_string();
    let mut operations = vec![remove(&[at[0], at[1], at[2], "ports", &index, "name"])];
    let spec = &pod["spec"]["containers"][port.container];
    for (outer, inner) in [
        (None, "livenessProbe"),
        (None, "readinessProbe"),
        (None, "startupProbe"),
        (Some("lifecycle"), "postStart"),
        (Some("lifecycle"), "preStop"),
    ] {
        let handler = outer.map_or(spec, |outer| &spec[outer]);
        for action in ["httpGet", "tcpSocket"] {
            if handler[inner][action]["port"] == name {
                let path: Vec<&str> = at
                    .into_iter()
                    .chain(outer)
                    .chain([inner, action, "port"])
                    .collect();
                operations.push(replace(&path, json!(port.number)));
            }
        }
    }
    operations
}
