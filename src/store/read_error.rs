//! Why files could not be read, for people and for counters.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why files could not be read. Displays as one line with the path and the mend, never contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// There is nothing at the path.
    Missing { path: PathBuf },
    /// Permissions forbid it.
    Forbidden { path: PathBuf },
    /// A directory is wanted and the path is something else.
    NotADirectory { path: PathBuf },
    /// A regular file is wanted and the path is something else.
    NotAFile { path: PathBuf },
    /// The file, or a directory's files together, hold more than `limit` bytes.
    TooLarge { path: PathBuf, limit: u64 },
    /// The directory holds more than `limit` entries.
    TooMany { path: PathBuf, limit: usize },
    /// An entry of the directory has a name that is not UTF-8.
    BadName { path: PathBuf, name: OsString },
    /// The files changed again and again while they were read.
    Unsettled { path: PathBuf },
    /// Any other failure of the system.
    Unreadable { path: PathBuf, kind: io::ErrorKind },
}

/// The closed set of reasons by which failed reads are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Missing,
    Invalid,
    Forbidden,
    Unavailable,
}

impl ReadError {
    /// The reason under which the error is counted.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } => Reason::Missing,
            Self::Forbidden { .. } => Reason::Forbidden,
            Self::NotADirectory { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::BadName { .. } => Reason::Invalid,
            Self::Unsettled { .. } | Self::Unreadable { .. } => Reason::Unavailable,
        }
    }

    pub(super) fn from_io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::PermissionDenied => Self::Forbidden { path },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::IsADirectory => Self::NotAFile { path },
            kind => Self::Unreadable { path, kind },
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => {
                write!(f, "{path:?} is not there: create it, mount it, or name another")
            }
            Self::Forbidden { path } => write!(
                f,
                "{path:?} may not be read by this process: give its user or group read access (in a pod: fsGroup)"
            ),
            Self::NotADirectory { path } => {
                write!(f, "{path:?} is not a directory: name the directory that holds the files")
            }
            Self::NotAFile { path } => {
                write!(f, "{path:?} is not a regular file: name a file")
            }
            Self::TooLarge { path, limit } => {
                write!(f, "{path:?} holds more than {limit} bytes: remove what does not belong there")
            }
            Self::TooMany { path, limit } => {
                write!(f, "{path:?} holds more than {limit} entries: remove what does not belong there")
            }
            Self::BadName { path, name } => {
                write!(f, "{path:?} holds an entry whose name is not UTF-8, {name:?}: rename or remove it")
            }
            Self::Unsettled { path } => {
                write!(f, "{path:?} kept changing while it was read: replace files by a rename")
            }
            Self::Unreadable { path, kind } => {
                write!(f, "{path:?} cannot be read ({kind}): check the volume it is on")
            }
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_is_told_apart() {
        let error = ReadError::from_io(Path::new("/x"), &io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.reason(), Reason::Forbidden);
    }
}
