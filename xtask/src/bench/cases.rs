//! What is measured. Each case starts its servers afresh, brings them to where they should be, checks that they are
//! there, and then measures in rounds: every server once, then every server again, so that a noisy minute hits all.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::ValueEnum;

use super::app::App;
use super::client::{self, Client};
use super::load::{self, Load, Shot};
use super::peers::{Ground, Mode, Peer, Server};
use super::purge;
use super::report::{Goal, Metric, Report};

/// Something to measure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Case {
    /// One page of 1 KiB, from the store
    #[value(name = "hit-1k")]
    Hit1,
    /// One page of 16 KiB
    #[value(name = "hit-16k")]
    Hit16,
    /// One page of 128 KiB
    #[value(name = "hit-128k")]
    Hit128,
    /// Any of 10,000 pages of 1 KiB
    Keys,
    /// A page of 16 KiB for visitors who take gzip
    Compressed,
    /// A page of 1 KiB for visitors who have it already: 304
    Conditional,
    /// An answer of 1 KiB that nobody may keep
    Pass,
    /// A page of Next.js: from Next.js itself, and through the others
    Next,
    /// 200 visitors at the same moment for a page that nobody has yet
    Herd,
    /// A purge of one tag among 100,000 pages, while they are visited
    Purge,
    /// Each of 10,000 pages right after 1,000 purges that select none of them
    Ledger,
    /// A hit and a purge among 1,000 and among 100,000 pages
    Growth,
    /// Memory when nothing is stored
    Idle,
    /// Memory for each of 100,000 stored pages of 1 KiB
    Overhead,
    /// From the start of the program to its first answer
    Start,
}

/// How a server shows that it does what the case is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expect {
    /// The app is not asked.
    Stored,
    /// Compressed, and the app is not asked.
    Gzip,
    /// 304, and the app is not asked.
    NotModified,
    /// The app is asked each time.
    Passed,
    /// An answer.
    Any,
}

/// A load on a server that has what is asked for.
struct Loaded {
    name: &'static str,
    load: Load,
    expect: Expect,
    goal: Option<Goal>,
}

const fn page(path: &'static str) -> Load {
    Load {
        path,
        pages: None,
        headers: &[],
    }
}

/// What a run has to go by.
pub(super) struct Bench {
    pub(super) ground: Ground,
    pub(super) app: App,
    pub(super) peers: Vec<Peer>,
    /// How long a round lasts.
    pub(super) seconds: u64,
    pub(super) rounds: usize,
}

impl Case {
    fn loaded(self) -> Option<Loaded> {
        let loaded = |name, load, expect, goal| {
            Some(Loaded {
                name,
                load,
                expect,
                goal,
            })
        };
        let nginx = |share| Some(Goal::Share(&[Peer::Nginx, Peer::NginxPlain], share));
        match self {
            Self::Hit1 => loaded("hit, 1 KiB", page("/store/1024/a"), Expect::Stored, nginx(0.5)),
            Self::Hit16 => loaded(
                "hit, 16 KiB",
                page("/store/16384/a"),
                Expect::Stored,
                nginx(1.0 / 1.3),
            ),
            Self::Hit128 => loaded(
                "hit, 128 KiB",
                page("/store/131072/a"),
                Expect::Stored,
                nginx(1.0),
            ),
            Self::Keys => {
                let load = Load {
                    pages: Some(10_000),
                    ..page("/store/1024/")
                };
                loaded("hit, 10,000 pages", load, Expect::Stored, None)
            }
            Self::Compressed => {
                let load = Load {
                    headers: &[("Accept-Encoding", "gzip")],
                    ..page("/gzip/16384/a")
                };
                loaded("hit, 16 KiB as gzip", load, Expect::Gzip, None)
            }
            Self::Conditional => {
                let load = Load {
                    headers: &[("If-None-Match", "\"1024-a\"")],
                    ..page("/store/1024/a")
                };
                loaded("hit, 304", load, Expect::NotModified, None)
            }
            Self::Pass => loaded(
                "pass through, 1 KiB",
                page("/pass/1024/a"),
                Expect::Passed,
                nginx(1.0),
            ),
            Self::Next => loaded("a page of Next.js", page("/"), Expect::Any, None),
            _ => None,
        }
    }

    /// Measures it.
    pub(super) fn run(self, bench: &Bench, report: &mut Report) -> Result<()> {
        if let Some(loaded) = self.loaded() {
            return bench.loaded(self, &loaded, report);
        }
        match self {
            Self::Herd => bench.herd(report),
            Self::Purge => purge::while_serving(bench, report),
            Self::Ledger => purge::behind_lines(bench, report),
            Self::Growth => purge::growth(bench, report),
            Self::Idle => bench.idle(report),
            Self::Overhead => bench.overhead(report),
            Self::Start => bench.start(report),
            // All others are loads.
            _ => Ok(()),
        }
    }
}

