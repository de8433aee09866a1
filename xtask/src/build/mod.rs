//! How the programs are built that are released, measured or put into images: all from here, with the same flags and the
//! same features, so that what the benchmark measures is what an image holds.
//!
//! ```text
//! release: cargo build ─► programs
//! dist:    profile.rs: cargo build, instrumented ─► bench/training.rs: visits, purges ─► llvm-profdata
//!                                                                                          └─► cargo build ─► programs
//! ```
//!
//! `dist` is guided by a profile (the compiler's `-C profile-use`): what visits run through is laid out and inlined for
//! them. All programs are built with `--target`, so that their flags
//! neither touch the ordinary build's results nor its build scripts and macros, which both share.

mod profile;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

pub(crate) use self::profile::rehearse;
use crate::paths::Paths;
use crate::process;

/// Always all of them: the features of their dependencies are united over what is selected, and a dependency with other
/// features has other symbols, to which no profile fits.
const PACKAGES: [&str; 4] = [
    "coppice-cli",
    "coppice-operator",
    "coppice-sidecar",
    "coppice-demo",
];
const FEATURES: &str = "coppice-sidecar/jemalloc";

/// How programs are built.
#[derive(Args, Clone, Debug)]
pub(crate) struct Recipe {
    /// How the programs are built: `dist` is what is released, `release` is built in a fraction of the time
    #[arg(long, value_enum, default_value = "dist")]
    profile: Profile,
    /// Build `dist` with this profile instead of training one: with the one that `cargo xtask images` left beside the
    /// images, the same source gives the same programs again
    #[arg(long, value_name = "FILE")]
    trained_by: Option<PathBuf>,
}

/// A cargo profile.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Profile {
    /// With link-time optimisation, and guided by a profile of visits
    Dist,
    /// Without
    Release,
}

impl Profile {
    /// Its name for cargo.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Release => "release",
        }
    }
}

/// What is built: programs alone. An example or a test would unite the features of development's dependencies with those of
/// the others, and no profile would fit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// The programs of the images.
    Images,
    /// The programs that are measured.
    Bench,
}

impl Wanted {
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Images => &[
                "--bin=coppice-operator",
                "--bin=coppice-sidecar",
                "--bin=coppice-demo",
            ],
            Self::Bench => &["--bin=coppice", "--bin=coppice-sidecar"],
        }
    }
}

/// What was built.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The folder of the programs.
    pub(crate) programs: PathBuf,
    /// The profile that guided the compiler.
    pub(crate) trained_by: Option<PathBuf>,
}

impl From<Profile> for Recipe {
    fn from(profile: Profile) -> Self {
        Self {
            profile,
            trained_by: None,
        }
    }
}

impl Recipe {
    /// In a few words, for whoever reads a measurement.
    pub(crate) const fn describe(&self) -> &'static str {
        match self.profile {
            Profile::Dist => "dist (guided by a profile)",
            Profile::Release => "release",
        }
    }

    /// Builds static programs; trains first where that is due.
    pub(crate) fn build(&self, paths: &Paths, wanted: Wanted) -> Result<Built> {
        let workspace = paths.cargo()?;
        if self.profile == Profile::Release {
            ensure!(
                self.trained_by.is_none(),
                "--trained-by is for --profile dist: release is not guided by a profile"
            );
            let programs = compile(paths, &workspace.target, self.profile, wanted.arguments(), None)?;
            return Ok(Built {
                programs,
                trained_by: None,
            });
        }
        let trained_by = match &self.trained_by {
            Some(file) => profile::given(&workspace, file)?,
            None => profile::trained(paths, &workspace)?,
        };
        let flag = format!("-Cprofile-use={}", trained_by.display());
        let target = workspace.target.join(profile::TRAINED);
        let programs = compile(paths, &target, self.profile, wanted.arguments(), Some(flag))?;
        Ok(Built {
            programs,
            trained_by: Some(trained_by),
        })
    }
}

/// Builds the servers that look nothing up, which no profile guides; the folder that holds them.
pub(crate) fn floors(paths: &Paths) -> Result<PathBuf> {
    let target = paths.cargo()?.target.join("floors");
    let programs = compile(paths, &target, Profile::Dist, &["--example=bare"], None)?;
    Ok(programs.join("examples"))
}

/// Builds what the arguments of cargo select, into the folder `target`; the folder of the programs.
fn compile(
    paths: &Paths,
    target: &Path,
    profile: Profile,
    select: &[&str],
    flag: Option<String>,
) -> Result<PathBuf> {
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = process::cargo(paths);
    cargo.args(["build", "--locked", "--profile", profile.as_str()]);
    cargo.args(["--target", &machine, "--target-dir"]).arg(target);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    cargo.args(["--features", FEATURES]).args(select);
    // These flags alone decide, so that the same source gives the same programs in every folder and home.
    cargo.env_remove("RUSTFLAGS");
    let flags: Vec<_> = common_flags(&paths.root).into_iter().chain(flag).collect();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    process::quiet("cargo build", &mut cargo)?;
    Ok(target.join(machine).join(profile.as_str()))
}

/// Static, and without the names of this machine's folders.
fn common_flags(root: &Path) -> Vec<String> {
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/coppice", root.display()),
    ];
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    flags
}
