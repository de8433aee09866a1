//! The files in place of the API server: read, checked, and compared with what was there before.
//!
//! ```text
//! paths ──scan──► texts ──load.rs──► objects of each file ──settle──► one set of objects ──diff──► Changes
//!                            │ broken: the file's former objects stay
//!                            └──► Problems: file, line, field, remedy
//! ```
//!
//! [`Manifests::reload`] is the one entry point, at the start and after each change of a file.

mod load;
mod problem;
mod secret;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
};

use coppice_api::{IsrRoute, RevalidationRequest, route::Scheme};
use coppice_operator::index::Secret;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

pub use problem::Problem;

use crate::check::Checker;
use load::{Loaded, Parsed};

/// Files of a folder that end in one of these are manifests.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// A larger file is no manifest.
const MAX_BYTES: u64 = 4 << 20;

/// A kind that is not Coppice's; `None`: a document that is no Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SkippedKind(pub Option<String>);

/// What a reload has found.
#[derive(Debug, Default)]
pub struct Changes {
    /// Routes that are new or have changed.
    pub routes: Vec<IsrRoute>,
    /// Names of routes that are gone.
    pub routes_gone: Vec<String>,
    /// Requests that are new or have changed.
    pub requests: Vec<RevalidationRequest>,
    /// Names of requests that are gone.
    pub requests_gone: Vec<String>,
    /// Secrets that are new or have changed.
    pub secrets: Vec<Secret>,
    /// Names of Secrets that are gone.
    pub secrets_gone: Vec<String>,
    /// Everything that is wrong, in the order of the files; what was in force of those files stays in force.
    pub problems: Vec<Problem>,
    /// Files that were broken and are not any more.
    pub mended: Vec<PathBuf>,
    /// Kinds that are skipped and were not before.
    pub skipped: BTreeSet<SkippedKind>,
    /// Objects of other namespaces are left out, now for the first time: how many.
    pub foreign: usize,
}

impl Changes {
    /// Did any object appear, change or go?
    pub fn any(&self) -> bool {
        !(self.routes.is_empty()
            && self.routes_gone.is_empty()
            && self.requests.is_empty()
            && self.requests_gone.is_empty()
            && self.secrets.is_empty()
            && self.secrets_gone.is_empty())
    }
}

/// All manifests.
#[derive(Debug)]
pub struct Manifests {
    paths: Vec<PathBuf>,
    checker: Checker,
    /// The namespace that counts; settled by the first reload that succeeds.
    namespace: Option<String>,
    asked_for: bool,
    started: Timestamp,
    files: BTreeMap<PathBuf, File>,
    routes: BTreeMap<String, IsrRoute>,
    requests: BTreeMap<String, RevalidationRequest>,
    secrets: BTreeMap<String, Secret>,
    skipped: BTreeSet<SkippedKind>,
    foreign_said: bool,
}

/// One file.
#[derive(Default)]
struct File {
    text: String,
    /// What it said when it was last whole.
    loaded: Loaded,
    broken: bool,
}

impl fmt::Debug for File {
    /// Without its text, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("loaded", &self.loaded)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// The objects of all files, by name.
#[derive(Debug, Default)]
struct Settled {
    routes: BTreeMap<String, IsrRoute>,
    requests: BTreeMap<String, RevalidationRequest>,
    secrets: BTreeMap<String, Secret>,
    foreign: usize,
}

impl Manifests {
    /// Manifests at these paths, none read yet.
    pub fn new(paths: Vec<PathBuf>, namespace: Option<String>) -> Self {
        Self {
            paths,
            checker: Checker::new(),
            asked_for: namespace.is_some(),
            namespace,
            started: Timestamp::now(),
            files: BTreeMap::new(),
            routes: BTreeMap::new(),
            requests: BTreeMap::new(),
            secrets: BTreeMap::new(),
            skipped: BTreeSet::new(),
            foreign_said: false,
        }
    }

