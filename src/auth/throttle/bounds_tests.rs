//! The throttle's memory: forgetting, eviction, the shared entry, a changed policy.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Crowd {
    throttle: Throttle,
    digest: AttemptDigest,
}

impl Crowd {
    fn new(policy: Policy) -> Self {
        Self { throttle: Throttle::new(policy), digest: AttemptDigest::generate().unwrap() }
    }

    fn key(&self, member: u32) -> AttemptKey {
        self.digest.key(b"alice", Source::V4(Ipv4Addr::from(member)))
    }

    fn begin(&mut self, member: u32, password: &str, now: Duration) -> Decision {
        let credentials = self.digest.fingerprint(b"alice", password.as_bytes());
        self.throttle.begin(self.key(member), credentials, now)
    }

    fn check(&mut self, member: u32, now: Duration) -> Ticket {
        match self.begin(member, "guess", now) {
            Decision::Check(ticket) => ticket,
            other => panic!("{member} at {now:?}: {other:?}"),
        }
    }

    fn fail(&mut self, member: u32, now: Duration) {
        let ticket = self.check(member, now);
        assert_eq!(self.throttle.finish(ticket, Outcome::Denied, now), []);
    }

    /// What an attempt now would be told, on the entry as it stands.
    fn wait(&mut self, member: u32, now: Duration) -> Option<Duration> {
        let key = self.key(member);
        let entry = self.throttle.table.entry(Slot::Own(key))?;
        entry.left(nanos(now)).map(Duration::from_nanos)
    }

    fn remembers(&mut self, member: u32) -> bool {
        let key = self.key(member);
        self.throttle.table.entry(Slot::Own(key)).is_some()
    }
}

fn small(entries: usize) -> Policy {
    Policy { entries, ..Policy::default() }
}

#[test]
fn failures_are_forgotten_after_a_while_of_peace_but_never_during_a_wait() {
    let policy = Policy { forget_after: 3 * SECOND, ..Policy::default() };
    let cases = [
        // (failures at, the attempt at, the wait that follows it)
        (&[0, 1][..], 3, 4),
        (&[0, 1], 4, 1),
        (&[0, 1, 3], 7, 1),
    ];
    for (failures, at, wait) in cases {
        let mut crowd = Crowd::new(policy);
        for second in failures {
            crowd.fail(1, *second * SECOND);
        }
        crowd.fail(1, at * SECOND);
        assert_eq!(crowd.wait(1, at * SECOND), Some(wait * SECOND), "{failures:?} {at}");
    }
    let mut crowd = Crowd::new(policy);
    for second in [0, 1, 3] {
        crowd.fail(1, second * SECOND);
    }
    assert!(matches!(crowd.begin(1, "guess", Duration::from_millis(6999)), Decision::Refuse { .. }));
}

#[test]
fn forgotten_entries_leave_memory() {
    let mut crowd = Crowd::new(Policy::default());
    for member in 0..1000 {
        crowd.fail(member, SECOND);
    }
    assert_eq!(crowd.throttle.len(2 * SECOND), 1000);
    assert_eq!(crowd.throttle.len(1801 * SECOND), 1000);
    assert_eq!(crowd.throttle.len(1802 * SECOND), 0);
    // Also without anybody who counts: each attempt clears away more than it adds.
    for member in 0..1000 {
        crowd.fail(member, 5000 * SECOND);
    }
    for member in 1000..1600 {
        crowd.fail(member, 9000 * SECOND);
    }
    assert_eq!(crowd.throttle.table.len(), 600);
}

#[test]
fn the_longest_lapsed_waits_make_room() {
    let mut crowd = Crowd::new(small(3));
    crowd.fail(1, SECOND);
    crowd.fail(1, 2 * SECOND); // until 4 s
    crowd.fail(2, 2 * SECOND); // until 3 s
    crowd.fail(3, 4 * SECOND); // until 5 s
    crowd.fail(4, 4 * SECOND);
    assert_eq!([1, 2, 3, 4].map(|member| crowd.remembers(member)), [true, false, true, true]);
    crowd.fail(5, 4 * SECOND);
    assert_eq!([1, 3, 4, 5].map(|member| crowd.remembers(member)), [false, true, true, true]);
}

