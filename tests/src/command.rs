//! Tools that tests run: helm, kubectl, kubeconform.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code was 0.
    pub success: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// Standard output of a command that succeeded.
    pub fn ok(self) -> Result<String> {
        if self.success {
            Ok(self.out)
        } else {
            bail!("it failed:\n{}{}", self.out, self.err)
        }
    }
}

/// Runs a tool from the folder `COPPICE_TOOLS`, or from the PATH, in the root of the repository.
pub fn tool(name: &str, arguments: &[&str], input: Option<&str>) -> Result<Ended> {
    let program = match std::env::var_os("COPPICE_TOOLS") {
        Some(folder) => Path::new(&folder).join(name),
        None => PathBuf::from(name),
    };
    run(program.as_os_str(), arguments, input)
}

fn run(program: &OsStr, arguments: &[&str], input: Option<&str>) -> Result<Ended> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "failed to run {}: `cargo xtask test chart` installs it, or set COPPICE_TOOLS to its folder",
                program.display()
            )
        })?;
    // On a thread of its own: a tool may well print more than a pipe holds before it has read everything.
    let writer = child
        .stdin
        .take()
        .zip(input.map(str::to_owned))
        .map(|(mut stdin, input)| {
            // A tool that stops reading says why by itself.
            std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())))
        });
    let output = child.wait_with_output()?;
    drop(writer.map(std::thread::JoinHandle::join));
    Ok(Ended {
        success: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
