//! An operator that says what the test tells it to.

use std::{pin::Pin, sync::Arc};

use coppice_cache::config::{Config, Interval, Route};
use coppice_sidecar::config::{Ca, ControlSettings, Token};
use coppice_wire::{
    convert::config_to_pb,
    pb::{
        self, FromOperator, FromSidecar,
        control_server::{Control, ControlServer},
        from_operator::Message as Say,
        from_sidecar::Message as Said,
    },
};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::{soon, stage};

/// A configuration of routes, each with one rule: its name and its rule's path. Pages are fresh until they are purged.
pub fn config<N: Into<String>>(routes: impl IntoIterator<Item = (N, String)>) -> pb::Config {
    let routes = routes.into_iter().map(|(name, path)| {
        let mut rule = stage::rule();
        "pages".clone_into(&mut rule.name);
        rule.paths = vec![path];
        rule.tags = vec!["all".to_owned()];
        rule.revalidate = Some(Interval::Never);
        Route {
            name: name.into(),
            ..stage::config(rule).routes.remove(0)
        }
    });
    config_to_pb(&Config {
        routes: routes.collect(),
    })
}

/// An operator; each stream that a sidecar opens comes out of `streams`.
pub struct Operator {
    pub url: String,
    streams: mpsc::Receiver<Attached>,
}

/// One stream.
pub struct Attached {
    pub bearer: Option<String>,
    pub hello: pb::Hello,
    from: Streaming<FromSidecar>,
    to: mpsc::Sender<Result<FromOperator, Status>>,
}

struct Service {
    streams: mpsc::Sender<Attached>,
    /// The only token that is let in; `None`: everybody.
    token: Option<&'static str>,
}

#[tonic::async_trait]
impl Control for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<FromOperator, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromSidecar>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let bearer = request.metadata().get("authorization");
        let bearer = bearer.map(|value| value.to_str().unwrap().to_owned());
        if let Some(token) = self.token
            && bearer.as_deref() != Some(&format!("Bearer {token}"))
        {
            return Err(Status::unauthenticated("that token is not known here"));
        }
        let mut from = request.into_inner();
        let streams = self.streams.clone();
        let (to, messages) = mpsc::channel(64);
        tokio::spawn(async move {
            if let Some(Said::Hello(hello)) = from.message().await.unwrap().unwrap().message {
                let _ = streams
                    .send(Attached {
                        bearer,
                        hello,
                        from,
                        to,
                    })
                    .await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

/// A CA of its own, and a server configuration for 127.0.0.1 that it has signed.
pub fn certificates() -> (String, Arc<ServerConfig>) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::CertifiedIssuer::self_signed(ca, ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (issuer.pem(), Arc::new(config))
}

impl Operator {
    /// Plaintext, everybody is let in.
    pub async fn start() -> Self {
        Self::with(None, None).await
    }

    pub async fn with(tls: Option<Arc<ServerConfig>>, token: Option<&'static str>) -> Self {
        let (streams, receiver) = mpsc::channel(64);
        let service = ControlServer::new(Service { streams, token });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let url = match tls {
            None => {
                tokio::spawn(Server::builder().serve_with_incoming(service, incoming));
                format!("http://{address}")
            }
            Some(tls) => {
                let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                // A handshake that fails ends that connection, not the server.
                let incoming = incoming
                    .then(move |stream| {
                        let acceptor = acceptor.clone();
                        async move { acceptor.accept(stream?).await }
                    })
                    .filter(Result::is_ok);
                tokio::spawn(Server::builder().serve_with_incoming(service, incoming));
                format!("https://{address}")
            }
        };
        Self {
            url,
            streams: receiver,
        }
    }

    pub fn settings(&self) -> ControlSettings {
        ControlSettings {
            url: self.url.clone(),
            token: Some(Token::Fixed("t0ken".into())),
            ca: Some(Ca::default()),
        }
    }

    /// The next stream that a sidecar opens, its Hello read.
    pub async fn attached(&mut self) -> Attached {
        soon(self.streams.recv()).await.unwrap()
    }
}

impl Attached {
    pub async fn say(&self, message: Say) {
        let message = Some(message);
        self.to.send(Ok(FromOperator { message })).await.unwrap();
    }

    pub async fn hear(&mut self) -> Said {
        let heard = soon(self.from.message()).await.unwrap();
        heard.unwrap().message.unwrap()
    }

    /// The next report that is final.
    pub async fn report(&mut self) -> pb::SweepReport {
        loop {
            match self.hear().await {
                Said::SweepReport(report) if report.finished => return report,
                Said::SweepReport(_) => {}
                other => panic!("no report: {other:?}"),
            }
        }
    }
}
