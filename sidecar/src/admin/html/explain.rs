//! The page of `/explain`: a question, and the answer in the order in which a visit decides it.

use std::fmt::{self, Display, Write};

use super::{
    Place, Shell,
    overview::{purge_table, rule_table},
    section,
    text::{Ago, Amount, Badge, Code, Due, Encodings, Escaped, List, Maybe, Number, Span},
};
use crate::admin::{
    explain::{Bypass, Explanation, KeyState, Marked, Matched, Next, Question, Stored},
    state::FlightState,
};

/// The whole page; without an answer, the form alone.
pub(in crate::admin) fn explain(
    app: &str,
    question: &Question,
    answer: Option<&Result<Explanation, String>>,
) -> String {
    let mut html = String::new();
    let shell = Shell {
        place: Place::Explain,
        title: "Explain",
        app,
        reload: false,
    };
    // Writing to a string cannot fail.
    let _ = shell.write(&mut html, |html| {
        html.push_str("<h1>Why is it cached, or not?</h1>\n");
        form(html, question)?;
        match answer {
            None => Ok(()),
            Some(Err(words)) => writeln!(html, "<p class=bad role=alert id=problem>{}</p>", Escaped(words)),
            Some(Ok(answer)) => body(html, answer),
        }
    });
    html.push_str("</body>\n</html>\n");
    html
}

fn form(html: &mut String, question: &Question) -> fmt::Result {
    let open = if question.method.is_empty() && question.headers.is_empty() {
        ""
    } else {
        " open"
    };
    write!(
        html,
        "<form class=question action=/explain>\n<label for=url>URL</label>\n\
         <input id=url name=url type=text inputmode=url value=\"{}\" required autocapitalize=off autocomplete=off \
         spellcheck=false placeholder=\"https://shop.example.com/blog/hello\">\n\
         <details{open}><summary>Method and headers</summary>\n<label for=method>Method</label>\n\
         <input id=method name=method value=\"{}\" placeholder=GET autocapitalize=characters autocomplete=off \
         spellcheck=false>\n<label for=header>Headers, one a line</label>\n\
         <textarea id=header name=header rows=3 autocapitalize=off autocomplete=off spellcheck=false \
         placeholder=\"Cookie: __prerender_bypass=1\">\n{}</textarea>\n</details>\n<button>Explain</button>\n</form>\n",
        Escaped(&question.url),
        Escaped(&question.method),
        Escaped(&question.headers)
    )
}

/// The answer, then what leads to it, in the order in which a visit decides it.
fn body(html: &mut String, answer: &Explanation) -> fmt::Result {
    section(html, "next", "The next visitor gets", |html| {
        next(html, &answer.next)
    })?;
    section(html, "rule", "1. The rule", |html| rule(html, &answer.rule))?;
    section(html, "bypass", "2. What keeps it from being looked up", |html| {
        bypasses(html, &answer.bypasses)
    })?;
    section(html, "key", "3. The key", |html| match &answer.key {
        Some(key) => key_of(html, key),
        None => say(html, "None: nothing is looked up here, whoever asks."),
    })?;
    section(html, "stored", "4. What is stored", |html| {
        match &answer.stored {
            Some(stored) => stored_page(html, stored),
            None => say(html, "Nothing."),
        }?;
        answer
            .unstorable
            .as_ref()
            .map_or(Ok(()), |marked| mark(html, marked))
    })?;
    section(
        html,
        "purged",
        "5. Purges since it was asked for",
        |html| match &answer.stored {
            Some(stored) => purged(html, stored),
            None => say(html, "None: there is no page."),
        },
    )?;
    section(html, "air", "6. In the air", |html| {
        match &answer.flight {
            Some(flight) => flight_of(html, flight),
            None => say(html, "Nothing."),
        }?;
        match answer.regeneration {
            Some(turn) => say(html, format_args!("Its regeneration is {turn}.")),
            None => Ok(()),
        }
    })
}

fn say(html: &mut String, words: impl Display) -> fmt::Result {
    writeln!(html, "<p>{words}</p>")
}

fn next(html: &mut String, next: &Next) -> fmt::Result {
    html.push_str("<p class=next>");
    if let Some(outcome) = next.outcome {
        write!(html, "{} ", Badge(outcome))?;
    }
    if let Some(reason) = next.reason {
        write!(html, "{} ", Code(reason))?;
    }
    writeln!(html, "{}</p>", Escaped(&next.words))
}

fn rule(html: &mut String, matched: &Matched) -> fmt::Result {
    say(html, Escaped(&matched.words))?;
    match &matched.rule {
        Some(rule) => rule_table(html, "The rule", std::slice::from_ref(rule)),
        None if matched.elsewhere.is_empty() => Ok(()),
        None => rule_table(html, "Rules of other hosts", &matched.elsewhere),
    }
}

