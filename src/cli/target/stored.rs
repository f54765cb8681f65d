//! What was read of users and keys, each with the write that is good for exactly that version.

use std::collections::BTreeMap;

use super::super::Failure;
use crate::store::keys_document::{self, Parsed};
use crate::store::users_document::edit::{self, Change, EditError, Edited};
use crate::store::users_document::{self, InvalidDocument, Loaded, Source};

/// What became of a write.
pub(super) enum Written {
    Done,
    /// Somebody else has written since the read: read and plan again.
    Conflict,
}

/// Writes once, onto what was read; nothing where that holds it already.
type WriteUsers<'a> = Box<dyn FnOnce(&Edited) -> Result<Written, Failure> + 'a>;
/// Takes the document.
type WriteKeys<'a> = Box<dyn FnOnce(&[u8]) -> Result<Written, Failure> + 'a>;

/// The users of one directory, or of one or several Secrets.
pub(super) struct StoredUsers<'a> {
    /// By their names, which are empty where there is but one.
    pub(super) sources: Vec<(String, BTreeMap<String, Vec<u8>>)>,
    /// Which of them is to change, and its write.
    pub(super) changed: usize,
    /// Why it cannot be changed at all.
    pub(super) frozen: Option<Failure>,
    pub(super) write: WriteUsers<'a>,
}

pub(super) struct StoredKeys<'a> {
    pub(super) parsed: Parsed,
    pub(super) write: WriteKeys<'a>,
}

impl StoredUsers<'_> {
    /// All users together.
    pub(super) fn parse(&self) -> Result<Loaded, InvalidDocument> {
        users_document::parse(&self.with(None))
    }

    /// What a change makes of the one that is to change; all together must still parse.
    pub(super) fn plan(&self, change: &Change) -> Result<Edited, EditError> {
        let (_, entries) = &self.sources[self.changed];
        let edited = edit::apply(entries, change)?;
        if self.sources.len() > 1 {
            let mut after = entries.clone();
            after.insert(edited.entry.clone(), edited.content.clone());
            users_document::parse(&self.with(Some(&after)))?;
        }
        Ok(edited)
    }

    fn with<'b>(&'b self, changed: Option<&'b BTreeMap<String, Vec<u8>>>) -> Vec<Source<'b>> {
        let source = |(index, (name, entries)): (usize, &'b (String, BTreeMap<String, Vec<u8>>))| Source {
            name,
            entries: changed.filter(|_| index == self.changed).unwrap_or(entries),
        };
        self.sources.iter().enumerate().map(source).collect()
    }
}

impl<'a> StoredKeys<'a> {
    /// `place` is what errors call the document.
    pub(super) fn parse(document: &[u8], place: &str, write: WriteKeys<'a>) -> Result<Self, Failure> {
        match keys_document::parse(document) {
            Ok(parsed) => Ok(Self { parsed, write }),
            Err(error) => Err(Failure::run_time(format_args!("keys: {place}: {error}: mend that first"))),
        }
    }
}
