//! `Cache-Control`, `Vary` and their kin as RFC 9110 and 9111 write them: lists of directives and names, over any number of
//! fields.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::TRANSFER_ENCODING};

/// What an answer's `Cache-Control` says, as far as a shared cache is concerned.
///
/// A directive that occurs twice counts once; of two ages the shorter counts, and one that cannot be read is zero
/// (RFC 9111 §4.2.1: such an answer is stale).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheControl {
    /// Must not be stored.
    pub no_store: bool,
    /// Must not be stored by a shared cache. The form that names fields counts as the one that does not.
    pub private: bool,
    /// Must not be used without asking again.
    pub no_cache: bool,
    /// May be stored although something else speaks against it.
    pub public: bool,
    /// Must not be used stale.
    pub must_revalidate: bool,
    /// Must not be used stale by a shared cache.
    pub proxy_revalidate: bool,
    /// May only be stored by who knows its status code.
    pub must_understand: bool,
    /// The body must not be transformed.
    pub no_transform: bool,
    /// Fresh for so long.
    pub max_age: Option<Duration>,
    /// Fresh for so long in a shared cache.
    pub s_maxage: Option<Duration>,
    /// RFC 5861: may be used stale for so long while a new one is fetched.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861: may be used stale for so long where none can be had.
    pub stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// Reads the values of one field of this grammar or of several.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut control = Self::default();
        for value in values {
            for (name, argument) in directives(value.as_bytes()) {
                control.take(name, argument);
            }
        }
        control
    }

    /// Takes one directive; what it does not know says nothing.
    pub(crate) fn take(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        let flag = [
            ("no-store", &mut self.no_store),
            ("private", &mut self.private),
            ("no-cache", &mut self.no_cache),
            ("public", &mut self.public),
            ("must-revalidate", &mut self.must_revalidate),
            ("proxy-revalidate", &mut self.proxy_revalidate),
            ("must-understand", &mut self.must_understand),
            ("no-transform", &mut self.no_transform),
        ]
        .into_iter()
        .find(|(word, _)| is(word));
        if let Some((_, flag)) = flag {
            *flag = true;
            return;
        }
        let span = [
            ("max-age", &mut self.max_age),
            ("s-maxage", &mut self.s_maxage),
            ("stale-while-revalidate", &mut self.stale_while_revalidate),
            ("stale-if-error", &mut self.stale_if_error),
        ]
        .into_iter()
        .find(|(word, _)| is(word));
        if let Some((_, span)) = span {
            let seconds = seconds(argument);
            *span = Some(span.map_or(seconds, |known| known.min(seconds)));
        }
    }
}

/// Seconds as RFC 9111 §1.2.2 writes them: more than 2³¹ counts as 2³¹, what is no number as none at all.
fn seconds(argument: Option<&[u8]>) -> Duration {
    const MOST: u64 = 1 << 31;
    let digits = argument.unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Duration::ZERO;
    }
    let number = digits.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
            .min(MOST)
    });
    Duration::from_secs(number)
}

/// The directives of one field: names, and arguments without their quotes (what a quoted argument escapes stays escaped).
///
/// A comma inside quotes separates nothing. A quote that is never closed is no quote: the text after it is read as
/// directives, so that `no-store` is rather found where it is not meant than missed where it is.
fn directives(field: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = field;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        while let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
        }
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b',' | b'='))
            .unwrap_or(rest.len());
        let name = rest[..end].trim_ascii();
        rest = &rest[end..];
        let Some(argument) = rest.strip_prefix(b"=") else {
            return Some((name, None));
        };
        let argument = argument.trim_ascii_start();
        let value;
        if let Some((quoted, after)) = quoted(argument) {
            // What stands between the closing quote and the comma belongs to nothing.
            let end = after.iter().position(|byte| *byte == b',').unwrap_or(after.len());
            (value, rest) = (quoted, &after[end..]);
        } else {
            let end = argument
                .iter()
                .position(|byte| *byte == b',')
                .unwrap_or(argument.len());
            (value, rest) = (argument[..end].trim_ascii(), &argument[end..]);
        }
        Some((name, Some(value)))
    })
}

/// What a quoted string at the start of `text` holds, and what follows it; `None` if there is none that is closed.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let mut escaped = false;
    for (at, byte) in inner.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((&inner[..at], &inner[at + 1..])),
            _ => {}
        }
    }
    None
}

/// The members of a comma-separated list, over all lines of a field; empty ones are none (RFC 9110 section 5.6.1).
pub fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// What a name in `Vary` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Part of every key, or the same in every request that is built from a key.
    Keyed,
    /// `Cookie`.
    Cookie,
    /// Whoever sends another value gets another answer.
    Selects(HeaderName),
}

/// What a member of `Vary` means for requests that are built from keys; `None`: the answer cannot be shared.
pub fn named(member: &[u8]) -> Option<Named> {
    let name = HeaderName::from_bytes(member).ok()?;
    if always_selects(&name) {
        return Some(Named::Keyed);
    }
    match name.as_str() {
        // Bodies are asked for and stored as identity and whole; who sends `Authorization` is no concern of what is shared.
        "accept-encoding" | "range" | "host" | "x-forwarded-proto" | "x-forwarded-host" | "authorization" => {
            Some(Named::Keyed)
        }
        "cookie" => Some(Named::Cookie),
        // `*` is a token like any other, and means that more than the request decides. The others are of one connection
        // or one visitor, or are never sent.
        "*" | "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" | "expect"
        | "content-length" | "content-type" | "forwarded" | "via" | "x-forwarded-for" | "x-real-ip" => None,
        text if UNSENT.iter().any(|prefix| text.starts_with(prefix)) => None,
        _ => Some(Named::Selects(name)),
    }
}

