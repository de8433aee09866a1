//! What a request costs on the hot path, counted: it may become less, and more only on purpose.

mod support;

use support::hot::{Hot, Way};

/// How many requests are counted; what happens once in a while (a timer, a wheel that turns) is no cost of one.
const REQUESTS: u64 = 1000;

fn allocations(way: Way) -> u64 {
    let mut hot = Hot::start(way);
    let counted = allocation_counter::measure(|| hot.ask(REQUESTS as usize));
    let each = counted.count_total / REQUESTS;
    println!("{way:?}: {each} allocations");
    each
}

#[test]
fn hot_hit_allocates_little() {
    let each = allocations(Way::Hit);
    assert!(each <= 8, "{each} allocations for a hit");
}

#[test]
fn hot_304_allocates_little() {
    let each = allocations(Way::NotModified);
    assert!(each <= 8, "{each} allocations for a 304");
}

#[test]
fn hot_pass_allocates_little() {
    let each = allocations(Way::Pass);
    // Four of them are for interim answers: whom hyper tells of them. One is the request's own box, without which it would be
    // moved from future to future.
    assert!(each <= 13, "{each} allocations to pass a request through");
}
