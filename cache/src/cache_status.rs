//! `Cache-Status` (RFC 9211), as Coppice says it: one item of the list, appended behind those of caches nearer to the app.

use std::cell::RefCell;

use bytes::Bytes;
use http::HeaderValue;
use smallvec::SmallVec;

use crate::{
    key::Key,
    outcome::{Forward, PassReason},
};

/// What the header says of one answer.
#[derive(Debug, Clone, Copy)]
pub struct CacheStatus<'a> {
    /// From the store, or why not.
    pub answer: Answer,
    /// Seconds that the answer is still fresh, negative once it is stale; `None`: nothing is stored.
    pub ttl: Option<i64>,
    /// More in Coppice's own words, each a token: why it passed through, or why an old page serves.
    pub detail: Option<&'static str>,
    /// Only for a developer's eyes: it tells what makes a page of its own.
    pub key: Option<&'a Key>,
}

/// Whether the app was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// From the store, fresh or stale.
    Hit,
    /// The request, or one on its behalf, went to the app.
    Forwarded {
        /// Why.
        why: Forward,
        /// The answer was stored.
        stored: bool,
        /// It joined a request that was under way for another visitor.
        collapsed: bool,
    },
}

impl CacheStatus<'_> {
    /// Of a request that passed through.
    pub const fn passed(reason: PassReason) -> Self {
        Self {
            answer: Answer::Forwarded {
                why: reason.forward(),
                stored: false,
                collapsed: false,
            },
            ttl: None,
            detail: Some(reason.as_str()),
            key: None,
        }
    }

    /// The value of the header field.
    pub fn value(&self) -> HeaderValue {
        self.value_and_age(None).0
    }

    /// The value of the header field, and that of `Age` in seconds: both in one piece of memory, since most answers of
    /// the cache have both.
    pub fn value_and_age(&self, age: Option<u64>) -> (HeaderValue, Option<HeaderValue>) {
        match (*self, age) {
            (
                Self {
                    answer: Answer::Hit,
                    ttl: Some(ttl),
                    detail: None,
                    key: None,
                },
                Some(age),
            ) => Said::look_up(ttl, age, || self.written(Some(age))),
            _ => self.written(age),
        }
    }

    fn written(&self, age: Option<u64>) -> (HeaderValue, Option<HeaderValue>) {
        let mut text = Text::default();
        self.push(&mut text);
        let end = text.0.len();
        if let Some(age) = age {
            push_number(&mut text, age);
        }
        let text = Bytes::from_owner(text.0);
        let value = |part| HeaderValue::from_maybe_shared(part).expect("tokens and visible ASCII");
        let age = age.map(|_| value(text.slice(end..)));
        (value(text.slice(..end)), age)
    }

    /// Every hit writes this: without the machinery of formatting, where that is not needed.
    fn push(&self, text: &mut Text) {
        match self.answer {
            Answer::Hit => text.push_str("coppice; hit"),
            Answer::Forwarded { why, .. } => {
                text.push_str("coppice; fwd=");
                text.push_str(why.as_str());
            }
        }
        if let Some(ttl) = self.ttl {
            text.push_str(if ttl < 0 { "; ttl=-" } else { "; ttl=" });
            push_number(text, ttl.unsigned_abs().min(MAX_INTEGER));
        }
        if let Answer::Forwarded { stored: true, .. } = self.answer {
            text.push_str("; stored");
        }
        if let Answer::Forwarded { collapsed: true, .. } = self.answer {
            text.push_str("; collapsed");
        }
        if let Some(key) = self.key {
            text.push_str("; key=\"");
            key.pieces().for_each(|piece| text.push_quoted(piece));
            text.push_str("\"");
        }
        if let Some(detail) = self.detail {
            text.push_str("; detail=");
            text.push_str(detail);
        }
    }
}

/// What was said of a hit.
struct Said {
    ttl: i64,
    age: u64,
    values: (HeaderValue, Option<HeaderValue>),
}

/// So many are remembered, by their ages: those of all pages that are made anew within a minute.
const REMEMBERED: usize = 64;

thread_local! {
    /// All that visitors get within a second of pages of one age says the same, and shares the words.
    static SAID: RefCell<[Option<Said>; REMEMBERED]> = const { RefCell::new([const { None }; REMEMBERED]) };
}

impl Said {
    fn look_up(
        ttl: i64,
        age: u64,
        write: impl FnOnce() -> (HeaderValue, Option<HeaderValue>),
    ) -> (HeaderValue, Option<HeaderValue>) {
        SAID.with_borrow_mut(|said| {
            let slot = &mut said[(age % REMEMBERED as u64) as usize];
            match slot {
                Some(said) if (said.ttl, said.age) == (ttl, age) => said.values.clone(),
                _ => {
                    let values = write();
                    *slot = Some(Self {
                        ttl,
                        age,
                        values: values.clone(),
                    });
                    values
                }
            }
        })
    }
}

