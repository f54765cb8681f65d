//! What wrong passwords cost: waits that double, for one account from one source, in bounded memory.
//!
//! A pure state machine. The layer above asks [`Throttle::begin`] about every attempt, checks the one password
//! it is handed a [`Ticket`] for, says [`Throttle::finish`], and hands the decisions that this
//! brings to the attempts that waited. It must lose no ticket: an account from a source stays closed until its ticket is
//! finished, or all who share it have left.
//!
//! Unknown and known accounts are the same here, as no account is ever looked up.

mod attempt;
mod line;
mod table;

use std::time::Duration;

pub use self::attempt::{AttemptDigest, AttemptKey, Fingerprint, Source};
use self::line::{Line, Place, Turn};
use self::table::{Slot, Table};

/// How many forgotten entries each attempt clears away: more than it can add.
const SWEPT_PER_ATTEMPT: usize = 2;

/// How long waits are, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The wait after a first failure.
    pub first: Duration,
    /// What a further failure multiplies the wait by; less than 1 counts as 1.
    pub factor: f64,
    /// The longest wait, and the latest end of one, from the last password that was checked.
    pub max: Duration,
    /// How long after the last failure or refusal all is forgotten; never before the wait is over.
    pub forget_after: Duration,
    /// How many accounts and sources are remembered or being decided, besides the shared entry.
    pub entries: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(15 * 60),
            forget_after: Duration::from_secs(30 * 60),
            entries: 100_000,
        }
    }
}

impl Policy {
    /// The wait after one of this length, in nanoseconds; 0 is none.
    fn after(&self, wait: u64) -> u64 {
        let longer = match wait {
            0 => nanos(self.first),
            wait => ((wait as f64 * self.factor) as u64).max(wait),
        };
        longer.min(self.max_nanos())
    }

    fn max_nanos(&self) -> u64 {
        nanos(self.max)
    }

    fn forget_after_nanos(&self) -> u64 {
        nanos(self.forget_after)
    }
}

/// One attempt that is being decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptId {
    serial: u64,
    slot: Slot,
}

/// The right, and the duty, to check one password and to [finish](Throttle::finish).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an account stays closed until its ticket is finished"]
pub struct Ticket(AttemptId);

impl Ticket {
    /// The attempt that leads this check; those that join it are told this name.
    pub fn attempt(&self) -> AttemptId {
        self.0
    }
}

/// What becomes of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Check its password, then finish the ticket.
    Check(Ticket),
    /// The same credentials are being checked for the attempt `leader`: this one gets the same answer.
    Join { attempt: AttemptId, leader: AttemptId },
    /// Another attempt is being decided: this one is [woken](Woken) later.
    Queue(AttemptId),
    /// Answer 429; the password must not be looked at.
    Refuse { retry_after: Duration },
}

/// A queued attempt that has been decided upon: [`Check`](Decision::Check), [`Join`](Decision::Join) or
/// [`Refuse`](Decision::Refuse), and never queued again. It keeps its id.
#[derive(Debug, PartialEq, Eq)]
pub struct Woken {
    pub attempt: AttemptId,
    pub decision: Decision,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The password was right (also where it had expired): nothing is held against the account and source any more.
    Granted,
    /// The password was wrong or the account may not log in: one failure for all who shared the check.
    Denied,
    /// No password was looked at, through no fault of the client (as when the hashing queue is full): nothing changes.
    Unchecked,
}

/// What an attempt's leaving brought about.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "those who waited behind it must be told"]
pub struct Departure {
    /// The leader of a check that nobody wants any more. It counts as failed; it may be dropped, and its ticket, if
    /// it is finished all the same, changes nothing.
    pub orphaned: Option<AttemptId>,
    /// The attempts that waited behind it.
    pub woken: Vec<Woken>,
}

/// All waits, and all attempts that are being decided. `now` is the time since an arbitrary start and never goes back.
pub struct Throttle {
    policy: Policy,
    table: Table,
    serial: u64,
}

impl Throttle {
    pub fn new(policy: Policy) -> Self {
        Self { policy, table: Table::default(), serial: 0 }
    }

