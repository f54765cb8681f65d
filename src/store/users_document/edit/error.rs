//! Why a change to the users cannot be made, in one line that names the mend.

use std::fmt;

use crate::{
    auth::{
        names::{self, InvalidName},
        password::UnusableHash,
    },
    store::users_document::InvalidDocument,
};

/// A refused change: nothing is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// A user of this name stands in `entry` already.
    Exists { name: String, entry: String },
    /// There is no user of this name.
    NoSuchUser { name: String },
    /// The name in this line is not UTF-8, and may be that of several.
    NotText { entry: String, line: usize },
    /// A name that no user can have.
    InvalidName { name: String, reason: InvalidName },
    /// A name that no group can have.
    InvalidGroup { group: String, reason: InvalidName },
    /// The new hash is not supported.
    UnusableHash(UnusableHash),
    /// A htpasswd line holds one password, which does not expire.
    OnePassword { name: String, entry: String },
    /// The imported file names a user in two lines.
    Twice { name: String, lines: (usize, usize) },
    /// The imported file holds no user who could log in; the first reason, if any.
    NothingToImport { reason: Option<String> },
    /// The documents do not parse, before the change or after it.
    Invalid(InvalidDocument),
    /// The entry's new content would not read back as it was meant.
    NotWritable { entry: String },
}

impl EditError {
    pub(super) fn exists(name: &str, entry: &str) -> Self {
        Self::Exists { name: name.to_owned(), entry: entry.to_owned() }
    }

    pub(super) fn unknown(name: &str) -> Self {
        Self::NoSuchUser { name: name.to_owned() }
    }

    pub(super) fn not_text(entry: &str, line: usize) -> Self {
        Self::NotText { entry: entry.to_owned(), line }
    }

    pub(super) fn name(name: &str, reason: InvalidName) -> Self {
        Self::InvalidName { name: name.to_owned(), reason }
    }

    pub(super) fn group(group: &str, reason: InvalidName) -> Self {
        Self::InvalidGroup { group: group.to_owned(), reason }
    }

    pub(super) fn one_password(name: &str, entry: &str) -> Self {
        Self::OnePassword { name: name.to_owned(), entry: entry.to_owned() }
    }

    pub(super) fn twice(name: &str, first: usize, second: usize) -> Self {
        Self::Twice { name: name.to_owned(), lines: (first, second) }
    }

    pub(super) fn nothing_to_import(warnings: &[String]) -> Self {
        Self::NothingToImport { reason: warnings.first().cloned() }
    }

    pub(super) fn not_writable(entry: &str) -> Self {
        Self::NotWritable { entry: entry.to_owned() }
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { name, entry } => write!(
                f,
                "user {} exists already, in {entry}: use `users passwd` for a new password, or remove it first",
                names::shown(name)
            ),
            Self::NoSuchUser { name } => {
                write!(f, "there is no user {}: `users list` shows who is there", names::shown(name))
            }
            Self::NotText { entry, line } => {
                write!(f, "the name in {entry}, line {line} is not UTF-8: mend or remove that line by hand")
            }
            Self::InvalidName { name, reason } => write!(
                f,
                "the user name {} {reason}: take 1 to 256 visible ASCII characters without `,` and `:`",
                names::shown(name)
            ),
            Self::InvalidGroup { group, reason } => write!(
                f,
                "the group name {} {reason}: take 1 to 256 visible ASCII characters without `,` and `:`",
                names::shown(group)
            ),
            Self::UnusableHash(reason) => write!(f, "the password's hash cannot be used: {reason}"),
            Self::OnePassword { name, entry } => write!(
                f,
                "the password of user {} stands in {entry}, which holds one password a user and no expiry: leave out --keep-old and --expires, or remove the user and add it anew",
                names::shown(name)
            ),
            Self::Twice { name, lines: (first, second) } => write!(
                f,
                "user {} stands in line {first} and in line {second} of the imported file: remove one of the two",
                names::shown(name)
            ),
            Self::NothingToImport { reason: None } => {
                f.write_str("the imported file holds no users: give it name:hash lines")
            }
            Self::NothingToImport { reason: Some(reason) } => {
                write!(f, "the imported file holds no user who could log in: {reason}")
            }
            Self::Invalid(reason) => write!(f, "{reason}: mend that first; nothing was written"),
            Self::NotWritable { entry } => {
                write!(f, "{entry} cannot be written so that it reads back the same: edit it by hand")
            }
        }
    }
}

impl std::error::Error for EditError {}

impl From<InvalidDocument> for EditError {
    fn from(reason: InvalidDocument) -> Self {
        Self::Invalid(reason)
    }
}

impl From<UnusableHash> for EditError {
    fn from(reason: UnusableHash) -> Self {
        Self::UnusableHash(reason)
    }
}
