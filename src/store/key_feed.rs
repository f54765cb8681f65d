//! Reads the key ring whenever it changes, publishes it, and rotates it when it is due.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::jitter;
use super::key_origin::{KeyLook, Unwritten, Version};
use super::keys_document::{self, Parsed};
use super::newest::Newest;
use super::origin::Origin;
use super::report::Report;
use super::reread::{Asked, Reread};
use super::turns::{Due, Turns};
use crate::auth::keys::{Key, KeyRing};
use crate::auth::rotation::{Change, Plan, Policy, Reason, next_due, plan};
use crate::clock::epoch;
use crate::gate::Publisher;
use crate::metrics::{KeyState, RotationResult, StoreErrorReason, StoreName};
use crate::telemetry::{EventName, Level};

/// The ring is looked at at least this often: keys come and go with time alone.
const AT_LEAST: Duration = Duration::from_secs(30);
/// Replicas that find a rotation due wait a different time each, up to this.
const JITTER: Duration = Duration::from_secs(10);
/// Those that find no key at all, at the API server: nobody can log in meanwhile.
const FIRST_JITTER: Duration = Duration::from_millis(500);
/// For the first key, at the start.
const START: Duration = Duration::from_secs(5);

/// Keeps the ring up to date, and keeps it going.
pub(crate) struct KeyFeed {
    origin: Origin,
    policy: Policy,
    publisher: Publisher,
    report: Report,
    ring: Arc<KeyRing>,
    /// What was looked at last, good or bad.
    version: Option<Version>,
    newest: Newest,
    /// Before, nothing is a reload: not the first key either.
    started: bool,
    turns: Turns,
    asked: Asked,
}

/// Why the ring is looked at.
#[derive(Clone, Copy)]
enum Wake {
    Look,
    /// Requests want it read.
    Asked,
    /// It has been read for them.
    Reread,
}

impl KeyFeed {
    pub(crate) fn new(origin: Origin, policy: Policy, publisher: Publisher, report: Report) -> (Self, Reread) {
        let (reread, asked) = Reread::channel();
        let feed = Self {
            origin,
            policy,
            publisher,
            report,
            ring: Arc::default(),
            version: None,
            newest: Newest::default(),
            started: false,
            turns: Turns::new(AT_LEAST),
            asked,
        };
        (feed, reread)
    }

    /// Looks once, before anything is served, and makes the first key where there is none and the store may be written.
    /// Takes 5 s at most where an API server has to be asked, as long again where a key has to be made there.
    pub(crate) async fn start(mut self) -> Self {
        self.origin.start().await;
        self.read().await;
        if self.first_key_is_due() {
            tokio::time::sleep(self.jitter(Reason::FirstKey)).await;
            // Another replica's may have come.
            self.read().await;
            if self.first_key_is_due() {
                // One that takes longer is begun anew, on what has come of it.
                drop(tokio::time::timeout(START, self.write()).await);
            }
        }
        self.started = true;
        self.tell();
        self
    }

    /// Follows the store and the policy for good.
    pub(crate) async fn run(mut self) {
        // The one read that requests have asked for.
        let mut rereading = JoinSet::new();
        loop {
            let due = self
                .due()
                .map(|change| Due { urgent: change.reason == Reason::FirstKey, jitter: self.jitter(change.reason) });
            let turn = self.turns.draw(due);
            let look = Instant::now() + self.until_next_look();
            let wake = tokio::select! {
                () = self.origin.changed() => Wake::Look,
                () = self.asked.wanted() => Wake::Asked,
                Some(_) = rereading.join_next() => Wake::Reread,
                () = tokio::time::sleep_until(turn.unwrap_or(look).min(look)) => Wake::Look,
            };
            if let (Wake::Asked, Some(follower)) = (wake, self.origin.only_secret()) {
                if rereading.is_empty() {
                    let follower = follower.clone();
                    rereading.spawn(async move { drop(follower.refresh().await) });
                }
                continue;
            }
            if self.turns.take() {
                self.write().await;
            } else {
                self.read().await;
            }
            if !matches!(wake, Wake::Look) {
                self.asked.done();
            }
            self.tell();
        }
    }

    /// Looks at the ring; a bad one leaves the last good one in force.
    async fn read(&mut self) {
        let KeyLook { version, problem, current } = self.origin.look_at_keys().await;
        match &version {
            Some(version) => self.take(version).await,
            None => self.newest.is_gone(),
        }
        self.version = version;
        self.newest.looked(problem, current, &self.report);
    }

    async fn take(&mut self, version: &Version) {
        if !self.newest.is_news(digest(&SHA256, version.document())) {
            return;
        }
        let version = version.clone();
        let parse = move |parsed: &mut Option<_>| *parsed = Some(keys_document::parse(version.document()));
        match self.report.blocking(None, parse).await {
            Some((Some(Ok(Parsed { ring, warnings })), _)) => {
                self.tell_revoked(&ring);
                self.ring = Arc::new(ring);
                self.publisher.ring(Arc::clone(&self.ring));
                self.newest.is_good();
                let first = self.report.in_force();
                self.report.changed(first || !self.started, &warnings);
            }
            Some((Some(Err(error)), _)) => {
                self.report.refused(&format_args!("keys: {}: {error}", self.origin.keys_place()));
            }
            // It has been told of.
            Some((None, _)) | None => {}
        }
    }

