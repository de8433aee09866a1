//! The first page: what is stored, what is in the air, what was purged, and by which rules.

use std::fmt::{self, Display, Write};

use super::{
    Place, Shell, ask, section,
    table::{Table, column, number},
    text::{Ago, Amount, Badge, Both, Code, Due, Encodings, Escaped, Link, List, Maybe, Number, Span},
};
use crate::admin::state::{Counted, FlightState, PageState, PurgeState, RuleState, Sort, State};

/// The whole page.
pub(in crate::admin) fn overview(state: &State, reload: bool) -> String {
    let mut html = String::new();
    let shell = Shell {
        place: Place::Overview,
        title: "Cache",
        app: &state.app,
        reload,
    };
    // Writing to a string cannot fail.
    let _ = shell.write(&mut html, |html| body(html, state));
    let _ = footer(&mut html, state, reload);
    html
}

fn body(html: &mut String, state: &State) -> fmt::Result {
    html.push_str("<h1>Cache</h1>\n");
    alerts(html, state)?;
    tiles(html, state)?;
    ask(html);
    pages(html, state)?;
    flights(html, state)?;
    purges(html, state)?;
    rules(html, state)?;
    counters(html, state)
}

fn alerts(html: &mut String, state: &State) -> fmt::Result {
    html.push_str("<div id=alerts data-live>\n");
    writeln!(html, "<p class=words>{}</p>", Escaped(&state.words))?;
    for (what, problem) in [
        ("The operator is not attached", &state.operator.error),
        ("The last configuration was refused", &state.operator.refused),
    ] {
        if let Some(problem) = problem {
            writeln!(html, "<p class=bad role=alert>{what}: {}</p>", Escaped(problem))?;
        }
    }
    html.push_str("</div>\n");
    Ok(())
}

fn tiles(html: &mut String, state: &State) -> fmt::Result {
    let (used, budget) = (state.memory.used, state.memory.budget);
    html.push_str("<dl id=tiles class=tiles data-live>\n");
    let mut tile = |name: &str, value: &dyn Display, more: &dyn Display| {
        writeln!(
            html,
            "<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>"
        )
    };
    tile(
        "Memory",
        &Amount(used),
        &format_args!(
            "of {} <meter min=0 max={budget} value={used} aria-label=\"memory used\"></meter>",
            Amount(budget)
        ),
    )?;
    tile("Pages", &Number(state.page_count as u64), &"stored")?;
    tile(
        "Flights",
        &Number(state.flight_count as u64),
        &format_args!("{} wait for their turn", Number(state.queue_count as u64)),
    )?;
    let answered: u64 = state.counters.requests.iter().map(|counted| counted.count).sum();
    tile(
        "Requests",
        &Number(answered),
        &format_args!("in {}", Span(state.up_seconds)),
    )?;
    let operator = match (state.operator.configured, state.operator.attached) {
        (false, _) => "none",
        (true, true) => "attached",
        (true, false) => "cut off",
    };
    tile(
        "Operator",
        &operator,
        &Maybe(
            state.operator.config.as_ref().map(|version| {
                format!(
                    "<code>{}</code>",
                    Escaped(version.chars().take(12).collect::<String>())
                )
            }),
            "no configuration",
        ),
    )?;
    html.push_str("</dl>\n");
    Ok(())
}

