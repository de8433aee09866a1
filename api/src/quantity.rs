//! Amounts of bytes as Kubernetes writes them: `134217728`, `128Mi`, `1.5G`.

/// No amount is longer than this many characters.
pub const MAX_LENGTH: usize = 20;

/// Why a text is no amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no amount of bytes: write a number with k, M, G, T, Ki, Mi, Gi, Ti or without, such as 128Mi"
)]
pub struct ParseBytesError {
    text: String,
}

/// Bytes of a Kubernetes quantity. A fraction of a byte is rounded up, as Kubernetes does; exponents and milli-bytes are refused.
pub fn parse_bytes(text: &str) -> Result<u64, ParseBytesError> {
    bytes_of(text).ok_or_else(|| ParseBytesError {
        text: text.chars().take(64).collect(),
    })
}

fn bytes_of(text: &str) -> Option<u64> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit: u128 = match suffix {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    // At most 20 digits before and after the point, so nothing overflows 128 bits.
    let scale = 10_u128.pow(fraction.len() as u32);
    let digits = whole
        .parse::<u128>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(if fraction.is_empty() {
            0
        } else {
            fraction.parse().ok()?
        })?;
    u64::try_from(digits.checked_mul(unit)?.div_ceil(scale)).ok()
}

/// The shortest exact form in binary units: `128Mi`, `1000`.
pub fn format_bytes(bytes: u64) -> String {
    for (suffix, shift) in [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{suffix}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_kubernetes_writes() {
        for (text, bytes) in [
            ("0", 0),
            ("134217728", 134_217_728),
            ("128Mi", 134_217_728),
            ("1.5Gi", 1_610_612_736),
            ("0.5k", 500),
            ("1.0001Ki", 1025),
            ("2T", 2_000_000_000_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "Mi",
            "-1",
            "1.",
            ".5Mi",
            "1..5",
            "1.2.3",
            "128mi",
            "128MB",
            "128 Mi",
            "1e3",
            "100m",
            "99999999999999999999",
            "99999999999999999Ti",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_what_it_parses() {
        for text in ["0", "1", "1000", "1Ki", "224Mi", "3Gi", "1025Mi"] {
            assert_eq!(format_bytes(parse_bytes(text).unwrap()), text);
        }
    }
}
