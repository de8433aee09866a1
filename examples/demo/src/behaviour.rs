//! Knobs for tests: how the app misbehaves, path by path. `README.md` describes them for users of the knobs.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// More paths than this cannot be scripted at a time.
const MAX_PATHS: usize = 256;

/// What `POST /_demo/behaviour` says of one path. Everything that is left out is as usual.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    /// The exact path, without query.
    pub(crate) path: String,
    /// Answer with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Wait this long before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<u64>,
    /// No answer until this path is scripted anew; the answer is then what the new script says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) hang: bool,
    /// Fall silent after this many bytes of the body, until this path is scripted anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stall_after: Option<usize>,
    /// Close the connection after this many bytes of the body; 0: before the status line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) close_after: Option<usize>,
    /// Set these header fields: a string, or several of them. Characters are sent as Latin-1 bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, Values>,
    /// Answer with this body in place of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    /// Pad the body to this many bytes (at most 64 MiB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pad_to: Option<usize>,
    /// Only the next so many answers; then as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u32>,
}

/// One value of a header field, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Values {
    One(String),
    Many(Vec<String>),
}

impl Behaviour {
    /// Says what is wrong with it, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err("`path` must start with a slash".to_owned());
        }
        if let Some(status) = self.status
            && StatusCode::from_u16(status).is_ok_and(|s| s.is_informational())
        {
            return Err(format!("`status` {status} is no final status"));
        }
        if self.status.is_some_and(|s| StatusCode::from_u16(s).is_err()) {
            return Err("`status` must be between 200 and 999".to_owned());
        }
        self.header_map().map(drop)
    }

    /// The header fields that it sets.
    pub(crate) fn header_map(&self) -> Result<HeaderMap, String> {
        let mut map = HeaderMap::new();
        for (name, values) in &self.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is no header name"))?;
            let values = match values {
                Values::One(value) => std::slice::from_ref(value),
                Values::Many(values) => values.as_slice(),
            };
            for value in values {
                map.append(name.clone(), latin1(value)?);
            }
        }
        Ok(map)
    }
}

/// A field value with one byte for each character, so that a test can send bytes that are not UTF-8.
fn latin1(text: &str) -> Result<HeaderValue, String> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    bytes
        .and_then(|b| HeaderValue::from_bytes(&b).ok())
        .ok_or_else(|| format!("{text:?} is no header value"))
}

/// All scripted paths. Requests that hang wait for a change of it.
#[derive(Debug)]
pub(crate) struct Behaviours {
    by_path: watch::Sender<BTreeMap<String, Behaviour>>,
}

impl Default for Behaviours {
    fn default() -> Self {
        Self {
            by_path: watch::Sender::new(BTreeMap::new()),
        }
    }
}

impl Behaviours {
    /// Scripts one path anew.
    pub(crate) fn set(&self, behaviour: Behaviour) -> Result<(), String> {
        behaviour.check()?;
        let full = {
            let paths = self.by_path.borrow();
            paths.len() >= MAX_PATHS && !paths.contains_key(&behaviour.path)
        };
        if full {
            return Err(format!("at most {MAX_PATHS} paths can be scripted"));
        }
        self.by_path.send_modify(|paths| {
            paths.insert(behaviour.path.clone(), behaviour);
        });
        Ok(())
    }

    /// Everything is as usual again.
    pub(crate) fn clear(&self) {
        self.by_path.send_modify(BTreeMap::clear);
    }

    pub(crate) fn all(&self) -> Vec<Behaviour> {
        self.by_path.borrow().values().cloned().collect()
    }

    /// How to answer this request: waits while the path hangs, then for the delay, and counts `times` down.
    pub(crate) async fn take(&self, path: &str) -> Behaviour {
        let mut changes = self.watch();
        // An error would mean that the sender is gone, which is ours.
        let _ = changes
            .wait_for(|paths| paths.get(path).is_none_or(|b| !b.hang || b.times == Some(0)))
            .await;
        let mut taken = Behaviour::default();
        self.by_path.send_if_modified(|paths| {
            let Some(behaviour) = paths.get_mut(path) else {
                return false;
            };
            // A script that has run out stays, without effect on new requests: a body that it stalled waits on.
            match &mut behaviour.times {
                Some(0) => return false,
                Some(times) => *times -= 1,
                None => {}
            }
            taken = behaviour.clone();
            false
        });
        if let Some(ms) = taken.delay_ms {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        taken
    }

    /// For a body that waits on its own after the request was answered.
    pub(crate) fn watch(&self) -> watch::Receiver<BTreeMap<String, Behaviour>> {
        self.by_path.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(path: &str) -> Behaviour {
        Behaviour {
            path: path.to_owned(),
            ..Behaviour::default()
        }
    }

    #[tokio::test]
    async fn times_run_out() {
        let all = Behaviours::default();
        let twice = Behaviour {
            status: Some(500),
            times: Some(2),
            ..on("/a")
        };
        all.set(twice).unwrap();
        assert_eq!(all.take("/b").await.status, None);
        assert_eq!(all.take("/a").await.status, Some(500));
        assert_eq!(all.take("/a").await.status, Some(500));
        assert_eq!(all.take("/a").await.status, None);
    }

    #[tokio::test]
    async fn hanging_ends_with_a_new_script() {
        let all = std::sync::Arc::new(Behaviours::default());
        all.set(Behaviour {
            hang: true,
            ..on("/a")
        })
        .unwrap();
        let waiting = tokio::spawn({
            let all = all.clone();
            async move { all.take("/a").await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let gone = Behaviour {
            status: Some(503),
            ..on("/a")
        };
        all.set(gone).unwrap();
        assert_eq!(waiting.await.unwrap().status, Some(503));
    }

    #[test]
    fn refuses_what_cannot_be_sent() {
        assert!(on("a").check().is_err());
        for status in [99, 100, 1000] {
            let odd = Behaviour {
                status: Some(status),
                ..on("/")
            };
            assert!(odd.check().is_err(), "{status}");
        }
        let mut headers = on("/");
        headers
            .headers
            .insert("x-latin".to_owned(), Values::One("caf\u{e9}".to_owned()));
        assert_eq!(headers.header_map().unwrap()["x-latin"].as_bytes(), b"caf\xe9");
        headers
            .headers
            .insert("x-wide".to_owned(), Values::One("\u{20ac}".to_owned()));
        assert!(headers.check().is_err());
    }
}
