//! Checking a password so that the time taken says nothing about the user.
//!
//! The table knows, for each kind and cost of hash in it, the greatest number of them that any one user
//! has. Every failing check does exactly that much work in one order, as what a hash leaves behind in caches
//! and memory makes the next one faster or slower: at each place the user's own hash, or else a dummy.

use std::{collections::BTreeMap, fmt, hint::black_box, sync::Arc};

use super::{User, Users};
use crate::auth::password::{CredentialId, DEFAULT_WORK, PasswordHash, Work};

/// What came of a password.
#[derive(Clone, Debug)]
pub enum PasswordCheck {
    /// The right password of an active user; `credential` names the stored entry that it matched.
    Granted { user: Arc<User>, credential: CredentialId },
    /// The right password of an active user, and every entry that it matches has expired.
    Expired,
    /// Unknown, disabled or unusable user, or wrong password: one answer.
    Denied,
}

/// How many hashes of each kind and cost a failing check works through; never empty.
#[derive(Clone)]
pub struct WorkProfile(Box<[Slots]>);

#[derive(Clone)]
struct Slots {
    work: Work,
    count: usize,
    dummy: PasswordHash,
}

impl WorkProfile {
    pub(super) fn of(users: &[Arc<User>]) -> Self {
        let mut most: BTreeMap<Work, usize> = BTreeMap::new();
        let mut own: Vec<Work> = Vec::new();
        for user in users {
            own.clear();
            own.extend(user.passwords().iter().map(|entry| entry.hash().work()));
            own.sort_unstable();
            for alike in own.chunk_by(|a, b| a == b) {
                let slots = most.entry(alike[0]).or_default();
                *slots = alike.len().max(*slots);
            }
        }
        if most.is_empty() {
            most.insert(DEFAULT_WORK, 1);
        }
        Self(most.into_iter().map(|(work, count)| Slots { work, count, dummy: PasswordHash::dummy(work) }).collect())
    }

    /// Each kind and cost with the number of hashes of it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Work, usize)> {
        self.0.iter().map(|slots| (slots.work, slots.count))
    }

    /// How many hashes a failing check computes.
    #[must_use]
    pub fn hashes(&self) -> usize {
        self.0.iter().map(|slots| slots.count).sum()
    }
}

impl fmt::Display for WorkProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (work, count)) in self.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{count} x {work}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for WorkProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkProfile({self})")
    }
}

impl Users {
    /// Checks the password of the user of exactly this name at `now` (seconds since the epoch).
    ///
    /// Blocks for as long as the table's `work_profile` takes, whoever fails; less only for a success.
    #[must_use]
    pub fn check_password(&self, name: &[u8], password: &[u8], now: u64) -> PasswordCheck {
        self.check_with(name, password, now, &mut PasswordHash::verify)
    }

