//! The profile that guides the compiler: an instrumented `coppice` counts what it runs through while the visitors of
//! `bench/training.rs` ask it, and its counts are merged into one file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::{Profile, compile};
use crate::bench;
use crate::paths::{Paths, Workspace};
use crate::process;
use crate::tools::{self, system};

/// The folder, beside cargo's other ones, of what is built with a profile.
pub(super) const TRAINED: &str = "trained";
/// The folder of the instrumented build and of its profile.
const TRAINING: &str = "training";

/// The profile of this source: the one of an earlier run where nothing that it depends on has changed.
pub(super) fn trained(paths: &Paths, workspace: &Workspace) -> Result<PathBuf> {
    let tool = system::ensure_training()?;
    let folder = workspace.target.join(TRAINING);
    let counts = folder.join("counts");
    eprintln!("  building what a profile is made with");
    let flag = format!("-Cprofile-generate={}", counts.display());
    let programs = compile(paths, &folder, Profile::Dist, &["--bin=coppice"], Some(flag))?;
    let program = programs.join("coppice");
    let content = fs::read(&program).with_context(|| format!("failed to read {}", program.display()))?;
    let mut digest = Sha256::new_with_prefix(content);
    for text in bench::TRAINING {
        digest.update(text);
    }
    let profile = named(&folder, digest);
    if profile.is_file() {
        return Ok(profile);
    }
    eprintln!("  training, for half a minute");
    let _ = fs::remove_dir_all(&counts);
    bench::train(&programs, &folder.join("site"))?;
    forget(workspace, &folder);
    merge(&tool, &counts, &profile)?;
    Ok(profile)
}

/// A profile that was trained before, kept where the others are.
pub(super) fn given(workspace: &Workspace, file: &Path) -> Result<PathBuf> {
    let content = fs::read(file).with_context(|| format!("failed to read the profile {}", file.display()))?;
    let folder = workspace.target.join(TRAINING);
    fs::create_dir_all(&folder)?;
    let profile = named(&folder, Sha256::new_with_prefix(&content));
    if !profile.is_file() {
        forget(workspace, &folder);
        fs::write(&profile, content)?;
    }
    Ok(profile)
}

/// Cargo builds anew for other flags, not for another file of the same name.
fn named(folder: &Path, digest: Sha256) -> PathBuf {
    let name = tools::hex(&digest.finalize()[..8]);
    folder.join(format!("{name}.profdata"))
}

/// Removes profiles of other sources, and what was built with them.
fn forget(workspace: &Workspace, folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|name| name == "profdata") {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir_all(workspace.target.join(TRAINED));
}

/// Makes one profile of what all runs counted.
fn merge(tool: &Path, counts: &Path, profile: &Path) -> Result<()> {
    let counted = fs::read_dir(counts).is_ok_and(|mut files| files.next().is_some());
    ensure!(
        counted,
        "the instrumented program wrote no counts to {}: it did not end by itself",
        counts.display()
    );
    let unfinished = profile.with_extension("unfinished");
    let mut merge = process::command(tool);
    merge.arg("merge").arg("--output").arg(&unfinished).arg(counts);
    process::capture(&mut merge).with_context(|| {
        format!(
            "{} cannot read what this compiler counts; one of the compiler's own version can: rustup component add \
             llvm-tools",
            tool.display()
        )
    })?;
    fs::rename(&unfinished, profile)?;
    Ok(())
}

/// Whether all that training takes would work, without the minutes that it takes: the visits, of the release build instead
/// of an instrumented one; and that the tools read what this compiler counts, of a program that does nothing.
pub(crate) fn rehearse(paths: &Paths) -> Result<()> {
    let tool = system::ensure_training()?;
    let target = paths.cargo()?.target;
    let folder = target.join("rehearsal");
    let _ = fs::remove_dir_all(&folder);
    let counts = folder.join("counts");
    fs::create_dir_all(&counts)?;
    bench::train(&target.join("release"), &folder.join("site"))?;
    let (source, program) = (folder.join("nothing.rs"), folder.join("nothing"));
    fs::write(&source, "fn main() {}\n")?;
    let rustc = |flag: String| {
        let mut rustc = process::command("rustc");
        rustc.arg(&source).arg("-o").arg(&program).arg(flag);
        process::capture(&mut rustc)
    };
    rustc(format!("-Cprofile-generate={}", counts.display()))?;
    process::capture(&mut process::command(&program))?;
    let profile = folder.join("nothing.profdata");
    merge(&tool, &counts, &profile)?;
    rustc(format!("-Cprofile-use={}", profile.display()))?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}
