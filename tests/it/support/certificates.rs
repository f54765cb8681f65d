//! More certificates of the authority that a test's clients trust.

use super::setup::Setup;
use super::{Vestibule, now};

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Setup {
    /// A new certificate for `localhost`; each has a key of its own.
    pub(crate) fn issue(&self, days: u64) -> Pair {
        let issued = self.ca.issue_server(&["localhost", "127.0.0.1"], days, now()).expect("a certificate");
        Pair { certificate: issued.cert_pem, key: issued.key_pem }
    }
}

impl Vestibule {
    /// The certificate that a new connection gets, DER.
    pub(crate) async fn served_certificate(&self) -> Vec<u8> {
        let stream = self.client().tls_stream().await.expect("a handshake");
        let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
        chain[0].to_vec()
    }
}

impl Pair {
    pub(crate) fn der(&self) -> Vec<u8> {
        use rustls_pki_types::pem::PemObject as _;
        rustls_pki_types::CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM").to_vec()
    }
}
