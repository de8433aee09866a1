//! Certificates of the cluster, made anew at every start, and the kubeconfigs that use them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::netns::NODE_IP;
use super::state::Run;
use crate::process::{capture, command};

/// The first address of the services' range: the API server as pods see it.
const SERVICE_IP: &str = "10.96.0.1";

/// Who gets a certificate: file name, subject, subject alternative names.
const LEAVES: [(&str, &str, &str); 7] = [
    (
        "apiserver",
        "/CN=kube-apiserver",
        "IP:198.18.0.1,IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,\
         DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local",
    ),
    ("admin", "/O=system:masters/CN=admin", "DNS:admin"),
    (
        "controller-manager",
        "/CN=system:kube-controller-manager",
        "DNS:controller-manager",
    ),
    ("scheduler", "/CN=system:kube-scheduler", "DNS:scheduler"),
    (
        "node",
        "/O=system:nodes/CN=system:node:node0",
        "DNS:node0,IP:198.18.0.1",
    ),
    ("proxy", "/CN=system:kube-proxy", "DNS:proxy"),
    (
        "kubelet-client",
        "/O=system:masters/CN=apiserver-kubelet-client",
        "DNS:kubelet-client",
    ),
];

/// Whose kubeconfigs are written, named like their certificates.
const USERS: [&str; 5] = ["admin", "controller-manager", "scheduler", "node", "proxy"];

/// Makes the authority, all leaves, the service account key and the kubeconfigs.
pub(super) fn create(run: &Run) -> Result<()> {
    debug_assert!(LEAVES[0].2.contains(NODE_IP) && LEAVES[0].2.contains(SERVICE_IP));
    let folder = run.path("pki");
    openssl(
        &folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 365 -subj /CN=coppice-test-ca",
    )?;
    for (name, subject, alternatives) in LEAVES {
        let extensions = format!(
            "subjectAltName={alternatives}\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\n"
        );
        fs::write(folder.join(format!("{name}.ext")), extensions)?;
        openssl(
            &folder,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj {subject}"
            ),
        )?;
        openssl(
            &folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile {name}.ext -out {name}.crt"
            ),
        )?;
    }
    openssl(
        &folder,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out service-account.key",
    )?;
    openssl(
        &folder,
        "pkey -in service-account.key -pubout -out service-account.pub",
    )?;
    for user in USERS {
        let text = serde_json::to_string_pretty(&kubeconfig(&folder, user))?;
        let path = run.path(&format!("{user}.conf"));
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

fn openssl(folder: &Path, arguments: &str) -> Result<()> {
    let mut command = command("openssl");
    command.args(arguments.split_whitespace());
    // A machine's own configuration may lack or redefine what is asked here.
    command.env_remove("OPENSSL_CONF").current_dir(folder);
    capture(&mut command).map(drop)
}

/// JSON is YAML, so kubectl and all clients read it.
fn kubeconfig(folder: &Path, user: &str) -> serde_json::Value {
    let file = |name: String| -> PathBuf { folder.join(name) };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "coppice",
        "clusters": [{"name": "coppice", "cluster": {
            "server": format!("https://{NODE_IP}:6443"),
            "certificate-authority": file("ca.crt".into()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": file(format!("{user}.crt")),
            "client-key": file(format!("{user}.key")),
        }}],
        "contexts": [{"name": "coppice", "context": {"cluster": "coppice", "user": user}}],
    })
}
