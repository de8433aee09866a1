//! Passing through, over real sockets: both ways as it arrives, and honest words where the app does not answer.
#![allow(clippy::unwrap_used)] // a test may panic

mod support;

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coppice_sidecar::serve::Limits;
use http_body_util::BodyExt;
use support::{HANG, answering, app, before, nobody, settings, soon, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn an_answer_streams_and_says_why_it_was_not_stored() {
    let (next, told) = mpsc::channel::<()>(1);
    let told = Arc::new(tokio::sync::Mutex::new(told));
    let app = app(move |mut peer| {
        let told = told.clone();
        async move {
            peer.head().await;
            peer.say(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
            // The second event is sent only after the visitor has the first.
            peer.say("9\r\ndata: 1\n\n\r\n").await;
            told.lock().await.recv().await;
            peer.say("9\r\ndata: 2\n\n\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    visitor.say("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let head = visitor.head().await;
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("x-coppice-cache: bypass\r\n"), "{head}");
    assert!(head.contains("cache-status: coppice; fwd="), "{head}");
    visitor.until("data: 1").await;
    next.send(()).await.unwrap();
    visitor.until("data: 2").await;
    visitor.until("\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn the_app_sees_the_visitor_and_nothing_of_the_connection() {
    let app = answering(|head| {
        let length = head.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\n\r\n{head}")
    })
    .await;
    let sidecar = before(app);
    let answer = sidecar
        .ask(
            "PURGE /a%20b?c=d HTTP/1.1\r\nHost: Shop.test:8443\r\nX-Forwarded-For: 192.0.2.1\r\n\
             X-Forwarded-Proto: https\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\nTE: trailers, deflate\r\n\r\n",
        )
        .await
        .to_lowercase();
    let (head, echo) = answer.split_once("\r\n\r\n").unwrap();
    for gone in ["x-private", "keep-alive", "x-secret"] {
        assert!(
            !answer
                .replace("connection: close", "")
                .contains(&format!("{gone}: ")),
            "{gone} in {answer}"
        );
    }
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(echo.starts_with("purge /a%20b?c=d http/1.1\r\n"), "{echo}");
    for there in [
        "host: shop.test:8443\r\n",
        "x-forwarded-for: 192.0.2.1, 127.0.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        "x-forwarded-host: shop.test:8443\r\n",
        "te: trailers\r\n",
    ] {
        assert!(echo.contains(there), "{there} not in {echo}");
    }
}

#[tokio::test]
async fn trailers_arrive_behind_a_body_and_behind_none() {
    for body in ["2\r\nok\r\n", ""] {
        let app = answering(move |_| {
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                 {body}0\r\nX-Sum: 42\r\n\r\n"
            )
        })
        .await;
        let answer = before(app)
            .ask("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n")
            .await
            .to_lowercase();
        let end = format!("\r\n\r\n{body}0\r\nx-sum: 42\r\n\r\n");
        assert!(answer.ends_with(&end), "{answer}");
    }
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    let app = app(|mut peer| async move {
        let head = peer.head().await;
        assert!(
            head.contains("upgrade: websocket") && head.contains("connection: upgrade"),
            "{head}"
        );
        peer.say(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n",
        )
        .await;
        let line = peer.until("\n").await;
        peer.say(&line.to_uppercase()).await;
    })
    .await;
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    visitor
        .say("GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let head = visitor.head().await;
    assert!(
        head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"),
        "{head}"
    );
    visitor.until("hello\n").await;
    visitor.say("marco\n").await;
    assert_eq!(visitor.rest().await, "MARCO\n");
}

#[tokio::test]
async fn what_asks_for_a_tunnel_takes_its_room() {
    let (ask, mut asked) = mpsc::unbounded_channel();
    let app = app(move |mut peer| {
        let ask = ask.clone();
        async move {
            peer.head().await;
            ask.send(peer).unwrap();
        }
    })
    .await;
    let limits = Limits {
        tunnels: 1,
        ..Limits::default()
    };
    let sidecar = start(settings(app), limits);
    let upgrade = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
    let mut first = sidecar.connect().await;
    first.say(upgrade).await;
    let mut peer = soon(asked.recv()).await.unwrap();
    let mut second = sidecar.connect().await;
    second.say(upgrade).await;
    let head = second.head().await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    peer.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
        .await;
    let head = first.head().await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    drop(peer);
    first.rest().await;
    drop(first);
    soon(async {
        loop {
            let mut third = sidecar.connect().await;
            third.say(upgrade).await;
            tokio::select! {
                _ = asked.recv() => return,
                head = third.head() => assert!(head.starts_with("http/1.1 503"), "{head}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_an_error() {
    let app =
        answering(|_| "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n".into())
            .await;
    let answer = before(app)
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn a_large_upload_streams() {
    const SIZE: usize = 48 << 20;
    let began = Arc::new(Notify::new());
    let app = {
        let began = began.clone();
        app(move |mut peer| {
            let began = began.clone();
            async move {
                peer.head().await;
                began.notify_one();
                let mut left = SIZE;
                let mut buffer = vec![0; 256 << 10];
                while left > 0 {
                    match peer.stream.read(&mut buffer).await.unwrap() {
                        0 => panic!("{left} bytes are missing"),
                        read => left -= read,
                    }
                }
                peer.say(OK).await;
            }
        })
        .await
    };
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    visitor
        .say(&format!(
            "POST /up HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
        ))
        .await;
    // The app has the request before any of its body is sent.
    soon(began.notified()).await;
    let chunk = vec![7; SIZE];
    soon(visitor.stream.write_all(&chunk)).await.unwrap();
    let answer = visitor.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
        "{answer}"
    );
}

#[tokio::test]
async fn head_keeps_the_length_and_has_no_body() {
    let app = answering(|head| {
        assert!(head.starts_with("HEAD "), "{head}");
        "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".into()
    })
    .await;
    let answer = before(app)
        .ask("HEAD / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.to_lowercase().contains("content-length: 1234\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_visitor_that_leaves_is_not_worked_for() {
    let left = Arc::new(Notify::new());
    let app = {
        let left = left.clone();
        app(move |mut peer| {
            let left = left.clone();
            async move {
                peer.head().await;
                peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
                    .await;
                // Ends when the sidecar hangs up.
                peer.rest().await;
                left.notify_one();
            }
        })
        .await
    };
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    visitor.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    visitor.until("ok").await;
    drop(visitor);
    soon(left.notified()).await;
}

#[tokio::test]
async fn an_app_that_is_down_is_a_502_in_words() {
    let answer = before(nobody().await)
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(
        answer.contains("The app did not answer: it refused the connection"),
        "{answer}"
    );
    assert!(answer.contains("x-coppice-cache: BYPASS"), "{answer}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_502_in_words() {
    let answer = before("nobody.invalid:80")
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains("its name does not resolve"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_app_that_hangs_is_a_504_in_words() {
    let app = app(|mut peer| async move {
        peer.rest().await;
    })
    .await;
    let limits = Limits {
        patience: Duration::from_millis(200),
        ..Limits::default()
    };
    let answer = start(settings(app), limits)
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
    assert!(answer.contains("did not begin to answer in time"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_502_in_words() {
    for (length, expected) in [(60_000, "HTTP/1.1 200"), (200_000, "HTTP/1.1 502")] {
        let long = "x".repeat(length);
        let app =
            answering(move |_| format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 0\r\n\r\n"));
        let answer = before(app.await)
            .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            .await;
        assert!(answer.starts_with(expected), "{}", &answer[..100]);
        assert_eq!(answer.contains("larger than 64 KiB"), length > 65_536);
    }
}

#[tokio::test]
async fn an_app_that_hangs_up_is_a_502_in_words() {
    let app = app(|mut peer| async move {
        peer.head().await;
    })
    .await;
    let answer = before(app)
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains("closed the connection without an answer"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_end_as_whole() {
    let app = app(|mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            .await;
    })
    .await;
    let answer = before(app)
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.contains("ok") && !answer.contains("\r\n0\r\n"), "{answer}");
}

/// A visitor of HTTP/1.0 knows where an answer ends by the end of the connection alone.
#[tokio::test]
async fn a_body_that_the_connection_ends_is_reset_where_it_breaks_off() {
    let app = app(|mut peer| async move {
        let head = peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        if head.starts_with("get") {
            peer.say("2\r\nok\r\n").await;
        }
        if head.starts_with("get /whole") {
            peer.say("0\r\n\r\n").await;
        }
    })
    .await;
    let sidecar = before(app);
    for (request, end) in [
        ("GET /half", ErrorKind::ConnectionReset),
        ("GET /whole", ErrorKind::UnexpectedEof),
        ("HEAD /half", ErrorKind::UnexpectedEof),
    ] {
        let mut visitor = sidecar.connect().await;
        visitor
            .say(&format!("{request} HTTP/1.0\r\nHost: a.test\r\n\r\n"))
            .await;
        let mut text = Vec::new();
        let ended = loop {
            match soon(visitor.stream.read_u8()).await {
                Ok(byte) => text.push(byte),
                Err(error) => break error,
            }
        };
        assert_eq!(ended.kind(), end, "{request}");
        assert_eq!(text.ends_with(b"ok"), request.starts_with("GET"), "{request}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_is_not_believed() {
    // RFC 9112 section 6.3: the chunks frame the body, and a length beside them does not go on.
    let app = app(|mut peer| async move {
        peer.head().await;
        peer.say(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
        )
        .await;
    })
    .await;
    let answer = before(app)
        .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await
        .to_lowercase();
    assert!(!answer.contains("content-length"), "{answer}");
    assert!(answer.ends_with("5\r\nwhole\r\n0\r\n\r\n"), "{answer}");
}

/// An app that ends its first connection when the second request on it has come.
async fn hanging_up(connections: Arc<AtomicUsize>) -> String {
    app(move |mut peer| {
        let number = connections.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut answered = 0;
            while peer.head_or_end().await.is_some() {
                if number == 0 && answered == 1 {
                    return;
                }
                peer.say(OK).await;
                answered += 1;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_the_app_was_about_to_close_is_no_failure() {
    let connections = Arc::<AtomicUsize>::default();
    let sidecar = before(hanging_up(connections.clone()).await);
    let mut visitor = sidecar.connect().await;
    for _ in 0..2 {
        visitor.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let head = visitor.head().await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        visitor.until("ok").await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// Has three connections to the app idle, each of which the app ends, after `pause`, when it is used again. Then one more
/// request, which a new connection gets; what the visitor gets, and how often the app was asked in vain.
async fn on_a_connection_that_ends(pause: Duration, patience: Duration) -> (String, usize) {
    let idle = Arc::new(tokio::sync::Barrier::new(3));
    let (connections, in_vain) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counted = in_vain.clone();
    let app = app(move |mut peer| {
        let (idle, counted) = (idle.clone(), counted.clone());
        let is_new = connections.fetch_add(1, Ordering::SeqCst) >= 3;
        async move {
            peer.head().await;
            if is_new {
                tokio::time::sleep(pause).await;
            } else {
                idle.wait().await;
            }
            peer.say(OK).await;
            if !is_new && peer.head_or_end().await.is_some() {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(pause).await;
            }
        }
    })
    .await;
    let limits = Limits {
        patience,
        ..Limits::default()
    };
    let sidecar = start(settings(app), limits);
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let firsts = futures::join!(sidecar.ask(request), sidecar.ask(request), sidecar.ask(request));
    assert!(firsts.0.ends_with("ok") && firsts.1.ends_with("ok") && firsts.2.ends_with("ok"));
    (sidecar.ask(request).await, in_vain.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_request_is_repeated_once_and_over_a_new_connection() {
    let (answer, in_vain) = on_a_connection_that_ends(Duration::ZERO, HANG).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(in_vain, 1);
}

#[tokio::test]
async fn a_request_that_is_repeated_has_no_more_time_than_another() {
    let (answer, in_vain) =
        on_a_connection_that_ends(Duration::from_millis(700), Duration::from_secs(1)).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert_eq!(in_vain, 1);
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    let connections = Arc::<AtomicUsize>::default();
    let sidecar = before(hanging_up(connections.clone()).await);
    let mut visitor = sidecar.connect().await;
    for status in ["200", "502"] {
        visitor
            .say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n")
            .await;
        let head = visitor.head().await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        if status == "200" {
            visitor.until("ok").await;
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_to_the_app_are_used_again_and_a_dead_one_is_replaced() {
    let connections = Arc::new(AtomicUsize::new(0));
    let app = {
        let connections = connections.clone();
        app(move |mut peer| {
            let number = connections.fetch_add(1, Ordering::SeqCst);
            async move {
                // The first connection ends after two answers, without a word.
                let mut left = if number == 0 { 2 } else { usize::MAX };
                while left > 0 && peer.head_or_end().await.is_some() {
                    peer.say(OK).await;
                    left -= 1;
                }
            }
        })
        .await
    };
    let sidecar = before(app);
    let mut visitor = sidecar.connect().await;
    for _ in 0..8 {
        visitor.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let head = visitor.head().await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        visitor.until("ok").await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let sidecar = before(answering(|_| OK.into()).await);
    let long = "x".repeat(70 << 10);
    let answer = sidecar
        .ask(&format!(
            "GET / HTTP/1.1\r\nHost: a.test\r\nX-Long: {long}\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_silent_visitor_is_let_go() {
    let limits = Limits {
        head_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let sidecar = start(settings(nobody().await), limits);
    for said in ["", "GET / HT", "PRI * "] {
        let mut visitor = sidecar.connect().await;
        visitor.say(said).await;
        visitor.rest().await;
    }
}

#[tokio::test]
async fn http2_visitors_reach_an_http1_app() {
    let app = answering(|head| {
        assert!(head.to_lowercase().contains("cookie: a=1; b=2\r\n"), "{head}");
        assert!(head.to_lowercase().contains("host: a.test\r\n"), "{head}");
        OK.into()
    })
    .await;
    let sidecar = before(app);
    let mut sender = sidecar.h2().await;
    let request = http::Request::get("http://a.test/")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(String::new())
        .unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
}

/// RFC 9112 section 9.6: a connection that is closed with something unread is reset, and its answer with it.
#[tokio::test]
async fn an_answer_to_half_an_upload_reaches_who_sends_the_rest() {
    const LENGTH: usize = 8 << 20;
    let app = answering(|_| {
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge".into()
    });
    let mut visitor = before(app.await).connect().await;
    visitor
        .say(&format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LENGTH}\r\n\r\n"
        ))
        .await;
    // The answer is there, and the connection has ended for the sidecar.
    let mut answered = [0; 12];
    soon(visitor.stream.peek(&mut answered)).await.unwrap();
    assert_eq!(&answered, b"HTTP/1.1 413");
    for _ in 0..LENGTH >> 16 {
        visitor.say(&"x".repeat(1 << 16)).await;
    }
    assert!(visitor.rest().await.ends_with("\r\n\r\nlarge"));
}
