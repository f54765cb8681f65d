//! Many documents, one table: which names may meet, and what makes an entry unusable.

use std::{fmt, sync::Arc};

use super::{InvalidDocument, htpasswd::Line, yaml};
use crate::auth::{
    names,
    password::PasswordHash,
    users::{Groups, PasswordEntry, User, UserState, Users},
};

/// Who reads more has stopped reading.
const MAX_WARNINGS: usize = 100;

/// What has been read so far.
#[derive(Default)]
pub(super) struct Merge {
    users: Vec<Pending>,
    by_name: foldhash::HashMap<Arc<str>, usize>,
    groups: GroupLists,
    pub(super) warnings: Warnings,
}

struct Pending {
    name: Arc<str>,
    stands_in: Standing,
    place: Place,
    groups: Arc<Groups>,
    disabled: bool,
    /// The name or a group is not allowed.
    unusable: bool,
    listed_hashes: usize,
    passwords: Vec<PasswordEntry>,
    tokens_not_before: Option<u64>,
}

/// The document, and the line where it is known.
struct Place {
    label: Arc<str>,
    line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)?;
        self.line.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

/// Where a name stands: only a YAML user without passwords and a htpasswd line may meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    YamlWithPasswords,
    YamlWithout,
    Htpasswd,
    Both,
}

impl Merge {
    pub(super) fn yaml(&mut self, label: &str, document: yaml::Document<'_>) -> Result<(), InvalidDocument> {
        let shared_label: Arc<str> = label.into();
        for (name, entry) in document.users {
            let name = &*name.0;
            let (groups, groups_allowed) = self.groups(label, name, &entry.groups);
            let mut passwords = Vec::with_capacity(entry.passwords.len());
            for (place, password) in entry.passwords.iter().enumerate() {
                match PasswordHash::parse(&password.hash.0) {
                    Ok(hash) => passwords.push(PasswordEntry::new(
                        hash,
                        password.changed_at.map(yaml::Time::floor),
                        password.expires_at.map(yaml::Time::floor),
                    )),
                    Err(reason) => self.warnings.add_with(|| {
                        let (name, place) = (names::shown(name), place + 1);
                        format!("{label}: user {name}, password {place} is unusable: {reason}")
                    }),
                }
            }
            self.add(Pending {
                name: name.into(),
                stands_in: if entry.passwords.is_empty() { Standing::YamlWithout } else { Standing::YamlWithPasswords },
                place: Place { label: Arc::clone(&shared_label), line: None },
                groups,
                disabled: entry.disabled,
                unusable: !groups_allowed,
                listed_hashes: entry.passwords.len(),
                passwords,
                tokens_not_before: entry.tokens_not_before.map(yaml::Time::ceil),
            })?;
        }
        Ok(())
    }

