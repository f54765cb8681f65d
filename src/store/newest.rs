//! What a feed knows of the version that it looked at last: whether it is another one, and whether it is in force.

use aws_lc_rs::digest::Digest;

use super::origin::Problem;
use super::report::Report;

/// The version that was looked at last.
#[derive(Default)]
pub(super) struct Newest {
    /// Of what it says, good or bad.
    digest: Option<Digest>,
    /// It is what is in force.
    good: bool,
    /// Nothing says that there may be another one by now.
    last: bool,
}

impl Newest {
    /// Whether this is another version than the one before; then it counts as bad until [`Self::is_good`].
    pub(super) fn is_news(&mut self, digest: Digest) -> bool {
        if self.digest.is_some_and(|seen| seen.as_ref() == digest.as_ref()) {
            return false;
        }
        (self.digest, self.good) = (Some(digest), false);
        true
    }

    /// It is in force.
    pub(super) fn is_good(&mut self) {
        self.good = true;
    }

    /// There is none.
    pub(super) fn is_gone(&mut self) {
        (self.digest, self.good) = (None, false);
    }

    /// The look has come to its end. `current`: the store is known to hold this version at this moment.
    pub(super) fn looked(&mut self, problem: Option<Problem>, current: bool, report: &Report) {
        self.last = problem.is_none();
        if !self.last && !self.good {
            // A bad document is told of again when the problem is over.
            self.digest = None;
        }
        report.looked(problem, self.good && current);
    }

    /// It is in force, and as far as anyone knows the last one: what a write may be planned on.
    pub(super) fn may_be_written_onto(&self) -> bool {
        self.good && self.last
    }
}
