//! The production builds of `examples/next`, made once and kept in the user's cache folder: `.next` and `localised/.next`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use coppice_tests::npm::{self, Project};
use tokio::sync::OnceCell;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/next");

/// The folder of the built apps.
pub(crate) async fn built() -> Result<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_try_init(build).await.cloned()
}

async fn build() -> Result<PathBuf> {
    let project = Project::of("next", Path::new(SOURCES)).await?;
    project
        .build(async |folder| {
            let next = folder.join("node_modules/.bin/next");
            for app in [".", "localised"] {
                eprintln!("building examples/next/{app} …");
                npm::run(folder, &next, &["build", app]).await?;
            }
            Ok(())
        })
        .await?;
    Ok(project.folder)
}
