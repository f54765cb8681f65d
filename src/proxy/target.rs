//! From the configured upstream to where connections go.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::sync::watch;

use super::connect::{Address, Protocol, Target};
use crate::config::{Origin, Upstream};

/// How long connecting and an answer's head may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    pub(crate) connect: Duration,
    pub(crate) headers: Option<Duration>,
}

impl Target {
    /// `ca`: what an `https` upstream is verified against; empty: the system's roots.
    ///
    /// # Errors
    ///
    /// One line, where the roots are unusable or the host is no name that a certificate can prove.
    pub(crate) fn new(
        upstream: &Upstream,
        ca: Vec<CertificateDer<'static>>,
        deadlines: Deadlines,
    ) -> Result<Self, String> {
        let tcp = |origin: &Origin| Address::Tcp { host: origin.host.clone(), port: origin.port };
        let (address, tls, protocol) = match upstream {
            Upstream::Http(origin) => (tcp(origin), None, Protocol::Http1),
            Upstream::H2c(origin) => (tcp(origin), None, Protocol::Http2),
            Upstream::Https(origin) => {
                let name = ServerName::try_from(origin.host.clone())
                    .map_err(|_| format!("upstream: {:?} is no name that a certificate can prove", origin.host))?;
                (tcp(origin), Some((Arc::new(watch::Sender::new(client_config(ca)?)), name)), Protocol::Http1)
            }
            Upstream::Unix(path) => (Address::Unix(path.clone()), None, Protocol::Http1),
        };
        let authority = match upstream {
            Upstream::Http(origin) | Upstream::H2c(origin) | Upstream::Https(origin) => &origin.authority,
            Upstream::Unix(_) => "localhost",
        };
        let authority = HeaderValue::try_from(authority)
            .map_err(|_| "upstream: the host is not fit for a Host header".to_owned())?;
        Ok(Self {
            address,
            tls,
            protocol,
            authority,
            connect_timeout: deadlines.connect,
            headers_timeout: deadlines.headers,
        })
    }

    /// Verifies new connections against `ca` from now on, all clones alike; those that are open live on. No session
    /// of the old roots is resumed.
    ///
    /// # Errors
    ///
    /// One line, where the roots are unusable; nothing has changed then.
    pub(crate) fn trust(&self, ca: Vec<CertificateDer<'static>>) -> Result<(), String> {
        if let Some((trusted, _)) = &self.tls {
            trusted.send_replace(client_config(ca)?);
        }
        Ok(())
    }
}

fn client_config(ca: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if ca.is_empty() {
        // Some of the system's roots may not parse; those that do count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("upstream: the system has no CA roots; give upstreamCa".to_owned());
        }
    }
    for certificate in ca {
        roots.add(certificate).map_err(|error| format!("upstreamCa: not a CA certificate: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("upstream: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
