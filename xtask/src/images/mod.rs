//! `cargo xtask images`: static binaries, each alone in an image, as OCI archives in `target/images`.
//!
//! ```text
//! crate::build ─► programs, static ─► archive.rs: a layer, a config, a manifest ─► target/images/*.tar
//! ```

pub(crate) mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use self::archive::Image;
use crate::build::{Recipe, Wanted};
use crate::paths::Paths;

/// Nobody, by the convention of images without a base.
const USER: &str = "65532:65532";

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    recipe: Recipe,
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
    for path in build(paths, &arguments.recipe)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Builds all archives; their paths.
pub(crate) fn build(paths: &Paths, recipe: &Recipe) -> Result<Vec<PathBuf>> {
    let began = Instant::now();
    let workspace = paths.cargo()?;
    eprintln!("  building static programs, {}", recipe.describe());
    let built = recipe.build(paths, Wanted::Images)?;
    let folder = workspace.target.join("images");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let mut archives = Vec::new();
    for product in &PRODUCTS {
        let program = built.programs.join(product.name);
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
    keep(built.trained_by.as_deref(), &folder.join("coppice.profdata"))?;
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

/// Leaves the profile that guided the compiler: with it the same source gives the same images again.
fn keep(profile: Option<&Path>, at: &Path) -> Result<()> {
    match profile {
        Some(profile) => fs::copy(profile, at).map(drop),
        None if at.exists() => fs::remove_file(at),
        None => Ok(()),
    }
    .with_context(|| format!("failed to write {}", at.display()))
}
