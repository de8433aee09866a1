//! HTTP/2 in the clear, frame by frame: floods that cost the sender nothing, and requests that HTTP/1.1 could not even say.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    support::{soon, until},
    world::World,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as HPACK writes them that never indexes: literal name, literal value.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// With a prefix of seven bits, no Huffman code.
fn integer(block: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        block.push(number as u8);
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push((number % 128) as u8 | 128);
        number /= 128;
    }
    block.push(number as u8);
}

fn get(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
    ])
}

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Client {
    stream: TcpStream,
}

impl Client {
    async fn connect(world: &World, settings: &[u8]) -> Self {
        Self::over(TcpStream::connect(world.sidecar.address).await.unwrap(), settings).await
    }

    async fn over(mut stream: TcpStream, settings: &[u8]) -> Self {
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, settings));
        stream.write_all(&hello).await.unwrap();
        Self { stream }
    }

    /// Whether all of it could be written.
    async fn say(&mut self, bytes: &[u8]) -> bool {
        soon(self.stream.write_all(bytes)).await.is_ok()
    }

    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        soon(self.stream.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        soon(self.stream.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame {
            kind: head[3],
            stream,
            payload,
        })
    }

    /// Reads until the stream ends: by its last frame, or with the connection.
    async fn end_of(&mut self, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            let own = frame.stream == stream && matches!(frame.kind, HEADERS | RST_STREAM);
            if own || frame.kind == GOAWAY {
                return Some(frame);
            }
        }
    }

    /// Reads to the end of the connection; the reason of its GOAWAY, which may be lost where the system had more to read.
    async fn ended(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(Frame { kind, payload, .. }) = self.next().await {
            if kind == GOAWAY {
                reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        reason
    }
}

/// Other visitors are served, and the connection of the one who attacked is gone.
async fn unharmed(world: &World) {
    let got = world.get("/innocent", "").await;
    assert_eq!((got.status, got.whole), (200, true), "{got:?}");
    until("nobody is connected", async || {
        world.site.metrics.connections.get() == 0
    })
    .await;
    until("nothing is in the air", async || {
        world.site.fetcher.in_the_air() == 0
    })
    .await;
}

/// It is the sidecar that ends the connection, for one of these reasons, while the attacker would go on.
async fn ended_by(mut client: Client, world: &World, reasons: &[u32]) {
    let reason = client.ended().await;
    assert!(
        reason.is_none_or(|reason| reasons.contains(&reason)),
        "{reason:?}"
    );
    unharmed(world).await;
    drop(client);
}

#[tokio::test]
async fn h2_a_rapid_reset_ends_the_connection() {
    let world = World::new().await;
    let mut client = Client::connect(&world, &[]).await;
    let mut floods = Vec::new();
    for number in 0..5000_u32 {
        let stream = number * 2 + 1;
        floods.extend(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &get(&format!("/{number}")),
        ));
        floods.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    client.say(&floods).await;
    ended_by(client, &world, &[ENHANCE_YOUR_CALM]).await;
    assert!(
        world.seen().len() < 1000,
        "most requests were reset before anybody was asked"
    );
}

#[tokio::test]
async fn h2_a_continuation_flood_ends_the_connection() {
    let world = World::new().await;
    let mut client = Client::connect(&world, &[]).await;
    let mut flood = frame(HEADERS, END_STREAM, 1, &get("/a"));
    let more = fields(&[("x", &"y".repeat(1000))]);
    for _ in 0..5000 {
        flood.extend(frame(CONTINUATION, 0, 1, &more));
    }
    client.say(&flood).await;
    ended_by(client, &world, &[ENHANCE_YOUR_CALM]).await;
    assert_eq!(world.seen().len(), 1, "only the innocent asked");
}

#[tokio::test]
async fn h2_empty_continuations_end_the_connection() {
    let world = World::new().await;
    let mut client = Client::connect(&world, &[]).await;
    let mut flood = frame(HEADERS, END_STREAM, 1, &get("/a"));
    flood.extend(frame(CONTINUATION, 0, 1, &[]).repeat(100_000));
    client.say(&flood).await;
    ended_by(client, &world, &[ENHANCE_YOUR_CALM]).await;
    assert_eq!(world.seen().len(), 1, "only the innocent asked");
}

/// Settings and pings are answered one by one: who does not read the answers is not read either.
#[tokio::test]
async fn h2_settings_and_pings_wait_for_who_does_not_read() {
    for flood in [
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]),
        frame(PING, 0, 0, &[0; 8]),
    ] {
        let world = World::new().await;
        let mut client = Client::connect(&world, &[]).await;
        let flood = flood.repeat(10_000);
        let (read, mut write) = client.stream.into_split();
        let flooding = tokio::spawn(async move { while write.write_all(&flood).await.is_ok() {} });
        for _ in 0..20 {
            assert_eq!(world.get("/a", "").await.status, 200);
        }
        flooding.abort();
        drop(read);
        client = Client::connect(&world, &[]).await;
        client
            .say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/a")))
            .await;
        assert_eq!(client.end_of(1).await.unwrap().kind, HEADERS);
        drop(client);
        unharmed(&world).await;
    }
}

