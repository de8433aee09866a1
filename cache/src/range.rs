//! Range requests (RFC 9110 section 14): which bytes of a body a visitor wants.

use std::ops::Range;

use http::{HeaderMap, header};
use smallvec::SmallVec;

/// More ranges than this in one request are not looked at.
const MOST_ASKED: usize = 16;
/// More parts than this, or more bytes in them, are not put together: the whole body, which nobody has to copy, is sent.
const MOST_PARTS: usize = 8;
const MOST_BYTES: u64 = 64 << 10;
/// Two ranges that are no further apart are sent as one: the head of a part takes more (section 15.3.7.2).
const GAP: u64 = 80;

/// Parts of a body, each with at least one byte, in order and apart from each other.
pub type Parts = SmallVec<[Range<u64>; 4]>;

/// What a `Range` comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of the body: no `Range`, or one that is not honoured.
    Whole,
    /// 206 with one part.
    One(Range<u64>),
    /// 206 with several.
    Several(Parts),
    /// 416: nothing of what was asked for is there.
    Unsatisfiable,
}

/// Reads the `Range` of a GET for a body of so many bytes. What the grammar does not allow, units other than bytes, and
/// requests that would cost more than the whole body are ignored, as section 14.2 allows.
pub fn wanted(asked: &HeaderMap, length: u64) -> Wanted {
    let mut values = asked.get_all(header::RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Wanted::Whole;
    };
    parse(value.as_bytes(), length).unwrap_or(Wanted::Whole)
}

/// `None`: not a set of byte ranges.
fn parse(value: &[u8], length: u64) -> Option<Wanted> {
    let (unit, set) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut parts = Parts::new();
    let (mut count, mut is_all) = (0, false);
    for spec in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue;
        }
        count += 1;
        if count > MOST_ASKED {
            return None;
        }
        match Spec::parse(spec, length)? {
            Spec::Bytes(range) => parts.push(range),
            Spec::AllOfNothing => is_all = true,
            Spec::Missing => {}
        }
    }
    match (count, parts.is_empty()) {
        (0, _) => None,
        (_, false) => Some(settle(parts, length)),
        (_, true) if is_all => Some(Wanted::Whole),
        (_, true) => Some(Wanted::Unsatisfiable),
    }
}

/// One range of the set.
enum Spec {
    /// Cut to the body; at least one byte.
    Bytes(Range<u64>),
    /// The last bytes of an empty body: they are all of it, and no `Content-Range` could say so.
    AllOfNothing,
    /// Nothing of it is there.
    Missing,
}

impl Spec {
    fn parse(spec: &[u8], length: u64) -> Option<Self> {
        let dash = memchr::memchr(b'-', spec)?;
        let (first, last) = (&spec[..dash], &spec[dash + 1..]);
        if first.is_empty() {
            return Some(match (number(last)?, length) {
                (0, _) => Self::Missing,
                (_, 0) => Self::AllOfNothing,
                (last, _) => Self::Bytes(length.saturating_sub(last)..length),
            });
        }
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        if last < first {
            return None;
        }
        Some(if first < length {
            Self::Bytes(first..last.saturating_add(1).min(length))
        } else {
            Self::Missing
        })
    }
}

/// Digits; what is greater than any body is as great as any.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(number)
}