    /// The namespace that counts.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// The first path that was given.
    pub fn first_path(&self) -> &Path {
        self.paths.first().map_or(Path::new("."), PathBuf::as_path)
    }

    /// The routes in force, by name.
    pub fn routes(&self) -> impl Iterator<Item = &IsrRoute> {
        self.routes.values()
    }

    /// Reads all files anew and says what has changed. Where `strict`, as at the start, any problem leaves everything
    /// as it was.
    pub fn reload(&mut self, now: Timestamp, strict: bool) -> Changes {
        let mut changes = Changes::default();
        let texts = self.scan(strict, &mut changes.problems);
        for (path, text) in &texts {
            self.read(path, text, &mut changes);
        }
        self.files.retain(|path, _| texts.contains_key(path));
        if strict && !changes.problems.is_empty() {
            self.files.clear();
            return changes;
        }
        // The order of the command line, and within a folder of the names.
        let order: Vec<PathBuf> = texts.into_keys().collect();
        let before = changes.problems.len();
        let settled = self.settle(&order, &mut changes.problems);
        if changes.problems.len() > before {
            if strict {
                self.files.clear();
            }
            return changes;
        }
        if settled.foreign > 0 && !self.foreign_said {
            self.foreign_said = true;
            changes.foreign = settled.foreign;
        }
        self.diff(settled, now, &mut changes);
        changes
    }

    fn read(&mut self, path: &Path, text: &str, changes: &mut Changes) {
        let file = self.files.entry(path.to_owned()).or_default();
        if file.text == text {
            return;
        }
        text.clone_into(&mut file.text);
        match load::load(path, text, &self.checker) {
            Ok(loaded) => {
                for kind in &loaded.skipped {
                    if self.skipped.insert(kind.clone()) {
                        changes.skipped.insert(kind.clone());
                    }
                }
                if std::mem::take(&mut file.broken) {
                    changes.mended.push(path.to_owned());
                }
                file.loaded = loaded;
            }
            Err(problems) => {
                file.broken = true;
                changes.problems.extend(problems);
            }
        }
    }

    /// The texts of all manifests. A file that is gone is a problem at the start only: later, its objects go with it.
    fn scan(&self, strict: bool, problems: &mut Vec<Problem>) -> Texts {
        let mut texts = Texts::default();
        for path in &self.paths {
            let files = if path.is_dir() {
                folder(path)
            } else {
                Ok(vec![path.clone()])
            };
            let files = match files {
                Ok(files) => files,
                Err(error) => {
                    problems.push(Problem::of_file(
                        path,
                        format!("failed to read the folder: {error}"),
                        None,
                    ));
                    continue;
                }
            };
            for file in files {
                match read(&file) {
                    Ok(text) => texts.add(file, text),
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !strict => {}
                    Err(error) => {
                        let remedy = "give the path of a manifest, or of a folder with manifests";
                        let words = format!("failed to read it: {error}");
                        problems.push(Problem::of_file(&file, words, Some(remedy)));
                        if let Some(known) = self.files.get(&file) {
                            texts.add(file, known.text.clone());
                        }
                    }
                }
            }
        }
        texts
    }

