//! Content codings: which of ours a visitor likes (RFC 9110 section 12.5.3), and which answers are worth one.
//!
//! Bodies are stored as identity and compressed here, so `Accept-Encoding` makes no page of its own: it only chooses
//! among the forms of one page.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::{
    control::{self, CacheControl},
    freshness::CDN_CACHE_CONTROL,
    headers::DIGESTS,
    weight::SHARED,
};

/// A body shorter than this is not worth it.
pub const LEAST: u64 = 1024;

/// A content coding that bodies are compressed with. In our order: of those that a visitor likes equally, the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// RFC 7932: the smallest bodies.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// RFC 9110 section 8.4.1.3: what everybody knows.
    Gzip,
}

impl Coding {
    /// All of them, in our order.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The word of `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Its own bit in a set of codings.
    pub(crate) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Names of codings are case-insensitive, and `x-gzip` is `gzip` (RFC 9110 section 8.4.1).
    fn named(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL
            .into_iter()
            .find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

/// A body in a coding.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Which.
    pub coding: Coding,
    /// The body.
    pub body: Bytes,
    /// The page's `ETag` made weak, since it is another form of the page.
    pub etag: Option<HeaderValue>,
}

impl Encoded {
    /// What it takes of the memory budget, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let etag = self.etag.as_ref().map_or(0, |etag| etag.len() + SHARED);
        size_of::<Self>() + self.body.len() + SHARED + etag
    }
}

/// What a visitor's `Accept-Encoding` says, as weights in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Zero: not acceptable.
    weights: [u16; 3],
    /// `None`: neither named nor covered by `*`; then it is acceptable, and liked less than what is named.
    identity: Option<u16>,
}

