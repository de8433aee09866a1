//! Who opens a stream.

use std::future::Future;

use tonic::Status;

/// The pod that a bearer token belongs to. It comes from the token, never from what the client says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
}

/// Turns a bearer token into a pod.
pub trait Authenticator: Send + Sync + 'static {
    /// Whose token is this? `UNAUTHENTICATED` where it is nobody's, `UNAVAILABLE` where that cannot be said now.
    fn authenticate(&self, bearer: Option<&str>) -> impl Future<Output = Result<Identity, Status>> + Send;
}

/// One token, one pod: `coppice dev`, where both ends are one process.
#[derive(Debug, Clone)]
pub struct Fixed {
    token: String,
    identity: Identity,
}

impl Fixed {
    /// Whoever shows this token is this pod.
    pub fn new(token: impl Into<String>, identity: Identity) -> Self {
        Self {
            token: token.into(),
            identity,
        }
    }
}

impl Authenticator for Fixed {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Identity, Status> {
        match bearer {
            Some(bearer) if equal(bearer.as_bytes(), self.token.as_bytes()) => Ok(self.identity.clone()),
            _ => Err(Status::unauthenticated(
                "the bearer token is not the one of this process",
            )),
        }
    }
}

/// Compares without telling by its time where the first difference is.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
