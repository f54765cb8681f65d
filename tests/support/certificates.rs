//! More certificates of the authority that a test's clients trust.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

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
    /// A new certificate of the same authority, with a key of its own.
    pub(crate) fn renewed(&self) -> Pair {
        self.setup.issue(60)
    }

    /// The certificate that a new connection gets, DER.
    pub(crate) async fn served_certificate(&self) -> Vec<u8> {
        let stream = self.client().tls_stream().await.expect("a handshake");
        let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
        chain[0].to_vec()
    }

    /// A client's TLS settings with these versions alone, and with a certificate of its own.
    pub(crate) fn tls_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Pair>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = std::fs::read(self.path("ca.crt")).expect("the authority");
        roots.add(CertificateDer::from_pem_slice(&ca).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.expect("versions").with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![CertificateDer::from(pair.der())], key).expect("a pair")
            }
        }
    }
}

/// What a certificate is made for (RFC 5280, section 4.2.1.12).
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Client,
    Server,
}

/// An authority for clients' certificates.
pub(crate) struct ClientCa {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl ClientCa {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Of the same name, one would be taken for the other with a bad signature.
        params.distinguished_name.push(DnType::CommonName, format!("clients {:?}", key.public_key_raw()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issue(&self) -> Pair {
        self.issue_for(now() - 60..now() + 3600, Purpose::Client)
    }

    /// A certificate for these seconds since the epoch.
    pub(crate) fn issue_for(&self, times: Range<u64>, purpose: Purpose) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let params = client_params(times, purpose);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// A certificate of no authority.
    pub(crate) fn self_signed() -> Pair {
        let key = KeyPair::generate().expect("a key");
        let params = client_params(now() - 60..now() + 3600, Purpose::Client);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

fn client_params(times: Range<u64>, purpose: Purpose) -> CertificateParams {
    let time = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let mut params = CertificateParams::new(vec!["client.example".to_owned()]).expect("a name");
    (params.not_before, params.not_after) = (time(times.start).into(), time(times.end).into());
    params.extended_key_usages = vec![match purpose {
        Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    params
}

impl Pair {
    pub(crate) fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM").to_vec()
    }
}
