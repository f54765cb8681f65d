//! When a replica's turn to write comes: each draws a time, the first one writes, the others find nothing left to do.

use std::time::Duration;

use tokio::time::Instant;

/// After the first write that failed; the next pauses are twice as long.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause while nobody is served until something is written.
const LONGEST_IF_URGENT: Duration = Duration::from_secs(10);

/// The turns of one writer.
pub(super) struct Turns {
    turn: Option<Instant>,
    /// After a write that failed, before the next.
    pause: Duration,
    longest: Duration,
}

/// A write that is due.
#[derive(Clone, Copy)]
pub(super) struct Due {
    /// Somebody is waiting for it.
    pub(super) urgent: bool,
    /// How long to wait for others to do it.
    pub(super) jitter: Duration,
}

impl Turns {
    /// `longest`: the longest pause between writes that fail.
    pub(super) fn new(longest: Duration) -> Self {
        Self { turn: None, pause: Duration::ZERO, longest }
    }

    /// When to write; looks in between do not put it off.
    pub(super) fn draw(&mut self, due: Option<Due>) -> Option<Instant> {
        self.turn = due.map(|Due { urgent, jitter }| {
            let pause = if urgent { self.pause.min(LONGEST_IF_URGENT) } else { self.pause };
            let drawn = Instant::now() + pause + jitter;
            match self.turn {
                Some(turn) if urgent => turn.min(drawn),
                Some(turn) => turn,
                None => drawn,
            }
        });
        self.turn
    }

    /// Whether the turn has come; then the next one is drawn anew.
    pub(super) fn take(&mut self) -> bool {
        self.turn.take_if(|turn| *turn <= Instant::now()).is_some()
    }

    pub(super) fn succeeded(&mut self) {
        self.pause = Duration::ZERO;
    }

    pub(super) fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(SHORTEST_PAUSE, self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn due(urgent: bool, jitter: Duration) -> Option<Due> {
        Some(Due { urgent, jitter })
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_was_drawn_is_kept() {
        let mut turns = Turns::new(30 * SECOND);
        let first = turns.draw(due(false, 7 * SECOND));
        assert_eq!(first, Some(Instant::now() + 7 * SECOND));
        assert_eq!(turns.draw(due(false, 3 * SECOND)), first);
        assert_eq!(turns.draw(due(true, 3 * SECOND)), Some(Instant::now() + 3 * SECOND), "it has become urgent");
        assert!(!turns.take());
        tokio::time::sleep(3 * SECOND).await;
        assert!(turns.take() && !turns.take());
        assert_eq!(turns.draw(None), None);
        assert_eq!(turns.draw(due(false, SECOND)), Some(Instant::now() + SECOND), "a turn that was not needed is over");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_their_bound_and_end_with_a_success() {
        let mut turns = Turns::new(30 * SECOND);
        for (pause, urgent_pause) in [(1, 1), (2, 2), (4, 4), (8, 8), (16, 10), (30, 10), (30, 10)] {
            turns.failed();
            for (urgent, pause) in [(false, pause), (true, urgent_pause)] {
                turns.draw(None);
                assert_eq!(turns.draw(due(urgent, Duration::ZERO)), Some(Instant::now() + pause * SECOND));
            }
        }
        turns.succeeded();
        turns.draw(None);
        assert_eq!(turns.draw(due(false, Duration::ZERO)), Some(Instant::now()));
    }
}
