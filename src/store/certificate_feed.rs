//! Serves the certificate that a Secret holds, and has it made and renewed there when that is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use zeroize::Zeroize;

use super::certificate_document::{self, Parsed, Served};
use super::jitter;
use super::key_origin::Unwritten;
use super::kubernetes::{Cluster, SecretVersion};
use super::newest::Newest;
use super::origin::{Entries, Look, Origin};
use super::report::Report;
use super::turns::{Due, Turns};
use crate::clock::epoch;
use crate::metrics::{ReloadTarget, RotationResult, StoreErrorReason};
use crate::pki::managed::{CA_CERTIFICATES, CA_KEYS, CERTIFICATE, Change, KEY, Managed, Plan, Reason};
use crate::telemetry::{EventName, Level};

/// The Secret is looked at at least this often.
const AT_LEAST: Duration = Duration::from_secs(60);
/// Replicas that find a renewal due wait a different time each, up to this.
const JITTER: Duration = Duration::from_secs(10);
/// Those whose clients are waiting.
const URGENT_JITTER: Duration = Duration::from_millis(500);
/// For the first certificate, at the start.
const START: Duration = Duration::from_secs(5);
/// Between renewals that fail: a third of the certificate's life is left for them.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Puts a certificate in force for new connections; one line where that cannot be done.
pub(crate) type Publish = Box<dyn Fn(&Served) -> Result<(), String> + Send + Sync>;

/// Keeps one Secret's certificate in force, and keeps it going.
pub(crate) struct CertificateFeed {
    origin: Origin,
    /// What clients call the server.
    hosts: Arc<[String]>,
    publish: Publish,
    report: Report,
    managed: Arc<Managed>,
    /// What was looked at last, good or bad.
    version: Option<Arc<SecretVersion>>,
    /// What `managed` says, where it is good.
    newest: Newest,
    /// Before, nothing is a reload: not the first certificate either.
    started: bool,
    /// The chain that new connections get.
    in_force: Option<Vec<CertificateDer<'static>>>,
    turns: Turns,
    /// Why the last write failed.
    unwritten: Option<String>,
}

impl CertificateFeed {
    /// Follows the Secret from now on. Within a runtime.
    pub(crate) fn new(
        cluster: &Cluster,
        secret: &String,
        hosts: Vec<String>,
        publish: Publish,
        report: Report,
    ) -> Self {
        Self {
            origin: Origin::secrets(cluster, [secret], None),
            hosts: hosts.into(),
            publish,
            report,
            managed: Arc::default(),
            version: None,
            newest: Newest::default(),
            started: false,
            in_force: None,
            turns: Turns::new(LONGEST_PAUSE),
            unwritten: None,
        }
    }

    /// Looks once, before anything is served, and has made what clients cannot do without: a first certificate, or one
    /// for hosts that are new. Takes 5 s at most where the API server does not answer, as long again for a write.
    pub(crate) async fn start(mut self) -> Self {
        self.origin.start().await;
        self.read().await;
        if self.due().is_some_and(|change| self.is_urgent(&change)) {
            tokio::time::sleep(jitter::turn(URGENT_JITTER)).await;
            // Another replica's may have come.
            self.read().await;
            if self.due().is_some_and(|change| self.is_urgent(&change)) {
                // One that takes longer is begun anew, on what has come of it.
                drop(tokio::time::timeout(START, self.write()).await);
            }
        }
        self.started = true;
        self.tell();
        self
    }

