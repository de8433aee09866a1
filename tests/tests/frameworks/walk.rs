//! A browser walks through pages of every kind and of both routers, while all of them are purged again and again.
//!
//! ```text
//! purges: edition 2 … 8, by path and by tag ──Ready──► floor: no page that is asked for from now on may be older
//! walk:   laps by links in one router ──► across to the other ──► …   what a page shows is of one edition, and never older
//! ```

use std::{cell::Cell, collections::BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    navigation::Visitor,
    site::{self, App, Site},
};

const HOST: &str = "walk.localhost";
const EDITIONS: u32 = 8;

/// A page of the walk.
struct Stop {
    /// What its link says, and what is purged.
    link: &'static str,
    /// The page that it leads to.
    page: &'static str,
    /// The app renders it for each request, and its router asks at each click. Of the others, the app and the router have
    /// copies of their own, which a purge that comes amid a rendering may miss.
    asked: bool,
    /// The newest edition seen.
    seen: Cell<u32>,
}

const fn stop(link: &'static str, page: &'static str, asked: bool) -> Stop {
    Stop {
        link,
        page,
        asked,
        seen: Cell::new(0),
    }
}

struct Walk<'a> {
    site: &'a Site,
    app: [Stop; 5],
    pages: [Stop; 5],
    /// All pages are of this edition or a newer one.
    floor: Cell<u32>,
    /// Who has it purges, or looks at the pages while nobody does.
    purging: Mutex<()>,
}

impl Stop {
    fn slug(&self) -> &'static str {
        self.page.rsplit('/').next().unwrap_or_default()
    }

    fn selector(&self) -> String {
        format!("nav a[href='{}']", self.link)
    }
}

impl<'a> Walk<'a> {
    fn of(site: &'a Site) -> Self {
        Self {
            site,
            app: [
                stop("/blog/walk", "/blog/walk", true),
                stop("/rewritten/blog/walk-rewritten", "/blog/walk-rewritten", true),
                stop("/moved/blog/walk-moved", "/blog/walk-moved", true),
                stop("/own/walk-own", "/own/walk-own", false),
                stop("/tagged/walk-tagged", "/tagged/walk-tagged", false),
            ],
            pages: [
                stop("/account/walk-account", "/account/walk-account", true),
                stop(
                    "/rewritten/account/walk-account-rewritten",
                    "/account/walk-account-rewritten",
                    true,
                ),
                stop(
                    "/moved/account/walk-account-moved",
                    "/account/walk-account-moved",
                    true,
                ),
                stop("/legacy/walk-legacy", "/legacy/walk-legacy", false),
                stop(
                    "/rewritten/legacy/walk-legacy-rewritten",
                    "/legacy/walk-legacy-rewritten",
                    false,
                ),
            ],
            floor: Cell::new(1),
            purging: Mutex::new(()),
        }
    }

    fn stops(&self) -> impl Iterator<Item = &Stop> {
        self.app.iter().chain(&self.pages)
    }

    /// Makes every page anew: in Next.js's own caches where they have it, then in the one before it.
    async fn purge(&self, edition: u32) -> Result<()> {
        let _purging = self.purging.lock().await;
        for Stop { page, .. } in self.stops() {
            let orders = json!({ "path": page, "edition": edition.to_string() });
            self.site.post("/api/script", &orders).await?;
            let api = match page.split('/').nth(1) {
                Some("own" | "tagged") => "revalidate",
                Some("legacy") => "legacy-revalidate",
                _ => continue,
            };
            let path = format!("/api/{api}?path={page}");
            self.site.post(&path, &json!({})).await?;
        }
        let selector = if edition.is_multiple_of(2) {
            // A redirect leads to a page that has no link of its own.
            let paths: BTreeSet<_> = self.stops().flat_map(|stop| [stop.link, stop.page]).collect();
            format!("paths: [{}]", Vec::from_iter(paths).join(", "))
        } else {
            let tags: Vec<_> = self.stops().map(|stop| format!("post:{}", stop.slug())).collect();
            format!("tags: {tags:?}")
        };
        self.site.purge(HOST, &selector).await?;
        self.floor.set(edition);
        Ok(())
    }