    /// One set of objects of all files. Objects of the same name, or of several namespaces, are problems.
    fn settle(&mut self, order: &[PathBuf], problems: &mut Vec<Problem>) -> Settled {
        let mut namespaces: BTreeMap<&str, (&Path, &load::Object)> = BTreeMap::new();
        for (path, object) in self.objects(order) {
            if let Some(namespace) = &object.namespace {
                namespaces.entry(namespace).or_insert((path, object));
            }
        }
        if !self.asked_for && self.namespace.is_none() && namespaces.len() > 1 {
            let all: Vec<_> = namespaces.keys().copied().collect();
            let remedy = format!("choose one with --namespace: {}", all.join(", "));
            for (path, object) in namespaces.values() {
                let words =
                    "metadata.namespace: the manifests name several namespaces, and one is served at a time";
                let place = object.namespace_place;
                problems.push(self.at(path, object, place, words.to_owned(), Some(remedy.clone())));
            }
            return Settled::default();
        }
        let only = namespaces.keys().next().map(|n| (*n).to_owned());
        let namespace = self
            .namespace
            .clone()
            .or(only)
            .unwrap_or_else(|| "default".to_owned());

        let mut settled = Settled::default();
        let mut seen: BTreeMap<(&str, String), (PathBuf, usize)> = BTreeMap::new();
        let mut found = Vec::new();
        let mut order_of_routes = 0;
        for (path, object) in self.objects(order) {
            if object.namespace.as_ref().is_some_and(|n| *n != namespace) {
                if !self.asked_for {
                    let words =
                        format!("metadata.namespace: this session serves the namespace {namespace:?} only");
                    let remedy = "leave the namespace out, or start another session with --namespace";
                    let place = object.namespace_place;
                    found.push(self.at(path, object, place, words, Some(remedy.to_owned())));
                }
                settled.foreign += 1;
                continue;
            }
            let (kind, name) = match &object.value {
                Parsed::Route(route) => ("IsrRoute", route.metadata.name.clone().unwrap_or_default()),
                Parsed::Request(request) => {
                    ("RevalidationRequest", self.name_of(path, object, request, order))
                }
                Parsed::Secret(secret) => ("Secret", secret.name.clone()),
            };
            let first = seen.get(&(kind, name.clone()));
            if let Some((other, line)) = first {
                let words = format!(
                    "metadata.name: {kind} {name:?} is there already, in {}:{line}",
                    other.display()
                );
                let remedy = "rename one, or remove it".to_owned();
                found.push(self.at(path, object, object.place, words, Some(remedy)));
                continue;
            }
            seen.insert((kind, name.clone()), (path.to_owned(), object.place.line));
            match &object.value {
                Parsed::Route(route) => {
                    let mut route = (**route).clone();
                    // The older route wins a path that two claim; here, the one that was read first.
                    let created = self.started + SignedDuration::from_nanos(order_of_routes);
                    order_of_routes += 1;
                    complete(&mut route.metadata, kind, &namespace, &name, created);
                    // No proxy with a certificate stands before a laptop.
                    let origin = route.spec.origin.get_or_insert_default();
                    origin.scheme.get_or_insert(Scheme::Http);
                    settled.routes.insert(name, route);
                }
                Parsed::Request(request) => {
                    let mut request = (**request).clone();
                    complete(&mut request.metadata, kind, &namespace, &name, self.started);
                    settled.requests.insert(name, request);
                }
                Parsed::Secret(secret) => {
                    let mut secret = (**secret).clone();
                    secret.namespace.clone_from(&namespace);
                    settled.secrets.insert(name, secret);
                }
            }
        }
        problems.extend(found);
        self.namespace = Some(namespace);
        settled
    }

    fn objects<'a>(&'a self, order: &'a [PathBuf]) -> impl Iterator<Item = (&'a Path, &'a load::Object)> {
        order
            .iter()
            .filter_map(|path| Some((path.as_path(), self.files.get(path)?)))
            .flat_map(|(path, file)| file.loaded.objects.iter().map(move |object| (path, object)))
    }

    /// The name of a request; with `generateName`, its file and position stand for what an API server would append.
    fn name_of(
        &self,
        path: &Path,
        object: &load::Object,
        request: &RevalidationRequest,
        order: &[PathBuf],
    ) -> String {
        if let Some(name) = request.metadata.name.clone().filter(|n| !n.is_empty()) {
            return name;
        }
        let prefix = request.metadata.generate_name.clone().unwrap_or_default();
        let stem = path.file_stem().map(|s| s.to_string_lossy().to_lowercase());
        let stem: String = stem
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let position = self
            .objects(order)
            .filter(|(p, o)| *p == path && matches!(o.value, Parsed::Request(_)) && o.place < object.place)
            .count();
        format!("{prefix}{}-{}", stem.trim_matches('-'), position + 1)
    }

