//! Answers that are the cache's own: from the store, from a flight, and in its own words where the app gave none.

use std::time::Duration;

use coppice_cache::{
    cache_status::{Answer, CacheStatus},
    conditions::Met,
    form::{self, Form},
    headers::strip_freshness,
    key::{Lookup, Wants},
    lifetime::Lifetime,
    outcome::{Forward, Outcome},
    page::Page,
    time::Moment,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_LENGTH},
};
use http_body::Body as _;

use super::{
    Answered, own,
    shape::{self, Shape},
};
use crate::{
    body::Body,
    fetch::{Failure, Fallback, Fetcher, Streamed},
};

/// `x-coppice-cache`: the outcome, in a word.
pub const X_COPPICE_CACHE: HeaderName = HeaderName::from_static("x-coppice-cache");
/// RFC 9211.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What a visitor is told of a page that is stale: nobody may keep it.
const STALE: HeaderValue = HeaderValue::from_static("max-age=0, must-revalidate");

/// Makes the answers to one look-up.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    /// What was looked up.
    pub lookup: &'a Lookup,
    /// The headers of the visitor's request.
    pub asked: &'a HeaderMap,
    /// Has bodies compressed.
    pub fetcher: &'a Fetcher,
    /// Now.
    pub now: Moment,
    /// `Cache-Status` names the key.
    pub names_key: bool,
}

