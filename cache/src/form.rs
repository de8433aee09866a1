//! The form in which one request gets a page that may serve: whole, compressed, in part, or only the news that nothing is
//! new. One pure function, in the order of RFC 9110 section 13.2.2.

use std::ops::Range;

use http::{HeaderMap, StatusCode};

use crate::{
    coding::{Accepted, Coding},
    conditions::{self, Met, Validators},
    key::{Lookup, Wants},
    page::Page,
    range::{self, Wanted},
};

/// How a page is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// All of it.
    Whole {
        /// In this coding, which the page has.
        coding: Option<Coding>,
        /// The visitor likes this one best, whether the page has it or not.
        wish: Option<Coding>,
    },
    /// 304.
    NotModified {
        /// Of this form of the page.
        coding: Option<Coding>,
    },
    /// 412.
    Failed,
    /// 206: some bytes of the body as it is stored.
    Part(Range<u64>),
    /// 206, with several parts.
    Parts(range::Parts),
    /// 416.
    Unsatisfiable,
}

impl Form {
    /// What a visitor gets who asks for nothing else.
    pub const WHOLE: Self = Self::Whole {
        coding: None,
        wish: None,
    };

    /// The form of a page that a visitor gets who sent the headers `asked`.
    pub fn of(page: &Page, lookup: &Lookup, asked: &HeaderMap) -> Self {
        let Wants {
            condition,
            range,
            coding,
        } = lookup.wants;
        let accepted = (coding && page.is_compressible()).then(|| Accepted::of(asked));
        let best = |there: &dyn Fn(Coding) -> bool| accepted.and_then(|accepted| accepted.best(there));
        let coding = best(&|coding| page.encoded(coding).is_some());
        // Only a 200 has conditions (section 13.2.1), and only of GET are ranges defined (section 14.2).
        let is_ok = page.status() == StatusCode::OK;
        if is_ok && (condition || range) {
            let validators = Validators::of(page.headers().map(|(name, value)| (name, value.as_bytes())));
            match conditions::evaluate(asked, &validators) {
                Met::Go => {}
                Met::NotModified => return Self::NotModified { coding },
                Met::Failed => return Self::Failed,
            }
            // Ranges are of the body as it is stored; who refuses that gets the whole in another form.
            let refused = coding.is_some() && accepted.is_some_and(|accepted| accepted.refuses_identity());
            if range && !lookup.head && !refused && conditions::if_range(asked, &validators) {
                match range::wanted(asked, page.bytes().len() as u64) {
                    Wanted::Whole => {}
                    Wanted::One(part) => return Self::Part(part),
                    Wanted::Several(parts) => return Self::Parts(parts),
                    Wanted::Unsatisfiable => return Self::Unsatisfiable,
                }
            }
        }
        let wish = best(&|_| true);
        Self::Whole { coding, wish }
    }
}

/// What the conditions of a visitor come to for an answer whose head alone is there: ranges and codings are for what is
/// stored.
pub fn of_head(status: StatusCode, headers: &HeaderMap, lookup: &Lookup, asked: &HeaderMap) -> Met {
    if status == StatusCode::OK && lookup.wants.condition {
        conditions::evaluate(asked, &Validators::of_head(headers))
    } else {
        Met::Go
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use rstest::rstest;

    use super::*;
    use crate::{
        mk::{mk_key, mk_parts, mk_plan, mk_route, mk_routes, mk_rule},
        page::Parts,
    };

    /// A page of 1,000 bytes with a tag, which has been made in gzip and zstd.
    fn page(status: StatusCode) -> Page {
        let plan = mk_plan(|_| ());
        let headers = [
            ("etag", "\"x\""),
            ("last-modified", "Sat, 21 Nov 2026 10:00:00 GMT"),
        ];
        let headers =
            headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let page = Page::new(Parts {
            status,
            headers: headers.into_iter().collect(),
            compressible: true,
            ..mk_parts(&plan, "/a", 0, 1000)
        });
        page.with(Coding::Gzip, vec![0; 10].into())
            .with(Coding::Zstd, vec![0; 9].into())
    }

    fn form(status: u16, head: bool, asked: &[(&'static str, &str)]) -> String {
        let headers: HeaderMap = (asked.iter())
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let routes = mk_routes(vec![mk_route("shop", &[], vec![mk_rule("all", &["/a"])])]);
        let mut lookup = routes.revisit(&mk_key("/a")).unwrap();
        lookup.head = head;
        lookup.wants = Wants::of(&headers);
        let word = |coding: Option<Coding>| coding.map_or("identity", Coding::as_str);
        match Form::of(&page(StatusCode::from_u16(status).unwrap()), &lookup, &headers) {
            Form::Whole { coding, wish } if coding == wish => word(coding).to_owned(),
            Form::Whole { coding, wish } => format!("{}, rather {}", word(coding), word(wish)),
            Form::NotModified { coding } => format!("304 {}", word(coding)),
            Form::Failed => "412".to_owned(),
            Form::Part(part) => format!("206 {part:?}"),
            Form::Parts(parts) => format!("206 {} parts", parts.len()),
            Form::Unsatisfiable => "416".to_owned(),
        }
    }

    const SAME: (&str, &str) = ("if-none-match", "\"x\"");
    const OTHER: (&str, &str) = ("if-match", "\"y\"");
    const RANGE: (&str, &str) = ("range", "bytes=0-9");

    #[rstest]
    #[case(&[], "identity")]
    #[case(&[("accept-encoding", "gzip")], "gzip")]
    #[case(&[("accept-encoding", "gzip, zstd")], "zstd")]
    #[case(&[("accept-encoding", "gzip, br")], "gzip, rather br")]
    #[case(&[("accept-encoding", "br")], "identity, rather br")]
    #[case(&[SAME], "304 identity")]
    #[case(&[SAME, ("accept-encoding", "gzip")], "304 gzip")]
    #[case(&[SAME, RANGE], "304 identity")]
    #[case(&[SAME, OTHER], "412")]
    #[case(&[OTHER, RANGE], "412")]
    #[case(&[RANGE], "206 0..10")]
    #[case(&[RANGE, ("if-range", "\"x\"")], "206 0..10")]
    #[case(&[RANGE, ("if-range", "\"y\"")], "identity")]
    #[case(&[RANGE, ("accept-encoding", "gzip")], "206 0..10")]
    #[case(&[RANGE, ("accept-encoding", "gzip, *;q=0")], "gzip")]
    #[case(&[RANGE, ("accept-encoding", "br, *;q=0")], "206 0..10")]
    #[case(&[("range", "bytes=0-9, 500-509")], "206 2 parts")]
    #[case(&[("range", "bytes=1000-")], "416")]
    fn form_of_a_page(#[case] asked: &[(&'static str, &str)], #[case] expected: &str) {
        assert_eq!(form(200, false, asked), expected);
    }

    #[rstest]
    #[case(404, false, &[SAME, RANGE], "identity")]
    #[case(404, false, &[OTHER, ("accept-encoding", "gzip")], "gzip")]
    #[case(200, true, &[RANGE], "identity")]
    #[case(200, true, &[SAME], "304 identity")]
    #[case(200, true, &[OTHER], "412")]
    fn form_of_other_statuses_and_of_head(
        #[case] status: u16,
        #[case] head: bool,
        #[case] asked: &[(&'static str, &str)],
        #[case] expected: &str,
    ) {
        assert_eq!(form(status, head, asked), expected);
    }
}
