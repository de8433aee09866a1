//! Visits for the profile that guides the compiler (`build/profile.rs`): what a site has, not what the benchmark asks.
//!
//! Browsers with all their headers, crawlers with hardly any, over HTTP/1.1 and HTTP/2, for pages that are stored,
//! compressed, unchanged, new, purged or never stored. What none of them does counts as cold, so a way of a request that
//! should be fast belongs in here.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::app::App;
use super::cases::joined;
use super::client;
use super::cores::Cores;
use super::load::{self, Load};
use super::peers::{Ground, Mode, Peer, Server};
use super::purge;
use crate::process;

/// The text of all that makes the visits: whoever changes it wants another profile.
pub(crate) const TRAINING: [&str; 6] = [
    include_str!("training.rs"),
    include_str!("app.rs"),
    include_str!("client.rs"),
    include_str!("configs.rs"),
    include_str!("load.rs"),
    include_str!("purge.rs"),
];

/// What Chromium sends with a navigation.
const BROWSER: [(&str, &str); 12] = [
    ("Connection", "keep-alive"),
    ("Cache-Control", "max-age=0"),
    ("sec-ch-ua", "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("Upgrade-Insecure-Requests", "1"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("Sec-Fetch-Mode", "navigate"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    (
        "Cookie",
        "theme=dark; _ga=GA1.1.1234567890.1700000000; consent=yes",
    ),
];

/// Visits the instrumented `coppice` in the folder `programs`, which ends in the end; `folder` is for files meanwhile.
pub(crate) fn train(programs: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    // In a thread of its own, since it moves to one core with all that it starts.
    thread::scope(|scope| joined(scope.spawn(|| visit(programs, folder))))?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn visit(programs: &Path, folder: &Path) -> Result<()> {
    let app = App::start()?;
    let ground = Ground {
        programs: programs.to_path_buf(),
        floors: None,
        next: None,
        cores: Cores::take_or_share()?,
        folder: folder.to_path_buf(),
    };
    let mut server = ground.start(Peer::Coppice, Mode::Routed, app.address)?;
    server.wait("/store/64/ready", Duration::from_millis(20))?;
    visits(&server)?;
    purges(&server)
}

/// What is asked for most.
fn visits(server: &Server) -> Result<()> {
    const CRAWLER: &[(&str, &str)] = &[];
    const UNCHANGED: &[(&str, &str)] = &[("If-None-Match", "\"1024-a\"")];
    const PART: &[(&str, &str)] = &[("Range", "bytes=100-899")];
    let one = |path, headers| {
        (
            Load {
                path,
                pages: None,
                headers,
            },
            1,
        )
    };
    let loads = [
        one("/store/1024/a", CRAWLER),
        one("/store/1024/a", &BROWSER),
        one("/store/16384/a", CRAWLER),
        one("/store/16384/a", &BROWSER),
        one("/store/131072/a", CRAWLER),
        one("/store/131072/a", &BROWSER),
        one("/gzip/16384/a", &BROWSER),
        one("/store/1024/a", UNCHANGED),
        one("/store/1024/a", PART),
        one("/pass/1024/a", CRAWLER),
        one("/pass/1024/a", &BROWSER),
        one("/pass/65536/a", &BROWSER),
    ];
    client::each_once(server.address, "/store/1024/", 10_000)?;
    let many = Load {
        path: "/store/1024/",
        pages: Some(10_000),
        headers: &BROWSER,
    };
    for (load, seconds) in loads.into_iter().chain([(many, 2)]) {
        let shot = load::shoot(&server.folder, server.address, &load, seconds)?;
        ensure!(
            shot.failed == 0,
            "{} answers failed of {} for {}",
            shot.failed,
            shot.requests,
            load.path
        );
    }
    // HTTP/2 with prior knowledge, as meshes and gateways speak it, and bodies toward the app.
    let body = server.folder.join("body");
    fs::write(&body, "title=A+page&text=that+somebody+sends")?;
    h2(server, &["/store/1024/a", "/store/16384/a", "/gzip/16384/a"], &[])?;
    h2(server, &["/pass/1024/a"], &[])?;
    let body = body.to_string_lossy();
    h2(server, &["/pass/64/form"], &["--data", &body])?;
    h2(server, &["/pass/64/form"], &["--h1", "--data", &body])
}

fn h2(server: &Server, paths: &[&str], arguments: &[&str]) -> Result<()> {
    process::check_interrupt()?;
    let mut h2load = process::command("h2load");
    h2load.args([
        "--requests",
        "20000",
        "--clients",
        "16",
        "--max-concurrent-streams",
        "4",
    ]);
    for (name, value) in BROWSER.iter().filter(|(name, _)| *name != "Connection") {
        h2load.args(["--header", &format!("{name}: {value}")]);
    }
    h2load.args(arguments);
    h2load.args(
        paths
            .iter()
            .map(|path| format!("http://{}{path}", server.address)),
    );
    let said = process::capture(&mut h2load)?;
    ensure!(
        said.contains("20000 succeeded, 0 failed, 0 errored"),
        "h2load was not answered as expected: {said}"
    );
    Ok(())
}

/// Purges among visits, and many visitors for one new page.
fn purges(server: &Server) -> Result<()> {
    for round in 0..10 {
        client::herd(server.address, &format!("/slow/1024/{round}"), 100)?;
        purge::purge_one(server, &format!("one-{round}"), round)?;
        client::each_once(server.address, "/store/1024/", 200)?;
    }
    Ok(())
}