impl Bench {
    /// Starts those of the peers that are caches, before the app, and waits for them.
    pub(super) fn caches(&self, app: SocketAddr, path: &str) -> Result<Vec<Server>> {
        let caches = self.peers.iter().filter(|peer| peer.is_cache());
        caches.map(|peer| self.ready(*peer, app, path)).collect()
    }

    fn ready(&self, peer: Peer, app: SocketAddr, path: &str) -> Result<Server> {
        let mut server = self.ground.start(peer, Mode::Routed, app)?;
        server.wait(path, Duration::from_millis(20))?;
        Ok(server)
    }

    fn loaded(&self, case: Case, loaded: &Loaded, report: &mut Report) -> Result<()> {
        let mut servers = Vec::new();
        if case == Case::Next {
            if self.ground.next.is_none() {
                return Ok(());
            }
            let next = self.ready(Peer::Next, self.app.address, "/")?;
            let address = next.address;
            servers.push(next);
            servers.extend(self.caches(address, "/")?);
        } else {
            servers.extend(self.caches(self.app.address, "/store/64/ready")?);
        }
        // The floors look nothing up, so many pages are as one; and what plain nginx does more, it does for each hit.
        if loaded.expect == Expect::Stored && loaded.load.pages.is_none() {
            let beside = |peer: &&Peer| peer.is_floor() || **peer == Peer::NginxPlain;
            for peer in self.peers.iter().filter(beside) {
                servers.push(self.ready(*peer, self.app.address, "/store/64/ready")?);
            }
        }
        let mut able = Vec::new();
        for server in servers {
            match self.prepare(&server, loaded)? {
                None => able.push(server),
                Some(why) => report.remark(format!("{}, {}: {why}", loaded.name, server.peer.as_str())),
            }
        }
        for _ in 0..self.rounds {
            for server in &able {
                let asked = self.app.asked();
                let shot = self.round(server, &loaded.load, loaded.name, report)?;
                let asked = self.app.asked() - asked;
                if asked * 100 > shot.requests && !matches!(loaded.expect, Expect::Passed | Expect::Any) {
                    report.remark(format!(
                        "{}, {}: the app was asked {asked} times for {} answers",
                        loaded.name,
                        server.peer.as_str(),
                        shot.requests
                    ));
                }
            }
        }
        for server in &able {
            let memory = server.memory();
            report.add(loaded.name, Metric::Pss, server.peer, mebibytes(memory.pss));
        }
        if let Some(goal) = loaded.goal {
            report.goal(loaded.name, Metric::Cpu, goal);
        }
        Ok(())
    }

