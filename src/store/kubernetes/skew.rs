//! By how much this machine's clock is off.

use std::fmt;

/// Milliseconds; beyond that no keys are dated by this clock, and none are planned.
const ALLOWED_MS: i64 = 30_000;

/// How far this machine's clock is ahead of the API server's. Printed as a sentence's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    ms: i64,
}

impl Skew {
    pub(crate) fn new(ms: i64) -> Self {
        Self { ms }
    }

    /// Milliseconds, negative where it is behind.
    pub fn ms(self) -> i64 {
        self.ms
    }

    /// Whether keys may be dated by this clock.
    pub fn is_allowed(self) -> bool {
        self.ms.abs() <= ALLOWED_MS
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, way) = ((self.ms.abs() + 500) / 1_000, if self.ms > 0 { "ahead of" } else { "behind" });
        write!(f, "this machine's clock is {seconds} s {way} the API server's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_says_by_how_much_and_which_way() {
        for (ms, said, allowed) in [
            (95_400, "95 s ahead of", false),
            (30_001, "30 s ahead of", false),
            (30_000, "30 s ahead of", true),
            (-30_000, "30 s behind", true),
            (-30_600, "31 s behind", false),
            (400, "0 s ahead of", true),
        ] {
            let skew = Skew::new(ms);
            assert_eq!(skew.to_string(), format!("this machine's clock is {said} the API server's"), "{ms}");
            assert_eq!(skew.is_allowed(), allowed, "{ms}");
        }
    }
}
