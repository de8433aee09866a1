//! Requests that two readers could each read as another one. Whatever reaches the app is one request in one framing, and
//! a second one is only what the first reader, the sidecar, took for one.

use crate::world::{Seen, World, statuses};

/// What a connection gets: the statuses of its answers, and what reaches the app.
struct Case {
    sent: &'static str,
    statuses: &'static [u16],
    app: &'static [&'static str],
}

const fn case(sent: &'static str, statuses: &'static [u16], app: &'static [&'static str]) -> Case {
    Case { sent, statuses, app }
}

/// Sends each case on a connection of its own.
async fn play(cases: &[Case]) {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for Case {
        sent,
        statuses: expected,
        app,
    } in cases
    {
        let said = world.say(sent.as_bytes()).await;
        let reached: Vec<_> = world.seen().iter().map(Seen::line).collect();
        if statuses(&said) != *expected || reached != *app {
            wrong.push(format!(
                "{sent:?}\n  got {:?} {reached:?}\n  not {expected:?} {app:?}",
                statuses(&said)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn smuggle_two_framings() {
    play(&[
        // CL.TE and TE.CL: the coding holds, the length is gone, and the connection ends with the answer, so that what
        // follows is nobody's request.
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n", &[200], &["POST /a"]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n", &[200], &["POST /a [hello]"]),
        // TE.TE: a coding that is none, or not the last one, or written oddly.
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: xchunked\r\ncontent-length: 5\r\n\r\nhello", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding:\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.0\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding:\tCHUNKED\t\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &[200], &["POST /a [hi]"]),
        // A coding that nobody here decodes would reach the app without its name.
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &[400], &[]),
        // Nor is one ignored that says nothing, as it is in an answer: no request's body ends with its connection.
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: foo\r\ncontent-length: 5\r\n\r\nhello", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: foo\r\n\r\nhello", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello", &[400], &[]),
        // `Connection` names the framing away.
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close, content-length\r\ncontent-length: 5\r\n\r\nhello", &[200], &["POST /a [hello]"]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close, transfer-encoding, host\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &[200], &["POST /a [hi]"]),
    ])
    .await;
}

#[tokio::test]
async fn smuggle_lengths() {
    play(&[
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi", &[200], &["POST /a [hi]"]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2, 2\r\n\r\nhi", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: +2\r\n\r\nhi", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: -2\r\n\r\nhi", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0x2\r\n\r\nhi", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2 2\r\n\r\nhi", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2.0\r\n\r\nhi", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length:\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 18446744073709551616\r\n\r\nhi", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length : 2\r\n\r\nhi", &[400], &[]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: 002\r\n\r\nhi", &[200], &["POST /a [hi]"]),
        // A GET with a body: it passes with its body, and what follows the body is the next request.
        case("GET /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n", &[200, 200], &["GET /a [hello]", "GET /b"]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &[200], &["GET /a [hello]"]),
    ])
    .await;
}

#[tokio::test]
async fn smuggle_chunks() {
    // The app learns that the body broke off; what follows is nobody's request.
    let bodies = [
        "0x2\r\nhi\r\n0\r\n\r\n",
        "+2\r\nhi\r\n0\r\n\r\n",
        "-2\r\nhi\r\n0\r\n\r\n",
        " 2\r\nhi\r\n0\r\n\r\n",
        "2\nhi\r\n0\r\n\r\n",
        "2\r\nhi\n0\r\n\r\n",
        "2\r\nhi!\r\n0\r\n\r\n",
        "2\rhi\r\n0\r\n\r\n",
        "\r\nhi\r\n0\r\n\r\n",
        "g\r\nhi\r\n0\r\n\r\n",
        "2;a\nb\r\nhi\r\n0\r\n\r\n",
        "2;a\rb\r\nhi\r\n0\r\n\r\n",
        "10000000000000002\r\nhi\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    ];
    let world = World::new().await;
    let mut wrong = Vec::new();
    for body in bodies {
        let request = format!(
            "POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n"
        );
        let said = world.say(request.as_bytes()).await;
        let seen = world.seen();
        if statuses(&said) != [400] || !seen.is_empty() {
            wrong.push(format!("{body:?}: {:?} {seen:?}", statuses(&said)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    play(&[
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n0002;x=\"GET /smuggled\"\r\nhi\r\n0;last\r\n\r\n", &[200], &["POST /a [hi]"]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n", &[200], &["POST /a [hi]"]),
        // A last line feed without its return ends nothing: what follows is read as trailers, and framed by nobody.
        case("POST /a HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\nGET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\nGET /b HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n", &[200, 200], &["POST /a [hi]", "GET /b"]),
        // Trailers that would be headers stay where they are, or go; they frame and name nothing.
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nhost: evil.test\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n", &[200], &["POST /a [hi]"]),
    ])
    .await;
}

#[tokio::test]
async fn smuggle_lines() {
    play(&[
        // Folded fields, odd bytes, names that are none.
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx: 1\r\n 2\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx: 1\r\n\t2\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\n host: a.test\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx: a\0b\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx\0: b\r\n\r\n", &[400], &[]),
        case("GET /a\0 HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx: a\rb: c\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx y: 1\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx : 1\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\nx\t: 1\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\n: 1\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1\r\nhost: a.test\r\n\u{e9}: 1\r\n\r\n", &[400], &[]),
        // A bare line feed ends a line, as RFC 9112 lets it; what goes on is written anew, with none.
        case("GET /a HTTP/1.1\nhost: a.test\nconnection: close\nauthorization: x\n\n", &[200], &["GET /a"]),
        case("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nx: 1\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &[200], &["POST /a [hi]"]),
        // Empty lines before a request are none.
        case("\r\n\r\nGET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nauthorization: x\r\n\r\n", &[200], &["GET /a"]),
    ])
    .await;
}

#[tokio::test]
async fn smuggle_request_lines() {
    play(&[
        case("GET /a\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/0.9\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.2\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/2.0\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET /a http/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET /a HTTP/1.1 HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET /a /b HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET\t/a HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET  /a HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case(" GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("G\0T /a HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET a HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case("GET evil.test:80 HTTP/1.1\r\nhost: a.test\r\n\r\n", &[400], &[]),
        case(
            "CONNECT evil.test:443 HTTP/1.1\r\nhost: evil.test:443\r\nconnection: close\r\n\r\n",
            &[405],
            &[],
        ),
        // A method in lower case is another method: it passes, and shares nothing.
        case(
            "get /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n",
            &[200],
            &["get /a"],
        ),
        case(
            "OPTIONS * HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n",
            &[200],
            &["OPTIONS *"],
        ),
        // HTTP/1.0 is answered and the connection ends, whatever it says of itself.
        case(
            "GET /a HTTP/1.0\r\nhost: a.test\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
            &[200],
            &["GET /a"],
        ),
        case("GET /old HTTP/1.0\r\n\r\n", &[200], &["GET /old"]),
        // What a fragment hides is nobody's path.
        case(
            "GET /f#/smuggled HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n",
            &[200],
            &["GET /f"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn smuggle_hosts() {
    play(&[
        case(
            "GET /a HTTP/1.1\r\nhost: a.test\r\nhost: evil.test\r\n\r\n",
            &[400],
            &[],
        ),
        case(
            "GET /a HTTP/1.1\r\nhost: a.test\r\nhost: a.test\r\n\r\n",
            &[400],
            &[],
        ),
        case("GET /a HTTP/1.1\r\n\r\n", &[400], &[]),
        case("POST /a HTTP/1.1\r\ncontent-length: 0\r\n\r\n", &[400], &[]),
        case(
            "GET http://evil.test/a HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &[400],
            &[],
        ),
        case(
            "POST http://evil.test/a HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &[400],
            &[],
        ),
        case(
            "GET http://evil.test@a.test/a HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &[400],
            &[],
        ),
        case(
            "GET http://a.test:8080/a HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &[400],
            &[],
        ),
        case(
            "GET http://a.test/a HTTP/1.1\r\nhost: a.test\r\nhost: a.test\r\n\r\n",
            &[400],
            &[],
        ),
        case(
            "GET http://A.test:80/abs HTTP/1.1\r\nhost: a.test.\r\nconnection: close\r\n\r\n",
            &[200],
            &["GET /abs"],
        ),
    ])
    .await;
}

/// Hosts that are none pass through as they are, and are no key: the app decides, and nobody shares what it says.
#[tokio::test]
async fn smuggle_hosts_that_are_none() {
    let world = World::new().await;
    for host in [
        "a.test/evil",
        "a.test@evil.test",
        "a.test evil.test",
        "a.test,evil.test",
        "a.test:80:80",
        "a.test:evil",
        "..",
        "[::1",
        "a.test?x",
        "a.test#x",
        "\u{e9}.test",
        "",
    ] {
        let request = format!("GET /a HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let said = world.say(request.as_bytes()).await;
        let shared = !said.to_lowercase().contains("x-coppice-cache: bypass");
        assert!(!shared || statuses(&said) == [400], "{host:?}: {said}");
        assert!(world.site.fetcher.store().is_empty(), "{host:?}");
    }
}

#[tokio::test]
async fn smuggle_heads_that_are_too_large() {
    let world = World::new().await;
    let head = |more: String| format!("GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{more}\r\n");
    let long = "x".repeat(70_000);
    let many = "x: 1\r\n".repeat(101);
    let empty = "x:\r\n".repeat(20_000);
    for (request, status) in [
        (head(format!("x: {long}\r\n")), 431),
        (head(format!("{long}: x\r\n")), 431),
        (head(many), 431),
        (head(empty), 431),
        (format!("GET /{long} HTTP/1.1\r\nhost: a.test\r\n\r\n"), 431),
        (format!("{long} /a HTTP/1.1\r\nhost: a.test\r\n\r\n"), 431),
    ] {
        let said = world.say(request.as_bytes()).await;
        assert_eq!(statuses(&said), [status], "{}", &request[..60]);
        assert_eq!(world.seen(), []);
    }
    // A long one that fits is a page like any other.
    let long = "x".repeat(30_000);
    let said = world
        .say(format!("GET /{long} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").as_bytes())
        .await;
    assert_eq!(statuses(&said), [200]);
    assert_eq!(world.seen().len(), 1);
}
