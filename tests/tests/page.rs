//! The admin page in a real browser: what people see of a cache, and why a URL is or is not in it.

mod browser;
mod laptop;

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context as _, Result, ensure};
use browser::Browser;
use laptop::{Laptop, Serving, wait};
use serde_json::{Value, json};

const ROUTE: &str = "\
apiVersion: coppice.dev/v1alpha1
kind: IsrRoute
metadata: { name: blog }
spec:
  podSelector: { matchLabels: { app: blog } }
  rules:
    - paths: [\"/blog/[slug]\"]
      revalidate: 1h
      tags: [\"post:[slug]\"]
";

const PURGE: &str = "\
apiVersion: coppice.dev/v1alpha1
kind: RevalidationRequest
metadata: { name: hello }
spec: { tags: [\"post:hello\"], strategy: Refresh }
";

/// Contrast of text that is too low (WCAG 2.2, 1.4.3), fields without a label, header cells without a scope.
const FAULTS: &str = r"(() => {
  const faults = [];
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if ((color[3] ?? 1) === 1) return color;
    }
    return [255, 255, 255];
  };
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !element.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faults.push(`${element.tagName} ${element.textContent.slice(0, 20)}: ${contrast}`);
  }
  for (const field of document.querySelectorAll('input, select, textarea')) {
    if (!field.labels.length) faults.push(`no label: ${field.outerHTML}`);
  }
  for (const cell of document.querySelectorAll('th')) {
    if (!cell.scope) faults.push(`no scope: ${cell.outerHTML}`);
  }
  for (const landmark of ['header', 'nav', 'main', 'h1']) {
    if (!document.querySelector(landmark)) faults.push(`no ${landmark}`);
  }
  return faults;
})()";

/// What the cells of a row say, by the name of their columns.
type Row = BTreeMap<String, String>;

/// A session, and a browser at its admin address.
struct Desk {
    laptop: Serving,
    browser: Browser,
}

impl Desk {
    async fn open() -> Result<Self> {
        Ok(Self {
            laptop: Laptop::of(&[("route.yaml", ROUTE)])?.serve().await?,
            browser: Browser::start().await?,
        })
    }

    async fn goto(&mut self, target: &str) -> Result<()> {
        let admin = self.laptop.admin;
        self.browser.goto(&format!("http://{admin}{target}")).await
    }

    /// Waits until an expression is true.
    async fn until(&mut self, expression: &str) -> Result<()> {
        let browser = tokio::sync::Mutex::new(&mut self.browser);
        wait(expression, || async {
            Ok(browser.lock().await.run(expression).await? == json!(true))
        })
        .await
    }

    /// Waits until a row of a table has cells that are as wished, by the name of their columns; those of the row whose text
    /// includes `words`.
    async fn row(&mut self, table: &str, words: &str, wished: impl Fn(&Row) -> bool) -> Result<Row> {
        let expression = format!(
            "(() => {{ const rows = [...document.querySelectorAll('#{table} tbody tr')]; \
             const row = rows.find((row) => row.textContent.includes('{words}')); \
             return [...(row?.querySelectorAll('td') ?? [])].map((cell) => [cell.dataset.label, cell.textContent]); \
             }})()"
        );
        let browser = tokio::sync::Mutex::new((&mut self.browser, Row::new()));
        let what = format!("the row of {words} in {table} is as wished");
        let waited = wait(&what, || async {
            let mut locked = browser.lock().await;
            let cells: Vec<(String, String)> = serde_json::from_value(locked.0.run(&expression).await?)?;
            locked.1 = cells.into_iter().collect();
            Ok(!locked.1.is_empty() && wished(&locked.1))
        });
        let waited = waited.await;
        let (_, row) = browser.into_inner();
        waited.with_context(|| format!("{row:?}"))?;
        Ok(row)
    }

    /// Nothing in the console, no missing file, no fault for those who see little or nothing.
    async fn is_faultless(&mut self) -> Result<()> {
        let errors = self.browser.errors().await?;
        ensure!(errors == json!([]), "{errors}");
        let faults = self.browser.run(FAULTS).await?;
        ensure!(faults == json!([]), "{faults:#}");
        Ok(())
    }