    /// Follows the Secret for good.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.due().map(|change| {
                let urgent = self.is_urgent(&change);
                Due { urgent, jitter: jitter::turn(if urgent { URGENT_JITTER } else { JITTER }) }
            });
            let turn = self.turns.draw(due);
            let look = Instant::now() + AT_LEAST;
            tokio::select! {
                () = self.origin.changed() => {}
                () = tokio::time::sleep_until(turn.unwrap_or(look).min(look)) => {}
            }
            if self.turns.take() {
                self.write().await;
            } else {
                self.read().await;
            }
            self.tell();
        }
    }

    /// Looks at the Secret; a bad one leaves the last good certificate in force.
    async fn read(&mut self) {
        let Look { parts, problem, current } = self.origin.look().await;
        let entries = parts.into_iter().flatten().next().map(|part| part.entries);
        self.version = entries.and_then(|entries| match entries {
            Entries::Secret(version) => Some(version),
            Entries::Files(_) => None,
        });
        match self.version.clone() {
            Some(version) => self.take(version).await,
            None => self.newest.is_gone(),
        }
        self.newest.looked(problem, current, &self.report);
    }

    async fn take(&mut self, version: Arc<SecretVersion>) {
        if !self.newest.is_news(digest_of(version.data())) {
            return;
        }
        let parse = move |parsed: &mut Option<_>| *parsed = Some(certificate_document::parse(version.data()));
        // A panic has been told of.
        let Some((Some(parsed), _)) = self.report.blocking(None, parse).await else { return };
        let taken = parsed.and_then(|Parsed { managed, served }| {
            let is_new = |served: &Served| self.in_force.as_ref() != Some(&served.pair.cert_chain);
            let news = served.filter(is_new);
            if let Some(served) = &news {
                (self.publish)(served)?;
            }
            Ok((managed, news))
        });
        match taken {
            Ok((managed, news)) => {
                self.managed = Arc::new(managed);
                self.newest.is_good();
                self.report.in_force();
                if let Some(served) = news {
                    let first = self.in_force.replace(served.pair.cert_chain.clone()).is_none();
                    self.report.changed(first || !self.started, &[]);
                }
            }
            Err(error) => self.report.refused(&format_args!("certificate: {}: {error}", self.origin.place())),
        }
    }

    /// What is to be made now.
    fn due(&self) -> Option<Change> {
        if !self.newest.may_be_written_onto() {
            return None;
        }
        match self.managed.plan(&self.hosts, epoch()) {
            Plan::Write(change) => Some(change),
            Plan::Nothing { .. } => None,
        }
    }

    /// Clients cannot connect until it is made.
    fn is_urgent(&self, change: &Change) -> bool {
        self.in_force.is_none() || change.reason == Reason::HostsChanged
    }

    /// Reads again, plans again, and writes onto exactly what was read.
    async fn write(&mut self) {
        let refreshed = self.origin.refresh().await;
        self.read().await;
        let (Some(change), Some(version)) = (self.due(), self.version.clone()) else { return };
        let (managed, hosts) = (Arc::clone(&self.managed), Arc::clone(&self.hosts));
        let make = move |made: &mut Option<_>| *made = Some(managed.apply(&change, &hosts, epoch()));
        let Some((Some(made), _)) = self.report.blocking(None, make).await else {
            return self.turns.failed();
        };
        let failed = |reason, error| Unwritten { result: RotationResult::Error, reason, error };
        let written = match (refreshed, self.origin.clock_problem("certificate"), made) {
            (Err(error), _, _) => Err(Unwritten::from(&error)),
            (_, Some(error), _) => Err(failed(StoreErrorReason::Unavailable, error)),
            (_, _, Err(error)) => Err(failed(StoreErrorReason::Invalid, format!("{}: {error}", self.origin.place()))),
            (Ok(()), None, Ok(entries)) => self.patch(&version, entries).await,
        };
        let result = written.as_ref().map_or_else(|unwritten| unwritten.result, |()| RotationResult::Ok);
        match result {
            RotationResult::Error => self.turns.failed(),
            RotationResult::Ok | RotationResult::Conflict => self.turns.succeeded(),
        }
        self.unwritten = written.err().map(|unwritten| unwritten.error);
        let (level, message) = match result {
            RotationResult::Ok => (Level::Info, "a certificate was made"),
            RotationResult::Conflict => (Level::Info, "no certificate was made; another writer was faster"),
            RotationResult::Error => (Level::Error, "a certificate could not be made; it is tried again"),
        };
        self.report
            .log
            .event(level, EventName::Renewal, message)
            .field("what", ReloadTarget::Certificate)
            .field("outcome", result)
            .field("reason", change.reason.as_str())
            .field("error", self.unwritten.as_deref())
            .emit();
        self.read().await;
    }

    async fn patch(
        &self,
        version: &SecretVersion,
        mut entries: BTreeMap<String, Option<Vec<u8>>>,
    ) -> Result<(), Unwritten> {
        let Some(follower) = self.origin.only_secret() else { return Ok(()) };
        let patched = follower.patch(version, &entries).await;
        entries.values_mut().flatten().for_each(Zeroize::zeroize);
        patched.map_err(|error| Unwritten::from(&error))
    }

    /// Readiness as it stands at this moment.
    fn tell(&self) {
        let place = self.origin.place();
        let problem = self.in_force.is_none().then(|| {
            let why = self.origin.clock_problem("certificate").or_else(|| self.unwritten.clone());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            format!("no certificate of {place} yet{why}")
        });
        self.report.readiness.set("tls", problem);
    }
}

/// Of the entries that count.
fn digest_of(entries: &BTreeMap<String, Vec<u8>>) -> Digest {
    let mut context = Context::new(&SHA256);
    for name in [CA_CERTIFICATES, CA_KEYS, CERTIFICATE, KEY] {
        let content = entries.get(name).map_or(&[][..], Vec::as_slice);
        context.update(&(content.len() as u64).to_le_bytes());
        context.update(content);
    }
    context.finish()
}
