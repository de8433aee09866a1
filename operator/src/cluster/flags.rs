//! The operator's command line. Every flag has a variable of the same meaning, which the chart sets.

use std::net::SocketAddr;

/// The operator of Coppice: tells the sidecars of app pods which pages to cache, and purges them.
///
/// It watches IsrRoute and RevalidationRequest objects, streams to each sidecar what that must know, writes statuses, and
/// gives pods their sidecars when they are created. It is never in the path of a visitor's request. The Helm chart runs
/// it; outside of a cluster it takes the kubeconfig of kubectl.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "coppice-operator", version, max_term_width = 100)]
pub struct Flags {
    /// Namespace in which the operator runs: its Services and the Secret with its certificate authority are there.
    #[arg(long, env = "COPPICE_NAMESPACE", default_value = "coppice-system")]
    pub namespace: String,
    /// Image of the sidecar that pods are given.
    #[arg(long, env = "COPPICE_SIDECAR_IMAGE")]
    pub sidecar_image: String,
    /// When nodes pull that image.
    #[arg(long, env = "COPPICE_SIDECAR_PULL_POLICY", default_value = "IfNotPresent",
          value_parser = ["Always", "IfNotPresent", "Never"])]
    pub sidecar_pull_policy: String,
    /// Log filter of the sidecars, such as info or debug.
    #[arg(long, env = "COPPICE_SIDECAR_LOG", default_value = "info")]
    pub sidecar_log: String,
    /// Name of the mutating webhook configuration whose CA bundle the operator writes.
    #[arg(
        long,
        env = "COPPICE_WEBHOOK_CONFIGURATION",
        default_value = "coppice-operator"
    )]
    pub webhook_configuration: String,
    /// Service by which the API server reaches the webhook.
    #[arg(
        long,
        env = "COPPICE_WEBHOOK_SERVICE",
        default_value = "coppice-operator-webhook"
    )]
    pub webhook_service: String,
    /// Service by which sidecars reach the stream, on port 9444.
    #[arg(
        long,
        env = "COPPICE_STREAM_SERVICE",
        default_value = "coppice-operator-stream"
    )]
    pub stream_service: String,
    /// Where the webhook listens (HTTPS, POST /mutate).
    #[arg(long, env = "COPPICE_WEBHOOK_LISTEN", default_value = "0.0.0.0:9443")]
    pub webhook_listen: SocketAddr,
    /// Where the stream listens (gRPC over TLS).
    #[arg(long, env = "COPPICE_STREAM_LISTEN", default_value = "0.0.0.0:9444")]
    pub stream_listen: SocketAddr,
    /// Where /live, /ready, /metrics and (for loopback only) /state are.
    #[arg(long, env = "COPPICE_ADMIN_LISTEN", default_value = "0.0.0.0:9901")]
    pub admin_listen: SocketAddr,
    /// Log filter, such as info or debug.
    #[arg(long, env = "COPPICE_LOG", default_value = "info")]
    pub log: String,
}

impl Flags {
    /// Every name by which the two Services are reached: the names of the certificate.
    pub fn names(&self) -> Vec<String> {
        let namespace = &self.namespace;
        [&self.webhook_service, &self.stream_service]
            .iter()
            .flat_map(|service| {
                [
                    format!("{service}.{namespace}.svc"),
                    format!("{service}.{namespace}"),
                    format!("{service}.{namespace}.svc.cluster.local"),
                ]
            })
            .collect()
    }

    /// Where sidecars find the stream.
    pub fn operator_url(&self) -> String {
        format!(
            "https://{}.{}.svc:{}",
            self.stream_service,
            self.namespace,
            coppice_api::names::port::STREAM
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn flags_are_well_formed_and_explain_themselves() {
        let mut command = Flags::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for word in ["COPPICE_SIDECAR_IMAGE", "Helm chart", "never in the path"] {
            assert!(help.contains(word), "{word}");
        }
    }

    #[test]
    fn flags_name_the_services() {
        let flags =
            Flags::try_parse_from(["coppice-operator", "--sidecar-image", "s:1", "--namespace", "ns"])
                .expect("enough");
        assert_eq!(
            flags.operator_url(),
            "https://coppice-operator-stream.ns.svc:9444"
        );
        assert!(
            flags
                .names()
                .contains(&"coppice-operator-webhook.ns.svc".to_owned())
        );
    }
}
