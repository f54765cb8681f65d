//! Makes what is missing in the directory; what is there is read, judged and left alone.

mod tls;
mod users;

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub(super) use self::users::{ADMIN, Login};
use crate::store::versioned_file::{self, Snapshot};
use crate::store::{KEYS_ENTRY, keys_document};

/// Owner only.
const DIRECTORY_MODE: u32 = 0o700;
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// What is to be made, worked out and not yet written.
pub(super) struct Files {
    dir: PathBuf,
    /// Version control is to ignore the directory.
    ignored: bool,
    writes: Vec<Write>,
    /// What is made and why, a line each, for people.
    pub(super) notes: Vec<String>,
    pub(super) login: Login,
}

/// A file's new content, in the place of what was seen.
struct Write {
    path: PathBuf,
    seen: Snapshot,
    content: Vec<u8>,
    mode: u32,
}

impl Files {
    /// Reads `dir` (it need not be there) and works out what it lacks: a certificate authority, a server certificate
    /// for `hosts`, a user. `now` is in seconds since the epoch. Blocks on the disk, and for as long as a hash takes.
    ///
    /// # Errors
    ///
    /// A file that is there and cannot be read or understood, in one line with the mend.
    pub(super) fn plan(dir: &Path, hosts: &[String], now: u64) -> Result<Self, String> {
        let mut files = Self::nothing(dir);
        files.ignored = is_ours(dir)?;
        tls::plan(&mut files, &dir.join("tls"), hosts, now)?;
        check_keys(&dir.join("keys").join(KEYS_ENTRY))?;
        files.login = users::plan(&mut files, &dir.join("users"), now)?;
        Ok(files)
    }

    /// Writes all of it, each file whole or not at all.
    ///
    /// # Errors
    ///
    /// The system failed, or another process has changed a file meanwhile; one line with the mend.
    pub(super) fn write(&self) -> Result<(), String> {
        for dir in [self.dir.clone(), self.dir.join("tls"), self.dir.join("users"), self.dir.join("keys")] {
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&dir).map_err(|error| {
                format!("{dir:?} cannot be made ({error}): make it, or name another directory with --dir")
            })?;
        }
        if self.ignored {
            let path = self.dir.join(".gitignore");
            match File::create_new(&path).and_then(|mut file| file.write_all(b"*\n")) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(format!("{path:?} was not written ({error}): mend that and try again"));
                }
                _ => {}
            }
        }
        for Write { path, seen, content, mode } in &self.writes {
            versioned_file::replace(path, seen, content, *mode).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn nothing(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), ignored: false, writes: Vec::new(), notes: Vec::new(), login: Login::Nobody }
    }
}

/// Whether all of the directory is ours to ignore: somebody's project must not vanish from version control.
fn is_ours(dir: &Path) -> Result<bool, String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => {
            return Err(format!("{dir:?} cannot be read ({error}): mend that, or name another directory with --dir"));
        }
    };
    let ours = ["tls", "users", "keys", ".gitignore"];
    Ok(entries.flatten().all(|entry| ours.iter().any(|own| entry.file_name() == *own)))
}

/// The server makes the first key itself; a ring that is broken would leave it unready for good.
fn check_keys(path: &Path) -> Result<(), String> {
    let seen = snapshot(path)?;
    keys_document::parse(seen.content().unwrap_or_default())
        .map(drop)
        .map_err(|error| format!("{path:?}: {error}: mend it, or remove it to get new keys, which ends all tokens"))
}

fn snapshot(path: &Path) -> Result<Snapshot, String> {
    Snapshot::read(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    const NOW: u64 = 1_900_000_000;

    fn hosts() -> Vec<String> {
        vec!["localhost".to_owned()]
    }

    fn make(dir: &Path) -> Result<Files, String> {
        let files = Files::plan(dir, &hosts(), NOW)?;
        files.write()?;
        Ok(files)
    }

    #[test]
    fn everything_is_made_once_and_only_for_its_owner() {
        let parent = TempDir::new().unwrap();
        let dir = parent.path().join("a/b");
        let first = make(&dir).unwrap();
        assert!(matches!(first.login, Login::New { .. }));
        let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
        for name in ["", "tls", "users", "keys"] {
            assert_eq!(mode(name), 0o700, "{name}");
        }
        for name in ["tls/ca.key", "tls/tls.key", "users/users.yaml"] {
            assert_eq!(mode(name), 0o600, "{name}");
        }
        assert_eq!(fs::read_to_string(dir.join(".gitignore")).unwrap(), "*\n");

        let again = Files::plan(&dir, &hosts(), NOW + 86_400).unwrap();
        assert!(again.writes.is_empty() && again.notes.is_empty(), "{:?}", again.notes);
        assert!(matches!(again.login, Login::Stored { ref name } if name == "admin"));
    }

    #[test]
    fn a_directory_with_other_things_is_not_hidden_from_git() {
        for (name, hidden) in [("tls", true), ("src", false)] {
            let dir = TempDir::new().unwrap();
            fs::create_dir(dir.path().join(name)).unwrap();
            make(dir.path()).unwrap();
            assert_eq!(dir.path().join(".gitignore").exists(), hidden, "{name}");
        }
    }

    #[test]
    fn what_is_broken_is_told_and_nothing_is_written() {
        for (name, content) in [
            ("tls/ca.crt", "junk"),
            ("tls/ca.key", "junk"),
            ("tls/tls.crt", "junk"),
            ("tls/tls.key", "junk"),
            ("users/users.yaml", "users: [junk"),
            ("keys/keys.jwks", "junk"),
        ] {
            let dir = TempDir::new().unwrap();
            make(dir.path()).unwrap();
            fs::write(dir.path().join(name), content).unwrap();
            // Something to write besides, which must not happen.
            fs::remove_file(dir.path().join(".gitignore")).unwrap();
            let error = make(dir.path()).map(|_| ()).unwrap_err();
            assert!(error.contains(name.rsplit('/').next().unwrap()), "{name}: {error}");
            assert!(error.contains("remove"), "{name}: {error}");
            assert!(!error.contains('\n'), "{name}: {error}");
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), content);
            assert!(!dir.path().join(".gitignore").exists(), "{name}");
        }
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_told() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(make(&dir.path().join("file")).is_err());
        fs::create_dir(dir.path().join("d")).unwrap();
        for name in ["d/tls", "d/users", "d/keys"] {
            fs::write(dir.path().join(name), "").unwrap();
            assert!(make(&dir.path().join("d")).is_err(), "{name}");
            fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}
