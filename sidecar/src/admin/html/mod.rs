//! The state as pages for people: plain HTML that loads nothing but its own two files, and works without the script.
//!
//! ```text
//! State ───────► overview.rs ─┐
//!                             ├─► Shell (head, navigation) ─► table.rs, text.rs: everything escaped
//! Explanation ─► explain.rs ──┘
//! ```

mod explain;
mod overview;
mod table;
mod text;

use std::fmt::{self, Display, Write};

use self::text::Escaped;
pub(super) use self::{explain::explain, overview::overview};

/// How it looks: `/page.css`.
pub(super) const STYLE: &str = include_str!("page.css");
/// What keeps it up to date where it stands: `/page.js`.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// Which page it is, for the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Overview,
    Explain,
}

/// What surrounds each page.
struct Shell<'a> {
    place: Place,
    title: &'a str,
    /// The app that the sidecar stands before.
    app: &'a str,
    /// Without a script the page asks for itself again.
    reload: bool,
}

impl Shell<'_> {
    fn write(&self, html: &mut String, body: impl FnOnce(&mut String) -> fmt::Result) -> fmt::Result {
        let Self {
            place, title, app, ..
        } = self;
        write!(
            html,
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
             <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
             <meta name=color-scheme content=\"light dark\">\n<title>{title} · Coppice</title>\n\
             <link rel=icon href=\"data:,\">\n<link rel=stylesheet href=/page.css>\n<script src=/page.js defer></script>\n"
        )?;
        if self.reload {
            html.push_str("<noscript><meta http-equiv=refresh content=5></noscript>\n");
        }
        write!(
            html,
            "</head>\n<body>\n<a class=skip href=#main>Skip to the content</a>\n<header>\n\
             <p class=brand><a href=/>Coppice</a> <span>before <code>{}</code></span></p>\n<nav aria-label=Pages>\n",
            Escaped(app)
        )?;
        for (of, address, words) in [
            (Some(Place::Overview), "/", "Cache"),
            (Some(Place::Explain), "/explain", "Explain"),
            (None, "/state", "JSON"),
            (None, "/metrics", "Metrics"),
        ] {
            let current = if of == Some(*place) {
                " aria-current=page"
            } else {
                ""
            };
            writeln!(html, "<a href={address}{current}>{words}</a>")?;
        }
        html.push_str(
            "</nav>\n<p class=live hidden><label><input type=checkbox id=live checked> Live</label> \
             <span id=live-words role=status></span></p>\n</header>\n<main id=main tabindex=-1>\n",
        );
        body(html)?;
        html.push_str("</main>\n");
        Ok(())
    }
}

/// A section of a page; the script brings it up to date.
fn section(
    html: &mut String,
    id: &str,
    title: impl Display,
    body: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    write!(
        html,
        "<section id={id} data-live aria-labelledby={id}-title>\n<h2 id={id}-title>{title}</h2>\n"
    )?;
    body(html)?;
    html.push_str("</section>\n");
    Ok(())
}

/// The form that asks `/explain`, as short as it can be.
fn ask(html: &mut String) {
    html.push_str(
        "<form class=ask action=/explain role=search><label for=url>Why is this page cached, or not?</label>\
         <input id=url name=url type=text inputmode=url autocapitalize=off autocomplete=off spellcheck=false required \
         placeholder=\"https://shop.example.com/blog/hello\"><button>Explain</button></form>\n",
    );
}
