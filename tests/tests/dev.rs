//! `coppice dev` as a user runs it: the built binary, real files, real ports, real apps.

mod laptop;

use anyhow::{Result, ensure};
use http::{Method, StatusCode};
use laptop::{Laptop, gone, line_of, wait};

const ROUTE: &str = "\
apiVersion: coppice.dev/v1alpha1
kind: IsrRoute
metadata: { name: blog }
spec:
  podSelector: { matchLabels: { app: blog } }
  rules:
    - paths: [\"/\", \"/index.txt\"]
      revalidate: 1
    - paths: [\"/blog/[slug]\"]
      revalidate: 1h
      tags: [\"post:[slug]\"]
";

/// A purge of one tag.
fn purge(name: &str, tag: &str, strategy: &str, more: &str) -> String {
    format!(
        "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {{ name: {name} }}\n\
         spec: {{ tags: [\"{tag}\"], strategy: {strategy}{more} }}\n"
    )
}

fn blog() -> Result<Laptop> {
    Laptop::of(&[("route.yaml", ROUTE)])
}

#[tokio::test]
async fn dev_first_run_shows_miss_hit_stale_and_a_new_page() -> Result<()> {
    let laptop = blog()?.serve().await?;
    let first = laptop.get("/").await?;
    ensure!(
        (first.cache(), first.status) == ("MISS", StatusCode::OK),
        "{first:?}"
    );
    let stale = laptop.until("/", "STALE", |a| a.cache() == "STALE").await?;
    ensure!(
        stale.rendering() == first.rendering(),
        "the old page is served at once: {stale:?}"
    );
    let new = laptop
        .until("/", "the new page", |a| a.rendering() != first.rendering())
        .await?;
    ensure!(new.body.contains("The Coppice"), "{new:?}");

    let post = laptop.get("/blog/hello").await?;
    ensure!(post.cache() == "MISS", "{post:?}");
    let again = laptop.get("/blog/hello").await?;
    ensure!(
        again.cache() == "HIT" && again.rendering() == post.rendering(),
        "{again:?}"
    );
    ensure!(again.header("cache-status").contains("key="), "{again:?}");
    ensure!(laptop.get("/nowhere").await?.cache() == "BYPASS");

    let said = laptop.session.so_far();
    ensure!(
        said.contains("/blog/[slug]") && said.contains("revalidate 1h"),
        "{said}"
    );
    let (code, said) = laptop.end().await?;
    ensure!(code == 0, "Ctrl-C ends it well: {code}\n{said}");
    ensure!(
        !said.contains('\u{1b}'),
        "no colours where there is no terminal: {said:?}"
    );
    for line in ["MISS", "HIT ", "STALE", "BYPASS      no-route"] {
        ensure!(said.contains(&format!("\n{line}")), "no line of {line}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn dev_editing_a_post_shows_after_a_purge() -> Result<()> {
    let laptop = blog()?.serve().await?;
    laptop.get("/blog/hello").await?;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let edited = laptop
        .ask(Method::POST, "/edit/hello", &form, "text=fresh+from+the+press")
        .await?;
    ensure!(
        edited.status == StatusCode::SEE_OTHER && edited.cache() == "BYPASS",
        "{edited:?}"
    );
    let old = laptop.get("/blog/hello").await?;
    ensure!(
        !old.body.contains("fresh from the press") && old.cache() == "HIT",
        "{old:?}"
    );

    laptop
        .session
        .save("purge.yaml", &purge("p", "post:hello", "Refresh", ""))?;
    laptop.session.said("1 matched, 1 regenerated, 0 failed").await?;
    let new = laptop.get("/blog/hello").await?;
    ensure!(
        new.cache() == "HIT" && new.body.contains("fresh from the press"),
        "{new:?}"
    );
    Ok(())
}

#[tokio::test]
async fn dev_saving_a_changed_interval_applies_to_stored_pages() -> Result<()> {
    let laptop = blog()?.serve().await?;
    let first = laptop.get("/blog/hello").await?;
    laptop.session.save("route.yaml", &ROUTE.replace("1h", "1s"))?;
    laptop.session.said("route blog in force").await?;
    let stale = laptop
        .until("/blog/hello", "STALE", |a| a.cache() == "STALE")
        .await?;
    ensure!(stale.rendering() == first.rendering());
    laptop
        .until("/blog/hello", "new", |a| a.rendering() != first.rendering())
        .await?;
    Ok(())
}

#[tokio::test]
async fn dev_a_request_purges_once_and_prints_its_status() -> Result<()> {
    let laptop = blog()?.serve().await?;
    laptop.get("/blog/hello").await?;
    laptop.get("/blog/hazel").await?;
    let request = purge("delete-hello", "post:hello", "Delete", "");
    laptop.session.save("purge.yaml", &request)?;
    laptop.session.said("1 matched, 0 regenerated, 0 failed").await?;
    let said = laptop.session.so_far();
    for line in [
        "NAME           ACKNOWLEDGED   READY   SIDECARS   AGE",
        "delete-hello   True           True    1/1 ",
    ] {
        ensure!(said.contains(line), "no line {line:?}: {said}");
    }
    ensure!(laptop.get("/blog/hello").await?.cache() == "MISS");
    ensure!(
        laptop.get("/blog/hazel").await?.cache() == "HIT",
        "another tag is not touched"
    );

    // Saved again with another deadline and a comment: no new purge. The route saved after it shows when it was read.
    let same = format!(
        "# again\n{}",
        request.replace("strategy: Delete", "strategy: Delete, deadline: 1m")
    );
    laptop.session.save("purge.yaml", &same)?;
    laptop.session.save("route.yaml", &ROUTE.replace("1h", "2h"))?;
    laptop.session.said("route blog in force").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");

    // Another nonce is another purge.
    laptop.session.save(
        "purge.yaml",
        &request.replace("strategy: Delete", "strategy: Delete, nonce: two"),
    )?;
    laptop
        .session
        .said_times("1 matched, 0 regenerated, 0 failed", 2)
        .await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "MISS");
    Ok(())
}

#[tokio::test]
async fn dev_requests_that_are_there_at_the_start_purge_nothing() -> Result<()> {
    let laptop = Laptop::of(&[(
        "all.yaml",
        &format!("{ROUTE}---\n{}", purge("old", "post:hello", "Delete", "")),
    )])?;
    let laptop = laptop.serve().await?;
    laptop.get("/blog/hello").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    let (_, said) = laptop.end().await?;
    ensure!(!said.contains("ACKNOWLEDGED"), "{said}");
    Ok(())
}

#[tokio::test]
async fn dev_purges_by_every_selector() -> Result<()> {
    let laptop = blog()?.serve().await?;
    for (n, selector) in [
        r#"paths: ["/blog/hello"]"#,
        r#"patterns: ["/blog/[slug]"]"#,
        "everything: true",
        "routeRef: {name: blog}, everything: true",
    ]
    .into_iter()
    .enumerate()
    {
        laptop.get("/blog/hello").await?;
        ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
        let request = format!(
            "apiVersion: coppice.dev/v1alpha1\nkind: RevalidationRequest\nmetadata: {{ generateName: cms- }}\n\
             spec: {{ {selector}, strategy: Delete }}\n"
        );
        laptop.session.save(&format!("purge-{n}.yaml"), &request)?;
        laptop.session.said_times("regenerated, 0 failed", n + 1).await?;
        let answer = laptop.get("/blog/hello").await?;
        ensure!(answer.cache() == "MISS", "{selector}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn dev_a_broken_manifest_at_the_start_ends_it_with_2() -> Result<()> {
    // What is wrong, the line it is in, what is said of it, and what to do.
    for (wrong, line, words, remedy) in [
        (
            ROUTE.replace("revalidate: 1h", "revalidat: 1h"),
            10,
            r#"unknown field "spec.rules[1].revalidat""#,
            "did you mean `revalidate`?",
        ),
        (
            ROUTE.replace("revalidate: 1h", "revalidate: 1x"),
            10,
            r#"spec.rules[1].revalidate: Invalid value: "1x""#,
            "write 90, 5m or never",
        ),
        (
            ROUTE.replace("revalidate: 1h", "revalidate: [1]"),
            10,
            r#"spec.rules[1].revalidate: Invalid value: "array""#,
            "remedy: ",
        ),
        (
            ROUTE.replace("revalidate: 1h", "override: [nostore]"),
            10,
            r#"spec.rules[1].override[0]: Unsupported value: "nostore""#,
            "write one of the supported values",
        ),
        (
            ROUTE.replace(
                "    - paths: [\"/blog/[slug]\"]\n      revalidate",
                "    - revalidate",
            ),
            9,
            "spec.rules[1].paths: Required value",
            "add `paths`",
        ),
        (
            ROUTE.replace("/blog/[slug]", "blog/[slug]"),
            9,
            r#"spec.rules[1].paths[0]: Invalid value: "blog/[slug]""#,
            "",
        ),
        (
            ROUTE.replace("name: blog", "name: Blog"),
            3,
            r#"metadata.name: Invalid value: "Blog""#,
            "lower case",
        ),
        (
            ROUTE.replace("v1alpha1", "v9"),
            1,
            r#"no matches for kind "IsrRoute" in version "coppice.dev/v9""#,
            "coppice.dev/v1alpha1",
        ),
        (
            format!("{ROUTE}  suspend: true\n  suspend: false\n"),
            13,
            r#"duplicate field "spec.suspend""#,
            "remove one of the two",
        ),
        (
            ROUTE.replace("[\"/blog/[slug]\"]", "[\"/blog/[slug]\""),
            0,
            "failed to read the YAML",
            "close what is open",
        ),
        (
            format!("{ROUTE}---\n{ROUTE}"),
            13,
            "IsrRoute \"blog\" is there already",
            "rename one",
        ),
        (
            format!("{ROUTE}---\n{}", purge("p", "x", "Never", "")),
            16,
            "spec.strategy: Unsupported value: \"Never\": supported values: \"Refresh\", \"Expire\", \"Delete\"",
            "supported",
        ),
    ] {
        let (code, said) = Laptop::of(&[("route.yaml", &wrong)])?.run().await?;
        ensure!(code == 2, "exit code {code} for {words}: {said}");
        ensure!(said.contains(words), "{words:?} is not said: {said}");
        ensure!(said.contains(remedy), "{remedy:?} is not said: {said}");
        let place = if line > 0 {
            format!("route.yaml:{line}:")
        } else {
            "route.yaml:".to_owned()
        };
        ensure!(said.contains(&place), "{place} is not said: {said}");
        ensure!(said.contains("nothing was started"), "{said}");
    }
    let (code, said) = Laptop::of(&[])?.flags(&["missing.yaml"]).run().await?;
    ensure!(
        code == 2 && said.contains("missing.yaml: failed to read it"),
        "{code}: {said}"
    );
    Ok(())
}

#[tokio::test]
async fn dev_a_broken_manifest_later_leaves_everything_in_force() -> Result<()> {
    let laptop = blog()?.serve().await?;
    laptop.get("/blog/hello").await?;
    for (n, broken) in [
        ROUTE.replace("revalidate: 1h", "revalidate: 1x"),
        ROUTE.replace("revalidate: 1h", "revalidate: \"1h"),
        ROUTE.replace("paths:", "path:"),
    ]
    .into_iter()
    .enumerate()
    {
        laptop.session.save("route.yaml", &broken)?;
        laptop
            .session
            .said_times("what was in force before stays in force", n + 1)
            .await?;
        ensure!(laptop.get("/blog/hello").await?.cache() == "HIT", "{broken}");
    }
    laptop.session.save("route.yaml", ROUTE)?;
    laptop.session.said("route.yaml is whole again").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    Ok(())
}

#[tokio::test]
async fn dev_removing_a_file_removes_its_objects() -> Result<()> {
    let other = ROUTE
        .replace("name: blog", "name: other")
        .replace("/blog/", "/edit/");
    let laptop = Laptop::of(&[
        ("route.yaml", ROUTE),
        ("other.yaml", &other.replace("\"/\", ", "")),
    ])?;
    let laptop = laptop.serve().await?;
    laptop.get("/blog/hello").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    std::fs::remove_file(laptop.session.path("route.yaml"))?;
    laptop.session.said("route blog removed").await?;
    laptop
        .until("/blog/hello", "passed through", |a| a.cache() == "BYPASS")
        .await?;
    ensure!(
        laptop.get("/edit/hello").await?.cache() != "BYPASS",
        "the other file's route stays"
    );

    laptop.session.save("route.yaml", ROUTE)?;
    laptop
        .until("/blog/hello", "cached again", |a| a.cache() == "HIT")
        .await?;
    Ok(())
}

#[tokio::test]
async fn dev_a_real_manifest_folder_works_as_it_is() -> Result<()> {
    let folder = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: blog, namespace: shop }
spec: { template: { spec: { containers: [] } } }
---
apiVersion: v1
kind: Service
metadata: { name: blog, namespace: shop }
---
apiVersion: v1
kind: Secret
metadata: { name: token, namespace: shop }
stringData: { key: value }
";
    let route = ROUTE.replace("name: blog }", "name: blog, namespace: shop }");
    let laptop = Laptop::of(&[("app.yaml", folder), ("more.yaml", folder), ("route.yml", &route)])?;
    let (code, said) = laptop.run().await?;
    ensure!(
        code == 2 && said.contains("Secret \"token\" is there already"),
        "{said}"
    );

    let laptop = Laptop::of(&[("app.yaml", folder), ("route.yml", &route)])?
        .serve()
        .await?;
    laptop.get("/blog/hello").await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    let (_, said) = laptop.end().await?;
    ensure!(
        said.matches("Deployment").count() == 1 && said.contains("Service"),
        "{said}"
    );
    ensure!(!said.contains("Secret"), "{said}");
    Ok(())
}

#[tokio::test]
async fn dev_several_namespaces_need_a_word() -> Result<()> {
    let of =
        |namespace: &str| ROUTE.replace("name: blog }", &format!("name: blog, namespace: {namespace} }}"));
    let files = [
        ("a.yaml", of("shop")),
        ("b.yaml", of("docs").replace("/blog/", "/edit/")),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let (code, said) = Laptop::of(&files)?.run().await?;
    ensure!(
        code == 2 && said.contains("choose one with --namespace: docs, shop"),
        "{code}: {said}"
    );
    ensure!(said.contains("a.yaml:3:") && said.contains("b.yaml:3:"), "{said}");

    let laptop = Laptop::of(&files)?
        .flags(&["--namespace", "docs"])
        .serve()
        .await?;
    ensure!(laptop.get("/edit/hello").await?.cache() == "MISS");
    ensure!(laptop.get("/blog/hello").await?.cache() == "BYPASS");
    Ok(())
}

#[tokio::test]
async fn dev_a_port_in_use_is_said_and_nothing_is_left_running() -> Result<()> {
    for flag in ["--listen", "--admin"] {
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = taken.local_addr()?.to_string();
        let laptop = blog()?.flags(&[flag, &address]);
        let started = laptop.folder.path().join("started");
        let (code, said) = laptop
            .command(&["sh", "-c", "echo yes > started; exec sleep 1000"])
            .run()
            .await?;
        ensure!(code == 1, "exit code {code}: {said}");
        let words = format!(
            "{address} is in use by another program: stop that, or choose another address with {flag}"
        );
        ensure!(said.contains(&words), "{said}");
        ensure!(!started.exists(), "the app was not started");
    }
    Ok(())
}

#[tokio::test]
async fn dev_an_app_that_never_answers_ends_it_with_1() -> Result<()> {
    let laptop = blog()?.flags(&["--app-timeout", "1s"]);
    let session = laptop
        .command(&["sh", "-c", "echo $$ > pid; sleep 1000; true"])
        .start()?;
    let id = line_of(&session.path("pid")).await?;
    let (code, said) = session.ended().await?;
    ensure!(
        code == 1 && said.contains("did not answer within 1s"),
        "{code}: {said}"
    );
    ensure!(said.contains("PORT"), "what to do about it: {said}");
    gone(&id).await?;

    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (code, said) = blog()?
        .flags(&["--app-timeout", "1s", "--app", &format!("http://{nobody}")])
        .run()
        .await?;
    ensure!(
        code == 1 && said.contains(&format!("the app on http://{nobody} did not answer")),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn dev_an_app_that_dies_ends_it_with_its_code() -> Result<()> {
    let (code, said) = blog()?
        .command(&["sh", "-c", "echo broken >&2; exit 7"])
        .run()
        .await?;
    ensure!(code == 1, "before it answered: {code}: {said}");
    ensure!(
        said.contains("broken") && said.contains("ended before it answered, with exit code 7"),
        "{said}"
    );

    let (code, said) = blog()?.command(&["no-such-program-anywhere"]).run().await?;
    ensure!(
        code == 1 && said.contains("failed to start \"no-such-program-anywhere\""),
        "{code}: {said}"
    );

    let server = "python3 -m http.server $PORT --bind 127.0.0.1 & echo $! > child; while [ ! -e die ]; do sleep 0.05; done; exit 9";
    let laptop = blog()?.command(&["sh", "-c", server]).serve().await?;
    let child = line_of(&laptop.session.path("child")).await?;
    std::fs::write(laptop.session.path("die"), "")?;
    let (code, said) = laptop.session.ended().await?;
    ensure!(
        code == 9 && said.contains("the app has ended, with exit code 9"),
        "{code}: {said}"
    );
    gone(&child).await?;
    Ok(())
}

#[tokio::test]
async fn dev_serves_any_server_that_takes_a_port() -> Result<()> {
    let laptop = blog()?.command(&["python3", "-m", "http.server", "--bind", "127.0.0.1", "$(PORT)"]);
    std::fs::write(laptop.folder.path().join("index.txt"), "one")?;
    let laptop = laptop.serve().await?;
    let first = laptop.get("/index.txt").await?;
    ensure!(
        (first.cache(), first.body.as_str()) == ("MISS", "one"),
        "{first:?}"
    );
    std::fs::write(laptop.session.path("index.txt"), "two")?;
    let new = laptop
        .until("/index.txt", "the new text", |a| a.body == "two")
        .await?;
    ensure!(
        matches!(new.cache(), "HIT" | "STALE"),
        "regenerated behind a stale page: {new:?}"
    );
    let listing = laptop.get("/none/").await?;
    ensure!(
        (listing.status, listing.cache()) == (StatusCode::NOT_FOUND, "BYPASS"),
        "{listing:?}"
    );
    Ok(())
}

#[tokio::test]
async fn dev_serves_an_app_that_runs_already() -> Result<()> {
    let app = blog()?.serve().await?;
    let laptop = blog()?
        .flags(&["--app", &format!("http://{}", app.address), "--quiet"])
        .serve()
        .await?;
    ensure!(laptop.get("/blog/hello").await?.cache() == "MISS");
    ensure!(laptop.get("/blog/hello").await?.cache() == "HIT");
    let (code, said) = laptop.end().await?;
    ensure!(
        code == 0 && !said.contains("\nHIT"),
        "--quiet prints no line for a request: {said}"
    );
    ensure!(
        app.get("/blog/hello").await?.status == StatusCode::OK,
        "an app that was not started here stays"
    );
    Ok(())
}

#[tokio::test]
async fn dev_passes_signals_on() -> Result<()> {
    let app = "trap 'echo got INT; exit 3' INT; python3 -m http.server $PORT --bind 127.0.0.1 & echo $! > child; while :; do sleep 0.05; done";
    let laptop = blog()?.command(&["bash", "-c", app]).serve().await?;
    let child = line_of(&laptop.session.path("child")).await?;
    let (code, said) = laptop.end().await?;
    ensure!(said.contains("got INT"), "{said}");
    ensure!(code == 3, "the app's own code: {code}: {said}");
    gone(&child).await?;
    Ok(())
}

#[tokio::test]
async fn dev_leaves_no_app_behind_when_it_is_killed() -> Result<()> {
    let app =
        "trap '' TERM; python3 -m http.server $PORT --bind 127.0.0.1 & echo $! > child; echo $$ > pid; wait";
    let laptop = blog()?.command(&["bash", "-c", app]).serve().await?;
    let (id, child) = (
        line_of(&laptop.session.path("pid")).await?,
        line_of(&laptop.session.path("child")).await?,
    );
    laptop.session.signal("KILL").await?;
    gone(&child).await?;
    gone(&id).await?;
    Ok(())
}

#[tokio::test]
async fn dev_a_failing_app_keeps_the_old_page() -> Result<()> {
    let laptop = blog()?.serve().await?;
    let good = laptop.get("/").await?;
    for behaviour in [
        r#"{"path": "/", "status": 500}"#,
        r#"{"path": "/", "closeAfter": 100}"#,
        r#"{"path": "/", "closeAfter": 0}"#,
    ] {
        laptop.script(behaviour).await?;
        let before = laptop.renders("/").await?;
        let failed = || async {
            let answer = laptop.get("/").await?;
            ensure!(answer.rendering() == good.rendering(), "{behaviour}: {answer:?}");
            Ok(laptop.renders("/").await? > before)
        };
        wait("the app was asked and failed", failed).await?;
        let kept = laptop.get("/").await?;
        ensure!(
            (kept.status, kept.rendering()) == (StatusCode::OK, good.rendering()),
            "{behaviour}: {kept:?}"
        );
    }
    laptop.script(r#"{"path": "/"}"#).await?;
    laptop
        .until("/", "new again", |a| a.rendering() != good.rendering())
        .await?;
    Ok(())
}

#[tokio::test]
async fn dev_the_admin_address_tells_the_state() -> Result<()> {
    let laptop = blog()?.serve().await?;
    laptop.get("/blog/hello").await?;
    for (path, words) in [
        ("/", "<!doctype html"),
        ("/state", "\"rules\""),
        ("/explain?url=/blog/hello", "pattern /blog/[slug] matches"),
        ("/ready", "ready"),
        ("/metrics", "coppice"),
    ] {
        let host = laptop.admin.to_string();
        let answer = laptop::request(laptop.admin, Method::GET, path, &[("host", host.as_str())], "")
            .open()
            .await?;
        ensure!(answer.status() == StatusCode::OK, "{path}: {answer:?}");
        let body = http_body_util::BodyExt::collect(answer.into_body())
            .await?
            .to_bytes();
        let body = String::from_utf8_lossy(&body);
        ensure!(body.contains(words), "{path}: {body}");
    }
    Ok(())
}

#[tokio::test]
async fn dev_help_teaches() -> Result<()> {
    let output = tokio::process::Command::new(laptop::coppice()?)
        .args(["dev", "--help"])
        .output()
        .await?;
    let help = String::from_utf8(output.stdout)?;
    ensure!(output.status.success());
    for words in [
        "Examples:",
        "--app",
        "$(PORT)",
        "Exit codes",
        "--namespace",
        "x-coppice-cache",
    ] {
        ensure!(help.contains(words), "{words} is not in the help: {help}");
    }
    Ok(())
}

/// Writes down what it is asked, and answers as a Next.js whose token is `right` does.
const TOKEN_APP: &str = r#"
import http.server, os
count = 0
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global count
        count += 1
        token = self.headers.get("x-prerender-revalidate", "none")
        with open("asked", "a") as log:
            log.write(f"{self.path} {token}\n")
        body = f"answer {count}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-nextjs-cache", "REVALIDATED" if token == "right-t0ken" else "HIT")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
"#;

const TOKEN_ROUTE: &str = "\
apiVersion: coppice.dev/v1alpha1
kind: IsrRoute
metadata: { name: blog }
spec:
  podSelector: {}
  origin:
    headers: [{ name: x-prerender-revalidate, valueFrom: { secretKeyRef: { name: isr, key: bypass } } }]
  rules: [{ paths: [\"/page\"], revalidate: never, tags: [page] }]
";

fn secret(label: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: isr, labels: {{ {label} }} }}\nstringData: {{ bypass: {token} }}\n"
    )
}

#[tokio::test]
async fn dev_a_secret_goes_with_regenerations_and_is_shown_to_nobody() -> Result<()> {
    let laptop = Laptop::of(&[("app.py", TOKEN_APP), ("route.yaml", TOKEN_ROUTE)])?;
    let laptop = laptop.command(&["python3", "app.py"]).serve().await?;
    let session = &laptop.session;
    let asked = || std::fs::read_to_string(session.path("asked")).unwrap_or_default();
    session
        .said("route blog: ResolvedRefs=False, SecretNotFound: origin.headers[x-prerender-revalidate]: there is no Secret \"isr\"")
        .await?;
    ensure!(
        laptop.get("/page").await?.cache() == "BYPASS",
        "not without its token"
    );

    session.save("secret.yaml", &secret("a: b", "wrong-t0ken"))?;
    session.said("RefNotPermitted").await?;
    session.save(
        "secret.yaml",
        &secret("coppice.dev/allow-reference: \"true\"", "wrong-t0ken"),
    )?;
    session.said("route blog in force").await?;
    ensure!(laptop.get("/page").await?.cache() == "MISS");
    ensure!(laptop.get("/page").await?.cache() == "HIT");
    ensure!(
        !asked().contains("t0ken"),
        "a visitor's own miss goes without: {}",
        asked()
    );

    session.save("purge.yaml", &purge("one", "page", "Refresh", ""))?;
    session
        .said("request one: OriginCacheNotBypassed: the app answered for 1 page")
        .await?;
    ensure!(asked().ends_with("/page wrong-t0ken\n"), "{}", asked());

    session.save(
        "secret.yaml",
        &secret("coppice.dev/allow-reference: \"true\"", "right-t0ken"),
    )?;
    session.said_times("secret isr applied", 3).await?;
    session.save("purge.yaml", &purge("two", "page", "Refresh", ""))?;
    session.said("1 matched, 1 regenerated, 0 failed").await?;
    wait("the new token is sent", async || {
        Ok(asked().ends_with("/page right-t0ken\n"))
    })
    .await?;
    session
        .said_times("1 matched, 1 regenerated, 0 failed", 2)
        .await?;
    ensure!(session.so_far().matches("OriginCacheNotBypassed:").count() == 1);

    session.save(
        "secret.yaml",
        &secret("coppice.dev/allow-reference: \"true\"", "[right-t0ken"),
    )?;
    session.said("secret.yaml:").await?;
    for path in ["/", "/state", "/explain?url=http://laptop.test/page"] {
        let answer = laptop::request(laptop.admin, Method::GET, path, &[], "")
            .send()
            .await?;
        ensure!(!answer.body.contains("t0ken"), "{path}: {answer:?}");
    }
    let said = session.so_far();
    ensure!(!said.contains("t0ken"), "{said}");
    Ok(())
}

#[tokio::test]
async fn dev_prerenders_before_anybody_asks() -> Result<()> {
    let route = ROUTE
        .replace("spec:\n", "spec:\n  hostnames: [laptop.test]\n")
        .replace(
            "revalidate: 1h\n",
            "revalidate: 1h\n      prerender: [/blog/hello]\n",
        );
    let laptop = Laptop::of(&[("route.yaml", &route)])?.serve().await?;
    let rendered = |path: &'static str| {
        let laptop = &laptop;
        async move || Ok(laptop.renders(path).await? == 1)
    };
    wait("it is fetched without a visitor", rendered("/blog/hello")).await?;
    laptop
        .until("/blog/hello", "stored", |answer| answer.cache() == "HIT")
        .await?;
    ensure!(
        laptop.renders("/blog/hello").await? == 1,
        "nobody asked for it twice"
    );

    laptop
        .session
        .save("route.yaml", &route.replace("[/blog/hello]", "[/nowhere]"))?;
    laptop.session.said("no path of this rule matches it").await?;
    Ok(())
}
