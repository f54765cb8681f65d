//! Users and keys in directories.

use std::path::{Path, PathBuf};

use super::super::Failure;
use super::stored::{StoredKeys, StoredUsers, Written};
use crate::store::KEYS_ENTRY;
use crate::store::directory::read_entries;
use crate::store::users_document::edit::Edited;
use crate::store::versioned_file::{ReplaceError, Snapshot, replace};

/// Owner only: what is written is secret.
const MODE: u32 = 0o600;

/// A directory of users and one of keys.
pub(in crate::cli) struct Directory {
    pub(super) users: PathBuf,
    pub(super) keys: PathBuf,
}

impl Directory {
    /// As `dev` makes it.
    pub(super) fn at(dir: &Path) -> Self {
        Self { users: dir.join("users"), keys: dir.join("keys") }
    }

    pub(super) fn read_users(&self) -> Result<StoredUsers<'_>, Failure> {
        let entries = read_entries(&self.users).map_err(|error| Failure::run_time(format_args!("users: {error}")))?;
        let seen = entries.clone();
        let write = move |Edited { entry, content, .. }: &Edited| {
            let before = seen.get(entry).map(Vec::as_slice);
            if before == Some(content.as_slice()) {
                return Ok(Written::Done);
            }
            let path = self.users.join(entry);
            // The entry as a version of its own must be the one that the change was planned on.
            match Snapshot::read(&path) {
                Ok(seen) if seen.content() == before => written("users", replace(&path, &seen, content, MODE)),
                _ => Ok(Written::Conflict),
            }
        };
        Ok(StoredUsers { sources: vec![(String::new(), entries)], changed: 0, frozen: None, write: Box::new(write) })
    }

    pub(super) fn read_keys(&self) -> Result<StoredKeys<'_>, Failure> {
        let file = self.keys_file();
        // The directory first: a file that is missing in a directory that is there is an empty ring.
        let seen = read_entries(&self.keys).and_then(|_| Snapshot::read(&file));
        let seen = seen.map_err(|error| Failure::run_time(format_args!("keys: {error}")))?;
        let document = seen.content().unwrap_or_default().to_vec();
        let write = move |document: &[u8]| written("keys", replace(&self.keys_file(), &seen, document, MODE));
        StoredKeys::parse(&document, &format!("{file:?}"), Box::new(write))
    }

    pub(super) fn keys_file(&self) -> PathBuf {
        self.keys.join(KEYS_ENTRY)
    }
}

fn written(what: &str, replaced: Result<(), ReplaceError>) -> Result<Written, Failure> {
    match replaced {
        Ok(()) => Ok(Written::Done),
        Err(ReplaceError::Conflict { .. }) => Ok(Written::Conflict),
        Err(error) => Err(Failure::run_time(format_args!("{what}: {error}"))),
    }
}
