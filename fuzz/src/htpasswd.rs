//! htpasswd: users are those that Apache would find, and a change touches one line.
//!
//! Input: a line `passwd NAME` or `remove NAME`, then the file.

use std::collections::{BTreeMap, BTreeSet};

use vestibule::auth::names;
use vestibule::auth::password::{CredentialId, PasswordHash};
use vestibule::store::users_document::edit::{Change, apply};
use vestibule::store::users_document::{Source, parse};

use crate::users::HASH;

pub(crate) fn run(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(line), file) = (std::str::from_utf8(&data[..end]), &data[end + 1..]) else { return };
    let entries = BTreeMap::from([("auth".to_owned(), file.to_vec())]);
    let text = String::from_utf8_lossy(file);
    let expected = model(&text);
    let loaded = parse(&[Source { name: "", entries: &entries }]);
    assert_eq!(loaded.is_ok(), expected.is_some(), "{text:?}");
    let (Ok(loaded), Some(expected)) = (loaded, expected) else { return };
    assert!(loaded.warnings.iter().all(|warning| !warning.contains(char::is_control)));
    let found: Vec<(String, Option<String>)> = loaded
        .users
        .iter()
        .map(|user| {
            let credential = user.passwords().first().map(|entry| entry.credential().as_str().to_owned());
            assert_eq!(user.is_active(), credential.is_some() && names::check(user.name().as_bytes()).is_ok());
            (user.name().to_owned(), credential)
        })
        .collect();
    assert_eq!(found, expected);

    let Some((what, name)) = line.split_once(' ') else { return };
    let change = match what {
        "passwd" => Change::Passwd { name: name.into(), hash: HASH.into(), keep_old: false, expires_at: None, now: 1 },
        "remove" => Change::Remove { name: name.into() },
        _ => return,
    };
    let place = expected.iter().position(|(own, _)| own == name);
    let Ok(edited) = apply(&entries, &change) else { return };
    let place = place.expect("a user is changed who is there");
    assert!(edited.entry == "auth" && !edited.again && !edited.comments_lost);
    touches_one_line(file, &edited.content, what == "remove");
    let after = model(&String::from_utf8_lossy(&edited.content)).expect("what is written parses");
    let mut wanted = expected;
    if what == "remove" {
        wanted.remove(place);
    } else {
        wanted[place].1 = Some(CredentialId::of_stored_hash(HASH).as_str().to_owned());
    }
    assert_eq!(after, wanted);
}

/// Names in their order, each with its credential where the hash is one; `None`: refused.
fn model(text: &str) -> Option<Vec<(String, Option<String>)>> {
    let mut users = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, line) in text.split('\n').enumerate() {
        let line = line.strip_prefix('\u{feff}').filter(|_| number == 0).unwrap_or(line);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(':').collect();
        let [name, hash, ..] = fields[..] else { return None };
        let legal = names::check(name.as_bytes()).is_ok();
        if legal && !seen.insert(name) {
            return None;
        }
        let credential = PasswordHash::parse(hash).ok().map(|hash| hash.credential().as_str().to_owned());
        users.push((name.to_owned(), credential));
    }
    Some(users)
}

fn touches_one_line(before: &[u8], after: &[u8], removes: bool) {
    let lines = |text: &[u8]| text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (before, mut after) = (lines(before), lines(after));
    // An empty line may stay where the removed one was the first.
    if removes && after.len() == before.len() && after[0] == b"\n" {
        after.remove(0);
    }
    assert_eq!(after.len() + usize::from(removes), before.len());
    let same = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    let rest = before.len().saturating_sub(same + 1);
    assert_eq!(before[before.len() - rest..], after[after.len() - rest..], "more than one line differs");
}
