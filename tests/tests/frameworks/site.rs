//! The apps behind `coppice dev`, one session each, which the tests that run at the same time share.
//!
//! ```text
//! on(App, test) ──► Site::of(app): the session that runs, or a new one ──► test(&site)
//!                                                    └─ ends when the last test lets go of it
//! ```
//!
//! A test has a host of its own, and so pages, and purges that reach no other test's.

use std::{
    path::Path,
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use coppice_tests::visit::Answer;
use http::{Method, StatusCode};
use tokio::{runtime::Runtime, sync::Mutex, time::Instant};

use crate::{
    built,
    face::{ALL, Face, Page},
    laptop::{Laptop, Serving, wait},
};

/// No condition takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// The routes that the examples bring.
pub(crate) const NEXT: &str = include_str!("../../../examples/next/route.yaml");
const LOCALISED: &str = include_str!("../../../examples/next/localised/route.yaml");
const PYTHON: &str = include_str!("../../../examples/python/route.yaml");
const PYTHON_APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python/server.py");

/// Rows whose pages live for a second: the others have a minute, so that nothing but a purge makes them anew.
const BRIEF: [&str; 3] = ["interval", "failure", "not-found"];

/// An app of the examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum App {
    /// Both routers of Next.js.
    Next,
    /// The same, and purges get past Next.js's own cache with the token of its build.
    Token,
    /// Next.js's pages router with a base path and locales.
    Localised,
    /// Python's standard library.
    Python,
}

/// A session that serves an app.
pub(crate) struct Site {
    pub(crate) serving: Serving,
    /// Next.js's name of the build, which stands in the paths of data.
    pub(crate) build: String,
    purges: AtomicUsize,
}

/// Runs a test on the app's session.
pub(crate) fn on(app: App, test: impl AsyncFnOnce(&Site) -> Result<()>) -> Result<()> {
    // Tests have runtimes of their own, and what a session spawns must outlive the test that starts it.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));
    RUNTIME.block_on(async {
        let site = Site::of(app).await?;
        test(&site)
            .await
            .with_context(|| format!("it said:\n{}", site.serving.session.so_far()))
    })
}

impl Site {
    async fn of(app: App) -> Result<Arc<Self>> {
        static SITES: [Mutex<Weak<Site>>; 4] = [const { Mutex::const_new(Weak::new()) }; 4];
        let mut site = SITES[app as usize].lock().await;
        if let Some(running) = site.upgrade() {
            return Ok(running);
        }
        let new = Arc::new(Self::start(app).await?);
        *site = Arc::downgrade(&new);
        Ok(new)
    }

    async fn start(app: App) -> Result<Self> {
        let (route, brief) = (app.route(), brief(app));
        let mut files = vec![("route.yaml", route.as_str()), ("brief.yaml", brief.as_str())];
        let (serving, build) = match app {
            App::Next | App::Token | App::Localised => {
                let folder = built::built().await?.join(app.folder());
                let build = std::fs::read_to_string(folder.join(".next/BUILD_ID"))?;
                let secret = secret(&folder)?;
                if app == App::Token {
                    files.push(("secret.yaml", &secret));
                }
                (next(&files, app).await?, build)
            }
            App::Python => {
                let laptop = Laptop::of(&files)?.command(&["python3", PYTHON_APP]);
                (laptop.serve().await?, String::new())
            }
        };
        Ok(Self {
            serving,
            build,
            purges: AtomicUsize::new(0),
        })
    }