    fn at(
        &self,
        path: &Path,
        object: &load::Object,
        place: crate::yaml::Place,
        words: String,
        remedy: Option<String>,
    ) -> Problem {
        let text = self.files.get(path).map(|f| f.text.as_str()).unwrap_or_default();
        let problem = Problem {
            file: path.to_owned(),
            place: Some(place),
            words,
            remedy,
            line: text.lines().nth(place.line.saturating_sub(1)).map(str::to_owned),
        };
        if object.is_secret() {
            problem.discreet()
        } else {
            problem
        }
    }

    /// What differs from before. An object that stays keeps its age; its generation counts the changes of its spec.
    fn diff(&mut self, mut settled: Settled, now: Timestamp, changes: &mut Changes) {
        for (name, route) in &mut settled.routes {
            let old = self.routes.get(name);
            route.metadata.generation = Some(generation(old.map(|o| (&o.metadata, o.spec == route.spec))));
            if old != Some(route) {
                changes.routes.push(route.clone());
            }
        }
        for (name, request) in &mut settled.requests {
            let old = self.requests.get(name);
            request.metadata.generation =
                Some(generation(old.map(|o| (&o.metadata, o.spec == request.spec))));
            let created = old.and_then(|o| o.metadata.creation_timestamp.clone());
            request.metadata.creation_timestamp = Some(created.unwrap_or(Time(now)));
            if old != Some(request) {
                changes.requests.push(request.clone());
            }
        }
        for (name, secret) in &settled.secrets {
            if self.secrets.get(name) != Some(secret) {
                changes.secrets.push(secret.clone());
            }
        }
        changes.secrets_gone = gone(&self.secrets, &settled.secrets);
        self.secrets = settled.secrets;
        changes.routes_gone = gone(&self.routes, &settled.routes);
        changes.requests_gone = gone(&self.requests, &settled.requests);
        self.routes = settled.routes;
        self.requests = settled.requests;
    }
}

fn gone<T>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Vec<String> {
    old.keys()
        .filter(|name| !new.contains_key(*name))
        .cloned()
        .collect()
}

fn generation(old: Option<(&ObjectMeta, bool)>) -> i64 {
    match old {
        Some((meta, same)) => meta.generation.unwrap_or(1) + i64::from(!same),
        None => 1,
    }
}

/// Fills in what an API server would.
fn complete(meta: &mut ObjectMeta, kind: &str, namespace: &str, name: &str, created: Timestamp) {
    meta.name = Some(name.to_owned());
    meta.namespace = Some(namespace.to_owned());
    meta.uid = Some(format!("{kind}/{namespace}/{name}"));
    meta.creation_timestamp = Some(Time(created));
    meta.resource_version = None;
}

/// Texts in the order in which they were found, each path once.
#[derive(Debug, Default)]
struct Texts(Vec<(PathBuf, String)>);

impl Texts {
    fn add(&mut self, path: PathBuf, text: String) {
        if !self.contains_key(&path) {
            self.0.push((path, text));
        }
    }

    fn contains_key(&self, path: &Path) -> bool {
        self.0.iter().any(|(p, _)| p == path)
    }

    fn into_keys(self) -> impl Iterator<Item = PathBuf> {
        self.0.into_iter().map(|(path, _)| path)
    }
}

impl<'a> IntoIterator for &'a Texts {
    type Item = &'a (PathBuf, String);
    type IntoIter = std::slice::Iter<'a, (PathBuf, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The manifests of a folder, by name. Files that editors and tools hide are none.
fn folder(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file
            .file_name()
            .is_none_or(|n| n.to_string_lossy().starts_with('.'));
        let manifest = file
            .extension()
            .is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)));
        if manifest && !hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<String> {
    if path.metadata()?.len() > MAX_BYTES {
        return Err(io::Error::other("it is larger than 4 MiB, so it is no manifest"));
    }
    let bytes = std::fs::read(path)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

#[cfg(test)]
mod tests;