    /// Changes the policy. Waits that stand keep their length but end no later than the new `max` allows;
    /// where there are more than the new `entries`, newcomers share the overflow entry until enough have lapsed.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.table.cut(&policy);
    }

    /// How many accounts and sources are remembered or being decided, without the shared entry.
    /// One that is idle is counted until `forget_after` from the end of its wait at the latest.
    pub fn len(&mut self, now: Duration) -> usize {
        self.table.sweep(&self.policy, nanos(now), usize::MAX);
        self.table.len()
    }

    /// The most that is remembered.
    pub fn limit(&self) -> usize {
        self.policy.entries
    }

    /// Decides what becomes of an attempt.
    ///
    /// While a wait stands it is refused and the wait doubled, from now on, but to no longer than `max` from the last check.
    pub fn begin(&mut self, key: AttemptKey, credentials: Fingerprint, now: Duration) -> Decision {
        let (policy, now) = (self.policy, nanos(now));
        self.table.sweep(&policy, now, SWEPT_PER_ATTEMPT);
        let slot = self.table.slot(key, &policy, now);
        self.serial += 1;
        let attempt = AttemptId { serial: self.serial, slot };

        let entry = self.table.entry(slot).expect("the table has just found or made it");
        if let Some(line) = &mut entry.line {
            return match line.enter(attempt.serial, key, credentials) {
                Place::Joined { leader } => Decision::Join { attempt, leader: AttemptId { serial: leader, slot } },
                Place::Queued => Decision::Queue(attempt),
                Place::Full => Decision::Refuse { retry_after: policy.first },
            };
        }
        self.table.unlist(slot);
        let entry = self.table.entry(slot).expect("unlisting drops no entry");
        if entry.left(now).is_some() {
            entry.prolong(&policy, now);
            let retry_after = left(entry.left(now));
            self.table.list(slot);
            return Decision::Refuse { retry_after };
        }
        if entry.forgotten(&policy, now) {
            entry.clear();
        }
        entry.line = Some(Box::new(Line::new(attempt.serial, key, credentials)));
        Decision::Check(Ticket(attempt))
    }

    /// Takes the outcome of a check, for the attempt that leads it and all that joined it, and says what becomes of those
    /// that waited behind it.
    ///
    /// A failure refuses them all; they came before the wait began and count for nothing. Otherwise the
    /// next in line is checked, and all that carry the same credentials join it; a next that left meanwhile counts as a failure.
    pub fn finish(&mut self, ticket: Ticket, outcome: Outcome, now: Duration) -> Vec<Woken> {
        let Ticket(AttemptId { serial, slot }) = ticket;
        let Some(entry) = self.table.entry(slot) else {
            return Vec::new();
        };
        if entry.line.as_ref().is_none_or(|line| line.leader() != serial) {
            return Vec::new();
        }
        match outcome {
            Outcome::Denied => return self.fail(slot, nanos(now)),
            Outcome::Granted => entry.clear(),
            Outcome::Unchecked => {}
        }
        self.advance(slot, nanos(now))
    }

    /// Says that an attempt's client has left before it was decided. One that has been decided changes nothing.
    ///
    /// It counts as failed, at once or when its turn comes, unless others with the same credentials have joined it: those still get their answer.
    pub fn leave(&mut self, attempt: AttemptId, now: Duration) -> Departure {
        let AttemptId { serial, slot } = attempt;
        let Some(line) = self.table.entry(slot).and_then(|entry| entry.line.as_mut()) else {
            return Departure::default();
        };
        if !line.leave(serial) {
            return Departure::default();
        }
        let orphaned = Some(AttemptId { serial: line.leader(), slot });
        Departure { orphaned, woken: self.fail(slot, nanos(now)) }
    }

    fn fail(&mut self, slot: Slot, now: u64) -> Vec<Woken> {
        let Some(entry) = self.table.entry(slot) else {
            return Vec::new();
        };
        entry.fail(&self.policy, now);
        let retry_after = left(entry.left(now));
        let refuse = |serial| Woken { attempt: AttemptId { serial, slot }, decision: Decision::Refuse { retry_after } };
        let woken = entry.line.take().map(|line| line.waiting().map(refuse).collect());
        self.table.list(slot);
        woken.unwrap_or_default()
    }

    fn advance(&mut self, slot: Slot, now: u64) -> Vec<Woken> {
        let Some(entry) = self.table.entry(slot) else {
            return Vec::new();
        };
        match entry.line.as_mut().map_or(Turn::Nobody, |line| line.advance()) {
            Turn::Check(party) => {
                let id = |serial| AttemptId { serial, slot };
                let leader = id(party[0]);
                let join = |attempt| Decision::Join { attempt, leader };
                let first = Woken { attempt: leader, decision: Decision::Check(Ticket(leader)) };
                let others =
                    party[1..].iter().map(|serial| Woken { attempt: id(*serial), decision: join(id(*serial)) });
                std::iter::once(first).chain(others).collect()
            }
            Turn::Abandoned => self.fail(slot, now),
            Turn::Nobody => {
                entry.line = None;
                self.table.list(slot);
                Vec::new()
            }
        }
    }
}

/// A wait in whole seconds, rounded up and at least 1: what `Retry-After` says (RFC 9110, 10.2.3).
pub fn retry_after_seconds(wait: Duration) -> u64 {
    let seconds = wait.as_secs();
    (seconds + u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn left(nanos: Option<u64>) -> Duration {
    Duration::from_nanos(nanos.unwrap_or(0))
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod line_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
