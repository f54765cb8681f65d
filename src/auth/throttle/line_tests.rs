//! The throttle in simulated time: attempts that come while others are being decided.

use super::tests::{Bench, SECOND, is_check, queued, refused, seconds};
use super::*;

fn joined(decision: Decision) -> AttemptId {
    match decision {
        Decision::Join { attempt, .. } => attempt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_burst_of_guesses_checks_one_password() {
    let mut bench = Bench::new(Policy::default());
    let ticket = bench.check("alice", "guess 0", seconds(0.0));
    let waiting: Vec<_> =
        (1..1000).map(|n| queued(bench.begin("alice", &format!("guess {n}"), seconds(0.0)))).collect();
    let woken = bench.throttle.finish(ticket, Outcome::Denied, seconds(0.1));
    assert_eq!(woken.iter().map(|woken| woken.attempt).collect::<Vec<_>>(), waiting);
    for woken in woken {
        assert_eq!(refused(woken.decision), SECOND);
    }
    // They count for nothing: the wait is still the first.
    assert!(is_check(&bench.begin("alice", "right", seconds(1.1))));
}

#[test]
fn a_line_is_bounded() {
    let mut bench = Bench::new(Policy::default());
    let ticket = bench.check("alice", "guess", seconds(0.0));
    let mut waiting = 0;
    for n in 0..5000 {
        match bench.begin("alice", &format!("guess {n}"), seconds(0.0)) {
            // Leaving must not make room for ever more sets of credentials.
            Decision::Queue(attempt) => {
                assert_eq!(bench.throttle.leave(attempt, seconds(0.0)), Departure::default());
                waiting += 1;
            }
            Decision::Refuse { retry_after } => assert_eq!(retry_after, SECOND),
            other => panic!("{other:?}"),
        }
    }
    assert!((2000..4096).contains(&waiting), "{waiting}");
    assert_eq!(bench.throttle.finish(ticket, Outcome::Denied, seconds(0.0)), []);
    assert!(is_check(&bench.begin("alice", "right", SECOND)), "a full line is no failure");
}

#[test]
fn the_same_credentials_share_one_check() {
    for (outcome, wait) in [(Outcome::Granted, None), (Outcome::Denied, Some(2 * SECOND)), (Outcome::Unchecked, None)] {
        let mut bench = Bench::new(Policy::default());
        let ticket = bench.check("alice", "right", seconds(0.0));
        let leader = ticket.attempt();
        for _ in 1..20 {
            match bench.begin("alice", "right", seconds(0.0)) {
                Decision::Join { leader: to, .. } => assert_eq!(to, leader),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bench.throttle.finish(ticket, outcome, seconds(0.0)), []);
        match bench.begin("alice", "right", seconds(0.0)) {
            Decision::Refuse { retry_after } => assert_eq!(Some(retry_after), wait),
            other => assert!(is_check(&other) && wait.is_none(), "{outcome:?}: {other:?}"),
        }
    }
}

#[test]
fn those_behind_a_success_are_checked_in_turn_and_share_too() {
    let mut bench = Bench::new(Policy::default());
    let first = bench.check("alice", "old", seconds(0.0));
    let [b, c, d] = ["new", "wrong", "new"].map(|password| queued(bench.begin("alice", password, seconds(0.0))));
    let mut woken = bench.throttle.finish(first, Outcome::Granted, seconds(0.1)).into_iter();
    let second = match woken.next() {
        Some(Woken { attempt, decision: Decision::Check(ticket) }) if attempt == b => ticket,
        other => panic!("{other:?}"),
    };
    let join = Woken { attempt: d, decision: Decision::Join { attempt: d, leader: b } };
    assert_eq!((woken.next(), woken.next()), (Some(join), None));
    assert!(matches!(bench.begin("alice", "new", seconds(0.1)), Decision::Join { leader, .. } if leader == b));
    // An outcome that says nothing of the password lets the next one go on as well.
    let mut woken = bench.throttle.finish(second, Outcome::Unchecked, seconds(0.2));
    let Some(Woken { attempt, decision: Decision::Check(third) }) = woken.pop() else { panic!() };
    assert_eq!(attempt, c);
    assert_eq!(bench.throttle.finish(third, Outcome::Denied, seconds(0.3)), []);
    assert_eq!(refused(bench.begin("alice", "new", seconds(0.3))), 2 * SECOND);
}

#[test]
fn an_attempt_that_its_client_abandons_counts_as_failed() {
    let mut bench = Bench::new(Policy::default());
    let ticket = bench.check("alice", "guess", seconds(0.0));
    let behind = queued(bench.begin("alice", "other", seconds(0.0)));
    let departure = bench.throttle.leave(ticket.attempt(), seconds(0.5));
    assert_eq!(departure.orphaned, Some(ticket.attempt()));
    let decision = Decision::Refuse { retry_after: SECOND };
    assert_eq!(departure.woken, [Woken { attempt: behind, decision }]);
    // What becomes of the hash is too late to matter, even while another check is under way.
    assert!(is_check(&bench.begin("alice", "more", seconds(1.5))));
    assert_eq!(bench.throttle.finish(ticket, Outcome::Granted, seconds(1.5)), []);
    queued(bench.begin("alice", "third", seconds(1.5)));
}

#[test]
fn those_that_share_an_abandoned_check_still_get_their_answer() {
    let mut bench = Bench::new(Policy::default());
    let ticket = bench.check("alice", "right", seconds(0.0));
    let leader = ticket.attempt();
    let stays = joined(bench.begin("alice", "right", seconds(0.0)));
    let leaves = joined(bench.begin("alice", "right", seconds(0.0)));
    for attempt in [leader, leaves, leaves, leader] {
        assert_eq!(bench.throttle.leave(attempt, seconds(0.0)), Departure::default());
    }
    assert_eq!(bench.throttle.finish(ticket, Outcome::Granted, seconds(0.0)), []);
    assert_eq!(bench.throttle.leave(stays, seconds(0.0)), Departure::default(), "it has been decided");
    assert_eq!(bench.throttle.len(seconds(0.0)), 0);

    let ticket = bench.check("alice", "guess", seconds(0.0));
    let last = joined(bench.begin("alice", "guess", seconds(0.0)));
    assert_eq!(bench.throttle.leave(ticket.attempt(), seconds(0.0)), Departure::default());
    assert_eq!(bench.throttle.leave(last, seconds(0.0)).orphaned, Some(ticket.attempt()));
    assert_eq!(refused(bench.begin("alice", "right", seconds(0.0))), 2 * SECOND, "all have left");
}

#[test]
fn an_abandoned_place_in_the_line_is_a_failure_when_its_turn_comes() {
    let mut bench = Bench::new(Policy::default());
    let ticket = bench.check("alice", "right", seconds(0.0));
    let [gone, shared, behind] = ["a", "b", "c"].map(|password| queued(bench.begin("alice", password, seconds(0.0))));
    let sharer = queued(bench.begin("alice", "b", seconds(0.0)));
    assert_eq!(bench.throttle.leave(shared, seconds(0.0)), Departure::default());
    assert_eq!(bench.throttle.leave(gone, seconds(0.0)), Departure::default());
    let refuse = |attempt| Woken { attempt, decision: Decision::Refuse { retry_after: SECOND } };
    let woken = bench.throttle.finish(ticket, Outcome::Granted, seconds(0.0));
    assert_eq!(woken, [refuse(sharer), refuse(behind)]);

    // Where another shares the place, it is that one's turn.
    let ticket = bench.check("alice", "right", SECOND);
    let [shared, sharer] = ["b", "b"].map(|password| queued(bench.begin("alice", password, SECOND)));
    assert_eq!(bench.throttle.leave(shared, SECOND), Departure::default());
    let woken = bench.throttle.finish(ticket, Outcome::Granted, SECOND);
    assert!(matches!(&woken[..], [Woken { attempt, decision: Decision::Check(_) }] if *attempt == sharer));
}

#[test]
fn no_password_looked_at_leaves_the_wait_as_it_was() {
    let mut bench = Bench::new(Policy::default());
    let ticket = bench.check("alice", "guess", seconds(0.0));
    assert_eq!(bench.throttle.finish(ticket, Outcome::Unchecked, seconds(0.0)), []);
    assert_eq!(bench.throttle.len(seconds(0.0)), 0);
    bench.fail("alice", seconds(0.0));
    let ticket = bench.check("alice", "guess", SECOND);
    assert_eq!(bench.throttle.finish(ticket, Outcome::Unchecked, SECOND), []);
    bench.fail("alice", SECOND);
    assert_eq!(refused(bench.begin("alice", "right", SECOND)), 4 * SECOND);
}
