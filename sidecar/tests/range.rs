//! Ranges over real sockets: parts of a stored page.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use rstest::rstest;
use support::{
    soon,
    stage::{Asked, Got, Stage, end},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PAGE: &str = "etag: \"x\"\r\nlast-modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n\
                    date: Sun, 22 Nov 2026 10:00:00 GMT\r\ncontent-type: text/plain\r\n\
                    content-md5: x\r\n";

async fn stored(stage: &mut Stage, body: &str) -> Got {
    let answer = async |asked: Asked| asked.answer("200 OK", PAGE, body).await;
    stage.ask("GET", "/a", "", answer).await
}

#[tokio::test]
async fn range_of_a_body_that_arrives_is_the_whole() {
    let mut stage = Stage::new().await;
    let mut visitor = TcpStream::connect(stage.sidecar.address).await.unwrap();
    let request = "GET /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nrange: bytes=0-1\r\n\r\n";
    visitor.write_all(request.as_bytes()).await.unwrap();
    let mut asked = stage.app.asked().await;
    assert!(!asked.has("range"), "{}", asked.head);
    asked
        .say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\n01234")
        .await;
    // Only then the rest: a body that is whole has ranges.
    let mut got = vec![0; 12];
    soon(visitor.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, b"HTTP/1.1 200");
    asked.say("56789").await;
    soon(visitor.read_to_end(&mut got)).await.unwrap();
    assert!(got.ends_with(b"\r\n\r\n0123456789"));
}

#[rstest]
#[case("bytes=0-3", "0123", "bytes 0-3/10")]
#[case("bytes=4-", "456789", "bytes 4-9/10")]
#[case("bytes=-2", "89", "bytes 8-9/10")]
#[case("bytes=-20", "0123456789", "bytes 0-9/10")]
#[case("bytes=8-100", "89", "bytes 8-9/10")]
#[case("bytes=0-1, 3-4", "01234", "bytes 0-4/10")]
#[case("bytes=0-0\r\nif-range: \"x\"", "0", "bytes 0-0/10")]
#[case("bytes=0-0\r\nif-range: Sat, 21 Nov 2026 10:00:00 GMT", "0", "bytes 0-0/10")]
#[case("bytes=0-0\r\nif-none-match: \"y\"\r\nif-match: \"x\"", "0", "bytes 0-0/10")]
#[tokio::test]
async fn range_of_a_page(#[case] range: &str, #[case] body: &str, #[case] content_range: &str) {
    let mut stage = Stage::new().await;
    stored(&mut stage, "0123456789").await;
    let got = stage.get_with("/a", &format!("range: {range}\r\n")).await;
    assert_eq!((got.status, got.outcome(), got.body.as_str()), (206, "HIT", body));
    assert_eq!(got.header("content-range"), content_range);
    assert_eq!(got.header("content-length"), body.len().to_string());
    assert_eq!(
        (got.header("etag"), got.header("content-type")),
        ("\"x\"", "text/plain")
    );
    assert_eq!(got.header("cache-control"), "public, max-age=7");
    assert!(
        !got.headers.contains_key("content-md5"),
        "that is of the whole: {got:?}"
    );
    assert!(got.headers.contains_key("age") && got.whole);
    let whole = stage.get("/a").await;
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, "bytes"));
}

#[rstest]
#[case("range: bytes=5-4\r\n")]
#[case("range: lines=0-4\r\n")]
#[case("range: bytes=0-0\r\nif-range: \"y\"\r\n")]
#[case("range: bytes=0-0\r\nif-range: W/\"x\"\r\n")]
#[case("range: bytes=0-0\r\nif-range: Sun, 22 Nov 2026 10:00:00 GMT\r\n")]
#[case("if-range: \"x\"\r\n")]
#[tokio::test]
async fn range_that_is_none_gets_the_whole(#[case] headers: &str) {
    let mut stage = Stage::new().await;
    stored(&mut stage, "0123456789").await;
    let got = stage.get_with("/a", headers).await;
    assert_eq!((got.status, got.body.as_str()), (200, "0123456789"), "{got:?}");
}

#[tokio::test]
async fn range_beyond_the_end_is_a_416() {
    let mut stage = Stage::new().await;
    stored(&mut stage, "0123456789").await;
    let got = stage.get_with("/a", "range: bytes=10-\r\n").await;
    assert_eq!((got.status, got.outcome()), (416, "HIT"));
    assert_eq!(got.header("content-range"), "bytes */10");
    assert_eq!(got.header("cache-control"), "no-store");
}

#[tokio::test]
async fn range_comes_after_conditions_and_is_for_get_alone() {
    let mut stage = Stage::new().await;
    stored(&mut stage, "0123456789").await;
    let of = |condition: &str| format!("range: bytes=0-1\r\n{condition}\r\n");
    assert_eq!(
        stage.get_with("/a", &of("if-none-match: \"x\"")).await.status,
        304
    );
    assert_eq!(stage.get_with("/a", &of("if-match: \"y\"")).await.status, 412);
    let head = end(stage.begin("HEAD", "/a", "range: bytes=0-1\r\n")).await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.as_str()),
        (200, "10", "")
    );
}

#[tokio::test]
async fn range_of_several_parts() {
    let mut stage = Stage::new().await;
    let body: String = ('a'..='j').map(|letter| letter.to_string().repeat(100)).collect();
    stored(&mut stage, &body).await;
    let got = stage.get_with("/a", "range: bytes=98-101,-2\r\n").await;
    assert_eq!((got.status, got.whole), (206, true), "{got:?}");
    let boundary = got
        .header("content-type")
        .strip_prefix("multipart/byteranges; boundary=");
    let boundary = boundary.unwrap();
    let part = |range: &str, body: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/1000\r\n\r\n{body}"
        )
    };
    let expected = part("98-101", "aabb") + &part("998-999", "jj") + &format!("\r\n--{boundary}--\r\n");
    assert_eq!(got.body, expected);
    assert_eq!(got.header("content-range"), "");
    // Parts that would cost more than the whole.
    let got = stage.get_with("/a", "range: bytes=0-400,500-\r\n").await;
    assert_eq!((got.status, got.body == body), (200, true));
}
