//! The throttle in simulated time: how long waits are, and what ends them.

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Bench {
    pub(super) throttle: Throttle,
    digest: AttemptDigest,
}

impl Bench {
    pub(super) fn new(policy: Policy) -> Self {
        Self { throttle: Throttle::new(policy), digest: AttemptDigest::generate().unwrap() }
    }

    fn begin_from(&mut self, account: &str, source: Source, password: &str, now: Duration) -> Decision {
        let key = self.digest.key(account.as_bytes(), source);
        let credentials = self.digest.fingerprint(account.as_bytes(), password.as_bytes());
        self.throttle.begin(key, credentials, now)
    }

    pub(super) fn begin(&mut self, account: &str, password: &str, now: Duration) -> Decision {
        self.begin_from(account, Source::Local, password, now)
    }

    pub(super) fn check(&mut self, account: &str, password: &str, now: Duration) -> Ticket {
        match self.begin(account, password, now) {
            Decision::Check(ticket) => ticket,
            other => panic!("{account} at {now:?}: {other:?}"),
        }
    }

    /// Fails once, where no wait stands in the way.
    pub(super) fn fail(&mut self, account: &str, now: Duration) {
        let ticket = self.check(account, "wrong", now);
        assert_eq!(self.throttle.finish(ticket, Outcome::Denied, now), []);
    }
}

pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(super) fn is_check(decision: &Decision) -> bool {
    matches!(decision, Decision::Check(_))
}

pub(super) fn refused(decision: Decision) -> Duration {
    match decision {
        Decision::Refuse { retry_after } => retry_after,
        other => panic!("{other:?}"),
    }
}

