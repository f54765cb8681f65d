//! PEM files of every kind, whole and broken.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use tempfile::TempDir;
use x509_parser::der_parser::parse_der;

use super::*;

/// A self-signed certificate and its key, as PEM.
fn issued() -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn keys_of_every_form_and_kind_are_read() {
    let dir = TempDir::new().unwrap();
    let (crt, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    for kind in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519, &PKCS_RSA_SHA256] {
        let pair = KeyPair::generate_for(kind).unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap();
        fs::write(&crt, certificate.pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let read = read_pair(&crt, &key).unwrap();
        assert_eq!(read.cert_chain, [certificate.der().clone()]);
        assert_eq!(read.key.secret_der(), pair.serialized_der());
    }
}

#[test]
fn the_older_forms_of_keys_are_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tls.pem");
    for (kind, label) in [(&PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY"), (&PKCS_RSA_SHA256, "RSA PRIVATE KEY")] {
        let pair = KeyPair::generate_for(kind).unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap().pem();
        // PKCS #8 wraps the older form in an octet string behind version and algorithm.
        let (_, outer) = parse_der(pair.serialized_der()).unwrap();
        let older = STANDARD.encode(outer.as_sequence().unwrap()[2].as_slice().unwrap());
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        let key = format!("{parameters}-----BEGIN {label}-----\n{older}\n-----END {label}-----\n");
        fs::write(&path, key + &certificate).unwrap();
        read_pair(&path, &path).unwrap();
    }
}

#[test]
fn one_file_may_hold_both() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tls.pem");
    let (certificate, key) = issued();
    fs::write(&path, format!("a comment\n{key}{certificate}")).unwrap();
    assert_eq!(read_pair(&path, &path).unwrap().cert_chain.len(), 1);
}

#[test]
fn bad_pairs_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let (crt, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let (certificate, private) = issued();
    let (other_certificate, other_private) = issued();
    let at_crt = || crt.clone();
    let at_key = || key.clone();
    let torn = private.replace("-----END", "-----DNE");
    let garbled = private.replace('A', "!").replace("PRIV!TE", "PRIVATE");
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let new_style = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old_style = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let both = |one: &str, two: &str| format!("{one}{two}");
    let mismatch = |belongs_to| TlsFileError::Mismatch { certificate: at_crt(), key: at_key(), belongs_to };
    let cases: Vec<(String, String, TlsFileError)> = vec![
        (String::new(), private.clone(), TlsFileError::NoCertificate { path: at_crt(), holds_key: false }),
        (private.clone(), private.clone(), TlsFileError::NoCertificate { path: at_crt(), holds_key: true }),
        (certificate.replace("-----END", ""), private.clone(), TlsFileError::BadPem { path: at_crt() }),
        (no_der.into(), private.clone(), TlsFileError::BadCertificate { path: at_crt(), number: 1 }),
        (both(&certificate, no_der), private.clone(), TlsFileError::BadCertificate { path: at_crt(), number: 2 }),
        (certificate.clone(), String::new(), TlsFileError::NoKey { path: at_key(), holds_certificate: false }),
        (certificate.clone(), certificate.clone(), TlsFileError::NoKey { path: at_key(), holds_certificate: true }),
        (certificate.clone(), torn, TlsFileError::BadPem { path: at_key() }),
        (certificate.clone(), garbled, TlsFileError::BadPem { path: at_key() }),
        (certificate.clone(), both(&private, &other_private), TlsFileError::SeveralKeys { path: at_key() }),
        (certificate.clone(), new_style.into(), TlsFileError::EncryptedKey { path: at_key() }),
        (certificate.clone(), old_style.into(), TlsFileError::EncryptedKey { path: at_key() }),
        (certificate.clone(), no_key.into(), TlsFileError::BadKey { path: at_key() }),
        (certificate.clone(), other_private.clone(), mismatch(None)),
        (both(&certificate, &other_certificate), other_private, mismatch(Some(2))),
    ];
    for (crt_pem, key_pem, expected) in cases {
        fs::write(&crt, crt_pem).unwrap();
        fs::write(&key, key_pem).unwrap();
        let error = read_pair(&crt, &key).unwrap_err();
        assert_eq!(error, expected);
        assert_eq!(error.reason(), Reason::Invalid);
        let line = error.to_string();
        assert!(line.contains("/tls.") && line.contains(": ") && !line.contains('\n'), "{line}");
        let quoted = private.lines().nth(1).expect("PEM has a body");
        assert!(!format!("{line}{error:?}").contains(&quoted[..16]), "{line}");
    }
}

#[test]
fn missing_and_huge_files_are_reported_by_path() {
    let dir = TempDir::new().unwrap();
    let (crt, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let (certificate, private) = issued();
    fs::write(&crt, &certificate).unwrap();
    let missing = TlsFileError::Read(ReadError::Missing { path: key.clone() });
    assert_eq!(read_pair(&crt, &key).unwrap_err(), missing);
    fs::write(&key, &private).unwrap();
    fs::write(&crt, certificate.repeat(10_000)).unwrap();
    let huge = TlsFileError::Read(ReadError::TooLarge { path: crt.clone(), limit: MAX_BYTES });
    assert_eq!(read_pair(&crt, &key).unwrap_err(), huge);
    assert_eq!(read_ca_bundle(&crt).unwrap_err(), huge);
}

#[test]
fn bundles_hold_one_certificate_or_more() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca.crt");
    let ((one, key), (two, _)) = (issued(), issued());
    fs::write(&path, format!("{one}\n# two\n{two}")).unwrap();
    assert_eq!(read_ca_bundle(&path).unwrap().len(), 2);
    fs::write(&path, &key).unwrap();
    let error = read_ca_bundle(&path).unwrap_err();
    assert_eq!(error, TlsFileError::NoCertificate { path: path.clone(), holds_key: true });
    fs::write(&path, format!("{one}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")).unwrap();
    assert_eq!(read_ca_bundle(&path).unwrap_err(), TlsFileError::BadCertificate { path, number: 2 });
}

#[test]
fn world_readable_keys_are_noticed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tls.key");
    fs::write(&path, "").unwrap();
    for (mode, expected) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(key_is_world_readable(&path), expected, "{mode:o}");
    }
    assert!(!key_is_world_readable(&dir.path().join("none")));
}

#[test]
fn a_pair_never_prints_its_key() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tls.pem");
    let (certificate, key) = issued();
    fs::write(&path, format!("{key}{certificate}")).unwrap();
    let pair = read_pair(&path, &path).unwrap();
    assert_eq!(format!("{pair:?}"), "Pair { certificates: 1, .. }");
}
