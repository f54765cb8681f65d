//! Where users and keys are kept that a command works on: read, and written as one version after another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{Arg, ArgMatches, value_parser};

use super::Failure;
use crate::auth::keys::KeyRing;
use crate::config::{Config, Store};
use crate::store::KEYS_ENTRY;
use crate::store::directory::read_entries;
use crate::store::keys_document;
use crate::store::users_document::edit::{self, Change, EditError, Edited};
use crate::store::users_document::{self, Loaded, Source};
use crate::store::versioned_file::{ReplaceError, Snapshot, replace};

/// What `dev` makes, where no other directory is named.
const DEFAULT_DIR: &str = ".vestibule";
/// How often a change is planned anew because somebody else was faster.
const TRIES: u64 = 100;
/// The longest pause before that.
const PAUSE: Duration = Duration::from_millis(50);
/// Owner only: what is written is secret.
const MODE: u32 = 0o600;

/// A directory of users and one of keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    users: PathBuf,
    keys: PathBuf,
}

/// What became of a change to the users besides that it was made.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Entries that have lost their comments.
    pub(super) without_comments: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// What is to become of a key ring, and what the command says of it.
pub(super) enum Ring<T> {
    Keep(T),
    Write(KeyRing, T),
}

/// `--dir DIR`.
pub(super) fn dir_arg() -> Arg {
    Arg::new("dir")
        .long("dir")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help(format!("The directory with `users` and `keys` in it [default: {DEFAULT_DIR}]"))
}

impl Target {
    /// The directory that is named, or the default one.
    pub(super) fn of(arguments: &ArgMatches) -> Self {
        Self::dir(arguments.get_one::<PathBuf>("dir").map_or(Path::new(DEFAULT_DIR), PathBuf::as_path))
    }

    /// The directory that is named; else where the configuration that is named keeps them; else the default one.
    pub(super) fn of_configured(arguments: &ArgMatches, config: &Config) -> Result<Self, Failure> {
        let named = |argument| arguments.get_one::<PathBuf>(argument).is_some();
        match &config.store {
            _ if named("dir") || !named("config") => Ok(Self::of(arguments)),
            Store::Directory(store) => Ok(Self { users: store.users.clone(), keys: store.keys.clone() }),
            Store::Kubernetes(_) => {
                Err(Failure::usage("store.kubernetes: this command works on directories: give --dir DIR"))
            }
        }
    }

    fn dir(dir: &Path) -> Self {
        Self { users: dir.join("users"), keys: dir.join("keys") }
    }

    /// All users as they stand.
    pub(super) fn users(&self) -> Result<Loaded, Failure> {
        users_document::parse(&[Source { name: "", entries: &self.user_entries()? }])
            .map_err(|error| Failure::run_time(format_args!("users: {:?}, {error}: mend that first", self.users)))
    }

    /// Whether a change could be made as things stand. Writes nothing.
    pub(super) fn plan_users(&self, change: &Change) -> Result<(), Failure> {
        edit::apply(&self.user_entries()?, change).map(drop).map_err(|error| refused(&error))
    }

    /// Makes a change to the users: plans it on what it reads, writes onto exactly that, and begins anew where somebody
    /// else has written meanwhile.
    pub(super) fn change_users(&self, change: &Change) -> Result<Told, Failure> {
        let mut told = Told::default();
        let mut half_done = false;
        for turn in 0..TRIES {
            pause(turn);
            let entries = self.user_entries()?;
            let edited = match edit::apply(&entries, change) {
                Ok(edited) => edited,
                // Somebody else has done the other half.
                Err(EditError::NoSuchUser { .. }) if half_done => return Ok(told),
                Err(error) => return Err(refused(&error)),
            };
            match self.write_users(&entries, &edited) {
                Ok(()) => {}
                Err(ReplaceError::Conflict { .. }) => continue,
                Err(error) => return Err(Failure::run_time(format_args!("users: {error}"))),
            }
            if edited.comments_lost {
                told.without_comments.push(edited.entry);
            }
            told.warnings.extend(edited.warnings);
            if !edited.again {
                return Ok(told);
            }
            half_done = true;
        }
        Err(contended("users", &self.users))
    }

    /// The key ring as it stands, and warnings about its document.
    pub(super) fn ring(&self) -> Result<keys_document::Parsed, Failure> {
        self.read_ring().map(|(_, parsed)| parsed)
    }

    /// Changes the key ring in one write onto exactly what was read; plans anew where somebody else has written
    /// meanwhile.
    pub(super) fn change_ring<T>(
        &self,
        mut plan: impl FnMut(&KeyRing) -> Result<Ring<T>, Failure>,
    ) -> Result<T, Failure> {
        for turn in 0..TRIES {
            pause(turn);
            let (seen, parsed) = self.read_ring()?;
            let (next, told) = match plan(&parsed.ring)? {
                Ring::Keep(told) => return Ok(told),
                Ring::Write(next, told) => (next, told),
            };
            match replace(&self.keys_file(), &seen, &keys_document::serialise(&next), MODE) {
                Ok(()) => return Ok(told),
                Err(ReplaceError::Conflict { .. }) => {}
                Err(error) => return Err(Failure::run_time(format_args!("keys: {error}"))),
            }
        }
        Err(contended("keys", &self.keys))
    }

