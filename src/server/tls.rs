//! One function builds the TLS configuration, at the start and at every reload.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, WantsServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ConfigBuilder, Error as TlsError, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateDer;

use crate::config::{ClientAuth, MinVersion, Tls};
use crate::metrics::CertificateFault;
use crate::store::tls_material::Pair;

/// Sessions that can be resumed by id (TLS 1.2); TLS 1.3 and most of TLS 1.2 use tickets, which take no memory here.
const SESSIONS: usize = 256;

/// For as long as there is no certificate: each handshake ends with an alert.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// What is configured about TLS besides the certificate.
#[derive(Debug, Clone)]
pub(crate) struct TlsOptions {
    pub(crate) min_version: MinVersion,
    /// Clients' certificates must chain to one of these; empty: none is asked for.
    pub(crate) client_ca: Vec<CertificateDer<'static>>,
    pub(crate) client_auth: ClientAuth,
}

impl TlsOptions {
    pub(crate) fn new(tls: &Tls, client_ca: Vec<CertificateDer<'static>>) -> Self {
        let client_auth = tls.clients.as_ref().map_or(ClientAuth::Required, |clients| clients.auth);
        Self { min_version: tls.min_version, client_ca, client_auth }
    }
}

/// What is wrong with the client's certificate; `None` where the handshake failed for another reason.
pub(super) fn certificate_fault(error: &TlsError) -> Option<CertificateFault> {
    let error = match error {
        TlsError::NoCertificatesPresented => return Some(CertificateFault::Missing),
        TlsError::InvalidCertificate(error) => error,
        _ => return None,
    };
    Some(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            CertificateFault::WrongPurpose
        }
        CertificateError::BadSignature => CertificateFault::BadSignature,
        _ => CertificateFault::Invalid,
    })
}

/// The server's side of TLS: aws-lc-rs, HTTP/2 and HTTP/1.1 by ALPN, resumption by tickets.
///
/// # Errors
///
/// One line, where the key does not fit the certificate, or the client CA is unusable.
pub(crate) fn server_config(pair: &Pair, options: &TlsOptions) -> Result<Arc<ServerConfig>, String> {
    let config = begun(options)?
        .with_single_cert(pair.cert_chain.clone(), pair.key.clone_key())
        .map_err(|error| format!("tls.key does not fit tls.certificate: {error}; give the key that belongs to it"))?;
    finished(config, options)
}

/// The same for as long as there is no certificate.
pub(crate) fn without_certificate(options: &TlsOptions) -> Result<Arc<ServerConfig>, String> {
    finished(begun(options)?.with_cert_resolver(Arc::new(NoCertificate)), options)
}

fn begun(options: &TlsOptions) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[&SupportedProtocolVersion] = match options.min_version {
        MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let verifier = if options.client_ca.is_empty() {
        Arc::new(NoClientAuth) as Arc<_>
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in &options.client_ca {
            roots.add(certificate.clone()).map_err(|error| format!("tls.clientCa: not a CA certificate: {error}"))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let builder = match options.client_auth {
            ClientAuth::Optional => builder.allow_unauthenticated(),
            ClientAuth::Required => builder,
        };
        builder.build().map_err(|error| format!("tls.clientCa: {error}"))?
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
    Ok(builder.map_err(|error| format!("tls.minVersion: {error}"))?.with_client_cert_verifier(verifier))
}

fn finished(mut config: ServerConfig, options: &TlsOptions) -> Result<Arc<ServerConfig>, String> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    if options.client_ca.is_empty() {
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        // Its keys are in memory alone, and others every six hours.
        config.ticketer =
            aws_lc_rs::Ticketer::new().map_err(|error| format!("no randomness for TLS tickets: {error}"))?;
    } else {
        // A resumed session carries the client's certificate along without anyone looking at it again, and each one
        // makes the next: it would outlive the certificate (RFC 8446, section 4.6.1).
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}
