//! Node projects of this repository, with their packages: copied to the user's cache folder and installed there once.
//!
//! ```text
//! sources ──copy──► ~/.cache/coppice/<name>-<hash of the lock> ──npm ci──► node_modules
//! ```
//!
//! Nothing is written to the source tree. Installing needs the npm registry; whatever comes after needs no network.

use std::{
    ffi::OsStr,
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// Says that `npm ci` went through.
const INSTALLED: &str = ".coppice-installed";
/// Says of which sources the copy is.
const COPIED: &str = ".coppice-copied";
/// Says of which sources the build is.
const BUILT: &str = ".coppice-built";

/// A project with its packages. Others who want the same one wait until it is dropped.
#[derive(Debug)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// Changes whenever a file of the sources does.
    version: String,
    _lock: File,
}

impl Project {
    /// The project with these sources, a `package-lock.json` among them.
    pub async fn of(name: &str, sources: &Path) -> Result<Self> {
        let lock = fs::read(sources.join("package-lock.json")).context("failed to read package-lock.json")?;
        let folder = cache()?.join(format!("{name}-{:016x}", hash([lock.as_slice()])));
        fs::create_dir_all(&folder)?;
        // Another run may be at the same; it is waited for.
        let guard = File::create(folder.join(".coppice-lock"))?;
        let guard = tokio::task::spawn_blocking(move || guard.lock().map(|()| guard)).await??;

        let mut files = Vec::new();
        list(sources, sources, &mut files)?;
        files.sort();
        let texts = files
            .iter()
            .map(|file| fs::read(sources.join(file)))
            .collect::<Result<Vec<_>, _>>()?;
        let names = files.iter().map(|file| file.as_os_str().as_encoded_bytes());
        let project = Self {
            version: format!("{:016x}", hash(names.chain(texts.iter().map(Vec::as_slice)))),
            folder,
            _lock: guard,
        };
        if !project.is(COPIED) {
            // Copying takes what was built below a folder of the sources with it.
            let _ = fs::remove_file(project.folder.join(BUILT));
            project.copy(sources, &files)?;
            project.note(COPIED)?;
        }
        if !project.folder.join(INSTALLED).exists() {
            eprintln!("installing packages from npm into {} …", project.folder.display());
            let arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
            run(&project.folder, "npm", &arguments).await?;
            fs::write(project.folder.join(INSTALLED), "")?;
        }
        Ok(project)
    }

    /// Builds it, unless what is built is of these sources.
    pub async fn build(&self, build: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<()> {
        if self.is(BUILT) {
            return Ok(());
        }
        let _ = fs::remove_file(self.folder.join(BUILT));
        build(&self.folder).await?;
        self.note(BUILT)
    }

    fn is(&self, mark: &str) -> bool {
        fs::read_to_string(self.folder.join(mark)).is_ok_and(|version| version == self.version)
    }

    fn note(&self, mark: &str) -> Result<()> {
        Ok(fs::write(self.folder.join(mark), &self.version)?)
    }

    fn copy(&self, sources: &Path, files: &[PathBuf]) -> Result<()> {
        // A file that is gone from the sources must not stay in the copy.
        for old in fs::read_dir(&self.folder)? {
            let old = old?;
            if is_made(&old.file_name()) {
                continue;
            }
            if old.file_type()?.is_dir() {
                fs::remove_dir_all(old.path())?;
            } else {
                fs::remove_file(old.path())?;
            }
        }
        for file in files {
            let to = self.folder.join(file);
            fs::create_dir_all(to.parent().unwrap_or(&self.folder))?;
            fs::copy(sources.join(file), to)?;
        }
        Ok(())
    }
}

/// `${XDG_CACHE_HOME:-~/.cache}/coppice`.
fn cache() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("coppice"))
}

/// What an install or a build leaves in a project's folder.
fn is_made(name: &OsStr) -> bool {
    name == "node_modules" || name.to_string_lossy().starts_with('.')
}

/// The project's files, without what an install or a build in the tree may have left there.
fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_made(path.file_name().unwrap_or_default()) {
            continue;
        }
        if path.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path.strip_prefix(root)?.to_owned());
        }
    }
    Ok(())
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        part.hash(&mut hasher);
    }
    hasher.finish()
}

/// Runs a command in a folder; what it printed is in the error if it fails.
pub async fn run(folder: &Path, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<()> {
    let program = program.as_ref();
    let what = format!("{} {}", Path::new(program).display(), arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("NEXT_TELEMETRY_DISABLED", "1")
        .env("CI", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("failed to start `{what}`: is Node.js 20.9 or newer installed?"))?;
    ensure!(
        output.status.success(),
        "`{what}` failed in {}:\n{}{}",
        folder.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
