//! The admin address over real sockets: the page, its limits, and why a URL is or is not cached.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may panic

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use coppice_cache::{
    config::{Rule, Scheme},
    key::Key,
    ledger::Strategy,
    page::{Page, Parts, TagSet},
    time::Moment,
};
use http::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};
use support::stage::{SHORT, Stage, end};

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

    fn page(&self, path: &str) -> Arc<Page> {
        let key = Key::new(Scheme::Http, "a.test", path, "").unwrap();
        self.stage.site.fetcher.store().peek(&key).unwrap()
    }

    /// Stores a page without a visit.
    fn put(&self, path: &str, tags: &[&str], bytes: usize, stored: u64) {
        let routes = self.stage.site.routes.load();
        let plan = &routes.plans()[0];
        let page = Page::new(Parts {
            key: Arc::new(Key::new(Scheme::Http, "a.test", path, "").unwrap()),
            route: plan.route.clone(),
            rule: plan.name.clone(),
            fingerprint: plan.fingerprint,
            status: StatusCode::OK,
            headers: Box::default(),
            body: vec![b'x'; bytes].into(),
            tags: TagSet::new(tags.iter().copied(), []).unwrap(),
            stamp: 0,
            stored: Moment(stored),
            tagged: false,
            compressible: false,
            encodings: Box::default(),
            vary: None,
            app: None,
        });
        self.stage.site.fetcher.store().insert(&Arc::new(page));
    }
}

fn word(outcome: &str, reason: &str) -> (String, String) {
    (outcome.to_owned(), reason.to_owned())
}

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
    asked.page("one").await;
    end(visit).await;
    desk.stage.settled().await;
    assert_eq!(desk.explain("/a", "").await["flight"], Value::Null);
}

