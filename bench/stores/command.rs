//! What `bench/fleet` asks for.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use vestibule::auth::keys::KeyRing;
use vestibule::auth::users::Users;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Starts so many stores at one moment, and tells when each has users and a key, in microseconds since the epoch.
    Start { stores: usize, seconds: u64 },
    /// Says `waiting`, and then when this had come to be so in each store.
    Await {
        seconds: u64,
        #[serde(flatten)]
        wanted: Wanted,
    },
    /// Says how long the documents of these folders, one for each Secret, take to be made into a table, each of so many times.
    Parse { folders: Vec<PathBuf>, times: usize },
    /// Says the metrics of all stores together.
    Metrics,
}

#[derive(Deserialize, Clone)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// A user who is active, or not.
    User { name: String, active: bool },
    /// A ring of so many keys.
    Keys { count: usize },
    /// Any users, and a key.
    Both,
}

impl Wanted {
    pub(crate) fn is_so(&self, users: &Users, ring: &KeyRing) -> bool {
        match self {
            Self::User { name, active } => users.find(name.as_bytes()).is_some_and(|user| user.is_active()) == *active,
            Self::Keys { count } => ring.keys().len() == *count,
            Self::Both => !users.is_empty() && !ring.keys().is_empty(),
        }
    }
}

/// A time that is over in so many seconds.
pub(crate) fn within(seconds: u64) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(seconds)
}
