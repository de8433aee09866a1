//! A network for the benchmark alone: loopback, as Linux has it where nobody has tuned it.
//!
//! A machine may say that all its connections pace what they send by timers, as BBR does. Between two cores of one machine
//! that is most of what a large answer costs, and differs from minute to minute; who is measured has no part in it.

use std::fs;

use anyhow::Result;

use crate::netns;
use crate::process::{self, capture};

/// How the connections of this network decide how much may be under way.
const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// Linux's default, and what every kernel lets every namespace have.
const WANTED: [&str; 2] = ["cubic", "reno"];

/// Moves this thread, and with it all that it starts from now on, into a network of its own. What became of that, in a
/// sentence: where it is not allowed, the machine's network is measured, and its reader has to know.
pub(super) fn enter() -> String {
    let place = match make() {
        Ok(()) => {
            // Where none may be chosen it is the machine's.
            let _ = WANTED.iter().find(|wanted| fs::write(CONGESTION, wanted).is_ok());
            "a network of its own".to_owned()
        }
        Err(error) => format!("the machine, since there is no network of its own ({error:#})"),
    };
    let congestion = fs::read_to_string(CONGESTION).unwrap_or_default();
    format!("loopback of {place}; congestion control: {}", congestion.trim())
}

fn make() -> Result<()> {
    let name = Name(format!("coppice-bench-{}", std::process::id()));
    netns::add(&name.0)?;
    capture(process::command("ip").args(["-n", &name.0, "link", "set", "lo", "up"]))?;
    netns::enter(&name.0)
}

/// What the namespace is called until somebody is in it: from then on it lives as long as its processes.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        netns::delete(&self.0);
    }
}
