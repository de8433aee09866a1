//! The production builds of `examples/next`, made once and kept in the user's cache folder.
//!
//! ```text
//! examples/next ──copy──► ~/.cache/coppice/next-<hash of the lock> ──npm ci──► node_modules ──next build──► .next, localised/.next
//! ```
//!
//! Nothing is written to the source tree. Installing needs the npm registry; building and running need no network.

use std::{
    ffi::OsStr,
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{process::Command, sync::OnceCell};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/next");
/// Says that `npm ci` went through.
const INSTALLED: &str = ".coppice-installed";
/// Says of which sources the build is.
const BUILT: &str = ".coppice-built";

/// The folder of the built apps.
pub(crate) async fn built() -> Result<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_try_init(build).await.cloned()
}

async fn build() -> Result<PathBuf> {
    let sources = Path::new(SOURCES);
    let lock = fs::read(sources.join("package-lock.json")).context("failed to read package-lock.json")?;
    let folder = cache()?.join(format!("next-{:016x}", hash([lock.as_slice()])));
    fs::create_dir_all(&folder)?;
    // Another run may be building the same; it is waited for.
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
    let version = format!("{:016x}", hash(names.chain(texts.iter().map(Vec::as_slice))));
    if fs::read_to_string(folder.join(BUILT)).is_ok_and(|built| built == version) {
        return Ok(folder);
    }

    let _ = fs::remove_file(folder.join(BUILT));
    // A file that is gone from the sources must not stay in the build.
    for old in fs::read_dir(&folder)? {
        let old = old?;
        let name = old.file_name();
        if name == "node_modules" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        if old.file_type()?.is_dir() {
            fs::remove_dir_all(old.path())?;
        } else {
            fs::remove_file(old.path())?;
        }
    }
    for file in &files {
        let to = folder.join(file);
        fs::create_dir_all(to.parent().unwrap_or(&folder))?;
        fs::copy(sources.join(file), to)?;
    }
    if !folder.join(INSTALLED).exists() {
        eprintln!("installing Next.js from npm into {} …", folder.display());
        run(
            &folder,
            "npm",
            &["ci", "--no-audit", "--no-fund", "--loglevel=error"],
        )
        .await?;
        fs::write(folder.join(INSTALLED), "")?;
    }
    let next = folder.join("node_modules/.bin/next");
    for app in [".", "localised"] {
        eprintln!("building examples/next/{app} …");
        run(&folder, &next, &["build", app]).await?;
    }
    fs::write(folder.join(BUILT), &version)?;
    drop(guard);
    Ok(folder)
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

/// The app's files, without what an install or a build in the tree may have left there.
fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if name == "node_modules" || name.to_string_lossy().starts_with('.') {
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

async fn run(folder: &Path, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<()> {
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
