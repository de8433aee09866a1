//! Why the app gave no answer.

use std::{io, sync::Arc, time::Duration};

use http::StatusCode;

/// Why the app gave no answer. Cheap to clone: all who waited for a flight share it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// Its name does not resolve.
    #[error("failed to look up {app}: {source}")]
    Unknown {
        /// The app's address.
        app: Arc<str>,
        /// What the resolver said.
        source: Arc<io::Error>,
    },
    /// Nothing listens there: not up yet, gone, or on another port or address.
    #[error("{app} refused the connection: the app is not up, or listens on another address or port")]
    Refused {
        /// The app's address.
        app: Arc<str>,
    },
    /// The connection could not be made.
    #[error("failed to connect to {app}: {source}")]
    Unreachable {
        /// The app's address.
        app: Arc<str>,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The connection was not there in time.
    #[error("{app} did not take the connection within {}s", after.as_secs_f32())]
    ConnectTimeout {
        /// The app's address.
        app: Arc<str>,
        /// How long it had.
        after: Duration,
    },
    /// Connected, but no answer began in time.
    #[error("{app} did not begin to answer within {}s", after.as_secs_f32())]
    Timeout {
        /// The app's address.
        app: Arc<str>,
        /// How long it had.
        after: Duration,
    },
    /// The connection ended before an answer began.
    #[error("{app} closed the connection without an answer")]
    Closed {
        /// The app's address.
        app: Arc<str>,
    },
    /// What came back is no HTTP answer, or the request could not be sent.
    #[error("{app} did not give an HTTP answer: {source}")]
    Broken {
        /// The app's address.
        app: Arc<str>,
        /// What hyper said.
        source: Arc<hyper::Error>,
    },
    /// The head of its answer is larger than what is read of one.
    #[error("{app} answered with a head of more than 64 KiB")]
    Head {
        /// The app's address.
        app: Arc<str>,
    },
    /// Its answer has a transfer coding that says something and that nobody here takes off.
    #[error("{app} answered with a transfer coding that is not understood: only chunked, once, is")]
    Coded {
        /// The app's address.
        app: Arc<str>,
    },
    /// The visitor's body broke off, or was malformed, while it went on to the app.
    #[error("the request's body broke off or is malformed")]
    Upload,
}

impl UpstreamError {
    /// The word for log and metric.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown-host",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::ConnectTimeout { .. } => "connect-timeout",
            Self::Timeout { .. } => "timeout",
            Self::Closed { .. } => "closed",
            Self::Broken { .. } => "broken",
            Self::Head { .. } => "head-too-large",
            Self::Coded { .. } => "coded",
            Self::Upload => "upload",
        }
    }

    /// What a visitor is told: 504 where the app was given time, 400 where it is the visitor's fault, else 502.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::ConnectTimeout { .. } | Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Upload => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}
