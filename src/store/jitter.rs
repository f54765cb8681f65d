//! Times that are drawn, so that those who wait for the same thing do not act at the same moment.

use std::time::Duration;

use aws_lc_rs::rand;

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn times_differ_and_keep_to_their_bounds() {
        let (shortest, longest) = (Duration::from_millis(100), Duration::from_millis(200));
        let drawn: BTreeSet<_> = (0..100).map(|_| between(shortest, longest)).collect();
        assert!(drawn.len() > 10 && drawn.iter().all(|time| (shortest..=longest).contains(time)), "{drawn:?}");
        assert_eq!(between(longest, shortest), longest);
        assert_eq!(up_to(Duration::ZERO), Duration::ZERO);
    }
}
