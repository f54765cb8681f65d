//! The table of users that is in force: an immutable value, replaced as a whole.

mod check;
mod user;

use std::{fmt, sync::Arc};

use crate::auth::names;

pub use self::{
    check::{PasswordCheck, WorkProfile},
    user::{Groups, PasswordEntry, User, UserState},
};

/// How many users there are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserCounts {
    pub active: usize,
    pub disabled: usize,
    pub unusable: usize,
}

/// All users, found by the exact bytes of their names. Unprintable but for the counts.
#[derive(Clone)]
pub struct Users {
    in_order: Box<[Arc<User>]>,
    /// Places in `in_order`; users with names that are not allowed are not in here.
    by_name: foldhash::HashMap<Arc<str>, u32>,
    counts: UserCounts,
    profile: WorkProfile,
}

impl Users {
    /// A table without users. Checking a password against it costs as much as a new hash does.
    #[must_use]
    pub fn empty() -> Self {
        Self::new([])
    }

    /// A table of `users` in this order. Names must differ; of two alike the first counts.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = User>) -> Self {
        let in_order: Box<[Arc<User>]> = users.into_iter().map(Arc::new).collect();
        let mut by_name =
            foldhash::HashMap::with_capacity_and_hasher(in_order.len(), foldhash::fast::RandomState::default());
        let mut counts = UserCounts::default();
        for (place, user) in in_order.iter().enumerate() {
            match user.state() {
                UserState::Active => counts.active += 1,
                UserState::Disabled => counts.disabled += 1,
                UserState::Unusable => counts.unusable += 1,
            }
            if names::check(user.name().as_bytes()).is_ok() {
                let place = u32::try_from(place).expect("documents are bounded far below 2^32 users");
                by_name.entry(user.shared_name()).or_insert(place);
            }
        }
        let profile = WorkProfile::of(&in_order);
        Self { in_order, by_name, counts, profile }
    }

    /// The user of exactly this name, whatever its state.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        let place = *self.by_name.get(std::str::from_utf8(name).ok()?)?;
        self.in_order.get(place as usize)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    #[must_use]
    pub const fn counts(&self) -> UserCounts {
        self.counts
    }

    /// In the order of the documents.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.in_order.iter()
    }

    /// What every failing login costs.
    #[must_use]
    pub const fn work_profile(&self) -> &WorkProfile {
        &self.profile
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("counts", &self.counts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, state: UserState) -> User {
        User::new(name, Arc::default(), state, Vec::new(), None)
    }

    fn table() -> Users {
        Users::new([
            user("zoe", UserState::Active),
            user("Bob", UserState::Disabled),
            user("a,b", UserState::Unusable),
            user("bob", UserState::Active),
        ])
    }

    #[test]
    fn users_are_found_by_the_exact_bytes_of_a_valid_name() {
        let users = table();
        for name in ["zoe", "Bob", "bob"] {
            assert_eq!(users.find(name.as_bytes()).unwrap().name(), name);
        }
        for absent in [&b""[..], b"ZOE", b"zoe ", b"zoe\0", b"zo", b"a,b", b"\xff\xfe"] {
            assert!(users.find(absent).is_none(), "{absent:?}");
        }
    }

    #[test]
    fn users_keep_their_order_and_are_counted_by_state() {
        let users = table();
        let names: Vec<&str> = users.iter().map(|u| u.name()).collect();
        assert_eq!(names, ["zoe", "Bob", "a,b", "bob"]);
        assert_eq!(users.len(), 4);
        assert_eq!(users.counts(), UserCounts { active: 2, disabled: 1, unusable: 1 });
        assert!(Users::empty().is_empty());
        assert!(Users::empty().find(b"zoe").is_none());
    }
}
