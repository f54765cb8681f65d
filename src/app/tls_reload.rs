//! The certificate and its key as one pair, and whom clients and the application are trusted by: loaded again when the
//! files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::TlsChannel;
use super::follow::{Follow, Read};
use crate::config::Tls;
use crate::metrics::{Metrics, ReloadTarget};
use crate::pki::CertificateFacts;
use crate::proxy::Target;
use crate::server::{TlsOptions, server_config};
use crate::store::file_read::{read_file, read_files};
use crate::store::tls_material::{self, MAX_BYTES, TlsFileError};
use crate::telemetry::Logger;

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
    /// The chain and the client CA: what is the same again is no reload. A key that was replaced under the same
    /// certificate is the same key, or it would not fit.
    certificates: [Vec<CertificateDer<'static>>; 2],
    /// Seconds since the epoch; 0 where the certificate does not say.
    not_before: u64,
    not_after: u64,
}

impl Made {
    fn show(&self, metrics: &Metrics) {
        metrics.set_certificate_not_before(self.not_before);
        metrics.set_certificate_expiry(self.not_after);
    }
}

impl TlsFiles {
    /// Blocks on the file system.
    pub(super) fn load(certificate: PathBuf, key: PathBuf, tls: &Tls) -> Result<Self, String> {
        let paths = Paths { certificate, key, tls: tls.clone() };
        let loaded = paths.load(paths.bytes()?.each_ref().map(Vec::as_slice))?;
        Ok(Self { paths, loaded })
    }

    /// Publishes the configuration, and every good new one.
    pub(super) fn publish(self, metrics: Arc<Metrics>, log: Logger) -> TlsChannel {
        self.loaded.show(&metrics);
        let (sender, receiver) = watch::channel(Arc::clone(&self.loaded.config));
        let follow = Follow {
            what: ReloadTarget::Certificate,
            good: "a new certificate is in force",
            bad: "the new certificate is no good; the last one stays in force",
            metrics,
            log,
        };
        let Self { paths, mut loaded } = self;
        let take = move |follow: &Follow, made: Made| {
            if made.certificates != loaded.certificates {
                made.show(&follow.metrics);
                sender.send_replace(Arc::clone(&made.config));
                loaded = made;
                follow.in_force();
            }
            Ok(())
        };
        let read = {
            let paths = paths.clone();
            move || Read::new(paths.bytes(), |bytes| paths.load(bytes))
        };
        tokio::spawn(follow.run(paths.all(), read, take));
        receiver
    }
}

/// Has new connections to the application verified against the file's newest good version.
pub(super) fn follow_upstream_ca(
    file: PathBuf,
    mut trusted: Vec<CertificateDer<'static>>,
    target: Target,
    metrics: Arc<Metrics>,
    log: Logger,
) {
    let follow = Follow {
        what: ReloadTarget::Certificate,
        good: "new CA certificates of the application are in force",
        bad: "the application's new CA certificates are no good; the last ones stay in force",
        metrics,
        log,
    };
    follow_ca("upstreamCa", file, follow, move |ca| {
        let is_new = ca != trusted;
        if is_new {
            target.trust(ca.clone())?;
            trusted = ca;
        }
        Ok(is_new)
    });
}

/// Has each good version of a setting's file taken; `take` returns whether it is a new one.
pub(super) fn follow_ca(
    setting: &'static str,
    file: PathBuf,
    follow: Follow,
    mut take: impl FnMut(Vec<CertificateDer<'static>>) -> Result<bool, String> + Send + 'static,
) {
    let take = move |follow: &Follow, ca| {
        if take(ca)? {
            follow.in_force();
        }
        Ok(())
    };
    let files = vec![file.clone()];
    let read = move || Read::new(ca_bytes(setting, &file).map(|bytes| [bytes]), |[pem]| ca_bundle(setting, &file, pem));
    tokio::spawn(follow.run(files, read, take));
}

/// The certificates of the file that a setting names. Blocks on the file system.
pub(super) fn read_ca(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    ca_bundle(setting, file, &ca_bytes(setting, file)?)
}

fn ca_bundle(setting: &str, file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    tls_material::ca_bundle(file, pem).map_err(|error| format!("{setting}: {error}"))
}

fn ca_bytes(setting: &str, file: &Path) -> Result<Vec<u8>, String> {
    read_file(file, MAX_BYTES).map_err(|error| format!("{setting}: {error}"))
}

impl Paths {
    fn all(&self) -> Vec<PathBuf> {
        let client_ca = self.tls.clients.as_ref().map(|clients| clients.ca.clone());
        [self.certificate.clone(), self.key.clone()].into_iter().chain(client_ca).collect()
    }

    /// What certificate, key and client CA hold; the last is empty where there is none.
    fn bytes(&self) -> Result<[Vec<u8>; 3], String> {
        let [certificate, key] =
            read_files([&self.certificate, &self.key], MAX_BYTES).map_err(|error| format!("tls: {error}"))?;
        let client_ca = self.tls.clients.as_ref().map(|clients| ca_bytes("tls.clientCa", &clients.ca)).transpose()?;
        Ok([certificate, key, client_ca.unwrap_or_default()])
    }

    fn load(&self, [certificate, key, client_ca]: [&[u8]; 3]) -> Result<Made, String> {
        let tls = |error: TlsFileError| format!("tls: {error}");
        let pair = tls_material::pair((&self.certificate, certificate), (&self.key, key)).map_err(tls)?;
        let client_ca = match &self.tls.clients {
            None => Vec::new(),
            Some(clients) => ca_bundle("tls.clientCa", &clients.ca, client_ca)?,
        };
        let certificates = [pair.cert_chain.clone(), client_ca.clone()];
        let facts = pair.cert_chain.first().and_then(|leaf| CertificateFacts::of(leaf.clone()).ok());
        let options = TlsOptions::new(&self.tls, client_ca);
        let (not_before, not_after) = facts.map_or((0, 0), |facts| (facts.not_before, facts.not_after));
        Ok(Made { config: server_config(&pair, &options)?, certificates, not_before, not_after })
    }
}
