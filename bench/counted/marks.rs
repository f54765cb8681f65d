//! What is counted and what is not: callgrind begins and stops at these functions, which it knows by their names.

use std::cell::Cell;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    /// callgrind only toggles: outside of what is counted there is nothing to leave out.
    static COUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Counts what is done in it.
pub(crate) fn counted(work: &mut dyn FnMut()) {
    COUNTING.set(true);
    counted_from_here(work);
    COUNTING.set(false);
}

/// Leaves out what is done in it, within what is counted.
pub(crate) fn left_out(work: &mut dyn FnMut()) {
    if COUNTING.replace(false) {
        left_out_from_here(work);
        COUNTING.set(true);
    } else {
        work();
    }
}

#[inline(never)]
fn counted_from_here(work: &mut dyn FnMut()) {
    black_box(work)();
    // After the call, so that it is no jump, of which callgrind would not see the return; and not the same in both, or
    // the compiler would make one function of the two.
    black_box("counted");
}

#[inline(never)]
fn left_out_from_here(work: &mut dyn FnMut()) {
    black_box(work)();
    black_box("left out");
}

/// A client or an application: it runs among what is counted, and is not counted.
pub(crate) struct LeftOut<F>(Pin<Box<F>>);

impl<F: Future> LeftOut<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for LeftOut<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut polled = Poll::Pending;
        left_out(&mut || polled = self.0.as_mut().poll(cx));
        polled
    }
}