impl Accepted {
    /// Reads every `Accept-Encoding` field. What cannot be read is passed over; of a coding that is named twice the last
    /// counts. Without a field nothing is accepted but identity: the RFC would allow any coding, but who does not say
    /// that it decompresses may not.
    pub fn of(asked: &HeaderMap) -> Self {
        let mut named = [None; 3];
        let (mut identity, mut any) = (None, None);
        let elements = control::list(asked, &header::ACCEPT_ENCODING);
        for (name, weight) in elements.filter_map(weighted) {
            if let Some(coding) = Coding::named(name) {
                named[coding as usize] = Some(weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                identity = Some(weight);
            } else if name == b"*" {
                any = Some(weight);
            }
        }
        Self {
            weights: named.map(|weight| weight.or(any).unwrap_or(0)),
            identity: identity.or(any),
        }
    }

    /// The coding that the visitor likes best among those that `there` has; `None`: identity.
    pub fn best(&self, there: impl Fn(Coding) -> bool) -> Option<Coding> {
        let weight = |coding: &Coding| self.weights[*coding as usize];
        Coding::ALL
            .into_iter()
            .filter(|coding| {
                weight(coding) > 0 && weight(coding) >= self.identity.unwrap_or(0) && there(*coding)
            })
            // The first of the greatest.
            .rev()
            .max_by_key(weight)
    }

    /// The visitor does not want the body as it is (`identity;q=0`, or `*;q=0`).
    pub fn refuses_identity(&self) -> bool {
        self.identity == Some(0)
    }
}

/// An element of the list: a name, and its weight in thousandths.
fn weighted(element: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = element.split(|byte| *byte == b';');
    let name = parts.next()?.trim_ascii();
    let mut weight = 1000;
    for parameter in parts {
        let parameter = parameter.trim_ascii();
        weight = match parameter {
            [b'q' | b'Q', b'=', value @ ..] => qvalue(value)?,
            // No coding has parameters.
            _ => return None,
        };
    }
    (!name.is_empty()).then_some((name, weight))
}

/// RFC 9110 section 12.4.2: `0` or `1` with at most three decimals, and not more than one.
fn qvalue(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = text.split_first()?;
    let decimals = match decimals {
        [] => decimals,
        [b'.', decimals @ ..] => decimals,
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = (0..3).fold(0, |sum, at| {
        sum * 10 + decimals.get(at).map_or(0, |digit| u16::from(digit - b'0'))
    });
    let weight = u16::from(whole - b'0') * 1000 + thousandths;
    (weight <= 1000).then_some(weight)
}

/// An answer with these headers (as the app sent them) and so many bytes, where that is known, may be compressed: the
/// app allows it (`no-transform`, RFC 9110 section 7.7) and gives no digest that would no longer hold (RFC 9530), it is not
/// compressed already, and not too short to be worth it.
pub fn may_compress(headers: &HeaderMap, length: Option<u64>) -> bool {
    let said = [header::CACHE_CONTROL, CDN_CACHE_CONTROL].map(|name| headers.get_all(name));
    let media = headers.get(header::CONTENT_TYPE).map(control::media_type);
    length.is_none_or(|length| length >= LEAST)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !DIGESTS.iter().any(|name| headers.contains_key(name))
        && !media.is_some_and(is_dense)
        && !CacheControl::parse(said.iter().flatten()).no_transform
}

/// Compressed already, or as a rule not to be made smaller.
fn is_dense(media: &[u8]) -> bool {
    const DENSE: [&[u8]; 17] = [
        b"font/woff",
        b"font/woff2",
        b"application/font-woff",
        b"application/font-woff2",
        b"application/gzip",
        b"application/x-gzip",
        b"application/zip",
        b"application/zstd",
        b"application/x-brotli",
        b"application/x-bzip2",
        b"application/x-xz",
        b"application/x-7z-compressed",
        b"application/vnd.rar",
        b"application/x-rar-compressed",
        b"application/java-archive",
        b"application/pdf",
        b"application/octet-stream",
    ];
    const LOOSE_IMAGES: [&[u8]; 5] = [
        b"image/svg+xml",
        b"image/bmp",
        b"image/x-icon",
        b"image/vnd.microsoft.icon",
        b"image/x-ms-bmp",
    ];
    const OFFICE: &[u8] = b"application/vnd.openxmlformats-officedocument.";
    let is = |other: &&[u8]| media.eq_ignore_ascii_case(other);
    let starts = |with: &[u8]| {
        media
            .get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let ends = |with: &[u8]| {
        media.len() >= with.len() && media[media.len() - with.len()..].eq_ignore_ascii_case(with)
    };
    DENSE.iter().any(is)
        || starts(b"image/") && !LOOSE_IMAGES.iter().any(is)
        || starts(b"audio/")
        || starts(b"video/")
        || starts(OFFICE)
        || ends(b"+zip")
        || ends(b"+gzip")
        || ends(b"+zstd")
}

/// Says that `Accept-Encoding` chooses among several forms (RFC 9110 section 12.5.5), beside what `Vary` says already.
pub fn vary(headers: &mut HeaderMap) {
    const NAME: HeaderValue = HeaderValue::from_static("Accept-Encoding");
    if !varies(headers) {
        headers.append(header::VARY, NAME);
    }
}

/// `Vary` names `Accept-Encoding`, or everything.
pub fn varies(headers: &HeaderMap) -> bool {
    control::list(headers, &header::VARY)
        .any(|name| name.eq_ignore_ascii_case(b"accept-encoding") || name == b"*")
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn asked(values: &[&str]) -> HeaderMap {
        let pairs = values
            .iter()
            .map(|value| (header::ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap()));
        pairs.collect()
    }

    fn best(values: &[&str]) -> &'static str {
        Accepted::of(&asked(values))
            .best(|_| true)
            .map_or("identity", Coding::as_str)
    }

    #[rstest]
    #[case(&[], "identity")]
    #[case(&[""], "identity")]
    #[case(&["gzip"], "gzip")]
    #[case(&["GZip"], "gzip")]
    #[case(&["x-gzip"], "gzip")]
    #[case(&["gzip, deflate, br, zstd"], "br")]
    #[case(&["gzip, deflate", "zstd"], "zstd")]
    #[case(&["gzip;q=1.0, br;q=0.9"], "gzip")]
    #[case(&["br; q=0.5 , zstd ;q=0.501"], "zstd")]
    #[case(&["br;Q=0.1"], "br")]
    #[case(&["*"], "br")]
    #[case(&["*, br;q=0"], "zstd")]
    #[case(&["*;q=0"], "identity")]
    #[case(&["*;q=0, gzip"], "gzip")]
    #[case(&["identity"], "identity")]
    #[case(&["gzip, identity"], "gzip")]
    #[case(&["gzip;q=0.5, identity"], "identity")]
    #[case(&["gzip;q=0.5, identity;q=0.1"], "gzip")]
    #[case(&["identity;q=0"], "identity")]
    #[case(&["deflate, compress, aes128gcm, exi"], "identity")]
    #[case(&["gzip;q=0"], "identity")]
    #[case(&["gzip;q=0.000"], "identity")]
    #[case(&["gzip, gzip;q=0"], "identity")]
    #[case(&["gzip;q=2"], "identity")]
    #[case(&["gzip;q=1.001"], "identity")]
    #[case(&["gzip;q=0.0001"], "identity")]
    #[case(&["gzip;q="], "identity")]
    #[case(&["gzip;level=9"], "identity")]
    #[case(&[",,gzip,"], "gzip")]
    #[case(&["gzip\u{a0}, br"], "br")]
    fn accepted_best(#[case] values: &[&str], #[case] expected: &str) {
        assert_eq!(best(values), expected);
    }

    #[test]
    fn accepted_best_of_what_is_there() {
        let accepted = Accepted::of(&asked(&["br, zstd;q=0.9, gzip;q=0.8"]));
        assert_eq!(
            accepted.best(|coding| coding != Coding::Brotli),
            Some(Coding::Zstd)
        );
        assert_eq!(accepted.best(|_| false), None);
    }

    #[rstest]
    #[case("gzip", false)]
    #[case("identity;q=0, gzip", true)]
    #[case("*;q=0", true)]
    #[case("*;q=0, identity", false)]
    fn accepted_identity(#[case] value: &str, #[case] refused: bool) {
        assert_eq!(Accepted::of(&asked(&[value])).refuses_identity(), refused);
    }

    proptest! {
        /// Whatever is read, what is chosen is acceptable and nothing that is there is liked better.
        #[test]
        fn accepted_never_chooses_what_is_liked_less(
            weights in prop::array::uniform4(prop::option::of(0..=1000_u16)),
            there in prop::array::uniform3(any::<bool>()),
        ) {
            let names = ["br", "zstd", "gzip", "identity"];
            let list: Vec<_> = names.iter().zip(weights)
                .filter_map(|(name, weight)| Some((name, weight?)))
                .map(|(name, weight)| format!("{name};q={}.{:03}", weight / 1000, weight % 1000))
                .collect();
            let accepted = Accepted::of(&asked(&[&list.join(", ")]));
            let has = |coding: Coding| there[coding as usize];
            let chosen = accepted.best(has);
            let floor = weights[3].unwrap_or(0);
            let of = |coding: Coding| weights[coding as usize].unwrap_or(0);
            if let Some(coding) = chosen {
                prop_assert!(has(coding) && of(coding) > 0 && of(coding) >= floor);
            }
            for other in Coding::ALL.into_iter().filter(|coding| has(*coding) && of(*coding) > 0) {
                match chosen {
                    Some(coding) => prop_assert!((of(coding), other) >= (of(other), coding)),
                    None => prop_assert!(of(other) < floor),
                }
            }
        }

        #[test]
        fn accepted_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut asked = HeaderMap::new();
                asked.insert(header::ACCEPT_ENCODING, value);
                Accepted::of(&asked).best(|_| true);
            }
        }
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let pairs = fields.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    #[rstest]
    #[case(&[("content-type", "text/html; charset=utf-8")], None, true)]
    #[case(&[("content-type", "text/html")], Some(1023), false)]
    #[case(&[("content-type", "text/html")], Some(1024), true)]
    #[case(&[("content-type", "text/x-component")], None, true)]
    #[case(&[("content-type", "application/json")], None, true)]
    #[case(&[("content-type", "image/svg+xml")], None, true)]
    #[case(&[("content-type", "Image/PNG")], None, false)]
    #[case(&[("content-type", "image/webp")], None, false)]
    #[case(&[("content-type", "video/mp4")], None, false)]
    #[case(&[("content-type", "audio/ogg; codecs=opus")], None, false)]
    #[case(&[("content-type", "font/woff2")], None, false)]
    #[case(&[("content-type", "font/ttf")], None, true)]
    #[case(&[("content-type", "application/zip")], None, false)]
    #[case(&[("content-type", "application/epub+zip")], None, false)]
    #[case(&[("content-type", "application/wasm")], None, true)]
    #[case(&[], None, true)]
    #[case(&[("content-encoding", "gzip")], None, false)]
    #[case(&[("cache-control", "max-age=3, no-transform")], None, false)]
    #[case(&[("cdn-cache-control", "no-transform")], None, false)]
    #[case(&[("content-digest", "sha-256=:AA==:")], None, false)]
    #[case(&[("repr-digest", "sha-256=:AA==:")], None, false)]
    #[case(&[("content-md5", "AA==")], None, false)]
    #[case(&[("digest", "sha-256=AA==")], None, false)]
    fn compress_by_headers(
        #[case] fields: &[(&str, &str)],
        #[case] length: Option<u64>,
        #[case] expected: bool,
    ) {
        assert_eq!(may_compress(&headers(fields), length), expected);
    }

    #[rstest]
    #[case(&[], "Accept-Encoding")]
    #[case(&["RSC, Next-Url"], "RSC, Next-Url|Accept-Encoding")]
    #[case(&["rsc, accept-encoding"], "rsc, accept-encoding")]
    #[case(&["rsc", "Accept-Encoding"], "rsc|Accept-Encoding")]
    #[case(&["*"], "*")]
    fn vary_is_merged(#[case] before: &[&str], #[case] after: &str) {
        let fields: Vec<_> = before.iter().map(|value| ("vary", *value)).collect();
        let mut headers = headers(&fields);
        vary(&mut headers);
        let values: Vec<_> = headers
            .get_all(header::VARY)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert_eq!(values.join("|"), after);
    }
}