    pub(super) fn htpasswd(&mut self, label: &str, lines: Vec<Line<'_>>) -> Result<(), InvalidDocument> {
        let shared_label: Arc<str> = label.into();
        for Line { number, name, hash } in lines {
            let passwords = match PasswordHash::parse(hash) {
                Ok(hash) => vec![PasswordEntry::new(hash, None, None)],
                Err(reason) => {
                    self.warnings.add_with(|| {
                        let name = names::shown(name);
                        format!("{label}, line {number}: the password of user {name} is unusable: {reason}")
                    });
                    Vec::new()
                }
            };
            self.add(Pending {
                name: name.into(),
                stands_in: Standing::Htpasswd,
                place: Place { label: Arc::clone(&shared_label), line: Some(number) },
                groups: Arc::default(),
                disabled: false,
                unusable: false,
                listed_hashes: 1,
                passwords,
                tokens_not_before: None,
            })?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> (Users, Warnings) {
        for user in &self.users {
            if user.listed_hashes > 1 && user.passwords.is_empty() {
                self.warnings.add_with(|| {
                    let (place, name) = (&user.place, names::shown(&user.name));
                    format!("{place}: user {name} is unusable, as all its passwords are")
                });
            }
        }
        let users = self.users.into_iter().map(|user| {
            let unusable = user.unusable || (user.listed_hashes > 0 && user.passwords.is_empty());
            let state = if unusable {
                UserState::Unusable
            } else if user.disabled {
                UserState::Disabled
            } else {
                UserState::Active
            };
            User::new(user.name, user.groups, state, user.passwords, user.tokens_not_before)
        });
        (Users::new(users), self.warnings)
    }

    fn add(&mut self, mut user: Pending) -> Result<(), InvalidDocument> {
        if let Err(reason) = names::check(user.name.as_bytes()) {
            self.warnings.add_with(|| {
                let (place, name) = (&user.place, names::shown(&user.name));
                format!("{place}: user {name} is unusable: the name {reason}")
            });
            user.unusable = true;
            // Nothing finds it by its name, so it clashes with nothing either.
            self.users.push(user);
            return Ok(());
        }
        let next = self.users.len();
        let place = *self.by_name.entry(Arc::clone(&user.name)).or_insert(next);
        match self.users.get_mut(place) {
            None => self.users.push(user),
            Some(first) => first.meet(user)?,
        }
        Ok(())
    }

    /// The list of groups, shared; and whether all of them are allowed. Those that are not are left out.
    fn groups(&mut self, label: &str, user: &str, groups: &[yaml::Text<'_>]) -> (Arc<Groups>, bool) {
        let mut all_allowed = true;
        let allowed = groups.iter().filter_map(|group| match names::check(group.0.as_bytes()) {
            Ok(()) => Some(&*group.0),
            Err(reason) => {
                all_allowed = false;
                self.warnings.add_with(|| {
                    let (user, group) = (names::shown(user), names::shown(&group.0));
                    format!("{label}: user {user} is unusable: the group {group} {reason}")
                });
                None
            }
        });
        (self.groups.shared(allowed), all_allowed)
    }
}

impl Pending {
    /// The same name a second time.
    fn meet(&mut self, other: Self) -> Result<(), InvalidDocument> {
        use Standing::{Htpasswd, YamlWithout};
        match (self.stands_in, other.stands_in) {
            (YamlWithout, Htpasswd) => {
                self.passwords = other.passwords;
                self.listed_hashes = other.listed_hashes;
            }
            (Htpasswd, YamlWithout) => {
                self.groups = other.groups;
                self.disabled = other.disabled;
                self.tokens_not_before = other.tokens_not_before;
            }
            _ => {
                return Err(InvalidDocument(format!(
                    "{}: user {} stands in {} already (only a YAML user without passwords may stand beside a htpasswd line)",
                    other.place,
                    names::shown(&self.name),
                    self.place,
                )));
            }
        }
        self.unusable |= other.unusable;
        self.stands_in = Standing::Both;
        Ok(())
    }
}

/// Each list of groups once, by its joined names.
#[derive(Default)]
struct GroupLists {
    lists: foldhash::HashMap<Box<str>, Arc<Groups>>,
    joined: String,
}

impl GroupLists {
    fn shared<'a>(&mut self, allowed: impl Iterator<Item = &'a str>) -> Arc<Groups> {
        self.joined.clear();
        for group in allowed {
            self.joined.push_str(group);
            self.joined.push(',');
        }
        if let Some(list) = self.lists.get(self.joined.as_str()) {
            return Arc::clone(list);
        }
        let mut names: Vec<&str> = Vec::new();
        for name in self.joined.split_terminator(',') {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let list = Arc::new(Groups::new(names));
        self.lists.insert(self.joined.as_str().into(), Arc::clone(&list));
        list
    }
}

/// What is odd, a line each; the first hundred lines, and how many more there are.
#[derive(Default)]
pub(super) struct Warnings {
    lines: Vec<String>,
    left_out: usize,
}

impl Warnings {
    pub(super) fn add(&mut self, line: String) {
        self.add_with(|| line);
    }

    /// As `add`, without making a line that would be left out.
    pub(super) fn add_with(&mut self, line: impl FnOnce() -> String) {
        if self.lines.len() < MAX_WARNINGS - 1 {
            self.lines.push(line());
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn into_lines(mut self) -> Vec<String> {
        if self.left_out > 0 {
            self.lines.push(format!("and {} more of these", self.left_out));
        }
        self.lines
    }
}
