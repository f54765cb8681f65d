//! Certificate chains, private keys and CA bundles from PEM files, as one proven pair.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, RootCertStore};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::store::file_read::{read_file, read_files};
use crate::store::kubernetes::is_in_pod;
use crate::store::read_error::{ReadError, Reason};

/// The most bytes that a file may have.
pub const MAX_BYTES: u64 = 4 << 20;

/// A certificate chain, leaf first, and the private key of its leaf.
pub struct Pair {
    pub cert_chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("certificates", &self.cert_chain.len()).finish_non_exhaustive()
    }
}

/// Why TLS files are of no use. Displays as one line with the path and the mend, never contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFileError {
    Read(ReadError),
    /// The PEM is torn: a section without an end, or with an end and no base64 in between.
    BadPem {
        path: PathBuf,
    },
    /// No `CERTIFICATE` section; `holds_key`: but a private key.
    NoCertificate {
        path: PathBuf,
        holds_key: bool,
    },
    /// The section of this number, counted from 1, is not an X.509 certificate of version 3.
    BadCertificate {
        path: PathBuf,
        number: usize,
    },
    /// No private key; `holds_certificate`: but a certificate.
    NoKey {
        path: PathBuf,
        holds_certificate: bool,
    },
    SeveralKeys {
        path: PathBuf,
    },
    EncryptedKey {
        path: PathBuf,
    },
    /// A private key of a kind or size that TLS here does not support, or a damaged one.
    BadKey {
        path: PathBuf,
    },
    /// The key is not the leaf's; `belongs_to`: but that of the certificate of this number.
    Mismatch {
        certificate: PathBuf,
        key: PathBuf,
        belongs_to: Option<usize>,
    },
}

impl TlsFileError {
    /// The reason under which the error is counted.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Read(error) => error.reason(),
            _ => Reason::Invalid,
        }
    }
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::BadPem { path } => {
                write!(f, "{path:?} is not whole PEM: write every section again, from BEGIN to END")
            }
            Self::NoCertificate { path, holds_key: true } => {
                write!(f, "{path:?} holds a private key and no certificate: are certificate and key interchanged?")
            }
            Self::NoCertificate { path, holds_key: false } => {
                write!(f, "{path:?} holds no certificate: it must be PEM, with the section BEGIN CERTIFICATE")
            }
            Self::BadCertificate { path, number } => {
                write!(f, "certificate {number} in {path:?} is not an X.509 version 3 certificate: issue it again")
            }
            Self::NoKey { path, holds_certificate: true } => {
                write!(f, "{path:?} holds a certificate and no private key: are certificate and key interchanged?")
            }
            Self::NoKey { path, holds_certificate: false } => write!(
                f,
                "{path:?} holds no private key: it must be PEM, with the section BEGIN PRIVATE KEY, BEGIN EC PRIVATE KEY or BEGIN RSA PRIVATE KEY"
            ),
            Self::SeveralKeys { path } => {
                write!(f, "{path:?} holds several private keys: leave the certificate's own")
            }
            Self::EncryptedKey { path } => write!(
                f,
                "the private key in {path:?} is encrypted: decrypt it with `openssl pkey -in FILE -out PLAIN`"
            ),
            Self::BadKey { path } => write!(
                f,
                "the private key in {path:?} is damaged or of no supported kind: use ECDSA (P-256, P-384, P-521), Ed25519, or RSA of 2048 to 8192 bits"
            ),
            Self::Mismatch { certificate, key, belongs_to: None } => write!(
                f,
                "the private key in {key:?} is not that of the first certificate in {certificate:?}: install the two that were issued together"
            ),
            Self::Mismatch { certificate, key, belongs_to: Some(number) } => write!(
                f,
                "the private key in {key:?} is that of certificate {number} in {certificate:?}: put that certificate first, its issuers after it"
            ),
        }
    }
}

impl std::error::Error for TlsFileError {}

impl From<ReadError> for TlsFileError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// Reads certificate chain and private key as one version, and makes a [`pair`] of them. Blocks.
pub fn read_pair(cert_path: &Path, key_path: &Path) -> Result<Pair, TlsFileError> {
    let [cert_pem, key_pem] = read_files([cert_path, key_path], MAX_BYTES)?;
    pair((cert_path, &cert_pem), (key_path, &Zeroizing::new(key_pem)))
}

/// Certificate chain and private key (PKCS #8, SEC 1 or PKCS #1), each as a path and what was read
/// there, proven to belong together. Expiry and host names are not judged.
pub fn pair((cert_path, cert_pem): (&Path, &[u8]), (key_path, key_pem): (&Path, &[u8])) -> Result<Pair, TlsFileError> {
    let cert_chain = certificates(cert_path, cert_pem)?;
    let key = private_key(key_path, key_pem)?;
    let signing_key =
        aws_lc_rs::sign::any_supported_type(&key).map_err(|_| TlsFileError::BadKey { path: key_path.to_owned() })?;
    let owns = |number: usize| -> Result<bool, TlsFileError> {
        let certificate = cert_chain[number - 1].clone();
        match CertifiedKey::new(vec![certificate], signing_key.clone()).keys_match() {
            Ok(()) => Ok(true),
            Err(TlsError::InconsistentKeys(_)) => Ok(false),
            Err(_) => Err(TlsFileError::BadCertificate { path: cert_path.to_owned(), number }),
        }
    };
    let mut belongs_to = None;
    for number in 1..=cert_chain.len() {
        if owns(number)? && belongs_to.is_none() {
            belongs_to = Some(number);
        }
    }
    match belongs_to {
        Some(1) => Ok(Pair { cert_chain, key }),
        belongs_to => {
            Err(TlsFileError::Mismatch { certificate: cert_path.to_owned(), key: key_path.to_owned(), belongs_to })
        }
    }
}

/// Reads a [`ca_bundle`]. Blocks.
pub fn read_ca_bundle(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    ca_bundle(path, &read_file(path, MAX_BYTES)?)
}

/// The certificates of the authorities to trust, at least one, each usable as an anchor.
pub fn ca_bundle(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let bundle = certificates(path, pem)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in bundle.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|_| TlsFileError::BadCertificate { path: path.to_owned(), number: index + 1 })?;
    }
    Ok(bundle)
}

/// Whether every user of the machine may read the file at `path`; not where it cannot be told, nor in a pod, where nobody but
/// this container sees what is mounted into it.
pub fn key_is_world_readable(path: &Path) -> bool {
    !is_in_pod() && fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let certificates = sections(path, pem)?;
    if certificates.is_empty() {
        let holds_key = private_key(path, pem).is_ok();
        return Err(TlsFileError::NoCertificate { path: path.to_owned(), holds_key });
    }
    Ok(certificates)
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    // The old form (RFC 1421) keeps the section's name and says so in a header.
    if contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY") || contains(pem, b"4,ENCRYPTED") {
        return Err(TlsFileError::EncryptedKey { path: path.to_owned() });
    }
    let mut keys: Vec<PrivateKeyDer<'static>> = sections(path, pem)?;
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(TlsFileError::SeveralKeys { path: path.to_owned() }),
        (None, _) => Err(TlsFileError::NoKey {
            path: path.to_owned(),
            holds_certificate: contains(pem, b"-----BEGIN CERTIFICATE-----"),
        }),
    }
}

/// The sections of one kind; the parser's own errors quote the file and are dropped.
fn sections<T: PemObject>(path: &Path, pem: &[u8]) -> Result<Vec<T>, TlsFileError> {
    T::pem_slice_iter(pem).collect::<Result<_, PemError>>().map_err(|_| TlsFileError::BadPem { path: path.to_owned() })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests;
