//! A connection to the operator: TLS against the operator's own CA, or plaintext within one process. Token and
//! certificates are read each time, because both are renewed under us.

use std::{
    error::Error as _,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::config::{Ca, ControlSettings, Token};

/// Bounds looking up, connecting and the handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// A peer that is gone without a word is noticed within two of these.
const PING: Duration = Duration::from_secs(10);

/// Why there is no stream to the operator.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The URL.
    #[error("failed to read the operator's address {url:?}: it is no URL with a host")]
    Url {
        /// As it was given.
        url: String,
    },
    /// The token's file.
    #[error("failed to read the token {path}: {source}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The token has characters that no token has.
    #[error("failed to use the token: it is no text of one line")]
    TokenText,
    /// The URL is https, and nothing says whom to trust.
    #[error("failed to trust the operator: there is neither a CA file nor a CA bundle with a certificate")]
    NoCa,
    /// A certificate cannot be used.
    #[error("failed to use a CA certificate: {source}")]
    Ca {
        /// What rustls said.
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("failed to set TLS up: {source}")]
    Tls {
        /// What rustls said.
        source: rustls::Error,
    },
    /// The host is no server name.
    #[error("failed to use {host} as a server name: {source}")]
    Name {
        /// The host.
        host: String,
        /// What is wrong with it.
        source: InvalidDnsNameError,
    },
    /// No connection.
    #[error("failed to connect: {source}")]
    Connect {
        /// What the transport said.
        #[from]
        source: tonic::transport::Error,
    },
    /// The operator refused the stream or ended it.
    #[error("the operator said {code:?}: {message}", code = .0.code(), message = .0.message())]
    Status(#[from] Box<tonic::Status>),
    /// The operator took the connection and did not accept the stream.
    #[error("the operator did not accept the stream in time")]
    Silent,
}

impl From<tonic::Status> for ControlError {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// The error with its causes, without those that say the same again.
pub(super) fn words(error: &ControlError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let text = source.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = source.source();
    }
    words
}

/// The bearer token, as the value of `authorization`.
pub(super) fn token(settings: &ControlSettings) -> Result<Option<MetadataValue<Ascii>>, ControlError> {
    let token = match &settings.token {
        None => return Ok(None),
        Some(Token::Fixed(token)) => token.clone(),
        Some(Token::File(path)) => read(path).map_err(|source| ControlError::Token {
            path: path.clone(),
            source,
        })?,
    };
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
        .parse()
        .map_err(|_| ControlError::TokenText)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A connection over which a stream can be opened.
pub(super) async fn channel(settings: &ControlSettings) -> Result<Channel, ControlError> {
    let no_url = || ControlError::Url {
        url: settings.url.clone(),
    };
    let uri: Uri = settings.url.parse().map_err(|_| no_url())?;
    let host = uri.host().ok_or_else(no_url)?.trim_matches(['[', ']']).to_owned();
    let tls = match uri.scheme_str() {
        Some("https") => Some((connector(settings.ca.as_ref())?, name(&host)?)),
        Some("http") => None,
        _ => return Err(no_url()),
    };
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let endpoint = Endpoint::from(uri)
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true);
    let dial = move |_: Uri| {
        let (host, tls) = (host.clone(), tls.clone());
        async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let link: Box<dyn Link> = match tls {
                None => Box::new(stream),
                Some((tls, name)) => Box::new(tls.connect(name, stream).await?),
            };
            Ok::<_, io::Error>(TokioIo::new(link))
        }
    };
    let connected = endpoint.connect_with_connector(service_fn(dial));
    Ok(connected.await?)
}

fn name(host: &str) -> Result<ServerName<'static>, ControlError> {
    ServerName::try_from(host.to_owned()).map_err(|source| ControlError::Name {
        host: host.to_owned(),
        source,
    })
}

fn connector(ca: Option<&Ca>) -> Result<TlsConnector, ControlError> {
    let certificates = ca.map(certificates).unwrap_or_default();
    if certificates.is_empty() {
        return Err(ControlError::NoCa);
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|source| ControlError::Ca { source })?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| ControlError::Tls { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The file's certificates where it has any, else the bundle's. A `ConfigMap` that is not there yet, or is being
/// replaced, must not take away what came with the pod.
fn certificates(ca: &Ca) -> Vec<CertificateDer<'static>> {
    let parse = |pem: &str| -> Vec<_> {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .filter_map(Result::ok)
            .collect()
    };
    let file = ca.file.as_deref().and_then(|path| read(path).ok());
    let file = file.as_deref().map(parse).unwrap_or_default();
    if file.is_empty() {
        ca.bundle.as_deref().map(parse).unwrap_or_default()
    } else {
        file
    }
}

/// A small file of the pod's own memory: reading it does not block.
fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// Plaintext or TLS, behind one type.
trait Link: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}
