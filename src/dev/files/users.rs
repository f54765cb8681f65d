//! The first user, with a random password that only its hash is kept of.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Files, SECRET, Write, snapshot};
use crate::auth::password::{self, Password};
use crate::auth::users::UserState;
use crate::store::directory::read_entries;
use crate::store::read_error::ReadError;
use crate::store::users_document::edit::{self, Change, DEFAULT_ENTRY};
use crate::store::users_document::{Loaded, Source, parse};

/// The first user.
pub(in crate::dev) const ADMIN: &str = "admin";
const GROUP: &str = "Administrator";

/// Who can log in to try it out.
#[derive(Debug)]
pub(in crate::dev) enum Login {
    /// Just made; the password is nowhere else.
    New { password: Password },
    /// Made earlier.
    Stored { name: String },
    /// All users were removed or disabled.
    Nobody,
}

/// Plans the first user where `dir` has no users and no document that could hold them.
pub(super) fn plan(files: &mut Files, dir: &Path, now: u64) -> Result<Login, String> {
    let entries = match read_entries(dir) {
        Ok(entries) => entries,
        Err(ReadError::Missing { path }) if path == dir => BTreeMap::new(),
        Err(error) => return Err(error.to_string()),
    };
    let Loaded { users, .. } = parse(&[Source { name: "", entries: &entries }])
        .map_err(|error| format!("{dir:?}: {error}: mend it, or remove it to get a new user and password"))?;
    if users.is_empty() && !entries.contains_key(DEFAULT_ENTRY) {
        let password = Password::generate();
        let change = Change::Add {
            name: ADMIN.to_owned(),
            groups: vec![GROUP.to_owned()],
            hash: password::hash(password.as_bytes()),
            expires_at: None,
            now,
        };
        let edited = edit::apply(&entries, &change).map_err(|error| format!("{dir:?}: {error}"))?;
        let path = dir.join(edited.entry);
        files.writes.push(Write { seen: snapshot(&path)?, path, content: edited.content, mode: SECRET });
        files.notes.push(format!("made a user: {ADMIN}, in group {GROUP}"));
        return Ok(Login::New { password });
    }
    let active = |name: &str| users.find(name.as_bytes()).is_some_and(|user| user.state() == UserState::Active);
    let name = if active(ADMIN) { Some(ADMIN) } else { users.iter().map(|user| user.name()).find(|name| active(name)) };
    Ok(name.map_or(Login::Nobody, |name| Login::Stored { name: name.to_owned() }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn planned(entries: &[(&str, &str)]) -> (Login, usize) {
        let dir = TempDir::new().unwrap();
        let users = dir.path().join("users");
        fs::create_dir(&users).unwrap();
        for (name, content) in entries {
            fs::write(users.join(name), content).unwrap();
        }
        let mut files = Files::nothing(dir.path());
        let login = plan(&mut files, &users, 1_900_000_000).unwrap();
        (login, files.writes.len())
    }

    #[test]
    fn a_user_is_made_only_where_there_never_was_one() {
        const HASH: &str = "$2y$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm";
        let bob = format!("bob:{HASH}\n");
        let admin = format!("zoe:{HASH}\nadmin:{HASH}\n");
        for (entries, made, name) in [
            (&[][..], true, None),
            (&[("notes.txt", "x")], true, None),
            (&[("users.yaml", "users: {}\n")], false, None),
            (&[("auth", bob.as_str())], false, Some("bob")),
            (&[("auth", admin.as_str())], false, Some("admin")),
            (&[("auth", bob.as_str()), ("users.yaml", "users: {bob: {disabled: true}}\n")], false, None),
        ] {
            let (login, writes) = planned(entries);
            assert_eq!(writes, usize::from(made), "{entries:?}");
            match login {
                Login::New { .. } => assert!(made, "{entries:?}"),
                Login::Stored { name: stored } => assert_eq!(Some(stored.as_str()), name, "{entries:?}"),
                Login::Nobody => assert!(!made && name.is_none(), "{entries:?}"),
            }
        }
    }

    #[test]
    fn the_password_that_is_told_is_the_one_that_is_stored() {
        let dir = TempDir::new().unwrap();
        let files = Files::plan(dir.path(), &["localhost".to_owned()], 1_900_000_000).unwrap();
        files.write().unwrap();
        let entries = read_entries(&dir.path().join("users")).unwrap();
        let stored = parse(&[Source { name: "", entries: &entries }]).unwrap().users;
        let user = stored.find(ADMIN.as_bytes()).unwrap();
        let Login::New { password } = &files.login else { panic!("{:?}", files.login) };
        assert!(user.passwords()[0].hash().verify(password.as_bytes()));
        assert!(
            !String::from_utf8_lossy(&entries[DEFAULT_ENTRY]).contains(str::from_utf8(password.as_bytes()).unwrap())
        );
    }
}
