//! Which pages somebody wants to see, and in what order.

use std::str::FromStr;

use serde::Serialize;

/// So many pages a screen, unless asked otherwise.
const LIMIT: usize = 50;
/// And never more.
const MAX_LIMIT: usize = 500;

/// Which pages, and in what order: the query of `/` and `/state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct Wanted {
    /// Only paths that begin so.
    pub(in crate::admin) path: String,
    /// Only pages that have this tag.
    pub(in crate::admin) tag: String,
    /// Only pages of this route, or of `route/rule`.
    pub(in crate::admin) route: String,
    pub(in crate::admin) sort: Sort,
    /// Which screen, from 1.
    pub(in crate::admin) page: usize,
    /// Pages a screen.
    pub(in crate::admin) limit: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            path: String::new(),
            tag: String::new(),
            route: String::new(),
            sort: Sort::Visited,
            page: 1,
            limit: LIMIT,
        }
    }
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum Sort {
    /// The page visited last.
    Visited,
    /// The page stored last.
    Newest,
    /// The page stored first.
    Oldest,
    /// The page that is due next.
    Due,
    /// The largest page.
    Size,
    /// The page whose address comes first.
    Path,
}

impl Sort {
    pub(in crate::admin) const ALL: [Self; 6] = [
        Self::Visited,
        Self::Newest,
        Self::Oldest,
        Self::Due,
        Self::Size,
        Self::Path,
    ];

    /// The word of the query.
    pub(in crate::admin) const fn as_str(self) -> &'static str {
        match self {
            Self::Visited => "visited",
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Due => "due",
            Self::Size => "size",
            Self::Path => "path",
        }
    }
}

impl Wanted {
    /// Reads the query. What is none of these words is left alone: an address that a browser remembers still answers.
    pub(in crate::admin) fn read(query: &str) -> Self {
        let mut wanted = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            match &*name {
                "path" => value.clone_into(&mut wanted.path),
                "tag" => value.clone_into(&mut wanted.tag),
                "route" => value.clone_into(&mut wanted.route),
                "sort" => {
                    if let Some(sort) = Sort::ALL.into_iter().find(|sort| sort.as_str() == value) {
                        wanted.sort = sort;
                    }
                }
                "page" => wanted.page = number(value).unwrap_or(wanted.page),
                "limit" => wanted.limit = number(value).unwrap_or(wanted.limit).min(MAX_LIMIT),
                _ => {}
            }
        }
        wanted
    }

    /// The query that asks for another screen of the same.
    pub(in crate::admin) fn query(&self, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("path", &self.path), ("tag", &self.tag), ("route", &self.route)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        if self.sort != Sort::Visited {
            query.append_pair("sort", self.sort.as_str());
        }
        if self.limit != LIMIT {
            query.append_pair("limit", &self.limit.to_string());
        }
        query.append_pair("page", &page.to_string());
        query.finish()
    }

    /// Not all pages are wanted.
    pub(in crate::admin) fn is_choosy(&self) -> bool {
        [&self.path, &self.tag, &self.route]
            .into_iter()
            .any(|value| !value.is_empty())
    }
}

/// A number from 1.
fn number(text: &str) -> Option<usize> {
    usize::from_str(text).ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_written() {
        let wanted = Wanted::read("path=%2Fblog&tag=a+b&sort=size&page=3&limit=9999&live=no");
        assert_eq!((wanted.path.as_str(), wanted.tag.as_str()), ("/blog", "a b"));
        assert_eq!(
            (wanted.sort, wanted.page, wanted.limit),
            (Sort::Size, 3, MAX_LIMIT)
        );
        assert!(wanted.is_choosy());
        let again = Wanted::read(&wanted.query(3));
        assert_eq!(again, wanted);
        assert_eq!(Wanted::read("page=0&limit=-1&sort=x&page="), Wanted::default());
    }
}
