//! A browser goes through the site by its links while pages are purged.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    site::{self, App, Site, until},
};

/// A visitor in a browser, who would notice if the site was loaded anew.
pub(crate) struct Visitor<'a> {
    pub(crate) browser: Browser,
    pub(crate) site: &'a Site,
    pub(crate) host: &'static str,
}

impl<'a> Visitor<'a> {
    pub(crate) async fn of(site: &'a Site, host: &'static str, path: &str) -> Result<Self> {
        let mut visitor = Self {
            browser: Browser::start().await?,
            site,
            host,
        };
        visitor.open(path).await?;
        Ok(visitor)
    }

    /// Types an address.
    pub(crate) async fn open(&mut self, path: &str) -> Result<()> {
        let port = self.site.serving.address.port();
        self.browser
            .goto(&format!("http://{}:{port}{path}", self.host))
            .await?;
        self.arrive().await
    }

    /// The site has been loaded, and is not to be again.
    async fn arrive(&mut self) -> Result<()> {
        // React takes the links over some time after the page is there; before, a click would load the next one whole.
        let taken =
            "Object.keys(document.querySelector('a') ?? {}).some((key) => key.startsWith('__reactProps'))";
        until(
            "React is at work",
            async || self.browser.run(taken).await,
            |taken| Ok(*taken == json!(true)),
        )
        .await?;
        self.browser.run("window.kept = true").await?;
        Ok(())
    }

    /// Goes by a link to a page of the other router, which loads the site anew.
    pub(crate) async fn cross(&mut self, link: &str, slug: &str) -> Result<()> {
        self.browser.click(link).await?;
        let arrived =
            format!("document.querySelector('h1')?.textContent === '{slug}' && window.kept === undefined");
        until(
            &format!("{link} leads across to {slug}"),
            // Nothing can be asked of a page that is about to go.
            async || Ok(self.browser.run(&arrived).await.ok()),
            |arrived| Ok(*arrived == Some(json!(true))),
        )
        .await?;
        self.arrive().await
    }

    /// Goes by a link to a page that says what it is.
    pub(crate) async fn follow(&mut self, link: &str, slug: &str) -> Result<()> {
        self.browser.click(link).await?;
        let heading = "document.querySelector('h1')?.textContent";
        let what = format!("{link} leads to {slug}");
        until(
            &what,
            async || self.browser.run(heading).await,
            |seen| Ok(*seen == json!(slug)),
        )
        .await?;
        Ok(())
    }

    async fn edition(&mut self) -> Result<String> {
        self.browser.text("#edition").await
    }

    /// The page was never loaded anew, and there is nothing in the console.
    pub(crate) async fn nothing_was_noticed(&mut self) -> Result<()> {
        let kept = self.browser.run("window.kept === true").await?;
        ensure!(kept == json!(true), "the site was loaded anew");
        let errors = self.browser.errors().await?;
        ensure!(errors == Value::Array(Vec::new()), "{errors}");
        Ok(())
    }

    async fn renew(&self, path: &str, slug: &str, edition: &str) -> Result<()> {
        let orders = json!({ "path": path, "edition": edition });
        self.site.post("/api/script", &orders).await?;
        self.site
            .purge(self.host, &format!("tags: [\"post:{slug}\"]"))
            .await
    }
}

/// Each time a purge is done, who comes by a link and who types the address see the new edition, and no older one again.
#[test]
fn frameworks_next_navigation_of_the_app_router_follows_purges() -> Result<()> {
    site::on(App::Next, async |site| {
        let mut visitor = Visitor::of(site, "app.localhost", "/").await?;
        for edition in ["1", "2", "3"] {
            visitor.renew("/blog/hello", "hello", edition).await?;
            visitor.follow("a[href='/blog/hello']", "hello").await?;
            ensure!(visitor.edition().await? == edition, "by a link: not {edition}");
            visitor.follow("#home", "Home").await?;
        }
        visitor.nothing_was_noticed().await?;

        for edition in ["4", "5"] {
            visitor.renew("/blog/hello", "hello", edition).await?;
            visitor.open("/blog/hello").await?;
            ensure!(
                visitor.edition().await? == edition,
                "by its address: not {edition}"
            );
            visitor.follow("#home", "Home").await?;
            visitor.follow("a[href='/blog/hello']", "hello").await?;
            ensure!(visitor.edition().await? == edition, "by a link: not {edition}");
            visitor.nothing_was_noticed().await?;
        }
        visitor.browser.end().await
    })
}

#[test]
fn frameworks_next_navigation_of_the_pages_router_follows_purges() -> Result<()> {
    site::on(App::Next, async |site| {
        let mut visitor = Visitor::of(site, "pages.localhost", "/account/here").await?;
        for edition in ["1", "2", "3"] {
            visitor.renew("/account/there", "there", edition).await?;
            visitor.follow("#there", "there").await?;
            ensure!(visitor.edition().await? == edition, "by a link: not {edition}");
            visitor.follow("#here", "here").await?;
        }
        visitor.nothing_was_noticed().await?;
        visitor.browser.end().await
    })
}

/// Purges that never end, while somebody goes back and forth: what is seen gets newer and never older.
#[test]
fn frameworks_next_navigation_amid_purges_never_goes_back_in_time() -> Result<()> {
    site::on(App::Next, async |site| {
        let mut visitor = Visitor::of(site, "amid.localhost", "/").await?;
        let purges = async {
            for edition in 2..=10 {
                let orders = json!({ "path": "/blog/hello-amid", "edition": edition.to_string() });
                site.post("/api/script", &orders).await?;
                site.purge("amid.localhost", "everything: true").await?;
            }
            anyhow::Ok(())
        };
        let walk = async {
            let mut newest = 0;
            while newest < 10 {
                visitor.follow("a[href='/blog/hello-amid']", "hello-amid").await?;
                let seen: u32 = visitor.edition().await?.parse()?;
                ensure!(seen >= newest, "{seen} after {newest}");
                newest = seen;
                visitor.follow("#home", "Home").await?;
            }
            visitor.nothing_was_noticed().await
        };
        futures::try_join!(purges, walk)?;
        visitor.browser.end().await
    })
}

/// A server action: the page shows what it did without being loaded anew, and so does everybody else's.
#[test]
fn frameworks_next_navigation_signs_the_guestbook() -> Result<()> {
    site::on(App::Next, async |site| {
        let mut visitor = Visitor::of(site, "signing.localhost", "/").await?;
        visitor.follow("a[href='/guestbook']", "Guestbook").await?;
        visitor.browser.fill("input[name='name']", "Grace").await?;
        visitor.browser.click("#sign").await?;
        let names = "document.querySelector('#names').textContent";
        until(
            "Grace has signed",
            async || visitor.browser.run(names).await,
            |names| Ok(names.as_str().is_some_and(|names| names.contains("Grace"))),
        )
        .await?;
        visitor.nothing_was_noticed().await?;
        let port = site.serving.address.port();
        let other = site
            .get(&format!("signing.localhost:{port}"), "/guestbook")
            .await?;
        ensure!(other.body.contains("Grace"), "{other:?}");
        visitor.browser.end().await
    })
}
