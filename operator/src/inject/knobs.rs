//! A pod's annotations, parsed once; what is wrong with them is collected.

use std::{net::IpAddr, num::NonZeroU16, time::Duration};

use coppice_api::{Span, names::annotation, quantity};
use serde_json::Value;

use super::Reason;

/// The cache's memory budget where the pod does not say.
const DEFAULT_MEMORY: u64 = 128 << 20;
/// Below this a page of the default largest size finds no room.
const LEAST_MEMORY: u64 = 16 << 20;
/// Above this the budget is more likely a slip of the keyboard.
const MOST_MEMORY: u64 = 1 << 40;
/// How many regenerations go on at a time where the pod does not say.
const DEFAULT_REGENERATIONS: u16 = 10;
/// How long the sidecar goes on accepting after SIGTERM where the pod does not say.
const DEFAULT_DRAIN: Duration = Duration::from_secs(5);
/// What the API server fills in.
const DEFAULT_GRACE_SECONDS: u64 = 30;

/// What a pod's annotations ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Knobs {
    /// Which port is the app's.
    pub(super) port: Option<PortChoice>,
    /// The cache's budget in bytes.
    pub(super) memory: u64,
    /// How many regenerations go on at a time.
    pub(super) regenerations: u16,
    /// How long the sidecar goes on accepting after SIGTERM.
    pub(super) drain: Duration,
    /// Where the app listens, if not on the pod's IP: an IP address (in brackets if it is IPv6) or `localhost`.
    pub(super) app_host: Option<String>,
}

/// The app's port as the annotation names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PortChoice {
    Number(u16),
    Name(String),
}

/// Reads all annotations; a bad one leaves its default behind and a reason.
pub(super) fn read(pod: &Value, reasons: &mut Vec<Reason>) -> Knobs {
    let annotations = &pod["metadata"]["annotations"];
    if annotations[annotation::PORT_ENV].is_string() {
        reasons.push(Reason::Unsupported(
            "port takeover (annotation coppice.dev/port-env)",
        ));
    }
    let mut knob = Knob { annotations, reasons };
    Knobs {
        port: knob.parse(annotation::PORT, port),
        memory: knob.parse(annotation::MEMORY, memory).unwrap_or(DEFAULT_MEMORY),
        regenerations: knob
            .parse(annotation::REGENERATIONS, regenerations)
            .unwrap_or(DEFAULT_REGENERATIONS),
        drain: knob
            .parse(annotation::DRAIN, |text| drain(text, grace(pod)))
            .unwrap_or(DEFAULT_DRAIN),
        app_host: knob.parse(annotation::APP_ADDRESS, app_host),
    }
}

struct Knob<'a> {
    annotations: &'a Value,
    reasons: &'a mut Vec<Reason>,
}

impl Knob<'_> {
    fn parse<T>(&mut self, name: &'static str, parser: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.annotations[name].as_str()?;
        parser(text)
            .map_err(|problem| {
                self.reasons.push(Reason::InvalidAnnotation {
                    name,
                    problem: format!("is {:?}: {problem}", text.chars().take(64).collect::<String>()),
                });
            })
            .ok()
    }
}

fn port(text: &str) -> Result<PortChoice, String> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(number) if number > 0 => Ok(PortChoice::Number(number)),
            _ => Err("write a port's name, or its number from 1 to 65535".to_owned()),
        };
    }
    // Names of container ports are IANA_SVC_NAMEs (RFC 6335 section 5.1).
    let well_formed = text.len() <= 15
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if well_formed {
        Ok(PortChoice::Name(text.to_owned()))
    } else {
        Err("write a port's name, or its number from 1 to 65535".to_owned())
    }
}

fn memory(text: &str) -> Result<u64, String> {
    let bytes =
        quantity::parse_bytes(text).map_err(|_| "write an amount of bytes such as 128Mi".to_owned())?;
    if (LEAST_MEMORY..=MOST_MEMORY).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("write at least 16Mi and at most 1Ti".to_owned())
    }
}

fn regenerations(text: &str) -> Result<u16, String> {
    text.parse()
        .map(NonZeroU16::get)
        .map_err(|_| "write a whole number from 1 to 65535".to_owned())
}

fn grace(pod: &Value) -> Duration {
    let seconds = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
    Duration::from_secs(seconds.unwrap_or(DEFAULT_GRACE_SECONDS))
}

fn drain(text: &str, grace: Duration) -> Result<Duration, String> {
    let Span(drain) = text
        .parse()
        .map_err(|_| "write a duration such as 5s".to_owned())?;
    if drain < grace {
        Ok(drain)
    } else {
        Err(format!(
            "it must end before the pod's terminationGracePeriodSeconds ({}) do",
            grace.as_secs()
        ))
    }
}

fn app_host(text: &str) -> Result<String, String> {
    let problem = "write the IP address on which the app listens, or localhost";
    if text == "localhost" {
        return Ok(text.to_owned());
    }
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() || address.is_multicast() => Err(problem.to_owned()),
        Ok(IpAddr::V4(address)) => Ok(address.to_string()),
        Ok(IpAddr::V6(address)) => Ok(format!("[{address}]")),
        Err(_) => Err(problem.to_owned()),
    }
}