    /// As `check_password`, with every comparison made by `verify`, which can count them.
    pub fn check_with(
        &self,
        name: &[u8],
        password: &[u8],
        now: u64,
        verify: &mut dyn FnMut(&PasswordHash, &[u8]) -> bool,
    ) -> PasswordCheck {
        let user = self.find(name);
        let own = user.map_or(&[][..], |user| user.passwords());
        let mut expired = false;
        for slots in &self.profile.0 {
            let mut alike = own.iter().filter(|entry| entry.hash().work() == slots.work);
            for _ in 0..slots.count {
                let entry = alike.next();
                // A dummy's match would not count: the secret behind it is nobody's.
                let right = black_box(verify(entry.map_or(&slots.dummy, |entry| entry.hash()), password));
                let (Some(entry), Some(user)) = (entry, user.filter(|user| right && user.is_active())) else {
                    continue;
                };
                if !entry.is_expired(now) {
                    return PasswordCheck::Granted { user: Arc::clone(user), credential: entry.credential() };
                }
                expired = true;
            }
        }
        if expired { PasswordCheck::Expired } else { PasswordCheck::Denied }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{
        password::tests::{ARGON2, BCRYPT_4, BCRYPT_5},
        users::{PasswordEntry, UserState},
    };

    const NOW: u64 = 1_000;
    const RIGHT: &[u8] = b"password";

    fn user(name: &str, state: UserState, passwords: &[(&str, Option<u64>)]) -> User {
        let passwords = passwords
            .iter()
            .map(|&(text, expires)| PasswordEntry::new(PasswordHash::parse(text).unwrap(), None, expires))
            .collect();
        User::new(name, Arc::default(), state, passwords, None)
    }

    fn mixed_table() -> Users {
        Users::new([
            user("argon", UserState::Active, &[(ARGON2, None)]),
            user("two", UserState::Active, &[(BCRYPT_4, None), (BCRYPT_4, None)]),
            user("both", UserState::Active, &[(BCRYPT_4, None), (BCRYPT_5, None)]),
            user("off", UserState::Disabled, &[(BCRYPT_5, None)]),
            user("bad", UserState::Unusable, &[(BCRYPT_4, None)]),
            user("old", UserState::Active, &[(ARGON2, Some(NOW)), (BCRYPT_4, Some(1))]),
            user("bare", UserState::Active, &[]),
        ])
    }

    /// What came of it, and the kinds and costs of the hashes that were computed, in their order.
    fn work_done(users: &Users, name: &[u8], password: &[u8]) -> (PasswordCheck, Vec<Work>) {
        let mut done = Vec::new();
        let check = users.check_with(name, password, NOW, &mut |hash, password| {
            done.push(hash.work());
            hash.verify(password)
        });
        (check, done)
    }

    #[test]
    fn every_failing_check_does_the_same_work_in_the_same_order() {
        let users = mixed_table();
        let profile: Vec<(Work, usize)> = users.work_profile().iter().collect();
        let argon = PasswordHash::parse(ARGON2).unwrap().work();
        let [four, five] = [4, 5].map(|cost| Work::Bcrypt { cost });
        assert_eq!(profile, [(argon, 1), (four, 2), (five, 1)]);
        assert_eq!(users.work_profile().hashes(), 4);
        let all = [argon, four, four, five];
        let wrong = b"wrong";
        for (name, password) in [
            (&b"nobody"[..], RIGHT),
            (b"", wrong),
            (b"\xff", wrong),
            (b"argon", wrong),
            (b"two", wrong),
            (b"both", wrong),
            (b"both", b"pass\0word"),
            (b"both", &[b'x'; 4096]),
            (b"off", wrong),
            (b"off", RIGHT),
            (b"bad", wrong),
            (b"bad", RIGHT),
            (b"old", wrong),
            (b"bare", RIGHT),
            (b"bare", b""),
        ] {
            let (check, done) = work_done(&users, name, password);
            assert!(matches!(check, PasswordCheck::Denied), "{name:?} {check:?}");
            assert_eq!(done, all, "{name:?}");
        }
        let (check, done) = work_done(&users, b"old", RIGHT);
        assert!(matches!(check, PasswordCheck::Expired));
        assert_eq!(done, all);
    }

    #[test]
    fn an_empty_table_still_costs_one_default_hash() {
        let bare = Users::new([user("bare", UserState::Active, &[])]);
        for users in [Users::empty(), bare] {
            let mut done = Vec::new();
            let check = users.check_with(b"bare", RIGHT, NOW, &mut |hash, _| {
                done.push(hash.work());
                false
            });
            assert!(matches!(check, PasswordCheck::Denied));
            assert_eq!(done, [DEFAULT_WORK]);
        }
    }

    #[test]
    fn the_right_password_is_granted_under_the_entry_that_it_matched() {
        let users = mixed_table();
        for (name, text) in [("argon", ARGON2), ("both", BCRYPT_4)] {
            let PasswordCheck::Granted { user, credential } = users.check_password(name.as_bytes(), RIGHT, NOW) else {
                panic!("{name} is refused");
            };
            assert_eq!(user.name(), name);
            assert_eq!(credential, CredentialId::of_stored_hash(text));
        }
    }

    #[test]
    fn an_unexpired_entry_with_the_same_password_beats_an_expired_one() {
        for (expires, granted) in [(Some(NOW + 1), true), (None, true), (Some(NOW), false)] {
            let entries = [(BCRYPT_4, Some(1)), (BCRYPT_5, expires)];
            let users = Users::new([user("bob", UserState::Active, &entries)]);
            match users.check_password(b"bob", RIGHT, NOW) {
                PasswordCheck::Granted { credential, .. } => {
                    assert!(granted);
                    assert_eq!(credential, CredentialId::of_stored_hash(BCRYPT_5));
                }
                PasswordCheck::Expired => assert!(!granted),
                PasswordCheck::Denied => panic!("the right password is denied"),
            }
        }
    }

    #[test]
    fn a_dummy_that_matched_would_not_count() {
        let users = mixed_table();
        let check = users.check_with(b"nobody", RIGHT, NOW, &mut |_, _| true);
        assert!(matches!(check, PasswordCheck::Denied));
    }

    #[test]
    fn printing_a_profile_gives_no_hash_away() {
        let users = mixed_table();
        let text = format!("{users:?} {:?}", users.work_profile());
        assert!(!text.contains('$'), "{text}");
    }
}
