//! The faces of a page: HTML, and what a router asks for instead when it goes from one page to another.

use anyhow::{Context as _, Result, ensure};
use coppice_tests::visit::{Answer, visit};
use http::Method;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::site::{App, Site, until};

/// How a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a browser asks that opens the page.
    Html,
    /// As the app router asks for it: React Server Components.
    Rsc,
    /// As the pages router asks for it: its props, as JSON.
    Data,
}

/// One kind of page in one form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Face {
    name: &'static str,
    pub(crate) app: App,
    section: &'static str,
    pub(crate) form: Form,
    /// The app caches it too: a purge is for both caches, the app's first.
    pub(crate) own_cache: bool,
}

const fn face(name: &'static str, section: &'static str, form: Form) -> Face {
    Face {
        name,
        app: App::Next,
        section,
        form,
        own_cache: false,
    }
}

const fn own(name: &'static str, section: &'static str, form: Form) -> Face {
    Face {
        own_cache: true,
        ..face(name, section, form)
    }
}

/// The same page, and a purge gets past the app's cache.
const fn token(face: Face) -> Face {
    Face {
        app: App::Token,
        own_cache: false,
        ..face
    }
}

/// The app router, rendered for each request.
pub(crate) const APP_HTML: Face = face("app-html", "/blog", Form::Html);
pub(crate) const APP_RSC: Face = face("app-rsc", "/blog", Form::Rsc);
/// The app router with Next.js's own ISR.
pub(crate) const ISR_HTML: Face = own("isr-html", "/own", Form::Html);
pub(crate) const ISR_RSC: Face = own("isr-rsc", "/own", Form::Rsc);
/// The pages router, `getServerSideProps`.
pub(crate) const PROPS_HTML: Face = face("props-html", "/account", Form::Html);
pub(crate) const PROPS_DATA: Face = face("props-data", "/account", Form::Data);
/// The pages router, `getStaticProps`: Next.js's own ISR.
pub(crate) const STATIC_HTML: Face = own("static-html", "/legacy", Form::Html);
pub(crate) const STATIC_DATA: Face = own("static-data", "/legacy", Form::Data);
/// The app router with Next.js's own tags: page and data are kept until the app says that a tag is out of date.
pub(crate) const TAGGED_HTML: Face = own("tagged-html", "/tagged", Form::Html);
pub(crate) const TAGGED_RSC: Face = own("tagged-rsc", "/tagged", Form::Rsc);
/// Next.js's own ISR with the token of its build.
pub(crate) const TOKEN_ISR_HTML: Face = token(ISR_HTML);
pub(crate) const TOKEN_ISR_RSC: Face = token(ISR_RSC);
pub(crate) const TOKEN_STATIC_HTML: Face = token(STATIC_HTML);
pub(crate) const TOKEN_STATIC_DATA: Face = token(STATIC_DATA);
/// No JavaScript, no framework.
pub(crate) const PYTHON: Face = Face {
    app: App::Python,
    ..face("python", "/posts", Form::Html)
};

/// Those that every row is for.
pub(crate) const ALL: [Face; 9] = [
    APP_HTML,
    APP_RSC,
    ISR_HTML,
    ISR_RSC,
    PROPS_HTML,
    PROPS_DATA,
    STATIC_HTML,
    STATIC_DATA,
    PYTHON,
];

impl Face {
    /// Where a row's page is, for a visitor.
    pub(crate) fn path(self, row: &str) -> String {
        format!("{}/{row}-{}", self.section, self.name)
    }
}

/// A row's page in one face, on a host of its own.
pub(crate) struct Page<'a> {
    pub(crate) site: &'a Site,
    pub(crate) face: Face,
    pub(crate) host: String,
    pub(crate) slug: String,
    /// What the app's proxy takes off the path before it finds the page.
    via: &'static str,
}

impl<'a> Page<'a> {
    pub(crate) fn new(site: &'a Site, face: Face, row: &str) -> Self {
        let slug = format!("{row}-{}", face.name);
        Self {
            host: format!("{slug}.test"),
            site,
            face,
            slug,
            via: "",
        }
    }

    /// The same page by a path that leads to it through the app's proxy.
    pub(crate) fn through(&self, via: &'static str) -> Self {
        Self {
            via,
            host: self.host.clone(),
            slug: self.slug.clone(),
            ..*self
        }
    }

    /// Another page of the same kind on the same host.
    pub(crate) fn sibling(&self) -> Self {
        Self {
            host: self.host.clone(),
            slug: format!("{}-sibling", self.slug),
            ..*self
        }
    }

    /// The same page in the form of another face.
    pub(crate) fn in_form_of(&self, face: Face) -> Self {
        Self {
            face,
            host: self.host.clone(),
            slug: self.slug.clone(),
            ..*self
        }
    }

    /// The path that a visitor sees.
    pub(crate) fn path(&self) -> String {
        format!("{}{}", self.via, self.rendered())
    }

    /// The path of which the app renders it.
    fn rendered(&self) -> String {
        format!("{}/{}", self.face.section, self.slug)
    }