    /// Follows the link of each of these pages, on the first of which one arrives from the other router.
    async fn lap(&self, visitor: &mut Visitor<'_>, stops: &[Stop]) -> Result<()> {
        for stop in round(stops) {
            let floor = self.floor.get();
            visitor.follow(&stop.selector(), stop.slug()).await?;
            self.look(visitor, stop, floor).await?;
        }
        visitor.nothing_was_noticed().await
    }

    /// What the page shows is of one edition, and of no older one than what has been there before.
    async fn look(&self, visitor: &mut Visitor<'_>, stop: &Stop, floor: u32) -> Result<()> {
        let shown = "['#edition', '#payload'].map((id) => document.querySelector(id)?.textContent)";
        let [edition, payload]: [String; 2] = serde_json::from_value(visitor.browser.run(shown).await?)?;
        ensure!(
            edition == payload,
            "{}: {edition} in the document, {payload} in the payload",
            stop.link
        );
        let edition = edition.parse()?;
        let newest = stop.seen.replace(edition);
        ensure!(edition >= newest, "{}: {edition} after {newest}", stop.link);
        ensure!(
            edition >= floor || !stop.asked,
            "{}: {edition} where {floor} was everywhere",
            stop.link
        );
        Ok(())
    }

    /// While nobody purges, who types an address sees what who comes by a link does.
    async fn rest(&self, visitor: &mut Visitor<'_>, stops: &[Stop]) -> Result<()> {
        let _purging = self.purging.lock().await;
        let floor = self.floor.get();
        for stop in round(stops).filter(|stop| stop.asked) {
            visitor.follow(&stop.selector(), stop.slug()).await?;
            self.look(visitor, stop, floor).await?;
            let [shown, typed] = [stop.seen.get(), self.typed(visitor, stop).await?];
            ensure!(
                shown == floor && typed == floor,
                "{}: {shown} by its link, {typed} by its address, {floor} to the app",
                stop.link
            );
        }
        visitor.nothing_was_noticed().await
    }

    /// The edition of the document at a link.
    async fn typed(&self, visitor: &mut Visitor<'_>, stop: &Stop) -> Result<u32> {
        let document = format!("fetch('{}').then((answer) => answer.text())", stop.link);
        let document = visitor.browser.run(&document).await?;
        let edition = document
            .as_str()
            .and_then(|text| text.split_once("<b id=\"edition\">"))
            .and_then(|(_, rest)| rest.split_once("</b>"));
        let (edition, _) = edition.with_context(|| format!("{}: {document}", stop.link))?;
        Ok(edition.parse()?)
    }
}

/// Each page once, and the first one last: no link leads to the page where one is.
fn round(stops: &[Stop]) -> impl Iterator<Item = &Stop> {
    stops.iter().skip(1).chain(stops.first())
}

#[test]
fn frameworks_next_walk_through_both_routers_amid_purges_shows_one_edition() -> Result<()> {
    site::on(App::Next, async |site| {
        let walk = Walk::of(site);
        let mut visitor = Visitor::of(site, HOST, "/").await?;
        let steps = async {
            loop {
                let last = walk.floor.get() == EDITIONS;
                for (stops, other) in [(&walk.app, &walk.pages), (&walk.pages, &walk.app)] {
                    walk.lap(&mut visitor, stops).await?;
                    walk.rest(&mut visitor, stops).await?;
                    let [there, ..] = other;
                    let floor = walk.floor.get();
                    visitor.cross(&there.selector(), there.slug()).await?;
                    walk.look(&mut visitor, there, floor).await?;
                }
                if last {
                    return anyhow::Ok(visitor);
                }
            }
        };
        let purges = async {
            for edition in 2..=EDITIONS {
                walk.purge(edition).await?;
            }
            Ok(())
        };
        let (mut visitor, ()) = futures::try_join!(steps, purges)?;
        // Nobody walks now.
        walk.purge(EDITIONS + 1).await?;
        for stop in walk.stops() {
            visitor.open(stop.link).await?;
            walk.look(&mut visitor, stop, EDITIONS + 1).await?;
            ensure!(stop.seen.get() == EDITIONS + 1, "{}", stop.link);
        }
        visitor.nothing_was_noticed().await?;
        visitor.browser.end().await
    })
}
