//! Pages that are fetched before a visitor asks.

use std::{iter, sync::Arc};

use http::Uri;

use super::Plan;
use crate::{
    config::Scheme,
    hostname::Hostname,
    key::{Key, KeyError},
};

/// A page that a rule has fetched before a visitor asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prerender {
    key: Arc<Key>,
    /// The host is one of the route's hostnames, which say nothing of a port.
    named: bool,
}

/// Why an entry names no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrerenderError {
    /// Neither a path nor a URL.
    #[error("write a path such as /blog/hello, or an absolute URL with its host")]
    Unreadable,
    /// A path without a host.
    #[error("a path needs a host: add one without wildcard to hostnames, or write an absolute URL")]
    NoHost,
    /// A URL of another site.
    #[error("its host is none of the route's hostnames; add it there, or write the URL of one of them")]
    OtherHost,
    /// No visitor's request would look like this.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another rule's page, or nobody's.
    #[error("no path of this rule matches it; list it in the rule whose paths do")]
    Outside,
}

impl Prerender {
    /// The pages that an entry names: of a path one for each hostname without wildcard.
    pub(super) fn parse(
        text: &str,
        hostnames: &[Hostname],
        plan: &Plan,
    ) -> Result<Vec<Self>, PrerenderError> {
        let pages = if text.starts_with('/') {
            let (path, query) = text.split_once('?').unwrap_or((text, ""));
            let hosts = hostnames.iter().filter_map(Hostname::exact);
            let keys = hosts.map(|host| Key::of(plan.origin.scheme, host, path, query, plan));
            keys.map(|key| Ok(Self::new(key?, true)))
                .collect::<Result<Vec<_>, KeyError>>()?
        } else {
            vec![Self::new(absolute(text, hostnames, plan)?, false)]
        };
        match pages.first() {
            None => Err(PrerenderError::NoHost),
            Some(page)
                if !plan
                    .patterns
                    .iter()
                    .any(|pattern| pattern.is_match(page.key.path())) =>
            {
                Err(PrerenderError::Outside)
            }
            Some(_) => Ok(pages),
        }
    }

    fn new(key: Key, named: bool) -> Self {
        Self {
            key: Arc::new(key),
            named,
        }
    }

    /// What a visit to the page looks up, where visitors of `localhost` name this port.
    pub fn key(&self, port: Option<u16>) -> Arc<Key> {
        let key = &self.key;
        let is_local = key.host() == "localhost" || key.host().ends_with(".localhost");
        let with_port = port.filter(|_| self.named && is_local).and_then(|port| {
            let host = format!("{}:{port}", key.host());
            Key::new(key.scheme(), &host, key.path(), key.query()).ok()
        });
        with_port.map_or_else(|| key.clone(), Arc::new)
    }
}

fn absolute(text: &str, hostnames: &[Hostname], plan: &Plan) -> Result<Key, PrerenderError> {
    let url: Uri = text.parse().map_err(|_| PrerenderError::Unreadable)?;
    let scheme = [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| url.scheme_str() == Some(scheme.as_str()));
    let (Some(scheme), Some(authority)) = (scheme, url.authority()) else {
        return Err(PrerenderError::Unreadable);
    };
    // With a user, or a port that is none, it is not what a visitor's `Host` says.
    let is_usual = match authority.port() {
        Some(port) => format!("{}:{port}", authority.host()) == authority.as_str(),
        None => authority.host() == authority.as_str(),
    };
    if !is_usual {
        return Err(PrerenderError::Unreadable);
    }
    let name = authority.host().to_ascii_lowercase();
    if !hostnames.is_empty() && !hostnames.iter().any(|hostname| hostname.matches(&name)) {
        return Err(PrerenderError::OtherHost);
    }
    let default = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    let port = authority.port_u16().filter(|port| *port != default);
    let host: String = iter::once(name)
        .chain(port.map(|port| format!(":{port}")))
        .collect();
    Ok(Key::of(
        scheme,
        &host,
        url.path(),
        url.query().unwrap_or_default(),
        plan,
    )?)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::mk::{mk_route, mk_routes, mk_rule, texts};

    fn keys(hostnames: &[&str], entries: &[&str], port: Option<u16>) -> Vec<String> {
        let mut rule = mk_rule("blog", &["/blog/[slug]"]);
        rule.prerender = texts(entries);
        let routes = mk_routes(vec![mk_route("shop", hostnames, vec![rule])]);
        let pages = routes.plans()[0].prerender().iter();
        pages.map(|page| page.key(port).to_string()).collect()
    }

    #[test]
    fn prerender_of_a_path_is_one_page_for_each_concrete_hostname() {
        assert_eq!(
            keys(
                &["a.test", "*.b.test", "c.test"],
                &["/blog/x?b=2&utm_source=m&a=1"],
                Some(8080)
            ),
            ["https://a.test/blog/x?a=1&b=2", "https://c.test/blog/x?a=1&b=2"]
        );
    }

    #[test]
    fn prerender_of_a_url_is_the_page_that_its_visitors_look_up() {
        assert_eq!(
            keys(
                &[],
                &["http://A.test:80/blog/x", "https://a.test:8443/blog/y"],
                None
            ),
            ["http://a.test/blog/x", "https://a.test:8443/blog/y"]
        );
        assert_eq!(keys(&["*.b.test"], &["https://a.b.test/blog/x"], None).len(), 1);
    }

    #[test]
    fn prerender_on_a_laptop_names_the_port_as_its_visitors_do() {
        assert_eq!(
            keys(&["localhost", "a.test"], &["/blog/x"], Some(8080)),
            ["https://localhost:8080/blog/x", "https://a.test/blog/x"]
        );
    }

    #[rstest]
    #[case(&["a.test"], "blog/x", "write a path")]
    #[case(&["*.a.test"], "/blog/x", "a path needs a host")]
    #[case(&[], "/blog/x", "a path needs a host")]
    #[case(&["a.test"], "https://b.test/blog/x", "none of the route's hostnames")]
    #[case(&["a.test"], "/news", "no path of this rule matches it")]
    #[case(&["a.test"], "https://a.test/blog/x/y", "no path of this rule matches it")]
    #[case(&["a.test"], "/blog/a//b", "is no path")]
    #[case(&["a.test"], "/blog/%41", "is no path")]
    #[case(&[], "https://me@a.test:x/blog/x", "write a path")]
    fn prerender_that_names_no_page_is_an_error(
        #[case] hostnames: &[&str],
        #[case] entry: &str,
        #[case] words: &str,
    ) {
        let mut rule = mk_rule("blog", &["/blog/[slug]"]);
        rule.prerender = texts(&[entry]);
        let routes = vec![mk_route("shop", hostnames, vec![rule])];
        let errors = crate::routes::Routes::compile(&crate::config::Config { routes }).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].field, "prerender[0]");
        assert!(errors[0].to_string().contains(words), "{}", errors[0]);
    }
}
