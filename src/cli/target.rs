//! Where users and keys are kept that a command works on: read, and written as one version after another.

mod args;
mod directory;
mod secrets;
mod stored;

use std::thread;
use std::time::Duration;

use super::Failure;
use crate::auth::keys::KeyRing;
use crate::clock::epoch;
use crate::store::users_document::Loaded;
use crate::store::users_document::edit::{Change, EditError};
use crate::store::{jitter, keys_document};

use self::args::Names;
pub(super) use self::args::{Part, add};
use self::directory::Directory;
use self::secrets::Secrets;
use self::stored::{StoredKeys, StoredUsers, Written};

/// How often a change is planned anew because somebody else was faster.
const TRIES: u32 = 100;
/// The longest pauses before that: for other processes of this machine, and for others at the API server.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_AT_SERVER: Duration = Duration::from_secs(1);

/// Where users and keys are.
pub(super) enum Target {
    Directory(Directory),
    Secrets(Secrets),
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

impl Target {
    /// All users as they stand.
    pub(super) fn users(&self) -> Result<Loaded, Failure> {
        self.read_users()?.parse().map_err(|error| {
            Failure::run_time(format_args!("users: {}, {error}: mend that first", self.place_of_users()))
        })
    }

    /// Whether a change could be made as things stand. Writes nothing.
    pub(super) fn plan_users(&self, change: &Change) -> Result<(), Failure> {
        let stored = self.read_users()?;
        let planned = stored.plan(change).map(drop).map_err(|error| refused(&error));
        stored.frozen.map_or(planned, Err)
    }

    /// Makes a change to the users: plans it on what it reads, writes onto exactly that, and begins anew where somebody
    /// else has written meanwhile.
    pub(super) fn change_users(&self, change: &Change) -> Result<Told, Failure> {
        let mut told = Told::default();
        let mut half_done = false;
        for turn in 0..TRIES {
            self.pause(turn);
            let stored = self.read_users()?;
            let edited = match stored.plan(change) {
                // Somebody else has done the other half.
                Err(EditError::NoSuchUser { .. }) if half_done => return Ok(told),
                _ if stored.frozen.is_some() => return stored.frozen.map_or(Ok(told), Err),
                Err(error) => return Err(refused(&error)),
                Ok(edited) => edited,
            };
            if let Written::Conflict = (stored.write)(&edited)? {
                continue;
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
        Err(contended("users", &self.place_of_users()))
    }

    /// The key ring as it stands, and warnings about its document.
    pub(super) fn ring(&self) -> Result<keys_document::Parsed, Failure> {
        self.read_keys().map(|stored| stored.parsed)
    }

    /// Changes the key ring in one write onto exactly what was read; plans anew where somebody else has written
    /// meanwhile.
    pub(super) fn change_ring<T>(
        &self,
        mut plan: impl FnMut(&KeyRing) -> Result<Ring<T>, Failure>,
    ) -> Result<T, Failure> {
        for turn in 0..TRIES {
            self.pause(turn);
            let stored = self.read_keys()?;
            let (next, told) = match plan(&stored.parsed.ring)? {
                Ring::Keep(told) => return Ok(told),
                Ring::Write(next, told) => (next, told),
            };
            if let Written::Done = (stored.write)(&keys_document::serialise(&next))? {
                return Ok(told);
            }
        }
        Err(contended("keys", &self.place_of_keys()))
    }

    /// Seconds since the epoch, as what is written is to be dated; the API server's, where this clock is off.
    pub(super) fn now(&self) -> Result<u64, Failure> {
        match self {
            Self::Directory(_) => Ok(epoch()),
            Self::Secrets(secrets) => secrets.now(),
        }
    }

    /// The same for a rotation; a clock that is off by more than 30 s from the API server's is an error.
    pub(super) fn exact_now(&self) -> Result<u64, Failure> {
        match self {
            Self::Directory(_) => Ok(epoch()),
            Self::Secrets(secrets) => secrets.exact_now(),
        }
    }

    fn read_users(&self) -> Result<StoredUsers<'_>, Failure> {
        match self {
            Self::Directory(directory) => directory.read_users(),
            Self::Secrets(secrets) => secrets.read_users(),
        }
    }

    fn read_keys(&self) -> Result<StoredKeys<'_>, Failure> {
        match self {
            Self::Directory(directory) => directory.read_keys(),
            Self::Secrets(secrets) => secrets.read_keys(),
        }
    }

    fn place_of_users(&self) -> String {
        match self {
            Self::Directory(directory) => format!("{:?}", directory.users),
            Self::Secrets(secrets) => secrets.place_of_users(),
        }
    }

    fn place_of_keys(&self) -> String {
        match self {
            Self::Directory(directory) => format!("{:?}", directory.keys),
            Self::Secrets(secrets) => secrets.place_of_keys(),
        }
    }

    /// Lets others go first, for a random time that may be twice as long every turn.
    fn pause(&self, turn: u32) {
        if turn > 0 {
            let longest = match self {
                Self::Directory(_) => PAUSE,
                Self::Secrets(_) => PAUSE_AT_SERVER,
            };
            thread::sleep(jitter::up_to(Duration::from_millis(10 << turn.min(10)).min(longest)));
        }
    }
}

/// A name that cannot be used is bad usage; all else depends on what is stored.
fn refused(error: &EditError) -> Failure {
    match error {
        EditError::InvalidName { .. } | EditError::InvalidGroup { .. } => Failure::usage(error),
        _ => Failure::run_time(error),
    }
}

fn contended(what: &str, place: &str) -> Failure {
    Failure::run_time(format_args!("{what}: {place} kept changing under this command: try again"))
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
        let target = Target::Directory(Directory::at(dir.path()));
        (dir, target)
    }

    #[test]
    fn a_ring_that_changed_meanwhile_is_planned_on_anew() {
        let (dir, target) = made();
        let key = |kid: &str| Key::generate(Algorithm::Hs512, kid, 1, 1);
        let mut seen = Vec::new();
        let told = target.change_ring(|ring| {
            seen.push(ring.keys().len());
            if seen.len() == 1 {
                let other = KeyRing::new(vec![key("other")]).unwrap();
                fs::write(dir.path().join("keys/keys.jwks"), keys_document::serialise(&other)).unwrap();
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