    /// Brings a server to where it does what is expected; otherwise why it does not.
    fn prepare(&self, server: &Server, loaded: &Loaded) -> Result<Option<String>> {
        let Load { path, pages, headers } = loaded.load;
        if let Some(pages) = pages {
            client::each_once(server.address, path, pages)?;
            return Ok(None);
        }
        let mut client = Client::connect(server.address)?;
        let mut why = None;
        // What is stored may be compressed a moment later, behind its first visitors.
        for _ in 0..40 {
            let asked = self.app.asked();
            let answer = client.get(path, headers)?;
            let asked = self.app.asked() > asked;
            why = match loaded.expect {
                Expect::Any | Expect::Passed => None,
                Expect::NotModified if answer.status != 304 => Some(format!(
                    "answers {} where the visitor has the page",
                    answer.status
                )),
                Expect::Gzip if answer.header("content-encoding") != Some("gzip") => {
                    Some("does not compress".to_owned())
                }
                _ => asked.then(|| "does not store".to_owned()),
            };
            if why.is_none() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(why)
    }

    /// One server under load for one round.
    pub(super) fn round(
        &self,
        server: &Server,
        load: &Load,
        name: &str,
        report: &mut Report,
    ) -> Result<Shot> {
        let before = server.cpu();
        let shot = load::shoot(&server.folder, server.address, load, self.seconds)?;
        let cpu = server.cpu().saturating_sub(before);
        let requests = shot.requests.max(1) as f64;
        let rate = requests / (shot.microseconds.max(1) as f64 / 1e6);
        let cpu = cpu.as_secs_f64() * 1e6 / requests;
        eprintln!(
            "  {name:<24} {:<8} {rate:>9.0}/s {cpu:>7.2} µs CPU, p50 {:.0} p99 {:.0} µs",
            server.peer.as_str(),
            shot.p50,
            shot.p99
        );
        report.add(name, Metric::Cpu, server.peer, cpu);
        report.add(name, Metric::Rate, server.peer, rate);
        report.add(name, Metric::P50, server.peer, shot.p50);
        report.add(name, Metric::P99, server.peer, shot.p99);
        if shot.failed > 0 {
            let failed = format!("{name}, {}: {} answers failed", server.peer.as_str(), shot.failed);
            report.remark(failed);
        }
        Ok(shot)
    }

    fn herd(&self, report: &mut Report) -> Result<()> {
        const VISITORS: usize = 200;
        let name = "herd of 200";
        let servers = self.caches(self.app.address, "/store/64/ready")?;
        for round in 0..self.rounds {
            for server in &servers {
                let (asked, before) = (self.app.asked(), server.cpu());
                let path = format!("/slow/1024/{round}");
                let waits = client::herd(server.address, &path, VISITORS)?;
                let cpu = server.cpu().saturating_sub(before).as_secs_f64() * 1e6;
                let asked = self.app.asked() - asked;
                report.add(name, Metric::Asked, server.peer, asked as f64);
                report.add(name, Metric::Cpu, server.peer, cpu / VISITORS as f64);
                report.waits(name, server.peer, &waits);
            }
        }
        for server in &servers {
            report.add(name, Metric::Pss, server.peer, mebibytes(server.memory().pss));
        }
        report.goal(name, Metric::Asked, Goal::Most(1.0));
        Ok(())
    }

    /// All peers as they start in a pod.
    fn alone(&self, peer: Peer, path: &str) -> Result<(Server, Duration)> {
        let mut server = self.ground.start(peer, Mode::Alone, self.app.address)?;
        let first = server.wait(path, Duration::from_micros(500))?;
        Ok((server, first))
    }

    fn startable(&self) -> impl Iterator<Item = Peer> {
        let next = self.ground.next.is_some();
        self.peers
            .iter()
            .copied()
            .filter(move |peer| peer.is_cache() || *peer == Peer::Next && next)
    }

    fn idle(&self, report: &mut Report) -> Result<()> {
        let name = "idle";
        for peer in self.startable() {
            let (server, _) = self.alone(peer, path_of(peer))?;
            server.cpu_at_rest()?;
            let memory = server.memory();
            report.add(name, Metric::Rss, peer, mebibytes(memory.rss));
            report.add(name, Metric::Pss, peer, mebibytes(memory.pss));
        }
        report.goal(name, Metric::Rss, Goal::Most(15.0));
        Ok(())
    }

    fn start(&self, report: &mut Report) -> Result<()> {
        let name = "start";
        for _ in 0..self.rounds {
            for peer in self.startable() {
                let (_, first) = self.alone(peer, path_of(peer))?;
                report.add(name, Metric::FirstAnswer, peer, first.as_secs_f64() * 1e3);
            }
        }
        report.goal(name, Metric::FirstAnswer, Goal::Most(50.0));
        Ok(())
    }

    /// The growth of memory and disk from a server that is warm to one that holds the pages.
    fn overhead(&self, report: &mut Report) -> Result<()> {
        const PAGES: usize = 100_000;
        let name = "100,000 pages of 1 KiB";
        for server in self.caches(self.app.address, "/store/64/ready")? {
            // Logs in memory, stacks and buffers are filled by any visits: they are no cost of a page.
            load::shoot(&server.folder, server.address, &page("/store/1024/a"), 3)?;
            let before = server.memory();
            client::each_once(server.address, "/store/1024/", PAGES)?;
            server.cpu_at_rest()?;
            let after = server.memory();
            let asked = self.app.asked();
            client::each_once(server.address, "/store/1024/", PAGES)?;
            let again = self.app.asked() - asked;
            if again > 0 {
                let peer = server.peer.as_str();
                report.remark(format!("{name}, {peer}: {again} of them are not stored"));
            }
            let grown = after.pss.saturating_sub(before.pss) + server.on_disk();
            let each = grown as f64 / PAGES as f64 - 1024.0;
            report.add(name, Metric::PageBytes, server.peer, each);
            report.add(name, Metric::Pss, server.peer, mebibytes(after.pss));
        }
        report.goal(name, Metric::PageBytes, Goal::Most(400.0));
        Ok(())
    }
}

const fn path_of(peer: Peer) -> &'static str {
    match peer {
        Peer::Next => "/",
        _ => "/pass/64/ready",
    }
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The result of a thread that may have panicked.
pub(super) fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}
