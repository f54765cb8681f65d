//! Bounded reads of regular files, several of them as one version.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::store::read_error::ReadError;

/// How often a read starts over when the files change under it, and how long it waits in between.
const ATTEMPTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(15);

/// The whole of a regular file (symlinks are followed) of at most `limit` bytes.
/// Blocks on the disk, but never on a pipe or a device.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let failed = |error: io::Error| ReadError::from_io(path, &error);
    let file = OpenOptions::new().read(true).custom_flags(open_flags(OFlags::NONBLOCK)).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile { path: path.to_owned() });
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0));
    // One byte more than allowed, so that a file that grows meanwhile is noticed too.
    (&file as &File).take(limit.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > limit {
        return Err(ReadError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(content)
}

/// Several files as one version: none of them changed from before the first was read until after
/// the last was. Each is at most `limit` bytes. Blocks; sleeps shortly where files change.
pub fn read_files<const N: usize>(paths: [&Path; N], limit: u64) -> Result<[Vec<u8>; N], ReadError> {
    let state = || paths.map(Fingerprint::of);
    settled(paths.first().copied().unwrap_or(Path::new("")), state, || {
        let mut contents = [const { Vec::new() }; N];
        for (content, path) in contents.iter_mut().zip(paths) {
            *content = read_file(path, limit)?;
        }
        Ok(contents)
    })
}

/// Runs `read` until `state` is the same before and after it; an error counts only then, too.
pub(super) fn settled<S: PartialEq, T>(
    path: &Path,
    state: impl Fn() -> S,
    mut read: impl FnMut() -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let mut before = state();
    for _ in 0..ATTEMPTS {
        let result = read();
        let after = state();
        if before == after {
            return result;
        }
        thread::sleep(PAUSE);
        before = state();
    }
    Err(ReadError::Unsettled { path: path.to_owned() })
}

/// What a stat tells about the file behind a path: unequal ones mean that it may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    resolved: Option<PathBuf>,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

impl Fingerprint {
    /// `None` when nothing can be reached at `path`; symlinks are followed.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self::from_metadata(&metadata, fs::canonicalize(path).ok()))
    }

    /// A path with the fingerprint of what it leads to.
    pub(super) fn of_entry(path: PathBuf) -> (PathBuf, Option<Self>) {
        let print = Self::of(&path);
        (path, print)
    }

    /// Without the way there, which takes a system call for each of its steps; and whether it is a directory.
    pub(super) fn at(path: &Path) -> Option<(Self, bool)> {
        let metadata = fs::metadata(path).ok()?;
        Some((Self::from_metadata(&metadata, None), metadata.is_dir()))
    }

    /// Only which file it is, without what becomes of it.
    pub(super) fn identity(self) -> Self {
        Self { modified: (0, 0), changed: (0, 0), size: 0, ..self }
    }

    fn from_metadata(metadata: &Metadata, resolved: Option<PathBuf>) -> Self {
        Self {
            resolved,
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        }
    }
}

/// `flags` in the form that [`OpenOptionsExt::custom_flags`] takes.
pub(super) fn open_flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).expect("open flags are small positive numbers")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::store::read_error::Reason;

    #[test]
    fn reads_regular_files_up_to_the_limit_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("five"), b"12345").unwrap();
        symlink(at("five"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();

        assert_eq!(read_file(&at("five"), 5).unwrap(), b"12345");
        assert_eq!(read_file(&at("link"), 5).unwrap(), b"12345");
        let cases = [
            ("five", 4, ReadError::TooLarge { path: at("five"), limit: 4 }, Reason::Invalid),
            ("none", 9, ReadError::Missing { path: at("none") }, Reason::Missing),
            ("dangling", 9, ReadError::Missing { path: at("dangling") }, Reason::Missing),
            ("pipe", 9, ReadError::NotAFile { path: at("pipe") }, Reason::Invalid),
            (".", 9, ReadError::NotAFile { path: at(".") }, Reason::Invalid),
            ("five/x", 9, ReadError::NotADirectory { path: at("five/x") }, Reason::Invalid),
        ];
        for (name, limit, expected, reason) in cases {
            let error = read_file(&at(name), limit).unwrap_err();
            assert_eq!(error, expected);
            assert_eq!(error.reason(), reason, "{name}");
            let line = error.to_string();
            assert!(line.contains(&*at(name).to_string_lossy()) && !line.contains('\n'), "{line}");
            assert!(line.contains(": "), "no mend in {line}");
        }
        assert_eq!(read_file(&at("loop"), 9).unwrap_err().reason(), Reason::Unavailable);
    }

    #[test]
    fn a_change_during_the_read_starts_it_over() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "old").unwrap();
        fs::write(&two, "old").unwrap();
        let reads = Cell::new(0);
        let state = || [Fingerprint::of(&one), Fingerprint::of(&two)];
        let both = settled(&one, state, || {
            let first = read_file(&one, 9)?;
            if reads.replace(reads.get() + 1) == 0 {
                for file in [&one, &two] {
                    fs::write(file, "newer").unwrap();
                }
            }
            Ok([first, read_file(&two, 9)?])
        });
        assert_eq!(both.unwrap(), [b"newer".to_vec(), b"newer".to_vec()]);
        assert_eq!(read_files([&one, &two], 9).unwrap(), [b"newer".to_vec(), b"newer".to_vec()]);
    }

    #[test]
    fn what_never_settles_is_an_error_in_bounded_time() {
        let tick = Cell::new(0);
        let state = || tick.replace(tick.get() + 1);
        let error = settled(Path::new("/x"), state, || Ok(())).unwrap_err();
        assert_eq!(error, ReadError::Unsettled { path: "/x".into() });
        assert_eq!(error.reason(), Reason::Unavailable);
    }

    #[test]
    fn an_error_that_a_change_explains_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("late");
        let missing = Cell::new(true);
        let content = settled(
            &file,
            || Fingerprint::of(&file),
            || {
                let result = read_file(&file, 9);
                if missing.replace(false) {
                    fs::write(&file, "x").unwrap();
                }
                result
            },
        );
        assert_eq!(content.unwrap(), b"x");
    }
}
