//! Versions of a Secret only go forward: which of two is the newer one.

use std::cmp::Ordering;

use super::secret::SecretVersion;

/// How a version that has come stands to the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Newer,
    Same,
    Older,
    /// Of another Secret by the same name, or with versions that are no numbers: only a read of the present state says.
    Unknown,
}

pub(super) fn step(known: &SecretVersion, next: &SecretVersion) -> Step {
    if known.uid() != next.uid() {
        return Step::Unknown;
    }
    match compare(known.resource_version(), next.resource_version()) {
        Some(Ordering::Less) => Step::Newer,
        Some(Ordering::Equal) => Step::Same,
        Some(Ordering::Greater) => Step::Older,
        None => Step::Unknown,
    }
}

/// Since Kubernetes 1.35 a promise, before a fact: versions are decimal numbers, of any length, without leading zeros.
fn compare(a: &str, b: &str) -> Option<Ordering> {
    if a == b {
        return Some(Ordering::Equal);
    }
    (is_number(a) && is_number(b)).then(|| a.len().cmp(&b.len()).then_with(|| a.cmp(b)))
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| ('1'..='9').contains(&first)) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::secret::tests::secret;
    use super::*;

    #[test]
    fn numbers_are_compared_and_nothing_else() {
        let long = "9".repeat(39);
        let cases = [
            ("u", "1", "u", "1", Step::Same),
            ("u", "9", "u", "10", Step::Newer),
            ("u", "10", "u", "9", Step::Older),
            ("u", "18446744073709551615", "u", &long, Step::Newer),
            ("u", "abc", "u", "abc", Step::Same),
            ("u", "abc", "u", "abd", Step::Unknown),
            ("u", "7", "u", "08", Step::Unknown),
            ("u", "7", "u", "-8", Step::Unknown),
            ("u", "7", "v", "8", Step::Unknown),
            ("u", "7", "v", "6", Step::Unknown),
        ];
        for (uid, version, next_uid, next_version, expected) in cases {
            let (known, next) = (secret(uid, version, &[]), secret(next_uid, next_version, &[]));
            assert_eq!(step(&known, &next), expected, "{uid} {version} {next_uid} {next_version}");
        }
    }
}