    /// At this width nothing is wider than the screen.
    async fn fits(&mut self, width: u32) -> Result<()> {
        self.browser.size(width, 844).await?;
        let wide = "document.documentElement.scrollWidth - innerWidth";
        let over = self.browser.run(wide).await?;
        ensure!(over.as_i64().is_some_and(|over| over <= 0), "{over} at {width}");
        Ok(())
    }

    async fn end(self) -> Result<()> {
        self.browser.end().await?;
        self.laptop.end().await?;
        Ok(())
    }
}

#[tokio::test]
async fn page_keeps_itself_up_to_date_without_losing_its_place() -> Result<()> {
    let mut desk = Desk::open().await?;
    desk.laptop.get("/blog/hello").await?;
    desk.goto("/").await?;
    let row = desk.browser.text("#pages tbody tr").await?;
    ensure!(row.contains("/blog/hello") && row.contains("MISS"), "{row}");
    desk.is_faultless().await?;

    desk.browser.size(1200, 500).await?;
    desk.browser.fill("input[name=tag]", "post:ha").await?;
    desk.browser
        .run("scrollTo(0, 300); window.kept = true; document.activeElement.blur()")
        .await?;
    desk.laptop.get("/blog/hazel").await?;
    desk.until("document.querySelector('#pages').textContent.includes('/blog/hazel')")
        .await?;
    let kept = "[scrollY, window.kept, document.querySelector('input[name=tag]').value]";
    let kept = desk.browser.run(kept).await?;
    ensure!(kept == json!([300, true, "post:ha"]), "{kept}");

    // Who does not want that, says so.
    desk.browser.click("#live").await?;
    let stopped = desk.browser.run("sessionStorage.getItem('live')").await?;
    ensure!(stopped == json!("no"), "{stopped}");
    desk.is_faultless().await?;
    desk.end().await
}

