//! Changes to stored users, as the commands make them: one entry's new content, or why not.

mod error;
mod plan;

use std::{collections::BTreeMap, fmt};

use super::Source;

pub use self::error::EditError;

/// Where users go who stand in no YAML entry yet.
pub const DEFAULT_ENTRY: &str = "users.yaml";

/// One command's change. Times are in seconds since the epoch, hashes in their stored form.
#[derive(Clone)]
pub enum Change {
    Add {
        name: String,
        groups: Vec<String>,
        hash: String,
        expires_at: Option<u64>,
        now: u64,
    },
    /// A new password instead of all others, or beside those that have not expired.
    Passwd {
        name: String,
        hash: String,
        keep_old: bool,
        expires_at: Option<u64>,
        now: u64,
    },
    Disable {
        name: String,
    },
    Enable {
        name: String,
    },
    /// Ends every token issued up to and in the second `now`.
    Logout {
        name: String,
        now: u64,
    },
    Remove {
        name: String,
    },
    /// Adds the users of a htpasswd file; those that could not log in are left out with a warning.
    Import {
        htpasswd: Vec<u8>,
        now: u64,
    },
}

/// What one entry is to hold. It has been read back: together with the other entries it parses, and says
/// what was meant.
#[derive(Clone, PartialEq, Eq)]
pub struct Edited {
    pub entry: String,
    pub content: Vec<u8>,
    /// The entry held comments, which `content` does not.
    pub comments_lost: bool,
    /// The change touches two entries: write this one, read again, and apply the same change again.
    pub again: bool,
    pub warnings: Vec<String>,
}

/// Works out a change to the entries of one Secret or directory. Where nothing changes, `content` is what
/// the entry holds already.
pub fn apply(entries: &BTreeMap<String, Vec<u8>>, change: &Change) -> Result<Edited, EditError> {
    let source = Source { name: "", entries };
    super::parse(&[source])?;
    let texts = plan::Texts::read(&source)?;
    let stored = plan::Stored::read(&texts)?;
    let edited = stored.plan(change)?.into_edited(&texts)?;

    let mut after = entries.clone();
    after.insert(edited.entry.clone(), edited.content.clone());
    super::parse(&[Source { name: "", entries: &after }])?;
    Ok(edited)
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, name) = match self {
            Self::Add { name, .. } => ("Add", &**name),
            Self::Passwd { name, .. } => ("Passwd", &**name),
            Self::Disable { name } => ("Disable", &**name),
            Self::Enable { name } => ("Enable", &**name),
            Self::Logout { name, .. } => ("Logout", &**name),
            Self::Remove { name } => ("Remove", &**name),
            Self::Import { .. } => ("Import", ""),
        };
        write!(f, "{what}({name:?}, ..)")
    }
}

impl fmt::Debug for Edited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edited")
            .field("entry", &self.entry)
            .field("comments_lost", &self.comments_lost)
            .field("again", &self.again)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