/// Ranges that overlap or almost touch become one; what is then left is worth it, or is the whole body.
fn settle(mut ranges: Parts, length: u64) -> Wanted {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut parts = Parts::new();
    for range in ranges {
        match parts.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
            _ => parts.push(range),
        }
    }
    let bytes: u64 = parts.iter().map(|part| part.end - part.start).sum();
    match &parts[..] {
        [part] => Wanted::One(part.clone()),
        several if several.len() > MOST_PARTS || bytes > MOST_BYTES || bytes > length / 2 => Wanted::Whole,
        _ => Wanted::Several(parts),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn asked(values: &[&str]) -> HeaderMap {
        let pairs = values
            .iter()
            .map(|value| (header::RANGE, HeaderValue::from_str(value).unwrap()));
        pairs.collect()
    }

    /// `whole`, `416`, or the parts, of a body of 1,000 bytes.
    fn words(wanted: &Wanted) -> String {
        let word = |part: &Range<u64>| format!("{}..{}", part.start, part.end);
        match wanted {
            Wanted::Whole => "whole".to_owned(),
            Wanted::Unsatisfiable => "416".to_owned(),
            Wanted::One(part) => word(part),
            Wanted::Several(parts) => parts.iter().map(word).collect::<Vec<_>>().join(" "),
        }
    }

    #[rstest]
    #[case("bytes=0-0", "0..1")]
    #[case("bytes=0-499", "0..500")]
    #[case("bytes=500-", "500..1000")]
    #[case("bytes=-1", "999..1000")]
    #[case("bytes=-2000", "0..1000")]
    #[case("bytes=0-", "0..1000")]
    #[case("bytes=999-5000", "999..1000")]
    #[case("Bytes=0-1", "0..2")]
    #[case("bytes= 0-1 ,", "0..2")]
    #[case("bytes=0-18446744073709551615", "0..1000")]
    #[case("bytes=0-99999999999999999999999999", "0..1000")]
    // Nothing of it is there.
    #[case("bytes=1000-", "416")]
    #[case("bytes=1000-1001, 5000-", "416")]
    #[case("bytes=-0", "416")]
    #[case("bytes=99999999999999999999999999-", "416")]
    // Against the grammar, or in another unit.
    #[case("bytes=5-4", "whole")]
    #[case("bytes=-", "whole")]
    #[case("bytes=", "whole")]
    #[case("bytes=,", "whole")]
    #[case("bytes=a-b", "whole")]
    #[case("bytes=+1-2", "whole")]
    #[case("bytes=1 - 2", "whole")]
    #[case("bytes=0x1-2", "whole")]
    #[case("bytes=--5", "whole")]
    #[case("bytes=1-2-3", "whole")]
    #[case("bytes 0-1", "whole")]
    #[case("bytes=0-1, 9-8", "whole")]
    #[case("seconds=0-1", "whole")]
    #[case("byte", "whole")]
    // Several.
    #[case("bytes=0-9, 500-509", "0..10 500..510")]
    #[case("bytes=-10, 0-9", "0..10 990..1000")]
    #[case("bytes=0-9, 5-19", "0..20")]
    #[case("bytes=0-9, 10-19", "0..20")]
    #[case("bytes=0-9, 20-29", "0..30")]
    #[case("bytes=0-9, 2000-", "0..10")]
    #[case("bytes=0-9, 500-, -400", "whole")]
    #[case(
        "bytes=0-0,100-100,200-200,300-300,400-400,500-500,600-600,700-700,800-800",
        "whole"
    )]
    #[case("bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-", "whole")]
    fn range_of_a_thousand_bytes(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(words(&wanted(&asked(&[value]), 1000)), expected);
    }

    #[rstest]
    #[case("bytes=0-", "416")]
    #[case("bytes=-5", "whole")]
    #[case("bytes=-0", "416")]
    fn range_of_nothing(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(words(&wanted(&asked(&[value]), 0)), expected);
    }

    #[test]
    fn range_stands_in_one_field() {
        assert_eq!(wanted(&asked(&[]), 10), Wanted::Whole);
        assert_eq!(wanted(&asked(&["bytes=0-1", "bytes=0-1"]), 10), Wanted::Whole);
    }

    #[test]
    fn range_of_several_large_parts_is_the_whole() {
        let large = asked(&["bytes=0-40000, 100000-140000"]);
        assert_eq!(wanted(&large, 1 << 20), Wanted::Whole);
    }

    proptest! {
        /// Every byte that was asked for and is there is in a part, and parts are within the body, in order and apart.
        #[test]
        fn range_gives_what_was_asked_for(
            specs in prop::collection::vec((0..1200_u64, prop::option::of(0..1200_u64)), 1..5),
            length in 0..1000_u64,
        ) {
            let specs: Vec<_> = specs.iter().map(|(first, more)| (*first, more.map(|more| first + more))).collect();
            let list: Vec<_> = specs.iter()
                .map(|(first, last)| last.map_or(format!("{first}-"), |last| format!("{first}-{last}")))
                .collect();
            let got = wanted(&asked(&[&format!("bytes={}", list.join(","))]), length);
            let parts = match got {
                Wanted::Whole => return Ok(()),
                Wanted::Unsatisfiable => Parts::new(),
                Wanted::One(part) => Parts::from_iter([part]),
                Wanted::Several(parts) => parts,
            };
            for part in &parts {
                prop_assert!(part.start < part.end && part.end <= length);
            }
            for pair in parts.windows(2) {
                prop_assert!(pair[0].end + GAP < pair[1].start);
            }
            for at in 0..length {
                let wanted = specs.iter().any(|(first, last)| at >= *first && last.is_none_or(|last| at <= last));
                let given = parts.iter().any(|part| part.contains(&at));
                prop_assert!(given || !wanted, "{at} is missing");
            }
        }

        #[test]
        fn range_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40), length in any::<u64>()) {
            if let Ok(value) = HeaderValue::from_bytes(&[b"bytes=", &bytes[..]].concat()) {
                let mut asked = HeaderMap::new();
                asked.insert(header::RANGE, value);
                wanted(&asked, length);
            }
        }
    }
}