    /// A pattern that matches it.
    pub(crate) fn pattern(&self) -> String {
        format!("{}/[name]", self.face.section)
    }

    /// What is asked for, and with which headers.
    fn target(&self) -> (String, Vec<(&'static str, &'static str)>) {
        let path = self.path();
        match self.face.form {
            Form::Html => (path, Vec::new()),
            // Without a state of the router, the hash that Next.js wants to see is empty.
            Form::Rsc => (format!("{path}?_rsc"), vec![("rsc", "1")]),
            Form::Data => (
                format!("/_next/data/{}{path}.json", self.site.build),
                vec![("x-nextjs-data", "1")],
            ),
        }
    }

    pub(crate) async fn visit(&self) -> Result<Answer> {
        self.visit_with(&[]).await
    }

    pub(crate) async fn visit_with(&self, more: &[(&str, &str)]) -> Result<Answer> {
        let (path, headers) = self.target();
        let headers: Vec<_> = headers.into_iter().chain(more.iter().copied()).collect();
        self.site.ask(Method::GET, &self.host, &path, &headers, "").await
    }

    /// A visit whose body is yet to come.
    pub(crate) async fn open(&self) -> Result<http::Response<Incoming>> {
        let (path, mut headers) = self.target();
        let host = self.host.clone();
        headers.retain(|(name, _)| *name != "host");
        let headers: Vec<(&str, &str)> = headers.into_iter().chain([("host", host.as_str())]).collect();
        self.site.serving.open(Method::GET, &path, &headers, "").await
    }

    /// Visits until the answer is as wished; it and all before must have come at once, from the cache.
    pub(crate) async fn until(&self, what: &str, wished: impl Fn(&Answer) -> Result<bool>) -> Result<Answer> {
        let what = format!("{} is {what}", self.path());
        until(
            &what,
            async || self.visit().await,
            |answer| {
                ensure!(
                    matches!(answer.cache(), "HIT" | "STALE"),
                    "nobody waits for a page that is known: {answer:?}"
                );
                wished(answer)
            },
        )
        .await
    }

    /// Visits until this edition is there.
    pub(crate) async fn until_edition(&self, edition: &str) -> Result<Answer> {
        let what = format!("of edition {edition}");
        self.until(&what, |answer| Ok(self.edition(answer)? == edition))
            .await
    }

    /// The edition that an answer shows.
    pub(crate) fn edition<'b>(&self, answer: &'b Answer) -> Result<&'b str> {
        let before = match self.face.form {
            Form::Html => "<b id=\"edition\">",
            Form::Rsc => "{\"id\":\"edition\",\"children\":\"",
            Form::Data => "\"edition\":\"",
        };
        let after = if self.face.form == Form::Html {
            "</b>"
        } else {
            "\""
        };
        answer.between(before, after)
    }

    /// Tells the page what to do from now on: the app's caches go on as they are.
    pub(crate) async fn tell(&self, orders: Value) -> Result<()> {
        let mut script = json!({ "path": self.rendered() });
        if let (Some(script), Value::Object(orders)) = (script.as_object_mut(), orders) {
            script.extend(orders);
        }
        self.site.post("/api/script", &script).await.map(drop)
    }

    /// How often the app has begun to render it.
    pub(crate) async fn begun(&self) -> Result<u64> {
        let path = format!("/api/script?path={}", self.rendered());
        let answer = self.site.get("script.test", &path).await?;
        let counts: Value = serde_json::from_str(&answer.body)?;
        counts["begun"].as_u64().context("no count")
    }

    /// Waits until the app has begun to render it more often than so.
    pub(crate) async fn until_begun(&self, more_than: u64) -> Result<u64> {
        let what = format!("{} is rendered", self.path());
        until(&what, async || self.begun().await, |begun| Ok(*begun > more_than)).await
    }

    /// The purge after which it was asked of the app, where it is in the air.
    pub(crate) async fn in_the_air_since(&self) -> Result<Option<u64>> {
        let state = visit(self.site.serving.admin, "/state")
            .header("host", b"localhost")
            .send()
            .await?;
        let state: Value = serde_json::from_str(&state.body)?;
        let host = format!("//{}/", self.host);
        let is_it = |flight: &&Value| flight["key"].as_str().is_some_and(|key| key.contains(&host));
        let flights = state["flights"].as_array().context("no flights")?;
        Ok(flights
            .iter()
            .find(is_it)
            .and_then(|flight| flight["stamp"].as_u64()))
    }

    /// Purges what a selector selects on this page's host, in the app's own cache before.
    pub(crate) async fn purge(&self, selector: &str) -> Result<()> {
        if self.face.own_cache {
            let api = if self.face.section == "/legacy" {
                "legacy-revalidate"
            } else {
                "revalidate"
            };
            let path = format!("/api/{api}?path={}", self.rendered());
            self.site.post(&path, &json!({})).await?;
        }
        self.site.purge(&self.host, selector).await
    }
}
