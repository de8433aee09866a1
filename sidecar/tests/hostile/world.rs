//! An app that notes every request as it was framed, and visitors that send bytes as they like.

use std::{fmt::Write as _, sync::Arc};

use coppice_cache::{config::Rule, routes::Routes};
use coppice_sidecar::{Sidecar, serve::Limits, site::Site};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    Peer, Running, app, run, settings, soon,
    stage::{self, Got},
};

/// A page.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A request as the app read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Everything before the empty line, as it was sent.
    pub head: String,
    /// As the head frames it.
    pub body: String,
}

impl Seen {
    /// `GET /path`, and the body in brackets where there is one.
    pub fn line(&self) -> String {
        let mut words = self.head.split(' ');
        let mut line = format!(
            "{} {}",
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default()
        );
        if !self.body.is_empty() {
            let _ = write!(line, " [{}]", self.body);
        }
        line
    }

    /// The values of a header, with `|` between them.
    pub fn header(&self, name: &str) -> String {
        let fields = self.head.split("\r\n").skip(1);
        let values = fields.filter_map(|field| {
            let (field, value) = field.split_once(':').unwrap();
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        values.collect::<Vec<_>>().join("|")
    }

    /// No reader could take this head for another one.
    fn assert_clear(&self) {
        let framed = [self.header("content-length"), self.header("transfer-encoding")];
        let framed: Vec<_> = framed.iter().filter(|value| !value.is_empty()).collect();
        assert!(framed.len() <= 1, "framed twice: {self:?}");
        for value in framed {
            let plain = value == "chunked" || value.bytes().all(|byte| byte.is_ascii_digit());
            assert!(plain, "framed oddly: {self:?}");
        }
        let lines = self.head.replace("\r\n", "");
        assert!(!lines.contains(['\r', '\n', '\0']), "odd bytes: {self:?}");
        assert!(!self.head.contains("\r\n "), "folded: {self:?}");
        let hosts = self.header("host");
        assert!(
            !hosts.is_empty() && !hosts.contains('|'),
            "not one host: {self:?}"
        );
    }
}

/// What the app says to a request.
pub struct Says {
    pub text: String,
    /// It closes the connection then.
    pub closes: bool,
}

impl From<String> for Says {
    fn from(text: String) -> Self {
        Self { text, closes: false }
    }
}

/// A sidecar whose every path is a page, before an app that notes what reaches it.
pub struct World {
    pub site: Arc<Site>,
    pub sidecar: Running,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(
            |_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
            |_| (),
        )
        .await
    }

    /// The app answers every request with `answer` of it.
    pub async fn with<S: Into<Says>>(
        answer: impl Fn(&Seen) -> S + Clone + Send + Sync + 'static,
        change: impl FnOnce(&mut Rule),
    ) -> Self {
        Self::within(16 << 20, answer, change).await
    }

    /// With another memory budget.
    pub async fn within<S: Into<Says>>(
        memory: u64,
        answer: impl Fn(&Seen) -> S + Clone + Send + Sync + 'static,
        change: impl FnOnce(&mut Rule),
    ) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let notes = seen.clone();
        let address = app(move |mut peer| {
            let (answer, notes) = (answer.clone(), notes.clone());
            async move {
                while let Some(seen) = read(&mut peer).await {
                    let says = answer(&seen).into();
                    notes.lock().push(seen);
                    // Who has seen enough may be gone.
                    let _ = soon(peer.stream.write_all(says.text.as_bytes())).await;
                    if says.closes {
                        return;
                    }
                }
            }
        })
        .await;
        let world = Self {
            seen,
            ..Self::before_within(&address, memory)
        };
        world.rule(change);
        world
    }

    /// Before another app, which notes nothing.
    pub fn before(address: &str) -> Self {
        let world = Self::before_within(address, 16 << 20);
        world.rule(|_| ());
        world
    }

    fn before_within(address: &str, memory: u64) -> Self {
        let mut settings = settings(address);
        settings.memory = memory;
        let sidecar = Sidecar::bind_with(settings, Limits::default()).unwrap();
        Self {
            site: sidecar.site().clone(),
            sidecar: run(sidecar),
            seen: Arc::default(),
        }
    }

    /// Swaps another rule in.
    pub fn rule(&self, change: impl FnOnce(&mut Rule)) {
        let mut rule = stage::rule();
        change(&mut rule);
        let routes = Routes::compile(&stage::config(rule)).unwrap();
        self.site.routes.store(Arc::new(routes));
    }

    /// What has reached the app since this was asked last.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock())
    }

    /// Begins a request to `a.test`, and reads the answer; `headers` end in CRLF each.
    pub async fn ask(&self, method: &str, target: &str, headers: &str) -> Got {
        let host = if headers.starts_with("host:") {
            ""
        } else {
            "host: a.test\r\n"
        };
        let close = if headers.starts_with("connection:") {
            ""
        } else {
            "connection: close\r\n"
        };
        let request = format!("{method} {target} HTTP/1.1\r\n{host}{close}{headers}\r\n");
        let mut stream = TcpStream::connect(self.sidecar.address).await.unwrap();
        let _ = soon(stream.write_all(request.as_bytes())).await;
        let mut raw = Vec::new();
        let _ = soon(stream.read_to_end(&mut raw)).await;
        Got::parse_for(method, &raw)
    }

    /// An innocent visit.
    pub async fn get(&self, target: &str, headers: &str) -> Got {
        self.ask("GET", target, headers).await
    }

    /// Sends bytes on a connection of their own; everything up to its end, which the bytes must bring about.
    pub async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.sidecar.address).await.unwrap();
        // Whoever is refused early is not read to the end.
        let _ = soon(stream.write_all(bytes)).await;
        Peer::over(stream).rest().await
    }
}

/// Reads one request as strictly as the strictest app.
async fn read(peer: &mut Peer) -> Option<Seen> {
    let head = peer.head_or_end().await?;
    let mut seen = Seen {
        head: head.trim_end_matches("\r\n").to_owned(),
        body: String::new(),
    };
    seen.assert_clear();
    if seen.header("transfer-encoding") == "chunked" {
        loop {
            let size = peer.until_or_end("\r\n").await?;
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            if size == 0 {
                peer.until_or_end("\r\n").await?;
                break;
            }
            seen.body.push_str(&peer.exactly(size).await?);
            assert_eq!(peer.exactly(2).await?, "\r\n");
        }
    } else if let Ok(length) = seen.header("content-length").parse() {
        seen.body = peer.exactly(length).await?;
    }
    Some(seen)
}

/// The statuses of all answers on a connection.
pub fn statuses(said: &str) -> Vec<u16> {
    let status = |line: &str| line.get(..3).and_then(|code| code.parse().ok());
    said.split("HTTP/1.1 ")
        .flat_map(|part| part.split("HTTP/1.0 "))
        .filter_map(status)
        .collect()
}
