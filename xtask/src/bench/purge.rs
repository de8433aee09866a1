//! Cases about purges: Coppice by saving a manifest, as one does on a laptop; Varnish by a ban. nginx can neither, in the
//! version that is free.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cases::{Bench, joined, mebibytes};
use super::client::{self, Client};
use super::load::Load;
use super::peers::{Peer, Server};
use super::report::{Metric, Report};

const PREFIX: &str = "/store/1024/";
/// How long a purge may take until it is seen.
const PATIENCE: Duration = Duration::from_mins(1);

/// Pages of 1 KiB, any of so many.
const fn pages(count: usize) -> Load {
    Load {
        path: PREFIX,
        pages: Some(count),
        headers: &[],
    }
}

/// Whether it can purge by tag.
fn purges(peer: Peer) -> bool {
    matches!(peer, Peer::Coppice | Peer::Varnish)
}

/// Purges tags, one purge for each. `name` was not used before on this server.
fn purge(server: &Server, name: &str, tags: &[String]) -> Result<()> {
    if server.peer == Peer::Varnish {
        let mut client = Client::connect(server.address)?;
        for tag in tags {
            client.ask("BAN", "/", &[("X-Tag", tag)])?;
            client.answer()?;
        }
        return Ok(());
    }
    let mut manifest = String::new();
    for (number, tag) in tags.iter().enumerate() {
        write!(
            manifest,
            "---\napiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\n\
             metadata: {{ name: {name}-{number} }}\nspec: {{ tags: [\"{tag}\"], strategy: Expire }}\n"
        )?;
    }
    // Saved in one step, as careful editors do.
    let unfinished = server.folder.join("purge.unfinished");
    fs::write(&unfinished, manifest)?;
    fs::rename(&unfinished, server.folder.join(format!("{name}.yaml")))?;
    Ok(())
}

/// When the page was rendered, as the app counts.
fn rendered(server: &Server, page: usize) -> Result<String> {
    let answer = Client::connect(server.address)?.get(&format!("{PREFIX}{page}"), &[])?;
    let rendered = answer
        .header("x-render")
        .context("the page does not say when it was rendered")?;
    Ok(rendered.to_owned())
}

/// Purges the tag of one page and waits until the page is new; how long that took.
pub(super) fn purge_one(server: &Server, name: &str, page: usize) -> Result<Duration> {
    let old = rendered(server, page)?;
    let began = std::time::Instant::now();
    purge(server, name, &[format!("page-{page}")])?;
    let path = format!("{PREFIX}{page}");
    client::until(
        server.address,
        (&path, &[]),
        PATIENCE,
        Duration::from_millis(1),
        |answer| answer.header("x-render").is_some_and(|new| new != old),
    )?;
    Ok(began.elapsed())
}

/// 100,000 pages are visited; in the middle of it one is purged.
pub(super) fn while_serving(bench: &Bench, report: &mut Report) -> Result<()> {
    const PAGES: usize = 100_000;
    let name = "purge among 100,000 pages";
    let servers = bench.caches(bench.app.address, "/store/64/ready")?;
    for server in &servers {
        client::each_once(server.address, PREFIX, PAGES)?;
        server.cpu_at_rest()?;
    }
    for round in 0..bench.rounds {
        for server in &servers {
            let took = thread::scope(|scope| {
                let purging = scope.spawn(|| {
                    thread::sleep(Duration::from_millis(bench.seconds * 500));
                    purges(server.peer)
                        .then(|| purge_one(server, &format!("one-{round}"), round))
                        .transpose()
                });
                bench.round(server, &pages(PAGES), name, report)?;
                joined(purging)
            })?;
            match took {
                Some(took) => {
                    report.add(name, Metric::PurgeTime, server.peer, took.as_secs_f64() * 1e3);
                }
                None => report.remark(format!("{name}, {}: cannot purge by tag", server.peer.as_str())),
            }
        }
    }
    report.remark(
        "the time until a page is new holds, for coppice, the 80 ms for which coppice dev waits after a save"
            .to_owned(),
    );
    Ok(())
}

/// So many pages are asked for, each once.
const EACH: usize = 10_000;

/// Each page once, right after many purges of other pages: each is compared with all of them, by whomever.
pub(super) fn behind_lines(bench: &Bench, report: &mut Report) -> Result<()> {
    const LINES: usize = 1000;
    let servers = bench.caches(bench.app.address, "/store/64/ready")?;
    for server in servers.iter().filter(|server| purges(server.peer)) {
        client::each_once(server.address, PREFIX, EACH)?;
        for round in 0..bench.rounds {
            let before = server.cpu_at_rest()?;
            each_once(server, "each of 10,000 pages once", before, report)?;
            let tags: Vec<_> = (0..LINES).map(|tag| format!("none-{round}-{tag}")).collect();
            purge(server, &format!("many-{round}"), &tags)?;
            // A purge that comes after them all and shows: then they are in force.
            purge_one(server, &format!("last-{round}"), round)?;
            let before = server.cpu();
            each_once(server, "the same behind 1,000 purges", before, report)?;
        }
    }
    Ok(())
}

fn each_once(server: &Server, name: &str, before: Duration, report: &mut Report) -> Result<()> {
    let waits = client::each_once(server.address, PREFIX, EACH)?;
    let spent = server.cpu_at_rest()?.saturating_sub(before);
    let each = spent.as_secs_f64() * 1e6 / EACH as f64;
    report.add(name, Metric::Cpu, server.peer, each);
    report.waits(name, server.peer, &waits);
    report.add(name, Metric::Pss, server.peer, mebibytes(server.memory().pss));
    Ok(())
}

/// What does a hit cost, and what a purge, among few pages and among many?
pub(super) fn growth(bench: &Bench, report: &mut Report) -> Result<()> {
    const PURGES: usize = 20;
    for (count, words) in [(1000, "1,000"), (100_000, "100,000")] {
        let (hit, purged) = (
            format!("hit among {words} pages"),
            format!("20 purges among {words} pages"),
        );
        let servers = bench.caches(bench.app.address, "/store/64/ready")?;
        for server in &servers {
            client::each_once(server.address, PREFIX, count)?;
            server.cpu_at_rest()?;
        }
        for round in 0..bench.rounds {
            for server in &servers {
                bench.round(server, &pages(count), &hit, report)?;
                if !purges(server.peer) {
                    continue;
                }
                let before = server.cpu_at_rest()?;
                for number in 0..PURGES {
                    purge_one(server, &format!("growth-{round}-{number}"), number)?;
                }
                let spent = server.cpu_at_rest()?.saturating_sub(before);
                let each = spent.as_secs_f64() * 1e3 / PURGES as f64;
                report.add(&purged, Metric::PurgeCpu, server.peer, each);
            }
        }
    }
    Ok(())
}
