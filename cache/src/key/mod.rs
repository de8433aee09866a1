//! What makes a page of its own, and the request that the app is asked for it.
//!
//! ```text
//! visitor's request ──► read ──► Lookup { key, plan } ──► origin_request(): built from the key, nothing copied
//!                         ├────► Pass { reason }
//!                         └────► Refuse(reason)
//! ```
//!
//! An answer that many will share must depend on the key alone; so [`Lookup::origin_request`] sees nothing else.

mod host;
mod query;
mod read;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use http::{HeaderName, HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};

pub(crate) use self::query::is_tracking;
pub use self::{
    query::parameters,
    read::{Reading, concerns, read, rule_of},
};
use crate::{
    config::Scheme,
    path,
    routes::{Plan, Routes, RuleTags},
};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How the sidecar names itself to the app.
pub const USER_AGENT: &str = concat!("coppice/", env!("CARGO_PKG_VERSION"));

/// Of this process: visitors choose keys, and must not be able to choose those that collide.
pub(crate) fn seed() -> &'static ahash::RandomState {
    static SEED: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);
    &SEED
}

/// The key of a page: effective scheme, host, path and the query parameters that count, and the forwarded host where it
/// is another one. Its hash is computed once.
///
/// Keyed headers, cookies and variants will join `forwarded_host` as parts that most keys do not have.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// First, so that unequal keys part at once.
    hash: u64,
    scheme: Scheme,
    /// Host, path, and `?query` where a parameter counts.
    text: Box<str>,
    host_end: u32,
    path_end: u32,
    forwarded_host: Option<Box<str>>,
}

/// Why something is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a host, or not in normal form.
    #[error("{0:?} is no host: lower case, without the scheme's own port or a trailing dot")]
    Host(String),
    /// Not a path in normal form.
    #[error("{path:?} is no path: {reason}")]
    Path {
        /// As given.
        path: String,
        /// Why.
        reason: path::NotNormal,
    },
    /// No request could ask for it.
    #[error("{0:?} is no path and query")]
    Target(String),
}

impl Key {
    /// A key of its parts, all in normal form; `query` without `?`, sorted, empty where nothing counts.
    pub fn new(scheme: Scheme, host: &str, path: &str, query: &str) -> Result<Self, KeyError> {
        if host::normal(host.as_bytes(), scheme).as_deref() != Some(host) {
            return Err(KeyError::Host(host.to_owned()));
        }
        path::check(path).map_err(|reason| KeyError::Path {
            path: path.to_owned(),
            reason,
        })?;
        let most = query.len() + 1;
        let key = Self::build(scheme, host, path, None, most, |text| {
            if !query.is_empty() {
                text.push('?');
                text.push_str(query);
            }
        });
        match PathAndQuery::try_from(key.target()) {
            Ok(target) if target.as_str() == key.target() => Ok(key),
            _ => Err(KeyError::Target(key.target().to_owned())),
        }
    }

    /// The key of a visit to a URL under `plan`: as [`Key::new`], of a query as it was written.
    pub(crate) fn of(
        scheme: Scheme,
        host: &str,
        path: &str,
        query: &str,
        plan: &Plan,
    ) -> Result<Self, KeyError> {
        let mut selected = String::new();
        query::push_selected(&mut selected, query, plan);
        Self::new(scheme, host, path, selected.strip_prefix('?').unwrap_or_default())
    }

    /// `push_query` appends at most `most` bytes.
    pub(crate) fn build(
        scheme: Scheme,
        host: &str,
        path: &str,
        forwarded_host: Option<&str>,
        most: usize,
        push_query: impl FnOnce(&mut String),
    ) -> Self {
        let mut text = String::with_capacity(host.len() + path.len() + most);
        text.push_str(host);
        let host_end = text.len() as u32;
        text.push_str(path);
        let path_end = text.len() as u32;
        push_query(&mut text);
        let hash = seed().hash_one((scheme, &text, forwarded_host));
        Self {
            hash,
            scheme,
            text: text.into_boxed_str(),
            host_end,
            path_end,
            forwarded_host: forwarded_host.map(Box::from),
        }
    }

    /// The effective scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: lower case, without the scheme's own port or a trailing dot.
    pub fn host(&self) -> &str {
        &self.text[..self.host_end as usize]
    }

    /// The path as visited, in normal form.
    pub fn path(&self) -> &str {
        &self.text[self.host_end as usize..self.path_end as usize]
    }

    /// The query parameters that count, sorted by name; empty if there are none.
    pub fn query(&self) -> &str {
        let query = &self.text[self.path_end as usize..];
        query.strip_prefix('?').unwrap_or(query)
    }

    /// The forwarded host, where it is another one than the host.
    pub fn forwarded_host(&self) -> Option<&str> {
        self.forwarded_host.as_deref()
    }

    /// Path and query: what the app is asked.
    pub fn target(&self) -> &str {
        &self.text[self.host_end as usize..]
    }

    /// Its bytes in memory.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.forwarded_host.as_ref().map_or(0, |host| host.len())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.text)?;
        match &self.forwarded_host {
            Some(host) => write!(f, " for {host}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// A request that may be answered from the store.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Which page.
    pub key: Arc<Key>,
    /// The rule that holds for it.
    pub plan: Arc<Plan>,
    /// The visitor wants the head alone.
    pub head: bool,
    /// What else the visitor's request says of the answer's form.
    pub wants: Wants,
}

/// Which headers of a visitor's request choose among the forms of one page. Noted while the request is read, so that a
/// visitor who wants none of it costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// A condition on the page itself (`If-None-Match` and its kin).
    pub condition: bool,
    /// `Range`.
    pub range: bool,
    /// `Accept-Encoding`.
    pub coding: bool,
}

impl Lookup {
    /// The request whose answer all visitors of this key share, built from the key alone: `GET`, no body, the key's
    /// host, path and query, who was asked for and by which scheme, an own `User-Agent`, identity encoding.
    pub fn origin_request(&self) -> Request<()> {
        let key = &*self.key;
        let target = PathAndQuery::try_from(key.target()).expect("checked when the key was made");
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = Uri::from(target);
        let forwarded = key.forwarded_host().unwrap_or(key.host());
        let headers = request.headers_mut();
        headers.reserve(6);
        headers.insert(header::HOST, host_value(key.host()));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(X_FORWARDED_HOST, host_value(forwarded));
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(key.scheme().as_str()));
        request
    }

    /// The tags that the rule gives the page.
    pub fn tags(&self) -> RuleTags {
        self.plan.tags(self.key.path())
    }
}

fn host_value(host: &str) -> HeaderValue {
    HeaderValue::from_str(host).expect("checked when the key was made")
}

impl Routes {
    /// The look-up of a page that has a key already: how a page is fetched again without a visitor. `None` if no visit
    /// would come to this key any more, because of its path, its rule, or the parameters that count.
    pub fn revisit(&self, key: &Arc<Key>) -> Option<Lookup> {
        let plan = self.find(key.host(), key.path())?;
        let reachable = plan.passes().is_none() && query::is_selected(key.query(), plan);
        reachable.then(|| Lookup {
            key: key.clone(),
            plan: plan.clone(),
            head: false,
            wants: Wants::default(),
        })
    }
}

#[cfg(test)]
mod tests;
