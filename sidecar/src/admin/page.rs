//! The state as a page for people: plain HTML that loads nothing and runs nothing.

use std::fmt::{self, Display, Write};

use super::state::State;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=3>\
<meta name=viewport content='width=device-width'><title>Coppice sidecar</title><style>\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b2a1b}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #dde5dd;vertical-align:top}\
td.n,th.n{text-align:right}code{font-size:.92em;overflow-wrap:anywhere}.bad{color:#a22}\
</style><h1>Coppice sidecar</h1>";

/// The whole page.
pub(super) fn render(state: &State) -> String {
    let mut html = String::from(HEAD);
    // Writing to a string cannot fail.
    let _ = write(&mut html, state);
    html
}

fn write(html: &mut String, state: &State) -> fmt::Result {
    write!(
        html,
        "<p>{}, release {}, before <code>{}</code>.",
        Escaped(&state.words),
        state.release,
        Escaped(&state.app)
    )?;
    write!(
        html,
        " Memory: {} of {}. Pages: {}. In the air: {}.</p>",
        Amount(state.memory.used),
        Amount(state.memory.budget),
        state.page_count,
        state.flights
    )?;
    for (what, problem) in [
        ("The operator is not attached", &state.operator.error),
        ("The last configuration was refused", &state.operator.refused),
    ] {
        if let Some(problem) = problem {
            write!(html, "<p class=bad>{what}: {}</p>", Escaped(problem))?;
        }
    }
    html.push_str("<h2>Pages</h2>");
    if state.pages.is_empty() {
        html.push_str("<p>None yet.</p>");
    } else {
        html.push_str(
            "<table><tr><th>Page<th>Status<th class=n>Size<th class=n>Age<th>Next revalidation<th>Next visit<th>Rule<th>Tags",
        );
        for page in &state.pages {
            write!(
                html,
                "<tr><td><code>{}</code><td>{}<td class=n>{}<td class=n>{}<td>{}<td>{}<td>{}/{}<td>{}",
                Escaped(&page.key),
                page.status,
                Amount(page.bytes),
                Span(page.age_seconds),
                Due(page.next_revalidation_seconds),
                page.next_visit,
                Escaped(&page.route),
                Escaped(&page.rule),
                Escaped(&page.tags.join(", ")),
            )?;
        }
        html.push_str("</table>");
        if state.page_count > state.pages.len() {
            write!(
                html,
                "<p>… and {} more.</p>",
                state.page_count - state.pages.len()
            )?;
        }
    }
    html.push_str("<h2>Last purges</h2>");
    if state.purges.is_empty() {
        html.push_str("<p>None.</p>");
    } else {
        html.push_str("<table><tr><th>Sequence<th>Strategy<th>Selects");
        for purge in &state.purges {
            write!(
                html,
                "<tr><td>{}<td>{}<td>{}",
                purge.sequence,
                purge.strategy,
                Escaped(&purge.selects)
            )?;
        }
        html.push_str("</table>");
    }
    html.push_str("<h2>Rules</h2>");
    if state.rules.is_empty() {
        html.push_str("<p>None: everything passes through.</p>");
    } else {
        html.push_str("<table><tr><th>Route<th>Rule<th>Paths<th>Revalidate");
        for rule in &state.rules {
            write!(
                html,
                "<tr><td>{}<td>{}<td><code>{}</code><td>{}",
                Escaped(&rule.route),
                Escaped(&rule.rule),
                Escaped(&rule.paths.join(" ")),
                if rule.suspended {
                    "suspended"
                } else {
                    &rule.revalidate
                },
            )?;
        }
        html.push_str("</table>");
    }
    html.push_str(
        "<p>The same as JSON: <a href=/state>/state</a>. For Prometheus: <a href=/metrics>/metrics</a>.</p>",
    );
    Ok(())
}

/// Text that is nothing but text in HTML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Bytes, for people.
struct Amount(u64);

impl Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..1024 => write!(f, "{bytes} B"),
            bytes @ 1024..1_048_576 => write!(f, "{:.1} KiB", bytes as f64 / 1024.0),
            bytes => write!(f, "{:.1} MiB", bytes as f64 / 1_048_576.0),
        }
    }
}

/// Seconds, for people.
struct Span(u64);

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

/// When a page is due.
struct Due(Option<i64>);

impl Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("when purged"),
            Some(seconds @ 1..) => write!(f, "in {}", Span(seconds.unsigned_abs())),
            Some(seconds) => write!(f, "due since {}", Span(seconds.unsigned_abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let text = Escaped("<script>&\"'</script>").to_string();
        assert_eq!(text, "&lt;script&gt;&amp;&quot;&#39;&lt;/script&gt;");
    }

    #[test]
    fn spans_for_people() {
        assert_eq!(Due(Some(5)).to_string(), "in 5 s");
        assert_eq!(Due(Some(-300)).to_string(), "due since 5 min");
        assert_eq!(Due(None).to_string(), "when purged");
        assert_eq!(Amount(3 << 20).to_string(), "3.0 MiB");
    }
}
