//! Waiting for something rare at every turn of a busy task, without the lock that each poll of it takes.

use std::task::{Context, Poll, Waker};

/// Polls a future only when its task does not know it yet, or when it is there.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Waker>);

impl Told {
    /// `is_there` is what a cheap look says of the future behind `poll`, which wakes the task when it is there.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        is_there: bool,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let known = self.0.as_ref().is_some_and(|told| told.will_wake(cx.waker()));
        if known && !is_there {
            return Poll::Pending;
        }
        let polled = poll(cx);
        if polled.is_pending() {
            self.0 = Some(cx.waker().clone());
        }
        polled
    }
}
