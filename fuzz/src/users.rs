//! Users' documents: a change of one user leaves all others as they were, and does to that one what it says.
//!
//! Input: lines of changes (`add NAME GROUP,GROUP`, `passwd NAME`, `keep NAME`, `disable NAME`, `enable NAME`, `logout NAME`,
//! `remove NAME`), then the parts `users.yaml`, `auth` (htpasswd) and `more.yaml`.

use std::collections::BTreeMap;

use vestibule::auth::password::CredentialId;
use vestibule::auth::users::{User, UserState};
use vestibule::store::users_document::edit::{Change, apply};
use vestibule::store::users_document::{Source, parse};

use crate::parts;

/// Of `password`, by crypt(3).
pub(crate) const HASH: &str = "$2y$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm";
const NOW: u64 = 1_000_000_000;

pub(crate) type Entries = BTreeMap<String, Vec<u8>>;

pub(crate) fn run(data: &[u8]) {
    let Some(mut parts) = parts(data) else { return };
    let changes = parts.next().unwrap_or_default();
    let names = ["users.yaml", "auth", "more.yaml"];
    let mut entries: Entries = names.iter().zip(parts).map(|(name, part)| ((*name).to_owned(), part.into())).collect();
    tells_nothing(&entries, data);
    both_ways_of_reading_agree(&entries);
    for line in changes.split('\n').take(4) {
        let mut words = line.split(' ');
        let (Some(what), Some(name)) = (words.next(), words.next()) else { continue };
        let groups = words.next().map_or(Vec::new(), |groups| groups.split(',').map(str::to_owned).collect());
        if !change(&mut entries, what, name, groups) {
            return;
        }
    }
}

/// A user as the table has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct View {
    pub(crate) name: String,
    groups: Vec<String>,
    state: String,
    passwords: Vec<(String, Option<u64>, Option<u64>)>,
    tokens_not_before: Option<u64>,
}

impl View {
    fn of(user: &User) -> Self {
        let password = |entry: &vestibule::auth::users::PasswordEntry| {
            (entry.credential().as_str().to_owned(), entry.changed_at(), entry.expires_at())
        };
        Self {
            name: user.name().to_owned(),
            groups: user.groups().iter().map(ToString::to_string).collect(),
            state: format!("{:?}", user.state()),
            passwords: user.passwords().iter().map(password).collect(),
            tokens_not_before: user.tokens_not_before(),
        }
    }
}

pub(crate) fn table(entries: &Entries) -> Option<Vec<View>> {
    let loaded = parse(&[Source { name: "", entries }]).ok()?;
    let mut views: Vec<View> = loaded.users.iter().map(|user| View::of(user)).collect();
    views.sort();
    Some(views)
}

/// Applies a change as often as it wants to be, and judges what has come of it. False: it was refused.
fn change(entries: &mut Entries, what: &str, name: &str, groups: Vec<String>) -> bool {
    let own = |name: &str| name.to_owned();
    let (hash, keep_old, expires_at, now) = (own(HASH), what == "keep", None, NOW);
    let change = match what {
        "add" => Change::Add { name: own(name), groups: groups.clone(), hash, expires_at, now },
        "passwd" | "keep" => Change::Passwd { name: own(name), hash, keep_old, expires_at, now },
        "disable" => Change::Disable { name: own(name) },
        "enable" => Change::Enable { name: own(name) },
        "logout" => Change::Logout { name: own(name), now },
        "remove" => Change::Remove { name: own(name) },
        _ => return true,
    };
    let Some(before) = table(entries) else { return assert_refused(entries, &change) };
    let mut again = true;
    for _ in 0..2 {
        if again {
            let Ok(edited) = apply(entries, &change) else { return false };
            again = edited.again;
            entries.insert(edited.entry, edited.content);
        }
    }
    assert!(!again, "a change takes two writes at most");
    let after = table(entries).expect("what is written parses");

    let others = |views: &[View]| views.iter().filter(|view| view.name != name).cloned().collect::<Vec<_>>();
    assert_eq!(others(&after), others(&before), "{change:?} changes others");
    let find = |views: &[View]| views.iter().find(|view| view.name == name).cloned();
    let (old, new) = (find(&before), find(&after));
    match (what, old, new) {
        ("remove", Some(_), None) => {}
        ("add", None, Some(new)) => {
            let mut once: Vec<String> = Vec::new();
            for group in groups {
                if !once.contains(&group) {
                    once.push(group);
                }
            }
            let password = (CredentialId::of_stored_hash(HASH).as_str().to_owned(), Some(NOW), None);
            let state = format!("{:?}", UserState::Active);
            assert_eq!(
                new,
                View { name: own(name), groups: once, state, passwords: vec![password], tokens_not_before: None }
            );
        }
        ("passwd" | "keep" | "disable" | "enable" | "logout", Some(old), Some(new)) => judge(what, &old, &new),
        (_, old, new) => panic!("{change:?}: {old:?} becomes {new:?}"),
    }
    true
}

