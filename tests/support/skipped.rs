//! Tests that cannot run here.

use std::io::{self, Write as _};
use std::thread;

/// Says that a test is skipped; where CI is set, that is a failure.
pub(crate) fn skipped(needs: &str) {
    let test = thread::current();
    say(&format!("SKIPPED {}: needs {needs}", test.name().unwrap_or_default()));
    assert!(std::env::var_os("CI").is_none(), "with CI set nothing may be skipped: needs {needs}");
}

/// To standard error itself: what tests print is shown only when they fail.
pub(crate) fn say(line: &str) {
    // A closed standard error is no fault of a test.
    drop(writeln!(io::stderr(), "{line}"));
}