fn bypasses(html: &mut String, bypasses: &[Bypass]) -> fmt::Result {
    if bypasses.is_empty() {
        return say(html, "Nothing.");
    }
    html.push_str("<ul>\n");
    for bypass in bypasses {
        write!(html, "<li>{}", Code(bypass.reason))?;
        if let Some(header) = &bypass.header {
            write!(html, " by the header {}", Code(header))?;
        }
        writeln!(html, ": {}</li>", Escaped(bypass.words))?;
    }
    html.push_str("</ul>\n");
    Ok(())
}

fn mark(html: &mut String, marked: &Marked) -> fmt::Result {
    writeln!(
        html,
        "<p>The last answer was not stored, {}: {}. For another {} nobody waits for a new one.</p>",
        Code(marked.reason),
        Escaped(marked.words),
        Span(marked.seconds)
    )
}

fn flight_of(html: &mut String, flight: &FlightState) -> fmt::Result {
    write!(
        html,
        "<p>It is being fetched for {}: {}, {} arrived, {} waiting.",
        Span(flight.seconds),
        flight.phase,
        Amount(flight.bytes),
        flight.waiting
    )?;
    if flight.overtaken {
        html.push_str(" Something has overtaken it: it will not be stored.");
    }
    if let Some(reason) = flight.closed {
        write!(html, " Nobody joins any more: {}.", Code(reason))?;
    }
    html.push_str("</p>\n");
    Ok(())
}

fn key_of(html: &mut String, key: &KeyState) -> fmt::Result {
    writeln!(html, "<p>{}</p>", Code(&key.text))?;
    facts(
        html,
        &[
            ("Scheme", key.scheme.to_owned()),
            ("Host", Code(&key.host).to_string()),
            ("Path", Code(&key.path).to_string()),
            (
                "Forwarded for",
                Maybe(key.forwarded_host.as_ref().map(Code), "the same host").to_string(),
            ),
            (
                "Parameters that count",
                List(&key.counted, key.counted.len()).to_string(),
            ),
            (
                "Parameters that do not",
                List(&key.ignored, key.ignored.len()).to_string(),
            ),
        ],
    )
}

fn stored_page(html: &mut String, stored: &Stored) -> fmt::Result {
    let page = &stored.page;
    let visit = match (page.last_outcome, page.visited_seconds_ago) {
        (Some(outcome), Some(seconds)) => format!("{} {}", Badge(outcome), Ago(seconds)),
        (None, Some(seconds)) => Ago(seconds).to_string(),
        (_, None) => "none yet".to_owned(),
    };
    facts(
        html,
        &[
            ("Status", page.status.to_string()),
            ("Age", Span(page.age_seconds).to_string()),
            (
                "Fresh",
                Maybe(
                    stored
                        .fresh_seconds
                        .map(|seconds| format!("up to an age of {}", Span(seconds))),
                    "until it is purged",
                )
                .to_string(),
            ),
            (
                "Next regeneration",
                Due(page.next_revalidation_seconds).to_string(),
            ),
            (
                "Stale",
                Maybe(
                    stored
                        .stale_seconds
                        .map(|seconds| format!("up to an age of {}", Span(seconds))),
                    "never served stale",
                )
                .to_string(),
            ),
            (
                "The last try",
                Maybe(
                    page.retry_seconds
                        .map(|seconds| format!("brought none; the app is asked again in {}", Span(seconds))),
                    "brought it",
                )
                .to_string(),
            ),
            ("Last visit", visit),
            (
                "Size",
                format!(
                    "{} of body, {} of memory",
                    Amount(page.bytes),
                    Amount(page.weight)
                ),
            ),
            (
                "Compressed",
                Maybe(
                    (!page.encodings.is_empty()).then(|| Encodings(&page.encodings)),
                    "not yet",
                )
                .to_string(),
            ),
            ("Tags", List(&stored.all_tags, stored.all_tags.len()).to_string()),
            (
                "Stored under",
                format!("{}/{}", Escaped(&page.route), Escaped(&page.rule)),
            ),
            ("Stamp", stored.stamp.to_string()),
        ],
    )
}

fn purged(html: &mut String, stored: &Stored) -> fmt::Result {
    if let Some(strategy) = stored.forgotten {
        writeln!(
            html,
            "<p>Purges have come since that are no longer held: it is treated as if one of {strategy} selected it.</p>"
        )?;
    }
    if stored.invalidated {
        html.push_str(
            "<p>A POST, PUT or the like to its URL has succeeded: it has expired (RFC 9111, section 4.4).</p>\n",
        );
    }
    if stored.purges.is_empty() {
        return say(html, "No purge selects it.");
    }
    writeln!(
        html,
        "<p>{}{}.</p>",
        match stored.purge_count {
            1 => "One purge selects it".to_owned(),
            count => format!("{} purges select it", Number(count as u64)),
        },
        match stored.purged_by {
            Some(sequence) => format!("; what its visitors get is decided by {sequence}"),
            None => String::new(),
        }
    )?;
    purge_table(html, "Purges that select it, the oldest first", &stored.purges)
}

fn facts(html: &mut String, facts: &[(&str, String)]) -> fmt::Result {
    html.push_str("<dl class=facts>\n");
    for (name, value) in facts {
        writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
    }
    html.push_str("</dl>\n");
    Ok(())
}