pub(super) fn queued(decision: Decision) -> AttemptId {
    match decision {
        Decision::Queue(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn waits_double_up_to_the_longest() {
    let mut bench = Bench::new(Policy::default());
    let mut now = seconds(7.0);
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] {
        bench.fail("alice", now);
        now += wait * SECOND;
        // Looked at from inside, as an attempt before the end would change it.
        let slot = Slot::Own(bench.digest.key(b"alice", Source::Local));
        let entry = bench.throttle.table.entry(slot).expect("it has failed");
        assert_eq!(entry.left(nanos(now) - 1), Some(1), "the wait of {wait} s");
        assert_eq!(entry.left(nanos(now)), None, "the wait of {wait} s");
    }
}

#[test]
fn an_attempt_while_waiting_doubles_the_wait_from_then_on() {
    let mut bench = Bench::new(Policy::default());
    bench.fail("alice", seconds(0.0));
    for (at, left) in [(0.5, 2.0), (1.0, 4.0), (4.999, 8.0), (5.0, 16.0)] {
        assert_eq!(refused(bench.begin("alice", "right", seconds(at))), seconds(left), "at {at}");
    }
    assert_eq!(refused(bench.begin("alice", "right", seconds(20.999))), seconds(32.0));
    assert!(is_check(&bench.begin("alice", "right", seconds(52.999))));
}

#[test]
fn no_flood_keeps_anybody_out_past_the_longest_wait_from_the_last_check() {
    let policy = Policy { max: 60 * SECOND, ..Policy::default() };
    let mut bench = Bench::new(policy);
    bench.fail("alice", seconds(0.0));
    let mut previous = Duration::ZERO;
    for tenth in 1..600 {
        let now = Duration::from_millis(100 * tenth);
        let until = now + refused(bench.begin("alice", "wrong", now));
        assert!(until <= 60 * SECOND, "{now:?}: {until:?}");
        assert!(until >= previous, "a wait never becomes shorter");
        previous = until;
    }
    assert_eq!(previous, 60 * SECOND);
    assert!(is_check(&bench.begin("alice", "right", 60 * SECOND)));
}

#[test]
fn a_success_resets_the_wait() {
    let mut bench = Bench::new(Policy::default());
    for at in [0.0, 1.0, 3.0] {
        bench.fail("alice", seconds(at));
    }
    let ticket = bench.check("alice", "right", seconds(7.0));
    assert_eq!(bench.throttle.finish(ticket, Outcome::Granted, seconds(7.0)), []);
    assert_eq!(bench.throttle.len(seconds(7.0)), 0);
    bench.fail("alice", seconds(7.0));
    assert!(is_check(&bench.begin("alice", "right", seconds(8.0))));
}

#[test]
fn the_factor_and_odd_policies_are_obeyed() {
    let base = Policy::default();
    let cases = [
        (Policy { factor: 1.5, ..base }, [1.0, 1.5, 2.25]),
        (Policy { factor: 1.0, ..base }, [1.0, 1.0, 1.0]),
        (Policy { factor: 0.1, ..base }, [1.0, 1.0, 1.0]),
        (Policy { factor: f64::NAN, ..base }, [1.0, 1.0, 1.0]),
        (Policy { factor: f64::INFINITY, ..base }, [1.0, 900.0, 900.0]),
        (Policy { first: 2000 * SECOND, ..base }, [900.0, 900.0, 900.0]),
        (Policy { first: Duration::ZERO, ..base }, [0.0, 0.0, 0.0]),
        (Policy { max: Duration::ZERO, ..base }, [0.0, 0.0, 0.0]),
    ];
    for (policy, waits) in cases {
        let mut bench = Bench::new(policy);
        let mut now = SECOND;
        for wait in waits {
            let ticket = bench.check("alice", "one", now);
            let behind = queued(bench.begin("alice", "two", now));
            let woken = bench.throttle.finish(ticket, Outcome::Denied, now);
            let decision = Decision::Refuse { retry_after: seconds(wait) };
            assert_eq!(woken, [Woken { attempt: behind, decision }], "{policy:?}");
            now += seconds(wait);
        }
    }
}

#[test]
fn guesses_from_other_sources_and_at_other_names_do_not_touch_the_victim() {
    let mut bench = Bench::new(Policy::default());
    let [home, attacker] =
        ["2001:db8:1::7", "2001:db8:2::7"].map(|address| Source::from(address.parse::<std::net::IpAddr>().unwrap()));
    let mut checked = 0;
    // A day of one guess a second.
    for second in 0..86_400 {
        let now = second * SECOND;
        if let Decision::Check(ticket) = bench.begin_from("alice", attacker, "guess", now) {
            checked += 1;
            assert_eq!(bench.throttle.finish(ticket, Outcome::Denied, now), []);
        }
    }
    // The first second is over when the second guess comes; from then on each wait runs to its longest.
    assert_eq!(checked, 1 + 86_400 / 900);
    assert!(is_check(&bench.begin_from("alice", home, "right", 86_400 * SECOND)));
    assert!(is_check(&bench.begin_from("Alice", attacker, "right", 86_400 * SECOND)));
}

/// Ten days, in steps of this many seconds.
fn ten_days(step: u32) -> impl Iterator<Item = Duration> {
    (0..10 * 86_400 / step).map(move |number| number * step * SECOND)
}

#[test]
fn a_victim_of_one_guess_per_wait_from_other_sources_logs_in_at_once_from_its_own() {
    let mut bench = Bench::new(Policy::default());
    let address = |last| Source::from(std::net::IpAddr::from([192, 0, 2, last]));
    let (home, attackers) = (address(1), [address(2), address(3), address(4)]);
    let mut next = [Duration::ZERO; 3];
    let mut checked = 0;
    for now in ten_days(1) {
        for (attacker, next) in attackers.into_iter().zip(&mut next) {
            if now < *next {
                continue;
            }
            let Decision::Check(ticket) = bench.begin_from("alice", attacker, "guess", now) else { panic!("{now:?}") };
            assert_eq!(bench.throttle.finish(ticket, Outcome::Denied, now), []);
            checked += 1;
            let slot = Slot::Own(bench.digest.key(b"alice", attacker));
            let entry = bench.throttle.table.entry(slot).expect("it has failed");
            *next = now + left(entry.left(nanos(now)));
        }
        if now.as_secs() % 3600 == 1800 {
            let Decision::Check(ticket) = bench.begin_from("alice", home, "right", now) else { panic!("{now:?}") };
            assert_eq!(bench.throttle.finish(ticket, Outcome::Granted, now), []);
        }
    }
    // 1023 s of doubling, then one in 15 minutes, from each of three.
    assert_eq!(checked, 3 * (10 + (864_000 - 1023) / 900 + 1));
}

#[test]
fn ten_days_of_attempts_from_the_same_source_never_keep_anybody_out_past_the_longest_wait() {
    let max = Policy::default().max;
    let mut bench = Bench::new(Policy::default());
    let (mut last_check, mut checked, mut longest) = (Duration::ZERO, 0, Duration::ZERO);
    for now in ten_days(7) {
        match bench.begin("alice", "wrong", now) {
            Decision::Check(ticket) => {
                longest = longest.max(now - last_check);
                (last_check, checked) = (now, checked + 1);
                // Every third client leaves instead of waiting for its answer.
                if checked % 3 == 0 {
                    assert_eq!(bench.throttle.leave(ticket.attempt(), now).woken, []);
                } else {
                    assert_eq!(bench.throttle.finish(ticket, Outcome::Denied, now), []);
                }
            }
            Decision::Refuse { retry_after } => assert!(now + retry_after <= last_check + max, "at {now:?}"),
            other => panic!("{other:?}"),
        }
    }
    // One step later at most, as attempts come every 7 s.
    assert!(longest > max - 7 * SECOND && longest < max + 7 * SECOND, "{longest:?}");
    assert!(checked > 900, "{checked}");
    // Whoever comes first after the wait has a turn.
    assert!(is_check(&bench.begin("alice", "right", last_check + max)));
}

#[test]
fn a_patient_guesser_is_held_to_the_longest_wait() {
    let mut bench = Bench::new(Policy::default());
    let (mut now, mut checked) = (Duration::ZERO, 0);
    while now < 86_400 * SECOND {
        bench.fail("alice", now);
        checked += 1;
        now += (SECOND * 2_u32.pow(checked.min(11) - 1)).min(900 * SECOND);
    }
    // 1023 s of doubling, then one in 15 minutes.
    assert_eq!(checked, 10 + (86_400 - 1023) / 900 + 1);
}

#[test]
fn seconds_are_rounded_up() {
    for (wait, told) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (900_000, 900), (899_999, 900)] {
        assert_eq!(retry_after_seconds(Duration::from_millis(wait)), told, "{wait} ms");
    }
    assert_eq!(retry_after_seconds(Duration::new(1, 1)), 2);
}
