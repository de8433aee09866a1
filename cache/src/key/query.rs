//! The query parameters that count: split on `&` only, chosen and sorted by decoded name, their bytes untouched.
//!
//! Sorting goes by the decoded name because duplicates keep their order: `a=1&%61=2` is twice the same parameter to the
//! app, and to swap the two would ask another question.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

use crate::routes::Plan;

/// Appends `?` and the parameters that count, if any does.
pub(super) fn push_selected(text: &mut String, query: &str, plan: &Plan) {
    let mut parameters = selected(query, plan).collect::<SmallVec<[&str; 16]>>();
    if parameters.len() > 1 {
        // Each name is decoded once: a visitor may send thousands of escaped ones.
        parameters.sort_by_cached_key(|&parameter| name(parameter));
    }
    for (at, parameter) in parameters.iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(parameter);
    }
}

/// Every parameter of a query as it was sent, and whether it counts: for who asks why.
pub fn parameters<'a>(query: &'a str, plan: &'a Plan) -> impl Iterator<Item = (&'a str, bool)> {
    let sent = query.split('&').filter(|parameter| !parameter.is_empty());
    sent.map(|parameter| (parameter, plan.counts(&name(parameter))))
}

/// The parameters of a key's query, but for the one that Next.js's app router adds.
pub(super) fn without_rsc(query: &str) -> impl Iterator<Item = &str> {
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    parameters.filter(|parameter| *name(parameter) != *b"_rsc")
}

/// Whether a key's query would be chosen as it stands.
pub(super) fn is_selected(query: &str, plan: &Plan) -> bool {
    query.is_empty() || selected(query, plan).count() == query.split('&').count()
}

/// Empty pieces (`a&&b`) are no parameters.
fn selected<'a>(query: &'a str, plan: &'a Plan) -> impl Iterator<Item = &'a str> {
    parameters(query, plan).filter_map(|(parameter, counts)| counts.then_some(parameter))
}

/// The decoded name of a parameter; `+` is a space in names as apps read them.
fn name(parameter: &str) -> Cow<'_, [u8]> {
    let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
    if !name.contains(['%', '+']) {
        return Cow::Borrowed(name.as_bytes());
    }
    let spaced = name.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).collect())
}

/// Whether a parameter says where a visitor came from, which no page depends on.
pub(crate) fn is_tracking(name: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
        || NAMES.binary_search_by(|known| known.as_bytes().cmp(name)).is_ok()
}

/// Families of parameters of analytics.
const PREFIXES: [&str; 3] = ["utm_", "mtm_", "hsa_"];

/// Click identifiers and campaign parameters of advertising and mailing systems, sorted.
const NAMES: [&str; 42] = [
    "__hsfp",
    "__hssc",
    "__hstc",
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "_kx",
    "_openstat",
    "dclid",
    "ef_id",
    "epik",
    "fb_action_ids",
    "fb_action_types",
    "fb_source",
    "fbclid",
    "gad_campaignid",
    "gad_source",
    "gbraid",
    "gclid",
    "gclsrc",
    "hsCtaTracking",
    "igsh",
    "igshid",
    "irclickid",
    "li_fat_id",
    "mc_cid",
    "mc_eid",
    "mkt_tok",
    "ml_subscriber_hash",
    "msclkid",
    "oly_anon_id",
    "oly_enc_id",
    "rdt_cid",
    "s_kwcid",
    "srsltid",
    "ttclid",
    "twclid",
    "vero_id",
    "wbraid",
    "yclid",
    "ysclid",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_tracking_names_are_sorted() {
        assert!(NAMES.is_sorted());
        assert!(is_tracking(b"utm_source"));
        assert!(is_tracking(b"fbclid"));
        assert!(!is_tracking(b"page"));
        assert!(!is_tracking(b"utm"));
        assert!(!is_tracking(b"FBCLID"));
    }
}
