//! The hot path for those who count: `hot hit|not-modified|pass <requests>` asks so many times and prints what was
//! allocated. Instructions are counted from outside, by valgrind; `cargo xtask bench micro` does both.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure ends the count, and says why

#[path = "../tests/support/mod.rs"]
mod support;

use support::hot::{Hot, Way};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, requests, ..] = &arguments[..] else {
        // cargo runs it without arguments to see that it runs.
        return;
    };
    let way = match way.as_str() {
        "hit" => Way::Hit,
        "not-modified" => Way::NotModified,
        "pass" => Way::Pass,
        other => panic!("{other} is none of hit, not-modified and pass"),
    };
    let requests: usize = requests.parse().unwrap();
    let mut hot = Hot::start(way);
    let counted = allocation_counter::measure(|| hot.ask(requests));
    println!("{} {}", counted.count_total, counted.bytes_total);
}