    /// The page of a row in one of its faces.
    pub(crate) fn page(&self, face: Face, row: &str) -> Page<'_> {
        Page::new(self, face, row)
    }

    /// What a visitor of a host gets.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Result<Answer> {
        self.ask(Method::GET, host, path, &[], "").await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer> {
        let headers: Vec<_> = headers.iter().copied().chain([("host", host)]).collect();
        self.serving.ask(method, path, &headers, body).await
    }

    /// Asks the app itself for what no rule caches.
    pub(crate) async fn post(&self, path: &str, json: &serde_json::Value) -> Result<serde_json::Value> {
        let headers = [("content-type", "application/json")];
        let answer = self
            .ask(Method::POST, "script.test", path, &headers, &json.to_string())
            .await?;
        ensure!(answer.status == StatusCode::OK, "{answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Purges of a host what a selector selects, and waits until that is done: the line that says how many pages.
    pub(crate) async fn purge(&self, host: &str, selector: &str) -> Result<()> {
        let name = format!("purge-{}", self.purges.fetch_add(1, Ordering::Relaxed));
        let request = format!(
            "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {{ name: {name} }}\n\
             spec: {{ hostnames: [{host}], {selector} }}\n"
        );
        self.serving.session.save(&format!("{name}.yaml"), &request)?;
        // Name, Acknowledged, Ready.
        let ready = |line: &str| {
            line.split_whitespace()
                .take(3)
                .eq([name.as_str(), "True", "True"])
        };
        wait(&format!("{selector} of {host} is purged"), async || {
            Ok(self.serving.session.so_far().lines().any(ready))
        })
        .await
    }
}

/// A session of Next.js with these manifests.
pub(crate) async fn next(files: &[(&str, &str)], app: App) -> Result<Serving> {
    let root = built::built().await?;
    let next = root.join("node_modules/.bin/next");
    Laptop::of(files)?
        .command(&[
            &next.to_string_lossy(),
            "start",
            // By its address, Next.js would take its proxy's rewrites for those to another server, and send them on.
            "--hostname",
            "localhost",
            &root.join(app.folder()).to_string_lossy(),
        ])
        .environment("NEXT_TELEMETRY_DISABLED", "1")
        .serve()
        .await
}

impl App {
    /// Below the folder of Next.js's example.
    const fn folder(self) -> &'static str {
        match self {
            Self::Localised => "localised",
            Self::Next | Self::Token | Self::Python => "",
        }
    }

    fn route(self) -> String {
        match self {
            Self::Next => NEXT.to_owned(),
            Self::Token => NEXT.replace(
                "  rules:\n",
                "  origin:\n    headers:\n      - name: x-prerender-revalidate\n        \
                 valueFrom: { secretKeyRef: { name: isr, key: bypass } }\n  rules:\n",
            ),
            Self::Localised => LOCALISED.to_owned(),
            Self::Python => PYTHON.to_owned(),
        }
    }
}

/// The Secret with the token of a build of Next.js.
fn secret(folder: &Path) -> Result<String> {
    let manifest = std::fs::read_to_string(folder.join(".next/prerender-manifest.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let token = manifest["preview"]["previewModeId"]
        .as_str()
        .context("no token")?;
    Ok(format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: isr, labels: {{ coppice.dev/allow-reference: \"true\" }} }}\n\
         stringData: {{ bypass: {token:?} }}\n"
    ))
}

/// A route for the rows whose pages are to live for a second. A literal path is more specific than the examples' patterns.
fn brief(app: App) -> String {
    let of_app = ALL.iter().filter(|face| face.app == app);
    let paths = of_app.flat_map(|face| BRIEF.map(|row| format!("{:?}", face.path(row))));
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    paths.dedup();
    // A rule needs a path.
    paths.push("\"/brief\"".to_owned());
    format!(
        "apiVersion: coppice.dev/v1alpha1\nkind: IsrRoute\nmetadata: {{ name: brief }}\nspec:\n  \
         podSelector: {{ matchLabels: {{ app: brief }} }}\n  rules:\n    - paths: [{}]\n      \
         revalidate: 1\n      negative: 1s\n      override: [no-store, private]\n",
        paths.join(", ")
    )
}

/// Looks until the answer is as wished, while each that is not must be allowed.
pub(crate) async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T>,
    wished: impl Fn(&T) -> Result<bool>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await?;
        if wished(&seen)? {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!("waited in vain until {what}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
