//! The posts, kept in memory: each process has its own.

use std::collections::BTreeMap;

/// A longer text is refused, so that an open demonstration cannot be filled up.
pub(crate) const MAX_TEXT: usize = 16 * 1024;
/// More posts than this are refused.
const MAX_POSTS: usize = 200;
/// A longer slug is refused.
const MAX_SLUG: usize = 64;

/// One post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) title: String,
    pub(crate) text: String,
    /// How often it was saved; the first version is 1.
    pub(crate) version: u32,
}

/// All posts, by slug.
#[derive(Debug)]
pub(crate) struct Blog {
    posts: BTreeMap<String, Post>,
}

/// Why a post was not saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    BadSlug,
    TooLong,
    TooMany,
}

impl Refused {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BadSlug => "a slug has 1 to 64 letters, digits and hyphens",
            Self::TooLong => "a post has at most 16 KiB",
            Self::TooMany => "the blog is full",
        }
    }
}

impl Default for Blog {
    fn default() -> Self {
        let post = |slug: &str, title: &str, text: &str| {
            let post = Post {
                title: title.to_owned(),
                text: text.to_owned(),
                version: 1,
            };
            (slug.to_owned(), post)
        };
        Self {
            posts: BTreeMap::from([
                post(
                    "hello",
                    "Hello",
                    "This page was rendered once and is served to everybody.\n\nReload it: the time above stays the \
                     same until its interval has passed. Then the next visitor still gets this page at once, and a \
                     new one is rendered behind it.",
                ),
                post(
                    "coppicing",
                    "Coppicing",
                    "To coppice a tree is to cut it back to the stump so that it grows anew: young stems from old \
                     roots, again and again, for centuries.",
                ),
                post(
                    "hazel",
                    "Hazel",
                    "Hazel is the classic coppice tree. Cut every seven to ten years, a stool goes on giving straight \
                     rods for hurdles, baskets and bean poles.",
                ),
            ]),
        }
    }
}

impl Blog {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Post)> {
        self.posts.iter().map(|(slug, post)| (slug.as_str(), post))
    }

    pub(crate) fn get(&self, slug: &str) -> Option<&Post> {
        self.posts.get(slug)
    }

    /// Saves a post; an unknown slug makes a new one.
    pub(crate) fn save(&mut self, slug: &str, text: &str) -> Result<(), Refused> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if slug.is_empty() || slug.len() > MAX_SLUG || !slug.bytes().all(good) {
            return Err(Refused::BadSlug);
        }
        if text.len() > MAX_TEXT {
            return Err(Refused::TooLong);
        }
        if let Some(post) = self.posts.get_mut(slug) {
            text.clone_into(&mut post.text);
            post.version += 1;
            return Ok(());
        }
        if self.posts.len() >= MAX_POSTS {
            return Err(Refused::TooMany);
        }
        let post = Post {
            title: title_of(slug),
            text: text.to_owned(),
            version: 1,
        };
        self.posts.insert(slug.to_owned(), post);
        Ok(())
    }
}

/// `first-frost` → `First frost`.
fn title_of(slug: &str) -> String {
    let mut title = slug.replace('-', " ");
    if let Some(first) = title.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saves_changes_and_makes_posts() {
        let mut blog = Blog::default();
        blog.save("hello", "new").unwrap();
        assert_eq!(blog.get("hello").unwrap().text, "new");
        assert_eq!(blog.get("hello").unwrap().version, 2);

        blog.save("first-frost", "cold").unwrap();
        assert_eq!(blog.get("first-frost").unwrap().title, "First frost");
    }

    #[test]
    fn refuses_what_would_fill_it_up() {
        let mut blog = Blog::default();
        assert_eq!(blog.save("a/b", ""), Err(Refused::BadSlug));
        assert_eq!(blog.save("", ""), Err(Refused::BadSlug));
        assert_eq!(
            blog.save("long", &"x".repeat(MAX_TEXT + 1)),
            Err(Refused::TooLong)
        );
        for n in 0..MAX_POSTS {
            let _ = blog.save(&format!("p{n}"), "");
        }
        assert_eq!(blog.save("one-more", ""), Err(Refused::TooMany));
        assert_eq!(blog.save("hello", "still editable"), Ok(()));
    }
}
