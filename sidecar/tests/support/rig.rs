//! A fetcher before an app whose every answer the test gives by hand: flights without visitors' connections.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use coppice_cache::{
    config::{Interval, Rule, Scheme},
    key::{Key, Lookup},
    ledger::{Ledger, Line, Selector, Strategy},
    page::Page,
    routes::Routes,
    store::Store,
    verdict::Verdict,
};
use coppice_sidecar::{
    clock::Clock,
    fetch::{Fallback, Fetched, Fetcher, Streamed, upstream::Upstream},
};
use http::HeaderMap;
use http_body_util::BodyExt;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Peer, app, soon, stage, until};

/// A request that the app has got; the test answers it.
pub struct Asked {
    pub path: String,
    pub peer: Peer,
}

impl Asked {
    pub async fn answer(mut self, head: &str, body: &str) {
        self.head(&format!("{head}Content-Length: {}\r\n", body.len()))
            .await;
        self.peer.say(body).await;
    }

    /// Status and headers; what is sent then is the body.
    pub async fn head(&mut self, head: &str) {
        self.peer
            .say(&format!("HTTP/1.1 {head}Connection: close\r\n\r\n"))
            .await;
    }

    /// A chunk of a chunked body; an empty one ends it.
    pub async fn chunk(&mut self, text: &str) {
        self.peer.say(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }
}

pub const OK: &str = "200 OK\r\n";
pub const CHUNKED: &str = "200 OK\r\nTransfer-Encoding: chunked\r\n";

pub struct Rig {
    pub clock: Clock,
    pub routes: Arc<ArcSwap<Routes>>,
    pub fetcher: Fetcher,
    pub asked: mpsc::UnboundedReceiver<Asked>,
}

pub fn rule() -> Rule {
    Rule {
        revalidate: Some(Interval::After(Duration::from_mins(1))),
        expire: Duration::from_hours(1),
        negative: Duration::from_secs(10),
        max_body_bytes: 10 << 20,
        ..stage::rule()
    }
}

pub fn routes(name: &str, rule: Rule, timeout: Duration) -> Routes {
    let mut config = stage::config_within(rule, timeout);
    name.clone_into(&mut config.routes[0].name);
    Routes::compile(&config).unwrap()
}

fn fetcher(clock: Clock, routes: Arc<ArcSwap<Routes>>, app: &str, regenerations: u16) -> Fetcher {
    let (store, ledger) = (Store::new(64 << 20), Arc::new(Ledger::new()));
    Fetcher::new(
        clock,
        routes,
        store,
        ledger,
        Upstream::new(app),
        regenerations.try_into().unwrap(),
    )
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(|_| (), Duration::from_secs(30)).await
    }

    pub async fn with(change: impl FnOnce(&mut Rule), timeout: Duration) -> Self {
        let (address, asked) = Self::app().await;
        Self::before(&address, asked, change, timeout)
    }

    /// With another number of regenerations at a time.
    pub async fn regenerating(regenerations: u16) -> Self {
        let (address, asked) = Self::app().await;
        let rig = Self::before(&address, asked, |_| (), Duration::from_secs(30));
        let fetcher = fetcher(rig.clock, rig.routes.clone(), &address, regenerations);
        Self { fetcher, ..rig }
    }

    async fn app() -> (String, mpsc::UnboundedReceiver<Asked>) {
        let (tell, asked) = mpsc::unbounded_channel();
        let address = app(move |mut peer| {
            let tell = tell.clone();
            async move {
                if let Some(head) = peer.head_or_end().await {
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let _ = tell.send(Asked { path, peer });
                }
            }
        })
        .await;
        (address, asked)
    }

    pub fn before(
        address: &str,
        asked: mpsc::UnboundedReceiver<Asked>,
        change: impl FnOnce(&mut Rule),
        timeout: Duration,
    ) -> Self {
        let mut rule = rule();
        change(&mut rule);
        let clock = Clock::start();
        let routes = Arc::new(ArcSwap::from_pointee(routes("shop", rule, timeout)));
        Self {
            clock,
            routes: routes.clone(),
            fetcher: fetcher(clock, routes, address, 10),
            asked,
        }
    }

    pub fn lookup(&self, target: &str) -> Lookup {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let key = Arc::new(Key::new(Scheme::Http, "a.test", path, query).unwrap());
        self.routes.load().revisit(&key).unwrap()
    }

    /// A visitor that waits for a page.
    pub fn wait(&self, path: &str, fallback: Option<Page>) -> JoinHandle<Fetched> {
        let (fetcher, mut lookup) = (self.fetcher.clone(), self.lookup(path));
        tokio::spawn(async move { fetcher.fetch(&mut lookup, &HeaderMap::new(), fallback).await })
    }

    pub async fn asked(&mut self) -> Asked {
        soon(self.asked.recv()).await.unwrap()
    }

    /// Nobody has asked the app for anything more.
    pub fn is_quiet(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }

    /// Fetches and stores a page.
    pub async fn store(&mut self, path: &str, text: &str) -> Page {
        let visitor = self.wait(path, None);
        self.asked().await.answer(OK, text).await;
        assert_eq!(body(soon(visitor).await.unwrap()).await.unwrap(), text);
        self.stored(path).await
    }

    pub async fn stored(&self, path: &str) -> Page {
        let key = self.lookup(path).key;
        until("the page is stored", async || {
            self.fetcher.store().get(&key).is_some()
        })
        .await;
        self.fetcher.store().get(&key).unwrap()
    }

    pub async fn landed(&self) {
        until("all have landed", async || self.fetcher.in_the_air() == 0).await;
    }

    pub fn look_up(&self, path: &str) -> (Option<Page>, Verdict) {
        let mut lookup = self.lookup(path);
        let now = self.clock.now();
        let found = self
            .fetcher
            .shelves(now)
            .look_up(&mut lookup, &HeaderMap::new(), now);
        found.expect("nothing passes")
    }

    pub fn purge(&self, sequence: u64, selector: Selector, strategy: Strategy) -> Line {
        let line = Line {
            sequence,
            selector,
            strategy,
        };
        self.fetcher.ledger().append([line.clone()], sequence, 0);
        line
    }
}

pub fn everything() -> Selector {
    Selector {
        everything: true,
        ..Selector::default()
    }
}

pub fn path(path: &str) -> Selector {
    Selector {
        paths: vec![path.to_owned()],
        ..Selector::default()
    }
}

pub fn tagged(tag: &str) -> Selector {
    Selector {
        tags: vec![tag.to_owned()],
        ..Selector::default()
    }
}

pub fn streamed(fetched: Fetched) -> Streamed {
    match fetched {
        Fetched::Stream(streamed) => streamed,
        other => panic!("not streamed: {other:?}"),
    }
}

/// The body that a visitor gets who had no old page, if it does not break off: a small one may be whole at once.
pub async fn body(fetched: Fetched) -> Option<String> {
    match fetched {
        Fetched::Page { page, .. } => Some(String::from_utf8(page.bytes().to_vec()).unwrap()),
        other => read(streamed(other)).await,
    }
}

/// The rest of a streamed body, if it does not break off.
pub async fn read(streamed: Streamed) -> Option<String> {
    let whole = soon(streamed.body.collect()).await.ok()?;
    Some(String::from_utf8(whole.to_bytes().to_vec()).unwrap())
}

pub fn old(fetched: Fetched) -> (Page, Fallback) {
    match fetched {
        Fetched::Old { page, why } => (page, why),
        other => panic!("not the old page: {other:?}"),
    }
}
