//! Services, for one question: does one of them go around the sidecars?

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::util::intstr::IntOrString};

use super::pod::Pod;

/// A Service, reduced to whom it selects and where it sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Labels of the pods behind it; empty: none that the cluster chooses.
    pub selector: BTreeMap<String, String>,
    /// Where its ports lead.
    pub targets: Vec<Target>,
}

/// Where a port of a Service leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To the container port of this name.
    Name(String),
    /// To this number.
    Number(u16),
}

/// Why an object is no Service that can be indexed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to index a Service: metadata.{0} is missing")]
pub struct ServiceError(&'static str);

impl TryFrom<&core::Service> for Service {
    type Error = ServiceError;

    fn try_from(service: &core::Service) -> Result<Self, ServiceError> {
        let spec = service.spec.as_ref();
        let number = |port: i32| u16::try_from(port).ok().map(Target::Number);
        Ok(Self {
            namespace: (service.metadata.namespace.clone()).ok_or(ServiceError("namespace"))?,
            name: service.metadata.name.clone().ok_or(ServiceError("name"))?,
            selector: spec.and_then(|spec| spec.selector.clone()).unwrap_or_default(),
            targets: (spec.into_iter().flat_map(|spec| spec.ports.iter().flatten()))
                .filter_map(|port| match &port.target_port {
                    Some(IntOrString::String(name)) => Some(Target::Name(name.clone())),
                    Some(IntOrString::Int(target)) => number(*target),
                    // The API's default: the Service's own port.
                    None => number(port.port),
                })
                .collect(),
        })
    }
}

impl Service {
    /// Does it send to this pod? A Service without selector has endpoints that somebody else writes.
    pub fn selects(&self, pod: &Pod) -> bool {
        !self.selector.is_empty()
            && (self.selector.iter()).all(|(key, value)| pod.labels.get(key) == Some(value))
    }

    /// The target by which visitors of this injected pod reach the app and not its sidecar, if there is one. A port
    /// that is neither the app's nor the sidecar's (metrics, debugging) is nobody's business.
    pub fn bypass(&self, pod: &Pod) -> Option<&Target> {
        let app = pod.app_port?;
        self.targets.iter().find(|target| match target {
            Target::Number(number) => {
                *number == app && !(pod.ports.iter()).any(|port| port.of_sidecar && port.number == *number)
            }
            Target::Name(name) => (pod.ports.iter().find(|port| port.name.as_ref() == Some(name)))
                .is_some_and(|port| !port.of_sidecar && port.number == app),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::pod::Port;

    fn port(name: Option<&str>, number: u16, of_sidecar: bool) -> Port {
        Port {
            name: name.map(ToOwned::to_owned),
            number,
            of_sidecar,
        }
    }

    fn service(targets: &serde_json::Value) -> Service {
        let object = serde_json::json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": targets},
        });
        Service::try_from(&serde_json::from_value::<core::Service>(object).unwrap()).unwrap()
    }

    fn pod() -> Pod {
        Pod {
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ports: vec![
                port(Some("http"), 15080, true),
                port(None, 3000, false),
                port(Some("metrics"), 9100, false),
            ],
            app_port: Some(3000),
            ..Pod::local("shop")
        }
    }

    #[test]
    fn a_name_that_the_sidecar_took_over_is_no_bypass() {
        let service = service(
            &serde_json::json!([{"port": 80, "targetPort": "http"}, {"port": 9100, "targetPort": "metrics"}]),
        );
        assert!(service.selects(&pod()));
        assert_eq!(service.bypass(&pod()), None);
    }

    #[test]
    fn the_number_of_the_app_is_a_bypass() {
        let by_number = service(&serde_json::json!([{"port": 80, "targetPort": 3000}]));
        assert_eq!(by_number.bypass(&pod()), Some(&Target::Number(3000)));
        let by_default = service(&serde_json::json!([{"port": 3000}]));
        assert_eq!(by_default.bypass(&pod()), Some(&Target::Number(3000)));
    }

    #[test]
    fn a_second_name_of_the_apps_port_is_a_bypass() {
        let mut pod = pod();
        pod.ports.push(port(Some("web"), 3000, false));
        let service = service(&serde_json::json!([{"port": 80, "targetPort": "web"}]));
        assert_eq!(service.bypass(&pod), Some(&Target::Name("web".to_owned())));
    }

    #[test]
    fn a_service_without_selector_selects_nobody() {
        let service = Service {
            selector: BTreeMap::new(),
            ..service(&serde_json::json!([]))
        };
        assert!(!service.selects(&pod()));
    }
}