#[test]
fn what_is_being_decided_makes_no_room() {
    let mut crowd = Crowd::new(small(2));
    crowd.fail(1, SECOND);
    let under_way = [crowd.check(1, 60 * SECOND), crowd.check(2, 60 * SECOND)];
    let shared = crowd.check(3, 60 * SECOND);
    assert!(!crowd.remembers(3));
    assert!(matches!(crowd.begin(4, "guess", 60 * SECOND), Decision::Queue(_)));
    assert_eq!(crowd.throttle.len(60 * SECOND), 2);
    for ticket in under_way {
        assert_eq!(crowd.throttle.finish(ticket, Outcome::Denied, 60 * SECOND), []);
    }
    assert_eq!(crowd.wait(1, 60 * SECOND), Some(2 * SECOND), "its history was kept");
    assert_eq!(crowd.throttle.finish(shared, Outcome::Denied, 60 * SECOND).len(), 1);
}

#[test]
fn newcomers_share_one_entry_while_no_wait_has_lapsed() {
    let mut crowd = Crowd::new(small(2));
    crowd.fail(1, SECOND);
    crowd.fail(2, SECOND);
    let now = Duration::from_millis(1500);
    let ticket = crowd.check(3, now);
    // The same password for another account or from another source is another attempt.
    let Decision::Queue(behind) = crowd.begin(4, "guess", now) else { panic!() };
    assert!(matches!(crowd.begin(3, "guess", now), Decision::Join { .. }));
    let decision = Decision::Refuse { retry_after: SECOND };
    let woken = crowd.throttle.finish(ticket, Outcome::Denied, now);
    assert_eq!(woken, [Woken { attempt: behind, decision }]);
    assert_eq!(crowd.begin(5, "right", now), Decision::Refuse { retry_after: 2 * SECOND });
    assert_eq!(crowd.throttle.len(now), 2);
    // Those who are known are told of their own waits alone, and lapsed ones make room again.
    assert_eq!(crowd.wait(1, now), Some(SECOND / 2));
    drop(crowd.check(6, 2 * SECOND));
    assert!(crowd.remembers(6));
}

#[test]
fn the_shared_entry_decides_one_at_a_time_and_forgives_like_any_other() {
    let mut crowd = Crowd::new(small(0));
    let ticket = crowd.check(1, SECOND);
    // Room is made while this one is decided: it must not be decided a second time beside.
    crowd.throttle.set_policy(small(10));
    let Decision::Queue(_) = crowd.begin(1, "other guess", SECOND) else { panic!() };
    let other = crowd.check(2, SECOND);
    assert_eq!(crowd.throttle.finish(other, Outcome::Granted, SECOND), []);
    assert_eq!(crowd.throttle.finish(ticket, Outcome::Denied, SECOND).len(), 1);
    crowd.throttle.set_policy(small(0));
    let ticket = crowd.check(3, 2 * SECOND);
    assert_eq!(crowd.throttle.finish(ticket, Outcome::Granted, 2 * SECOND), []);
    crowd.fail(3, 2 * SECOND);
    drop(crowd.check(3, 3 * SECOND));
}

#[test]
fn spraying_leaves_a_standing_wait_alone() {
    let mut crowd = Crowd::new(Policy::default());
    let victim = u32::MAX;
    let mut now = SECOND;
    // Ten failures: a wait of 512 s.
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 0] {
        crowd.fail(victim, now);
        now += wait * SECOND;
    }
    let until = now + 512 * SECOND;
    for member in 0..200_000 {
        now += Duration::from_millis(2);
        match crowd.begin(member, "guess", now) {
            Decision::Check(ticket) => drop(crowd.throttle.finish(ticket, Outcome::Denied, now)),
            Decision::Refuse { .. } => {}
            other => panic!("{other:?}"),
        }
        assert!(crowd.throttle.table.len() <= 100_000);
    }
    assert_eq!(crowd.throttle.len(now), 100_000);
    assert_eq!(crowd.wait(victim, now), Some(until - now));
    assert_eq!(
        crowd.begin(victim, "right", now),
        Decision::Refuse { retry_after: 900 * SECOND - (now + 512 * SECOND - until) }
    );
}

