//! What Next.js says of its answers, in a header and in the body.
//!
//! **Its own cache** is named by `x-nextjs-cache`: where the answer comes from, and so whether a request went past it.
//!
//! **That it failed** an app of React can say in a body alone, where its head had left by then: a server component that throws
//! is a row `9:E{"digest":"1245851783"}` of `text/x-component` under a status of 200; a part of an HTML page that throws after
//! the first part has left is a mark for the browser to try it again. A page that was made so is no success, and takes the
//! place of none. A redirect and a 404 are rows of the same form, but content: their digests are words, an error's is a number.

use std::sync::LazyLock;

use http::{HeaderMap, header};
use memchr::memmem::Finder;

use crate::control;

/// The header that gets a request past Next.js's own cache, with the token of its build.
/// <https://nextjs.org/docs/pages/guides/incremental-static-regeneration>
pub const PRERENDER_REVALIDATE: &str = "x-prerender-revalidate";

/// Where an answer of Next.js comes from, as `x-nextjs-cache` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnCache {
    /// From its own cache, and fresh there.
    Hit,
    /// From its own cache, and about to be replaced there.
    Stale,
    /// From a rendering: `MISS`, or `REVALIDATED` of one that its token asked for. It may have begun for another request.
    Rendered,
}

impl OwnCache {
    /// `None`: the answer does not say it.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let said = headers.get("x-nextjs-cache")?.as_bytes();
        Some(if said.eq_ignore_ascii_case(b"HIT") {
            Self::Hit
        } else if said.eq_ignore_ascii_case(b"STALE") {
            Self::Stale
        } else {
            Self::Rendered
        })
    }
}

/// Whether the body says that its rendering failed.
pub fn has_failed(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(control::media_type);
    let kind = kind.unwrap_or_default();
    if kind.eq_ignore_ascii_case(b"text/x-component") {
        has_failed_row(body)
    } else if kind.eq_ignore_ascii_case(b"text/html") {
        has_failed_part(body)
    } else {
        false
    }
}

/// Rows with these tags are as long as they say, and may hold anything: text, and arrays of bytes and numbers.
const COUNTED: &[u8] = b"TAOoUSsLlGgMmVb";

/// The rows of a stream of server components: `id:tag…`, up to the end of the line or as long as they say.
fn has_failed_row(mut rows: &[u8]) -> bool {
    while let Some(colon) = memchr::memchr(b':', rows) {
        let row = &rows[colon + 1..];
        if let Some(length) = counted(row) {
            rows = row.get(length..).unwrap_or_default();
            continue;
        }
        let end = memchr::memchr(b'\n', row).unwrap_or(row.len());
        if row[..end].strip_prefix(b"E{\"digest\":\"").is_some_and(is_error) {
            return true;
        }
        rows = row.get(end + 1..).unwrap_or_default();
    }
    false
}

/// The length of a row that says it, with what says it: `T1f,` and 31 bytes.
fn counted(row: &[u8]) -> Option<usize> {
    let (tag, rest) = row.split_first()?;
    if !COUNTED.contains(tag) {
        return None;
    }
    let comma = rest.iter().take(17).position(|byte| *byte == b',')?;
    let digits = str::from_utf8(&rest[..comma]).ok()?;
    let length = usize::from_str_radix(digits, 16).ok()?;
    length.checked_add(1 + comma + 1)
}

/// The marks of HTML: of a part that failed before anything of it left, and of one whose place was kept.
fn has_failed_part(html: &[u8]) -> bool {
    static MARKS: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| [Finder::new("<template data-dgst=\""), Finder::new("$RX(\"")]);
    let [early, late] = &*MARKS;
    let early = early
        .find_iter(html)
        .any(|at| is_error(&html[at + early.needle().len()..]));
    early
        || late.find_iter(html).any(|at| {
            // `$RX("B:0","1664578914")`: which part, and the digest.
            let named = &html[at + late.needle().len()..];
            let digest = memchr::memchr(b'"', named).and_then(|end| named[end..].strip_prefix(b"\",\""));
            digest.is_some_and(is_error)
        })
}

fn is_error(digest: &[u8]) -> bool {
    digest.first().is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rstest::rstest;

    use super::*;

    fn failed(kind: &'static str, body: &[u8]) -> bool {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        has_failed(&headers, body)
    }

    #[rstest]
    #[case("9:E{\"digest\":\"1245851783\"}\n", true)]
    #[case("1:\"$Sreact.fragment\"\n:HL[\"/a.css\"]\n9:E{\"digest\":\"12@E394\"}", true)]
    #[case("9:E{\"digest\":\"NEXT_HTTP_ERROR_FALLBACK;404\"}\n", false)]
    #[case("9:E{\"digest\":\"NEXT_REDIRECT;replace;/blog/elsewhere;307;\"}\n", false)]
    #[case(
        "9:[\"$\",\"p\",null,{\"children\":\"9:E{\\\"digest\\\":\\\"1\\\"}\"}]\n",
        false
    )]
    // A text is as long as it says, whatever is in it.
    #[case("9:T1a,\n9:E{\"digest\":\"124585178\"}a:null\n", false)]
    #[case("9:T3,abca:E{\"digest\":\"1\"}\n", true)]
    #[case("9:Tffffffffffffffff,abc", false)]
    #[case("9:T", false)]
    #[case("", false)]
    fn react_fails_in_a_row(#[case] body: &str, #[case] expected: bool) {
        assert_eq!(failed("text/x-component", body.as_bytes()), expected);
        assert!(!failed("text/plain", body.as_bytes()));
    }

    #[rstest]
    #[case("<!--$!--><template data-dgst=\"1664578914\"></template>…<!--/$-->", true)]
    #[case("<script>$RX(\"B:0\",\"1664578914\")</script>", true)]
    #[case(
        "<!--$!--><template data-dgst=\"BAILOUT_TO_CLIENT_SIDE_RENDERING\"></template>",
        false
    )]
    #[case("<script>$RX(\"B:0\",\"NEXT_REDIRECT;replace;/a;307;\")</script>", false)]
    #[case("<script>$RX(\"B:0\")</script>", false)]
    #[case("&lt;template data-dgst=\"1664578914\">", false)]
    #[case("<template data-dgst=\"", false)]
    fn react_fails_in_a_part(#[case] body: &str, #[case] expected: bool) {
        assert_eq!(failed("text/html; charset=utf-8", body.as_bytes()), expected);
    }

    proptest::proptest! {
        #[test]
        fn react_is_total(body in proptest::collection::vec(0_u8..128, 0..200)) {
            let _ = (failed("text/x-component", &body), failed("text/html", &body));
        }
    }
}
