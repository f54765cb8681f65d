//! Clocks that are wrong, or run fast, for the program alone: libfaketime.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Setup;

/// Where Debian's package `libfaketime` puts it, by architecture.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// What a test that needs it says where it is not there.
pub(crate) const NEEDS_LIBFAKETIME: &str = "libfaketime (Debian's package `libfaketime`)";

/// libfaketime, where it is installed.
pub(crate) fn libfaketime() -> Option<PathBuf> {
    let architectures = fs::read_dir(LIBRARIES).ok()?;
    architectures.filter_map(Result::ok).map(|entry| entry.path().join(LIBRARY)).find(|path| path.exists())
}

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

    /// A process that starts at once gets this time, wrong by `error` seconds: what it asks for times of day. Its
    /// timers run in real time: the standard library waits for absolute times of the monotonic clock by system calls
    /// that libfaketime does not see.
    pub(crate) fn of(self, setup: Setup, library: &Path, error: f64) -> Setup {
        let off = self.now() - real() + error;
        setup
            .variable("LD_PRELOAD", &library.display().to_string())
            .variable("FAKETIME", &format!("{off:+.3} x{}", self.rate))
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .variable("NO_FAKE_STAT", "1")
    }
}

fn real() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is past 1970").as_secs_f64()
}
