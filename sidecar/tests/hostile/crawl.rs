//! Crawlers: far more URLs than there is room for. Memory stays within the budget, and pages that people visit stay.

use std::sync::Arc;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    support::{soon, until},
    world::{Seen, World},
};

/// Distinct URLs that the crawlers ask for, many times as many as there is room for. `COPPICE_CRAWL=100000` crawls further:
/// `cargo xtask soak` does.
const URLS: usize = 5_000;
/// Room for some hundred pages.
const MEMORY: u64 = 1 << 20;
/// Pages that people visit meanwhile.
const HOT: usize = 50;
const CRAWLERS: usize = 4;
/// Requests that a crawler sends at once.
const AT_ONCE: usize = 125;

/// A page of 1 KiB.
fn page(_: &Seen) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 1024\r\n\r\n{:1024}",
        "x"
    )
}

/// Asks for all of these on one connection, and counts the answers that are hits.
async fn ask_all(world: &World, targets: impl Iterator<Item = String>) -> usize {
    let stream = TcpStream::connect(world.sidecar.address).await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let targets: Vec<_> = targets.collect();
    let mut hits = 0;
    for batch in targets.chunks(AT_ONCE) {
        let requests: Vec<_> = batch
            .iter()
            .map(|target| format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n"))
            .collect();
        let requests = requests.concat();
        let answers = async {
            let mut line = String::new();
            for _ in batch {
                while line != "\r\n" {
                    line.clear();
                    read.read_line(&mut line).await.unwrap();
                    hits += usize::from(line == "x-coppice-cache: HIT\r\n");
                }
                line.clear();
                let mut body = [0; 1024];
                read.read_exact(&mut body).await.unwrap();
            }
        };
        let both = async { tokio::join!(write.write_all(requests.as_bytes()), answers) };
        soon(both).await.0.unwrap();
    }
    hits
}

fn hot() -> impl Iterator<Item = String> {
    (0..HOT).map(|number| format!("/hot/{number}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_6_a_crawler_evicts_no_page_that_people_visit() {
    let told = std::env::var("COPPICE_CRAWL")
        .ok()
        .and_then(|urls| urls.parse().ok());
    let urls: usize = told.unwrap_or(URLS);
    let world = Arc::new(World::within(MEMORY, page, |_| ()).await);
    let store = world.site.fetcher.store().clone();
    let rounds = urls / CRAWLERS / AT_ONCE;
    let mut hits = 0;
    for round in 0..rounds {
        let crawls = (0..CRAWLERS).map(|crawler| {
            let world = world.clone();
            tokio::spawn(async move {
                let targets = (0..AT_ONCE).map(|at| format!("/crawled/{crawler}/{round}/{at}?q={at}"));
                assert_eq!(ask_all(&world, targets).await, 0, "no URL is asked for twice");
            })
        });
        let crawls: Vec<_> = crawls.collect();
        hits += ask_all(&world, hot()).await;
        for crawl in crawls {
            crawl.await.unwrap();
        }
        assert!(
            store.bytes() <= store.budget(),
            "{} of {}",
            store.bytes(),
            store.budget()
        );
    }
    until("every flight has ended", async || {
        world.site.fetcher.in_the_air() == 0
    })
    .await;
    assert!(
        store.len() < urls / 4 && store.len() > HOT,
        "{} pages",
        store.len()
    );
    // The first round finds nothing; from then on people get what is stored, whatever the crawlers do.
    let visits = HOT * (rounds - 1);
    println!(
        "{hits} hits of {visits}, {} pages, {} bytes",
        store.len(),
        store.bytes()
    );
    assert!(hits * 10 >= visits * 9, "{hits} hits of {visits}");
    assert!(ask_all(&world, hot()).await * 10 >= HOT * 9);
}
