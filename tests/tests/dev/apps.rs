//! The app's process: started, waited for, signalled, ended.

use anyhow::{Result, ensure};
use http::StatusCode;

use crate::{
    blog,
    laptop::{gone, line_of},
};

#[tokio::test]
async fn dev_a_port_in_use_is_said_and_nothing_is_left_running() -> Result<()> {
    for flag in ["--listen", "--admin"] {
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = taken.local_addr()?.to_string();
        let laptop = blog()?.flags(&[flag, &address]);
        let started = laptop.folder.path().join("started");
        let (code, said) = laptop
            .command(&["sh", "-c", "echo yes > started; exec sleep 1000"])
            .run()
            .await?;
        ensure!(code == 1, "exit code {code}: {said}");
        let words = format!(
            "{address} is in use by another program: stop that, or choose another address with {flag}"
        );
        ensure!(said.contains(&words), "{said}");
        ensure!(!started.exists(), "the app was not started");
    }
    Ok(())
}

#[tokio::test]
async fn dev_an_app_that_never_answers_ends_it_with_1() -> Result<()> {
    let laptop = blog()?.flags(&["--app-timeout", "1s"]);
    let session = laptop
        .command(&["sh", "-c", "echo $$ > pid; sleep 1000; true"])
        .start()?;
    let id = line_of(&session.path("pid")).await?;
    let (code, said) = session.ended().await?;
    ensure!(
        code == 1 && said.contains("did not answer within 1s"),
        "{code}: {said}"
    );
    ensure!(said.contains("PORT"), "what to do about it: {said}");
    gone(&id).await?;

    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (code, said) = blog()?
        .flags(&["--app-timeout", "1s", "--app", &format!("http://{nobody}")])
        .run()
        .await?;
    ensure!(
        code == 1 && said.contains(&format!("the app on http://{nobody} did not answer")),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn dev_an_app_that_dies_ends_it_with_its_code() -> Result<()> {
    let (code, said) = blog()?
        .command(&["sh", "-c", "echo broken >&2; exit 7"])
        .run()
        .await?;
    ensure!(code == 1, "before it answered: {code}: {said}");
    ensure!(
        said.contains("broken") && said.contains("ended before it answered, with exit code 7"),
        "{said}"
    );

    let (code, said) = blog()?.command(&["no-such-program-anywhere"]).run().await?;
    ensure!(
        code == 1 && said.contains("failed to start \"no-such-program-anywhere\""),
        "{code}: {said}"
    );

    let server = "python3 -m http.server $PORT --bind 127.0.0.1 & echo $! > child; while [ ! -e die ]; do sleep 0.05; done; exit 9";
    let laptop = blog()?.command(&["sh", "-c", server]).serve().await?;
    let child = line_of(&laptop.session.path("child")).await?;
    std::fs::write(laptop.session.path("die"), "")?;
    let (code, said) = laptop.session.ended().await?;
    ensure!(
        code == 9 && said.contains("the app has ended, with exit code 9"),
        "{code}: {said}"
    );
    gone(&child).await?;
    Ok(())
}

#[tokio::test]
async fn dev_serves_any_server_that_takes_a_port() -> Result<()> {
    let laptop = blog()?.flags(&["--no-key"]).command(&[
        "python3",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "$(PORT)",
    ]);
    std::fs::write(laptop.folder.path().join("index.txt"), "one")?;
    let laptop = laptop.serve().await?;
    let first = laptop.get("/index.txt").await?;
    ensure!(
        (first.cache(), first.body.as_str()) == ("MISS", "one"),
        "{first:?}"
    );
    std::fs::write(laptop.session.path("index.txt"), "two")?;
    let new = laptop
        .until("/index.txt", "the new text", |a| a.body == "two")
        .await?;
    ensure!(
        matches!(new.cache(), "HIT" | "STALE"),
        "regenerated behind a stale page: {new:?}"
    );
    ensure!(!new.header("cache-status").contains("key="), "--no-key: {new:?}");
    let listing = laptop.get("/none/").await?;
    ensure!(
        (listing.status, listing.cache()) == (StatusCode::NOT_FOUND, "BYPASS"),
        "{listing:?}"
    );
    Ok(())
}

#[tokio::test]
async fn dev_serves_an_app_that_runs_already() -> Result<()> {
    let app = blog()?.serve().await?;
    let laptop = blog()?
        .flags(&["--app", &format!("http://{}", app.address), "--quiet"])
        .serve()
        .await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "MISS");
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    let (code, said) = laptop.end().await?;
    ensure!(
        code == 0 && !said.contains("\nHIT"),
        "--quiet prints no line for a request: {said}"
    );
    ensure!(
        app.get("/blog/hello").await?.status == StatusCode::OK,
        "an app that was not started here stays"
    );
    Ok(())
}

#[tokio::test]
async fn dev_passes_signals_on() -> Result<()> {
    let app = "trap 'echo got INT; exit 3' INT; python3 -m http.server $PORT --bind 127.0.0.1 & echo $! > child; while :; do sleep 0.05; done";
    let laptop = blog()?.command(&["bash", "-c", app]).serve().await?;
    let child = line_of(&laptop.session.path("child")).await?;
    let (code, said) = laptop.end().await?;
    ensure!(said.contains("got INT"), "{said}");
    ensure!(code == 3, "the app's own code: {code}: {said}");
    gone(&child).await?;
    Ok(())
}

#[tokio::test]
async fn dev_leaves_no_app_behind_when_it_is_killed() -> Result<()> {
    let app =
        "trap '' TERM; python3 -m http.server $PORT --bind 127.0.0.1 & echo $! > child; echo $$ > pid; wait";
    let laptop = blog()?.command(&["bash", "-c", app]).serve().await?;
    let (id, child) = (
        line_of(&laptop.session.path("pid")).await?,
        line_of(&laptop.session.path("child")).await?,
    );
    laptop.session.signal("KILL").await?;
    gone(&child).await?;
    gone(&id).await?;
    Ok(())
}