fn pages(html: &mut String, state: &State) -> fmt::Result {
    html.push_str("<section aria-labelledby=pages-title>\n<h2 id=pages-title>Pages</h2>\n");
    filter(html, state)?;
    html.push_str("<div id=pages data-live>\n");
    if state.pages.is_empty() {
        html.push_str(if state.page_count == 0 {
            "<p>Nothing is stored yet. A page is, once it has had a visitor.</p>\n"
        } else {
            "<p>No stored page is like that.</p>\n"
        });
    } else {
        let wanted = &state.wanted;
        let first = (wanted.page - 1) * wanted.limit + 1;
        writeln!(
            html,
            "<p>{}–{} of {}{}.</p>",
            Number(first as u64),
            Number((first + state.pages.len() - 1) as u64),
            Number(state.matching_count as u64),
            if wanted.is_choosy() {
                format!(", of {} in all", Number(state.page_count as u64))
            } else {
                String::new()
            }
        )?;
        let mut table = Table::begin(
            html,
            "Stored pages",
            [
                column("Page"),
                number("Status"),
                number("Size"),
                number("Age"),
                column("Next regeneration"),
                column("Last visit"),
                column("Next visit"),
                column("Rule"),
                column("Tags"),
            ],
        )?;
        for page in &state.pages {
            page_row(&mut table, page)?;
        }
        table.end();
        pager(html, state)?;
    }
    html.push_str("</div>\n</section>\n");
    Ok(())
}

fn page_row(table: &mut Table<'_, 9>, page: &PageState) -> fmt::Result {
    let due = match (page.purged, page.retry_seconds) {
        (_, Some(seconds)) => format!("the app gave none; again in {}", Span(seconds)),
        (Some(strategy), None) => format!("purged ({strategy})"),
        (None, None) => Due(page.next_revalidation_seconds).to_string(),
    };
    let compressed = (!page.encodings.is_empty()).then(|| {
        let encodings = Encodings(&page.encodings);
        format!("<small>{encodings}</small>")
    });
    let size = Both(Amount(page.bytes), Maybe(compressed, ""));
    let last = Both(
        Maybe(page.last_outcome.map(Badge), ""),
        Maybe(
            page.visited_seconds_ago
                .map(|seconds| format!(" {}", Ago(seconds))),
            "none yet",
        ),
    );
    table.row([
        &named(&page.key, page.explain.as_deref(), &page.chosen_by),
        &page.status,
        &size,
        &Span(page.age_seconds),
        &due,
        &last,
        &Badge(page.next_outcome),
        &format_args!("{}/{}", Escaped(&page.route), Escaped(&page.rule)),
        &List(&page.tags, page.tag_count),
    ])
}

/// A key, which names a row, and what chose its page among those of one URL.
fn named<'a>(key: &'a str, explain: Option<&'a str>, chosen_by: &'a [String]) -> impl Display + 'a {
    let fields =
        (!chosen_by.is_empty()).then(|| format!(" <small>{}</small>", List(chosen_by, chosen_by.len())));
    Both(Link(explain, Code(key)), Maybe(fields, ""))
}

/// The form that chooses. A plain GET, so that an address says what is shown.
fn filter(html: &mut String, state: &State) -> fmt::Result {
    let wanted = &state.wanted;
    html.push_str("<form class=filter action=/ aria-label=\"Which pages\">\n");
    for (name, words, value, example) in [
        ("path", "Path begins with", &wanted.path, "/blog/"),
        ("tag", "Tag", &wanted.tag, "post:hello"),
        ("route", "Route or route/rule", &wanted.route, "storefront"),
    ] {
        writeln!(
            html,
            "<label>{words}<input name={name} value=\"{}\" placeholder=\"{example}\" autocapitalize=off \
             autocomplete=off spellcheck=false></label>",
            Escaped(value)
        )?;
    }
    html.push_str("<label>First<select name=sort>");
    for sort in Sort::ALL {
        let words = match sort {
            Sort::Visited => "visited last",
            Sort::Newest => "stored last",
            Sort::Oldest => "stored first",
            Sort::Due => "due next",
            Sort::Size => "largest",
            Sort::Path => "by address",
        };
        let selected = if sort == wanted.sort { " selected" } else { "" };
        write!(html, "<option value={}{selected}>{words}</option>", sort.as_str())?;
    }
    html.push_str("</select></label>\n<button>Show</button>");
    if wanted.is_choosy() {
        html.push_str(" <a href=/>All pages</a>");
    }
    html.push_str("\n</form>\n");
    Ok(())
}

