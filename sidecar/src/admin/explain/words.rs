//! The sentences of an explanation. The words of closed enums stand beside them; these say what to make of them.

use coppice_cache::{
    judge::Unstorable,
    key::Reading,
    outcome::PassReason,
    path,
    routes::{Plan, Routes},
    verdict::Verdict,
};

use crate::fetch::Foreseen;

/// Which rule holds, or why none does.
pub(super) fn matched(
    routes: &Routes,
    plan: Option<&Plan>,
    reading: &Reading,
    path: &str,
    is_elsewhere: bool,
) -> String {
    if let Some(plan) = plan {
        let pattern = plan.pattern(path).map_or(path, |pattern| pattern.as_str());
        return format!(
            "Route {}, rule {}: its pattern {pattern} matches.",
            plan.owner.route, plan.owner.rule
        );
    }
    if let Err(reason) = path::check(path) {
        return format!("No rule is looked for: the path is not in normal form, {reason}.");
    }
    if let Reading::Refuse(_) = reading {
        return "No rule is looked for: the request is refused.".to_owned();
    }
    match (routes.plans().len(), is_elsewhere) {
        (0, _) => {
            "There are no rules: no configuration has come yet, or it has no route for this pod.".to_owned()
        }
        (_, true) => "No rule matches on this host. The path would match for other hosts.".to_owned(),
        (1, false) => "The one rule in force does not match this path.".to_owned(),
        (count, false) => format!("None of the {count} rules in force matches this path."),
    }
}

/// What the next visitor gets of a page that is looked up.
pub(super) fn verdict(foreseen: &Foreseen) -> String {
    let words = match foreseen.verdict {
        Verdict::Hit => "The stored page, which is fresh.",
        Verdict::Stale { regenerate: true } => {
            "The stored page at once, although it is stale; a new one is fetched behind it."
        }
        Verdict::Stale { regenerate: false } => {
            "The stored page, although it is stale: a moment ago the app gave none to take its place, and is asked again later."
        }
        Verdict::Wait { fallback: true } => {
            "The new page, for which the visitor waits. The old one (STALE) if the app fails or takes too long."
        }
        Verdict::Wait { fallback: false } => {
            "The new page, for which the visitor waits: the old one is too old to be served."
        }
        Verdict::Fetch if foreseen.page.is_some() => {
            "The new page, for which the visitor waits: the one in the store may not be served any more."
        }
        Verdict::Fetch => "The app's answer, which becomes the page: nothing is stored yet.",
    };
    match foreseen.verdict {
        Verdict::Wait { .. } | Verdict::Fetch if foreseen.joins => {
            format!("{words} The visitor joins the flight that is in the air.")
        }
        _ => words.to_owned(),
    }
}

/// Why a request passes through; continues a sentence.
pub(super) const fn pass(reason: PassReason) -> &'static str {
    match reason {
        PassReason::PathNotNormal => {
            "its path is not in normal form, so app and cache could each read it as another page"
        }
        PassReason::HostUnknown => "it has no host, or one that is none",
        PassReason::SchemeUnknown => "X-Forwarded-Proto is neither http nor https",
        PassReason::NoRoute => "no rule matches its host and path",
        PassReason::Suspended => "the route is suspended",
        PassReason::NeverStored => "the rule says revalidate: 0, which stores nothing",
        PassReason::Method => "only GET and HEAD are answered from the store",
        PassReason::Upgrade => "the connection is to become something else",
        PassReason::Authorization => "it is authenticated, and the rule does not override authorization",
        PassReason::BypassHeader => "it has a header by which the rule, or Next.js, bypasses the cache",
        PassReason::BypassCookie => "it has a cookie by which the rule, or Next.js, bypasses the cache",
        PassReason::Variant => {
            "the headers and cookies that choose its variant are too long to be part of a key"
        }
        PassReason::Body => "it has a body, on which the answer could depend",
        PassReason::VaryCookie => {
            "the app's Vary names Cookie, so the page is for those who send no cookies but the keyed ones"
        }
        PassReason::Unstorable(reason) => unstorable(reason),
    }
}

/// Why an answer is not stored; continues a sentence.
pub(super) const fn unstorable(reason: Unstorable) -> &'static str {
    match reason {
        Unstorable::Interval => "the rule stores nothing of this status",
        Unstorable::Status => "the app answered with a status that is no success",
        Unstorable::NoStore => "the app said Cache-Control: no-store, and the rule does not override it",
        Unstorable::Private => "the app said Cache-Control: private, and the rule does not override it",
        Unstorable::SetCookie => "the app set a cookie, and the rule does not override it",
        Unstorable::Vary => "the app's Vary names what no key holds",
        Unstorable::NoFreshness => {
            "the rule leaves it to the app, and the app did not say how long its answer may be used"
        }
        Unstorable::NotUnderstood => "the app said must-understand, and its status is not known here",
        Unstorable::Authorized => {
            "it is authenticated, and the app did not say that its answer is for such visitors too"
        }
        Unstorable::ContentEncoding => "the app encoded the body although it was asked not to",
        Unstorable::EventStream => "the app answered with a stream of events",
        Unstorable::Tags => "the app named too many tags, or tags that are too long",
        Unstorable::Redirect => "the app redirects to the same page, or to nowhere",
        Unstorable::TooLarge => "the body is larger than the rule, or the budget, allows",
        Unstorable::Outdated => "the app's own cache is out of date, and stays so",
        Unstorable::NoRoom => "there is no room in the memory budget",
        Unstorable::Fault => "the cache itself is at fault",
    }
}