    fn user_entries(&self) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        read_entries(&self.users).map_err(|error| Failure::run_time(format_args!("users: {error}")))
    }

    fn write_users(&self, entries: &BTreeMap<String, Vec<u8>>, edited: &Edited) -> Result<(), ReplaceError> {
        let before = entries.get(&edited.entry).map(Vec::as_slice);
        if before == Some(&edited.content) {
            return Ok(());
        }
        let path = self.users.join(&edited.entry);
        // The entry as a version of its own must be the one that the change was planned on.
        match Snapshot::read(&path) {
            Ok(seen) if seen.content() == before => replace(&path, &seen, &edited.content, MODE),
            _ => Err(ReplaceError::Conflict { path }),
        }
    }

    fn keys_file(&self) -> PathBuf {
        self.keys.join(KEYS_ENTRY)
    }

    fn read_ring(&self) -> Result<(Snapshot, keys_document::Parsed), Failure> {
        let file = self.keys_file();
        // The directory first: a file that is missing in a directory that is there is an empty ring.
        let seen = read_entries(&self.keys).and_then(|_| Snapshot::read(&file));
        let seen = seen.map_err(|error| Failure::run_time(format_args!("keys: {error}")))?;
        let parsed = keys_document::parse(seen.content().unwrap_or_default())
            .map_err(|error| Failure::run_time(format_args!("keys: {file:?}: {error}: mend that first")))?;
        Ok((seen, parsed))
    }
}

/// A name that cannot be used is bad usage; all else depends on what is stored.
fn refused(error: &EditError) -> Failure {
    match error {
        EditError::InvalidName { .. } | EditError::InvalidGroup { .. } => Failure::usage(error),
        _ => Failure::run_time(error),
    }
}

fn contended(what: &str, directory: &Path) -> Failure {
    Failure::run_time(format_args!("{what}: {directory:?} kept changing under this command: try again"))
}

/// Lets the others go first, a little longer every time; writers differ by their process.
fn pause(turn: u64) {
    if turn > 0 {
        let spread = u64::from(std::process::id() % 7) + 1;
        thread::sleep(Duration::from_millis(turn * spread).min(PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::auth::keys::{Algorithm, Key};
    use crate::auth::password::hash;

    fn made() -> (tempfile::TempDir, Target) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("users")).unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        let target = Target::dir(dir.path());
        (dir, target)
    }

    #[test]
    fn a_ring_that_changed_meanwhile_is_planned_on_anew() {
        let (_dir, target) = made();
        let key = |kid: &str| Key::generate(Algorithm::Hs512, kid, 1, 1);
        let mut seen = Vec::new();
        let told = target.change_ring(|ring| {
            seen.push(ring.keys().len());
            if seen.len() == 1 {
                let other = KeyRing::new(vec![key("other")]).unwrap();
                fs::write(target.keys_file(), keys_document::serialise(&other)).unwrap();
            }
            let mut keys = ring.keys().to_vec();
            keys.push(key("mine"));
            Ok(Ring::Write(KeyRing::new(keys).unwrap(), "done"))
        });
        assert_eq!(told.ok(), Some("done"));
        assert_eq!(seen, [0, 1]);
        let kids: Vec<String> = target.ring().unwrap().ring.keys().iter().map(|key| key.kid().to_string()).collect();
        assert_eq!(kids, ["mine", "other"]);
    }

    #[test]
    fn a_user_in_two_entries_is_removed_from_both() {
        let (dir, target) = made();
        let htpasswd = format!("bob:{}\nann:{}\n", hash(b"x"), hash(b"y"));
        fs::write(dir.path().join("users/auth"), htpasswd).unwrap();
        fs::write(dir.path().join("users/groups.yaml"), "users: {bob: {groups: [a]}} # comment\n").unwrap();
        let told = target.change_users(&Change::Remove { name: "bob".to_owned() }).unwrap();
        assert_eq!(told.without_comments, ["groups.yaml"]);
        let users = target.users().unwrap().users;
        assert!(users.find(b"bob").is_none() && users.find(b"ann").is_some());
    }

    #[test]
    fn what_changes_nothing_is_not_written() {
        let (dir, target) = made();
        let file = dir.path().join("users/users.yaml");
        let text = "# kept\nusers: {bob: {disabled: true}}\n";
        fs::write(&file, text).unwrap();
        target.change_users(&Change::Disable { name: "bob".to_owned() }).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert!(!dir.path().join("users/.users.yaml.lock").exists());
    }
}
