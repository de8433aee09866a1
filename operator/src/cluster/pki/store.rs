//! The authority in its Secret: read, created, replaced; never overwritten blindly.

use std::collections::BTreeMap;

use coppice_api::names::object;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::PostParams};
use tracing::info;

use super::{Authority, AuthorityError};
use crate::cluster::brief;

const CERTIFICATES: &str = "ca.crt";
const KEYS: &str = "ca.key";
/// Another writer may come between reading and writing; a few rounds settle it.
const ROUNDS: usize = 5;

/// Why the authority could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The API server refused or could not be reached.
    #[error("failed to {action} Secret {}: {}", object::CA_SECRET, brief(.source))]
    Api {
        /// `read`, `create` or `replace`.
        action: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Secret holds no authority.
    #[error(
        "Secret {} is unusable ({source}): delete it, and a new authority is made",
        object::CA_SECRET
    )]
    Unusable {
        /// Why.
        #[source]
        source: AuthorityError,
    },
    /// Making a certificate failed.
    #[error(transparent)]
    Make(#[from] AuthorityError),
    /// Others kept writing.
    #[error(
        "failed to write Secret {}: it changed {ROUNDS} times meanwhile",
        object::CA_SECRET
    )]
    Contended,
}

pub(super) struct Store {
    secrets: Api<Secret>,
}

impl Store {
    pub(super) fn new(secrets: Api<Secret>) -> Self {
        Self { secrets }
    }

    /// What is in force, after a rotation where one was due. A Secret that is missing is made again from `known`.
    pub(super) async fn sync(
        &self,
        known: Option<&Authority>,
        now: Timestamp,
    ) -> Result<Authority, StoreError> {
        for _ in 0..ROUNDS {
            let written = match self.read().await? {
                None => self.create(known, now).await?,
                Some(secret) => {
                    let current = parse(&secret)?;
                    let Some(next) = current.rotated(now)? else {
                        return Ok(current);
                    };
                    self.replace(secret, next).await?
                }
            };
            if let Some(authority) = written {
                return Ok(authority);
            }
        }
        Err(StoreError::Contended)
    }

    async fn read(&self) -> Result<Option<Secret>, StoreError> {
        self.secrets
            .get_opt(object::CA_SECRET)
            .await
            .map_err(|source| failed("read", source))
    }

    /// `None`: somebody else was faster.
    async fn create(
        &self,
        known: Option<&Authority>,
        now: Timestamp,
    ) -> Result<Option<Authority>, StoreError> {
        let rotated = known
            .map(|authority| authority.rotated(now))
            .transpose()?
            .flatten();
        let fresh = if known.is_none() {
            Some(Authority::new(now)?)
        } else {
            rotated
        };
        let authority = fresh.as_ref().or(known);
        let Some(authority) = authority else {
            return Ok(None);
        };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(object::CA_SECRET.to_owned()),
                labels: Some(BTreeMap::from([(
                    "app.kubernetes.io/managed-by".to_owned(),
                    object::STATUS_MANAGER.to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            data: Some(data(authority)),
            ..Secret::default()
        };
        match self.secrets.create(&PostParams::default(), &secret).await {
            Ok(stored) => {
                info!("made a certificate authority");
                parse(&stored).map(Some)
            }
            Err(error) if is_conflict(&error) => Ok(None),
            Err(source) => Err(failed("create", source)),
        }
    }

    /// `None`: the Secret is another one by now.
    async fn replace(&self, mut secret: Secret, next: Authority) -> Result<Option<Authority>, StoreError> {
        // The resourceVersion that was read makes this a comparison and a swap.
        secret.data = Some(data(&next));
        match self
            .secrets
            .replace(object::CA_SECRET, &PostParams::default(), &secret)
            .await
        {
            Ok(_) => {
                info!("rotated the certificate authority");
                Ok(Some(next))
            }
            Err(error) if is_conflict(&error) => Ok(None),
            Err(source) => Err(failed("replace", source)),
        }
    }
}

fn data(authority: &Authority) -> BTreeMap<String, ByteString> {
    BTreeMap::from([
        (
            CERTIFICATES.to_owned(),
            ByteString(authority.bundle().into_bytes()),
        ),
        (KEYS.to_owned(), ByteString(authority.keys().into_bytes())),
    ])
}

fn parse(secret: &Secret) -> Result<Authority, StoreError> {
    let text = |key: &str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
            .ok_or_else(|| AuthorityError::Unreadable(format!("key {key} is missing or no text")))
    };
    let authority = text(CERTIFICATES).and_then(|certificates| Authority::parse(certificates, text(KEYS)?));
    authority.map_err(|source| StoreError::Unusable { source })
}

/// 409: `AlreadyExists` on create, `Conflict` on replace; 404 on replace: deleted meanwhile.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 || status.code == 404)
}

fn failed(action: &'static str, source: kube::Error) -> StoreError {
    StoreError::Api {
        action,
        source: Box::new(source),
    }
}