fn pager(html: &mut String, state: &State) -> fmt::Result {
    let wanted = &state.wanted;
    let last = state.matching_count.div_ceil(wanted.limit).max(1);
    if last == 1 {
        return Ok(());
    }
    html.push_str("<nav class=pager aria-label=\"Pages of the list\">");
    if wanted.page > 1 {
        let address = format!("/?{}", wanted.query(wanted.page - 1));
        write!(html, "<a rel=prev href=\"{}\">Previous</a>", Escaped(address))?;
    }
    write!(html, "<span>{} of {last}</span>", wanted.page)?;
    if wanted.page < last {
        let address = format!("/?{}", wanted.query(wanted.page + 1));
        write!(html, "<a rel=next href=\"{}\">Next</a>", Escaped(address))?;
    }
    html.push_str("</nav>\n");
    Ok(())
}

fn flights(html: &mut String, state: &State) -> fmt::Result {
    section(html, "flights", "In the air", |html| {
        if state.flights.is_empty() {
            html.push_str("<p>No page is being fetched.</p>\n");
        } else {
            let mut table = Table::begin(
                html,
                "Pages that are being fetched",
                [
                    column("Page"),
                    number("Since"),
                    column("Phase"),
                    number("Arrived"),
                    number("Waiting"),
                    column("Route"),
                ],
            )?;
            for flight in &state.flights {
                flight_row(&mut table, flight)?;
            }
            table.end();
            more(html, state.flight_count, state.flights.len(), "flights")?;
        }
        if state.queue_count > 0 {
            writeln!(
                html,
                "<p>{} regenerations wait for their turn, the hottest first: {}.</p>",
                Number(state.queue_count as u64),
                List(&state.queue, state.queue_count)
            )?;
        }
        Ok(())
    })
}

fn flight_row(table: &mut Table<'_, 6>, flight: &FlightState) -> fmt::Result {
    let remark = match (flight.closed, flight.overtaken) {
        (Some(reason), _) => format!(", not to be stored: {reason}"),
        (None, true) => ", overtaken".to_owned(),
        (None, false) => String::new(),
    };
    table.row([
        &named(&flight.key, flight.explain.as_deref(), &flight.chosen_by),
        &Span(flight.seconds),
        &Both(flight.phase, remark),
        &Amount(flight.bytes),
        &flight.waiting,
        &Escaped(&flight.route),
    ])
}

fn purges(html: &mut String, state: &State) -> fmt::Result {
    section(html, "purges", "Last purges", |html| {
        if state.purges.is_empty() {
            html.push_str("<p>None.</p>\n");
            return Ok(());
        }
        purge_table(html, "Purges, the newest first", &state.purges)
    })
}

pub(super) fn purge_table(html: &mut String, caption: &str, purges: &[PurgeState]) -> fmt::Result {
    let mut table = Table::begin(
        html,
        caption,
        [
            column("Sequence"),
            column("When"),
            column("Strategy"),
            column("Selects"),
            column("Sweep"),
        ],
    )?;
    for purge in purges {
        let sweep = purge.sweep.as_ref().map(|sweep| {
            let far = if sweep.finished { "" } else { ", goes on" };
            format!(
                "{} matched, {} regenerated, {} failed{far}",
                Number(sweep.matched),
                Number(sweep.regenerated),
                Number(sweep.failed)
            )
        });
        table.row([
            &purge.sequence,
            &Maybe(purge.seconds_ago.map(Ago), "–"),
            &purge.strategy,
            &Code(&purge.selects),
            &Maybe(sweep, "–"),
        ])?;
    }
    table.end();
    Ok(())
}