#[tokio::test]
async fn h2_streams_beyond_the_limit_are_refused() {
    // The app answers nobody, so all streams stay open.
    let world = World::with(|_| String::new(), |_| ()).await;
    let mut client = Client::connect(&world, &[]).await;
    let mut many = Vec::new();
    for number in 0..400_u32 {
        many.extend(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            number * 2 + 1,
            &get(&format!("/{number}")),
        ));
    }
    client.say(&many).await;
    let refused = client.end_of(2 * 300 + 1).await.unwrap();
    assert!(matches!(refused.kind, RST_STREAM | GOAWAY), "{}", refused.kind);
    assert!(world.site.fetcher.in_the_air() <= 256);
}

#[tokio::test]
async fn h2_who_opens_no_window_holds_only_a_connection() {
    let page = "x".repeat(500_000);
    let world = World::with(
        move |_| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len()),
        |_| (),
    )
    .await;
    world.get("/large", "").await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    let mut client = Client::connect(&world, &[0, 4, 0, 0, 0, 0]).await;
    let mut many = Vec::new();
    for number in 0..100_u32 {
        many.extend(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            number * 2 + 1,
            &get("/large"),
        ));
    }
    client.say(&many).await;
    assert_eq!(client.end_of(199).await.unwrap().kind, HEADERS);
    // A hundred copies would be 50 MB: they share the one in the store.
    let store = world.site.fetcher.store();
    assert!(store.bytes() < 1 << 20, "{}", store.bytes());
    client
        .say(&frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()))
        .await;
    drop(client);
    assert_eq!(world.get("/large", "").await.body.len(), 500_000);
    until("nobody is connected", async || {
        world.site.metrics.connections.get() == 0
    })
    .await;
}

