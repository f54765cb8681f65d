//! A certificate authority of one's own, and the server certificates that it issues.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::pki::{CertificateFacts, PkiError};

const DAY: u64 = 86_400;

/// Clocks of clients may be behind by this much.
const BACKDATED: u64 = 3_600;

const CA_DAYS: u64 = 3_650;

/// The longest that browsers accept (CA/Browser Forum, Baseline Requirements, section 6.3.2).
const MAX_LEAF_DAYS: u64 = 397;

/// The upper bound of a subject's common name (RFC 5280, appendix A.1).
const MAX_COMMON_NAME: usize = 64;

/// What an authority is called, before a part of its key's identifier.
const ORGANIZATION: &str = "Vestibule";
const NAME: &str = "Vestibule local CA ";

/// Of base64 in PEM (RFC 7468, section 2).
const COLUMNS: usize = 64;

/// An authority of ECDSA P-256 that signs server certificates and no further authorities.
pub struct LocalCa {
    cert_pem: String,
    facts: CertificateFacts,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, each as PEM.
pub struct Issued {
    /// The leaf alone: clients have the authority already, or do not trust it.
    pub cert_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

impl LocalCa {
    /// A new authority, good from an hour before `now` (seconds since the epoch) for ten years.
    pub fn create(now: u64) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| PkiError::Failed)?;
        let mut params = ca_params(&key);
        params.not_before = date(now.saturating_sub(BACKDATED))?;
        params.not_after = date(now.saturating_add(CA_DAYS * DAY))?;
        let certificate = params.self_signed(&key).map_err(|_| PkiError::Failed)?;
        Ok(Self {
            cert_pem: certificate.pem(),
            facts: CertificateFacts::of(certificate.into())?,
            issuer: Issuer::new(params, key),
        })
    }

    /// One that [`LocalCa::create`] made earlier; any other is refused. Expiry is not judged here.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let der = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|_| PkiError::NotACertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| PkiError::NotAKey)?;
        Ok(Self { cert_pem: cert_pem.to_owned(), ..Self::of(der, &key)? })
    }

    /// The same in DER.
    pub(super) fn of(der: CertificateDer<'static>, key: &PrivateKeyDer<'_>) -> Result<Self, PkiError> {
        let key = KeyPair::from_der_and_sign_algo(key, &PKCS_ECDSA_P256_SHA256).map_err(|_| PkiError::NotAKey)?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|_| PkiError::NotACertificate)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(PkiError::KeyMismatch);
        }
        // What is issued names its issuer by our own parameters, so they must be this one's.
        let params = ca_params(&key);
        let ours = params.self_signed(&key).map_err(|_| PkiError::Failed)?;
        let (_, ours) = parse_x509_certificate(ours.der()).map_err(|_| PkiError::Failed)?;
        if !parsed.is_ca() || parsed.subject().as_raw() != ours.subject().as_raw() {
            return Err(PkiError::NotOurs);
        }
        let cert_pem = pem("CERTIFICATE", &der).to_string();
        Ok(Self { cert_pem, facts: CertificateFacts::of(der)?, issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate as PEM: what clients are given to trust.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's private key as PKCS #8 PEM, to be stored.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// What its certificate says.
    pub(super) fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// When the authority ends, in seconds since the epoch.
    pub fn not_after(&self) -> u64 {
        self.facts.not_after
    }

    /// A certificate for a server that is reached as any of `hosts` (DNS names, also `*.name`, and
    /// IP addresses), good from an hour before `now` for `days`, 397 at most, and never longer than
    /// the authority.
    pub fn issue_server(&self, hosts: &[&str], days: u64, now: u64) -> Result<Issued, PkiError> {
        if self.facts.is_expired(now) {
            return Err(PkiError::Expired);
        }
        let mut names: Vec<SanType> = Vec::new();
        for host in hosts {
            let name = subject_name(host)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let first = hosts.first().ok_or(PkiError::NoHosts)?;
        let common_name = if first.len() <= MAX_COMMON_NAME { first } else { "vestibule" };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| PkiError::Failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        // With it goes the subject key identifier, which RFC 5280 wants in leaves too.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date(now.saturating_sub(BACKDATED))?;
        // The hour before `now` counts towards the days that browsers accept.
        let lasts = days.saturating_mul(DAY).min(MAX_LEAF_DAYS * DAY - BACKDATED);
        params.not_after = date(now.saturating_add(lasts).min(self.facts.not_after))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|_| PkiError::Failed)?;
        Ok(Issued { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCa").field("not_after", &self.facts.not_after).finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

/// Whether a certificate is, by its name, an authority that [`LocalCa::create`] made.
pub(super) fn is_ours(der: &CertificateDer<'_>) -> bool {
    parse_x509_certificate(der).is_ok_and(|(_, parsed)| {
        let subject = parsed.subject();
        let organization = subject.iter_organization().next().and_then(|name| name.as_str().ok());
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        parsed.is_ca() && organization == Some(ORGANIZATION) && name.is_some_and(|name| name.starts_with(NAME))
    })
}

/// One section of PEM (RFC 7468).
pub(super) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(der));
    // Lines, their ends, and twice the label with what stands around it.
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + text.len() / COLUMNS + 2 * label.len() + 40));
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(COLUMNS));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// All that an authority's certificate says, except for its times, follows from its key.
fn ca_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let id = params.key_identifier(key);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    // Two authorities of one name confuse trust stores that hold both.
    let name = format!("{NAME}{:02x}{:02x}{:02x}{:02x}", id[0], id[1], id[2], id[3]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// Whether certificates can be made for all of them.
///
/// # Errors
/// The first that is neither a DNS name nor an IP address.
pub fn check_hosts(hosts: &[String]) -> Result<(), PkiError> {
    hosts.iter().try_for_each(|host| subject_name(host).map(drop))
}

fn subject_name(host: &str) -> Result<SanType, PkiError> {
    let bad = || PkiError::BadHost { host: host.to_owned() };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let name = host.to_ascii_lowercase();
    DnsName::try_from(name.strip_prefix("*.").unwrap_or(&name)).map_err(|_| bad())?;
    if name.ends_with('.') {
        return Err(bad());
    }
    name.try_into().map(SanType::DnsName).map_err(|_| bad())
}

fn date(seconds: u64) -> Result<OffsetDateTime, PkiError> {
    let seconds = i64::try_from(seconds).map_err(|_| PkiError::Expired)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::Expired)
}

#[cfg(test)]
mod tests;