/// Families of fields that no built request has.
const UNSENT: [&str; 4] = ["if-", "proxy-", "x-middleware-", "cf-"];

/// The media type of a `Content-Type`, without its parameters.
pub fn media_type(value: &HeaderValue) -> &[u8] {
    let value = value.as_bytes();
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    value[..end].trim_ascii()
}

/// The body has another transfer coding than one `chunked`. hyper takes `chunked` off, and whatever else there was would go
/// on without its name.
pub fn is_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(only), None) => !only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}

/// Next.js's own set: its router sends these, and an answer has been seen to depend on them without `Vary` saying so.
pub fn always_selects(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "rsc" | "next-url") || name.starts_with("next-router-")
}

#[cfg(test)]
mod tests {
    use http::header;
    use rstest::rstest;

    use super::*;

    fn control(values: &[&str]) -> CacheControl {
        let values: Vec<_> = values
            .iter()
            .map(|value| HeaderValue::from_str(value).unwrap())
            .collect();
        CacheControl::parse(&values)
    }

    #[rstest]
    #[case(&["no-store"], true, false)]
    #[case(&["public, No-Store"], true, false)]
    #[case(&["public", "max-age=1 , no-store"], true, false)]
    #[case(&["private"], false, true)]
    #[case(&["private=\"set-cookie, x\""], false, true)]
    #[case(&["private, no-cache, no-store, max-age=0"], true, true)]
    #[case(&["ext=\"no-store, private\""], false, false)]
    #[case(&["ext=\"a\\\", no-store\", private"], false, true)]
    #[case(&["ext=\"no-store\"x, private"], false, true)]
    // A quote that is never closed is no quote.
    #[case(&["ext=\"a, no-store"], true, false)]
    #[case(&["no-stores, xprivate, no store"], false, false)]
    #[case(&["no-store=1"], true, false)]
    #[case(&[",,, ,no-store,,"], true, false)]
    #[case(&["=no-store, ="], false, false)]
    #[case(&[""], false, false)]
    fn control_forbids(#[case] values: &[&str], #[case] no_store: bool, #[case] private: bool) {
        let control = control(values);
        assert_eq!((control.no_store, control.private), (no_store, private));
    }

    #[rstest]
    #[case("max-age=60", Some(60))]
    #[case("max-age=\"60\"", Some(60))]
    #[case("max-age = 60", Some(60))]
    #[case("max-age=60, max-age=5", Some(5))]
    #[case("max-age=-1", Some(0))]
    #[case("max-age=1.5", Some(0))]
    #[case("max-age", Some(0))]
    #[case("max-age=", Some(0))]
    #[case("max-age=99999999999999999999", Some(1 << 31))]
    #[case("s-maxage=60", None)]
    fn control_max_age(#[case] value: &str, #[case] expected: Option<u64>) {
        assert_eq!(control(&[value]).max_age, expected.map(Duration::from_secs));
    }

    #[test]
    fn control_reads_all_directives() {
        let read = control(&[
            "public, no-cache, must-revalidate, proxy-revalidate, must-understand, no-transform",
            "s-maxage=1, stale-while-revalidate=2, stale-if-error=3",
        ]);
        let expected = CacheControl {
            public: true,
            no_cache: true,
            must_revalidate: true,
            proxy_revalidate: true,
            must_understand: true,
            no_transform: true,
            s_maxage: Some(Duration::from_secs(1)),
            stale_while_revalidate: Some(Duration::from_secs(2)),
            stale_if_error: Some(Duration::from_secs(3)),
            ..CacheControl::default()
        };
        assert_eq!(read, expected);
    }

    #[rstest]
    #[case("Accept-Encoding", Some(Named::Keyed))]
    #[case("RSC", Some(Named::Keyed))]
    #[case("Next-Router-Segment-Prefetch", Some(Named::Keyed))]
    #[case("Next-Url", Some(Named::Keyed))]
    #[case("x-forwarded-proto", Some(Named::Keyed))]
    #[case("COOKIE", Some(Named::Cookie))]
    #[case("Accept-Language", Some(Named::Selects(header::ACCEPT_LANGUAGE)))]
    #[case("User-Agent", Some(Named::Selects(header::USER_AGENT)))]
    #[case("*", None)]
    #[case("not a name", None)]
    #[case("X-Forwarded-For", None)]
    #[case("If-None-Match", None)]
    #[case("x-middleware-prefetch", None)]
    fn vary_names(#[case] member: &str, #[case] expected: Option<Named>) {
        assert_eq!(named(member.as_bytes()), expected);
    }

    proptest::proptest! {
        /// Whatever the bytes: no panic, and `no-store` between commas and outside of quotes is found.
        #[test]
        fn control_is_total(before in "[ -~]{0,40}", after in "[ -~]{0,40}") {
            let text = format!("{before},no-store,{after}");
            let quotes = before.contains('"');
            let found = control(&[&text]).no_store;
            proptest::prop_assert!(found || quotes, "{}", text);
        }
    }
}