    /// What the policy wants written now, where this process may write at all.
    fn due(&self) -> Option<Change> {
        let writable = self.version.as_ref().is_some_and(|version| self.origin.is_writable(version));
        if !self.newest.may_be_written_onto() || !writable {
            return None;
        }
        match plan(&self.ring, epoch(), &self.policy) {
            Plan::Write(change) => Some(change),
            Plan::Nothing { .. } => None,
        }
    }

    fn first_key_is_due(&self) -> bool {
        self.due().is_some_and(|change| change.reason == Reason::FirstKey)
    }

    /// Writers of files wait for each other; at the API server each loser is a request in vain.
    fn jitter(&self, reason: Reason) -> Duration {
        match reason {
            Reason::FirstKey if self.origin.only_secret().is_none() => Duration::ZERO,
            Reason::FirstKey => jitter::turn(FIRST_JITTER),
            Reason::RotationDue | Reason::Requested => jitter::turn(JITTER),
        }
    }

    /// Reads again, plans again, and writes onto exactly what was read.
    async fn write(&mut self) {
        let refreshed = self.origin.refresh().await;
        self.read().await;
        let (Some(change), Some(version)) = (self.due(), self.version.clone()) else { return };
        let (ring, planned) = (Arc::clone(&self.ring), change.clone());
        let make = move |made: &mut Option<_>| {
            let next = planned.apply(&ring, Key::fresh);
            *made = Some((keys_document::serialise(&next), next));
        };
        let Some((Some((document, next)), _)) = self.report.blocking(None, make).await else {
            return self.turns.failed();
        };
        let written = match (refreshed, self.origin.clock_problem("key")) {
            (Err(error), _) => Err(Unwritten::from(&error)),
            (_, Some(error)) => {
                Err(Unwritten { result: RotationResult::Error, reason: StoreErrorReason::Unavailable, error })
            }
            (Ok(()), None) => self.origin.write_keys(&version, document).await,
        };
        let result = written.as_ref().map_or_else(|unwritten| unwritten.result, |()| RotationResult::Ok);
        match result {
            RotationResult::Error => self.turns.failed(),
            RotationResult::Ok | RotationResult::Conflict => self.turns.succeeded(),
        }
        self.report.metrics.key_rotation(result);
        if let Err(unwritten) = &written {
            self.report.metrics.store_error(StoreName::Keys, unwritten.reason);
        }
        let (level, message) = match result {
            RotationResult::Ok => (Level::Info, "a signing key was published"),
            RotationResult::Conflict => (Level::Info, "a signing key was not published; another writer was faster"),
            RotationResult::Error => (Level::Error, "a signing key could not be published; it is tried again"),
        };
        self.report
            .log
            .event(level, EventName::Rotation, message)
            .field("outcome", result)
            .field("reason", reason(change.reason))
            .field("kid", next.keys().last().map(|key| &**key.kid()))
            .field("nbf", change.nbf)
            .field("error", written.err().map(|unwritten| unwritten.error))
            .emit();
        self.read().await;
    }

    /// A key that is gone before its end was revoked, and its tokens with it.
    fn tell_revoked(&self, next: &KeyRing) {
        let now = epoch();
        for key in self.ring.keys().iter().filter(|key| !key.is_past(now) && next.find(key.kid()).is_none()) {
            self.report
                .log
                .event(Level::Info, EventName::Revocation, "a key was revoked; its tokens are refused from now on")
                .field("kid", &**key.kid())
                .emit();
        }
    }

    fn until_next_look(&self) -> Duration {
        let now = epoch();
        let next = match plan(&self.ring, now, &self.policy) {
            Plan::Nothing { next, .. } => next.saturating_sub(now).max(1),
            Plan::Write(_) => AT_LEAST.as_secs(),
        };
        Duration::from_secs(next).min(AT_LEAST)
    }

    /// Metrics and readiness as the ring stands at this moment.
    fn tell(&self) {
        let (now, ttl) = (epoch(), self.policy.ttl);
        let states = self.ring.states(now, ttl);
        let metrics = &self.report.metrics;
        metrics.set_signing_keys(KeyState::Pending, states.pending);
        metrics.set_signing_keys(KeyState::Active, states.active);
        metrics.set_signing_keys(KeyState::Retiring, states.retiring);
        metrics.set_signing_key_activated(self.ring.signer_since(now, ttl));
        metrics.set_key_rotation_due(next_due(&self.ring, now, &self.policy));
        let no_signer = self.ring.signer(now, ttl).is_none();
        let problem = no_signer.then(|| match self.origin.clock_problem("key") {
            None => format!("no key in {} can sign", self.origin.keys_place()),
            Some(clock) => format!("no key in {} can sign; {clock}", self.origin.keys_place()),
        });
        self.report.readiness.set("signer", problem);
    }
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::FirstKey => "first_key",
        Reason::RotationDue => "rotation_due",
        Reason::Requested => "requested",
    }
}
