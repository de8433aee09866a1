//! The process's log filter, read and set over the admin listener.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Limited};

use super::{
    guard,
    reply::{Reply, text},
};
use crate::body::BoxError;

/// A log filter is no longer than this.
const MAX_FILTER: usize = 1024;

type SetFilter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// The process's log filter, for reading and setting.
#[derive(Clone)]
pub struct LogLevel {
    get: Arc<dyn Fn() -> String + Send + Sync>,
    set: Arc<SetFilter>,
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogLevel").field(&(self.get)()).finish()
    }
}

impl LogLevel {
    /// `get` says the filter in force; `set` takes another, or says what is wrong with it.
    pub fn new(
        get: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            get: Arc::new(get),
            set: Arc::new(set),
        }
    }
}

/// GET says the filter, PUT or POST sets it.
pub(super) async fn answer<B>(level: Option<&LogLevel>, request: Request<B>) -> Reply
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Some(level) = level else {
        return text(
            StatusCode::NOT_FOUND,
            "this process does not set its log filter here\n",
        );
    };
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::PUT | Method::POST => {
            if let Err(refusal) = guard::check_change(request.headers()) {
                return text(StatusCode::FORBIDDEN, refusal.words());
            }
            let filter = match Limited::new(request.into_body(), MAX_FILTER).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
            };
            if let Err(problem) = (level.set)(String::from_utf8_lossy(&filter).trim()) {
                return text(StatusCode::BAD_REQUEST, &format!("{problem}\n"));
            }
        }
        _ => return text(StatusCode::METHOD_NOT_ALLOWED, "GET, or PUT a filter\n"),
    }
    text(StatusCode::OK, &format!("{}\n", (level.get)()))
}
