//! What routes may read of Secrets: the values of those that consent, and why a reference leads nowhere.

use std::{collections::BTreeMap, fmt};

use coppice_api::{
    names::{label, reason::Reason},
    route::SecretKeyRef,
};
use coppice_cache::config;
use k8s_openapi::api::core::v1 as core;

use crate::state::ObjectName;

/// A longer value is no token, and an app may refuse the whole request for it.
const MAX_VALUE: usize = 4096;

/// A Secret, reduced to what references ask about. `Debug` shows its keys, never their values.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether routes may refer to it: whoever may write it has labelled it so.
    pub allowed: bool,
    /// Its values, by key.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// The Secrets of one namespace, as far as they are known.
#[derive(Debug, Clone, Copy)]
pub enum Secrets<'a> {
    /// Nobody reads them: a route that refers to one cannot be honoured.
    Unwatched,
    /// All that there are, by name.
    Known(&'a BTreeMap<String, Secret>),
}

/// Why a reference leads nowhere, with what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// The word.
    pub reason: Reason,
    /// Object, key and remedy.
    pub message: String,
}

impl Unresolved {
    /// With the header that the value is for.
    pub(super) fn of(self, header: &str) -> Self {
        Self {
            message: format!("origin.headers[{header}]: {}", self.message),
            ..self
        }
    }
}

impl Secret {
    /// What the API server, or a file in its place, says of it; `None` where it has no name.
    pub fn of(secret: &core::Secret) -> Option<Self> {
        let ObjectName { namespace, name } = ObjectName::of(&secret.metadata)?;
        let labels = secret.metadata.labels.as_ref();
        let allowed = (labels.and_then(|labels| labels.get(label::ALLOW_REFERENCE)))
            .is_some_and(|value| value == "true");
        let data = (secret.data.iter().flatten()).map(|(key, value)| (key.clone(), value.0.clone()));
        // The API server merges `stringData` into `data`, where it wins; a file still has both.
        let text = (secret.string_data.iter().flatten())
            .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        Some(Self {
            namespace,
            name,
            allowed,
            data: data.chain(text).collect(),
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("allowed", &self.allowed)
            .field("keys", &self.data.keys())
            .finish()
    }
}

/// The value that a reference leads to, for a header field.
pub(super) fn resolve(
    reference: &SecretKeyRef,
    secrets: &BTreeMap<String, Secret>,
) -> Result<config::Secret, Unresolved> {
    let SecretKeyRef { name, key } = reference;
    let no = |reason, message: String| Err(Unresolved { reason, message });
    let Some(secret) = secrets.get(name) else {
        return no(
            Reason::SecretNotFound,
            format!("there is no Secret {name:?} in this namespace; create it, with the key {key:?}"),
        );
    };
    if !secret.allowed {
        let label = label::ALLOW_REFERENCE;
        return no(
            Reason::RefNotPermitted,
            format!(
                "Secret {name:?} does not consent; label it {label}=true, if routes may send its values to the app"
            ),
        );
    }
    let Some(value) = secret.data.get(key) else {
        return no(
            Reason::SecretKeyNotFound,
            format!("Secret {name:?} has no key {key:?}; add it, or name one that it has"),
        );
    };
    // Whoever encodes a file encodes its last line break too; white space around a field's value is no part of it.
    let value = value.trim_ascii();
    let visible = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let usable = visible && (1..=MAX_VALUE).contains(&value.len());
    match std::str::from_utf8(value) {
        Ok(value) if usable => Ok(config::Secret::new(value)),
        _ => no(
            Reason::InvalidSecretValue,
            format!(
                "key {key:?} of Secret {name:?} holds no value of a header field; use 1 to {MAX_VALUE} visible ASCII characters"
            ),
        ),
    }
}