/// Every reason that a request can give is foretold in the word that the visitor then reads.
#[rstest]
#[case("GET", "/a//b", "", "path-not-normal")]
#[case("GET", "/a;b", "", "path-not-normal")]
#[case("GET", "/a%2Fb", "", "path-not-normal")]
#[case("GET", "/a", "x-forwarded-proto: gopher", "scheme-unknown")]
#[case("GET", "/a", "x-forwarded-host: a b", "host-unknown")]
#[case("OPTIONS", "/a", "", "method")]
#[case("GET", "/a", "authorization: Basic c2VjcmV0", "authorization")]
#[case("GET", "/a", "next-action: x", "bypass-header")]
#[case("GET", "/a", "x-mine: x", "bypass-header")]
#[case("GET", "/a", "cookie: b=c; __prerender_bypass=secret", "bypass-cookie")]
#[case("GET", "/a", "cookie: mine=secret", "bypass-cookie")]
#[tokio::test]
async fn explain_foretells_every_bypass(
    #[case] method: &str,
    #[case] path: &str,
    #[case] header: &str,
    #[case] reason: &str,
) {
    let mut desk = Desk::with(|rule| {
        rule.bypass_cookies.push("mine".to_owned());
        rule.bypass_headers.push("x-mine".to_owned());
    })
    .await;
    desk.put("/a", &["site"], 1, 0);
    let typed = header.replace(' ', "+").replace(';', "%3B").replace('=', "%3D");
    let answer = desk
        .explain(path, &format!("&method={method}&header={typed}"))
        .await;
    let next = &answer["next"];
    assert_eq!(
        (&next["outcome"], &next["reason"]),
        (&json!("BYPASS"), &json!(reason)),
        "{answer}"
    );
    let bypasses = answer["bypasses"].as_array().unwrap();
    assert!(
        bypasses.iter().any(|bypass| bypass["reason"] == reason),
        "{answer}"
    );
    assert!(!answer.to_string().contains("secret"), "{answer}");
    assert!(!answer.to_string().contains("c2VjcmV0"), "{answer}");
    // The page that others get at this place is shown all the same.
    if path == "/a" && !header.starts_with("x-forwarded") {
        assert_eq!(answer["stored"]["status"], 200, "{answer}");
    }

    let header = if header.is_empty() {
        String::new()
    } else {
        format!("{header}\r\n")
    };
    let visit = desk.stage.begin(method, path, &header);
    desk.stage.app.asked().await.page("passed").await;
    let got = end(visit).await;
    assert_eq!(got.outcome(), "BYPASS");
    assert!(
        got.cache_status().ends_with(&format!("detail={reason}")),
        "{got:?}"
    );
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
    assert!(Arc::ptr_eq(&before, &after));
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

#[tokio::test]
async fn admin_page_shows_text_as_text() {
    let mut desk = Desk::new().await;
    let evil = "<img src=x onerror=alert(1)>\"'";
    let tags = format!("cache-tag: {evil}\r\n");
    desk.stage
        .ask("GET", "/a'b", "", |asked| asked.answer("200 OK", &tags, "page"))
        .await;
    let typed = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for target in [
        "/".to_owned(),
        format!("/?path={typed}&tag={typed}&route={typed}"),
        "/explain?url=http://a.test/a'b".to_owned(),
        format!("/explain?url=http://a.test/{typed}&method={typed}&header={typed}"),
        format!("/explain?url={typed}"),
    ] {
        let said = desk.get(&target).await;
        let body = said.body;
        assert!(
            !body.contains("<img") && !body.contains("<script>"),
            "{target}: {body}"
        );
        assert!(!body.contains("a'b"), "{target}: {body}");
        assert!(
            body.contains("&lt;") && !body.contains("\">\">"),
            "{target}: {body}"
        );
        for guard in [
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(said.head.contains(guard), "{guard}: {}", said.head);
        }
        // Nothing in the page needs more than that.
        assert!(
            !body.contains(" style=") && !body.contains("javascript:"),
            "{target}: {body}"
        );
    }
    assert!(
        desk.get("/")
            .await
            .body
            .contains("&lt;img src=x onerror=alert(1)&gt;")
    );
}

#[rstest]
#[case("Host: evil.test\r\n", 403)]
#[case("Host: localhost.evil.test:9901\r\n", 403)]
#[case("Host: localhost:9901\r\n", 200)]
#[case("Host: 127.0.0.1\r\n", 200)]
#[case("Host: [::1]:9901\r\n", 200)]
#[tokio::test]
async fn admin_answers_to_no_name_that_is_anybodys(#[case] host: &str, #[case] status: u16) {
    let desk = Desk::new().await;
    for target in ["/", "/state", "/explain", "/page.js", "/page.css"] {
        assert_eq!(desk.ask(target, host).await.status, status, "{target}");
    }
    // Probes come by whatever name.
    for target in ["/live", "/ready", "/metrics"] {
        assert_eq!(desk.ask(target, host).await.status, 200, "{target}");
    }
}

#[tokio::test]
async fn admin_page_stays_small_however_much_is_stored() {
    let desk = Desk::new().await;
    let long = "p".repeat(3000);
    let tags: Vec<String> = (0..100).map(|tag| format!("{tag}-{}", "t".repeat(200))).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    for page in 0..2000_u64 {
        desk.put(&format!("/{page:04}"), &["site"], 10, page);
    }
    desk.put(&format!("/{long}"), &tags, 10, 0);
    let state = desk.state("").await;
    assert_eq!(
        (&state["pageCount"], &state["matchingCount"]),
        (&json!(2001), &json!(2001))
    );
    assert_eq!(state["pages"].as_array().unwrap().len(), 50);
    let all = desk.get("/?limit=999999&sort=path").await.body;
    assert!(all.len() < 600_000, "{}", all.len());
    assert!(all.contains("1–500 of 2,001") && all.contains("page=2"), "pager");
    let one = desk.get("/?path=/ppp").await.body;
    assert!(one.len() < 60_000, "{}", one.len());
    assert!(
        one.contains("and 84 more") && one.contains("1–1 of 1, of 2,001 in all"),
        "{one}"
    );

    // Every page is on one screen and no other.
    let mut seen = Vec::new();
    for screen in 1..=41 {
        let state = desk.state(&format!("sort=newest&page={screen}")).await;
        for page in state["pages"].as_array().unwrap() {
            seen.push(page["key"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!((seen.len(), seen[0].as_str()), (2001, "http://a.test/1999"));
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 2001);
    let beyond = desk.state("page=999").await;
    assert_eq!(
        (
            &beyond["wanted"]["page"],
            beyond["pages"].as_array().unwrap().len()
        ),
        (&json!(41), 1)
    );
}

#[rstest]
#[case("path=/b", &["/b/2", "/b/1"])]
#[case("tag=red", &["/b/1", "/a"])]
#[case("route=site/all&path=/a", &["/a"])]
#[case("route=site/other", &[])]
#[case("route=other", &[])]
#[case("tag=re", &[])]
#[case("sort=size", &["/b/1", "/b/2", "/a"])]
#[case("sort=path", &["/a", "/b/1", "/b/2"])]
#[case("sort=newest", &["/b/2", "/b/1", "/a"])]
#[case("sort=oldest", &["/a", "/b/1", "/b/2"])]
#[case("sort=due", &["/a", "/b/1", "/b/2"])]
#[tokio::test]
async fn admin_page_filters_and_sorts(#[case] query: &str, #[case] expected: &[&str]) {
    let desk = Desk::new().await;
    desk.put("/a", &["red"], 1, 1);
    desk.put("/b/1", &["red", "blue"], 3, 2);
    desk.put("/b/2", &["blue"], 2, 3);
    for (at, path) in ["/a", "/b/1", "/b/2"].into_iter().enumerate() {
        desk.page(path).visit(Moment(10 + at as u64));
    }
    let state = desk.state(query).await;
    let pages = state["pages"].as_array().unwrap();
    let paths: Vec<_> = pages
        .iter()
        .map(|page| {
            page["key"]
                .as_str()
                .unwrap()
                .strip_prefix("http://a.test")
                .unwrap()
        })
        .collect();
    assert_eq!(paths, expected);
    assert_eq!(state["matchingCount"], expected.len());
}

#[tokio::test]
async fn admin_page_counts_by_outcome_and_reason() {
    let mut desk = Desk::new().await;
    desk.stage.store("/a", "one").await;
    desk.stage
        .ask("GET", "/a//b", "", |asked| asked.page("passed"))
        .await;
    let state = desk.state("").await;
    let counters = &state["counters"];
    assert_eq!(counters["requests"][0], json!({"word": "HIT", "count": 1}));
    assert_eq!(
        counters["passed"],
        json!([{"word": "path-not-normal", "count": 1}])
    );
    let page = &state["pages"][0];
    assert_eq!(
        (&page["lastOutcome"], &page["nextOutcome"]),
        (&json!("HIT"), &json!("HIT"))
    );
    let metrics = desk.get("/metrics").await.body;
    assert!(
        metrics.contains("coppice_passed_total{reason=\"path-not-normal\"} 1"),
        "{metrics}"
    );
}
