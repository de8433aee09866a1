//! Which page and which knob a request reaches.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited, channel::Channel};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    behaviour::{Behaviour, Behaviours},
    blog::Blog,
    body::{Body, full, scripted},
    html::{self, Stamp},
};

/// Request bodies beyond this are refused.
const MAX_BODY: usize = 1024 * 1024;
/// The last requests that are remembered for each path.
const REMEMBERED: usize = 20;
/// Paths whose renders are counted.
const MAX_COUNTED: usize = 10_000;
/// Padded bodies end here.
const MAX_PADDED: usize = 64 * 1024 * 1024;

/// What becomes of a request.
pub(crate) enum Answer {
    Response(Box<Response<Body>>),
    /// The connection is closed without a word.
    HangUp,
}

/// The whole app: its posts, its scripted bad days and its memory of what it was asked.
pub(crate) struct Site {
    pod: String,
    blog: Mutex<Blog>,
    behaviours: Arc<Behaviours>,
    seen: Mutex<BTreeMap<String, Seen>>,
}

/// What one path was asked.
#[derive(Debug, Default)]
struct Seen {
    renders: u64,
    requests: VecDeque<Asked>,
}

/// One request as the app got it.
#[derive(Debug, Clone, Serialize)]
struct Asked {
    method: String,
    uri: String,
    /// Names in lower case, in the order of arrival for each name.
    headers: BTreeMap<String, Vec<String>>,
}

impl Asked {
    fn of(parts: &Parts) -> Self {
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &parts.headers {
            let value = value.as_bytes().iter().map(|b| char::from(*b)).collect();
            headers.entry(name.to_string()).or_default().push(value);
        }
        Self {
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            headers,
        }
    }
}

/// A page before the path's behaviour has had its say.
struct Page {
    status: StatusCode,
    html: String,
    location: Option<String>,
}

impl Page {
    fn new(status: StatusCode, html: String) -> Self {
        Self {
            status,
            html,
            location: None,
        }
    }
}

impl Site {
    pub(crate) fn new(pod: String) -> Self {
        Self {
            pod,
            blog: Mutex::default(),
            behaviours: Arc::default(),
            seen: Mutex::default(),
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        if let Some(knob) = path.strip_prefix("/_demo/") {
            return Answer::Response(Box::new(self.knob(knob, request).await));
        }
        if path == "/healthz" {
            return Answer::Response(Box::new(text(StatusCode::OK, "ok\n")));
        }
        let (parts, body) = request.into_parts();
        let render = self.remember(&path, &parts);
        let behaviour = self.behaviours.take(&path).await;
        if behaviour.close_after == Some(0) {
            return Answer::HangUp;
        }
        let stamp = Stamp {
            at: Timestamp::now(),
            pod: &self.pod,
            render,
        };
        let page = match read(body).await {
            Ok(body) => self.page(&parts.method, &path, &body, &stamp),
            Err(notice) => Page::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                html::notice("Too large", notice, None),
            ),
        };
        Answer::Response(Box::new(self.dress(page, &stamp, &behaviour)))
    }

    /// Counts a render and remembers who asked for it.
    fn remember(&self, path: &str, parts: &Parts) -> u64 {
        let mut seen = self.seen.lock();
        if seen.len() >= MAX_COUNTED && !seen.contains_key(path) {
            return 0;
        }
        let seen = seen.entry(path.to_owned()).or_default();
        seen.renders += 1;
        if seen.requests.len() == REMEMBERED {
            seen.requests.pop_front();
        }
        seen.requests.push_back(Asked::of(parts));
        seen.renders
    }

    fn page(&self, method: &Method, path: &str, body: &[u8], stamp: &Stamp<'_>) -> Page {
        let mut blog = self.blog.lock();
        let slug = |prefix| path.strip_prefix(prefix).filter(|s: &&str| !s.contains('/'));
        let read = matches!(*method, Method::GET | Method::HEAD);
        if path == "/" && read {
            return Page::new(StatusCode::OK, html::index(&blog, stamp));
        }
        if let (true, Some(slug)) = (read, slug("/blog/")) {
            return match blog.get(slug) {
                Some(post) => Page::new(StatusCode::OK, html::post(slug, post, stamp)),
                None => not_found(stamp),
            };
        }
        match slug("/edit/") {
            Some(slug) if read => match blog.get(slug) {
                Some(post) => Page::new(StatusCode::OK, html::edit(slug, &post.text)),
                None => not_found(stamp),
            },
            Some(slug) if method == Method::POST => {
                let Some(text) = form_field(body, "text") else {
                    let words = "Send the form field `text`.";
                    return Page::new(StatusCode::BAD_REQUEST, html::notice("No text", words, None));
                };
                match blog.save(slug, &text) {
                    Ok(()) => Page {
                        status: StatusCode::SEE_OTHER,
                        html: html::notice("Saved", "The post was saved.", None),
                        location: Some(format!("/blog/{slug}")),
                    },
                    Err(refused) => Page::new(
                        StatusCode::BAD_REQUEST,
                        html::notice("Not saved", refused.as_str(), None),
                    ),
                }
            }
            _ if read => not_found(stamp),
            _ => Page::new(
                StatusCode::METHOD_NOT_ALLOWED,
                html::notice("Not allowed", "This page can only be read.", None),
            ),
        }
    }

