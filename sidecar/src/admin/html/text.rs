//! Texts, amounts and times as HTML.

use std::fmt::{self, Display, Write};

use crate::admin::state::EncodingState;

/// Text that is nothing but text in HTML, in an attribute between quotes too.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

struct Escape<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '&' => self.0.write_str("&amp;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // What would turn the line around, or not be seen at all.
                '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200B}'..='\u{200F}' | '\u{FEFF}' => {
                    write!(self.0, "\\u{{{:x}}}", u32::from(character))?;
                }
                _ => self.0.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// What is written as code.
pub(super) struct Code<T>(pub(super) T);

impl<T: Display> Display for Code<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<code>{}</code>", Escaped(&self.0))
    }
}

/// An address of this listener, where there is one, and what it says.
pub(super) struct Link<'a, T>(pub(super) Option<&'a str>, pub(super) T);

impl<T: Display> Display for Link<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "<a href=\"{}\">{}</a>", Escaped(address), self.1),
            None => self.1.fmt(f),
        }
    }
}

/// A list, each entry as code; more than there is room for is only counted.
pub(super) struct List<'a, S>(pub(super) &'a [S], pub(super) usize);

impl<S: Display> Display for List<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(list, count) = self;
        for (at, entry) in list.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { " " }, Code(entry))?;
        }
        match count.saturating_sub(list.len()) {
            0 if list.is_empty() => f.write_str("<span class=none>none</span>"),
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Something that may not be there.
pub(super) struct Maybe<T>(pub(super) Option<T>, pub(super) &'static str);

impl<T: Display> Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(thing) => thing.fmt(f),
            None => write!(f, "<span class=none>{}</span>", self.1),
        }
    }
}

/// One after the other.
pub(super) struct Both<A, B>(pub(super) A, pub(super) B);

impl<A: Display, B: Display> Display for Both<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1)
    }
}

/// The word of an outcome, in its colour.
pub(super) struct Badge(pub(super) &'static str);

impl Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<span class=\"badge {}\">{}</span>",
            self.0.to_ascii_lowercase(),
            self.0
        )
    }
}

/// Bytes, for people.
pub(super) struct Amount(pub(super) u64);

impl Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..1024 => write!(f, "{bytes} B"),
            bytes @ 1024..1_048_576 => write!(f, "{:.1} KiB", bytes as f64 / 1024.0),
            bytes @ 1_048_576..1_073_741_824 => write!(f, "{:.1} MiB", bytes as f64 / 1_048_576.0),
            bytes => write!(f, "{:.1} GiB", bytes as f64 / 1_073_741_824.0),
        }
    }
}

/// Compressed bodies, each with its size.
pub(super) struct Encodings<'a>(pub(super) &'a [EncodingState]);

impl Display for Encodings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, EncodingState { coding, bytes }) in self.0.iter().enumerate() {
            write!(
                f,
                "{}{coding} {}",
                if at == 0 { "" } else { ", " },
                Amount(*bytes)
            )?;
        }
        Ok(())
    }
}

/// Seconds, for people.
pub(super) struct Span(pub(super) u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{} h", seconds / 3600),
            seconds => write!(f, "{} d", seconds / 86_400),
        }
    }
}

/// How long ago.
pub(super) struct Ago(pub(super) u64);

impl Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("just now"),
            seconds => write!(f, "{} ago", Span(seconds)),
        }
    }
}

/// When a page is due.
pub(super) struct Due(pub(super) Option<i64>);

impl Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("when purged"),
            Some(seconds @ 1..) => write!(f, "in {}", Span(seconds.unsigned_abs())),
            Some(0) => f.write_str("due now"),
            Some(seconds) => write!(f, "due since {}", Span(seconds.unsigned_abs())),
        }
    }
}

/// Numbers with their thousands apart.
pub(super) struct Number(pub(super) u64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let text = Escaped("<script>&\"'</script>\u{202E}").to_string();
        assert_eq!(text, "&lt;script&gt;&amp;&quot;&#39;&lt;/script&gt;\\u{202e}");
        let link = Link(Some("/a?\" onclick=\""), Escaped("<b>")).to_string();
        assert_eq!(link, "<a href=\"/a?&quot; onclick=&quot;\">&lt;b&gt;</a>");
    }

    #[test]
    fn spans_for_people() {
        assert_eq!(Due(Some(5)).to_string(), "in 5 s");
        assert_eq!(Due(Some(-300)).to_string(), "due since 5 min");
        assert_eq!(Due(None).to_string(), "when purged");
        assert_eq!(Amount(3 << 20).to_string(), "3.0 MiB");
        assert_eq!(Number(1_234_567).to_string(), "1,234,567");
        assert_eq!(Number(12).to_string(), "12");
        assert_eq!(List(&["<a>"], 3).to_string(), "<code>&lt;a&gt;</code> and 2 more");
    }
}