#[test]
fn a_new_policy_counts_for_the_next_failure_and_cuts_the_waits_that_stand() {
    let mut crowd = Crowd::new(Policy::default());
    for second in [0, 1, 3, 7, 15] {
        crowd.fail(1, second * SECOND); // the last wait runs 16 s
    }
    crowd.fail(2, 15 * SECOND);
    let under_way = crowd.check(3, 15 * SECOND);
    let shorter = Policy { first: 3 * SECOND, max: 10 * SECOND, entries: 2, ..Policy::default() };
    crowd.throttle.set_policy(shorter);
    assert!(crowd.throttle.table.is_consistent());
    assert_eq!(crowd.wait(1, 15 * SECOND), Some(10 * SECOND));
    assert_eq!(crowd.wait(2, 15 * SECOND), Some(SECOND));
    assert_eq!(crowd.throttle.finish(under_way, Outcome::Denied, 15 * SECOND), []);
    assert_eq!(crowd.wait(3, 15 * SECOND), Some(3 * SECOND));
    // A smaller table is reached as waits lapse.
    assert_eq!(crowd.throttle.len(15 * SECOND), 3);
    crowd.fail(4, 25 * SECOND);
    assert_eq!(crowd.throttle.len(25 * SECOND), 2);
    // A longer limit lengthens no wait that stands.
    crowd.throttle.set_policy(Policy::default());
    assert_eq!(crowd.wait(4, 25 * SECOND), Some(3 * SECOND));
}

#[test]
fn a_new_policy_cuts_the_shared_wait_too() {
    let mut crowd = Crowd::new(small(0));
    for second in [0, 1, 3, 7] {
        crowd.fail(1, second * SECOND); // the last wait runs 8 s
    }
    crowd.throttle.set_policy(Policy { max: 5 * SECOND, ..small(0) });
    drop(crowd.check(1, 12 * SECOND));
}

#[test]
fn no_random_history_loses_a_wait_that_stands() {
    let mut crowd = Crowd::new(small(8));
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: u64| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below
    };
    let mut now = 1000 * SECOND;
    let keys: Vec<_> = (0..40).map(|member| crowd.key(member)).collect();
    let mut standing = HashMap::new();
    let mut tickets = Vec::new();
    let (mut shared, mut evicted) = (0, 0);
    for _ in 0..20_000 {
        now += Duration::from_millis([0, 1, 300, 900][random(4) as usize]);
        if random(5000) == 0 {
            now += 3600 * SECOND;
        }
        let member = random(40) as u32;
        if random(3) > 0 {
            if let Decision::Check(ticket) = crowd.begin(member, "guess", now) {
                shared += u32::from(ticket.attempt().slot == Slot::Overflow);
                tickets.push((member, ticket));
            }
        } else if !tickets.is_empty() {
            let (member, ticket) = tickets.swap_remove(random(tickets.len() as u64) as usize);
            let outcome = [Outcome::Granted, Outcome::Denied, Outcome::Denied, Outcome::Unchecked][random(4) as usize];
            for Woken { decision, .. } in crowd.throttle.finish(ticket, outcome, now) {
                if let Decision::Check(ticket) = decision {
                    tickets.push((member, ticket));
                }
            }
        }
        for (member, key) in keys.iter().enumerate() {
            let entry = crowd.throttle.table.entry(Slot::Own(*key));
            let remembered = entry.is_some();
            if let Some(left) = entry.and_then(|entry| entry.left(nanos(now))) {
                standing.insert(member, now + Duration::from_nanos(left));
            } else if let Some(until) = standing.remove(&member) {
                assert!(until <= now, "{member} was let off");
                evicted += u32::from(!remembered);
            }
        }
        assert!(crowd.throttle.table.len() <= 8);
        assert!(crowd.throttle.table.is_consistent());
    }
    assert!(shared > 0 && evicted > 100, "the history was dull: {shared} {evicted}");
}
