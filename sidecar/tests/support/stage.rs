//! A stage: a sidecar with routes, and an app whose every answer the test gives by hand, so that each test says exactly
//! what happens before what.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use coppice_cache::{
    config::{Config, Interval, Origin, Route, Rule, Scheme},
    ledger::{Line, Selector, Strategy},
    routes::Routes,
};
use coppice_sidecar::{Sidecar, config::Settings, site::Site};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use super::{Running, run, settings, soon, until};

/// Longer than any test.
pub const LONG: Duration = Duration::from_hours(1);
/// Over by the time that anything can be seen.
pub const SHORT: Duration = Duration::from_millis(1);

/// The app, as the test sees it: requests come out, answers go in.
pub struct App {
    pub address: String,
    asked: mpsc::UnboundedReceiver<Asked>,
}

/// A request that the app has read and not answered.
pub struct Asked {
    /// Its head, in lower case.
    pub head: String,
    pub stream: TcpStream,
}

impl App {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let ask = ask.clone();
                tokio::spawn(async move {
                    if let Some(head) = read_head(&mut stream).await {
                        let _ = ask.send(Asked { head, stream });
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// The next request that reaches the app.
    pub async fn asked(&mut self) -> Asked {
        soon(self.asked.recv()).await.expect("the app goes on")
    }

    /// No request has reached the app.
    pub fn is_idle(&mut self) -> bool {
        self.asked.is_empty()
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).to_lowercase())
}

/// An answer on its way.
pub type Said = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Asked {
    /// Whether the request has a header of this name.
    pub fn has(&self, name: &str) -> bool {
        self.head.contains(&format!("\r\n{name}:"))
    }

    /// Answers, and is done with the connection. `headers` end in CRLF each.
    pub async fn answer(mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        self.say(&format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        ))
        .await;
    }

    /// Answers with a status that has no body.
    pub async fn answer_nothing(mut self, status: &str, headers: &str) {
        self.say(&format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n"
        ))
        .await;
    }

    pub async fn page(self, body: &str) {
        self.answer("200 OK", "content-type: text/html\r\n", body).await;
    }

    pub async fn say(&mut self, text: &str) {
        soon(self.stream.write_all(text.as_bytes())).await.unwrap();
    }
}

/// An answer as a visitor got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub status: u16,
    /// Names in lower case; of several fields of a name, the values with a comma between them.
    pub headers: HashMap<String, String>,
    pub body: String,
    /// The body as bytes came, where its length was said before.
    pub raw: Vec<u8>,
    /// It ended as its framing says.
    pub whole: bool,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `x-coppice-cache`.
    pub fn outcome(&self) -> &str {
        self.header("x-coppice-cache")
    }

    pub fn cache_status(&self) -> &str {
        self.header("cache-status")
    }

    /// The answer to a request of this method; that to a HEAD ends with its head, and so do 204 and 304.
    pub fn parse_for(method: &str, raw: &[u8]) -> Self {
        let got = Self::parse(raw);
        let whole = got.whole || method == "HEAD" || matches!(got.status, 204 | 304);
        Self { whole, ..got }
    }

    fn parse(mut raw: &[u8]) -> Self {
        // What was said before the answer (1xx, but for 101) is none.
        while raw.starts_with(b"HTTP/1.1 10") && !raw.starts_with(b"HTTP/1.1 101") {
            let end = raw.windows(4).position(|part| part == b"\r\n\r\n");
            raw = &raw[end.unwrap() + 4..];
        }
        let end = raw.windows(4).position(|part| part == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(raw)));
        let head = String::from_utf8_lossy(&raw[..end]).into_owned();
        let body = String::from_utf8_lossy(&raw[end + 4..]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .unwrap()
            .parse()
            .unwrap();
        let mut headers: HashMap<String, String> = HashMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            headers
                .entry(name.to_lowercase())
                .and_modify(|values| *values = format!("{values}, {}", value.trim()))
                .or_insert_with(|| value.trim().to_owned());
        }
        let bytes = raw[end + 4..].to_vec();
        let (body, whole) = match headers.get("content-length") {
            Some(length) => {
                let whole = bytes.len() == length.parse::<usize>().unwrap();
                (body, whole)
            }
            None => unchunk(&body),
        };
        Self {
            status,
            headers,
            body,
            raw: bytes,
            whole,
        }
    }
}

fn unchunk(mut body: &str) -> (String, bool) {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(chunk) = rest.get(..size) else { break };
        text.push_str(chunk);
        if size == 0 {
            return (text, true);
        }
        body = &rest[size + 2..];
    }
    (text, false)
}

/// A visit that goes on while the test does something else.
pub type Visit = JoinHandle<Got>;

pub async fn end(visit: Visit) -> Got {
    soon(visit).await.unwrap()
}

