//! The certificate and its key: loaded as one pair, loaded again when the files change.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

use super::TlsChannel;
use crate::config::{ClientAuth, Tls};
use crate::metrics::{Metrics, ReloadResult, ReloadTarget};
use crate::pki::CertificateFacts;
use crate::server::{TlsOptions, server_config};
use crate::store::file_watch::FileWatch;
use crate::store::tls_material::{read_ca_bundle, read_pair};
use crate::telemetry::{EventName, Level, Logger};

/// The files, and what was made of them last.
pub(super) struct TlsFiles {
    paths: Paths,
    loaded: Made,
}

#[derive(Clone)]
struct Paths {
    certificate: PathBuf,
    key: PathBuf,
    tls: Tls,
}

struct Made {
    config: Arc<ServerConfig>,
    /// The leaf certificate and the client CA as they were read: what is the same again is no reload.
    seen: Vec<Vec<u8>>,
    /// Seconds since the epoch.
    not_after: u64,
}

impl TlsFiles {
    /// Blocks on the file system.
    pub(super) fn load(certificate: PathBuf, key: PathBuf, tls: &Tls) -> Result<Self, String> {
        let paths = Paths { certificate, key, tls: tls.clone() };
        let loaded = paths.load()?;
        Ok(Self { paths, loaded })
    }

    /// Publishes the configuration, and every good new one.
    pub(super) fn publish(self, metrics: Arc<Metrics>, log: Logger) -> TlsChannel {
        metrics.set_certificate_expiry(self.loaded.not_after);
        let (sender, receiver) = watch::channel(Arc::clone(&self.loaded.config));
        tokio::spawn(self.follow(sender, metrics, log));
        receiver
    }

    async fn follow(mut self, sender: watch::Sender<Arc<ServerConfig>>, metrics: Arc<Metrics>, log: Logger) {
        let client_ca = self.paths.tls.clients.as_ref().map(|clients| clients.ca.clone());
        let files = [self.paths.certificate.clone(), self.paths.key.clone()];
        let mut watch = FileWatch::new(files.into_iter().chain(client_ca));
        let mut last_error = None;
        loop {
            watch.changed().await;
            let paths = self.paths.clone();
            let Ok(loaded) = tokio::task::spawn_blocking(move || paths.load()).await else { return };
            match loaded {
                Ok(made) if made.seen == self.loaded.seen => last_error = None,
                Ok(made) => {
                    last_error = None;
                    metrics.set_certificate_expiry(made.not_after);
                    metrics.reload(ReloadTarget::Certificate, ReloadResult::Ok);
                    sender.send_replace(Arc::clone(&made.config));
                    self.loaded = made;
                    log.event(Level::Info, EventName::Reload, "a new certificate is in force")
                        .field("what", ReloadTarget::Certificate)
                        .field("outcome", ReloadResult::Ok)
                        .emit();
                }
                // A pair that is half replaced is told once, and read again when the other half comes.
                Err(error) if last_error.as_ref() == Some(&error) => {}
                Err(error) => {
                    metrics.reload(ReloadTarget::Certificate, ReloadResult::Error);
                    log.event(
                        Level::Error,
                        EventName::Reload,
                        "the new certificate is no good; the last one stays in force",
                    )
                    .field("what", ReloadTarget::Certificate)
                    .field("outcome", ReloadResult::Error)
                    .field("error", error.as_str())
                    .emit();
                    last_error = Some(error);
                }
            }
        }
    }
}

impl Paths {
    fn load(&self) -> Result<Made, String> {
        let pair = read_pair(&self.certificate, &self.key).map_err(|error| format!("tls: {error}"))?;
        let (client_ca, client_auth) = match &self.tls.clients {
            None => (Vec::new(), ClientAuth::Required),
            Some(clients) => {
                let ca = read_ca_bundle(&clients.ca).map_err(|error| format!("tls.clientCa: {error}"))?;
                (ca, clients.auth)
            }
        };
        let chain = pair.cert_chain.iter().chain(&client_ca);
        // A key that was replaced under the same certificate is the same key, or it would not fit.
        let seen: Vec<Vec<u8>> = chain.map(|certificate| certificate.to_vec()).collect();
        let facts = pair.cert_chain.first().and_then(|leaf| CertificateFacts::of(leaf.clone()).ok());
        let options = TlsOptions { min_version: self.tls.min_version, client_ca, client_auth };
        Ok(Made { config: server_config(&pair, &options)?, seen, not_after: facts.map_or(0, |facts| facts.not_after) })
    }
}