    /// Turns a page into a response, as the path's behaviour has it.
    fn dress(&self, page: Page, stamp: &Stamp<'_>, behaviour: &Behaviour) -> Response<Body> {
        let mut bytes = behaviour.body.clone().unwrap_or(page.html).into_bytes();
        if let Some(size) = behaviour.pad_to {
            bytes.resize(size.min(MAX_PADDED).max(bytes.len()), b' ');
        }
        let mut response = Response::new(scripted(bytes.into(), behaviour, &self.behaviours));
        *response.status_mut() = behaviour
            .status
            .and_then(|s| StatusCode::from_u16(s).ok())
            .unwrap_or(page.status);
        let headers = response.headers_mut();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, html);
        headers.insert("x-demo-render", HeaderValue::from(stamp.render));
        if let Ok(pod) = HeaderValue::from_str(stamp.pod) {
            headers.insert("x-demo-pod", pod);
        }
        if let Some(location) = page.location.and_then(|l| HeaderValue::from_str(&l).ok()) {
            headers.insert(header::LOCATION, location);
        }
        // Checked when the behaviour was set.
        for (name, value) in &behaviour.header_map().unwrap_or_default() {
            headers.remove(name);
            headers.append(name, value.clone());
        }
        response
    }

    async fn knob(&self, knob: &str, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        match (knob, &parts.method) {
            ("upgrade", _) => return upgrade(Request::from_parts(parts, body)),
            ("events", &Method::GET) => return events(),
            ("trailers", _) => return trailers(body),
            _ => {}
        }
        let body = match read(body).await {
            Ok(body) => body,
            Err(notice) => return text(StatusCode::PAYLOAD_TOO_LARGE, notice),
        };
        match (knob, &parts.method) {
            ("behaviour", &Method::POST) => {
                let set = serde_json::from_slice::<Behaviour>(&body)
                    .map_err(|e| e.to_string())
                    .and_then(|b| self.behaviours.set(b));
                match set {
                    Ok(()) => json(&self.behaviours.all()),
                    Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
                }
            }
            ("behaviour", &Method::GET) => json(&self.behaviours.all()),
            ("behaviour", &Method::DELETE) => {
                self.behaviours.clear();
                json(&self.behaviours.all())
            }
            ("renders", &Method::GET) => {
                let seen = self.seen.lock();
                let renders: BTreeMap<_, _> = seen.iter().map(|(path, s)| (path, s.renders)).collect();
                json(&renders)
            }
            ("requests", &Method::GET) => {
                let path = parts.uri.query().and_then(|q| form_field(q.as_bytes(), "path"));
                let seen = self.seen.lock();
                let asked: Vec<_> = path
                    .and_then(|p| seen.get(&p))
                    .map(|s| s.requests.iter().cloned().collect())
                    .unwrap_or_default();
                json(&asked)
            }
            ("echo", _) => json(&Echo {
                asked: Asked::of(&parts),
                body: String::from_utf8_lossy(&body).into_owned(),
            }),
            _ => text(StatusCode::NOT_FOUND, "no such knob\n"),
        }
    }
}

#[derive(Serialize)]
struct Echo {
    #[serde(flatten)]
    asked: Asked,
    body: String,
}

fn not_found(stamp: &Stamp<'_>) -> Page {
    let words = "There is no such page. POST /edit/<slug> makes a post.";
    Page::new(
        StatusCode::NOT_FOUND,
        html::notice("Not found", words, Some(stamp)),
    )
}

async fn read(body: Incoming) -> Result<Bytes, &'static str> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => Err("The request's body was too large, or did not arrive whole.\n"),
    }
}

fn text(status: StatusCode, words: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(words));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            let mut response = Response::new(full(bytes));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Server-sent events: one at once, then one each 100 ms, for as long as somebody listens.
fn events() -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        for n in 0_u64.. {
            if sender.send_data(format!("data: {n}\n\n").into()).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut response = Response::new(body.boxed_unsync());
    let stream = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, stream);
    response
}

/// Sends the request's body back as it arrives, and after it the trailers `x-demo-trailer: end` and the request's own.
fn trailers(mut request: Incoming) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        let mut trailers = HeaderMap::new();
        while let Some(Ok(frame)) = request.frame().await {
            match frame.into_data() {
                Ok(data) => {
                    if sender.send_data(data).await.is_err() {
                        return;
                    }
                }
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        trailers.insert("x-demo-trailer", HeaderValue::from_static("end"));
        let _ = sender.send_trailers(trailers).await;
    });
    let mut response = Response::new(body.boxed_unsync());
    let names = HeaderValue::from_static("x-demo-trailer");
    response.headers_mut().insert(header::TRAILER, names);
    response
}

/// Speaks `echo` after `101 Switching Protocols`: every byte comes back.
fn upgrade(request: Request<Incoming>) -> Response<Body> {
    let asks = request.headers().get(header::UPGRADE);
    if asks.is_none_or(|protocol| protocol != "echo") {
        return text(
            StatusCode::UPGRADE_REQUIRED,
            "ask for `Connection: upgrade` and `Upgrade: echo`\n",
        );
    }
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("echo"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// One field of an `application/x-www-form-urlencoded` text.
fn form_field(form: &[u8], name: &str) -> Option<String> {
    let decode = |text: &[u8]| {
        let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        let bytes: Vec<u8> = percent_encoding::percent_decode(&spaced).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    form.split(|b| *b == b'&').find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        (decode(&pair[..at]) == name).then(|| decode(&pair[at + 1..]).replace("\r\n", "\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_forms_as_browsers_send_them() {
        let form = b"other=1&text=a+b%0D%0Ac%2B%C3%A9&text=2";
        assert_eq!(form_field(form, "text").as_deref(), Some("a b\nc+\u{e9}"));
        assert_eq!(form_field(b"text", "text"), None);
        assert_eq!(form_field(b"text=", "text").as_deref(), Some(""));
    }
}
