//! Writes the custom resource definitions: `crds/<plural>.yaml` and the chart's templates of them.
//!
//! `crdgen` writes, `crdgen --check` only compares and fails where a file is out of date.

use std::{fs, io, path::Path, process::ExitCode};

use coppice_api::crds;

fn main() -> io::Result<ExitCode> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            eprintln!("crdgen: unknown argument {other:?}: leave it out to write, or say --check to compare");
            return Ok(ExitCode::from(2));
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut outdated = false;
    for file in crds::files().map_err(io::Error::other)? {
        let path = root.join(&file.path);
        if fs::read_to_string(&path).is_ok_and(|there| there == file.text) {
            continue;
        }
        if check {
            eprintln!(
                "{} is out of date: run `cargo run -p coppice-api --bin crdgen`",
                file.path
            );
            outdated = true;
        } else {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, &file.text)?;
            println!("{} written", file.path);
        }
    }
    Ok(if outdated {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
