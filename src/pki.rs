//! Certificates of our own making: a local authority, what it issues, and the facts in any of them.

pub use self::facts::{CertificateFacts, inspect, is_issued_by};
pub use self::local_ca::{Issued, LocalCa, check_hosts};

pub mod managed;

mod facts;
mod local_ca;

use std::fmt;

/// Why a certificate was not made or not understood. One line with the mend, never key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PkiError {
    /// No certificate in the PEM, or one that is not X.509.
    NotACertificate,
    /// No private key in the PEM, or not of ECDSA P-256.
    NotAKey,
    /// The private key is not the certificate's.
    KeyMismatch,
    /// The certificate is not an authority that this program made.
    NotOurs,
    /// A host is neither a DNS name (a leading `*.` is allowed) nor an IP address.
    BadHost { host: String },
    /// A certificate for no host at all is asked for.
    NoHosts,
    /// The authority has expired, or a time cannot be expressed in a certificate.
    Expired,
    /// The random source or the signature failed.
    Failed,
}

impl fmt::Display for PkiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACertificate => {
                f.write_str("there is no X.509 certificate in the PEM: write it again")
            }
            Self::NotAKey => {
                f.write_str("there is no ECDSA P-256 private key in the PEM: write it again, or remove it with its certificate to get new ones")
            }
            Self::KeyMismatch => {
                f.write_str("the authority's key is not that of its certificate: remove both to get new ones")
            }
            Self::NotOurs => f.write_str(
                "the certificate is not an authority made by vestibule: remove it with its key to get new ones",
            ),
            Self::BadHost { host } => write!(
                f,
                "{host:?} is neither a DNS name nor an IP address: write international names in their xn-- form, IPv6 without brackets"
            ),
            Self::NoHosts => f.write_str("a certificate needs a host: name at least one"),
            Self::Expired => f.write_str(
                "the authority's certificate has expired: remove it with its key to get new ones",
            ),
            Self::Failed => f.write_str("making a certificate failed in the system: try again"),
        }
    }
}

impl std::error::Error for PkiError {}