fn judge(what: &str, old: &View, new: &View) {
    let [active, disabled, unusable] =
        [UserState::Active, UserState::Disabled, UserState::Unusable].map(|state| format!("{state:?}"));
    let mut expected = old.clone();
    match what {
        "disable" if old.state != unusable => expected.state = disabled,
        "enable" if old.state != unusable => expected.state = active,
        "logout" => {
            expected.tokens_not_before = new.tokens_not_before;
            assert!(new.tokens_not_before.is_some_and(|at| at > NOW), "tokens of this second are still good");
            assert!(new.tokens_not_before >= old.tokens_not_before, "older tokens are good again");
        }
        "passwd" | "keep" => {
            let own = CredentialId::of_stored_hash(HASH).as_str().to_owned();
            assert_eq!(new.passwords.first().map(|(credential, ..)| credential), Some(&own));
            let rest = if what == "passwd" { Vec::new() } else { unexpired(old) };
            assert_eq!(new.passwords[1..], rest);
            expected.passwords.clone_from(&new.passwords);
            // A usable password may be all that was missing.
            if old.state == unusable {
                expected.state.clone_from(&new.state);
            }
        }
        _ => {}
    }
    assert_eq!(*new, expected, "{what}");
}

fn unexpired(user: &View) -> Vec<(String, Option<u64>, Option<u64>)> {
    user.passwords.iter().filter(|(.., expires)| expires.is_none_or(|at| NOW < at)).cloned().collect()
}

fn assert_refused(entries: &Entries, change: &Change) -> bool {
    assert!(apply(entries, change).is_err(), "{change:?} is made to what does not parse");
    false
}

/// Nothing that is said of a document is one of its hashes, or more than a line.
fn tells_nothing(entries: &Entries, data: &[u8]) {
    let said = match parse(&[Source { name: "", entries }]) {
        Ok(loaded) => loaded.warnings,
        Err(error) => vec![error.to_string()],
    };
    let text = String::from_utf8_lossy(data);
    let hashes = text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("hash: "));
    // One that stands elsewhere too may be a part of a name, one without a dollar some of our own words.
    let is_secret = |hash: &&str| hash.len() >= 16 && hash.starts_with('$') && text.matches(*hash).count() == 1;
    let hashes: Vec<&str> = hashes.filter(is_secret).collect();
    for message in said {
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(hashes.iter().all(|hash| !message.contains(*hash)), "{message:?}");
    }
}

/// A comment with an ampersand says nothing, and is read the slow way.
fn both_ways_of_reading_agree(entries: &Entries) {
    let Some(text) = entries.get("users.yaml") else { return };
    if text.starts_with("\u{feff}".as_bytes()) {
        return;
    }
    let one = |text: Vec<u8>| BTreeMap::from([("users.yaml".to_owned(), text)]);
    let (fast, slow) = (one(text.clone()), one([b"# &\n", &text[..]].concat()));
    assert_eq!(table(&fast), table(&slow));
}
