//! Who opens a stream: the bearer of a projected `ServiceAccount` token, checked with a TokenReview.
//!
//! ```text
//! bearer ─► TokenReview for the operator's audience ─► caller ─► Identity, or the AuthError that the stream ends with
//! ```
//!
//! Namespace, pod and uid are what the API server says of the token (KEP-1205, bound tokens), never what the client says.

use std::{sync::Arc, time::Duration};

use coppice_api::names::TOKEN_AUDIENCE;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;
use tonic::Status;

use super::{brief, metrics::ClusterMetrics};
use crate::push::{Authenticator, Identity};

/// For asking; the sidecar tries again.
const LIMIT: Duration = Duration::from_secs(8);
/// Longer ones are no `ServiceAccount` tokens.
const LONGEST_TOKEN: usize = 16 << 10;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Why a bearer is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There is no token.
    #[error("a bearer token is needed")]
    Missing,
    /// The API server does not know the token, or it has expired, or is for another audience.
    #[error("the token is not valid for the audience {TOKEN_AUDIENCE}")]
    Invalid,
    /// The token belongs to no pod.
    #[error("the token is not bound to a pod")]
    NotBound,
    /// The API server could not be asked.
    #[error("failed to review the token: {}", brief(.0))]
    Review(#[source] Box<kube::Error>),
    /// The API server takes too long.
    #[error("failed to review the token within {} s", LIMIT.as_secs())]
    Busy,
}

impl AuthError {
    /// The word for logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::NotBound => "not_bound",
            Self::Review(_) => "failed",
            Self::Busy => "busy",
        }
    }
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing | AuthError::Invalid => Self::unauthenticated(error.to_string()),
            AuthError::NotBound => Self::permission_denied(error.to_string()),
            AuthError::Review(_) | AuthError::Busy => Self::unavailable(error.to_string()),
        }
    }
}

/// Asks the API server whose token it is. How many are asked about at a time is bounded where streams are accepted.
pub struct Reviewer {
    api: Api<TokenReview>,
    metrics: Arc<ClusterMetrics>,
}

impl Reviewer {
    /// Reviews through this client.
    pub fn new(client: Client, metrics: Arc<ClusterMetrics>) -> Self {
        Self {
            api: Api::all(client),
            metrics,
        }
    }

    /// The pod whose token this is.
    pub async fn review(&self, token: Option<&str>) -> Result<Identity, AuthError> {
        let token = token
            .filter(|token| !token.is_empty())
            .ok_or(AuthError::Missing)?;
        if token.len() > LONGEST_TOKEN {
            return Err(AuthError::Invalid);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let params = PostParams::default();
        let answer = timeout(LIMIT, self.api.create(&params, &review)).await;
        let answer = answer.map_err(|_| AuthError::Busy)?;
        caller(answer.map_err(|error| AuthError::Review(Box::new(error)))?)
    }
}

impl Authenticator for Reviewer {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Identity, Status> {
        let reviewed = self.review(bearer).await;
        self.metrics
            .reviewed(reviewed.as_ref().map_or_else(AuthError::as_str, |_| "valid"));
        reviewed.map_err(Status::from)
    }
}

fn caller(review: TokenReview) -> Result<Identity, AuthError> {
    let status = review.status.unwrap_or_default();
    // An API server that does not know audiences would leave the list out and let any token through.
    let for_us = status
        .audiences
        .is_some_and(|audiences| audiences.iter().any(|audience| audience == TOKEN_AUDIENCE));
    if status.authenticated != Some(true) || !for_us {
        return Err(AuthError::Invalid);
    }
    let user = status.user.unwrap_or_default();
    let account = user.username.as_deref().unwrap_or_default();
    let namespace = account
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .map(|(namespace, _)| namespace.to_owned());
    match (namespace, extra(&user, POD_NAME), extra(&user, POD_UID)) {
        (Some(namespace), Some(pod), Some(uid)) => Ok(Identity { namespace, pod, uid }),
        _ => Err(AuthError::NotBound),
    }
}

fn extra(user: &UserInfo, key: &str) -> Option<String> {
    match user.extra.as_ref()?.get(key)?.as_slice() {
        [only] if !only.is_empty() => Some(only.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
