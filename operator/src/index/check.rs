//! What only the engine can judge: patterns, hostnames, tag templates. The sidecar checks the same again.

use coppice_cache::{
    config::{Config, Route},
    routes::{ConfigError, Routes, Shadowed},
};

/// Everything that the engine would refuse in this route, each with its field; else the paths that never hold because
/// another path of the route goes before them.
pub(super) fn alone(route: &Route) -> Result<Vec<Shadowed>, Vec<String>> {
    let config = Config {
        routes: vec![route.clone()],
    };
    match Routes::compile(&config) {
        Ok(routes) => Ok(routes.shadowed().to_vec()),
        Err(errors) => Err(errors.iter().map(|error| words(route, error)).collect()),
    }
}

/// The paths that never hold because another route of the same pods goes before them.
pub(super) fn conflicts(config: &Config) -> Vec<Shadowed> {
    match Routes::compile(config) {
        Ok(routes) => (routes.shadowed().iter())
            .filter(|shadowed| shadowed.loser.0 != shadowed.winner.0)
            .cloned()
            .collect(),
        Err(errors) => {
            // Each route compiled alone, and names are unique; the sidecars will refuse it and say so.
            tracing::error!(?errors, "routes that compile alone do not compile together");
            Vec::new()
        }
    }
}

fn words(route: &Route, error: &ConfigError) -> String {
    let ConfigError { field, problem, .. } = error;
    let position =
        (error.rule.as_ref()).and_then(|name| route.rules.iter().position(|rule| rule.name == *name));
    match position {
        Some(position) => format!("rules[{position}].{field}: {problem}"),
        None => format!("{field}: {problem}"),
    }
}
