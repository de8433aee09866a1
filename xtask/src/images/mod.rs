//! `cargo xtask images`: static binaries, each alone in an image, as OCI archives in `target/images`.
//!
//! ```text
//! cargo build --target … ─► programs, static ─► archive.rs: a layer, a config, a manifest ─► target/images/*.tar
//! ```
//!
//! The binaries are built with `--target`, so that their flags neither touch the ordinary build's results nor its build
//! scripts and macros, which both share.

pub(crate) mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use self::archive::Image;
use crate::paths::{Paths, Workspace};
use crate::process;

/// Nobody, by the convention of images without a base.
const USER: &str = "65532:65532";

#[derive(Args)]
pub(crate) struct Arguments {
    /// How the binaries are built: `dist` is what is released, `release` is built in a fraction of the time
    #[arg(long, value_enum, default_value = "dist")]
    profile: Profile,
}

/// A cargo profile that images and benchmarks may be built with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Profile {
    /// With link-time optimisation
    Dist,
    /// Without
    Release,
}

impl Profile {
    /// Its name for cargo.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Release => "release",
        }
    }
}

/// An image of this project.
struct Product {
    name: &'static str,
    description: &'static str,
}

const PRODUCTS: [Product; 3] = [
    Product {
        name: "coppice-operator",
        description: "Watches routes and purges, streams them to sidecars, injects sidecars",
    },
    Product {
        name: "coppice-sidecar",
        description: "Serves an app's pages from memory beside it",
    },
    Product {
        name: "coppice-demo",
        description: "A small blog whose pages show when they were rendered",
    },
];

/// The command: builds, and prints what was written.
pub(crate) fn run(paths: &Paths, arguments: &Arguments) -> Result<()> {
    for path in build(paths, arguments.profile)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Builds all archives; their paths.
pub(crate) fn build(paths: &Paths, profile: Profile) -> Result<Vec<PathBuf>> {
    let began = Instant::now();
    let workspace = paths.cargo()?;
    let binaries = compile(paths, &workspace, profile)?;
    let folder = workspace.target.join("images");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let mut archives = Vec::new();
    for product in &PRODUCTS {
        let program = binaries.join(product.name);
        let content = fs::read(&program).with_context(|| format!("failed to read {}", program.display()))?;
        let path = folder.join(format!("{}.tar", product.name));
        let image = Image {
            reference: &format!("localhost/{}:{}", product.name, workspace.version),
            program: &format!("/{}", product.name),
            content: &content,
            user: USER,
            labels: labels(product, &workspace.version),
        };
        let digest = image.write(&path)?;
        eprintln!(
            "  {}  {:.1} MiB  {digest}",
            image.reference,
            content.len() as f64 / f64::from(1 << 20)
        );
        archives.push(path);
    }
    eprintln!("images written in {} s", began.elapsed().as_secs());
    Ok(archives)
}

fn labels(product: &Product, version: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (
            "org.opencontainers.image.description",
            product.description.to_owned(),
        ),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
        ("org.opencontainers.image.title", product.name.to_owned()),
        ("org.opencontainers.image.version", version.to_owned()),
    ])
}

/// Builds the static binaries; the folder that holds them.
fn compile(paths: &Paths, workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    eprintln!("  building static binaries, profile {}", profile.as_str());
    let mut cargo = process::cargo(paths);
    cargo.args([
        "build",
        "--locked",
        "--profile",
        profile.as_str(),
        "--target",
        &target,
    ]);
    for product in &PRODUCTS {
        cargo.args(["--package", product.name]);
    }
    cargo.args(["--features", "coppice-sidecar/jemalloc"]);
    // They alone decide, so that the same source gives the same binaries in every folder and home.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env("RUSTFLAGS", flags(&paths.root));
    process::quiet("cargo build", &mut cargo)?;
    Ok(workspace.target.join(target).join(profile.as_str()))
}

/// Static, and without the names of this machine's folders.
fn flags(root: &Path) -> String {
    let mut flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/coppice",
        root.display()
    );
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    if let Some(home) = home {
        flags = format!("{flags} --remap-path-prefix={}=/cargo", home.display());
    }
    flags
}