/// In one piece with what counts who shares it, where there is no key: a value and an age have fewer bytes than there is
/// room for.
#[derive(Default)]
struct Text(SmallVec<[u8; 96]>);

impl Text {
    #[inline]
    fn push_str(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// The inside of a structured field's string: visible ASCII and spaces, the rest as escapes of URLs.
    fn push_quoted(&mut self, text: &str) {
        let is_plain = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if text.bytes().all(is_plain) {
            return self.push_str(text);
        }
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.0.extend([b'\\', byte]),
                0x20..=0x7E => self.0.push(byte),
                _ => self.push_str(&format!("%{byte:02X}")),
            }
        }
    }
}

fn push_number(text: &mut Text, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// The greatest integer of a structured field (RFC 9651 section 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use sfv::{BareItem, ListEntry, Parser};

    use super::*;
    use crate::config::Scheme;

    fn forwarded(why: Forward, stored: bool, collapsed: bool) -> Answer {
        Answer::Forwarded {
            why,
            stored,
            collapsed,
        }
    }

    #[rstest]
    #[case(Answer::Hit, Some(57), "coppice; hit; ttl=57")]
    #[case(Answer::Hit, Some(-3), "coppice; hit; ttl=-3")]
    #[case(
        forwarded(Forward::UriMiss, true, false),
        Some(60),
        "coppice; fwd=uri-miss; ttl=60; stored"
    )]
    #[case(
        forwarded(Forward::UriMiss, true, true),
        Some(60),
        "coppice; fwd=uri-miss; ttl=60; stored; collapsed"
    )]
    #[case(forwarded(Forward::Stale, false, true), None, "coppice; fwd=stale; collapsed")]
    #[case(Answer::Hit, Some(i64::MAX), "coppice; hit; ttl=999999999999999")]
    fn cache_status_reads(#[case] answer: Answer, #[case] ttl: Option<i64>, #[case] expected: &str) {
        let status = CacheStatus {
            answer,
            ttl,
            detail: None,
            key: None,
        };
        assert_eq!(status.value(), expected);
        assert!(Parser::new(expected).parse::<sfv::List>().is_ok());
    }

    #[test]
    fn cache_status_of_a_hit_is_its_own_whatever_was_said_before() {
        let far = REMEMBERED as u64;
        for (ttl, age) in [(9, 1), (9, 1), (8, 1), (9, 1 + far), (9, 1), (-9, 1), (9, 2)] {
            let status = CacheStatus {
                answer: Answer::Hit,
                ttl: Some(ttl),
                detail: None,
                key: None,
            };
            let (value, said) = status.value_and_age(Some(age));
            assert_eq!(value, format!("coppice; hit; ttl={ttl}"));
            assert_eq!(said.unwrap(), age.to_string());
            // Nothing else takes a hit's words.
            let why = CacheStatus {
                detail: Some("why"),
                ..status
            };
            let (value, _) = why.value_and_age(Some(age));
            assert_eq!(value, format!("coppice; hit; ttl={ttl}; detail=why"));
            assert_eq!(status.value_and_age(None).1, None);
        }
    }

    #[test]
    fn cache_status_is_a_structured_field_for_every_reason() {
        for reason in PassReason::BEFORE {
            let value = CacheStatus::passed(reason).value();
            let list = Parser::new(value.as_bytes()).parse::<sfv::List>().unwrap();
            let [ListEntry::Item(item)] = &list[..] else {
                panic!("one item: {value:?}");
            };
            assert_eq!(
                item.bare_item,
                BareItem::Token(sfv::token_ref("coppice").to_owned())
            );
            let detail = item.params.get(sfv::key_ref("detail")).unwrap();
            assert_eq!(detail.as_token().unwrap().as_str(), reason.as_str());
        }
    }

    #[test]
    fn cache_status_quotes_the_key() {
        let key = Key::new(Scheme::Https, "a.com", "/\"caf\u{e9}\"", r"q=\").unwrap();
        let status = CacheStatus {
            answer: Answer::Hit,
            ttl: None,
            detail: None,
            key: Some(&key),
        };
        let value = status.value();
        let list = Parser::new(value.as_bytes()).parse::<sfv::List>().unwrap();
        let [ListEntry::Item(item)] = &list[..] else {
            panic!("one item: {value:?}");
        };
        let quoted = item.params.get(sfv::key_ref("key")).unwrap().as_string().unwrap();
        assert_eq!(quoted.as_str(), r#"https://a.com/"caf%C3%A9"?q=\"#);
    }
}
