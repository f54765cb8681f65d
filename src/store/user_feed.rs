//! Reads the users' directory whenever it changes and publishes what it means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use super::directory::read_entries;
use super::file_watch::FileWatch;
use super::report::Report;
use super::users_document::{self, Loaded, Source};
use crate::auth::users::Users;
use crate::gate::Publisher;
use crate::metrics::UserState;
use crate::telemetry::{EventName, Level};

/// The directory is read at least this often, whatever the watch says.
const AT_LEAST: Duration = Duration::from_secs(60);

/// Keeps the user table up to date.
pub(crate) struct UserFeed {
    directory: PathBuf,
    publisher: Publisher,
    report: Report,
    users: Arc<Users>,
    /// A digest of the entries that were looked at last, good or bad.
    seen: Option<digest::Digest>,
    /// Those entries are the table that is in force.
    good: bool,
}

impl UserFeed {
    pub(crate) fn new(directory: PathBuf, publisher: Publisher, report: Report) -> Self {
        Self { directory, publisher, report, users: Arc::new(Users::empty()), seen: None, good: false }
    }

    /// Reads once. Blocks; at the start this comes before anything is served.
    pub(crate) fn read(&mut self) {
        let entries = match read_entries(&self.directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.seen = None;
                self.good = false;
                return self.report.unreadable(error.reason().into(), &format_args!("users: {error}"));
            }
        };
        let digest = digest_of(&entries);
        if self.seen.is_some_and(|seen| seen.as_ref() == digest.as_ref()) {
            if self.good {
                self.report.read();
            }
            return;
        }
        self.seen = Some(digest);
        match users_document::parse(&[Source { name: "", entries: &entries }]) {
            Ok(loaded) => {
                let warnings: Vec<String> = loaded.all_warnings().collect();
                let Loaded { users, .. } = loaded;
                self.count(&users);
                self.tell_revoked(&users);
                self.users = Arc::new(users);
                self.publisher.users(Arc::clone(&self.users));
                self.good = true;
                let first = self.report.read();
                self.report.changed(first, &warnings);
            }
            Err(error) => {
                self.good = false;
                let directory = self.directory.display();
                self.report.refused(&format_args!("users: {directory}: {error}"));
            }
        }
    }

    /// Follows the directory for good.
    pub(crate) async fn run(mut self, mut watch: FileWatch) {
        if let Some(warning) = watch.warning() {
            self.report.log.event(Level::Warn, EventName::ConfigWarning, warning).emit();
        }
        loop {
            // Timed out or not, the directory is read.
            drop(tokio::time::timeout(AT_LEAST, watch.changed()).await);
            // A table of 100,000 users takes a moment to parse, and other tasks share this thread.
            let report = self.report.clone();
            let Some((feed, _)) = report.blocking(self, Self::read).await else { return };
            self = feed;
        }
    }

    /// Whose tokens, all or some, are refused from now on.
    fn tell_revoked(&self, next: &Users) {
        for old in self.users.iter().filter(|user| user.is_active()) {
            let reason = match next.find(old.name().as_bytes()) {
                None => "user_removed",
                Some(user) if !user.is_active() => "user_inactive",
                Some(user) if old.passwords().iter().any(|entry| !user.has_credential(entry.credential())) => {
                    "password_changed"
                }
                Some(user) if user.tokens_not_before() > old.tokens_not_before() => "logged_out",
                Some(_) => continue,
            };
            self.report
                .log
                .event(Level::Info, EventName::Revocation, "tokens of a user are refused from now on")
                .field("user", old.name())
                .field("reason", reason)
                .emit();
        }
    }

    fn count(&self, users: &Users) {
        let counts = users.counts();
        self.report.metrics.set_users(UserState::Active, counts.active);
        self.report.metrics.set_users(UserState::Disabled, counts.disabled);
        self.report.metrics.set_users(UserState::Unusable, counts.unusable);
    }
}

fn digest_of(entries: &BTreeMap<String, Vec<u8>>) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for (name, content) in entries {
        for part in [name.as_bytes(), content] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
    }
    context.finish()
}
