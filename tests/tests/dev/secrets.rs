//! Secrets that routes refer to.

use anyhow::{Result, ensure};
use http::Method;

use crate::{
    laptop::{self, Laptop, wait},
    purge,
};

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
