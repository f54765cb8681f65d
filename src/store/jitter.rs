//! Times that are drawn, so that those who wait for the same thing do not act at the same moment.

use std::time::Duration;

use aws_lc_rs::rand;

/// Of up to so many who draw a turn, the first one's comes well before the second's.
const MANY: f64 = 10_000.0;

/// A time drawn evenly, to the millisecond; the shortest where the system has no random bytes, which delays nobody.
pub(crate) fn between(shortest: Duration, longest: Duration) -> Duration {
    let mut bytes = [0; 8];
    let _ = rand::fill(&mut bytes);
    let span = longest.saturating_sub(shortest).as_millis() as u64 + 1;
    shortest + Duration::from_millis(u64::from_le_bytes(bytes) % span)
}

/// The same from nothing.
pub(crate) fn up_to(longest: Duration) -> Duration {
    between(Duration::ZERO, longest)
}

/// When the turn has come of one of nobody knows how many, of whom the first should be alone. Few draw a short wait: the more
/// there are the earlier the first one's turn is, and it is always about a ninth of the longest wait until the next one's.
pub(crate) fn turn(longest: Duration) -> Duration {
    let mut bytes = [0; 4];
    let _ = rand::fill(&mut bytes);
    turn_of((f64::from(u32::from_le_bytes(bytes)) + 1.0) / 4_294_967_296.0, longest)
}

/// Of a number that is drawn evenly from above 0 to 1.
fn turn_of(drawn: f64, longest: Duration) -> Duration {
    longest.mul_f64((1.0 + drawn.ln() / MANY.ln()).max(0.0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);
    /// Until the others know that the first one has had its turn.
    const LATENCY: Duration = Duration::from_millis(100);

    /// How many others' turns have come by then, in the mean.
    fn too_early(replicas: usize) -> f64 {
        const ROUNDS: u32 = 200;
        let early = (0..ROUNDS).map(|_| {
            let turns: Vec<_> = (0..replicas).map(|_| turn(LONGEST)).collect();
            let first = *turns.iter().min().expect("at least one");
            turns.iter().filter(|turn| **turn <= first + LATENCY).count() - 1
        });
        early.sum::<usize>() as f64 / f64::from(ROUNDS)
    }

    #[test]
    fn however_many_wait_the_first_is_alone() {
        for replicas in [2, 20, 500, 5000] {
            let early = too_early(replicas);
            assert!(early < 0.5, "of {replicas} replicas {early} come too early");
        }
    }

    #[test]
    fn a_turn_is_not_later_than_the_longest_wait() {
        for (drawn, expected) in [(1.0, 10_000), (0.01, 5_000), (0.0001, 0), (1e-9, 0)] {
            assert_eq!(turn_of(drawn, LONGEST).as_millis(), expected, "{drawn}");
        }
    }

    #[test]
    fn times_differ_and_keep_to_their_bounds() {
        let (shortest, longest) = (Duration::from_millis(100), Duration::from_millis(200));
        let drawn: BTreeSet<_> = (0..100).map(|_| between(shortest, longest)).collect();
        assert!(drawn.len() > 10 && drawn.iter().all(|time| (shortest..=longest).contains(time)), "{drawn:?}");
        assert_eq!(between(longest, shortest), longest);
        assert_eq!(up_to(Duration::ZERO), Duration::ZERO);
    }
}
