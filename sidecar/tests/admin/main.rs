//! The admin address over real sockets: the page, its limits, and why a URL is or is not cached.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod explain;
mod page;
#[path = "../support/mod.rs"]
mod support;

use std::{net::SocketAddr, sync::Arc};

use coppice_cache::{
    config::{Rule, Scheme},
    key::Key,
    page::{Page, Parts, TagSet},
    time::Moment,
};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use support::stage::Stage;

/// A sidecar with an admin address.
struct Desk {
    stage: Stage,
    admin: SocketAddr,
}

/// What it answered: the head in lower case, the body.
struct Said {
    status: u16,
    head: String,
    body: String,
}

impl Desk {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Rule)) -> Self {
        let stage = Stage::bare(|settings| settings.admin = Some("127.0.0.1:0".parse().unwrap())).await;
        stage.rule(change);
        let admin = stage.sidecar.admin.unwrap();
        Self { stage, admin }
    }

    async fn ask(&self, target: &str, headers: &str) -> Said {
        let request = format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let raw = support::ask(self.admin, &request).await;
        let (head, body) = raw
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no head: {raw}"));
        Said {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, target: &str) -> Said {
        self.ask(target, "Host: localhost\r\n").await
    }

    async fn state(&self, query: &str) -> Value {
        serde_json::from_str(&self.get(&format!("/state?{query}")).await.body).unwrap()
    }

    /// Asks why, about a path of the host that visits are made to.
    async fn explain(&self, path: &str, more: &str) -> Value {
        let url = format!("http://a.test{}", path.replace('%', "%25").replace('&', "%26"));
        let said = self.get(&format!("/explain?url={url}&format=json{more}")).await;
        assert_eq!(said.status, 200, "{}", said.body);
        serde_json::from_str(&said.body).unwrap()
    }

    /// The word for the next visitor, and why.
    async fn next(&self, path: &str) -> (String, String) {
        let answer = self.explain(path, "").await;
        let word = |name: &str| answer["next"][name].as_str().unwrap_or_default().to_owned();
        (word("outcome"), word("reason"))
    }

    fn page(&self, path: &str) -> Page {
        let key = Key::new(Scheme::Http, "a.test", path, "").unwrap();
        self.stage.site.fetcher.store().peek(&key).unwrap()
    }

    /// Stores a page without a visit.
    fn put(&self, path: &str, tags: &[&str], bytes: usize, stored: u64) {
        let routes = self.stage.site.routes.load();
        let plan = &routes.plans()[0];
        let page = Page::new(Parts {
            key: Arc::new(Key::new(Scheme::Http, "a.test", path, "").unwrap()),
            owner: plan.owner.clone(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: vec![b'x'; bytes].into(),
            tags: TagSet::new(tags.iter().copied(), []).unwrap(),
            stamp: 0,
            stored: Moment(stored),
            tagged: false,
            compressible: false,
            vary: None,
            app: None,
        });
        self.stage.site.fetcher.store().insert(&Arc::new(page));
    }
}

fn word(outcome: &str, reason: &str) -> (String, String) {
    (outcome.to_owned(), reason.to_owned())
}
