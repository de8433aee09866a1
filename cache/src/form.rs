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
        /// The visitor would rather have had this one, which it has not.
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
            let validators = Validators::of(page.headers().iter().map(|(name, value)| (name, value)));
            match conditions::evaluate(asked, &validators) {
                Met::Go => {}
                Met::NotModified => return Self::NotModified { coding },
                Met::Failed => return Self::Failed,
            }
            // Ranges are of the body as it is stored; who refuses that gets the whole in another form.
            let refused = coding.is_some() && accepted.is_some_and(|accepted| accepted.refuses_identity());
            if range && !lookup.head && !refused && conditions::if_range(asked, &validators) {
                match range::wanted(asked, page.body().len() as u64) {
                    Wanted::Whole => {}
                    Wanted::One(part) => return Self::Part(part),
                    Wanted::Several(parts) => return Self::Parts(parts),
                    Wanted::Unsatisfiable => return Self::Unsatisfiable,
                }
            }
        }
        let wish = best(&|_| true).filter(|wish| coding != Some(*wish));
        Self::Whole { coding, wish }
    }
}

/// What the conditions of a visitor come to for an answer whose head alone is there: ranges and codings are for what is
/// stored.
pub fn of_head(status: StatusCode, headers: &HeaderMap, lookup: &Lookup, asked: &HeaderMap) -> Met {
    if status == StatusCode::OK && lookup.wants.condition {
        conditions::evaluate(asked, &Validators::of(headers))
    } else {
        Met::Go
    }
}
