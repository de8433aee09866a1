//! Reviews over a real TLS connection on loopback.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cluster::{events::Warning, listener, pki::Pki, testing::ApiServer};

/// The patch of a response; `ByteString` reads base64.
fn decode(patch: &Value) -> json_patch::Patch {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(patch.clone()).expect("base64");
    serde_json::from_slice(&bytes.0).expect("a patch")
}

/// What the API server knows of the webhook.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    bundle: String,
}

/// A webhook that listens, and everything around it.
struct Webhook {
    peer: Peer,
    warnings: tokio::sync::mpsc::Receiver<Warning>,
    api: ApiServer,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

async fn pki() -> Pki {
    let (client, mut server) = ApiServer::new();
    let mut pki = Pki::new(
        client,
        "coppice-system",
        vec!["hook.coppice-system.svc".to_owned()],
    );
    let api = async {
        server.next().await.expect("reads").fail(404, "NotFound");
        let create = server.next().await.expect("creates");
        let secret = create.body.clone();
        create.reply(&secret);
    };
    let (renewed, ()) = tokio::join!(pki.renew(Timestamp::now()), api);
    renewed.expect("an authority");
    pki
}

async fn webhook(native: Option<bool>) -> Webhook {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pki = pki().await;
    let (client, api) = ApiServer::new();
    let (events, warnings) = Events::channel();
    let words = BTreeMap::from([("shop".to_owned(), "enabled".to_owned())]);
    let admission = Admission {
        fixed: Static {
            image: "sidecar:1".to_owned(),
            pull_policy: "IfNotPresent".to_owned(),
            operator_url: "https://stream:9444".to_owned(),
            log: "info".to_owned(),
        },
        bundle: pki.bundle(),
        native: watch::channel(native).1,
        namespace_word: move |name: &str| words.get(name).cloned(),
        client,
        events,
        metrics: Arc::default(),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let config = pki.serving().server_config(&["h2", "http/1.1"]);
    let incoming = listener::incoming(listener, config, stop.clone());
    let server = tokio::spawn(serve(incoming, Arc::new(admission), stop.clone()));
    let bundle = pki.bundle().borrow().as_deref().expect("a bundle").to_owned();
    Webhook {
        peer: Peer { address, bundle },
        warnings,
        api,
        stop,
        server,
    }
}

impl Peer {
    /// As the API server does it: verifies the certificate against the bundle and the Service's name.
    async fn post(&self, path: &str, body: String) -> (http::StatusCode, Value) {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.bundle.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("a root");
        }
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("hook.coppice-system.svc").expect("a name");
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .expect("a handshake");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("HTTP");
        tokio::spawn(connection);
        let request = http::Request::post(path)
            .header("host", "hook")
            .body(Full::new(bytes::Bytes::from(body)))
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        (
            status,
            serde_json::from_slice(&body).unwrap_or(Value::String(text)),
        )
    }
}

/// As the API server sends it for a pod of a Deployment.
fn review(namespace: &str, pod_spec: &Value, dry_run: bool) -> String {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller" },
            "object": {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {
                    "generateName": "web-5d4f-",
                    "creationTimestamp": null,
                    "labels": { "app": "web" },
                    "ownerReferences": [
                        { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f", "uid": "rs-1", "controller": true },
                    ],
                },
                "spec": pod_spec,
                "status": {},
            },
            "oldObject": null,
            "dryRun": dry_run,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    })
    .to_string()
}

fn good_spec() -> Value {
    json!({ "containers": [{ "name": "web", "ports": [{ "name": "http", "containerPort": 3000 }] }] })
}

fn bad_spec() -> Value {
    json!({ "hostNetwork": true, "containers": [{ "name": "web" }] })
}

