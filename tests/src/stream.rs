//! A caller that opens the operator's stream with whatever token a test gives it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use coppice_api::names::{TOKEN_AUDIENCE, object, port};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty, combinators::UnsyncBoxBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, Service, ServiceAccount},
};
use kube::{Api, api::PostParams};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{net::TcpStream, time::timeout};

use crate::{app::Replica, cluster::SYSTEM, space::Space};

const SERVICE: &str = "coppice-operator-stream";
/// The operator asks the API server about the token; a refusal takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Attached {
    /// It is open.
    Open,
    /// It was refused with this gRPC status code.
    Refused(u32),
}

/// gRPC's `UNAUTHENTICATED`.
pub const UNAUTHENTICATED: u32 = 16;
/// gRPC's `PERMISSION_DENIED`.
pub const PERMISSION_DENIED: u32 = 7;

/// A token of the namespace's default `ServiceAccount`, bound to this pod, for this audience.
pub async fn token(space: &Space, pod: Option<&Replica>, audience: &str) -> Result<String> {
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            bound_object_ref: pod.map(|pod| BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name.clone()),
                uid: Some(pod.uid.clone()),
            }),
            expiration_seconds: Some(3600),
        },
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = space.api();
    let made = accounts
        .create_token_request("default", &PostParams::default(), &request)
        .await?;
    Ok(made.status.context("a token request without a token")?.token)
}

/// A token as a sidecar of this pod has it.
pub async fn good_token(space: &Space, pod: &Replica) -> Result<String> {
    token(space, Some(pod), TOKEN_AUDIENCE).await
}

/// Opens a stream with this token, trusting the CA that the operator publishes in the namespace.
pub async fn attach(space: &Space, token: Option<&str>) -> Result<Attached> {
    timeout(PATIENCE, exchange(space, token))
        .await
        .with_context(|| format!("the operator neither opened nor refused the stream in {PATIENCE:?}"))?
}

async fn exchange(space: &Space, token: Option<&str>) -> Result<Attached> {
    let trust: ConfigMap = space
        .wait(object::TRUST_CONFIG_MAP, "it holds the CA", |map: &ConfigMap| {
            map.data
                .as_ref()
                .is_some_and(|d| d.contains_key(object::TRUST_KEY))
        })
        .await?;
    let bundle = trust
        .data
        .and_then(|mut d| d.remove(object::TRUST_KEY))
        .unwrap_or_default();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.map_err(|error| anyhow!("the CA bundle: {error}"))?)?;
    }
    let mut tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];

    let services: Api<Service> = Api::namespaced(space.client.clone(), SYSTEM);
    let address = services
        .get(SERVICE)
        .await?
        .spec
        .and_then(|s| s.cluster_ip)
        .context("no address")?;
    let stream = TcpStream::connect(SocketAddr::new(address.parse()?, port::STREAM)).await?;
    let name = format!("{SERVICE}.{SYSTEM}.svc");
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls))
        .connect(ServerName::try_from(name.clone())?, stream)
        .await
        .context("failed to set up TLS with the operator")?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::post(format!("https://{name}/coppice.v1.Control/Attach"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body: UnsyncBoxBody<bytes::Bytes, std::convert::Infallible> = Empty::new().boxed_unsync();
    let answer = sender.send_request(request.body(body)?).await?;
    let attached = code(answer.headers()).map_or(Attached::Open, Attached::Refused);
    connection.abort();
    Ok(attached)
}

/// A refusal carries its status in the headers; of an open stream it is not known yet.
fn code(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
