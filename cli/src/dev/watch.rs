//! When to read the manifests again.
//!
//! Editors save in many ways: they write in place, truncate first, or write another file and rename it over the old
//! one. So it is the folders that are watched, and whatever happens in them, all manifests are read again once it has
//! been quiet for a moment; reading them unchanged costs little and changes nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{Config, Event, EventKind, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{sync::mpsc, time::Instant};

/// After this long without another event, a save is complete.
const QUIET: Duration = Duration::from_millis(80);
/// A manifest that became empty or vanished is believed after this long: some editors take their time between
/// truncating or removing a file and writing it.
const VANISHED: Duration = Duration::from_millis(400);
/// How often files are looked at where the system cannot tell of changes.
const POLL: Duration = Duration::from_secs(1);

/// The files cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("failed to watch {path}: {source}", path = path.display())]
pub(super) struct WatchError {
    path: PathBuf,
    source: notify::Error,
}

/// Watches manifests.
pub(super) struct Watch {
    events: mpsc::Receiver<()>,
    paths: Vec<PathBuf>,
    /// Events end when it is dropped.
    _watcher: Box<dyn Watcher + Send>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches files and folders.
    pub(super) fn start(paths: &[PathBuf]) -> Result<Self, WatchError> {
        let (events, receiver) = mpsc::channel(1);
        let told = move |event: notify::Result<Event>| {
            // Reading the files is an event too; an error may stand for any.
            if event.map_or(true, |e| !matches!(e.kind, EventKind::Access(_))) {
                // One that waits is enough.
                let _ = events.try_send(());
            }
        };
        let folders: BTreeSet<PathBuf> = paths.iter().map(|path| folder_of(path)).collect();
        let watch = |watcher: &mut dyn Watcher| {
            folders.iter().try_for_each(|path| {
                watcher
                    .watch(path, RecursiveMode::NonRecursive)
                    .map_err(|source| WatchError {
                        path: path.clone(),
                        source,
                    })
            })
        };
        let recommended = RecommendedWatcher::new(told.clone(), Config::default())
            .ok()
            .and_then(|mut watcher| watch(&mut watcher).ok().map(|()| watcher));
        let watcher: Box<dyn Watcher + Send> = if let Some(watcher) = recommended {
            Box::new(watcher)
        } else {
            // Out of inotify watches, or a file system that has none.
            let config = Config::default()
                .with_poll_interval(POLL)
                .with_compare_contents(true);
            let mut watcher = PollWatcher::new(told, config).map_err(|source| WatchError {
                path: PathBuf::new(),
                source,
            })?;
            watch(&mut watcher)?;
            Box::new(watcher)
        };
        Ok(Self {
            events: receiver,
            paths: paths.to_vec(),
            _watcher: watcher,
        })
    }

    /// Returns when something was saved and the saving is over.
    pub(super) async fn changed(&mut self) {
        if self.events.recv().await.is_none() {
            // The watcher is ours, so this does not happen; waiting for ever is the harmless answer.
            std::future::pending::<()>().await;
        }
        let mut believed = None;
        loop {
            let quiet = tokio::time::timeout(QUIET, self.events.recv()).await.is_err();
            if !quiet {
                continue;
            }
            if !self.paths.iter().any(|path| hollow(path)) {
                return;
            }
            let deadline = *believed.get_or_insert_with(|| Instant::now() + VANISHED);
            if Instant::now() >= deadline {
                return;
            }
        }
    }
}

/// A file that is empty or not there.
fn hollow(path: &Path) -> bool {
    if path.is_dir() {
        return std::fs::read_dir(path).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.metadata().is_ok_and(|m| m.is_file() && m.len() == 0))
        });
    }
    path.metadata().map_or(true, |m| m.len() == 0)
}

fn folder_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(watch: &mut Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(10), watch.changed())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn sees_how_editors_save() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "a: 1\n").unwrap();
        let mut watch = Watch::start(std::slice::from_ref(&file)).unwrap();

        std::fs::write(&file, "a: 2\n").unwrap();
        assert!(told(&mut watch).await, "written in place");

        let other = folder.path().join(".a.yaml.swp");
        std::fs::write(&other, "a: 3\n").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(told(&mut watch).await, "renamed over");

        std::fs::remove_file(&file).unwrap();
        assert!(told(&mut watch).await, "removed");

        std::fs::write(&file, "a: 4\n").unwrap();
        assert!(told(&mut watch).await, "there again");
    }

    #[tokio::test]
    async fn waits_for_a_truncated_file_to_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "a: 1\n").unwrap();
        let mut watch = Watch::start(&[folder.path().to_owned()]).unwrap();

        std::fs::write(&file, "").unwrap();
        let writer = {
            let file = file.clone();
            async move {
                tokio::time::sleep(QUIET * 2).await;
                std::fs::write(&file, "a: 2\n").unwrap();
            }
        };
        let reader = async {
            assert!(told(&mut watch).await);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "a: 2\n");
        };
        tokio::join!(writer, reader);
    }
}
