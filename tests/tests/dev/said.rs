//! What it tells its user: the state, and the help.

use anyhow::{Result, ensure};
use http::{Method, StatusCode};

use crate::{blog, laptop};

#[tokio::test]
async fn dev_the_admin_address_tells_the_state() -> Result<()> {
    let laptop = blog()?.serve().await?;
    laptop.get("/blog/hello").await?;
    for (path, words) in [
        ("/", "<!doctype html"),
        ("/state", "\"rules\""),
        ("/explain?url=/blog/hello", "pattern /blog/[slug] matches"),
        ("/ready", "ready"),
        ("/metrics", "coppice"),
    ] {
        let host = laptop.admin.to_string();
        let answer = laptop::request(laptop.admin, Method::GET, path, &[("host", host.as_str())], "")
            .open()
            .await?;
        ensure!(answer.status() == StatusCode::OK, "{path}: {answer:?}");
        let body = http_body_util::BodyExt::collect(answer.into_body())
            .await?
            .to_bytes();
        let body = String::from_utf8_lossy(&body);
        ensure!(body.contains(words), "{path}: {body}");
    }
    Ok(())
}

#[tokio::test]
async fn dev_help_teaches() -> Result<()> {
    let output = tokio::process::Command::new(laptop::coppice()?)
        .args(["dev", "--help"])
        .output()
        .await?;
    let help = String::from_utf8(output.stdout)?;
    ensure!(output.status.success());
    for words in [
        "Examples:",
        "--app",
        "$(PORT)",
        "Exit codes",
        "--namespace",
        "--no-key",
        "x-coppice-cache",
    ] {
        ensure!(help.contains(words), "{words} is not in the help: {help}");
    }
    Ok(())
}
