//! The key ring's document where it is kept, with the version that a write goes onto.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::KEYS_ENTRY;
use super::kubernetes::{ApiError, SecretVersion};
use super::origin::{Entries, Look, Origin, Part, Problem};
use super::versioned_file::{ReplaceError, Snapshot, is_writable, replace};
use crate::metrics::{RotationResult, StoreErrorReason};

/// Owner only: the file holds secrets.
const MODE: u32 = 0o600;

/// The document as it was looked at.
#[derive(Clone)]
pub(super) enum Version {
    File(Snapshot),
    Secret(Arc<SecretVersion>),
    /// Of a directory that stands in for the Secret.
    Fallback(Arc<BTreeMap<String, Vec<u8>>>),
}

/// What the store holds of keys, as far as is known.
pub(super) struct KeyLook {
    pub(super) version: Option<Version>,
    pub(super) problem: Option<Problem>,
    pub(super) current: bool,
}

/// Why nothing was written.
pub(super) struct Unwritten {
    pub(super) result: RotationResult,
    pub(super) reason: StoreErrorReason,
    /// One line, with the mend.
    pub(super) error: String,
}

impl Version {
    /// The document's bytes; none where the entry is not there.
    pub(super) fn document(&self) -> &[u8] {
        match self {
            Self::File(snapshot) => snapshot.content().unwrap_or_default(),
            Self::Secret(secret) => entry(secret.data()),
            Self::Fallback(entries) => entry(entries),
        }
    }
}

fn entry(entries: &BTreeMap<String, Vec<u8>>) -> &[u8] {
    entries.get(KEYS_ENTRY).map_or(&[], Vec::as_slice)
}

impl Origin {
    /// For files this reads them, on a thread of its own.
    pub(super) async fn look_at_keys(&self) -> KeyLook {
        // The directory first: a file that is missing in a directory that is there is an empty ring.
        let Look { parts, problem, current } = self.look().await;
        let part = parts.into_iter().flatten().next();
        match (self, part) {
            (_, None) => KeyLook { version: None, problem, current },
            (Self::Directory(_), Some(_)) => match self.snapshot().await {
                Ok(snapshot) => KeyLook { version: Some(Version::File(snapshot)), problem, current },
                Err(problem) => KeyLook { version: None, problem: Some(problem), current: false },
            },
            (Self::Secrets(_), Some(Part { entries, .. })) => {
                let version = match entries {
                    Entries::Secret(secret) => Version::Secret(secret),
                    Entries::Files(files) => Version::Fallback(files),
                };
                KeyLook { version: Some(version), problem, current }
            }
        }
    }

    /// Has the store read as it stands, whatever is known of it, by one request. Files are read at each look.
    pub(super) async fn refresh(&self) -> Result<(), ApiError> {
        match self.only_secret() {
            Some(follower) => follower.refresh().await,
            None => Ok(()),
        }
    }

    /// Whether this process may write at all.
    pub(super) fn is_writable(&self, version: &Version) -> bool {
        match version {
            Version::File(_) => self.keys_file().is_some_and(|file| is_writable(&file)),
            // Whether its Role allows it is seen when the time has come.
            Version::Secret(_) => true,
            Version::Fallback(_) => false,
        }
    }

    /// What keeps this process from making a `thing`: a clock that is not the API server's.
    pub(super) fn clock_problem(&self, thing: &str) -> Option<String> {
        let skew = self.only_secret()?.cluster().clock_skew()?;
        (!skew.is_allowed()).then(|| format!("{skew}, so that no {thing} is made: set it right"))
    }

    /// Writes the document where the store still holds this version.
    pub(super) async fn write_keys(&self, version: &Version, document: Vec<u8>) -> Result<(), Unwritten> {
        match version {
            Version::File(seen) => {
                let Some(file) = self.keys_file() else { return Ok(()) };
                let seen = seen.clone();
                let written = tokio::task::spawn_blocking(move || replace(&file, &seen, &document, MODE)).await;
                written.unwrap_or(Ok(())).map_err(|error| Unwritten::from(&error))
            }
            Version::Secret(seen) => {
                let Some(follower) = self.only_secret() else { return Ok(()) };
                let changes = BTreeMap::from([(KEYS_ENTRY.to_owned(), Some(document))]);
                follower.patch(seen, &changes).await.map_err(|error| Unwritten::from(&error))
            }
            Version::Fallback(_) => Ok(()),
        }
    }

    /// How messages name the document.
    pub(super) fn keys_place(&self) -> String {
        self.keys_file().map_or_else(|| self.place(), |file| file.display().to_string())
    }

    fn keys_file(&self) -> Option<PathBuf> {
        match self {
            Self::Directory(directory) => Some(directory.path.join(KEYS_ENTRY)),
            Self::Secrets(_) => None,
        }
    }

    async fn snapshot(&self) -> Result<Snapshot, Problem> {
        let file = self.keys_file().unwrap_or_default();
        let reading = tokio::task::spawn_blocking(move || Snapshot::read(&file)).await;
        match reading {
            Ok(read) => read.map_err(|error| Problem { reason: error.reason().into(), error: error.to_string() }),
            // Only at the end of the runtime.
            Err(_) => Err(Problem { reason: StoreErrorReason::Unavailable, error: "the reading broke off".to_owned() }),
        }
    }
}

impl From<&ReplaceError> for Unwritten {
    fn from(error: &ReplaceError) -> Self {
        let (result, reason) = match error {
            ReplaceError::Conflict { .. } => (RotationResult::Conflict, StoreErrorReason::Conflict),
            _ => (RotationResult::Error, StoreErrorReason::Unavailable),
        };
        Self { result, reason, error: error.to_string() }
    }
}

impl From<&ApiError> for Unwritten {
    fn from(error: &ApiError) -> Self {
        let result = if error.is_conflict() { RotationResult::Conflict } else { RotationResult::Error };
        Self { result, reason: error.reason(), error: error.to_string() }
    }
}