/// A sidecar with routes before an app.
pub struct Stage {
    pub app: App,
    pub site: Arc<Site>,
    pub sidecar: Running,
}

impl Stage {
    /// With one rule for every path, fresh for [`LONG`].
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut Rule)) -> Self {
        let stage = Self::bare(|_| ()).await;
        stage.rule(change);
        stage
    }

    /// Without any configuration.
    pub async fn bare(change: impl FnOnce(&mut Settings)) -> Self {
        let app = App::start().await;
        let mut settings = settings(&app.address);
        change(&mut settings);
        let sidecar = Sidecar::bind(settings).unwrap();
        Self {
            app,
            site: sidecar.site().clone(),
            sidecar: run(sidecar),
        }
    }

    /// Swaps another rule in, as the operator's stream would.
    pub fn rule(&self, change: impl FnOnce(&mut Rule)) {
        let mut rule = rule();
        change(&mut rule);
        let routes = Routes::compile(&config(rule)).unwrap();
        self.site.routes.store(Arc::new(routes));
    }

    /// Swaps another interval in, which holds for stored pages.
    pub fn revalidate(&self, interval: Duration) {
        self.rule(|rule| rule.revalidate = Some(Interval::After(interval)));
    }

    /// Commits a purge, as the operator's stream would.
    pub fn purge(&self, strategy: Strategy, select: impl FnOnce(&mut Selector)) {
        let ledger = self.site.fetcher.ledger();
        let mut selector = Selector::default();
        select(&mut selector);
        let sequence = ledger.head() + 1;
        let line = Line {
            sequence,
            selector,
            strategy,
        };
        ledger.append([line], sequence, 0);
    }

    pub fn purge_path(&self, strategy: Strategy, path: &str) {
        self.purge(strategy, |selector| selector.paths.push(path.to_owned()));
    }

    /// Begins a request; `headers` end in CRLF each.
    pub fn begin(&self, method: &str, path: &str, headers: &str) -> Visit {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{headers}\r\n");
        self.begin_raw(request.into_bytes())
    }

    pub fn begin_raw(&self, request: Vec<u8>) -> Visit {
        let address = self.sidecar.address;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&request).await.unwrap();
            let mut raw = Vec::new();
            // A broken answer ends in an error, or just ends.
            let _ = stream.read_to_end(&mut raw).await;
            Got::parse(&raw)
        })
    }

    pub async fn get(&self, path: &str) -> Got {
        end(self.begin("GET", path, "")).await
    }

    pub async fn get_with(&self, path: &str, headers: &str) -> Got {
        end(self.begin("GET", path, headers)).await
    }

    /// A request that the app answers: the visit ends after `answer` has given it.
    pub async fn ask<F, Fut>(&mut self, method: &str, path: &str, headers: &str, answer: F) -> Got
    where
        F: FnOnce(Asked) -> Fut,
        Fut: Future<Output = ()>,
    {
        let visit = self.begin(method, path, headers);
        answer(self.app.asked().await).await;
        let got = end(visit).await;
        self.settled().await;
        got
    }

    /// Waits until every flight has ended: a visitor may have the last byte of a page before the store has the page.
    pub async fn settled(&self) {
        until("every flight has ended", async || {
            self.site.fetcher.in_the_air() == 0
        })
        .await;
    }

    /// Has a page stored.
    pub async fn store(&mut self, path: &str, body: &str) {
        let got = self.ask("GET", path, "", |asked| asked.page(body)).await;
        assert_eq!((got.outcome(), got.body.as_str()), ("MISS", body));
        assert!(got.cache_status().contains("stored"), "{got:?}");
        assert_eq!(self.get(path).await.outcome(), "HIT");
    }

    /// Visits until an answer is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Got) -> bool) -> Got {
        soon(async {
            loop {
                let got = self.get(path).await;
                if wanted(&got) {
                    return got;
                }
            }
        })
        .await
    }
}

pub fn rule() -> Rule {
    Rule {
        revalidate: Some(Interval::After(LONG)),
        expire: 24 * LONG,
        negative: LONG,
        tags: vec!["site".to_owned()],
        max_body_bytes: 1 << 20,
        cache_control: "public, max-age=7".to_owned(),
        ..Rule::new("all", &["/[[...all]]"])
    }
}

pub fn config(rule: Rule) -> Config {
    config_within(rule, Duration::from_secs(30))
}

/// With another `origin.timeout`.
pub fn config_within(rule: Rule, timeout: Duration) -> Config {
    Config {
        routes: vec![Route {
            origin: Origin {
                timeout,
                scheme: Scheme::Http,
                headers: Vec::new(),
            },
            ..Route::new("site", vec![rule])
        }],
    }
}
