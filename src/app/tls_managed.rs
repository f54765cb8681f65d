//! The certificate that a Secret holds, and whom clients are trusted by: a new TLS configuration when either changes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::TlsChannel;
use super::follow::Follow;
use super::tls_reload::{follow_ca, read_ca};
use crate::config::Tls;
use crate::metrics::{Metrics, ReloadTarget};
use crate::pki::check_hosts;
use crate::server::{TlsOptions, server_config, without_certificate};
use crate::store::certificate_document::Served;
use crate::store::kubernetes::Cluster;
use crate::store::{CertificateFeed, Report};
use crate::telemetry::Logger;

/// The Secret, what it is for, and what the files beside it held.
pub(super) struct ManagedTls {
    secret: String,
    hosts: Vec<String>,
    /// The file of the clients' CA.
    ca_file: Option<PathBuf>,
    options: TlsOptions,
    /// Without a certificate.
    config: Arc<ServerConfig>,
}

/// What a configuration is made of; whoever changes a part makes a new one. No request waits for it.
struct Terms {
    parts: Mutex<Parts>,
    sender: watch::Sender<Arc<ServerConfig>>,
}

struct Parts {
    served: Option<Served>,
    options: TlsOptions,
}

impl ManagedTls {
    /// Blocks on the file system.
    pub(super) fn load(secret: &str, hosts: &[String], tls: &Tls) -> Result<Self, String> {
        check_hosts(hosts).map_err(|error| format!("tls.managed.hosts: {error}"))?;
        let client_ca = match &tls.clients {
            None => Vec::new(),
            Some(clients) => read_ca("tls.clientCa", &clients.ca)?,
        };
        let options = TlsOptions::new(tls, client_ca);
        Ok(Self {
            secret: secret.to_owned(),
            hosts: hosts.to_vec(),
            ca_file: tls.clients.as_ref().map(|clients| clients.ca.clone()),
            config: without_certificate(&options)?,
            options,
        })
    }

    /// Publishes a configuration without a certificate, and one with each that the feed finds. Follows the Secret from
    /// now on; within a runtime.
    pub(super) fn publish(
        self,
        cluster: &Cluster,
        report: Report,
        metrics: Arc<Metrics>,
        log: Logger,
    ) -> (TlsChannel, CertificateFeed) {
        let Self { secret, hosts, ca_file, options, config } = self;
        let (sender, receiver) = watch::channel(config);
        let terms = Arc::new(Terms { parts: Mutex::new(Parts { served: None, options }), sender });
        if let Some(file) = ca_file {
            follow_client_ca(file, Arc::clone(&terms), Arc::clone(&metrics), log);
        }
        let publish = move |served: &Served| {
            terms.change(|parts| parts.served = Some(served.clone()))?;
            metrics.set_certificate_not_before(served.facts.not_before);
            metrics.set_certificate_expiry(served.facts.not_after);
            Ok(())
        };
        (receiver, CertificateFeed::new(cluster, &secret, hosts, Box::new(publish), report))
    }
}

impl Terms {
    /// Where no configuration can be made, the last one stays in force.
    fn change(&self, change: impl FnOnce(&mut Parts)) -> Result<(), String> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Parts { served: parts.served.clone(), options: parts.options.clone() };
        change(&mut next);
        let config = match &next.served {
            Some(served) => server_config(&served.pair, &next.options),
            None => without_certificate(&next.options),
        };
        self.sender.send_replace(config?);
        *parts = next;
        Ok(())
    }

    fn client_ca(&self) -> Vec<CertificateDer<'static>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).options.client_ca.clone()
    }
}

fn follow_client_ca(file: PathBuf, terms: Arc<Terms>, metrics: Arc<Metrics>, log: Logger) {
    let follow = Follow {
        what: ReloadTarget::Certificate,
        good: "new CA certificates of clients are in force",
        bad: "the clients' new CA certificates are no good; the last ones stay in force",
        metrics,
        log,
    };
    follow_ca("tls.clientCa", file, follow, move |ca| {
        let is_new = ca != terms.client_ca();
        if is_new {
            terms.change(|parts| parts.options.client_ca = ca)?;
        }
        Ok(is_new)
    });
}
