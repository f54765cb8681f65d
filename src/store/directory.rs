//! One consistent version of a directory of documents, as a mounted Secret or as plain files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::file_read::{Fingerprint, read_file, settled};
use crate::store::read_error::ReadError;

/// The link that kubelet swaps to replace every file of a mounted volume at once.
pub(super) const DATA_LINK: &str = "..data";

const MAX_BYTES: u64 = 64 << 20;
const MAX_ENTRIES: usize = 1_000;

/// Name and content of each regular file directly in `dir`, symlinks followed; names that begin
/// with `.`, subdirectories and special files are passed over.
///
/// All entries are of one version: in a volume that kubelet mounted (`..data` is a symlink) they
/// are read behind that link, elsewhere no file changed during the read; otherwise it starts over.
/// At most 1,000 entries and 64 MiB together. An empty directory is an empty map, a directory that
/// is not there an error. Blocks.
pub fn read_entries(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
    settled(
        dir,
        || state(dir),
        || match payload(dir)? {
            Some(payload) => read_regular_files(dir, &payload),
            None => read_regular_files(dir, dir),
        },
    )
}

/// The directory that `..data` points to, `None` where there is no such link.
fn payload(dir: &Path) -> Result<Option<PathBuf>, ReadError> {
    let link = dir.join(DATA_LINK);
    match fs::symlink_metadata(&link) {
        Ok(metadata) if metadata.is_symlink() => {
            fs::canonicalize(&link).map(Some).map_err(|error| ReadError::from_io(&link, &error))
        }
        _ => Ok(None),
    }
}

/// What must not change during a read: where `..data` leads, else each entry.
#[derive(PartialEq)]
enum State {
    Mounted(PathBuf),
    Plain(Vec<(PathBuf, Option<Fingerprint>)>),
    Unreadable,
}

fn state(dir: &Path) -> State {
    match payload(dir) {
        Ok(Some(payload)) => State::Mounted(payload),
        Ok(None) => match visible_entries(dir, dir) {
            Ok(entries) => State::Plain(entries.into_iter().map(|(_, path)| Fingerprint::of_entry(path)).collect()),
            Err(_) => State::Unreadable,
        },
        Err(_) => State::Unreadable,
    }
}

/// Name and path of the entries of `from` that do not begin with `.`, in order; errors name `dir`.
fn visible_entries(dir: &Path, from: &Path) -> Result<Vec<(String, PathBuf)>, ReadError> {
    let failed = |error: io::Error| ReadError::from_io(dir, &error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = match entry.file_name().into_string() {
            Ok(name) if name.starts_with('.') => continue,
            Ok(name) => name,
            Err(name) => {
                return Err(ReadError::BadName { path: dir.to_owned(), name });
            }
        };
        if entries.len() == MAX_ENTRIES {
            return Err(ReadError::TooMany { path: dir.to_owned(), limit: MAX_ENTRIES });
        }
        entries.push((name, entry.path()));
    }
    entries.sort_unstable();
    Ok(entries)
}

