//! One namespace: which route concerns which pod, and what each pod must know of them.

use std::{collections::BTreeSet, sync::Arc};

use coppice_cache::config::Config;

use super::{Compiled, Conflict, Namespace, Secrets, Selecting, check, compile};

impl Namespace {
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty()
            && self.routes.is_empty()
            && self.pods.is_empty()
            && self.services.is_empty()
            && self.secrets.is_empty()
    }

    /// What references are resolved with.
    pub(super) fn secrets(&self, watched: bool) -> Secrets<'_> {
        if watched {
            Secrets::Known(&self.secrets)
        } else {
            Secrets::Unwatched
        }
    }

    /// Compiles a route of which no word has changed with what it refers to now; true: that makes a difference. Where a
    /// reference leads nowhere any more, what was in force stays so, with the values that it had.
    pub(super) fn recompile(&mut self, name: &str, watched: bool) -> bool {
        let Some(entry) = self.routes.get(name) else {
            return false;
        };
        let verdict = compile::compile(name, &entry.spec, self.secrets(watched));
        let Some(entry) = self.routes.get_mut(name).filter(|entry| entry.verdict != verdict) else {
            return false;
        };
        if let Some(compiled) = &verdict.compiled {
            entry.in_force = Some((entry.generation, compiled.clone()));
        }
        entry.verdict = verdict;
        true
    }

    /// One route has changed: whom does it concern now, and what must they know? Returns all routes of those pods.
    pub(super) fn select_route(&mut self, selecting: Selecting, name: &str) -> BTreeSet<String> {
        self.groups.retain(|routes, _| !routes.contains(name));
        let mut routes = self.forget_conflicts();
        let mut touched = Vec::new();
        for (pod_name, entry) in &mut self.pods {
            let selected = (self.routes.get(name)).is_some_and(|route| route.selects(selecting, &entry.pod));
            let was = if selected {
                !entry.routes.insert(name.to_owned())
            } else {
                entry.routes.remove(name)
            };
            if selected || was {
                touched.push(pod_name.clone());
            }
        }
        for pod in &touched {
            self.publish(pod);
            routes.extend(self.pods[pod].routes.iter().cloned());
        }
        self.groups.retain(|_, compiled| Arc::strong_count(compiled) > 1);
        routes
    }

    /// One pod has changed: which routes concern it now? Returns those and the ones that did before.
    pub(super) fn select_pod(&mut self, selecting: Selecting, name: &str) -> BTreeSet<String> {
        let Some(entry) = self.pods.get_mut(name) else {
            return BTreeSet::new();
        };
        let selected = (self.routes.iter())
            .filter(|(_, route)| route.selects(selecting, &entry.pod))
            .map(|(name, _)| name.clone())
            .collect();
        let mut routes = std::mem::replace(&mut entry.routes, selected);
        routes.extend(entry.routes.iter().cloned());
        self.publish(name);
        routes
    }

    /// Tells a pod's channel what the pod must know, if that is something else than before.
    fn publish(&mut self, pod: &str) {
        let Some(entry) = self.pods.get(pod) else {
            return;
        };
        let compiled = if let Some(compiled) = self.groups.get(&entry.routes) {
            compiled.clone()
        } else {
            let routes = entry.routes.clone();
            let compiled = Arc::new(self.compile(&routes));
            self.groups.retain(|_, compiled| Arc::strong_count(compiled) > 1);
            self.groups.insert(routes, compiled.clone());
            compiled
        };
        if let Some(entry) = self.pods.get_mut(pod) {
            entry.config.send_if_modified(|current| {
                let differs = current.version != compiled.version;
                if differs {
                    *current = compiled;
                }
                differs
            });
        }
    }

    /// The configuration of the pods that exactly these routes select, and the conflicts in it.
    fn compile(&mut self, names: &BTreeSet<String>) -> Compiled {
        let mut routes: Vec<_> = (names.iter())
            .filter_map(|name| self.routes.get(name).map(|entry| (name, entry)))
            .collect();
        routes.sort_by_key(|(name, entry)| entry.precedence(name));
        let config = Config {
            routes: (routes.iter())
                .filter_map(|(_, entry)| entry.route().cloned())
                .collect(),
        };
        for shadowed in check::conflicts(&config) {
            let (loser, winner) = (shadowed.loser.0.to_string(), shadowed.winner.0.to_string());
            let generation = |name| {
                self.routes
                    .get(name)
                    .map(|entry| entry.generation)
                    .unwrap_or_default()
            };
            let conflict = Conflict {
                generations: (generation(&loser), generation(&winner)),
                path: shadowed.path,
                hostname: shadowed.hostname,
            };
            self.conflicts.entry((loser, winner)).or_insert(conflict);
        }
        Compiled::new(config)
    }

    /// Forgets conflicts of which one side has changed or gone; returns those who had lost.
    fn forget_conflicts(&mut self) -> BTreeSet<String> {
        let routes = &self.routes;
        let generation = |name: &String| routes.get(name).map(|entry| entry.generation);
        let mut losers = BTreeSet::new();
        self.conflicts.retain(|(loser, winner), conflict| {
            let stands = generation(loser) == Some(conflict.generations.0)
                && generation(winner) == Some(conflict.generations.1);
            if !stands {
                losers.insert(loser.clone());
            }
            stands
        });
        losers
    }
}
