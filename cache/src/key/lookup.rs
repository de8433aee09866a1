//! What a visitor's request looks up, and what the app is asked for all who share it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};

use super::{
    Key, Selection, USER_AGENT, X_FORWARDED_HOST, X_FORWARDED_PROTO,
    extra::{self, Extra, has_other_cookies, select},
    query,
};
use crate::{
    control, path,
    routes::{Plan, Routes},
};

/// A request that may be answered from the store.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Which page.
    pub key: Arc<Key>,
    /// The rule that holds for it.
    pub plan: Arc<Plan>,
    /// The visitor wants the head alone.
    pub head: bool,
    /// What else the visitor's request says of the answer's form.
    pub wants: Wants,
    /// The visitor is authenticated, which the rule overrides.
    pub authorized: bool,
    /// What `Vary` was seen to name so far, and the key holds as far as the visitor sends it.
    pub selected: Option<Box<Selection>>,
}

/// Which headers of a visitor's request choose among the forms of one page. Noted while the request is read, so that a
/// visitor who wants none of it costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// A condition on the page itself (`If-None-Match` and its kin).
    pub condition: bool,
    /// `Range`.
    pub range: bool,
    /// `Accept-Encoding`.
    pub coding: bool,
}

/// How an answer's `Vary` stands to a visitor whose key it was stored under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suits {
    /// The answer is the visitor's.
    Yes,
    /// It is for those who send other fields: [`Lookup::narrow`] makes the key that of the visitor's own variant.
    Select,
    /// It is for those who send no cookies but the keyed ones; this visitor's own request passes through.
    Cookie,
}

impl Lookup {
    /// Whether an answer that `Vary` selected by `selection` is this visitor's (RFC 9111 section 4.1).
    pub fn suits(&self, headers: &HeaderMap, selection: &Selection) -> Suits {
        if selection.is_empty() {
            return Suits::Yes;
        }
        if selection.by_cookie() && has_other_cookies(headers, &self.plan.rule.key_cookies) {
            return Suits::Cookie;
        }
        // The key holds the visitor's own values, so a field that both have is the same.
        let is_keyed = |name: &HeaderName| self.key.field(name).is_some() || !headers.contains_key(name);
        if selection.names().iter().all(is_keyed) {
            Suits::Yes
        } else {
            Suits::Select
        }
    }

    /// Makes the key that of the visitor's own variant, where `selection` chooses too. False: the fields are too long to
    /// be part of a key.
    pub fn narrow(&mut self, headers: &HeaderMap, selection: &Selection) -> bool {
        let selected = self.selected.get_or_insert_default();
        selected.add(selection);
        let own = self.plan.key_headers();
        let always = headers.keys().filter(|name| control::always_selects(name));
        let names = always.chain(selected.names()).filter(|name| !own.contains(name));
        let variant = select(headers, names);
        if let Some(variant) = variant {
            self.key = Arc::new(self.key.with_variant(variant));
            return true;
        }
        false
    }

    /// The page that `Location` or `Content-Location` of an answer names, if it is one of the same scheme and host: what an
    /// unsafe request that succeeds invalidates beside its own (RFC 9111 section 4.4).
    pub fn named(&self, routes: &Routes, location: &HeaderValue) -> Option<Self> {
        let target = crate::location::target(location, &self.key)?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        path::check(path).ok()?;
        let plan = routes.find(self.key.host(), path)?;
        if plan.passes().is_some() {
            return None;
        }
        let extra = Extra {
            forwarded_host: self.key.forwarded_host().map(Box::from),
            ..Extra::default()
        };
        let most = query.len() + 1;
        let key = Key::build(self.key.scheme(), self.key.host(), path, extra, most, |text| {
            query::push_selected(text, query, plan);
        });
        (!key.has_url_of(&self.key)).then(|| Self {
            key: Arc::new(key),
            plan: plan.clone(),
            ..self.clone()
        })
    }

    /// The request whose answer all visitors of this key share, built from the key alone: `GET`, no body, the key's
    /// host, path, query, headers and cookies, who was asked for and by which scheme, an own `User-Agent`, identity
    /// encoding.
    pub fn origin_request(&self) -> Request<()> {
        let key = &*self.key;
        let target = PathAndQuery::try_from(key.target()).expect("checked when the key was made");
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = Uri::from(target);
        let forwarded = key.forwarded_host().unwrap_or(key.host());
        let headers = request.headers_mut();
        headers.reserve(6);
        headers.insert(header::HOST, host_value(key.host()));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(X_FORWARDED_HOST, host_value(forwarded));
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(key.scheme().as_str()));
        if let Some(extra) = key.extra() {
            for field in extra.headers.iter().chain(&extra.variant) {
                headers.insert(field.name.clone(), field.value.clone());
            }
            if let Some(cookies) = extra::cookie_value(&extra.cookies) {
                headers.insert(header::COOKIE, cookies);
            }
        }
        request
    }
}

fn host_value(host: &str) -> HeaderValue {
    HeaderValue::from_str(host).expect("checked when the key was made")
}

impl Routes {
    /// The look-up of a page that has a key already: how a page is fetched again without a visitor. `None` if no visit
    /// would come to this key any more, because of its path, its rule, or the parameters that count.
    pub fn revisit(&self, key: &Arc<Key>) -> Option<Lookup> {
        let plan = self.find(key.host(), key.path())?;
        let reachable =
            plan.passes().is_none() && query::is_selected(key.query(), plan) && key.is_keyed_by(plan);
        reachable.then(|| Lookup {
            key: key.clone(),
            plan: plan.clone(),
            head: false,
            wants: Wants::default(),
            authorized: false,
            selected: None,
        })
    }
}
