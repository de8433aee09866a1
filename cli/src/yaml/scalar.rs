//! What a plain, unquoted word means: YAML 1.1 as kubectl reads it, so that `on` and `yes` are booleans here too.

use serde_json::{Number, Value};

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    integer(text).or_else(|| float(text))
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = digits.replace('_', "");
    // A second sign would be taken by `from_str_radix`.
    if !digits.bytes().next()?.is_ascii_digit() {
        return None;
    }
    let radix = |prefix, radix| {
        let rest: &str = digits.strip_prefix(prefix)?;
        (!rest.starts_with(['+', '-'])).then(|| u64::from_str_radix(rest, radix).ok())?
    };
    let value = radix("0x", 16)
        .or_else(|| radix("0b", 2))
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0", 8))
        .or_else(|| digits.parse().ok())?;
    if negative {
        0_i64.checked_sub_unsigned(value).map(Number::from)
    } else {
        Some(Number::from(value))
    }
}

fn float(text: &str) -> Option<Number> {
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.bytes().all(plain) || !text.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // JSON has one kind of number: 5.0 is sent as 5.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_words_are_what_kubectl_takes_them_for() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("off", json!(false)),
            ("5", json!(5)),
            ("-5", json!(-5)),
            ("1_000", json!(1000)),
            ("0x1f", json!(31)),
            ("0777", json!(511)),
            ("0", json!(0)),
            ("089", json!(89)),
            ("1.5", json!(1.5)),
            ("5.0", json!(5)),
            ("1e3", json!(1000)),
            ("5m", json!("5m")),
            ("1.2.3", json!("1.2.3")),
            ("-", json!("-")),
            (".", json!(".")),
            ("--5", json!("--5")),
            ("0x", json!("0x")),
            ("12:30", json!("12:30")),
            ("2026-01-01", json!("2026-01-01")),
            (".inf", json!(".inf")),
            ("never", json!("never")),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }
}