#[tokio::test]
async fn admission_injects_over_tls() {
    let hook = webhook(Some(true)).await;
    let (status, answer) = hook
        .peer
        .post("/mutate?timeout=5s", review("shop", &good_spec(), false))
        .await;
    assert_eq!(status, 200);
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    let response = &answer["response"];
    assert_eq!(response["uid"], "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4");
    assert_eq!(
        (&response["allowed"], &response["patchType"]),
        (&json!(true), &json!("JSONPatch"))
    );
    let mut pod = json!({ "metadata": { "labels": { "app": "web" } }, "spec": good_spec() });
    json_patch::patch(&mut pod, &decode(&response["patch"])).expect("fits");
    let sidecar = &pod["spec"]["initContainers"][0];
    assert_eq!(sidecar["name"], "coppice-sidecar");
    let env = sidecar["env"].as_array().expect("variables");
    let ca = env
        .iter()
        .find(|e| e["name"] == "COPPICE_CA_BUNDLE")
        .expect("the bundle");
    assert_eq!(ca["value"], hook.peer.bundle);
}

#[tokio::test]
async fn admission_says_why_not_to_the_client_and_to_the_owner() {
    let mut hook = webhook(Some(true)).await;
    let (_, answer) = hook
        .peer
        .post("/mutate", review("shop", &bad_spec(), false))
        .await;
    let response = &answer["response"];
    assert_eq!(
        (&response["allowed"], &response["patch"]),
        (&json!(true), &Value::Null)
    );
    let warning = response["warnings"][0].as_str().expect("a warning");
    assert!(
        warning.contains("HostNetwork") && warning.contains("NoPort"),
        "{warning}"
    );
    let event = hook.warnings.recv().await.expect("an Event");
    assert_eq!(event.reason, "HostNetwork");
    assert_eq!(event.regarding.kind.as_deref(), Some("ReplicaSet"));
    assert_eq!(event.regarding.name.as_deref(), Some("web-5d4f"));
    assert_eq!(event.regarding.uid.as_deref(), Some("rs-1"));
    assert_eq!(event.regarding.namespace.as_deref(), Some("shop"));
}

#[tokio::test]
async fn admission_leaves_nothing_behind_in_a_dry_run() {
    let mut hook = webhook(Some(true)).await;
    let (_, answer) = hook.peer.post("/mutate", review("shop", &bad_spec(), true)).await;
    assert!(
        answer["response"]["warnings"][0].is_string(),
        "the client is told all the same"
    );
    hook.stop.cancel();
    (&mut hook.server).await.expect("stops");
    assert!(hook.warnings.try_recv().is_err());
}

#[tokio::test]
async fn admission_asks_about_a_namespace_that_the_watch_does_not_know() {
    let mut hook = webhook(Some(true)).await;
    for (labels, injected) in [
        (json!({ "coppice.dev/inject": "enabled" }), true),
        (json!({}), false),
    ] {
        let mut api = hook.api;
        let namespace = async {
            let call = api.expect("GET", "/api/v1/namespaces/fresh").await;
            call.reply(&json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": { "name": "fresh", "labels": labels },
            }));
            api
        };
        let peer = hook.peer.clone();
        let (api, (_, answer)) = tokio::join!(
            namespace,
            peer.post("/mutate", review("fresh", &good_spec(), false))
        );
        assert_eq!(answer["response"]["patch"].is_string(), injected);
        assert!(answer["response"]["warnings"].is_null());
        hook.api = api;
    }
}

#[tokio::test]
async fn admission_lets_pods_through_before_it_is_ready() {
    let hook = webhook(None).await;
    let (status, answer) = hook
        .peer
        .post("/mutate", review("shop", &good_spec(), false))
        .await;
    assert_eq!(
        (status.as_u16(), &answer["response"]["allowed"]),
        (200, &json!(true))
    );
    assert!(answer["response"]["patch"].is_null());
    assert!(
        answer["response"]["warnings"][0]
            .as_str()
            .expect("a warning")
            .contains("not injected")
    );
}

#[tokio::test]
async fn admission_refuses_what_is_no_review() {
    let hook = webhook(Some(true)).await;
    let wrong =
        review("shop", &good_spec(), false).replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
    for (path, body, expected) in [
        ("/", String::new(), 404),
        ("/mutate", String::new(), 400),
        ("/mutate", "{}".to_owned(), 400),
        ("/mutate", "[".repeat(1000), 400),
        ("/mutate", wrong, 400),
        ("/mutate", " ".repeat(9 << 20), 400),
    ] {
        assert_eq!(hook.peer.post(path, body).await.0, expected);
    }
}