fn rules(html: &mut String, state: &State) -> fmt::Result {
    section(html, "rules", "Routes in force", |html| {
        if state.rules.is_empty() {
            html.push_str("<p>None: everything passes through.</p>\n");
            return Ok(());
        }
        rule_table(html, "Rules, in the order of the configuration", &state.rules)?;
        more(html, state.rule_count, state.rules.len(), "rules")
    })
}

pub(super) fn rule_table(html: &mut String, caption: &str, rules: &[RuleState]) -> fmt::Result {
    let mut table = Table::begin(
        html,
        caption,
        [
            column("Rule"),
            column("Hosts"),
            column("Paths"),
            column("Revalidate"),
            column("Stale up to"),
            column("Tags"),
            column("Query"),
            column("Remarks"),
        ],
    )?;
    for rule in rules {
        table.row([
            &format_args!("{}/{}", Escaped(&rule.route), Escaped(&rule.rule)),
            &Maybe(
                (!rule.hostnames.is_empty()).then(|| List(&rule.hostnames, rule.hostnames.len())),
                "any",
            ),
            &List(&rule.paths, rule.path_count),
            &rule.revalidate,
            &Span(rule.expire_seconds),
            &List(&rule.tags, rule.tags.len()),
            &Maybe(
                rule.query.as_ref().map(|names| List(names, names.len())),
                "all but trackers’",
            ),
            &Remarks(rule),
        ])?;
    }
    table.end();
    Ok(())
}

/// What else there is to say of a rule.
struct Remarks<'a>(&'a RuleState);

impl Display for Remarks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.0;
        let mut remarks = Vec::new();
        if let Some(reason) = rule.passes {
            remarks.push(format!("<strong>passes through</strong>: {}", Code(reason)));
        }
        for (words, list) in [
            ("bypass by cookie", &rule.bypass_cookies),
            ("bypass by header", &rule.bypass_headers),
            ("never holds", &rule.shadowed),
        ] {
            if !list.is_empty() {
                remarks.push(format!("{words} {}", List(list, list.len())));
            }
        }
        if !rule.overrides.is_empty() {
            remarks.push(format!(
                "overrides {}",
                List(&rule.overrides, rule.overrides.len())
            ));
        }
        Maybe((!remarks.is_empty()).then(|| remarks.join("; ")), "–").fmt(f)
    }
}

fn counters(html: &mut String, state: &State) -> fmt::Result {
    section(html, "counters", "Counted since the start", |html| {
        html.push_str("<div class=counters>\n");
        for (caption, word, counted) in [
            ("Requests, by outcome", "Outcome", &state.counters.requests),
            ("Passed through, by reason", "Reason", &state.counters.passed),
            (
                "Not answered by the app, by reason",
                "Reason",
                &state.counters.unanswered,
            ),
        ] {
            count_table(html, caption, word, counted)?;
        }
        html.push_str("</div>\n");
        Ok(())
    })
}

fn count_table(html: &mut String, caption: &str, word: &'static str, counted: &[Counted]) -> fmt::Result {
    if counted.is_empty() {
        return Ok(());
    }
    let mut table = Table::begin(html, caption, [column(word), number("Count")])?;
    for counted in counted {
        table.row([&counted.word, &Number(counted.count)])?;
    }
    table.end();
    Ok(())
}

fn more(html: &mut String, count: usize, shown: usize, what: &str) -> fmt::Result {
    match count.saturating_sub(shown) {
        0 => Ok(()),
        more => writeln!(html, "<p>And {} more {what}.</p>", Number(more as u64)),
    }
}

fn footer(html: &mut String, state: &State, reload: bool) -> fmt::Result {
    let (address, words) = if reload {
        ("/?live=no", "Do not reload")
    } else {
        ("/", "Reload every 5 s")
    };
    write!(
        html,
        "<footer><p>Coppice {}, up for {}. <noscript><a href=\"{address}\">{words}</a></noscript></p></footer>\n\
         </body>\n</html>\n",
        state.release,
        Span(state.up_seconds)
    )
}