impl Answers<'_> {
    /// A fresh page.
    pub fn hit(&self, page: &Page) -> Answered {
        self.stored(page, Outcome::Hit, None)
    }

    /// A stale page: a new one is fetched behind it, or could not be had, and then `why` says so.
    pub fn stale(&self, page: &Page, why: Option<Fallback>) -> Answered {
        self.stored(page, Outcome::Stale, why)
    }

    fn stored(&self, page: &Page, outcome: Outcome, why: Option<Fallback>) -> Answered {
        let age = page.age(self.now);
        let ttl = Lifetime::of(&self.lookup.plan, page.status(), page.app()).ttl(age);
        let (ttl, control) = if outcome == Outcome::Stale {
            // A purge makes a page stale whose interval has not passed.
            (Some(ttl.unwrap_or(-1).min(-1)), Some(&STALE))
        } else {
            (ttl, self.control())
        };
        let said = Said {
            outcome,
            answer: Answer::Hit,
            ttl,
            detail: why.map(Fallback::as_str),
        };
        self.page(page, age, control, said)
    }

    /// The page that the visitor waited for. One that a purge has overtaken meanwhile is for this visitor alone.
    pub fn fetched(&self, page: &Page, why: Forward, joined: bool, stored: bool) -> Answered {
        let age = page.age(self.now);
        let control = if stored { self.control() } else { Some(&STALE) };
        let ttl = Lifetime::of(&self.lookup.plan, page.status(), page.app()).ttl(age);
        let said = Said::forwarded(why, joined, stored, ttl);
        self.page(page, age, control, said)
    }

    /// The old page, which the app says has not changed. The app's word on it holds, and its age says that it is stale.
    pub fn kept(&self, page: &Page, why: Forward, joined: bool) -> Answered {
        let said = Said::forwarded(why, joined, false, None);
        self.page(page, page.age(self.now), self.control(), said)
    }

    /// The answer that the visitor waited for, while it arrives. What is not stored is the app's error, with the app's own
    /// word on how long it holds.
    pub fn streamed(&self, streamed: Streamed, why: Forward) -> Answered {
        let Streamed {
            status,
            headers,
            body,
            joined,
            stored,
            app,
            arrived,
        } = streamed;
        // Of a body that takes its time, who joins late gets the beginning late.
        let age = self.now.since(arrived) + app.map_or(Duration::ZERO, |app| app.initial_age);
        let ttl = Lifetime::of(&self.lookup.plan, status, app.as_ref()).ttl(age);
        // A failure is no revalidation.
        let forwarded = Said::forwarded(why, joined, stored, ttl);
        let said = if stored {
            forwarded
        } else {
            Said {
                outcome: Outcome::Miss,
                ..forwarded
            }
        };
        let met = form::of_head(status, &headers, self.lookup, self.asked);
        let mut shape = match met {
            Met::Go => Shape {
                status,
                headers: HeaderMap::clone(&headers),
                length: body.size_hint().exact(),
                body: Body::stream(body),
                own: false,
            },
            // Who has the page already does not read it; the flight goes on.
            Met::NotModified => {
                shape::not_modified(headers.iter().map(|(name, value)| (name, value.clone())))
            }
            Met::Failed => shape::failed(),
        };
        if stored && !shape.own {
            if let Some(control) = self.control() {
                tell(&mut shape.headers, control);
            }
            if age.as_secs() > 0 {
                shape.headers.insert(AGE, HeaderValue::from(age.as_secs()));
            }
        } else if !stored && !status.is_server_error() {
            // What the app's own cache has kept for too long.
            tell(&mut shape.headers, &STALE);
        }
        self.finish(shape, said, stored.then_some(age))
    }

    /// The app gave no answer, and there is no page that may serve.
    pub fn failed(&self, failure: &Failure, why: Forward, joined: bool) -> Answered {
        let (head, body) = own::failed(failure).into_parts();
        let said = Said {
            outcome: Outcome::Miss,
            detail: Some(failure.as_str()),
            ..Said::forwarded(why, joined, false, None)
        };
        let shape = Shape {
            status: head.status,
            headers: head.headers,
            length: body.size_hint().exact(),
            body,
            own: true,
        };
        self.finish(shape, said, None)
    }

    /// What visitors are told of a page that may serve, where that is the rule's to say; else the app's own word stays.
    fn control(&self) -> Option<&HeaderValue> {
        let plan = &self.lookup.plan;
        (!plan.app_decides()).then(|| plan.cache_control())
    }

    fn page(&self, page: &Page, age: Duration, control: Option<&HeaderValue>, said: Said) -> Answered {
        // Most who are not browsers want nothing but the page.
        let form = if self.lookup.wants == Wants::default() {
            Form::WHOLE
        } else {
            Form::of(page, self.lookup, self.asked)
        };
        if let Form::Whole {
            wish: Some(coding), ..
        } = form
        {
            self.fetcher.compress(page, coding);
        }
        let mut shape = Shape::of(page, &form);
        if !shape.own
            && let Some(control) = control
        {
            tell(&mut shape.headers, control);
        }
        let told = (!shape.own).then_some(age.as_secs());
        self.finish_with(shape, said, Some(age), told)
    }

    fn finish(&self, shape: Shape, said: Said, age: Option<Duration>) -> Answered {
        self.finish_with(shape, said, age, None)
    }

    /// With an `Age` that the visitor is told.
    fn finish_with(&self, shape: Shape, said: Said, age: Option<Duration>, told: Option<u64>) -> Answered {
        let Shape {
            status,
            mut headers,
            length,
            body,
            own,
        } = shape;
        self.say(&mut headers, said, told);
        let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = if has_body && !self.lookup.head {
            body
        } else {
            Body::empty()
        };
        // hyper writes the length of a body that it knows, and need not be given it as text.
        let written = body.size_hint().exact().filter(|length| *length > 0);
        if let Some(length) = length.filter(|length| has_body && Some(*length) != written) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if own {
            response.extensions_mut().insert(own::Own);
        }
        Answered {
            response,
            outcome: said.outcome,
            reason: said.detail.unwrap_or_default(),
            age,
        }
    }

    fn say(&self, headers: &mut HeaderMap, said: Said, age: Option<u64>) {
        let status = CacheStatus {
            answer: said.answer,
            ttl: said.ttl,
            detail: said.detail,
            key: self.names_key.then_some(&*self.lookup.key),
        };
        headers.insert(X_COPPICE_CACHE, HeaderValue::from_static(said.outcome.as_str()));
        let (status, age) = status.value_and_age(age);
        if let Some(age) = age {
            headers.insert(AGE, age);
        }
        // Caches nearer to the app have had their say before (RFC 9211 section 2).
        headers.append(CACHE_STATUS, status);
    }
}

/// Tells visitors how long they may keep an answer. What nobody may keep, nobody is told otherwise of: caches that the app
/// addresses by a field of their own go by that (RFC 9213 section 2.2).
fn tell(headers: &mut HeaderMap, control: &HeaderValue) {
    if *control == STALE {
        strip_freshness(headers);
    }
    headers.insert(CACHE_CONTROL, control.clone());
}

/// What the headers say became of a request.
#[derive(Debug, Clone, Copy)]
struct Said {
    outcome: Outcome,
    answer: Answer,
    ttl: Option<i64>,
    detail: Option<&'static str>,
}

impl Said {
    /// By the app, for who waited: for a new page in place of one that may not serve any more, or where none is stored.
    fn forwarded(why: Forward, joined: bool, stored: bool, ttl: Option<i64>) -> Self {
        Self {
            outcome: match why {
                Forward::Stale => Outcome::Revalidated,
                _ => Outcome::Miss,
            },
            answer: Answer::Forwarded {
                why,
                stored,
                collapsed: joined,
            },
            ttl: ttl.filter(|_| stored),
            detail: None,
        }
    }
}
