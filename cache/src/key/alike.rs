//! Values of request headers that mean the same, written the same (RFC 9111 section 4.1), so that they choose one variant.
//! The app is asked with what is written here.

use http::{HeaderName, header};

/// A value whose lines are joined already.
pub(super) fn written(name: &HeaderName, value: Vec<u8>) -> Vec<u8> {
    if *name == header::ACCEPT_LANGUAGE
        && let Some(languages) = languages(&value)
    {
        return languages;
    }
    if value.contains(&b',') {
        return spaced(&value);
    }
    value
}

/// One space behind each comma and none before it, as browsers write lists; quoted text stays as it is.
fn spaced(value: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(value.len());
    let (mut quoted, mut escaped, mut behind_comma) = (false, false, false);
    for &byte in value {
        if behind_comma && matches!(byte, b' ' | b'\t') {
            continue;
        }
        if behind_comma {
            written.push(b' ');
        }
        behind_comma = byte == b',' && !quoted;
        if behind_comma {
            written.truncate(written.trim_ascii_end().len());
        }
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        written.push(byte);
    }
    written
}

/// `Accept-Language` (RFC 9110 section 12.5.4): what is wanted most comes first, and where nothing is wanted more, order and
/// case mean nothing. `None`: it cannot be read.
fn languages(value: &[u8]) -> Option<Vec<u8>> {
    let mut ranges = std::str::from_utf8(value)
        .ok()?
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .map(range)
        .collect::<Option<Vec<_>>>()?;
    ranges.sort_by(|(one, more), (other, less)| less.cmp(more).then_with(|| one.cmp(other)));
    let written: Vec<_> = ranges
        .into_iter()
        .map(|(tag, weight)| format!("{tag}{}", weighing(weight)))
        .collect();
    Some(written.join(", ").into_bytes())
}

/// A weight as a parameter, where it needs one.
fn weighing(thousandths: u16) -> String {
    if thousandths == WHOLE {
        return String::new();
    }
    let decimals = format!("{thousandths:03}");
    let decimals = decimals.trim_end_matches('0');
    let point = if decimals.is_empty() { "" } else { "." };
    format!(";q=0{point}{decimals}")
}

/// A weight of 1, in thousandths.
const WHOLE: u16 = 1000;

/// A language range and its weight.
fn range(text: &str) -> Option<(String, u16)> {
    let (range, weight) = match text.split_once(';') {
        None => (text, WHOLE),
        Some((range, weight)) => {
            let (name, number) = weight.split_once('=')?;
            if !name.trim().eq_ignore_ascii_case("q") {
                return None;
            }
            (range, thousandths(number.trim())?)
        }
    };
    Some((tag(range.trim())?, weight))
}

/// RFC 9110 section 12.4.2: at most three decimals.
fn thousandths(number: &str) -> Option<u16> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(WHOLE),
        _ => None,
    }
}

/// A range in the case that RFC 5646 section 2.1.1 recommends and browsers send: `zh-Hant-TW`.
fn tag(range: &str) -> Option<String> {
    let is_range = !range.is_empty()
        && range
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*'));
    if !is_range {
        return None;
    }
    let mut tag = String::with_capacity(range.len());
    let mut behind_singleton = false;
    for (position, part) in range.split('-').enumerate() {
        let mut part = part.to_ascii_lowercase();
        if position > 0 {
            tag.push('-');
            match part.len() {
                2 if !behind_singleton => part.make_ascii_uppercase(),
                4 if !behind_singleton => part[..1].make_ascii_uppercase(),
                _ => {}
            }
        }
        behind_singleton |= part.len() == 1 && part != "*";
        tag.push_str(&part);
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(name: &str, value: &str) -> String {
        let name = name.parse().unwrap();
        String::from_utf8(written(&name, value.as_bytes().to_vec())).unwrap()
    }

    #[rstest]
    #[case("1,2", "1, 2")]
    #[case("1 ,\t 2", "1, 2")]
    #[case("a b, c", "a b, c")]
    #[case(r#""a,b" ,"c\",  d""#, r#""a,b", "c\",  d""#)]
    #[case("Wed, 01 Jan 2020", "Wed, 01 Jan 2020")]
    #[case("a,", "a,")]
    #[case("a,,b", "a,, b")]
    #[case(", a", ", a")]
    fn alike_lists(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(of("foo", value), expected);
        assert_eq!(of("foo", expected), expected);
    }

    #[rstest]
    #[case("en, de", "de, en")]
    #[case("de,en", "de, en")]
    #[case("eN , De", "de, en")]
    #[case(
        "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7",
        "de-DE, de;q=0.9, en-US;q=0.8, en;q=0.7"
    )]
    #[case("en;q=0.7, DE-de", "de-DE, en;q=0.7")]
    #[case("fr; Q=0.500, en;q=1.0", "en, fr;q=0.5")]
    #[case("zh-hant-tw, x-aa-bbbb;q=0", "zh-Hant-TW, x-aa-bbbb;q=0")]
    #[case("*;q=0.01", "*;q=0.01")]
    #[case("en,, de,", "de, en")]
    // What cannot be read is kept, as any list is.
    #[case("en;q=2,de", "en;q=2, de")]
    #[case("en;level=1,de", "en;level=1, de")]
    #[case("en_US,de", "en_US, de")]
    fn alike_languages(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(of("accept-language", value), expected);
        assert_eq!(of("accept-language", expected), expected);
    }
}
