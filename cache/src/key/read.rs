//! The one place that reads a visitor's request.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};

use super::{
    Key, Lookup, Wants,
    extra::{Extra, pairs, select, select_cookies},
    host, query,
    target::{Target, outermost},
};
use crate::{
    config::{Rule, Scheme},
    control,
    nextjs::PRERENDER_REVALIDATE,
    outcome::{PassReason, RefuseReason},
    path,
    routes::{Plan, Routes},
};

/// What a visitor's request is to the cache.
#[derive(Debug, Clone)]
pub enum Reading {
    /// It may be answered from the store.
    Lookup(Lookup),
    /// It passes through.
    Pass {
        /// Why.
        reason: PassReason,
        /// The page at the request's own URL, which an unsafe method that succeeds invalidates (RFC 9111 section 4.4).
        invalidates: Option<Lookup>,
    },
    /// It is answered with 400.
    Refuse(RefuseReason),
}

/// Reads a visitor's request. Whatever is odd about it passes through, but for what could be read as another request.
pub fn read(routes: &Routes, parts: &Parts) -> Reading {
    let target = Target::of(&parts.headers);
    match target.named(parts) {
        Ok(named) => place(routes, parts, &target, named).unwrap_or_else(|reason| Reading::Pass {
            reason,
            invalidates: None,
        }),
        Err(reason) => Reading::Refuse(reason),
    }
}

/// Reads the request once its host is known not to be disputed; an error passes through.
fn place(
    routes: &Routes,
    parts: &Parts,
    target: &Target<'_>,
    named: Option<&[u8]>,
) -> Result<Reading, PassReason> {
    let place = Place::of(routes, parts, target, named)?;
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(Reading::Pass {
            reason: PassReason::Method,
            invalidates: if parts.method.is_safe() {
                None
            } else {
                place.lookup(parts)
            },
        });
    }
    match place.seen.concern {
        Some(reason) => Err(reason),
        None => place
            .lookup(parts)
            .map(Reading::Lookup)
            .ok_or(PassReason::Variant),
    }
}

/// Where a request leads, under a rule that stores something.
struct Place<'a> {
    plan: &'a Arc<Plan>,
    scheme: Scheme,
    host: Cow<'a, str>,
    /// Where it is another than the host.
    forwarded_host: Option<Cow<'a, str>>,
    seen: See,
}

impl<'a> Place<'a> {
    fn of(
        routes: &'a Routes,
        parts: &'a Parts,
        target: &Target<'a>,
        named: Option<&'a [u8]>,
    ) -> Result<Self, PassReason> {
        let path = parts.uri.path();
        path::check(path).map_err(|_| PassReason::PathNotNormal)?;
        let scheme = target.scheme().ok_or(PassReason::SchemeUnknown)?;
        let host = named
            .and_then(|host| host::normal(host, scheme))
            .ok_or(PassReason::HostUnknown)?;
        let plan = routes.find(&host, path).ok_or(PassReason::NoRoute)?;
        if let Some(reason) = plan.passes() {
            return Err(reason);
        }
        Ok(Self {
            forwarded_host: forwarded_host(target, scheme, &host)?,
            seen: See::of(&parts.headers, &plan.rule),
            plan,
            scheme,
            host,
        })
    }

    /// What is looked up there; `None`: what is to be part of the key is too long.
    fn lookup(&self, parts: &Parts) -> Option<Lookup> {
        let Self { plan, seen, .. } = self;
        let extra = Extra {
            forwarded_host: self.forwarded_host.as_deref().map(Box::from),
            ..seen.extra(&parts.headers, plan)?
        };
        let most = parts.uri.query().map_or(0, |query| query.len() + 1);
        let key = Key::build(self.scheme, &self.host, parts.uri.path(), extra, most, |text| {
            if let Some(query) = parts.uri.query() {
                query::push_selected(text, query, plan);
            }
        });
        Some(Lookup {
            key: Arc::new(key),
            plan: Arc::clone(plan),
            head: parts.method == Method::HEAD,
            wants: seen.wants,
            authorized: seen.authorized,
            selected: None,
        })
    }
}

/// The look-up that a request comes to, whatever its method and whatever of its headers would keep it from one: for who asks
/// why.
pub fn lookup_of(routes: &Routes, parts: &Parts) -> Option<Lookup> {
    let target = Target::of(&parts.headers);
    let named = target.named(parts).ok()?;
    Place::of(routes, parts, &target, named).ok()?.lookup(parts)
}

