//! Makes the user table of what the users' directory or Secrets hold, whenever that changes, and publishes it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use super::newest::Newest;
use super::origin::{Look, Origin, Part};
use super::report::Report;
use super::users_document::{self, Loaded, Source};
use crate::auth::users::Users;
use crate::gate::Publisher;
use crate::metrics::UserState;
use crate::telemetry::{EventName, Level};

/// The store is looked at at least this often, whatever the watch says.
const AT_LEAST: Duration = Duration::from_secs(60);

/// Keeps the user table up to date.
pub(crate) struct UserFeed {
    origin: Origin,
    table: Table,
}

/// What is made of the store.
struct Table {
    place: String,
    publisher: Publisher,
    report: Report,
    users: Arc<Users>,
    newest: Newest,
}

impl UserFeed {
    pub(crate) fn new(origin: Origin, publisher: Publisher, report: Report) -> Self {
        let table = Table {
            place: origin.place(),
            publisher,
            report,
            users: Arc::new(Users::empty()),
            newest: Newest::default(),
        };
        Self { origin, table }
    }

    /// Looks once, before anything is served. Takes 5 s at most where an API server has to be asked.
    pub(crate) async fn start(mut self) -> Option<Self> {
        self.origin.start().await;
        self.look().await
    }

    /// Follows the store for good.
    pub(crate) async fn run(mut self) {
        if let Some(warning) = self.origin.warning() {
            self.table.report.log.event(Level::Warn, EventName::ConfigWarning, warning).emit();
        }
        loop {
            // Timed out or not, the store is looked at.
            drop(tokio::time::timeout(AT_LEAST, self.origin.changed()).await);
            let Some(feed) = self.look().await else { return };
            self = feed;
        }
    }

    /// `None` at the runtime's end.
    async fn look(self) -> Option<Self> {
        let look = self.origin.look().await;
        let Self { origin, table } = self;
        // A table of 100,000 users takes a moment to parse, and other tasks share this thread.
        let report = table.report.clone();
        let (table, _) = report.blocking(table, move |table: &mut Table| table.take(look)).await?;
        Some(Self { origin, table })
    }
}

impl Table {
    fn take(&mut self, look: Look) {
        match &look.parts {
            Some(parts) => self.make(parts),
            None => self.newest.is_gone(),
        }
        self.newest.looked(look.problem, look.current, &self.report);
    }

    fn make(&mut self, parts: &[Part]) {
        if !self.newest.is_news(digest_of(parts)) {
            return;
        }
        let several = parts.len() > 1;
        let sources: Vec<_> = parts
            .iter()
            .map(|part| Source { name: if several { &part.name } else { "" }, entries: part.entries.get() })
            .collect();
        match users_document::parse(&sources) {
            Ok(loaded) => {
                let warnings: Vec<String> = loaded.all_warnings().collect();
                let Loaded { users, .. } = loaded;
                self.count(&users);
                self.tell_revoked(&users);
                self.users = Arc::new(users);
                self.publisher.users(Arc::clone(&self.users));
                self.newest.is_good();
                let first = self.report.in_force();
                self.report.changed(first, &warnings);
            }
            Err(error) => self.report.refused(&format_args!("users: {}: {error}", self.place)),
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

fn digest_of(parts: &[Part]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        let entries = part.entries.get();
        context.update(&(entries.len() as u64).to_le_bytes());
        for (name, content) in entries {
            for bytes in [name.as_bytes(), content] {
                context.update(&(bytes.len() as u64).to_le_bytes());
                context.update(bytes);
            }
        }
    }
    context.finish()
}
