//! The key ring: whether a key signs, and whether its successors come by themselves.

use std::path::Path;

use super::finding::Finding;
use crate::auth::keys::KeyRing;
use crate::auth::names;
use crate::auth::rotation::{Idle, Plan, Policy, plan};
use crate::store::KEYS_ENTRY;
use crate::store::directory::read_entries;
use crate::store::keys_document::{self, InvalidDocument, Parsed};
use crate::store::tls_material::key_is_world_readable;
use crate::store::versioned_file::{Snapshot, is_writable};

pub(super) const KEYS: &str = "keys";

/// Reads the keys' directory.
pub(super) fn findings(directory: &Path, policy: &Policy, now: u64) -> Vec<Finding> {
    let file = directory.join(KEYS_ENTRY);
    let document = match read_entries(directory).and_then(|_| Snapshot::read(&file)) {
        Ok(document) => document,
        Err(error) => return vec![Finding::from_error(KEYS, &error)],
    };
    let writable = is_writable(&file);
    let ring = keys_document::parse(document.content().unwrap_or_default());
    let is_ring = ring.is_ok();
    let mut findings = parsed(ring, &format!("{file:?}"), writable, policy, now);
    if is_ring && !writable {
        findings.push(Finding::warning(
            KEYS,
            "the directory cannot be written here, so that keys do not rotate by themselves",
            "run `vestibule keys rotate --if-due` regularly where it can be, or make it writable",
        ));
    }
    if key_is_world_readable(&file) {
        findings.push(Finding::warning(KEYS, format!("{file:?} can be read by everyone"), "`chmod 600` it"));
    }
    findings
}

/// Judges what was read at a place, or says why it could not be.
pub(super) fn parsed(
    parsed: Result<Parsed, InvalidDocument>,
    place: &str,
    writable: bool,
    policy: &Policy,
    now: u64,
) -> Vec<Finding> {
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return vec![Finding::error(
                KEYS,
                format!("{place}: {error}"),
                "mend the document: until then no change of it counts, and at a start no token is good",
            )];
        }
    };
    let mut findings = judged(&parsed.ring, writable, policy, now);
    let warnings = parsed.warnings.iter();
    findings.extend(warnings.map(|warning| Finding::warning(KEYS, warning, "mend that key, or revoke it")));
    findings
}

fn judged(ring: &KeyRing, writable: bool, policy: &Policy, now: u64) -> Vec<Finding> {
    let plan = plan(ring, now, policy);
    let mut findings = vec![match (ring.signer(now, policy.ttl), &plan) {
        (Some(signer), _) => {
            Finding::ok(KEYS, format!("key {} ({}) signs", names::shown(signer.kid()), signer.algorithm()))
        }
        (None, Plan::Write(_)) if writable => {
            Finding::warning(KEYS, "no key signs yet", "start `vestibule serve`, or run `vestibule keys rotate`")
        }
        (None, Plan::Nothing { why: Idle::SuccessorPending, .. }) => Finding::error(
            KEYS,
            "no key signs before the pending one does: nobody can log in until then",
            "revoke it with `vestibule keys revoke KID`, and run `vestibule keys rotate`",
        ),
        (None, _) => Finding::error(
            KEYS,
            "no key signs: nobody can log in",
            "run `vestibule keys rotate` where the ring can be written",
        ),
    }];
    match plan {
        Plan::Write(_) if ring.signer(now, policy.ttl).is_some() => findings.push(Finding::warning(
            KEYS,
            "a rotation is due and has not been made",
            "run `vestibule keys rotate --if-due`; a running `serve` does so where it may write",
        )),
        Plan::Nothing { why: Idle::RingFull, .. } => findings.push(Finding::warning(
            KEYS,
            "a rotation is due, and the ring holds as many keys as it may",
            "remove one with `vestibule keys revoke KID`",
        )),
        Plan::Write(_) | Plan::Nothing { .. } => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::{Algorithm, Key};
    use crate::check::Severity::{self, Error, Ok, Warning};

    const NOW: u64 = 1_000_000;
    const POLICY: Policy =
        Policy { algorithm: Algorithm::Hs512, rotate_every: 10_000, propagation: 60, max_ttl: 600, ttl: 300 };

    fn found(keys: &[(u64, Option<u64>)], writable: bool) -> Vec<(Severity, String)> {
        let key = |(nbf, exp): &(u64, Option<u64>)| Key::fresh(Algorithm::Hs512, *nbf, *nbf).with_exp(*exp);
        let ring = KeyRing::new(keys.iter().map(key).collect()).expect("a ring");
        judged(&ring, writable, &POLICY, NOW).into_iter().map(|f| (f.severity, f.message)).collect()
    }

    #[test]
    fn a_key_must_sign_and_have_a_successor_in_time() {
        let fresh = (NOW - 10, None);
        let due = (NOW - 10_000, None);
        let pending = (NOW + 30, None);
        for (keys, writable, expected) in [
            (&[fresh][..], true, &[(Ok, "signs")][..]),
            (&[due], true, &[(Ok, "signs"), (Warning, "rotation is due")]),
            (&[due, pending], true, &[(Ok, "signs")]),
            (&[fresh], false, &[(Ok, "signs")]),
            (&[], true, &[(Warning, "no key signs yet")]),
            (&[], false, &[(Error, "no key signs:")]),
            (&[pending], true, &[(Error, "before the pending one")]),
            (&[(NOW - 10, Some(NOW + 100))], false, &[(Error, "no key signs:")]),
        ] {
            let found = found(keys, writable);
            assert_eq!(found.len(), expected.len(), "{keys:?}: {found:?}");
            for ((severity, message), (expected, words)) in found.iter().zip(expected) {
                assert_eq!(severity, expected, "{keys:?}: {message}");
                assert!(message.contains(words), "{keys:?}: {message}");
            }
        }
    }
}
