//! Apps whose answers are malformed, two at once, or not what their framing says: a visitor gets one answer or an honest
//! 502, nothing half is stored, and the next visitor's answer is their own.

use crate::{
    support::stage::Got,
    world::{Says, Seen, World, statuses},
};

/// What a visitor gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    /// This body, whole.
    Whole(&'static str),
    /// The sidecar's own 502.
    Broken,
    /// An answer that visibly breaks off.
    Cut,
}

use Gets::{Broken, Cut, Whole};

/// Answers, whether the app closes the connection then, and what a visitor gets.
const ANSWERS: &[(&str, bool, Gets)] = &[
    // Lengths that contradict each other, or are none.
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 4\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
        false,
        Broken,
    ),
    ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nhello", true, Broken),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nhello",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nhello",
        true,
        Broken,
    ),
    // A length and a coding: the coding holds.
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 30\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\nconnection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Whole("hello"),
    ),
    // Codings that nobody here takes off: the visitor would get the coded body without its name.
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, foo\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: foo, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: foo\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: X-Chunked-X\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: \"foo\"\r\n\r\nhello",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: foo;q=1\r\n\r\nhello",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: foo, bar\r\n\r\nhello",
        true,
        Broken,
    ),
    ("HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n\r\nhello", true, Broken),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: X-GZip\r\n\r\nhello",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: deflate\r\n\r\nhello",
        true,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: x-compress\r\n\r\nhello",
        true,
        Broken,
    ),
    // A coding that says nothing: the connection's end is the body's, whatever a length beside it says.
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: foo\r\n\r\nhello",
        true,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: Identity\r\nconnection: keep-alive\r\n\r\nhello",
        true,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: foo\r\n\r\nhello",
        true,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: foo\r\ncontent-length: 30\r\n\r\nhello",
        true,
        Whole("hello"),
    ),
    (
        "HTTP/1.0 200 OK\r\ntransfer-encoding: foo\r\n\r\nhello",
        true,
        Broken,
    ),
    (
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        true,
        Broken,
    ),
    // A second answer behind the first one.
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and evil",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nevil",
        false,
        Whole(""),
    ),
    (
        "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil",
        false,
        Whole(""),
    ),
    (
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        false,
        Whole(""),
    ),
    (
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil",
        false,
        Whole(""),
    ),
    // Informational answers, one, many, and one that changes the protocol.
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 103 Early Hints\r\nlink: </hint>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: evil\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        false,
        Broken,
    ),
    // Lines: bare line feeds end them, as RFC 9112 lets it; what else is odd is no answer.
    (
        "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
        false,
        Whole("hello"),
    ),
    (
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\nx: a\rset-cookie: evil=1\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\nx y: a\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello",
        false,
        Broken,
    ),
    (
        "HTTP/1.1 200 OK\r\nx\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Broken,
    ),
    ("hello", true, Broken),
    ("<html>hello</html>\r\n\r\n", true, Broken),
    ("HTTP/2 200\r\ncontent-length: 5\r\n\r\nhello", true, Broken),
    ("HTTP/1.1 20\r\ncontent-length: 5\r\n\r\nhello", true, Broken),
    (
        "HTTP/1.1 099 Evil\r\ncontent-length: 5\r\n\r\nhello",
        true,
        Broken,
    ),
    ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", true, Broken),
    ("", true, Broken),
    (
        "HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole("hello"),
    ),
    // Bodies that end early.
    ("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", true, Cut),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        true,
        Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        true,
        Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\nhello",
        true,
        Cut,
    ),
    // Chunks that are none.
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloevil\r\n0\r\n\r\n",
        false,
        Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        false,
        Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        false,
        Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        false,
        Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
        false,
        Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        false,
        Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhello",
        true,
        Cut,
    ),
    // An end that only the connection's end tells; a proxy cannot do better than the app did.
    ("HTTP/1.1 200 OK\r\n\r\nhello", true, Whole("hello")),
    ("HTTP/1.0 200 OK\r\n\r\nhello", true, Whole("hello")),
    // Trailers that would be headers.
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nset-cookie: evil=1\r\ncontent-length: 3\r\n\r\n",
        false,
        Whole("hello"),
    ),
];

const CLEAN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nclean";

/// `/evil/<n>` gets the answer of that number, everything else a clean one.
fn app(seen: &Seen) -> Says {
    let target = seen.head.split(' ').nth(1).unwrap();
    let number = target
        .strip_prefix("/evil/")
        .map(|number| number.parse::<usize>().unwrap());
    match number.map(|number| ANSWERS[number]) {
        Some((text, closes, _)) => Says {
            text: text.to_owned(),
            closes,
        },
        None => CLEAN.to_owned().into(),
    }
}

async fn each(method: &str, headers: &str) {
    let world = World::with(app, |_| ()).await;
    let mut wrong = Vec::new();
    for (number, (answer, _, gets)) in ANSWERS.iter().enumerate() {
        let request =
            format!("{method} /evil/{number} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{headers}\r\n");
        let raw = world.say(request.as_bytes()).await;
        let got = (!raw.is_empty()).then(|| Got::parse_for(method, raw.as_bytes()));
        let fits = match (gets, &got) {
            (Whole(body), Some(got)) => {
                got.whole && got.status < 400 && (got.body == *body || method == "HEAD")
            }
            // The framing of a body that is not there concerns nobody.
            (Broken, Some(got)) => got.whole && (got.status == 502 || method == "HEAD"),
            // Where nothing was written yet, nothing is.
            (Cut, None) => true,
            (Cut, Some(got)) => method == "HEAD" || !got.whole || got.status == 502,
            (_, None) => false,
        };
        let lengths = raw.to_lowercase().matches("\r\ncontent-length:").count();
        // Hints before the answer are none; nobody keeps them.
        let finals = statuses(&raw).into_iter().filter(|status| *status >= 200);
        let twice = finals.count() > 1 || lengths > 1 || raw.contains("evil");
        let mut next = Vec::new();
        for path in ["/clean", &format!("/clean/{method}/{number}")] {
            for headers in ["", "authorization: x\r\n"] {
                let got = world.get(path, headers).await;
                next.push((got.status, got.body, got.whole));
            }
        }
        let clean = next
            .iter()
            .all(|(status, body, whole)| (*status, body.as_str(), *whole) == (200, "clean", true));
        if !fits || twice || !clean {
            wrong.push(format!("{answer:?}\n  not {gets:?}: {raw:?}\n  next {next:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // Only what was whole is a page.
    for page in world.site.fetcher.store().pages() {
        let body = String::from_utf8_lossy(page.bytes()).into_owned();
        assert!(["hello", "clean", ""].contains(&body.as_str()), "{body}");
        assert!(
            page.headers()
                .all(|(_, value)| !value.as_bytes().starts_with(b"evil"))
        );
    }
}

#[tokio::test]
async fn answers_to_who_waits_for_a_page() {
    each("GET", "").await;
}

#[tokio::test]
async fn answers_to_who_passes_through() {
    each("GET", "authorization: x\r\n").await;
}

/// The app sends bodies where there are none.
#[tokio::test]
async fn answers_to_a_head() {
    each("HEAD", "authorization: x\r\n").await;
}
