//! What a stored page takes beyond its body, counted: it may become less, and more only on purpose.

mod support;

use std::{ops::Range, sync::Arc};

use coppice_cache::routes::Routes;
use coppice_sidecar::{Sidecar, config::Settings};
use rstest::rstest;
use support::{Peer, answering, run, settings, stage};
use tokio::net::TcpStream;

/// How many pages are counted, after [`WARM`] others have made grow whatever grows at first.
const PAGES: u32 = 2000;
const WARM: u32 = 500;
/// What an allocator takes for each piece of memory, beside what is asked of it.
const PIECE: i64 = 16;

/// A page as the bench's app gives it, with so many bytes in its body as its path says.
fn answer(head: &str) -> String {
    let path = head.split(' ').nth(1).expect("a request line");
    let mut parts = path.rsplit('/');
    let name = parts.next().expect("a name");
    let body: usize = parts.next().and_then(|size| size.parse().ok()).expect("a size");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {body}\r\n\
         Cache-Control: public, max-age=86400\r\nETag: \"{body}-{name}\"\r\nCache-Tag: page-{name}\r\n\
         X-Render: {name}\r\n\r\n{}",
        "x".repeat(body)
    )
}

async fn visit(visitor: &mut Peer, body: usize, pages: Range<u32>) {
    for page in pages {
        let request = format!("GET /store/{body}/{page} HTTP/1.1\r\nHost: 127.0.0.1:12345\r\n\r\n");
        visitor.say(&request).await;
        let head = visitor.head().await;
        assert!(head.contains("x-coppice-cache: miss"), "{head}");
        visitor.exactly(body).await.expect("a whole page");
    }
}

/// A short body is in one piece of memory with all else that is a page's own.
#[rstest]
#[case(1100, 360)]
#[case(1024, 360)]
#[case(10_000, 460)]
fn page_takes_little_beyond_its_body_and_all_of_it_is_weighed(#[case] body: usize, #[case] most: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut visitor, site) = runtime.block_on(async {
        let settings = Settings {
            memory: 128 << 20,
            ..settings(answering(answer).await)
        };
        let sidecar = Sidecar::bind(settings).unwrap();
        let site = sidecar.site().clone();
        let mut rule = stage::rule();
        rule.tags.clear();
        let routes = Routes::compile(&stage::config(rule)).unwrap();
        site.routes.store(Arc::new(routes));
        let stream = TcpStream::connect(run(sidecar).address).await.unwrap();
        let mut visitor = Peer::over(stream);
        visit(&mut visitor, body, 0..WARM).await;
        (visitor, site)
    });
    let store = site.fetcher.store();
    let (pages, weight) = (store.len(), store.bytes());
    let counted = allocation_counter::measure(|| {
        runtime.block_on(visit(&mut visitor, body, WARM..WARM + PAGES));
    });
    assert_eq!(store.len() - pages, PAGES as usize, "every page is stored");
    let each = |sum: i64| sum / i64::from(PAGES);
    let taken = each(counted.bytes_current + counted.count_current * PIECE);
    let weighed = each((store.bytes() - weight) as i64);
    let beyond = taken - body as i64;
    println!(
        "{beyond} bytes beyond the body in {:.1} pieces, {weighed} weighed",
        counted.count_current as f64 / f64::from(PAGES)
    );
    assert!(beyond <= most, "{beyond} bytes beyond the body");
    assert!(weighed >= taken, "{taken} bytes, of which {weighed} are weighed");
}