fn read_regular_files(dir: &Path, from: &Path) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
    let mut contents = BTreeMap::new();
    let mut room = MAX_BYTES;
    for (name, path) in visible_entries(dir, from)? {
        let shown = dir.join(&name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => continue,
            Err(error) => return Err(ReadError::from_io(&shown, &error)),
        }
        let content = read_file(&path, room).map_err(|error| match error {
            ReadError::TooLarge { .. } => ReadError::TooLarge { path: dir.to_owned(), limit: MAX_BYTES },
            other => other,
        })?;
        room -= content.len() as u64;
        contents.insert(name, content);
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;
    use crate::store::read_error::Reason;

    /// Publishes a version as kubelet's atomic writer does: a new directory, then one rename.
    fn publish(dir: &Path, version: &str, entries: &[(&str, &str)]) {
        let old = fs::read_link(dir.join(DATA_LINK)).ok();
        let payload = format!("..{version}");
        fs::create_dir(dir.join(&payload)).unwrap();
        for (name, content) in entries {
            fs::write(dir.join(&payload).join(name), content).unwrap();
        }
        symlink(&payload, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join(DATA_LINK)).unwrap();
        for (name, _) in entries {
            if fs::symlink_metadata(dir.join(name)).is_err() {
                symlink(Path::new(DATA_LINK).join(name), dir.join(name)).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(dir.join(old)).unwrap();
        }
    }

    fn text(entries: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, &str)> {
        entries.iter().map(|(name, content)| (name.as_str(), str::from_utf8(content).unwrap())).collect()
    }

    #[test]
    fn plain_files_are_read_and_the_rest_is_passed_over() {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("b.yaml"), "b").unwrap();
        fs::write(at("a.htpasswd"), "a").unwrap();
        fs::write(at(".keys.jwks.lock"), "lock").unwrap();
        fs::write(at(".keys.jwks.tmp"), "half").unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("folder/inner.yaml"), "inner").unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        symlink("folder/inner.yaml", at("link.yaml")).unwrap();
        let entries = read_entries(dir.path()).unwrap();
        assert_eq!(text(&entries), [("a.htpasswd", "a"), ("b.yaml", "b"), ("link.yaml", "inner")]);
    }

    #[test]
    fn a_mounted_volume_is_read_behind_its_link() {
        let dir = TempDir::new().unwrap();
        publish(dir.path(), "2026_01", &[("users.yaml", "one"), ("auth", "x")]);
        assert_eq!(text(&read_entries(dir.path()).unwrap()), [("auth", "x"), ("users.yaml", "one")]);
        // A link that kubelet has not removed yet belongs to no version.
        publish(dir.path(), "2026_02", &[("users.yaml", "two")]);
        assert_eq!(text(&read_entries(dir.path()).unwrap()), [("users.yaml", "two")]);
        // The Secret without data.
        publish(dir.path(), "2026_03", &[]);
        assert!(read_entries(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn two_versions_are_never_mixed() {
        let dir = TempDir::new().unwrap();
        publish(dir.path(), "start", &[("a", "start"), ("b", "start")]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for version in 0..150 {
                    let content = version.to_string();
                    publish(dir.path(), &content, &[("a", &content), ("b", &content)]);
                    thread::sleep(std::time::Duration::from_millis(1));
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                match read_entries(dir.path()) {
                    Ok(entries) => {
                        assert_eq!(entries.len(), 2);
                        assert_eq!(entries["a"], entries["b"]);
                    }
                    Err(error) => assert!(matches!(error, ReadError::Unsettled { .. }), "{error}"),
                }
            }
        });
        assert_eq!(read_entries(dir.path()).unwrap()["a"], b"149");
    }

    #[test]
    fn bad_directories_are_told_apart() {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        for name in ["dangling", "odd", "many", "large", "swapped"] {
            fs::create_dir(at(name)).unwrap();
        }
        symlink("nowhere", at("dangling/users.yaml")).unwrap();
        fs::write(at("odd").join(OsStr::from_bytes(b"caf\xe9.yaml")), "").unwrap();
        for number in 0..=MAX_ENTRIES {
            File::create(at("many").join(number.to_string())).unwrap();
        }
        for name in ["x", "y"] {
            File::create(at("large").join(name)).unwrap().set_len(MAX_BYTES / 2 + 1).unwrap();
        }
        symlink("..gone", at("swapped").join(DATA_LINK)).unwrap();
        let cases = [
            ("none", ReadError::Missing { path: at("none") }, Reason::Missing),
            ("file", ReadError::NotADirectory { path: at("file") }, Reason::Invalid),
            ("dangling", ReadError::Missing { path: at("dangling/users.yaml") }, Reason::Missing),
            (
                "odd",
                ReadError::BadName { path: at("odd"), name: OsStr::from_bytes(b"caf\xe9.yaml").into() },
                Reason::Invalid,
            ),
            ("many", ReadError::TooMany { path: at("many"), limit: MAX_ENTRIES }, Reason::Invalid),
            ("large", ReadError::TooLarge { path: at("large"), limit: MAX_BYTES }, Reason::Invalid),
            ("swapped", ReadError::Missing { path: at("swapped/..data") }, Reason::Missing),
        ];
        for (name, expected, reason) in cases {
            let error = read_entries(&at(name)).unwrap_err();
            assert_eq!(error, expected);
            assert_eq!(error.reason(), reason, "{name}");
        }
    }
}
