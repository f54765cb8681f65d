//! The bounded table of waits: only those that have lapsed make room for others.

use std::collections::{BTreeSet, HashMap};

use super::Policy;
use super::attempt::AttemptKey;
use super::line::Line;

/// The waits of one account from one source; all times are nanoseconds since the throttle's start.
#[derive(Default)]
pub(super) struct Entry {
    /// The length of the last wait, 0 where there has been no failure.
    wait: u64,
    /// When it is over.
    until: u64,
    /// When a password was last really checked.
    checked: u64,
    /// When the last failure or refusal was.
    active: u64,
    /// Boxed, as few of many entries are being decided at once.
    pub(super) line: Option<Box<Line>>,
}

impl Entry {
    /// What is left of the wait, if anything.
    pub(super) fn left(&self, now: u64) -> Option<u64> {
        self.until.checked_sub(now).filter(|left| *left > 0)
    }

    /// A password was checked, or would have been had its client stayed.
    pub(super) fn fail(&mut self, policy: &Policy, now: u64) {
        self.wait = policy.after(self.wait);
        self.checked = now;
        self.active = now;
        self.until = now.saturating_add(self.wait);
    }

    /// An attempt was made while waiting.
    pub(super) fn prolong(&mut self, policy: &Policy, now: u64) {
        self.wait = policy.after(self.wait);
        self.active = now;
        // Never sooner than before: the wait is no shorter, and runs from later on.
        self.until = now.saturating_add(self.wait).min(self.latest(policy));
    }

    /// Forgives the failures, or forgets them.
    pub(super) fn clear(&mut self) {
        (self.wait, self.until, self.checked, self.active) = (0, 0, 0, 0);
    }

    /// Whether all is to be forgotten, now that its wait is over.
    pub(super) fn forgotten(&self, policy: &Policy, now: u64) -> bool {
        now.saturating_sub(self.active) >= policy.forget_after_nanos()
    }

    fn cut(&mut self, policy: &Policy) {
        self.wait = self.wait.min(policy.max_nanos());
        self.until = self.until.min(self.latest(policy));
    }

    /// Nobody is kept out for longer than `max` from the last check.
    fn latest(&self, policy: &Policy) -> u64 {
        self.checked.saturating_add(policy.max_nanos())
    }
}

/// Where an attempt is accounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    Own(AttemptKey),
    /// The one entry that newcomers share while every other one is waiting or being decided.
    Overflow,
}

/// Entries by key. Each one is either being decided (it has a line) or listed in `lapses`.
#[derive(Default)]
pub(super) struct Table {
    entries: HashMap<AttemptKey, Entry>,
    lapses: BTreeSet<(u64, AttemptKey)>,
    overflow: Entry,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The slot for this key, made where there is none yet. A new one must be given a line.
    pub(super) fn slot(&mut self, key: AttemptKey, policy: &Policy, now: u64) -> Slot {
        // Decided one at a time holds for an account that is in the shared line, too.
        if self.overflow.line.as_ref().is_some_and(|line| line.holds(key)) {
            return Slot::Overflow;
        }
        if self.entries.contains_key(&key) {
            return Slot::Own(key);
        }
        while self.entries.len() >= policy.entries {
            if !self.drop_first(|until| until <= now) {
                return Slot::Overflow;
            }
        }
        self.entries.insert(key, Entry::default());
        Slot::Own(key)
    }

    pub(super) fn entry(&mut self, slot: Slot) -> Option<&mut Entry> {
        match slot {
            Slot::Own(key) => self.entries.get_mut(&key),
            Slot::Overflow => Some(&mut self.overflow),
        }
    }

    /// Takes a waiting entry off the list, before its wait changes or it is being decided.
    pub(super) fn unlist(&mut self, slot: Slot) {
        if let Slot::Own(key) = slot
            && let Some(entry) = self.entries.get(&key)
        {
            self.lapses.remove(&(entry.until, key));
        }
    }

    /// Lists an entry that is not being decided, or drops it where there is nothing to remember.
    pub(super) fn list(&mut self, slot: Slot) {
        let Slot::Own(key) = slot else { return };
        match self.entries.get(&key) {
            Some(entry) if entry.wait > 0 => {
                self.lapses.insert((entry.until, key));
            }
            _ => {
                self.entries.remove(&key);
            }
        }
    }

    /// Drops up to `limit` entries that are surely forgotten. Refusals come before the wait's end, so
    /// an entry's place in the list tells, a little late, without looking at the entry.
    pub(super) fn sweep(&mut self, policy: &Policy, now: u64, limit: usize) {
        let after = policy.forget_after_nanos();
        for _ in 0..limit {
            if !self.drop_first(|until| until.saturating_add(after) <= now) {
                return;
            }
        }
    }

    /// Cuts every wait to a new policy's.
    pub(super) fn cut(&mut self, policy: &Policy) {
        self.overflow.cut(policy);
        self.lapses.clear();
        for (key, entry) in &mut self.entries {
            entry.cut(policy);
            if entry.line.is_none() {
                self.lapses.insert((entry.until, *key));
            }
        }
    }

    fn drop_first(&mut self, test: impl Fn(u64) -> bool) -> bool {
        let Some((until, key)) = self.lapses.first().copied().filter(|(until, _)| test(*until)) else {
            return false;
        };
        self.lapses.remove(&(until, key));
        self.entries.remove(&key);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Table {
        /// Every entry is being decided or listed at its wait's end, and nothing else is listed.
        pub(in crate::auth::throttle) fn is_consistent(&self) -> bool {
            let waiting = |(key, entry): (&AttemptKey, &Entry)| entry.line.is_none().then_some((entry.until, *key));
            self.entries.iter().filter_map(waiting).collect::<BTreeSet<_>>() == self.lapses
        }
    }

    #[test]
    fn a_hundred_thousand_entries_stay_below_sixteen_megabytes() {
        let entry = size_of::<(AttemptKey, Entry)>();
        let lapse = size_of::<(u64, AttemptKey)>();
        println!("entry {entry} bytes, lapse {lapse} bytes");
        // A hash table's buckets are a power of two, seven eighths full at most, with a byte each beside;
        // a B-tree's nodes are half full at worst.
        let buckets = (100_000_usize * 8 / 7).next_power_of_two();
        assert!(buckets * (entry + 1) + 100_000 * lapse * 2 < 16_000_000);
    }
}
