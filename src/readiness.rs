//! Whether traffic should come: ready once nothing is pending, nothing is missing and no end has begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// What `/readyz` tells. Clones share it.
#[derive(Clone, Default)]
pub struct Readiness(Arc<watch::Sender<State>>);

#[derive(Default)]
struct State {
    draining: bool,
    next: u64,
    /// In the order of beginning.
    pending: BTreeMap<u64, String>,
    problems: BTreeMap<&'static str, String>,
    notes: BTreeMap<&'static str, Note>,
}

/// What is wrong with something and keeps no request away, such as a store whose last good version is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When it was last known to be up to date; `None` if never.
    pub read: Option<Instant>,
    pub problem: String,
}

impl Readiness {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that must end before the first request, such as `users: reading /etc/vestibule/users`.
    pub fn pending(&self, what: impl Into<String>) -> PendingGuard {
        let mut id = 0;
        self.0.send_modify(|state| {
            id = state.next;
            state.next += 1;
            state.pending.insert(id, what.into());
        });
        PendingGuard { readiness: self.clone(), id }
    }

    /// States what is wrong with `subject` at present, or with `None` that nothing is.
    pub fn set(&self, subject: &'static str, problem: Option<String>) {
        self.0.send_if_modified(|state| match problem {
            Some(problem) => state.problems.insert(subject, problem.clone()) != Some(problem),
            None => state.problems.remove(subject).is_some(),
        });
    }

    /// States what is odd about `subject` at present, or with `None` that nothing is.
    pub fn note(&self, subject: &'static str, note: Option<Note>) {
        self.0.send_if_modified(|state| {
            match note {
                Some(note) => state.notes.insert(subject, note),
                None => state.notes.remove(subject),
            };
            // Nobody waits for a note.
            false
        });
    }

    /// One line for each note, in a stable order, such as `users: last read 75 s ago: ...`.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let line = |(subject, Note { read, problem }): (&&str, &Note)| match read {
            Some(read) => format!("{subject}: last read {} s ago: {problem}", read.elapsed().as_secs()),
            None => format!("{subject}: not read since the start: {problem}"),
        };
        self.0.borrow().notes.iter().map(line).collect()
    }

    /// The process is ending: never ready again.
    pub fn drain(&self) {
        self.0.send_modify(|state| state.draining = true);
    }

    /// One line for each thing that stands in the way, in a stable order; empty when ready.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        self.0.borrow().report()
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.borrow().is_ready()
    }

    /// Waits until nothing stands in the way.
    pub async fn ready(&self) {
        // An error would mean that the sender is gone, which `self` holds.
        let _ = self.0.subscribe().wait_for(State::is_ready).await;
    }

    /// Waits until the report differs from `last`, and returns it: for logging each change.
    pub async fn changed_from(&self, last: &[String]) -> Vec<String> {
        let _ = self.0.subscribe().wait_for(|state| state.report() != last).await;
        self.report()
    }
}

impl State {
    fn is_ready(&self) -> bool {
        !self.draining && self.pending.is_empty() && self.problems.is_empty()
    }

    fn report(&self) -> Vec<String> {
        let draining = self.draining.then(|| "shutting down".to_owned());
        let pending = self.pending.values().cloned();
        let problems = self.problems.iter().map(|(subject, problem)| format!("{subject}: {problem}"));
        draining.into_iter().chain(pending).chain(problems).collect()
    }
}

/// Something is pending until this is dropped.
#[must_use = "what is pending is done when the guard is dropped"]
pub struct PendingGuard {
    readiness: Readiness,
    id: u64,
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.readiness.0.send_modify(|state| {
            state.pending.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn is_ready_when_nothing_is_in_the_way() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let users = readiness.pending("users: reading /b");
        let keys = readiness.pending("keys: reading /a");
        readiness.set("upstream", Some("refused".to_owned()));
        readiness.set("keys", Some("no key can sign".to_owned()));
        let all = ["users: reading /b", "keys: reading /a", "keys: no key can sign", "upstream: refused"];
        assert_eq!(readiness.report(), all);
        drop(users);
        readiness.set("upstream", None);
        assert_eq!(readiness.report(), [all[1], all[2]]);
        drop(keys);
        assert!(!readiness.is_ready());
        readiness.set("keys", None);
        assert!(readiness.is_ready() && readiness.report().is_empty());
    }

    #[test]
    fn a_problem_is_replaced_by_its_subjects_next() {
        let readiness = Readiness::new();
        readiness.set("keys", Some("missing".to_owned()));
        readiness.set("keys", Some("invalid".to_owned()));
        assert_eq!(readiness.report(), ["keys: invalid"]);
    }

    #[test]
    fn notes_keep_nobody_away() {
        let readiness = Readiness::new();
        let read = Instant::now().checked_sub(Duration::from_secs(75));
        readiness.note("users", Some(Note { read, problem: "no answer".to_owned() }));
        readiness.note("keys", Some(Note { read: None, problem: "no answer".to_owned() }));
        assert!(readiness.is_ready() && readiness.report().is_empty());
        let lines = ["keys: not read since the start: no answer", "users: last read 75 s ago: no answer"];
        assert_eq!(readiness.notes(), lines);
        readiness.note("users", None);
        readiness.note("keys", None);
        assert!(readiness.notes().is_empty());
    }

    #[test]
    fn draining_is_for_good() {
        let readiness = Readiness::new();
        readiness.drain();
        readiness.set("keys", None);
        assert_eq!(readiness.report(), ["shutting down"]);
        assert!(!readiness.is_ready());
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_guard() {
        let readiness = Readiness::new();
        let guards = [readiness.pending("a"), readiness.pending("b")];
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        let mut last = readiness.report();
        for guard in guards {
            assert!(!waiting.is_finished());
            drop(guard);
            let patience = Duration::from_secs(10);
            last = tokio::time::timeout(patience, readiness.changed_from(&last)).await.unwrap();
        }
        assert!(last.is_empty());
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }
}
