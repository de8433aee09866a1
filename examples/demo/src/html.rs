//! How the pages look. No asset and no script is needed, so a page is one response.

use std::fmt::{self, Display, Write as _};

use jiff::Timestamp;

use crate::blog::{Blog, Post};

/// Who rendered a page, when, and for the how-manieth time.
#[derive(Debug, Clone)]
pub(crate) struct Stamp<'a> {
    pub(crate) at: Timestamp,
    pub(crate) pod: &'a str,
    pub(crate) render: u64,
}

/// Text with the characters that mean something in HTML escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2a1f;--soft:#5c6b5f;--paper:#fbfaf6;--line:#dfe3d8;--leaf:#3f7d3a;--card:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e6ebe2;--soft:#9aa895;--paper:#141a15;--line:#2c362d;--leaf:#8fc987;--card:#1b231c}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.65 ui-serif,Georgia,serif}\
main{max-width:42rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}\
header{display:flex;justify-content:space-between;align-items:baseline;gap:1rem;flex-wrap:wrap;margin-bottom:2rem}\
header a{color:var(--leaf);font-weight:700;text-decoration:none;font-size:1.15rem}\
h1{font-size:2.1rem;line-height:1.2;margin:.2em 0 .6em}\
a{color:var(--leaf)}\
.stamp{font:13px/1.5 ui-monospace,Menlo,Consolas,monospace;color:var(--soft);border:1px solid var(--line);background:var(--card);\
border-radius:8px;padding:.55rem .8rem}\
.stamp time{color:var(--ink);font-weight:700}\
.posts{list-style:none;padding:0;margin:0}\
.posts li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem 1.2rem;margin:.8rem 0}\
.posts a{font-size:1.2rem;font-weight:700;text-decoration:none}\
.posts p{margin:.25rem 0 0;color:var(--soft)}\
textarea{width:100%;min-height:12rem;font:inherit;padding:.8rem;border-radius:10px;border:1px solid var(--line);background:var(--card);color:inherit}\
button{font:inherit;background:var(--leaf);color:var(--paper);border:0;border-radius:8px;padding:.5rem 1.2rem;margin-top:.8rem;cursor:pointer}\
.hint{color:var(--soft);font-size:.9rem}";

fn page(title: &str, stamp: Option<&Stamp<'_>>, content: &str) -> String {
    let title = Escaped(title);
    let stamp = stamp.map_or_else(String::new, |s| {
        let at = s.at;
        let clock = at.strftime("%H:%M:%S");
        let (pod, render) = (Escaped(s.pod), s.render);
        format!(
            "<p class=\"stamp\">rendered at <time id=\"rendered\" datetime=\"{at}\">{clock}</time> UTC \
             by <span id=\"pod\">{pod}</span>, render <span id=\"render\">{render}</span> of this page</p>\n"
        )
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} – The Coppice</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n\
         <body><main>\n<header><a href=\"/\">The Coppice</a><span class=\"hint\">a demonstration blog</span></header>\n\
         {stamp}{content}</main></body>\n</html>\n"
    )
}

/// `/`: all posts.
pub(crate) fn index(blog: &Blog, stamp: &Stamp<'_>) -> String {
    let mut list = String::from("<h1>Posts</h1>\n<ul class=\"posts\">\n");
    for (slug, post) in blog.iter() {
        let first = post.text.lines().next().unwrap_or_default();
        let (title, first) = (Escaped(&post.title), Escaped(first));
        let _ = writeln!(
            list,
            "<li><a href=\"/blog/{slug}\">{title}</a><p>{first}</p></li>"
        );
    }
    list.push_str("</ul>\n");
    page("Posts", Some(stamp), &list)
}

/// `/blog/<slug>`.
pub(crate) fn post(slug: &str, post: &Post, stamp: &Stamp<'_>) -> String {
    let mut content = format!("<article><h1>{}</h1>\n", Escaped(&post.title));
    for paragraph in post.text.split("\n\n").filter(|p| !p.trim().is_empty()) {
        let _ = writeln!(content, "<p>{}</p>", Escaped(paragraph));
    }
    let _ = writeln!(
        content,
        "</article>\n<p class=\"hint\">version <span id=\"version\">{}</span> · <a href=\"/edit/{slug}\">edit this post</a> · \
         <a href=\"/\">all posts</a></p>",
        post.version
    );
    page(&post.title, Some(stamp), &content)
}

/// `/edit/<slug>`: the form. It shows what is stored now, whatever page a visitor came from.
pub(crate) fn edit(slug: &str, text: &str) -> String {
    let text = Escaped(text);
    let content = format!(
        "<h1>Edit <code>{slug}</code></h1>\n<form method=\"post\" action=\"/edit/{slug}\">\n\
         <textarea name=\"text\" autofocus>{text}</textarea>\n<button>Save</button>\n</form>\n\
         <p class=\"hint\">Saving changes this app's memory only. Where its pages are cached, visitors see the new text when the \
         page's interval has passed, or when it is purged.</p>\n"
    );
    page("Edit", None, &content)
}

/// 404 and other plain words.
pub(crate) fn notice(title: &str, words: &str, stamp: Option<&Stamp<'_>>) -> String {
    let content = format!("<h1>{}</h1>\n<p>{}</p>\n", Escaped(title), Escaped(words));
    page(title, stamp, &content)
}
