//! A file replaced as one versioned write: only where it still is what was read, whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};

use crate::store::directory::DATA_LINK;
use crate::store::file_read::{open_flags, read_file};
use crate::store::read_error::ReadError;

const MAX_BYTES: u64 = 64 << 20;

/// How long a writer waits for another one that holds the lock.
const LOCK_DEADLINE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What a file held when it was read: the version that a [`replace`] is based on.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    content: Option<Vec<u8>>,
}

impl Snapshot {
    /// Reads the file at `path`, at most 64 MiB; one that is not there yet is a version too. Blocks.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        match read_file(path, MAX_BYTES) {
            Ok(content) => Ok(Self { content: Some(content) }),
            Err(ReadError::Missing { .. }) => Ok(Self { content: None }),
            Err(error) => Err(error),
        }
    }

    /// The file's bytes; `None`: there was no file.
    pub fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("bytes", &self.content.as_ref().map(Vec::len)).finish_non_exhaustive()
    }
}

/// Why a file was not replaced. Displays as one line with the path and the mend, never contents.
#[derive(Debug)]
pub enum ReplaceError {
    /// The file is no longer what was read: read it again, and plan again.
    Conflict { path: PathBuf },
    /// Another writer has held the lock for 5 s.
    Busy { path: PathBuf },
    /// The directory cannot be written, or is one that kubelet keeps.
    ReadOnly { path: PathBuf },
    /// The system failed; the file at `path` is the old one, or the new one in full.
    Io { path: PathBuf, error: io::Error },
}

impl ReplaceError {
    fn from_io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly { path },
            _ => Self::Io { path, error },
        }
    }
}

impl fmt::Display for ReplaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { path } => {
                write!(f, "{path:?} has changed since it was read: try again")
            }
            Self::Busy { path } => {
                write!(f, "{path:?} is locked by another writer: try again, or end the process that holds the lock")
            }
            Self::ReadOnly { path } => write!(
                f,
                "{path:?} cannot be written: change a mounted Secret through the API server, or make the directory writable"
            ),
            Self::Io { path, error } => {
                write!(f, "{path:?} was not written ({error}): mend that and try again")
            }
        }
    }
}

impl std::error::Error for ReplaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Puts `new` in the place of the file at `path` if that still holds what `expected` saw.
///
/// Writers exclude each other by a lock on `.NAME.lock` beside the file, which stays there; readers
/// see the old file or the new one. An existing file keeps its owner and mode where the system
/// allows it; a new one has `mode` and, made by root, the directory's owner. Blocks up to 5 s for
/// the lock, and on the disk.
pub fn replace(path: &Path, expected: &Snapshot, new: &[u8], mode: u32) -> Result<(), ReplaceError> {
    if !is_writable(path) {
        return Err(missing_directory(path).unwrap_or_else(|| ReplaceError::ReadOnly { path: path.to_owned() }));
    }
    let lock = lock(path)?;
    let failed = |error| ReplaceError::from_io(path, error);
    let staged = Staged::write(path, new, mode).map_err(failed)?;
    // At the last moment, for those who take no lock. What cannot be read back is not what was expected.
    if Snapshot::read(path).ok().as_ref() != Some(expected) {
        return Err(ReplaceError::Conflict { path: path.to_owned() });
    }
    let replaced = staged.commit().map_err(failed);
    drop(lock);
    replaced
}

/// Whether [`replace`] may write `path`: it is a regular file or not there, and its directory can
/// be written and is not one that kubelet mounted, whose files are symlinks into `..data`.
pub fn is_writable(path: &Path) -> bool {
    let dir = directory(path);
    let replaceable = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_file(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    replaceable
        && path.file_name().is_some()
        && fs::symlink_metadata(dir.join(DATA_LINK)).is_err()
        && accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

fn missing_directory(path: &Path) -> Option<ReplaceError> {
    let error = fs::metadata(directory(path)).err()?;
    (error.kind() == io::ErrorKind::NotFound).then(|| ReplaceError::Io { path: path.to_owned(), error })
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The hidden file `.NAME.ENDING` beside `path`, which readers of the directory pass over.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or(OsStr::new("")));
    name.push(ending);
    path.with_file_name(name)
}

/// An exclusive lock until the file is dropped. Its file is never removed: another writer could
/// hold the removed one and a third a new one.
fn lock(path: &Path) -> Result<File, ReplaceError> {
    let failed = |error| ReplaceError::from_io(path, error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(open_flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
        .open(beside(path, ".lock"))
        .map_err(failed)?;
    // So that the directory's owner can lock after root has.
    let owner = fs::metadata(directory(path)).map_err(failed)?;
    let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
    let end = Instant::now() + LOCK_DEADLINE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(ReplaceError::Busy { path: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// A complete new version beside the old one, removed when it is dropped before its commit.
struct Staged<'a> {
    path: &'a Path,
    temporary: PathBuf,
}

impl<'a> Staged<'a> {
    /// Only for whoever holds the lock: the name is always the same, so what is there already was
    /// left by a writer that got killed.
    fn write(path: &'a Path, content: &[u8], mode: u32) -> io::Result<Self> {
        let temporary = beside(path, ".tmp");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let staged = Self { path, temporary };
        file.write_all(content)?;
        set_owner_and_mode(path, &file, mode)?;
        file.sync_all()?;
        Ok(staged)
    }

    fn commit(self) -> io::Result<()> {
        fs::rename(&self.temporary, self.path)?;
        match File::open(directory(self.path))?.sync_all() {
            // Some network file systems have no such call for directories.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After the commit there is nothing by that name.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn set_owner_and_mode(path: &Path, file: &File, mode: u32) -> io::Result<()> {
    let old = fs::metadata(path).ok();
    let mut mode = old.as_ref().map_or(mode, MetadataExt::mode) & 0o777;
    let model = match old {
        Some(old) => old,
        None => fs::metadata(directory(path))?,
    };
    if fchown(file, Some(model.uid()), Some(model.gid())).is_err() && fchown(file, None, Some(model.gid())).is_err() {
        // The group's rights were another group's.
        mode &= 0o707;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests;
