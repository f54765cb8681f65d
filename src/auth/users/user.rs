//! One user: a name, groups, a state and the passwords that are stored for it.

use std::{fmt, sync::Arc};

use crate::auth::password::{CredentialId, PasswordHash};

/// Whether a user may log in and its tokens are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserState {
    Active,
    Disabled,
    /// The stored entry cannot be used; refused like a disabled user.
    Unusable,
}

/// A list of groups, shared by all users that are in exactly these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    names: Box<[Box<str>]>,
    joined: Box<str>,
}

impl Groups {
    #[must_use]
    pub fn new<S: Into<Box<str>>>(names: impl IntoIterator<Item = S>) -> Self {
        let names: Box<[Box<str>]> = names.into_iter().map(Into::into).collect();
        let joined = names.join(",").into();
        Self { names, joined }
    }
}

/// A stored password of a user.
#[derive(Clone, Debug)]
pub struct PasswordEntry {
    hash: PasswordHash,
    changed_at: Option<u64>,
    expires_at: Option<u64>,
}

impl PasswordEntry {
    /// Times are in seconds since the epoch; an `expires_at` of `None` is never.
    #[must_use]
    pub const fn new(hash: PasswordHash, changed_at: Option<u64>, expires_at: Option<u64>) -> Self {
        Self { hash, changed_at, expires_at }
    }

    #[must_use]
    pub const fn hash(&self) -> &PasswordHash {
        &self.hash
    }

    #[must_use]
    pub const fn credential(&self) -> CredentialId {
        self.hash.credential()
    }

    #[must_use]
    pub const fn changed_at(&self) -> Option<u64> {
        self.changed_at
    }

    #[must_use]
    pub const fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    /// At `expires_at` the password is over.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }
}

/// A user as the documents describe it now.
pub struct User {
    name: Arc<str>,
    groups: Arc<Groups>,
    state: UserState,
    passwords: Box<[PasswordEntry]>,
    tokens_not_before: Option<u64>,
}

impl User {
    /// `passwords` are those whose hashes are usable; tokens with an `iat` before `tokens_not_before`
    /// (seconds since the epoch) are not good.
    #[must_use]
    pub fn new(
        name: impl Into<Arc<str>>,
        groups: Arc<Groups>,
        state: UserState,
        passwords: Vec<PasswordEntry>,
        tokens_not_before: Option<u64>,
    ) -> Self {
        Self { name: name.into(), groups, state, passwords: passwords.into(), tokens_not_before }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name without copying it, for what outlives this table.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    #[must_use]
    pub const fn state(&self) -> UserState {
        self.state
    }

    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == UserState::Active
    }

    #[must_use]
    pub fn groups(&self) -> &[Box<str>] {
        &self.groups.names
    }

    /// `a,b`: unambiguous, as no group holds a comma.
    #[must_use]
    pub fn groups_joined(&self) -> &str {
        &self.groups.joined
    }

    /// Whether the user is in at least one of `groups`; in none of an empty list.
    #[must_use]
    pub fn in_any<S: AsRef<str>>(&self, groups: &[S]) -> bool {
        self.groups().iter().any(|own| groups.iter().any(|group| group.as_ref() == &**own))
    }

    #[must_use]
    pub fn passwords(&self) -> &[PasswordEntry] {
        &self.passwords
    }

    /// The entry that `credential` names, while it stands.
    #[must_use]
    pub fn password(&self, credential: CredentialId) -> Option<&PasswordEntry> {
        self.passwords.iter().find(|entry| entry.credential() == credential)
    }

    /// Whether the entry that `credential` names still stands, expired or not.
    #[must_use]
    pub fn has_credential(&self, credential: CredentialId) -> bool {
        self.password(credential).is_some()
    }

    /// Tokens issued before this second are not good.
    #[must_use]
    pub const fn tokens_not_before(&self) -> Option<u64> {
        self.tokens_not_before
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::tests as vectors;

    fn entry(text: &str, expires_at: Option<u64>) -> PasswordEntry {
        PasswordEntry::new(PasswordHash::parse(text).unwrap(), None, expires_at)
    }

    #[test]
    fn groups_are_listed_joined_and_asked_for() {
        let groups = Arc::new(Groups::new(["Administrator", "SaaS_User"]));
        let user = User::new("bob", groups, UserState::Active, Vec::new(), None);
        assert_eq!(user.groups_joined(), "Administrator,SaaS_User");
        assert!(user.in_any(&["x", "SaaS_User"]));
        assert!(!user.in_any(&["saas_user", "SaaS"]));
        assert!(!user.in_any::<&str>(&[]));

        let none = User::new("eve", Arc::default(), UserState::Active, Vec::new(), None);
        assert_eq!(none.groups_joined(), "");
        assert!(!none.in_any(&["Administrator", ""]));
    }

    #[test]
    fn a_credential_stands_while_its_entry_does_expired_or_not() {
        let kept = entry(vectors::BCRYPT_4, Some(10));
        let credential = kept.credential();
        let gone = entry(vectors::BCRYPT_5, None).credential();
        let user = User::new("bob", Arc::default(), UserState::Active, vec![kept], None);
        assert!(user.has_credential(credential));
        assert!(!user.has_credential(gone));
        let entry = user.password(credential).unwrap();
        assert!(!entry.is_expired(9));
        assert!(entry.is_expired(10));
    }

    #[test]
    fn printing_a_user_gives_no_hash_away() {
        let passwords = vec![entry(vectors::BCRYPT_4, None)];
        let user = User::new("bob", Arc::default(), UserState::Active, passwords, None);
        assert!(!format!("{user:?} {:?}", user.passwords()).contains("$2"));
    }
}
