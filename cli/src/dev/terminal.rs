//! What `coppice dev` says, and how: colours on a terminal only, never a panic when nobody reads.

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use coppice_cache::outcome::Outcome;
use coppice_sidecar::config::VisitLine;
use http::{Method, StatusCode};
use parking_lot::Mutex;

/// Where lines go. Cheap to clone; lines of clones never mix.
#[derive(Debug, Clone)]
pub(super) struct Terminal {
    colours: bool,
    error_colours: bool,
    lock: Arc<Mutex<()>>,
}

/// A colour of the terminal's own palette, so that it fits light and dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// Good.
    Green,
    /// Look here.
    Yellow,
    /// Wrong.
    Red,
    /// New.
    Blue,
    /// Between.
    Cyan,
    /// By the way.
    Dim,
    /// Important.
    Bold,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Blue => "34",
            Self::Cyan => "36",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

impl Terminal {
    /// The process's standard output and error. `NO_COLOR` (no-color.org) is honoured.
    pub(super) fn standard() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            colours: wanted && std::io::stdout().is_terminal(),
            error_colours: wanted && std::io::stderr().is_terminal(),
            lock: Arc::default(),
        }
    }

    /// Text in a colour, on a terminal.
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        painted(self.colours, colour, text)
    }

    /// Prints a line, or several, to standard output.
    pub(super) fn say(&self, text: &str) {
        let _one = self.lock.lock();
        // Nobody may be reading any more; visitors are served all the same.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Prints to standard error what went wrong.
    pub(super) fn error(&self, text: &str) {
        self.complain(Colour::Red, "error", text);
    }

    /// Prints to standard error what to look at.
    pub(super) fn warn(&self, text: &str) {
        self.complain(Colour::Yellow, "note", text);
    }

    fn complain(&self, colour: Colour, word: &str, text: &str) {
        let word = painted(self.error_colours, colour, word);
        let _one = self.lock.lock();
        let _ = writeln!(std::io::stderr().lock(), "{word}: {text}");
    }

    /// Prints the line of a request.
    pub(super) fn visit(&self, visit: &VisitLine) {
        self.say(&self.visit_line(visit));
    }

    fn visit_line(&self, visit: &VisitLine) -> String {
        let outcome = self.paint(
            colour_of(visit.outcome),
            &format!("{:<11}", visit.outcome.as_str()),
        );
        let age = visit
            .age
            .map(|age| format!("age {}", short(age)))
            .unwrap_or_default();
        let time = short(visit.duration);
        let mut rest = visit.path.clone();
        if visit.method != Method::GET {
            rest = format!("{} {rest}", visit.method);
        }
        if visit.status != StatusCode::OK {
            rest = format!("{rest} {}", visit.status.as_u16());
        }
        let reason = self.paint(Colour::Dim, &format!("{:<16}", visit.reason));
        format!("{outcome} {reason} {age:<9} {time:>7}  {}", printable(&rest))
    }
}

fn painted(colours: bool, colour: Colour, text: &str) -> String {
    if colours {
        format!("\x1b[{}m{text}\x1b[0m", colour.code())
    } else {
        text.to_owned()
    }
}

const fn colour_of(outcome: Outcome) -> Colour {
    match outcome {
        Outcome::Hit => Colour::Green,
        Outcome::Stale => Colour::Yellow,
        Outcome::Miss => Colour::Blue,
        Outcome::Revalidated => Colour::Cyan,
        Outcome::Bypass => Colour::Dim,
    }
}

/// A length of time in few characters: `0.3ms`, `12ms`, `4.2s`, `3m`, `2h`, `5d`.
pub(super) fn short(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match time.as_secs() {
        0 if ms < 10.0 => format!("{ms:.1}ms"),
        0 => format!("{ms:.0}ms"),
        1..10 if time.subsec_millis() > 0 => format!("{:.1}s", time.as_secs_f64()),
        s => seconds(s),
    }
}

fn seconds(s: u64) -> String {
    match s {
        0..120 => format!("{s}s"),
        120..7200 => format!("{}m", s / 60),
        7200..172_800 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

/// A visitor chooses the path: nothing in it may move the cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(colours: bool) -> Terminal {
        Terminal {
            colours,
            error_colours: colours,
            lock: Arc::default(),
        }
    }

    fn visit() -> VisitLine {
        VisitLine {
            outcome: Outcome::Hit,
            reason: "",
            status: StatusCode::OK,
            age: Some(Duration::from_secs(3)),
            duration: Duration::from_micros(240),
            method: Method::GET,
            path: "/blog/hello?a=1".to_owned(),
        }
    }

    #[test]
    fn a_visit_is_one_line() {
        let plain = terminal(false);
        assert_eq!(
            plain.visit_line(&visit()),
            "HIT                          age 3s      0.2ms  /blog/hello?a=1"
        );
        let odd = VisitLine {
            outcome: Outcome::Bypass,
            reason: "method",
            status: StatusCode::SEE_OTHER,
            age: None,
            method: Method::POST,
            path: "/a\u{1b}[2J".to_owned(),
            ..visit()
        };
        assert_eq!(
            plain.visit_line(&odd),
            "BYPASS      method                       0.2ms  POST /a\u{fffd}[2J 303"
        );
        assert!(terminal(true).visit_line(&visit()).starts_with("\x1b[32mHIT"));
    }

    #[test]
    fn times_are_short() {
        for (ms, text) in [
            (0, "0.0ms"),
            (12, "12ms"),
            (4200, "4.2s"),
            (5000, "5s"),
            (180_000, "3m"),
            (7_200_000, "2h"),
            (864_000_000, "10d"),
        ] {
            assert_eq!(short(Duration::from_millis(ms)), text);
        }
    }
}
