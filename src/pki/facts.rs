//! What a certificate says of itself: its names and the time in which it is good.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::pki::PkiError;

/// The facts that decide whether clients accept a server's certificate (RFC 5280, section 4.1.2.5
/// and 4.2.1.6). Times are seconds since the epoch, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    pub not_before: u64,
    pub not_after: u64,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
    der: CertificateDer<'static>,
}

/// The facts of the first certificate in a PEM file.
pub fn inspect(cert_pem: &[u8]) -> Result<CertificateFacts, PkiError> {
    let der = CertificateDer::from_pem_slice(cert_pem).map_err(|_| PkiError::NotACertificate)?;
    CertificateFacts::of(der)
}

impl CertificateFacts {
    /// The facts of one certificate in DER.
    pub fn of(der: CertificateDer<'static>) -> Result<Self, PkiError> {
        let (_, parsed) = parse_x509_certificate(&der).map_err(|_| PkiError::NotACertificate)?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let names = parsed.subject_alternative_name().map_err(|_| PkiError::NotACertificate)?;
        let names = names.map(|extension| extension.value.general_names.as_slice());
        let mut dns_names = Vec::new();
        let mut ip_addresses = Vec::new();
        for name in names.unwrap_or_default() {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => ip_addresses.extend(ip_address(octets)),
                _ => {}
            }
        }
        Ok(Self {
            not_before: seconds(parsed.validity().not_before.timestamp()),
            not_after: seconds(parsed.validity().not_after.timestamp()),
            dns_names,
            ip_addresses,
            der,
        })
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub fn is_expired(&self, now: u64) -> bool {
        now > self.not_after
    }

    pub fn is_not_yet_valid(&self, now: u64) -> bool {
        now < self.not_before
    }

    /// When it is to be renewed: at two thirds of its life, and up to a thirtieth of it later. That much is drawn from
    /// the certificate itself: whoever looks at it gets the same time, and certificates that were made together get others.
    pub fn renew_at(&self) -> u64 {
        let life = self.not_after.saturating_sub(self.not_before);
        // The end of the signature, which is as good as random.
        let drawn = self.der.last_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
        let spread = (life / 30).saturating_mul(drawn.into()) >> 16;
        self.not_before.saturating_add(life - life.div_ceil(3)).saturating_add(spread)
    }

    /// Whether it says that it is for this host, word for word: also for a name such as `*.example.org`.
    pub fn names(&self, host: &str) -> bool {
        match host.parse::<IpAddr>() {
            Ok(address) => self.ip_addresses.contains(&address),
            Err(_) => self.dns_names.iter().any(|name| name.eq_ignore_ascii_case(host)),
        }
    }

    /// Whether a client that asks for `host`, a DNS name or an IP address, would accept the names
    /// (RFC 6125, as rustls applies it: subject alternative names only, `*` for one whole label).
    pub fn covers(&self, host: &str) -> bool {
        ServerName::try_from(host).is_ok_and(|name| {
            ParsedCertificate::try_from(&self.der)
                .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
        })
    }
}

/// Whether a server's chain, leaf first, leads to this authority. Its times are judged elsewhere.
pub fn is_issued_by(chain: &[CertificateDer<'static>], authority: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(authority.clone()).is_err() {
        return false;
    }
    let Some((leaf, intermediates)) = chain.split_first() else { return false };
    let Ok(facts) = CertificateFacts::of(leaf.clone()) else { return false };
    // At a time when it was good.
    let then = UnixTime::since_unix_epoch(Duration::from_secs(facts.not_before));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    ParsedCertificate::try_from(leaf).is_ok_and(|leaf| {
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, then, algorithms.all).is_ok()
    })
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).into());
    let v6 = <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).into());
    v4.or(v6).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::*;

    fn certificate(hosts: &[&str], not_before: i64, not_after: i64) -> String {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.not_before = OffsetDateTime::from_unix_timestamp(not_before).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(not_after).unwrap();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn names_are_covered_as_clients_judge_them() {
        let hosts = ["app.example.com", "*.apps.example.com", "10.0.0.1", "::1"];
        let facts = inspect(certificate(&hosts, 0, 1).as_bytes()).unwrap();
        assert_eq!(facts.dns_names, ["app.example.com", "*.apps.example.com"]);
        assert_eq!(facts.ip_addresses, ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        for (host, covered) in [
            ("app.example.com", true),
            ("APP.example.COM", true),
            ("app.example.com.", true),
            ("app.example.com..", false),
            ("x.app.example.com", false),
            ("example.com", false),
            ("one.apps.example.com", true),
            ("two.one.apps.example.com", false),
            ("apps.example.com", false),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("::1", true),
            ("0:0:0:0:0:0:0:1", true),
            ("::2", false),
            ("", false),
            (".", false),
            ("app example com", false),
        ] {
            assert_eq!(facts.covers(host), covered, "{host:?}");
        }
    }

    #[test]
    fn times_are_inclusive() {
        let facts = inspect(certificate(&["a"], 1_000, 2_000).as_bytes()).unwrap();
        assert_eq!((facts.not_before, facts.not_after), (1_000, 2_000));
        for (now, early, late) in
            [(999, true, false), (1_000, false, false), (2_000, false, false), (2_001, false, true)]
        {
            assert_eq!(facts.is_not_yet_valid(now), early, "{now}");
            assert_eq!(facts.is_expired(now), late, "{now}");
        }
        let ancient = inspect(certificate(&["a"], -10_000, -1).as_bytes()).unwrap();
        assert!(ancient.is_expired(1));
    }

    #[test]
    fn the_first_certificate_counts_and_anything_else_is_refused() {
        let pem = certificate(&["first"], 0, 1) + &certificate(&["second"], 0, 1);
        assert_eq!(inspect(pem.as_bytes()).unwrap().dns_names, ["first"]);
        for bad in [
            "",
            "no PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        ] {
            assert_eq!(inspect(bad.as_bytes()).unwrap_err(), PkiError::NotACertificate, "{bad:?}");
        }
    }
}
