//! The local authority and the server certificate that it issues.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{Files, PUBLIC, SECRET, Write, snapshot};
use crate::pki::{CertificateFacts, LocalCa, PkiError, is_issued_by};
use crate::store::tls_material::{self, Pair};
use crate::store::versioned_file::Snapshot;

const DAY: u64 = 86_400;
const LEAF_DAYS: u64 = 365;
/// A certificate that ends sooner than this is renewed.
const RENEW_BEFORE: u64 = 30 * DAY;

/// Plans the authority (`ca.crt`, `ca.key`) and the server's pair (`tls.crt`, `tls.key`) in `dir`.
pub(super) fn plan(files: &mut Files, dir: &Path, hosts: &[String], now: u64) -> Result<(), String> {
    let ca = authority(files, dir, now)?;
    let (cert_path, key_path) = (dir.join("tls.crt"), dir.join("tls.key"));
    let (cert, key) = (snapshot(&cert_path)?, snapshot(&key_path)?);
    let list = hosts.join(", ");
    let note = match (cert.content(), key.content()) {
        (Some(_), Some(_)) => {
            let pair = tls_material::read_pair(&cert_path, &key_path)
                .map_err(|error| format!("{error}; or remove both, {cert_path:?} and {key_path:?}, to get new ones"))?;
            match unfit(&pair, &ca, hosts, now) {
                Some(reason) => format!("renewed the server certificate, tls/tls.crt, for {list}: {reason}"),
                None => return Ok(()),
            }
        }
        (None, None) => format!("made a server certificate for {list}: tls/tls.crt"),
        (Some(_), None) => format!("made a server certificate for {list}: the key of tls/tls.crt was missing"),
        (None, Some(_)) => format!("made a server certificate for {list}: that of tls/tls.key was missing"),
    };
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let issued = ca.issue_server(&names, LEAF_DAYS, now).map_err(|error| format!("{dir:?}: {error}"))?;
    files.notes.push(note);
    // The key first: a certificate without its key is found incomplete by the next start.
    files.writes.push(Write { path: key_path, seen: key, content: issued.key_pem.into_bytes(), mode: SECRET });
    files.writes.push(Write { path: cert_path, seen: cert, content: issued.cert_pem.into_bytes(), mode: PUBLIC });
    Ok(())
}

fn authority(files: &mut Files, dir: &Path, now: u64) -> Result<LocalCa, String> {
    const TRUST: &str = "whoever trusted the old tls/ca.crt needs the new one";
    let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
    let (cert, key) = (snapshot(&cert_path)?, snapshot(&key_path)?);
    let failed = |error: PkiError| {
        // The others say so themselves.
        let mend = if error == PkiError::NotACertificate { "; or remove both to get new ones" } else { "" };
        format!("{cert_path:?}, {key_path:?}: {error}{mend}")
    };
    let note = match (&cert, &key) {
        (cert, key) if cert.content().is_some() && key.content().is_some() => {
            let ca = load(cert, key).map_err(failed)?;
            if now <= ca.not_after() {
                return Ok(ca);
            }
            format!("made a new certificate authority, as the old one has expired: {TRUST}")
        }
        (cert, _) if cert.content().is_some() => {
            format!("made a new certificate authority, as tls/ca.key was missing: {TRUST}")
        }
        (_, key) if key.content().is_some() => {
            format!("made a new certificate authority, as tls/ca.crt was missing: {TRUST}")
        }
        _ => "made a local certificate authority: tls/ca.crt".to_owned(),
    };
    let ca = LocalCa::create(now).map_err(failed)?;
    files.notes.push(note);
    let (cert_pem, key_pem) = (ca.cert_pem().as_bytes().to_vec(), ca.key_pem().into_bytes());
    files.writes.push(Write { path: key_path, seen: key, content: key_pem, mode: SECRET });
    files.writes.push(Write { path: cert_path, seen: cert, content: cert_pem, mode: PUBLIC });
    Ok(ca)
}

fn load(cert: &Snapshot, key: &Snapshot) -> Result<LocalCa, PkiError> {
    let text = |snapshot: &Snapshot| str::from_utf8(snapshot.content().unwrap_or_default()).map(str::to_owned);
    LocalCa::load(&text(cert).map_err(|_| PkiError::NotACertificate)?, &text(key).map_err(|_| PkiError::NotAKey)?)
}

