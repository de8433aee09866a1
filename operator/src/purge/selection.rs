//! From the selectors that the user wrote to the selector of a line.

use coppice_api::{RevalidationRequestSpec, Strategy};
use coppice_cache::{hostname::Hostname, ledger, path, pattern::Pattern};

/// All selectors of a request together are at most this many bytes.
pub const MAX_SELECTOR_BYTES: usize = 8 << 10;
/// Pages carry no longer tags.
pub(super) const MAX_TAG_BYTES: usize = 256;

/// What a request selects, or everything that is wrong with it, each with its field.
pub fn selector(spec: &RevalidationRequestSpec) -> Result<ledger::Selector, Vec<String>> {
    let mut problems = Vec::new();
    let lists = [&spec.paths, &spec.patterns, &spec.tags, &spec.hostnames];
    let bytes: usize = lists.iter().flat_map(|list| list.iter()).map(String::len).sum();
    if bytes > MAX_SELECTOR_BYTES {
        problems.push(format!(
            "spec: the selectors are {bytes} bytes together, at most {MAX_SELECTOR_BYTES} are allowed: split the request, or select by tag or pattern"
        ));
    }
    let named = !(spec.paths.is_empty() && spec.patterns.is_empty() && spec.tags.is_empty());
    if spec.everything && named {
        problems
            .push("everything: it stands alone: remove paths, patterns and tags, or everything".to_owned());
    }
    if !spec.everything && !named {
        problems.push(
            "spec: nothing is selected: name paths, patterns or tags, or say everything: true".to_owned(),
        );
    }
    for (position, path) in spec.paths.iter().enumerate() {
        if let Err(error) = path::check(path) {
            problems.push(format!(
                "paths[{position}]: no visited page has the path {path:?}: {error}"
            ));
        }
    }
    for (position, pattern) in spec.patterns.iter().enumerate() {
        if let Err(error) = Pattern::parse(pattern) {
            problems.push(format!(
                "patterns[{position}]: {pattern:?} is no path pattern: {error}"
            ));
        }
    }
    for (position, host) in spec.hostnames.iter().enumerate() {
        if let Err(error) = Hostname::parse(&host.to_ascii_lowercase()) {
            problems.push(format!("hostnames[{position}]: {host:?} is no hostname: {error}"));
        }
    }
    for (position, tag) in spec.tags.iter().enumerate() {
        if tag.is_empty() || tag.len() > MAX_TAG_BYTES {
            problems.push(format!("tags[{position}]: a tag has 1 to {MAX_TAG_BYTES} bytes"));
        }
    }
    if problems.is_empty() {
        Ok(ledger::Selector {
            route: spec.route_ref.as_ref().map(|route| route.name.clone()),
            hostnames: spec
                .hostnames
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            paths: spec.paths.clone(),
            patterns: spec.patterns.clone(),
            tags: spec.tags.clone(),
            everything: spec.everything,
        })
    } else {
        Err(problems)
    }
}

/// The strategy of a line.
pub(super) const fn strategy(strategy: Strategy) -> ledger::Strategy {
    match strategy {
        Strategy::Refresh => ledger::Strategy::Refresh,
        Strategy::Expire => ledger::Strategy::Expire,
        Strategy::Delete => ledger::Strategy::Delete,
    }
}
