//! The production build of `examples/next`, in the user's cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::paths::Paths;
use crate::process;
use crate::tools;

/// Says of which sources the build is.
const BUILT: &str = ".coppice-built";

/// The folder of the built app. Installing needs the npm registry, once.
pub(super) fn built(paths: &Paths) -> Result<PathBuf> {
    let sources = paths.root.join("examples/next");
    let folder = paths.cache.join("bench-next");
    fs::create_dir_all(&folder)?;
    let _lock = tools::lock(
        &folder.join(".coppice-lock"),
        "another cargo xtask builds examples/next",
    )?;
    let mut files = Vec::new();
    list(&sources, Path::new(""), &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update(fs::read(sources.join(file))?);
    }
    let version = tools::hex(&hash.finalize()[..8]);
    if fs::read_to_string(folder.join(BUILT)).is_ok_and(|built| built == version) {
        return Ok(folder);
    }
    for file in &files {
        let to = folder.join(file);
        fs::create_dir_all(to.parent().unwrap_or(&folder))?;
        fs::copy(sources.join(file), to)?;
    }
    eprintln!("  installing Next.js and building examples/next, once");
    let mut install = process::command("npm");
    install
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder);
    process::quiet("npm ci", &mut install).context("is Node.js 20.9 or newer installed?")?;
    let mut build = process::command("npx");
    build.args(["next", "build"]).current_dir(&folder);
    build.env("NEXT_TELEMETRY_DISABLED", "1").env("CI", "1");
    process::quiet("next build", &mut build)?;
    fs::write(folder.join(BUILT), version)?;
    Ok(folder)
}

/// The app's files, without what an install or a build in the tree may have left there.
fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let name = entry?.file_name();
        if name == "node_modules" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        let path = folder.join(name);
        if root.join(&path).is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
