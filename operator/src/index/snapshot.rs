//! What one pod must know, as one immutable value.

use coppice_cache::config::{Config, Route};

/// A complete configuration and its version. Pods that the same routes select share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Hash of the content.
    pub version: String,
    /// In order of precedence between equal patterns.
    pub config: Config,
}

impl Compiled {
    /// Gives a configuration its version.
    pub fn new(config: Config) -> Self {
        Self {
            version: coppice_wire::convert::version(&config),
            config,
        }
    }

    /// The route of this name, if it is part of it.
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.config.routes.iter().find(|route| route.name == name)
    }
}
