//! Clocks that are wrong, for the program alone: libfaketime.

use std::fs;
use std::path::{Path, PathBuf};

use super::Setup;

/// Where Debian's package `libfaketime` puts it, by architecture.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// What a test says that cannot run without it.
pub(crate) const NEEDS_FAKETIME: &str = "libfaketime (Debian's package `libfaketime`)";

/// libfaketime, where it is installed.
pub(crate) fn faketime() -> Option<PathBuf> {
    let architectures = fs::read_dir(LIBRARIES).ok()?;
    architectures.filter_map(Result::ok).map(|entry| entry.path().join(LIBRARY)).find(|path| path.exists())
}

impl Setup {
    /// A process that starts at once gets a clock that is ahead by so many seconds and then runs `rate` times as fast: what
    /// it asks for times of day. Its timers run in real time: the standard library waits for absolute times of the monotonic
    /// clock by system calls that libfaketime does not see.
    pub(crate) fn clock(self, library: &Path, ahead: f64, rate: f64) -> Self {
        self.variable("LD_PRELOAD", &library.display().to_string())
            .variable("FAKETIME", &format!("{ahead:+.3} x{rate}"))
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .variable("NO_FAKE_STAT", "1")
    }
}
