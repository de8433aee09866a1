//! Durations as users write them: integer seconds, or `([0-9]+(ms|s|m|h|d))+`; an [`Interval`] may also be `never`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// No duration is longer than this many characters.
pub const MAX_LENGTH: u64 = 32;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no duration: write integer seconds (60) or numbers with units (1h30m, 500ms, 30d)")]
pub struct ParseSpanError {
    text: String,
}

/// A length of time; `0` is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

/// A length of time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interval {
    /// After this long.
    After(Duration),
    /// Only when asked to.
    Never,
}

impl Span {
    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseSpanError {
            text: text.chars().take(64).collect(),
        };
        let mut rest = text;
        let mut total = 0_u64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| error())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
            let unit = match &rest[..letters] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(error()),
            };
            rest = &rest[letters..];
            total = number
                .checked_mul(unit)
                .and_then(|ms| total.checked_add(ms))
                .ok_or_else(error)?;
        }
        if text.is_empty() {
            Err(error())
        } else {
            Ok(Self(Duration::from_millis(total)))
        }
    }
}

impl fmt::Display for Span {
    /// The shortest form that parses back to the same value, such as `1h30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
            ("ms", 1),
        ] {
            if ms >= length {
                write!(f, "{}{unit}", ms / length)?;
                ms %= length;
            }
        }
        Ok(())
    }
}

impl FromStr for Interval {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            Ok(Self::Never)
        } else {
            text.parse().map(|Span(d)| Self::After(d))
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(d) => Span(*d).fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}

/// Reads an integer of seconds or a text.
struct IntOrText<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = ParseSpanError> + FromSeconds> de::Visitor<'_> for IntOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("integer seconds or a duration such as 5m")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<T, E> {
        Ok(T::from_seconds(seconds))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<T, E> {
        u64::try_from(seconds)
            .map(T::from_seconds)
            .map_err(|_| E::custom("a duration is never negative"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

trait FromSeconds {
    fn from_seconds(seconds: u64) -> Self;
}

impl FromSeconds for Span {
    fn from_seconds(seconds: u64) -> Self {
        Self::from_secs(seconds)
    }
}

impl FromSeconds for Interval {
    fn from_seconds(seconds: u64) -> Self {
        Self::After(Duration::from_secs(seconds))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntOrText(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntOrText(std::marker::PhantomData))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        crate::schema::span()
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        crate::schema::interval()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units_and_seconds() {
        assert_eq!("1h30m".parse(), Ok(Span::from_secs(5400)));
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("never".parse(), Ok(Interval::Never));
        assert_eq!(
            serde_json::from_str::<Interval>("60").unwrap(),
            Interval::After(Duration::from_mins(1))
        );
        for bad in [
            "",
            "5",
            "m",
            "5 m",
            "-1s",
            "1y",
            "5m3",
            "99999999999999999999s",
            "1.5h",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Span>("-1").is_err());
    }

    #[test]
    fn prints_what_it_parses() {
        for text in ["1d2h3m4s5ms", "90d", "0s", "1h30m"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
