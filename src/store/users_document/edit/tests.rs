//! Commands on users: what is written, and what is refused.

use super::*;
use crate::{
    auth::{
        password::tests::{ARGON2, BCRYPT_4, BCRYPT_5},
        users::{PasswordCheck, User, UserState},
    },
    store::users_document::{parse, tests::entries},
};

const NOW: u64 = 1_795_255_200; // 2026-11-21T10:00:00Z

type Entries = BTreeMap<String, Vec<u8>>;

fn add(name: &str, groups: &[&str]) -> Change {
    Change::Add {
        name: name.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        hash: BCRYPT_4.to_owned(),
        expires_at: None,
        now: NOW,
    }
}

fn passwd(name: &str, keep_old: bool, expires_at: Option<u64>) -> Change {
    Change::Passwd { name: name.to_owned(), hash: ARGON2.to_owned(), keep_old, expires_at, now: NOW }
}

fn named(change: fn(String) -> Change, name: &str) -> Change {
    change(name.to_owned())
}

fn disable(name: &str) -> Change {
    named(|name| Change::Disable { name }, name)
}

fn enable(name: &str) -> Change {
    named(|name| Change::Enable { name }, name)
}

fn remove(name: &str) -> Change {
    named(|name| Change::Remove { name }, name)
}

fn logout(name: &str, now: u64) -> Change {
    Change::Logout { name: name.to_owned(), now }
}

/// Applies a change and writes it, as often as it asks for.
fn done(stored: &mut Entries, change: &Change) -> Edited {
    for _ in 0..3 {
        let edited = apply(stored, change).unwrap();
        stored.insert(edited.entry.clone(), edited.content.clone());
        if !edited.again {
            return edited;
        }
    }
    panic!("{change:?} never ends");
}

fn with_user<T>(stored: &Entries, name: &str, look: impl FnOnce(Option<&User>) -> T) -> T {
    let source = Source { name: "", entries: stored };
    let loaded = parse(&[source]).unwrap();
    look(loaded.users.find(name.as_bytes()).map(|user| &**user))
}

fn text(stored: &Entries, entry: &str) -> String {
    String::from_utf8(stored[entry].clone()).unwrap()
}

fn refusal(stored: &Entries, change: &Change) -> String {
    let refusal = apply(stored, change).unwrap_err().to_string();
    assert!(!refusal.contains('\n') && !refusal.contains("abcdef"), "{refusal}");
    refusal
}

