//! Reads the key ring whenever it changes, publishes it, and rotates it when it is due.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::KEYS_ENTRY;
use super::directory::read_entries;
use super::file_watch::FileWatch;
use super::keys_document::{self, Parsed};
use super::report::Report;
use super::reread::{Asked, Reread};
use super::versioned_file::{ReplaceError, Snapshot, is_writable, replace};
use crate::auth::keys::{Key, KeyRing};
use crate::auth::rotation::{Change, Plan, Policy, Reason, plan};
use crate::clock::epoch;
use crate::gate::Publisher;
use crate::metrics::{KeyState, RotationResult, StoreErrorReason, StoreName};
use crate::telemetry::{EventName, Level};

/// The ring is read and looked at at least this often: keys come and go with time alone.
const AT_LEAST: Duration = Duration::from_secs(30);
/// Replicas that find a rotation due wait a different time each, up to this.
const JITTER_MS: u64 = 10_000;
/// After the first write that failed; the next pauses are twice as long.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a first key is tried again: until there is one, nobody gets in.
const LONGEST_FOR_FIRST: Duration = Duration::from_secs(10);
/// Owner only: the file holds secrets.
const MODE: u32 = 0o600;

/// Keeps the ring up to date, and keeps it going.
pub(crate) struct KeyFeed {
    directory: PathBuf,
    policy: Policy,
    publisher: Publisher,
    report: Report,
    ring: Arc<KeyRing>,
    /// The bytes that were looked at last, good or bad.
    seen: Option<Snapshot>,
    /// Those bytes are the ring that is in force.
    good: bool,
    /// Before, nothing is a reload: not the first key either.
    started: bool,
    /// After a write that failed, before the next.
    pause: Duration,
    asked: Asked,
}

impl KeyFeed {
    pub(crate) fn new(directory: PathBuf, policy: Policy, publisher: Publisher, report: Report) -> (Self, Reread) {
        let (reread, asked) = Reread::channel();
        let ring = Arc::default();
        (
            Self {
                directory,
                policy,
                publisher,
                report,
                ring,
                seen: None,
                good: false,
                started: false,
                pause: Duration::ZERO,
                asked,
            },
            reread,
        )
    }

    /// Reads once, and makes the first key where there is none and the directory may be written. Blocks.
    pub(crate) fn start(&mut self) {
        self.read();
        if let Some(change) = self.due()
            && change.reason == Reason::FirstKey
        {
            self.write();
        }
        self.started = true;
        self.tell();
    }

    /// Follows the directory and the policy for good.
    pub(crate) async fn run(mut self, mut watch: FileWatch) {
        // When this replica's turn to write has come. Whoever is first writes; the others find nothing left to do.
        let mut turn = None;
        loop {
            match self.due() {
                None => turn = None,
                Some(change) if change.reason == Reason::FirstKey => {
                    // Looks at the ring in between do not put it off.
                    let at = Instant::now() + self.pause.min(LONGEST_FOR_FIRST);
                    turn = Some(turn.map_or(at, |turn| at.min(turn)));
                }
                Some(_) => drop(
                    turn.get_or_insert_with(|| Instant::now() + self.pause + Duration::from_millis(random(JITTER_MS))),
                ),
            }
            let look = Instant::now() + self.until_next_look();
            let asked = tokio::select! {
                () = watch.changed() => false,
                () = self.asked.wanted() => true,
                () = tokio::time::sleep_until(turn.unwrap_or(look).min(look)) => false,
            };
            let its_turn = turn.is_some_and(|turn| turn <= Instant::now());
            let report = self.report.clone();
            let work = if its_turn { Self::write } else { Self::read };
            let Some((feed, done)) = report.blocking(self, work).await else { return };
            self = feed;
            if !done {
                self.pause_longer();
            }
            if asked {
                self.asked.done();
            }
            if its_turn {
                turn = None;
            }
            self.tell();
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.join(KEYS_ENTRY)
    }

    /// Reads the ring; a bad one leaves the last good one in force.
    fn read(&mut self) {
        // The directory first: a file that is missing in a directory that is there is an empty ring.
        let snapshot = read_entries(&self.directory).and_then(|_| Snapshot::read(&self.file()));
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.seen = None;
                self.good = false;
                return self.report.unreadable(error.reason().into(), &format_args!("keys: {error}"));
            }
        };
        if self.seen.as_ref() == Some(&snapshot) {
            if self.good {
                self.report.read();
            }
            return;
        }
        match keys_document::parse(snapshot.content().unwrap_or_default()) {
            Ok(Parsed { ring, warnings }) => {
                self.tell_revoked(&ring);
                self.ring = Arc::new(ring);
                self.publisher.ring(Arc::clone(&self.ring));
                self.good = true;
                let first = self.report.read();
                self.report.changed(first || !self.started, &warnings);
            }
            Err(error) => {
                self.good = false;
                let file = self.file();
                self.report.refused(&format_args!("keys: {}: {error}", file.display()));
            }
        }
        self.seen = Some(snapshot);
    }

    /// What the policy wants written now, where this process may write at all.
    fn due(&self) -> Option<Change> {
        if !self.good || !is_writable(&self.file()) {
            return None;
        }
        match plan(&self.ring, epoch(), &self.policy) {
            Plan::Write(change) => Some(change),
            Plan::Nothing { .. } => None,
        }
    }

    /// Reads again, plans again, and writes onto exactly what was read.
    fn write(&mut self) {
        self.read();
        let (Some(change), Some(seen)) = (self.due(), self.seen.clone()) else { return };
        let next = change.apply(&self.ring, Key::fresh);
        let (result, error) = match replace(&self.file(), &seen, &keys_document::serialise(&next), MODE) {
            Ok(()) => (RotationResult::Ok, None),
            Err(error @ ReplaceError::Conflict { .. }) => (RotationResult::Conflict, Some(error)),
            Err(error) => (RotationResult::Error, Some(error)),
        };
        match result {
            RotationResult::Error => self.pause_longer(),
            RotationResult::Ok | RotationResult::Conflict => self.pause = Duration::ZERO,
        }
        self.report.metrics.key_rotation(result);
        match result {
            RotationResult::Ok => {}
            RotationResult::Conflict => self.report.metrics.store_error(StoreName::Keys, StoreErrorReason::Conflict),
            RotationResult::Error => self.report.metrics.store_error(StoreName::Keys, StoreErrorReason::Unavailable),
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
            .field("error", error.map(|error| error.to_string()))
            .emit();
        self.read();
    }

    fn pause_longer(&mut self) {
        self.pause = (self.pause * 2).clamp(SHORTEST_PAUSE, AT_LEAST);
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
        let no_signer = self.ring.signer(now, ttl).is_none();
        let problem = no_signer.then(|| format!("no key in {} can sign", self.file().display()));
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

/// A number below `bound`; 0 where the system has no random bytes, which delays nobody.
fn random(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes) % bound
}
