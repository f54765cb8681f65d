//! What is issued, as TLS clients judge it.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{ServerName, UnixTime};
use x509_parser::extensions::ParsedExtension;

use super::*;
use crate::pki::inspect;

const NOW: u64 = 1_800_000_000;

/// Whether a client that trusts `ca` alone accepts `leaf` for `host` at `now`.
fn accepts(ca: &LocalCa, leaf: &Issued, host: &str, now: u64) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let leaf = CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes()).unwrap();
    let name = ServerName::try_from(host).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    verifier.verify_server_cert(&leaf, &[], &name, &[], now).is_ok()
}

#[test]
fn issued_certificates_are_accepted_for_their_hosts_and_time_alone() {
    let ca = LocalCa::create(NOW).unwrap();
    let leaf = ca.issue_server(&["localhost", "127.0.0.1", "::1", "*.App.test"], 30, NOW).unwrap();
    for (host, now, accepted) in [
        ("localhost", NOW, true),
        ("127.0.0.1", NOW, true),
        ("::1", NOW, true),
        ("x.app.test", NOW, true),
        ("example.com", NOW, false),
        ("127.0.0.2", NOW, false),
        ("localhost", NOW - 3_600, true),
        ("localhost", NOW - 3_601, false),
        ("localhost", NOW + 30 * DAY, true),
        ("localhost", NOW + 30 * DAY + 1, false),
    ] {
        assert_eq!(accepts(&ca, &leaf, host, now), accepted, "{host} at {now}");
    }
    let another = LocalCa::create(NOW).unwrap();
    assert!(!accepts(&another, &leaf, "localhost", NOW));
    assert_ne!(subject(another.cert_pem()), subject(ca.cert_pem()));
}

fn subject(pem: &str) -> Vec<u8> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    parse_x509_certificate(&der).unwrap().1.subject().as_raw().to_vec()
}

#[test]
fn extensions_are_what_strict_clients_want() {
    let ca = LocalCa::create(NOW).unwrap();
    let leaf = ca.issue_server(&["localhost"], 30, NOW).unwrap();
    let ca_der = CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap();
    let leaf_der = CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes()).unwrap();
    let (_, ca) = parse_x509_certificate(&ca_der).unwrap();
    let (_, leaf) = parse_x509_certificate(&leaf_der).unwrap();

    let constraints = ca.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = ca.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    assert!(!usage.value.digital_signature());

    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_cert_sign());
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && !purposes.client_auth && !purposes.any);

    let key_id = |certificate: &x509_parser::certificate::X509Certificate<'_>| {
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    };
    let authority = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
        _ => None,
    });
    assert!(key_id(&leaf).is_some());
    assert_eq!(authority.map(|id| id.0.to_vec()), key_id(&ca));
    assert_eq!(leaf.issuer().as_raw(), ca.subject().as_raw());
}

#[test]
fn no_leaf_lasts_longer_than_browsers_or_its_authority_allow() {
    let ca = LocalCa::create(NOW).unwrap();
    let facts = |days, now| inspect(ca.issue_server(&["a"], days, now).unwrap().cert_pem.as_bytes()).unwrap();
    for days in [397, 398, u64::MAX] {
        let facts = facts(days, NOW);
        assert_eq!(facts.not_after - facts.not_before, 397 * DAY);
    }
    assert_eq!(facts(396, NOW).not_after, NOW + 396 * DAY);
    assert_eq!(facts(30, ca.not_after() - DAY).not_after, ca.not_after());
    let error = ca.issue_server(&["a"], 30, ca.not_after() + 1).unwrap_err();
    assert_eq!(error, PkiError::Expired);
}

#[test]
fn a_stored_authority_goes_on_issuing() {
    let made = LocalCa::create(NOW).unwrap();
    let loaded = LocalCa::load(made.cert_pem(), &made.key_pem()).unwrap();
    assert_eq!(loaded.cert_pem(), made.cert_pem());
    assert_eq!(loaded.not_after(), made.not_after());
    let leaf = loaded.issue_server(&["localhost"], 30, NOW + DAY).unwrap();
    assert!(accepts(&made, &leaf, "localhost", NOW + DAY));
}

#[test]
fn what_is_no_authority_of_ours_is_not_loaded() {
    let ca = LocalCa::create(NOW).unwrap();
    let other = LocalCa::create(NOW).unwrap();
    let leaf = ca.issue_server(&["localhost"], 30, NOW).unwrap();
    let foreign_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let foreign = params.self_signed(&foreign_key).unwrap().pem();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    for (cert_pem, key_pem, expected) in [
        ("", ca.key_pem(), PkiError::NotACertificate),
        (ca.cert_pem(), String::new(), PkiError::NotAKey),
        (ca.cert_pem(), ed25519, PkiError::NotAKey),
        (ca.cert_pem(), other.key_pem(), PkiError::KeyMismatch),
        (&leaf.cert_pem, leaf.key_pem.clone(), PkiError::NotOurs),
        (&foreign, foreign_key.serialize_pem(), PkiError::NotOurs),
    ] {
        assert_eq!(LocalCa::load(cert_pem, &key_pem).unwrap_err(), expected);
    }
}

#[test]
fn hosts_are_names_or_addresses() {
    let ca = LocalCa::create(NOW).unwrap();
    for bad in ["", "*", "*.", "a b", "a_b.c/d", "[::1]", "http://a", "a:443", "a.", "x.*.y", "café", "1.2.3"] {
        let error = ca.issue_server(&["localhost", bad], 30, NOW).unwrap_err();
        assert_eq!(error, PkiError::BadHost { host: bad.to_owned() });
    }
    assert_eq!(ca.issue_server(&[], 30, NOW).unwrap_err(), PkiError::NoHosts);
    let long = format!("{}.test", "a".repeat(62));
    let leaf = ca.issue_server(&[&long, &long.to_uppercase()], 30, NOW).unwrap();
    assert!(accepts(&ca, &leaf, &long, NOW));
    assert_eq!(inspect(leaf.cert_pem.as_bytes()).unwrap().dns_names, [long]);
}

#[test]
fn keys_are_never_printed() {
    let ca = LocalCa::create(NOW).unwrap();
    let leaf = ca.issue_server(&["localhost"], 30, NOW).unwrap();
    let printed = format!("{ca:?}{leaf:?}");
    assert!(!printed.contains("PRIVATE"), "{printed}");
}