/// Why a pair that is whole has to be renewed.
fn unfit(pair: &Pair, ca: &LocalCa, hosts: &[String], now: u64) -> Option<String> {
    let Some(facts) = pair.cert_chain.first().and_then(|leaf| CertificateFacts::of(leaf.clone()).ok()) else {
        return Some("it could not be read".to_owned());
    };
    if !is_issued_by_ca(pair, ca) {
        return Some("the old one was not issued by tls/ca.crt".to_owned());
    }
    if facts.is_expired(now) {
        return Some("the old one has expired".to_owned());
    }
    // A new one cannot outlast the authority.
    if facts.not_after < (now + RENEW_BEFORE).min(ca.not_after()) {
        return Some("the old one ends within 30 days".to_owned());
    }
    let missing = hosts.iter().find(|host| !facts.covers(host))?;
    Some(format!("the old one was not for {missing}"))
}

fn is_issued_by_ca(pair: &Pair, ca: &LocalCa) -> bool {
    let authority = CertificateDer::from_pem_slice(ca.cert_pem().as_bytes());
    authority.is_ok_and(|authority| is_issued_by(&pair.cert_chain, &authority))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const NOW: u64 = 1_900_000_000;

    /// Plans at `now` for `hosts`, writes, and returns the notes.
    fn make(dir: &Path, hosts: &[&str], now: u64) -> Vec<String> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut files = Files::nothing(dir);
        plan(&mut files, &dir.join("tls"), &hosts, now).unwrap();
        files.write().unwrap();
        files.notes
    }

    fn read(dir: &Path) -> [Vec<u8>; 4] {
        ["ca.crt", "ca.key", "tls.crt", "tls.key"].map(|name| fs::read(dir.join("tls").join(name)).unwrap())
    }

    #[test]
    fn a_certificate_is_renewed_when_it_is_due_and_not_before() {
        let day = |days: u64| NOW + days * DAY;
        for (later, hosts, reason) in [
            (day(0), &["localhost"][..], None),
            (day(334), &["localhost"], None),
            (day(336), &["localhost"], Some("ends within 30 days")),
            (day(366), &["localhost"], Some("has expired")),
            (day(1), &["localhost", "10.0.0.1"], Some("was not for 10.0.0.1")),
        ] {
            let dir = TempDir::new().unwrap();
            make(dir.path(), &["localhost"], NOW);
            let before = read(dir.path());
            let notes = make(dir.path(), hosts, later);
            let after = read(dir.path());
            assert_eq!(before[..2], after[..2], "the authority stays");
            match reason {
                None => assert!(notes.is_empty() && before == after, "{notes:?}"),
                Some(reason) => {
                    assert!(notes[0].contains(reason), "{notes:?}");
                    assert!(before[2] != after[2] && before[3] != after[3], "{reason}");
                    assert!(make(dir.path(), hosts, later).is_empty(), "{reason}");
                }
            }
        }
    }

    #[test]
    fn an_authority_is_replaced_only_when_missing_or_expired() {
        for (missing, later, reason) in [
            (None, NOW + 3_649 * DAY, None),
            (None, NOW + 3_651 * DAY, Some("has expired")),
            (Some("ca.key"), NOW, Some("tls/ca.key was missing")),
            (Some("ca.crt"), NOW, Some("tls/ca.crt was missing")),
        ] {
            let dir = TempDir::new().unwrap();
            make(dir.path(), &["localhost"], NOW);
            let before = read(dir.path());
            if let Some(name) = missing {
                fs::remove_file(dir.path().join("tls").join(name)).unwrap();
            }
            let notes = make(dir.path(), &["localhost"], later);
            let after = read(dir.path());
            match reason {
                None => assert_eq!(before[..2], after[..2]),
                Some(reason) => {
                    assert!(notes[0].contains(reason) && notes[0].contains("needs the new one"), "{notes:?}");
                    assert!(notes[1].contains("not issued by"), "{notes:?}");
                    assert_ne!(before[0], after[0]);
                }
            }
            // At the end of the authority nothing is renewed again and again.
            assert!(make(dir.path(), &["localhost"], later).is_empty());
        }
    }

    #[test]
    fn half_a_pair_is_made_whole() {
        for name in ["tls.crt", "tls.key"] {
            let dir = TempDir::new().unwrap();
            make(dir.path(), &["localhost"], NOW);
            fs::remove_file(dir.path().join("tls").join(name)).unwrap();
            let notes = make(dir.path(), &["localhost"], NOW);
            assert!(notes[0].contains("was missing"), "{notes:?}");
            tls_material::read_pair(&dir.path().join("tls/tls.crt"), &dir.path().join("tls/tls.key")).unwrap();
        }
    }
}
