//! The page for people, and its limits.

use coppice_cache::time::Moment;
use rstest::rstest;
use serde_json::{Value, json};

use crate::Desk;

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
        desk.page(path).visit(Moment(1000 * (10 + at as u64)));
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

/// Pages of one URL are told apart by what chose each, have an order of their own, and each links to its own explanation.
#[tokio::test]
async fn admin_page_tells_variants_apart() {
    let mut desk = Desk::with(|rule| {
        rule.key_headers.push("x-shop".to_owned());
        rule.key_cookies.push("country".to_owned());
    })
    .await;
    // A row is told from the others by these words; in the order of the list.
    let rows = [
        ("", None),
        ("accept-language: de\r\n", Some("accept-language: de")),
        ("accept-language: en\r\n", Some("accept-language: en")),
        ("accept-language: fr\r\n", Some("accept-language: fr")),
        ("accept-language: it\r\n", Some("accept-language: it")),
        ("rsc: 1\r\n", Some("rsc: 1")),
        ("cookie: country=secret\r\n", Some("cookie country")),
        ("x-shop: north & <south>\r\n", Some("x-shop: north & <south>")),
    ];
    // They come in another order.
    for (headers, _) in rows.into_iter().rev() {
        let vary = "vary: accept-language\r\n";
        let got = desk
            .stage
            .ask("GET", "/a?b=c&d=e", headers, |asked| {
                asked.answer("200 OK", vary, "page")
            })
            .await;
        assert_eq!(got.outcome(), "MISS", "{headers}");
    }
    let state = desk.state("sort=path").await;
    let pages = state["pages"].as_array().unwrap();
    let chosen_by: Vec<_> = pages.iter().map(|page| &page["chosenBy"]).collect();
    let expected: Vec<_> = rows
        .map(|(_, words)| json!(words.into_iter().collect::<Vec<_>>()))
        .into();
    assert_eq!(chosen_by, expected.iter().collect::<Vec<_>>());
    for (at, page) in pages.iter().enumerate() {
        let screen = desk.state(&format!("sort=path&limit=1&page={}", at + 1)).await;
        assert_eq!(screen["pages"][0]["key"], page["key"]);
        assert_eq!(screen["pages"][0]["chosenBy"], page["chosenBy"]);
        let Some(link) = page["explain"].as_str() else {
            // Nobody's cookie stands in an address.
            assert_eq!(page["chosenBy"], json!(["cookie country"]));
            continue;
        };
        let said = desk.get(&format!("{link}&format=json")).await;
        let answer: Value = serde_json::from_str(&said.body).unwrap();
        assert_eq!(answer["stored"]["chosenBy"], page["chosenBy"], "{link}: {answer}");
        assert_eq!(answer["next"]["outcome"], "HIT", "{link}: {answer}");
    }

    let html = desk.get("/?sort=path").await.body;
    for words in [
        "accept-language: de",
        "rsc: 1",
        "x-shop: north &amp; &lt;south&gt;",
        "cookie country",
    ] {
        assert!(html.contains(&format!("<code>{words}</code>")), "{words}: {html}");
    }
    for said in [html, state.to_string()] {
        assert!(!said.contains("secret"), "{said}");
    }
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
