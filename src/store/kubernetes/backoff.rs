//! How long to leave the API server alone after a failure.

use std::time::Duration;

use crate::store::jitter;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// However long the API server asks to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Pauses that double, each drawn anew between nothing and all of it, so that thousands that lost their connection at the
/// same moment do not come back at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    limit: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { limit: FIRST }
    }

    /// It went well for a while.
    pub(super) fn reset(&mut self) {
        self.limit = FIRST;
    }

    /// The next pause, not shorter than what the API server asked for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let pause = jitter::up_to(self.limit);
        self.limit = (self.limit * 2).min(LONGEST);
        asked.map_or(pause, |asked| asked.min(LONGEST_ASKED) + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_differ() {
        let mut backoff = Backoff::new();
        let mut limit = FIRST;
        for _ in 0..10 {
            assert!(backoff.next(None) <= limit);
            limit = (limit * 2).min(LONGEST);
        }
        assert_eq!(backoff.limit, LONGEST);
        let drawn: std::collections::BTreeSet<_> = (0..20).map(|_| backoff.next(None)).collect();
        assert!(drawn.len() > 10, "{drawn:?}");
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
    }

    #[test]
    fn what_the_api_server_asks_for_is_kept_within_reason() {
        let mut backoff = Backoff::new();
        let asked = Duration::from_secs(7);
        assert!((asked..=asked + FIRST).contains(&backoff.next(Some(asked))));
        assert!(backoff.next(Some(Duration::from_secs(1 << 40))) <= LONGEST_ASKED + LONGEST);
    }
}
