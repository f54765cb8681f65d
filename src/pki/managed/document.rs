//! What is stored of authorities and certificate, as PEM.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{Authority, Managed, Server};
use crate::pki::local_ca::{is_ours, pem};
use crate::pki::{CertificateFacts, LocalCa, PkiError, is_issued_by};

/// Each with a comment's worth of room for what an operator adds.
const MAX_AUTHORITIES: usize = 16;
const MAX_KEYS: usize = 4;

/// Why what is stored is of no use. One line with the mend, never key material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagedError {
    /// `ca.crt` is torn, or holds what is no certificate.
    BadAuthorities,
    /// `ca.key` is torn, or holds what is no key of ECDSA P-256.
    BadKeys,
    TooMany,
    /// A key in `ca.key` is that of no authority in `ca.crt`.
    KeyOfNone,
    /// A certificate that somebody else has made.
    NotOurs,
    /// `tls.crt` is of no authority of ours in `ca.crt`.
    NotIssued,
}

impl fmt::Display for ManagedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadAuthorities => {
                "ca.crt is not whole PEM of certificates: put it back as it was, or remove ca.crt, ca.key, tls.crt and \
                 tls.key to have all made anew, with another ca.crt for the clients"
            }
            Self::BadKeys => {
                "ca.key is not whole PEM of ECDSA P-256 keys: put it back as it was, or remove it, and another authority \
                 is made beside the old one"
            }
            Self::TooMany => {
                "ca.crt holds more than 16 certificates, or ca.key more than 4 keys: remove those that nobody needs"
            }
            Self::KeyOfNone => {
                "ca.key holds a key of no authority in ca.crt: put both back as they were, or remove ca.key, and another \
                 authority is made"
            }
            Self::NotOurs => {
                "it holds a certificate that vestibule has not made: name another Secret in `tls.managed.secret`, or \
                 mount this one and name its files in `tls.certificate` and `tls.key`"
            }
            Self::NotIssued => {
                "tls.crt is of no authority in ca.crt: put them back as they were, or remove tls.crt and tls.key, and new \
                 ones are made"
            }
        })
    }
}

impl std::error::Error for ManagedError {}

impl Managed {
    /// From the entries [`CA_CERTIFICATES`](super::CA_CERTIFICATES) and [`CA_KEYS`](super::CA_KEYS), empty where they are
    /// missing, and the server's chain, leaf first, which is proven to belong to its key.
    pub fn parse(
        ca_certificates: &[u8],
        ca_keys: &[u8],
        chain: Option<&[CertificateDer<'static>]>,
    ) -> Result<Self, ManagedError> {
        let mut authorities = certificates(ca_certificates)?;
        for key in keys(ca_keys)? {
            let owner = authorities.iter_mut().find_map(|authority| match LocalCa::of(authority.der.clone(), &key) {
                Ok(ca) => Some(Ok((authority, ca))),
                Err(PkiError::KeyMismatch) => None,
                Err(PkiError::NotAKey) => Some(Err(ManagedError::BadKeys)),
                Err(_) => Some(Err(ManagedError::NotOurs)),
            });
            let (authority, ca) = owner.unwrap_or(Err(ManagedError::KeyOfNone))?;
            authority.ca = Some(Arc::new(ca));
        }
        let is_empty = authorities.is_empty() && chain.is_none();
        if !is_empty && !authorities.iter().any(|authority| authority.ours) {
            return Err(ManagedError::NotOurs);
        }
        let server = chain.map(|chain| -> Result<Server, ManagedError> {
            let issued = |authority: &Authority| authority.ours && is_issued_by(chain, &authority.der);
            let issuer = authorities.iter().position(issued).ok_or(ManagedError::NotIssued)?;
            let facts = chain.first().map(|leaf| CertificateFacts::of(leaf.clone()));
            let facts = facts.and_then(Result::ok).ok_or(ManagedError::NotIssued)?;
            Ok(Server { facts, issuer })
        });
        Ok(Self { authorities, server: server.transpose()? })
    }
}

impl Authority {
    pub(super) fn made_by_us(ca: LocalCa) -> Self {
        let facts = ca.facts().clone();
        Self { der: facts.der().clone(), facts, ca: Some(Arc::new(ca)), ours: true }
    }
}

pub(super) fn authorities_pem(authorities: &[Authority]) -> Zeroizing<String> {
    Zeroizing::new(authorities.iter().map(|authority| pem("CERTIFICATE", &authority.der).to_string()).collect())
}

pub(super) fn keys_pem(authorities: &[Authority]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for ca in authorities.iter().filter_map(|authority| authority.ca.as_ref()) {
        text.push_str(&Zeroizing::new(ca.key_pem()));
    }
    text
}

fn certificates(text: &[u8]) -> Result<Vec<Authority>, ManagedError> {
    let found: Vec<CertificateDer<'static>> = sections(text, ManagedError::BadAuthorities)?;
    if found.len() > MAX_AUTHORITIES {
        return Err(ManagedError::TooMany);
    }
    let authority = |der: CertificateDer<'static>| {
        let facts = CertificateFacts::of(der.clone()).map_err(|_| ManagedError::BadAuthorities)?;
        let ours = is_ours(&der);
        Ok(Authority { der, facts, ca: None, ours })
    };
    found.into_iter().map(authority).collect()
}

fn keys(text: &[u8]) -> Result<Vec<PrivateKeyDer<'static>>, ManagedError> {
    let found: Vec<PrivateKeyDer<'static>> = sections(text, ManagedError::BadKeys)?;
    if found.len() > MAX_KEYS { Err(ManagedError::TooMany) } else { Ok(found) }
}

/// All sections of one kind; text without any is as bad as a torn one.
fn sections<T: PemObject>(text: &[u8], bad: ManagedError) -> Result<Vec<T>, ManagedError> {
    let found: Vec<T> = T::pem_slice_iter(text).collect::<Result<_, PemError>>().map_err(|_| bad)?;
    if found.is_empty() && !text.is_empty() { Err(bad) } else { Ok(found) }
}
