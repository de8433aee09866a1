//! What a sidecar is told: environment and flags become [`Settings`].

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use coppice_cache::outcome::Outcome;
use http::{Method, StatusCode};
use tokio::sync::mpsc;

/// All that a sidecar must know before it runs; the binary fills it in from environment and flags, `coppice dev` by hand.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where visitors are served; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The admin listener; `None`: no admin.
    pub admin: Option<SocketAddr>,
    /// The app, `host:port`; the host may be a DNS name.
    pub app: String,
    /// The cache's memory budget in bytes: bodies, headers, keys, bookkeeping and flights in the air.
    pub memory: u64,
    /// How long the sidecar goes on accepting once it is told to stop.
    pub drain: Duration,
    /// The operator's stream; `None`: everything passes through.
    pub control: Option<ControlSettings>,
    /// `coppice dev`: `Cache-Status` names the key, an unkeyed scheme is http.
    pub dev: bool,
    /// Gets a line for each request that was answered. A full channel drops lines, it never holds a visitor up.
    pub visits: Option<mpsc::Sender<VisitLine>>,
}

/// How to reach the operator. Token and certificates are read at each connection, so that both may be renewed.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// `https://host:port`, or `http://host:port` for an operator in the same process.
    pub url: String,
    /// The bearer token.
    pub token: Option<Token>,
    /// Whose certificates are trusted; needed where the URL is https.
    pub ca: Option<Ca>,
}

/// Where the bearer token comes from.
#[derive(Clone)]
pub enum Token {
    /// A projected ServiceAccount token.
    File(PathBuf),
    /// A fixed one, for an operator in the same process.
    Fixed(String),
}

impl std::fmt::Debug for Token {
    /// Never the token itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Fixed(_) => f.write_str("Fixed(..)"),
        }
    }
}

/// Whose certificates are trusted: the file where it exists, else the bundle.
#[derive(Debug, Clone, Default)]
pub struct Ca {
    /// PEM, as it was at admission.
    pub bundle: Option<String>,
    /// A file with PEM, the mounted trust bundle; supersedes `bundle` where it exists and holds a certificate.
    pub file: Option<PathBuf>,
}

/// One answered request, for those who watch: `coppice dev` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitLine {
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in a word of a closed enum; empty where the outcome says it all.
    pub reason: &'static str,
    /// Status of the answer.
    pub status: StatusCode,
    /// Age of the page that was served.
    pub age: Option<Duration>,
    /// From the request's headers to the answer's headers.
    pub duration: Duration,
    /// Method of the request.
    pub method: Method,
    /// Path and query of the request.
    pub path: String,
}
