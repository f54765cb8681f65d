//! What a store's health looks like from outside: metrics, readiness and audit events, one way for all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::origin::Problem;
use crate::clock::epoch;
use crate::metrics::{ClosedSet, Metrics, ReloadResult, ReloadTarget, StoreErrorReason, StoreName};
use crate::readiness::{Note, Readiness};
use crate::store::read_error::Reason;
use crate::telemetry::{EventName, Level, Logger};

/// Tells of the reads of one kind of thing. Says an error once for each version, not at every try.
#[derive(Clone)]
pub(crate) struct Report {
    what: ReloadTarget,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) log: Logger,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Something was read at least once: from then on errors keep the last good version.
    loaded: bool,
    failing: Option<String>,
    /// The newest version is bad.
    refused: bool,
    /// When the store was last known to hold what is in force.
    read: Option<Instant>,
}

impl Report {
    pub(crate) fn new(what: ReloadTarget, metrics: Arc<Metrics>, readiness: Readiness, log: Logger) -> Self {
        Self { what, metrics, readiness, log, state: Arc::default() }
    }

    /// Something that was read is in force; `true`: for the first time.
    pub(super) fn in_force(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.readiness.set(self.subject(), None);
        self.tell_refused(&mut state, false);
        !std::mem::replace(&mut state.loaded, true)
    }

    /// The store was looked at: it has a problem, or is known to hold what is in force, or neither.
    pub(super) fn looked(&self, problem: Option<Problem>, holds: bool) {
        match problem {
            Some(Problem { reason, error }) => self.failed(reason, format!("{}: {error}", self.subject()), false),
            None if holds => self.read(),
            None => {}
        }
    }

    /// The store is known to hold what is in force, at this moment.
    fn read(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.read = Some(Instant::now());
        if let Some(store) = self.store() {
            self.metrics.store_synced(store, epoch());
        }
        self.readiness.note(self.subject(), None);
        self.tell_refused(&mut state, false);
        if state.failing.take().is_some() {
            self.log
                .event(Level::Info, EventName::StoreRecovered, "the store can be read again")
                .field("store", self.what)
                .emit();
        }
    }

    /// A new version is in force; the first one is no reload.
    pub(super) fn changed(&self, first: bool, warnings: &[String]) {
        if !first {
            self.metrics.reload(self.what, ReloadResult::Ok);
            self.log
                .event(Level::Info, EventName::Reload, "a new version is in force")
                .field("what", self.what)
                .field("outcome", ReloadResult::Ok)
                .emit();
        }
        for warning in warnings {
            let event =
                if self.what == ReloadTarget::Users { EventName::UserUnusable } else { EventName::ConfigWarning };
            self.log.event(Level::Warn, event, warning).field("store", self.what).emit();
        }
    }

    /// The store holds a version that is no good, to be told of once. The last good one stays in force.
    pub(super) fn refused(&self, error: &dyn std::fmt::Display) {
        self.failed(StoreErrorReason::Invalid, error.to_string(), true);
    }

    /// Has `work` done with `feed` on a thread where it may block; `false`: it panicked, which its hook has logged. That ends
    /// this try alone: a feed that ended with it would leave rights in force that have been withdrawn since.
    pub(super) async fn blocking<F: Send + 'static>(
        &self,
        mut feed: F,
        work: impl FnOnce(&mut F) + Send + 'static,
    ) -> Option<(F, bool)> {
        let done = tokio::task::spawn_blocking(move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(&mut feed))).is_ok();
            (feed, done)
        });
        // Nothing is lost but with the runtime.
        let (feed, done) = done.await.ok()?;
        if !done {
            let subject = self.subject();
            self.refused(&format_args!("{subject}: reading them panicked; this is a bug, please report it"));
        }
        Some((feed, done))
    }

    fn failed(&self, reason: StoreErrorReason, error: String, new_version: bool) {
        if let Some(store) = self.store() {
            self.metrics.store_error(store, reason);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let news = new_version || state.failing.as_ref() != Some(&error);
        if news && reason == StoreErrorReason::Invalid {
            self.metrics.reload(self.what, ReloadResult::Error);
            self.tell_refused(&mut state, true);
        }
        let problem = error.strip_prefix(self.subject()).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&error);
        if state.loaded {
            self.readiness.note(self.subject(), Some(Note { read: state.read, problem: problem.to_owned() }));
        } else {
            self.readiness.set(self.subject(), Some(problem.to_owned()));
        }
        if news {
            let message = if state.loaded {
                "the store cannot be read; the last good version stays in force"
            } else {
                "the store cannot be read; nobody gets in until it can"
            };
            self.log
                .event(Level::Error, EventName::StoreFailed, message)
                .field("store", self.what)
                .field("reason", reason)
                .field("error", error.as_str())
                .emit();
            state.failing = Some(error);
        }
    }

    fn tell_refused(&self, state: &mut State, refused: bool) {
        if state.refused != refused {
            state.refused = refused;
            self.metrics.reload_failing(self.what, refused);
        }
    }

    fn subject(&self) -> &'static str {
        self.what.as_str()
    }

    /// As the metrics of stores name it; a certificate has its own metric.
    fn store(&self) -> Option<StoreName> {
        match self.what {
            ReloadTarget::Users => Some(StoreName::Users),
            ReloadTarget::Keys => Some(StoreName::Keys),
            ReloadTarget::Certificate | ReloadTarget::Config => None,
        }
    }
}

impl From<Reason> for StoreErrorReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Missing => Self::Missing,
            Reason::Invalid => Self::Invalid,
            Reason::Forbidden => Self::Forbidden,
            Reason::Unavailable => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(ReloadTarget::Users, Arc::new(Metrics::new()), Readiness::new(), Logger::disabled())
    }

    #[tokio::test]
    async fn a_feed_outlives_a_panic_and_tells_of_it() {
        let report = report();
        report.read();
        let (feed, done) = report.blocking(1, |_| panic!("a version that nobody thought of")).await.expect("a feed");
        assert_eq!((feed, done), (1, false));
        let errors = "vestibule_store_errors_total{reason=\"invalid\",store=\"users\"} 1\n";
        assert!(report.metrics.render().1.contains(errors), "{}", report.metrics.render().1);
        let (feed, done) = report.blocking(feed, |feed| *feed += 1).await.expect("a feed");
        assert_eq!((feed, done), (2, true));
    }
}
