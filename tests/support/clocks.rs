//! A time that runs fast, for tests and for the program alone.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Setup;

/// A time that runs `rate` times as fast as the real one, and began with it.
#[derive(Clone, Copy)]
pub(crate) struct Fast {
    began: f64,
    pub(crate) rate: f64,
}

impl Fast {
    pub(crate) fn new(rate: f64) -> Self {
        Self { began: real(), rate }
    }

    /// Seconds since the epoch, as a clock without an error shows them.
    pub(crate) fn now(self) -> f64 {
        self.began + (real() - self.began) * self.rate
    }

    /// How long a span of this time takes.
    pub(crate) fn span(self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds / self.rate)
    }

    /// A process that starts at once gets this time, wrong by `error` seconds.
    pub(crate) fn of(self, setup: Setup, library: &Path, error: f64) -> Setup {
        setup.clock(library, self.now() - real() + error, self.rate)
    }
}

fn real() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is past 1970").as_secs_f64()
}