/// The rule that the host and path of a request that is not refused come to, whatever else it says and whatever the rule does
/// with it: for who asks why.
pub fn rule_of<'a>(routes: &'a Routes, parts: &Parts) -> Option<&'a Arc<Plan>> {
    let target = Target::of(&parts.headers);
    let host = target.named(parts).ok()??;
    let path = parts.uri.path();
    path::check(path).ok()?;
    routes.find(&host::normal(host, target.scheme()?)?, path)
}

/// Every header that keeps a request under this rule from being looked up, and why: for who asks why.
pub fn concerns<'a>(
    headers: &'a HeaderMap,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a HeaderName, PassReason)> {
    headers
        .iter()
        .filter_map(|(name, value)| Some((name, concern_of(name.as_str(), value, &plan.rule)?)))
}

/// The forwarded host where it is another than the request's own.
fn forwarded_host<'a>(
    target: &Target<'a>,
    scheme: Scheme,
    host: &str,
) -> Result<Option<Cow<'a, str>>, PassReason> {
    let Some(said) = target.forwarded_host else {
        return Ok(None);
    };
    let said = host::normal(outermost(said), scheme).ok_or(PassReason::HostUnknown)?;
    Ok((said != host).then_some(said))
}

/// What one walk over the headers saw.
#[derive(Debug, Default)]
struct See {
    /// The first reason not to look up, in the order of the reasons.
    concern: Option<PassReason>,
    /// Some field always chooses a variant.
    selects: bool,
    /// `Authorization` is there, and the rule overrides it.
    authorized: bool,
    /// What else is said of the answer's form.
    wants: Wants,
}

impl See {
    fn of(headers: &HeaderMap, rule: &Rule) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            if let Some(reason) = concern_of(name.as_str(), value, rule)
                && seen.concern.is_none_or(|known| reason < known)
            {
                seen.concern = Some(reason);
            }
            seen.selects |= control::always_selects(name);
            seen.authorized |= name == header::AUTHORIZATION;
            seen.wants.note(name);
        }
        seen
    }

    /// What the key has beyond its URL; `None`: it is too long.
    fn extra(&self, headers: &HeaderMap, plan: &Plan) -> Option<Extra> {
        let mut extra = Extra::default();
        if self.selects {
            // What is the rule's own is there already.
            let always = headers
                .keys()
                .filter(|name| control::always_selects(name) && !plan.key_headers().contains(name));
            extra.variant = select(headers, always)?;
        }
        if !plan.key_headers().is_empty() {
            extra.headers = select(headers, plan.key_headers())?;
        }
        if !plan.rule.key_cookies.is_empty() {
            extra.cookies = select_cookies(headers, &plan.rule.key_cookies)?;
        }
        Some(extra)
    }
}

fn concern_of(name: &str, value: &HeaderValue, rule: &Rule) -> Option<PassReason> {
    if rule.bypass_headers.iter().any(|bypass| bypass == name) {
        return Some(PassReason::BypassHeader);
    }
    match name {
        "authorization" => (!rule.overrides.authorization).then_some(PassReason::Authorization),
        "cookie" => has_bypass_cookie(value, rule).then_some(PassReason::BypassCookie),
        "upgrade" => Some(PassReason::Upgrade),
        "next-action" | "next-resume" | PRERENDER_REVALIDATE => Some(PassReason::BypassHeader),
        "transfer-encoding" => Some(PassReason::Body),
        "content-length" => (value.as_bytes() != b"0").then_some(PassReason::Body),
        _ => None,
    }
}

impl Wants {
    #[cfg(test)]
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut wants = Self::default();
        headers.keys().for_each(|name| wants.note(name));
        wants
    }

    fn note(&mut self, name: &HeaderName) {
        match *name {
            header::IF_NONE_MATCH
            | header::IF_MODIFIED_SINCE
            | header::IF_MATCH
            | header::IF_UNMODIFIED_SINCE => self.condition = true,
            header::RANGE => self.range = true,
            header::ACCEPT_ENCODING => self.coding = true,
            _ => {}
        }
    }
}

/// Cookies by which Next.js asks for a draft instead of the page.
const BYPASS_COOKIES: [&str; 2] = ["__prerender_bypass", "__next_preview_data"];

fn has_bypass_cookie(cookies: &HeaderValue, rule: &Rule) -> bool {
    pairs(cookies).any(|(name, _)| {
        let is_named = |bypass: &str| bypass.as_bytes() == name;
        BYPASS_COOKIES.into_iter().any(is_named) || rule.bypass_cookies.iter().any(|bypass| is_named(bypass))
    })
}