#[test]
fn the_first_user_is_written_in_the_documented_shape() {
    let mut stored = Entries::new();
    let edited = done(&mut stored, &add("apiUser", &["Administrator", "a]b", "Administrator"]));
    assert_eq!((&*edited.entry, edited.comments_lost), ("users.yaml", false));
    assert_eq!(
        text(&stored, "users.yaml"),
        format!(
            "users:
  apiUser:
    groups: [Administrator, \"a]b\"]
    disabled: false
    passwords:
      - hash: {BCRYPT_4}
        changedAt: 2026-11-21T10:00:00Z
        expiresAt: null
    tokensNotBefore: null
"
        )
    );
}

#[test]
fn every_allowed_name_survives_being_written() {
    let all: String = (b'!'..=b'~').map(char::from).filter(|c| !",:".contains(*c)).collect();
    let mut names: Vec<String> = [
        "null",
        "~",
        "true",
        "No",
        "y",
        "1",
        "0x1",
        "1e3",
        "-",
        "?",
        "#x",
        "&x",
        "*x",
        "!x",
        "|",
        ">",
        "@x",
        "`x",
        "'",
        "\"",
        "\\",
        "{}",
        "[]",
        "<<",
        "=",
        "---",
        "...",
        "%x",
        "x#y",
        "1970-01-01",
        ".nan",
        ".inf",
        "-x",
        "x-",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(all);
    names.push("x".repeat(256));
    let mut stored = Entries::new();
    for name in &names {
        done(&mut stored, &add(name, &[name]));
    }
    for name in &names {
        with_user(&stored, name, |user| {
            let user = user.unwrap();
            assert_eq!(user.groups_joined(), name);
            assert!(user.is_active(), "{name}");
        });
    }
}

#[test]
fn others_and_their_order_survive_a_change_comments_do_not() {
    let before = format!(
        "# ours\nusers:\n  zoe: {{groups: [b, a], tokensNotBefore: 2026-01-01T00:00:00.5Z}}\n  bob: {{passwords: [{{hash: '{BCRYPT_5}'}}]}}\n  ann:\n"
    );
    let mut stored = entries(&[("team.yaml", &before), ("note.txt", "x")]);
    let edited = done(&mut stored, &disable("bob"));
    assert_eq!(edited.entry, "team.yaml");
    assert!(edited.comments_lost);
    let after = text(&stored, "team.yaml");
    let order: Vec<usize> = ["zoe:", "[b, a]", "00:00:00.5Z", "bob:", BCRYPT_5, "ann:"]
        .iter()
        .map(|part| after.find(part).unwrap())
        .collect();
    assert!(order.is_sorted(), "{after}");
    with_user(&stored, "bob", |user| {
        assert_eq!(user.unwrap().state(), UserState::Disabled);
    });
    with_user(&stored, "zoe", |user| assert!(user.unwrap().is_active()));
}

#[test]
fn what_is_so_already_stays_as_it_is_written() {
    let before = "# ours\nusers: {bob: {disabled: true}}\n";
    let mut stored = entries(&[("users.yaml", before)]);
    let edited = done(&mut stored, &disable("bob"));
    assert_eq!((text(&stored, "users.yaml").as_str(), edited.comments_lost), (before, false));

    let line = format!("# ours\nbob:{BCRYPT_4}\n");
    let mut stored = entries(&[("auth", &line)]);
    let edited = done(&mut stored, &enable("bob"));
    assert_eq!((edited.entry.as_str(), text(&stored, "auth")), ("auth", line));
    assert_eq!(stored.len(), 1);
}

#[test]
fn a_new_password_replaces_the_old_or_stands_beside_it() {
    let before = format!(
        "users: {{bob: {{groups: [g], passwords: [{{hash: '{BCRYPT_4}'}}, {{hash: '{BCRYPT_5}', expiresAt: 2026-11-21T10:00:00Z}}]}}}}"
    );
    for (keep_old, count) in [(false, 1), (true, 2)] {
        let mut stored = entries(&[("users.yaml", &before)]);
        done(&mut stored, &passwd("bob", keep_old, Some(NOW + 60)));
        with_user(&stored, "bob", |user| {
            let user = user.unwrap();
            // An expired password is not an old one that is worth keeping.
            assert_eq!(user.passwords().len(), count);
            assert_eq!(user.passwords()[0].changed_at(), Some(NOW));
            assert_eq!(user.passwords()[0].expires_at(), Some(NOW + 60));
            assert_eq!(user.groups_joined(), "g");
        });
    }
}

#[test]
fn a_password_in_htpasswd_is_replaced_in_its_line() {
    let lines = format!("# ours\r\nann:{BCRYPT_5}\r\n bob:{BCRYPT_4}:note\r\nzoe:{BCRYPT_4}");
    let mut stored = entries(&[("auth", &lines), ("users.yaml", "users: {bob: {groups: [g]}}")]);
    let edited = done(&mut stored, &passwd("bob", false, None));
    assert_eq!(edited.entry, "auth");
    assert_eq!(text(&stored, "auth"), format!("# ours\r\nann:{BCRYPT_5}\r\n bob:{ARGON2}:note\r\nzoe:{BCRYPT_4}"));
    for line in ["bob:\n", "bob:b", "bob:bob:bob\n"] {
        let mut stored = entries(&[("auth", line)]);
        done(&mut stored, &passwd("bob", false, None));
        with_user(&stored, "bob", |user| {
            assert!(user.unwrap().is_active(), "{line}");
        });
    }
    for change in [passwd("bob", true, None), passwd("bob", false, Some(NOW))] {
        assert!(refusal(&stored, &change).contains("--keep-old"));
    }
}

#[test]
fn a_byte_order_mark_within_htpasswd_stays_a_part_of_its_name() {
    for first in ["bob", "\u{feff}bob"] {
        let mut stored = entries(&[("auth", &format!("{first}:{BCRYPT_4}\n\u{feff}bob:{BCRYPT_5}\n"))]);
        done(&mut stored, &remove("bob"));
        assert_eq!(text(&stored, "auth"), format!("\n\u{feff}bob:{BCRYPT_5}\n"));
        with_user(&stored, "bob", |user| assert!(user.is_none(), "another user has become bob"));
    }
}

#[test]
fn a_htpasswd_user_is_disabled_enabled_and_logged_out_beside_its_line() {
    let mut stored = entries(&[("auth", &format!("bob:{BCRYPT_4}\n"))]);
    let edited = done(&mut stored, &disable("bob"));
    assert_eq!(edited.entry, "users.yaml");
    with_user(&stored, "bob", |user| {
        assert_eq!(user.unwrap().state(), UserState::Disabled);
    });
    done(&mut stored, &logout("bob", NOW));
    done(&mut stored, &enable("bob"));
    with_user(&stored, "bob", |user| {
        let user = user.unwrap();
        assert!(user.is_active());
        assert_eq!(user.tokens_not_before(), Some(NOW + 1));
        assert_eq!(user.passwords().len(), 1);
    });
}

#[test]
fn logout_writes_the_next_second_and_never_an_earlier_one() {
    let mut stored = Entries::new();
    done(&mut stored, &add("bob", &[]));
    for (now, expected) in [(NOW, NOW + 1), (NOW + 5, NOW + 6), (NOW, NOW + 6)] {
        done(&mut stored, &logout("bob", now));
        with_user(&stored, "bob", |user| {
            assert_eq!(user.unwrap().tokens_not_before(), Some(expected));
        });
    }
}

#[test]
fn removing_takes_the_password_first_and_then_the_rest() {
    let yaml = "users: {bob: {disabled: true}, ann: {}}";
    let mut stored = entries(&[("auth", &format!("bob:{BCRYPT_4}\nzoe:{BCRYPT_4}\n")), ("users.yaml", yaml)]);
    let first = apply(&stored, &remove("bob")).unwrap();
    assert_eq!((first.entry.as_str(), first.again), ("auth", true));
    done(&mut stored, &remove("bob"));
    assert_eq!(text(&stored, "auth"), format!("zoe:{BCRYPT_4}\n"));
    for (name, there) in [("bob", false), ("ann", true), ("zoe", true)] {
        with_user(&stored, name, |user| {
            assert_eq!(user.is_some(), there, "{name}");
        });
    }
    done(&mut stored, &remove("ann"));
    assert_eq!(text(&stored, "users.yaml"), "users: {}\n");
}

#[test]
fn an_import_takes_who_can_log_in_and_says_who_is_left_out() {
    let htpasswd = format!("bob:{BCRYPT_4}\nold:$apr1$x$y\na,b:{BCRYPT_4}\nann:{BCRYPT_5}\n");
    let mut stored = entries(&[("users.yaml", "users: {zoe: {}}")]);
    let change = Change::Import { htpasswd: htpasswd.into_bytes(), now: NOW };
    let edited = done(&mut stored, &change);
    assert_eq!(edited.warnings.len(), 2, "{:?}", edited.warnings);
    assert!(edited.warnings[0].starts_with("line 2: user \"old\" is left out: "));
    let source = Source { name: "", entries: &stored };
    let users = parse(&[source]).unwrap().users;
    let names: Vec<&str> = users.iter().map(|user| user.name()).collect();
    assert_eq!(names, ["zoe", "bob", "ann"]);
    let check = users.check_password(b"ann", b"password", NOW);
    assert!(matches!(check, PasswordCheck::Granted { .. }));
}

#[test]
fn what_cannot_be_done_is_refused_with_the_mend() {
    let stored = entries(&[("auth", &format!("line:{BCRYPT_4}\n")), ("users.yaml", "users: {bob: {}}")]);
    let import = |htpasswd: String| Change::Import { htpasswd: htpasswd.into_bytes(), now: NOW };
    let unusable = Change::Passwd {
        name: "bob".to_owned(),
        hash: "$apr1$abcdef$x".to_owned(),
        keep_old: false,
        expires_at: None,
        now: NOW,
    };
    for (change, part) in [
        (add("bob", &[]), "exists already, in users.yaml"),
        (add("line", &[]), "exists already, in auth"),
        (add("a,b", &[]), "the user name"),
        (add("", &[]), "is empty"),
        (add("new", &["a b"]), "the group name"),
        (passwd("nobody", false, None), "there is no user \"nobody\""),
        (disable("nobody"), "there is no user"),
        (enable("Bob"), "there is no user"),
        (logout("nobody", NOW), "there is no user"),
        (remove("nobody"), "there is no user"),
        (unusable, "cannot be used"),
        (import(String::new()), "holds no users"),
        (import("bob:$apr1$x$y".to_owned()), "no user who could log in: line 1"),
        (import(format!("new:{BCRYPT_4}\nline:{BCRYPT_4}")), "user \"line\" exists already"),
        (import(format!("new:{BCRYPT_4}\nbob:{BCRYPT_4}")), "user \"bob\" exists already"),
        (import(format!("x:{BCRYPT_4}\nx:{BCRYPT_5}")), "in line 1 and in line 2"),
        (import("nonsense".to_owned()), "the imported file, line 1"),
    ] {
        let refusal = refusal(&stored, &change);
        assert!(refusal.contains(part), "{refusal}");
    }
}

#[test]
fn a_store_that_does_not_parse_is_not_written() {
    for broken in ["users: {bob: {}, bob: {}}", "users: [", "x: 1"] {
        let stored = entries(&[("team.yaml", broken)]);
        assert!(refusal(&stored, &add("ann", &[])).contains("mend that first"));
    }
}

#[test]
fn bytes_that_are_not_text_survive_every_change_of_other_lines() {
    let latin = |ann: &str| {
        let text = [b"# caf\xe9\r\n\xe9ve:".as_slice(), BCRYPT_4.as_bytes(), b"\n", ann.as_bytes()].concat();
        [&text[..], b"zo\xeb:\xff\n\xfe:", BCRYPT_5.as_bytes(), b":\xe9 "].concat()
    };
    let ann = format!(" ann:{BCRYPT_5}\r\n");
    let mut stored = entries(&[("users.yaml", "users: {bob: {}}")]);
    stored.insert("auth".to_owned(), latin(&ann));
    assert!(refusal(&stored, &add("ann", &[])).contains("exists already, in auth"));
    for change in [disable("bob"), disable("ann"), enable("ann"), logout("ann", NOW), add("cid", &["g"])] {
        assert_eq!(done(&mut stored, &change).entry, "users.yaml", "{change:?}");
        assert_eq!(stored["auth"], latin(&ann), "{change:?}");
    }

    assert_eq!(done(&mut stored, &passwd("ann", false, None)).entry, "auth");
    assert_eq!(stored["auth"], latin(&format!(" ann:{ARGON2}\r\n")));
    with_user(&stored, "ann", |user| {
        let credential = user.unwrap().passwords()[0].hash().work().to_string();
        assert!(credential.starts_with("argon2id"), "{credential}");
    });
    done(&mut stored, &remove("ann"));
    assert_eq!(stored["auth"], latin(""));
}

#[test]
fn a_line_that_is_not_text_is_changed_where_its_name_is() {
    for (before, after) in [
        (&b"ann:OLD:\xe9 \xff\r\n\xff:x\n"[..], &b"ann:NEW:\xe9 \xff\r\n\xff:x\n"[..]),
        (b"ann:\xff\xfe\r\nbob:\xff", b"ann:NEW\r\nbob:\xff"),
        (b"ann:\xff\xc2\xa0\n", b"ann:NEW\xc2\xa0\n"),
        (b"\xef\xbb\xbfann:OLD\n\xff:x\n", b"\xef\xbb\xbfann:NEW\n\xff:x\n"),
        (b"ann:\n\xff:", b"ann:NEW\n\xff:"),
    ] {
        let mut stored = Entries::from([("a.htpasswd".to_owned(), before.to_vec())]);
        done(&mut stored, &passwd("ann", false, None));
        let expected = after.split(|byte| *byte == b'N').collect::<Vec<_>>();
        let expected = [expected[0], ARGON2.as_bytes(), &expected[1][2..]].concat();
        assert_eq!(stored["a.htpasswd"], expected, "{}", before.escape_ascii());
    }
}

#[test]
fn a_name_that_is_not_text_is_nobodys() {
    let lines = format!("\u{fffd}a:{BCRYPT_4}\n").into_bytes();
    let mut stored = Entries::from([("auth".to_owned(), [&lines[..], b"\xffb:x\n\xfeb:y\n"].concat())]);
    for change in [remove("\u{fffd}b"), passwd("\u{fffd}b", false, None), disable("\u{fffd}b")] {
        let refusal = refusal(&stored, &change);
        assert_eq!(refusal, "the name in auth, line 2 is not UTF-8: mend or remove that line by hand");
    }
    done(&mut stored, &remove("\u{fffd}a"));
    assert_eq!(stored["auth"], b"\xffb:x\n\xfeb:y\n");
}

#[test]
fn changes_are_unprintable_but_for_their_names() {
    let mut stored = Entries::new();
    let change = add("bob", &[]);
    let edited = done(&mut stored, &change);
    let printed = format!("{change:?} {edited:?}");
    assert!(!printed.contains("$2") && printed.contains("bob"), "{printed}");
}