#[tokio::test]
async fn page_shows_what_there_is_to_know_of_a_page() -> Result<()> {
    let mut desk = Desk::open().await?;
    let larger = r#"{"path": "/blog/hello", "padTo": 3072}"#;
    desk.laptop.script(larger).await?;
    desk.laptop.get("/blog/hello").await?;
    let stored = Instant::now();
    ensure!(desk.laptop.get("/blog/hello").await?.cache() == "HIT");
    desk.goto("/").await?;
    let row = desk.row("pages", "/blog/hello", |_| true).await?;
    let oldest = stored.elapsed().as_secs() + 1;
    let age = seconds(&row["Age"])?;
    ensure!(age <= oldest, "{row:?}");
    ensure!(row["Next regeneration"] == "in 59 min" || age == 0, "{row:?}");
    ensure!(row["Size"].starts_with("3.0 KiB"), "{row:?}");
    ensure!(row["Last visit"].starts_with("HIT"), "{row:?}");
    for (column, words) in [("Status", "200"), ("Next visit", "HIT"), ("Tags", "post:hello")] {
        ensure!(row[column] == words, "{column}: {row:?}");
    }
    ensure!(row["Rule"].starts_with("blog/"), "{row:?}");
    // It goes on counting.
    desk.row("pages", "/blog/hello", |row| {
        seconds(&row["Age"]).is_ok_and(|later| later > age)
    })
    .await?;

    // What was purged is said until it has been regenerated, and how many pages that were.
    desk.laptop
        .script(r#"{"path": "/blog/hello", "hang": true}"#)
        .await?;
    desk.laptop.session.save("purge.yaml", PURGE)?;
    desk.row("pages", "/blog/hello", |row| {
        row["Next regeneration"] == "purged (Refresh)" && row["Next visit"] == "STALE"
    })
    .await?;
    let flight = desk.row("flights", "/blog/hello", |_| true).await?;
    for (column, words) in [
        ("Phase", "asking the app"),
        ("Arrived", "0 B"),
        // The sweep, which counts it.
        ("Waiting", "1"),
        ("Route", "blog"),
    ] {
        ensure!(flight[column] == words, "{column}: {flight:?}");
    }
    ensure!(
        seconds(&flight["Since"])? <= stored.elapsed().as_secs(),
        "{flight:?}"
    );
    let purge = desk.row("purges", "post:hello", |_| true).await?;
    for (column, words) in [
        ("Strategy", "Refresh"),
        ("Selects", "tag post:hello"),
        ("Sweep", "1 matched, 0 regenerated, 0 failed, goes on"),
    ] {
        ensure!(purge[column] == words, "{column}: {purge:?}");
    }
    desk.laptop.script(r#"{"path": "/blog/hello"}"#).await?;
    desk.row("purges", "post:hello", |row| {
        row["Sweep"] == "1 matched, 1 regenerated, 0 failed"
    })
    .await?;
    desk.until("document.querySelector('#flights').textContent.includes('No page is being fetched')")
        .await?;
    desk.row("pages", "/blog/hello", |row| {
        row["Next visit"] == "HIT" && row["Next regeneration"].starts_with("in ")
    })
    .await?;
    desk.is_faultless().await?;
    desk.end().await
}

/// What a cell says that counts seconds, as long as these are few.
fn seconds(cell: &str) -> Result<u64> {
    let number = cell.strip_suffix(" s").with_context(|| format!("{cell:?}"))?;
    Ok(number.parse()?)
}

#[tokio::test]
async fn page_filters_and_leads_to_why() -> Result<()> {
    let mut desk = Desk::open().await?;
    desk.laptop.get("/blog/hello").await?;
    desk.laptop.get("/blog/hazel").await?;
    desk.goto("/").await?;
    desk.browser.fill("input[name=tag]", "post:hazel").await?;
    desk.browser.click(".filter button").await?;
    desk.until("location.search.includes('tag=post%3Ahazel')").await?;
    let rows = desk
        .browser
        .run("[...document.querySelectorAll('#pages tbody th')].map((cell) => cell.textContent)")
        .await?;
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    ensure!(rows.len() == 1 && is_of(&rows[0], "/blog/hazel"), "{rows:?}");

    desk.browser.click("#pages tbody th a").await?;
    desk.until("location.pathname === '/explain'").await?;
    let next = desk.browser.text("#next").await?;
    ensure!(next.contains("HIT") && next.contains("fresh"), "{next}");

    // The same with a draft's cookie.
    desk.browser.click("summary").await?;
    desk.browser
        .fill("textarea", "Cookie: __prerender_bypass=1")
        .await?;
    desk.browser.click(".question button").await?;
    desk.until("document.querySelector('#next').textContent.includes('bypass-cookie')")
        .await?;
    let bypass = desk.browser.text("#bypass").await?;
    ensure!(bypass.contains("by the header cookie"), "{bypass}");
    desk.is_faultless().await?;
    desk.end().await
}

fn is_of(cell: &Value, path: &str) -> bool {
    cell.as_str().is_some_and(|text| text.ends_with(path))
}

#[tokio::test]
async fn page_is_readable_on_a_phone() -> Result<()> {
    let mut desk = Desk::open().await?;
    let long = format!("/blog/hello?{}", "abcdefghij".repeat(30));
    desk.laptop.get(&long).await?;
    for target in ["/", "/explain?url=/blog/hello", "/explain"] {
        desk.goto(target).await?;
        for width in [320, 390, 768, 1280] {
            desk.fits(width).await?;
        }
        desk.browser.size(390, 844).await?;
        desk.is_faultless().await?;
    }
    desk.goto("/").await?;
    let card = "((cell) => [getComputedStyle(cell).display, getComputedStyle(cell, '::before').content])\
                (document.querySelector('#pages tbody td'))";
    let card = desk.browser.run(card).await?;
    ensure!(card == json!(["block", "\"Status\""]), "{card}");
    desk.end().await
}

#[tokio::test]
async fn page_runs_nothing_that_anybody_typed() -> Result<()> {
    let mut desk = Desk::open().await?;
    let typed = "%22%3E%3Cimg%20src=x%20onerror=%22window.hit=1%22%3E%3Cscript%3Ewindow.hit=1%3C/script%3E";
    for target in [
        format!("/?path={typed}&tag={typed}"),
        format!("/explain?url=http://a.test/{typed}&header=X-A:{typed}"),
    ] {
        desk.goto(&target).await?;
        let seen = desk
            .browser
            .run("[document.images.length, document.scripts.length, window.hit ?? null]")
            .await?;
        ensure!(seen == json!([0, 1, null]), "{target}: {seen}");
        desk.is_faultless().await?;
    }
    // Nor could it: what is not the page's own file is not run.
    let refused = "(() => { const script = document.createElement('script'); script.textContent = 'window.hit = 1'; \
                   document.body.append(script); return window.hit ?? null; })()";
    let refused = desk.browser.run(refused).await?;
    ensure!(refused.is_null(), "{refused}");
    desk.end().await
}