/// What the kernel has yet to send is lost where a visitor says something to a socket that is closed, as this one does while it
/// reads.
#[tokio::test]
async fn h2_who_reads_slowly_while_the_sidecar_leaves_gets_all() {
    // More than the system holds on a connection.
    const LENGTH: usize = 12 << 20;
    let page = "x".repeat(LENGTH);
    let world = World::within(
        64 << 20,
        move |_| format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n{page}"),
        |_| (),
    )
    .await;
    world.get("/large", "").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let stream = socket.connect(world.sidecar.address).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE
    let window = (1_u32 << 30).to_be_bytes();
    let mut client = Client::over(stream, &[&[0, 4], &window[..]].concat()).await;
    client.say(&frame(WINDOW_UPDATE, 0, 0, &window)).await;
    let ask = frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/large"));
    client.say(&ask).await;
    let mut got = 0;
    while let Some(next) = client.next().await {
        match next.kind {
            HEADERS => {
                world.sidecar.told.cancel();
                until("it stops accepting", async || {
                    TcpStream::connect(world.sidecar.address).await.is_err()
                })
                .await;
            }
            DATA => got += next.payload.len(),
            // The sidecar's, before it closes.
            PING if next.payload != [0; 8] => {
                client.say(&frame(PING, ACK, 0, &next.payload)).await;
            }
            _ => {}
        }
        client.say(&frame(PING, 0, 0, &[0; 8])).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(got, LENGTH);
}

/// Requests that would be two, or another one, once they are written as HTTP/1.1.
#[tokio::test]
async fn h2_smuggles_nothing_into_http_1() {
    let base = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/a"),
    ];
    let with = |more: &[(&str, &str)]| fields(&[&base[..], more].concat());
    let instead = |name: &str, value: &str| {
        let all: Vec<_> = base
            .iter()
            .map(|own| if own.0 == name { (own.0, value) } else { *own })
            .collect();
        fields(&all)
    };
    let evil = "/a HTTP/1.1\r\nhost: a.test\r\n\r\nGET /smuggled";
    let attacks = [
        ("path with lines", instead(":path", evil)),
        ("path with a space", instead(":path", "/a HTTP/1.1")),
        ("path that is none", instead(":path", "a")),
        ("no path", instead(":path", "")),
        (
            "method with lines",
            instead(":method", "GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\nGET"),
        ),
        ("scheme with lines", instead(":scheme", "http\r\nx: y")),
        ("authority with lines", instead(":authority", "a.test\r\nx: y")),
        (
            "value with lines",
            with(&[("x", "y\r\n\r\nGET /smuggled HTTP/1.1")]),
        ),
        ("value with a bare line feed", with(&[("x", "y\nz: evil")])),
        ("value with NUL", with(&[("x", "y\0z")])),
        ("name with a colon", with(&[("x: y\r\nz", "evil")])),
        ("name in capitals", with(&[("X-Evil", "y")])),
        ("empty name", with(&[("", "evil")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("connection", with(&[("connection", "transfer-encoding")])),
        ("keep-alive", with(&[("keep-alive", "evil")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te", with(&[("te", "chunked")])),
        ("a length and no body", with(&[("content-length", "5")])),
        ("two hosts", with(&[("host", "evil.test")])),
        ("two paths", with(&[(":path", "/smuggled")])),
        (
            "a pseudo-header behind",
            with(&[("x", "y"), (":path", "/smuggled")]),
        ),
        ("an unknown pseudo-header", with(&[(":evil", "y")])),
        (
            "a user in the authority",
            instead(":authority", "evil.test@a.test"),
        ),
    ];
    let world = World::new().await;
    let mut wrong = Vec::new();
    for (name, block) in attacks {
        let mut client = Client::connect(&world, &[]).await;
        client
            .say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block))
            .await;
        let end = client.end_of(1).await;
        let seen = world.seen();
        // Nothing of the attack is in what reaches the app, which reads it as strictly as can be.
        let clean = seen.iter().all(|seen| {
            let head = seen.head.to_lowercase();
            seen.body.is_empty()
                && !["smuggled", "evil", "transfer-encoding", "te:"]
                    .iter()
                    .any(|odd| head.contains(odd))
        });
        if seen.len() > 1 || !clean {
            wrong.push(format!(
                "{name}: {:?}, the app saw {seen:?}",
                end.map(|end| end.kind)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A length that the body does not have.
    let mut client = Client::connect(&world, &[]).await;
    let post = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/a"),
        ("content-length", "2"),
    ]);
    client.say(&frame(HEADERS, END_HEADERS, 1, &post)).await;
    client
        .say(&frame(DATA, END_STREAM, 1, b"hiGET /smuggled HTTP/1.1\r\n\r\n"))
        .await;
    client.end_of(1).await;
    assert_eq!(world.seen(), []);
}
