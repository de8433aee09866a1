//! Why a URL is or is not cached.

use std::{sync::Arc, time::Duration};

use coppice_cache::{
    config::Interval, key::MAX_SELECTING_BYTES, ledger::Strategy, outcome::PassReason, routes::Routes,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::{
    Desk,
    support::stage::{SHORT, config, end, rule},
    word,
};

#[tokio::test]
async fn explain_foretells_what_the_next_visitor_gets() {
    let mut desk = Desk::new().await;
    assert_eq!(desk.next("/a").await, word("MISS", ""));
    desk.stage.store("/a", "one").await;
    assert_eq!(desk.next("/a").await, word("HIT", ""));

    desk.stage.revalidate(SHORT);
    assert_eq!(desk.next("/a").await, word("STALE", ""));
    desk.stage.rule(|_| ());

    desk.stage.purge_path(Strategy::Refresh, "/a");
    desk.stage.purge_path(Strategy::Expire, "/a");
    let answer = desk.explain("/a", "").await;
    assert_eq!(answer["next"]["outcome"], "REVALIDATED");
    assert_eq!(answer["stored"]["purged"], "Expire");
    assert_eq!(answer["stored"]["purgedBy"], 2);
    assert_eq!(answer["stored"]["purgeCount"], 2);
    assert_eq!(answer["stored"]["purges"][1]["selects"], "path /a");
    let new = desk.stage.ask("GET", "/a", "", |asked| asked.page("two")).await;
    assert_eq!(new.outcome(), "REVALIDATED");
    let answer = desk.explain("/a", "").await;
    assert_eq!(answer["next"]["outcome"], "HIT");
    assert_eq!(
        (&answer["stored"]["stamp"], &answer["stored"]["purges"]),
        (&json!(2), &json!([]))
    );
    assert_eq!(answer["stored"]["lastOutcome"], "REVALIDATED");

    desk.stage
        .purge(Strategy::Delete, |selector| selector.tags.push("site".to_owned()));
    let answer = desk.explain("/a", "").await;
    assert_eq!(answer["next"]["outcome"], "MISS");
    assert_eq!(answer["stored"]["purgedBy"], 3);
    assert!(
        answer["next"]["words"]
            .as_str()
            .unwrap()
            .contains("may not be served any more")
    );
}

#[tokio::test]
async fn explain_knows_an_unsafe_request_from_a_purge() {
    let mut desk = Desk::new().await;
    desk.stage.store("/a", "one").await;
    desk.stage
        .ask("POST", "/a", "content-length: 0\r\n", |asked| asked.page("done"))
        .await;
    let answer = desk.explain("/a", "").await;
    assert_eq!(answer["next"]["outcome"], "REVALIDATED");
    assert_eq!(answer["stored"]["invalidated"], true);
    assert_eq!(answer["stored"]["purgedBy"], Value::Null);
}

#[tokio::test]
async fn explain_says_that_the_last_answer_was_not_one_to_store() {
    let mut desk = Desk::new().await;
    let answer = "cache-control: private\r\n";
    let visit = desk.stage.begin("GET", "/a", "");
    for _ in 0..2 {
        let asked = desk.stage.app.asked().await;
        asked.answer("200 OK", answer, "mine").await;
    }
    assert_eq!(end(visit).await.outcome(), "BYPASS");
    let answer = desk.explain("/a", "").await;
    assert_eq!(
        (&answer["next"]["outcome"], &answer["next"]["reason"]),
        (&json!("BYPASS"), &json!("private"))
    );
    assert_eq!(answer["unstorable"]["reason"], "private");
    assert!(answer["unstorable"]["seconds"].as_u64().unwrap() > 100);
    assert_eq!(answer["stored"], Value::Null);
}

#[tokio::test]
async fn explain_says_that_the_app_failed() {
    let mut desk = Desk::new().await;
    desk.stage.store("/a", "one").await;
    desk.stage.purge_path(Strategy::Expire, "/a");
    let old = desk
        .stage
        .ask("GET", "/a", "", |asked| asked.answer("500 No", "", "no"))
        .await;
    assert_eq!(old.outcome(), "STALE");
    let answer = desk.explain("/a", "").await;
    assert_eq!(answer["next"]["outcome"], "STALE");
    assert!(answer["stored"]["retrySeconds"].as_u64().unwrap() > 0);
    assert_eq!(answer["stored"]["lastOutcome"], "STALE");
}

#[tokio::test]
async fn explain_sees_what_is_in_the_air() {
    let mut desk = Desk::new().await;
    let visit = desk.stage.begin("GET", "/a", "");
    let asked = desk.stage.app.asked().await;
    let answer = desk.explain("/a", "").await;
    assert_eq!(answer["next"]["outcome"], "MISS");
    assert_eq!(answer["flight"]["waiting"], 1);
    assert!(
        answer["next"]["words"]
            .as_str()
            .unwrap()
            .contains("joins the flight")
    );
    let state = desk.state("").await;
    assert_eq!(
        (&state["flightCount"], &state["flights"][0]["phase"]),
        (&json!(1), &json!("asking the app"))
    );
    assert!(desk.get("/").await.body.contains("asking the app"));
    // Behind a purge it is joined no more, and not stored.
    desk.stage.purge_path(Strategy::Expire, "/a");
    let answer = desk.explain("/a", "").await;
    let words = answer["next"]["words"].as_str().unwrap();
    assert!(!words.contains("joins the flight"), "{words}");
    assert_eq!(answer["flight"]["overtaken"], true);
    asked.page("one").await;
    end(visit).await;
    desk.stage.settled().await;
    assert_eq!(desk.explain("/a", "").await["flight"], Value::Null);
}

/// Requests that pass for this reason: method, path, a header.
fn passing(reason: PassReason) -> Vec<(&'static str, &'static str, String)> {
    let paths = |paths: &[&'static str]| paths.iter().map(|path| ("GET", *path, String::new())).collect();
    let headers = |headers: &[&str]| {
        let one = |header: &&str| ("GET", "/a", (*header).to_owned());
        headers.iter().map(one).collect()
    };
    match reason {
        PassReason::PathNotNormal => paths(&["/a//b", "/a;b", "/a%2Fb"]),
        PassReason::NoRoute | PassReason::Suspended | PassReason::NeverStored => paths(&["/a"]),
        PassReason::HostUnknown => headers(&["x-forwarded-host: a b"]),
        PassReason::SchemeUnknown => headers(&["x-forwarded-proto: gopher"]),
        PassReason::Method => vec![("OPTIONS", "/a", String::new())],
        PassReason::Upgrade => headers(&["upgrade: secret/1"]),
        PassReason::Authorization => headers(&["authorization: Basic secret"]),
        PassReason::BypassHeader => headers(&["next-action: secret", "x-mine: secret"]),
        PassReason::BypassCookie => {
            headers(&["cookie: b=c; __prerender_bypass=secret", "cookie: mine=secret"])
        }
        PassReason::Variant => headers(&[&format!("next-url: /{}secret", "x".repeat(MAX_SELECTING_BYTES))]),
        PassReason::Body => headers(&["content-length: 3"]),
        PassReason::VaryCookie => headers(&["cookie: mood=secret"]),
        PassReason::Unstorable(_) => Vec::new(),
    }
}

/// The rules by which a request passes for this reason.
fn rules_of(reason: PassReason) -> Routes {
    let mut rule = rule();
    rule.bypass_cookies.push("mine".to_owned());
    rule.bypass_headers.push("x-mine".to_owned());
    match reason {
        PassReason::NoRoute => rule.paths = vec!["/b".to_owned()],
        PassReason::NeverStored => rule.revalidate = Some(Interval::After(Duration::ZERO)),
        _ => {}
    }
    let mut config = config(rule);
    config.routes[0].suspend = reason == PassReason::Suspended;
    Routes::compile(&config).unwrap()
}

/// Every reason that a request can give is foretold in the word that the visitor then reads.
#[tokio::test]
async fn explain_foretells_every_bypass() {
    for reason in PassReason::BEFORE {
        let requests = passing(reason);
        assert!(
            !requests.is_empty(),
            "{reason:?}: say a request that passes for it"
        );
        for (method, path, header) in requests {
            foretells(reason, method, path, &header).await;
        }
    }
}

async fn foretells(reason: PassReason, method: &str, path: &str, header: &str) {
    let word = reason.as_str();
    let mut desk = Desk::new().await;
    let vary = if reason == PassReason::VaryCookie {
        "vary: cookie\r\n"
    } else {
        ""
    };
    desk.stage
        .ask("GET", "/a", "", |asked| asked.answer("200 OK", vary, "page"))
        .await;
    desk.stage.site.routes.store(Arc::new(rules_of(reason)));
    let answer = desk
        .explain(path, &format!("&method={method}{}", asking(&[header])))
        .await;
    let next = &answer["next"];
    assert_eq!(
        (&next["outcome"], &next["reason"]),
        (&json!("BYPASS"), &json!(word)),
        "{answer}"
    );
    // What the headers that others have learned of say is no bypass of the request's own.
    let bypasses = answer["bypasses"].as_array().unwrap();
    let is_named = bypasses.iter().any(|bypass| bypass["reason"] == word);
    assert_eq!(is_named, reason != PassReason::VaryCookie, "{answer}");
    assert!(!answer.to_string().contains("secret"), "{answer}");
    // The page that others get at this place is shown all the same.
    let has_page = matches!(
        reason,
        PassReason::Method
            | PassReason::Upgrade
            | PassReason::Authorization
            | PassReason::BypassHeader
            | PassReason::BypassCookie
            | PassReason::Body
    );
    assert_eq!(answer["stored"]["status"] == 200, has_page, "{answer}");

    let (header, body) = match header {
        "" => (String::new(), ""),
        "content-length: 3" => (format!("{header}\r\n"), "abc"),
        header => (format!("{header}\r\n"), ""),
    };
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{header}\r\n{body}");
    let visit = desk.stage.begin_raw(request.into_bytes());
    let mut asked = desk.stage.app.asked().await;
    asked.stream.read_exact(&mut vec![0; body.len()]).await.unwrap();
    asked.page("passed").await;
    let got = end(visit).await;
    assert_eq!(got.outcome(), "BYPASS");
    assert!(got.cache_status().ends_with(&format!("detail={word}")), "{got:?}");
}

/// Headers, as a question has them.
fn asking(headers: &[&str]) -> String {
    let encoded = |header: &&str| {
        let encoded: String = form_urlencoded::byte_serialize(header.as_bytes()).collect();
        format!("&header={encoded}")
    };
    headers.iter().map(encoded).collect()
}

/// A question is about the page of those who send its headers, and so is one about a request that passes.
#[tokio::test]
async fn explain_finds_the_variant_of_a_question() {
    let mut desk = Desk::with(|rule| {
        rule.key_headers.push("x-shop".to_owned());
        rule.key_cookies.push("country".to_owned());
    })
    .await;
    // Each page is known by its length.
    let variants = [
        "x-other: 1",
        "accept-language: de",
        "accept-language: en",
        "rsc: 1",
        "x-shop: north",
        "cookie: country=de",
    ];
    for (at, header) in variants.into_iter().enumerate() {
        let headers = format!("{header}\r\n");
        let body = "x".repeat(100 + at);
        let got = desk
            .stage
            .ask("GET", "/a", &headers, |asked| {
                asked.answer("200 OK", "vary: accept-language\r\n", &body)
            })
            .await;
        assert_eq!((got.outcome(), &got.body), ("MISS", &body), "{header}");
    }
    for (at, header) in variants.into_iter().enumerate() {
        for (more, outcome) in [
            (asking(&[header]), "HIT"),
            (asking(&[header]) + "&method=POST", "BYPASS"),
            (asking(&[header, "next-action: x"]), "BYPASS"),
            (asking(&[header, "authorization: Basic x"]), "BYPASS"),
            (asking(&[header, "cookie: __prerender_bypass=1"]), "BYPASS"),
        ] {
            let answer = desk.explain("/a", &more).await;
            assert_eq!(
                (&answer["next"]["outcome"], &answer["stored"]["bytes"]),
                (&json!(outcome), &json!(100 + at)),
                "{more}: {answer}"
            );
        }
    }
    let answer = desk.explain("/a", &asking(&["accept-language: fr"])).await;
    assert_eq!(answer["next"]["outcome"], "MISS");
    assert_eq!(answer["key"]["text"], "http://a.test/a [accept-language]");
}

#[tokio::test]
async fn explain_says_why_no_rule_holds() {
    let desk = Desk::with(|rule| rule.paths = vec!["/blog/[slug]".to_owned()]).await;
    let answer = desk.explain("/about", "").await;
    assert_eq!(answer["next"]["reason"], "no-route");
    assert_eq!(
        answer["rule"]["words"],
        "The one rule in force does not match this path."
    );
    assert_eq!(
        (&answer["rule"]["rule"], &answer["key"]),
        (&Value::Null, &Value::Null)
    );
    let answer = desk.explain("/blog/x", "").await;
    assert_eq!(answer["rule"]["pattern"], "/blog/[slug]");

    desk.stage.revalidate(Duration::ZERO);
    let answer = desk.explain("/x", "").await;
    assert_eq!(answer["next"]["reason"], "never-stored");
    assert_eq!(answer["rule"]["rule"]["passes"], "never-stored");
}

#[tokio::test]
async fn explain_says_which_parameters_count() {
    let mut desk = Desk::new().await;
    desk.stage.store("/a?x=1&y=2", "page").await;
    let answer = desk.explain("/a?y=2&utm_source=mail&x=1", "").await;
    assert_eq!(answer["next"]["outcome"], "HIT");
    assert_eq!(answer["key"]["text"], "http://a.test/a?x=1&y=2");
    assert_eq!(answer["key"]["counted"], json!(["x=1", "y=2"]));
    assert_eq!(answer["key"]["ignored"], json!(["utm_source=mail"]));
    // Another host, or another scheme, is another page.
    let https = desk
        .get("/explain?url=https://a.test/a?x=1%26y=2&format=json")
        .await;
    let https: Value = serde_json::from_str(&https.body).unwrap();
    assert_eq!(
        (&https["key"]["scheme"], &https["next"]["outcome"]),
        (&json!("https"), &json!("MISS"))
    );
    let answer = desk.explain("/a", "&header=Host:+b.test").await;
    assert_eq!(answer["next"]["reason"], "hosts-disagree");
    assert_eq!(answer["next"]["outcome"], Value::Null);
}

#[tokio::test]
async fn explain_changes_nothing() {
    let mut desk = Desk::new().await;
    desk.stage.store("/a", "one").await;
    // Of other tags now: a visit would bring the page under this rule.
    desk.stage.rule(|rule| rule.tags = vec!["new".to_owned()]);
    desk.stage
        .purge(Strategy::Expire, |selector| selector.tags.push("new".to_owned()));
    let before = desk.page("/a");
    let counts = desk.stage.site.metrics.outcomes();
    let visited = before.visited();
    for target in [
        "/explain?url=http://a.test/a",
        "/explain?url=http://a.test/never",
        "/",
        "/state",
    ] {
        assert_eq!(desk.get(target).await.status, 200);
    }
    let answer = desk.explain("/a", "").await;
    assert_eq!(answer["next"]["outcome"], "REVALIDATED");
    assert_eq!(answer["stored"]["allTags"], json!(["new"]));
    let after = desk.page("/a");
    assert!(before.is(&after));
    assert_eq!((after.visited(), after.effect()), (visited, None));
    assert_eq!(desk.stage.site.metrics.outcomes(), counts);
    assert_eq!(desk.stage.site.fetcher.in_the_air(), 0);
    assert_eq!(desk.stage.site.fetcher.store().len(), 1);
    assert!(desk.stage.app.is_idle());
}

#[tokio::test]
async fn explain_answers_people_and_programs() {
    let mut desk = Desk::new().await;
    desk.stage.store("/a", "one").await;
    let html = desk.get("/explain").await;
    assert!(html.head.contains("content-type: text/html"));
    assert!(html.body.contains("<form") && !html.body.contains("The next visitor gets"));
    let html = desk.get("/explain?url=http://a.test/a").await;
    assert!(html.body.contains("The next visitor gets"), "{}", html.body);
    let json = desk
        .ask(
            "/explain?url=http://a.test/a",
            "Host: localhost\r\nAccept: application/json\r\n",
        )
        .await;
    assert!(json.head.contains("content-type: application/json"));
    let json: Value = serde_json::from_str(&json.body).unwrap();
    let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        [
            "asked",
            "bypasses",
            "flight",
            "key",
            "next",
            "regeneration",
            "rule",
            "stored",
            "unstorable"
        ]
    );
    for (target, words) in [
        ("/explain?url=/a", "name the host too"),
        (
            "/explain?url=ftp://a.test/&format=json",
            "the scheme is http or https",
        ),
        ("/explain?format=json", "ask about a URL"),
    ] {
        let said = desk.get(target).await;
        assert_eq!(said.status, 400, "{target}");
        assert!(said.body.contains(words), "{}", said.body);
    }
}
