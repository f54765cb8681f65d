//! The attempts for one account from one source that are being decided, one set of credentials at a time.

use std::collections::VecDeque;

use super::attempt::{AttemptKey, Fingerprint};

/// What one line holds at most: its attempts, and its sets of credentials on top.
const CAPACITY: usize = 4096;

/// Attempts with the same credentials: they share one hash and one answer.
struct Party {
    key: AttemptKey,
    credentials: Fingerprint,
    /// Serial numbers of the attempts whose clients are still there, in no order but that the first leads.
    members: Vec<u64>,
}

impl Party {
    fn new(serial: u64, key: AttemptKey, credentials: Fingerprint) -> Self {
        Self { key, credentials, members: vec![serial] }
    }

    fn shares(&self, key: AttemptKey, credentials: Fingerprint) -> bool {
        self.key == key && self.credentials == credentials
    }

    fn remove(&mut self, serial: u64) -> bool {
        let place = self.members.iter().position(|member| *member == serial);
        place.map(|place| self.members.remove(place)).is_some()
    }
}

/// One check under way and what waits behind it.
pub(super) struct Line {
    leader: u64,
    checking: Party,
    queue: VecDeque<Party>,
    attempts: usize,
}

/// Where a further attempt came to stand.
pub(super) enum Place {
    /// It shares the check that this attempt began.
    Joined {
        leader: u64,
    },
    Queued,
    Full,
}

/// Whose turn it is after a check.
pub(super) enum Turn<'a> {
    /// These share the next check; the first leads it. Never empty.
    Check(&'a [u64]),
    /// The next in line left before they were decided.
    Abandoned,
    Nobody,
}

impl Line {
    pub(super) fn new(serial: u64, key: AttemptKey, credentials: Fingerprint) -> Self {
        Self { leader: serial, checking: Party::new(serial, key, credentials), queue: VecDeque::new(), attempts: 1 }
    }

    /// The attempt that began the check under way.
    pub(super) fn leader(&self) -> u64 {
        self.leader
    }

    pub(super) fn holds(&self, key: AttemptKey) -> bool {
        self.checking.key == key || self.queue.iter().any(|party| party.key == key)
    }

    pub(super) fn enter(&mut self, serial: u64, key: AttemptKey, credentials: Fingerprint) -> Place {
        if self.attempts + self.queue.len() >= CAPACITY {
            return Place::Full;
        }
        self.attempts += 1;
        if self.checking.shares(key, credentials) {
            self.checking.members.push(serial);
            return Place::Joined { leader: self.leader };
        }
        match self.queue.iter_mut().find(|party| party.shares(key, credentials)) {
            Some(party) => party.members.push(serial),
            None => self.queue.push_back(Party::new(serial, key, credentials)),
        }
        Place::Queued
    }

    /// Takes an attempt out; true where that leaves the check under way to nobody. One that is not here changes nothing.
    pub(super) fn leave(&mut self, serial: u64) -> bool {
        if self.checking.remove(serial) {
            self.attempts -= 1;
            return self.checking.members.is_empty();
        }
        // A party that all have left keeps its place: its turn counts as a failure.
        if self.queue.iter_mut().any(|party| party.remove(serial)) {
            self.attempts -= 1;
        }
        false
    }

    /// Ends the check under way and begins the next.
    pub(super) fn advance(&mut self) -> Turn<'_> {
        self.attempts -= self.checking.members.len();
        self.checking.members.clear();
        let Some(next) = self.queue.pop_front() else {
            return Turn::Nobody;
        };
        self.checking = next;
        match self.checking.members.first() {
            Some(first) => {
                self.leader = *first;
                Turn::Check(&self.checking.members)
            }
            None => Turn::Abandoned,
        }
    }

    /// Those who wait behind the check under way, in their order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u64> {
        self.queue.iter().flat_map(|party| party.members.iter().copied())
    }
}
