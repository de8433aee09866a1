//! A soak: a real sidecar process between an app that misbehaves in every way and visitors that abort, read slowly and
//! purge without rest. `cargo xtask soak --minutes 10` runs it for long; by default it takes [`SHORT`].
//!
//! ```text
//! visitors ──► sidecar ──► app: slow, failing, breaking off, too large, with another Vary each time
//!    │            ▲
//!    └─ floors ◄──┴── purger: writes content, purges it, and is told that the purge holds
//! ```
//!
//! What a visitor gets is checked against the floor that held when they asked: after a purge was acknowledged, no fresh page
//! shows older content. In the end nothing is in the air and nothing is accounted for.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coppice_cache::{
    config::Interval,
    ledger::{Line, Selector, Strategy},
};
use coppice_wire::{
    convert::{config_to_pb, lines_to_pb},
    pb::{self, from_operator::Message as Say, from_sidecar::Message as Said},
};
use support::{
    Peer, app, nobody,
    operator::{Attached, Operator},
    stage, until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

/// How long it takes unless `COPPICE_SOAK_SECONDS` says otherwise.
const SHORT: Duration = Duration::from_secs(15);
/// Pages that are asked for again and again; as many more are crawled past.
const PAGES: u64 = 100;
const VISITORS: u64 = 24;
const BUDGET: u64 = 32 << 20;
/// What a container of this budget may take: 1.25 times the budget, and 64 MiB.
const CONTAINER: u64 = BUDGET / 4 * 5 + (64 << 20);

/// Numbers that look random, the same in each run for each seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// What the app shows, and what visitors may still be shown.
#[derive(Default)]
struct Content {
    /// Of all pages; each answer says it.
    version: AtomicU64,
    /// By page: no fresh answer may be older.
    fresh: Vec<AtomicU64>,
    /// By page: no answer may be older, not even a stale one.
    any: Vec<AtomicU64>,
    /// The app is well behaved from now on.
    calm: AtomicBool,
    asked: AtomicU64,
}

#[derive(Default)]
struct Tally {
    answers: AtomicU64,
    hits: AtomicU64,
    stale: AtomicU64,
    unanswered: AtomicU64,
    purges: AtomicU64,
}

/// `Content` as one number: the path says which page, the body which version.
async fn misbehaving(content: Arc<Content>) -> String {
    app(move |mut peer| {
        let content = content.clone();
        async move {
            while let Some(head) = peer.head_or_end().await {
                let number = content.asked.fetch_add(1, Ordering::Relaxed);
                let version = content.version.load(Ordering::SeqCst);
                let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                if !answer(
                    &mut peer,
                    &head,
                    version,
                    &mut dice,
                    content.calm.load(Ordering::Relaxed),
                )
                .await
                {
                    return;
                }
            }
        }
    })
    .await
}

/// Answers somehow; false: the connection ends.
async fn answer(peer: &mut Peer, head: &str, version: u64, dice: &mut Dice, calm: bool) -> bool {
    let target = head.split(' ').nth(1).unwrap_or("/").to_owned();
    let body = format!("{target}|{version}|{}", "x".repeat(dice.roll(8000) as usize));
    let length = body.len();
    let ok = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n");
    let head_only = head.starts_with("HEAD");
    let whole = |more: &str| format!("{ok}{more}\r\n{}", if head_only { "" } else { &body });
    let say = async |peer: &mut Peer, text: String| peer.stream.write_all(text.as_bytes()).await.is_ok();
    if calm {
        return say(peer, whole("")).await;
    }
    match dice.roll(100) {
        0..8 => {
            tokio::time::sleep(Duration::from_millis(dice.roll(200))).await;
            say(peer, whole("")).await
        }
        8..12 => {
            say(
                peer,
                "HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\noops".to_owned(),
            )
            .await
        }
        12..15 => {
            say(peer, format!("{ok}\r\n{}", &body[..length / 2])).await;
            false
        }
        15..17 => false,
        17..20 => say(peer, whole(&format!("vary: x-{}\r\n", dice.roll(50)))).await,
        20..22 => say(peer, whole("vary: *\r\n")).await,
        22..24 => say(peer, whole("set-cookie: a=b\r\n")).await,
        24..26 => {
            let chunk = format!("10000\r\n{}\r\n", "y".repeat(0x1_0000));
            let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let first = format!("{:x}\r\n{body}\r\n", body.len());
            if head_only {
                return say(peer, whole("")).await;
            }
            say(peer, format!("{chunked}{first}{}0\r\n\r\n", chunk.repeat(24))).await
        }
        26 => {
            // Longer than `origin.timeout`.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            false
        }
        27 => say(peer, "HTTP/1.1 200 OK\r\ncontent-length: evil\r\n\r\n".to_owned()).await,
        28 => {
            say(
                peer,
                "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone".to_owned(),
            )
            .await
        }
        29 => say(peer, whole("x-nextjs-cache: STALE\r\n")).await,
        _ => say(peer, whole("")).await,
    }
}

/// Visits until told to stop.
async fn visitor(
    address: String,
    seed: u64,
    content: Arc<Content>,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
) {
    let mut dice = Dice(seed);
    while !stop.load(Ordering::Relaxed) {
        let page = dice.roll(PAGES);
        let target = if dice.chance(20) {
            format!("/crawled/{}", dice.roll(1_000_000))
        } else {
            format!("/page/{page}")
        };
        let method = [
            "GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE",
        ][dice.roll(10) as usize];
        let more = [
            "",
            "",
            "accept-encoding: gzip, br\r\n",
            "range: bytes=0-99\r\n",
            "if-none-match: \"x\"\r\n",
            "cookie: a=b\r\n",
            "authorization: x\r\n",
            "x-1: a\r\nx-2: b\r\n",
            "rsc: 1\r\n",
        ][dice.roll(9) as usize];
        let length = if method == "POST" {
            "content-length: 0\r\n"
        } else {
            ""
        };
        let request =
            format!("{method} {target} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{length}{more}\r\n");
        let floor = |floors: &[AtomicU64]| floors[page as usize].load(Ordering::SeqCst);
        let floors = (floor(&content.fresh), floor(&content.any));
        let Ok(mut stream) = TcpStream::connect(&address).await else {
            continue;
        };
        if stream.write_all(request.as_bytes()).await.is_err() {
            continue;
        }
        if dice.chance(10) {
            // Gone before the answer, or in the middle of it.
            if dice.chance(50) {
                let mut some = [0; 100];
                let _ = stream.read(&mut some).await;
            }
            continue;
        }
        let slow = dice.chance(5);
        let mut raw = Vec::new();
        let mut piece = vec![0; if slow { 4096 } else { 65536 }];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            raw.extend_from_slice(&piece[..read]);
            if slow {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        tally.answers.fetch_add(1, Ordering::Relaxed);
        let target = target.starts_with("/page").then_some(&*target);
        check(&raw, target, floors, &tally);
    }
}

/// What a visitor got is what they asked for, and not older than a purge allows.
fn check(raw: &[u8], target: Option<&str>, (fresh, any): (u64, u64), tally: &Tally) {
    let text = String::from_utf8_lossy(raw);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        tally.unanswered.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let outcome = head
        .split("x-coppice-cache: ")
        .nth(1)
        .map_or("", |rest| rest.lines().next().unwrap());
    let count = match outcome {
        "HIT" => Some(&tally.hits),
        "STALE" => Some(&tally.stale),
        _ => None,
    };
    if let Some(count) = count {
        count.fetch_add(1, Ordering::Relaxed);
    }
    // Chunked bodies begin with a size; what is compressed or a range says nothing.
    let Some(target) =
        target.filter(|_| head.starts_with("HTTP/1.1 200") && !head.contains("content-encoding"))
    else {
        return;
    };
    let Some(at) = body.find(&format!("{target}|")) else {
        assert!(
            body.len() < 100 && !body.contains('|'),
            "another page's body: {target}: {head}\n{body:.200}"
        );
        return;
    };
    // One that breaks off in the middle of its version says nothing.
    let mut parts = body[at..].splitn(3, '|').skip(1);
    let (Some(version), Some(_)) = (parts.next(), parts.next()) else {
        return;
    };
    let version: u64 = version.parse().unwrap();
    let floor = if outcome == "STALE" { any } else { fresh };
    assert!(
        version >= floor,
        "{target} went back in time: {version} after {floor}: {head}"
    );
}

/// Writes and purges, one purge at a time, until told to stop.
async fn purger(
    mut stream: Attached,
    content: Arc<Content>,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
) -> Attached {
    let mut dice = Dice(42);
    let mut sequence = 1_000;
    while !stop.load(Ordering::Relaxed) {
        let version = content.version.fetch_add(1, Ordering::SeqCst) + 1;
        let page = dice.roll(PAGES);
        let mut selector = Selector::default();
        let pages = match dice.roll(20) {
            0 => {
                selector.everything = true;
                0..PAGES
            }
            1 => {
                selector.tags = vec!["site".to_owned()];
                0..PAGES
            }
            2 => {
                selector.patterns = vec!["/page/[id]".to_owned()];
                0..PAGES
            }
            _ => {
                selector.paths = vec![format!("/page/{page}")];
                page..page + 1
            }
        };
        let strategy = [Strategy::Refresh, Strategy::Expire, Strategy::Delete][dice.roll(3) as usize];
        sequence += 1;
        let line = Line {
            sequence,
            selector,
            strategy,
        };
        stream
            .say(Say::Lines(lines_to_pb([&line], sequence, 0).remove(0)))
            .await;
        acknowledged(&mut stream, sequence).await;
        tally.purges.fetch_add(1, Ordering::Relaxed);
        for page in pages {
            content.fresh[page as usize].fetch_max(version, Ordering::SeqCst);
            if strategy == Strategy::Delete {
                content.any[page as usize].fetch_max(version, Ordering::SeqCst);
            }
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(200))).await;
    }
    stream
}

async fn acknowledged(stream: &mut Attached, sequence: u64) {
    loop {
        if let Said::LinesAck(ack) = stream.hear().await
            && ack.head >= sequence
        {
            return;
        }
    }
}

/// What a sidecar says of itself, and the system of it.
#[derive(Debug, Clone, Copy)]
struct Sample {
    rss: u64,
    used: u64,
    pages: u64,
    flights: u64,
    queue: u64,
}

async fn sample(child: &Child, admin: &str) -> Sample {
    let mut peer = Peer::over(TcpStream::connect(admin).await.unwrap());
    peer.say("GET /state HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        .await;
    let answer = peer.rest().await;
    let json = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
    let state: serde_json::Value = serde_json::from_str(json).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    Sample {
        rss: rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10,
        used: state["memory"]["used"].as_u64().unwrap(),
        pages: state["pageCount"].as_u64().unwrap(),
        flights: state["flightCount"].as_u64().unwrap(),
        queue: state["queueCount"].as_u64().unwrap(),
    }
}

/// The sidecar as a pod would run it, and where it is for visitors and for those who look after it. A port that is free now
/// may be another's in a moment: then others are tried.
async fn sidecar(app: &str, operator: &str) -> (Child, String, String) {
    for _ in 0..10 {
        let (listen, admin) = (nobody().await, nobody().await);
        let mut child = Command::new(env!("CARGO_BIN_EXE_coppice-sidecar"))
            .args(["--app", app, "--listen", &listen, "--admin", &admin])
            .args(["--operator", operator, "--memory", &BUDGET.to_string()])
            .args(["--drain", "0s", "--log", "error"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            if TcpStream::connect(&admin).await.is_ok() {
                return (child, listen, admin);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    panic!("the sidecar does not start");
}

fn config() -> pb::Config {
    let mut rule = stage::rule();
    rule.revalidate = Some(Interval::After(Duration::from_secs(2)));
    rule.negative = Duration::from_secs(1);
    config_to_pb(&stage::config_within(rule, Duration::from_secs(1)))
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of[of.len() / 2]
}

#[cfg(target_os = "linux")] // which says in /proc what a process takes
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_ends_with_nothing_in_the_air_and_nothing_accounted_for() {
    let told = std::env::var("COPPICE_SOAK_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    let length = told.map_or(SHORT, Duration::from_secs);
    let floors = || (0..PAGES).map(|_| AtomicU64::new(0)).collect();
    let content = Arc::new(Content {
        fresh: floors(),
        any: floors(),
        ..Content::default()
    });
    let tally = Arc::<Tally>::default();
    let stop = Arc::<AtomicBool>::default();

    let app = misbehaving(content.clone()).await;
    let mut operator = Operator::start().await;
    let (mut child, listen, admin) = sidecar(&app, &operator.url).await;
    let mut stream = operator.attached().await;
    stream.say(Say::Config(config())).await;
    while !matches!(stream.hear().await, Said::ConfigAck(_)) {}

    let visits: Vec<_> = (1..=VISITORS)
        .map(|seed| {
            tokio::spawn(visitor(
                listen.clone(),
                seed * 7919,
                content.clone(),
                tally.clone(),
                stop.clone(),
            ))
        })
        .collect();
    let purges = tokio::spawn(purger(stream, content.clone(), tally.clone(), stop.clone()));
    let (began, mut samples) = (Instant::now(), Vec::new());
    while began.elapsed() < length {
        tokio::time::sleep(length / 60).await;
        let sample = sample(&child, &admin).await;
        assert!(sample.used <= BUDGET, "{sample:?}");
        assert!(sample.rss <= CONTAINER, "{sample:?}");
        samples.push(sample);
        let fell = visits.iter().any(tokio::task::JoinHandle::is_finished) || purges.is_finished();
        if fell {
            break;
        }
    }
    stop.store(true, Ordering::SeqCst);
    content.calm.store(true, Ordering::SeqCst);
    for visit in visits {
        visit.await.unwrap();
    }
    let stream = purges.await.unwrap();

    // Nobody asks any more: all flights land, and what is accounted for is what is stored.
    until("every flight has ended and nothing waits", async || {
        let sample = sample(&child, &admin).await;
        (sample.flights, sample.queue) == (0, 0)
    })
    .await;
    let rest = sample(&child, &admin).await;
    stream.say(Say::Reset(pb::Reset {})).await;
    until("nothing is accounted for", async || {
        let sample = sample(&child, &admin).await;
        (sample.pages, sample.used) == (0, 0)
    })
    .await;
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let rss = |samples: &[Sample]| median(samples.iter().map(|sample| sample.rss).collect()) >> 10;
    let fifth = samples.len() / 5;
    let (early, late) = (
        rss(&samples[fifth..2 * fifth]),
        rss(&samples[samples.len() - fifth..]),
    );
    let most = samples.iter().map(|sample| sample.rss).max().unwrap() >> 10;
    println!(
        "{} s: {} answers ({} hits, {} stale, {} unanswered), {} requests to the app, {} purges; RSS {early} KiB early, {late} KiB \
         late, {most} KiB at most; at rest {rest:?}",
        began.elapsed().as_secs(),
        count(&tally.answers),
        count(&tally.hits),
        count(&tally.stale),
        count(&tally.unanswered),
        count(&content.asked),
        count(&tally.purges),
    );
    assert!(count(&tally.hits) > 0 && count(&tally.purges) > 0);
    if length >= Duration::from_mins(5) {
        assert!(
            late <= early + early / 10 + 4096,
            "RSS grew from {early} KiB to {late} KiB"
        );
    }
    child.kill().await.unwrap();
}
