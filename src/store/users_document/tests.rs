//! What documents mean, alone and together, and how bad ones are refused.

use super::*;
use crate::auth::{
    password::tests::{ARGON2, BCRYPT_4, BCRYPT_5},
    users::{PasswordCheck, UserCounts, UserState},
};

const APR1: &str = "$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00";

pub(super) fn entries(of: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    of.iter().map(|&(entry, text)| (entry.to_owned(), text.as_bytes().to_vec())).collect()
}

fn load(of: &[(&str, &str)]) -> Result<Loaded, InvalidDocument> {
    parse(&[Source { name: "", entries: &entries(of) }])
}

fn good(of: &[(&str, &str)]) -> Users {
    let loaded = load(of).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    loaded.users
}

fn refusal(of: &[(&str, &str)]) -> String {
    load(of).unwrap_err().to_string()
}

#[test]
fn a_whole_user_is_read() {
    let users = good(&[(
        "users.yaml",
        &format!(
            "users:
  apiUser:
    groups: [Administrator, 'SaaS_User', Administrator]
    disabled: false
    passwords:
      - hash: {BCRYPT_4}
        changedAt: 2026-11-21T10:00:00Z
        expiresAt: 2026-11-21T12:00:00.5+01:00
      - hash: \"{ARGON2}\"
        expiresAt: null
    tokensNotBefore: 2026-11-21T10:00:00.25Z
"
        ),
    )]);
    let user = users.find(b"apiUser").unwrap();
    assert_eq!(user.groups_joined(), "Administrator,SaaS_User");
    assert_eq!(user.state(), UserState::Active);
    assert_eq!(user.passwords().len(), 2);
    let [first, second] = user.passwords() else {
        panic!("two passwords");
    };
    // A password ends no later than it says, tokens begin to be good no sooner.
    assert_eq!(first.changed_at(), Some(1_795_255_200));
    assert_eq!(first.expires_at(), Some(1_795_258_800));
    assert_eq!(second.expires_at(), None);
    assert_eq!(user.tokens_not_before(), Some(1_795_255_201));
    assert_eq!(first.credential(), crate::auth::password::CredentialId::of_stored_hash(BCRYPT_4));
}

#[test]
fn documents_without_users_are_an_empty_table() {
    for text in ["", "# none\n", "---\n", "{}", "users:\n", "users: {}\n", "users: null"] {
        assert!(good(&[("users.yaml", text)]).is_empty(), "{text:?}");
    }
    assert!(good(&[("auth", "\n# none\n\n")]).is_empty());
    assert!(good(&[]).is_empty());
}

#[test]
fn what_a_user_does_not_say_is_empty() {
    let users = good(&[(
        "users.yaml",
        "users:\n  a:\n  b: {}\n  c:\n    groups:\n    disabled: null\n    passwords: []\n    tokensNotBefore: ~\n",
    )]);
    for user in users.iter() {
        assert!(user.is_active() && user.passwords().is_empty() && user.groups().is_empty());
    }
    assert_eq!(users.len(), 3);
    let check = users.check_password(b"a", b"", 0);
    assert!(matches!(check, PasswordCheck::Denied));
}

#[test]
fn htpasswd_lines_are_read_as_apache_and_nginx_do() {
    let text = format!("\u{feff}# comment\r\n\r\n  bob:{BCRYPT_4}  \r\nann:{BCRYPT_5}:a comment\n\t#x:y\nzoe:{ARGON2}");
    for entry in ["auth", "team.htpasswd", ".htpasswd"] {
        let users = good(&[(entry, &text)]);
        let names: Vec<&str> = users.iter().map(|user| user.name()).collect();
        assert_eq!(names, ["bob", "ann", "zoe"]);
        for name in names {
            let check = users.check_password(name.as_bytes(), b"password", 0);
            assert!(matches!(check, PasswordCheck::Granted { .. }), "{name}");
        }
    }
}

#[test]
fn entries_and_sources_merge_in_order() {
    let first = entries(&[
        ("b.yaml", "users: {three: {}, two: {}}"),
        ("auth", &format!("one:{BCRYPT_4}")),
        ("README", "users: {nobody: {}}"),
        ("users.yml", "users: {nobody: {}}"),
    ]);
    let second = entries(&[("b.yaml", "users: {four: {}}")]);
    let sources = [Source { name: "first", entries: &first }, Source { name: "second", entries: &second }];
    let loaded = parse(&sources).unwrap();
    let names: Vec<&str> = loaded.users.iter().map(|user| user.name()).collect();
    assert_eq!(names, ["one", "three", "two", "four"]);
    assert_eq!(loaded.warnings.len(), 2);
    assert!(loaded.warnings[0].starts_with("first/README: passed over"));
    assert!(loaded.warnings[1].starts_with("first/users.yml: passed over"));
}

#[test]
fn a_yaml_user_without_passwords_adds_to_a_htpasswd_line() {
    let yaml = "users:\n  bob: {groups: [g], disabled: true, tokensNotBefore: 1970-01-01T00:01:00Z}\n";
    let line = format!("bob:{BCRYPT_4}\n");
    for (yaml_entry, line_entry) in [("a.yaml", "auth"), ("z.yaml", "auth")] {
        let users = good(&[(yaml_entry, yaml), (line_entry, &line)]);
        assert_eq!(users.len(), 1);
        let bob = users.find(b"bob").unwrap();
        assert_eq!(bob.groups_joined(), "g");
        assert_eq!(bob.state(), UserState::Disabled);
        assert_eq!(bob.tokens_not_before(), Some(60));
        assert_eq!(bob.passwords().len(), 1);
    }
    let active = good(&[("a.yaml", "users: {bob: {passwords: []}}"), ("auth", &line)]);
    let check = active.check_password(b"bob", b"password", 0);
    assert!(matches!(check, PasswordCheck::Granted { .. }));
}

#[test]
fn any_other_name_that_stands_twice_is_an_error() {
    let full = format!("users: {{bob: {{passwords: [{{hash: '{BCRYPT_4}'}}]}}}}");
    let bare = "users: {bob: {groups: [g]}}";
    let line = format!("ann:{BCRYPT_4}\nbob:{BCRYPT_4}\n");
    let twice = format!("{line}bob:{BCRYPT_5}\n");
    let unusable = format!("bob:{APR1}\n");
    let cases: &[&[(&str, &str)]] = &[
        &[("a.yaml", &full), ("b.yaml", &full)],
        &[("a.yaml", &full), ("b.yaml", bare)],
        &[("a.yaml", bare), ("b.yaml", bare)],
        &[("a.yaml", &full), ("auth", &line)],
        &[("a.yaml", &full), ("auth", &unusable)],
        &[("auth", &twice)],
        &[("auth", &line), ("b.htpasswd", &line)],
        &[("a.yaml", bare), ("auth", &twice)],
        &[("a.yaml", bare), ("auth", &line), ("z.yaml", bare)],
        &[("a.yaml", "users:\n  bob: {}\n  bob: {}\n")],
        &[("a.yaml", "users:\n  bob: &x {}\n  bob: *x\n")],
    ];
    for case in cases {
        let refusal = refusal(case);
        assert!(refusal.contains("stands"), "{refusal}");
        assert!(!refusal.contains("$2") && !refusal.contains('\n'), "{refusal}");
    }
    assert!(refusal(cases[5]).starts_with("auth, line 3: user \"bob\" stands in auth, line 2 "));
    assert_eq!(refusal(cases[9]), "a.yaml, line 3: \"bob\" stands twice");
}

#[test]
fn unusable_hashes_cost_the_entry_and_the_last_one_the_user() {
    let text = format!(
        "users:
  one:
    passwords: [{{hash: {APR1}}}]
  some:
    passwords: [{{hash: '{{SHA}}abc='}}, {{hash: {BCRYPT_4}}}]
  none:
    passwords: [{{hash: x}}, {{hash: $2y$15$abcdefghijklmnopqrstuuyvPXIbu7xe6/CED2DzX8z6Si09MlzlW}}]
  fine:
    passwords: [{{hash: {BCRYPT_5}}}]
"
    );
    let loaded = load(&[("users.yaml", &text), ("auth", &format!("line:{APR1}\n"))]).unwrap();
    let state = |name: &str| loaded.users.find(name.as_bytes()).unwrap().state();
    assert_eq!(state("one"), UserState::Unusable);
    assert_eq!(state("some"), UserState::Active);
    assert_eq!(state("none"), UserState::Unusable);
    assert_eq!(state("fine"), UserState::Active);
    assert_eq!(state("line"), UserState::Unusable);
    assert_eq!(loaded.warnings.len(), 6, "{:?}", loaded.warnings);
    for name in ["one", "some", "none", "line"] {
        let quoted = format!("{name:?}");
        assert!(loaded.warnings.iter().any(|line| line.contains(&quoted)));
    }
    for line in &loaded.warnings {
        assert!(!line.contains("lZL6V") && !line.contains("abcdef") && !line.contains("abc="), "{line}");
    }
}

#[test]
fn names_and_groups_that_are_not_allowed_hold_nobody_else_up() {
    let text = format!(
        "users:
  'a,b': {{}}
  'a b': {{}}
  \"\": {{}}
  é: {{}}
  {}: {{}}
  grouped: {{groups: [ok, 'not ok']}}
  fine: {{groups: [ok]}}
",
        "x".repeat(257)
    );
    let mut documents = entries(&[("users.yaml", &text)]);
    let mut lines = format!("ok:{BCRYPT_4}\n:{BCRYPT_4}\n").into_bytes();
    lines.extend_from_slice(b"\xff\xfe:");
    lines.extend_from_slice(BCRYPT_5.as_bytes());
    documents.insert("auth".to_owned(), lines);
    let loaded = parse(&[Source { name: "", entries: &documents }]).unwrap();
    assert_eq!(loaded.users.counts(), UserCounts { active: 2, disabled: 0, unusable: 8 });
    assert_eq!(loaded.warnings.len(), 8, "{:?}", loaded.warnings);
    assert!(loaded.users.find(b"a,b").is_none());
    assert!(loaded.users.find(b"fine").unwrap().is_active());
    let grouped = loaded.users.find(b"grouped").unwrap();
    assert_eq!(grouped.state(), UserState::Unusable);
}

#[test]
fn a_document_that_does_not_parse_is_refused_with_its_line() {
    for (text, message) in [
        (
            "users:\n  a:\n    pasword: 1\n",
            "users.yaml, line 3: unknown key \"pasword\" (known here: groups, disabled, passwords, tokensNotBefore)",
        ),
        ("user: {}", "users.yaml, line 1: unknown key \"user\" (known here: users)"),
        ("users:\n  a:\n    passwords: [{expiresAt: null}]\n", "users.yaml, line 3: `hash` is missing"),
        ("users:\n  a:\n    disabled: false\n    disabled: true\n", "users.yaml, line 4: \"disabled\" stands twice"),
        (
            "users:\n  a:\n    tokensNotBefore: 2026-11-21\n",
            "users.yaml, line 3: a value is not an RFC 3339 time such as 2026-11-21T10:00:00Z",
        ),
        ("users: [a]", "users.yaml, line 1: another kind of value stands where a mapping belongs"),
        ("users:\n  a: {groups: g}\n", "users.yaml, line 2: another kind of value stands where a list belongs"),
        ("users: {}\n---\nusers: {}\n", "users.yaml, line 3: holds more than one YAML document"),
        ("users: {a: *b}", "users.yaml, line 1: an alias has no anchor"),
        ("users:\n\ta: {}\n", "users.yaml, line 2: is not the YAML of a users' document"),
    ] {
        assert_eq!(refusal(&[("users.yaml", text)]), message, "{text:?}");
    }
    assert_eq!(refusal(&[("auth", "# x\nbob\n")]), "auth, line 2: is not of the form name:hash");
    let not_text = BTreeMap::from([("users.yaml".to_owned(), b"users: {\xff: {}}".to_vec())]);
    let source = Source { name: "team", entries: &not_text };
    assert_eq!(parse(&[source]).unwrap_err().to_string(), "team/users.yaml: is not UTF-8");
}

#[test]
fn no_refusal_quotes_a_hash() {
    let hash = BCRYPT_4;
    for text in [
        hash.to_owned(),
        format!("{hash}: x"),
        format!("users: {hash}"),
        format!("users:\n  a: {hash}"),
        format!("users:\n  a:\n    {hash}: x"),
        format!("users:\n  a:\n    passwords: {hash}"),
        format!("users:\n  a:\n    passwords: [{hash}]"),
        format!("users:\n  a:\n    passwords: [{{{hash}: x}}]"),
        format!("users:\n  a:\n    passwords: [{{hash: [{hash}]}}]"),
        format!("users:\n  a:\n    passwords: [{{hash: x, changedAt: {hash}}}]"),
        format!("users:\n  a:\n    disabled: {hash}"),
        format!("users:\n  {hash}: {{}}\n  {hash}: {{}}"),
        format!("users:\n  a: !{hash} x"),
        format!("users:\n  a: {{hash: {hash}\n"),
        format!("users:\n  a: *{hash}"),
    ] {
        let refusal = refusal(&[("users.yaml", &text)]);
        assert!(!refusal.contains("abcdef"), "{refusal}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }
    let refused = refusal(&[("auth", hash)]);
    assert!(!refused.contains("abcdef"), "{refused}");
    // Columns the wrong way round.
    let loaded = load(&[("auth", &format!("{hash}:bob"))]).unwrap();
    assert!(!format!("{:?}", loaded.warnings).contains("abcdef"));
}

#[test]
fn anchors_and_merges_are_read_and_bombs_are_not() {
    let users =
        good(&[("users.yaml", "users:\n  a: &x {groups: [g]}\n  b: *x\n  c:\n    <<: *x\n    disabled: true\n")]);
    assert_eq!(users.find(b"b").unwrap().groups_joined(), "g");
    let c = users.find(b"c").unwrap();
    assert_eq!((c.groups_joined(), c.state()), ("g", UserState::Disabled));

    let many = format!(
        "users:\n  a: {{groups: &g [g]}}\n{}",
        (0..10_000).map(|n| format!("  u{n}: {{groups: *g}}\n")).collect::<String>()
    );
    assert_eq!(good(&[("users.yaml", &many)]).len(), 10_001);

    let wide = (0..3_000).map(|n| format!("g{n},")).collect::<String>();
    let bomb = format!(
        "users:\n  a: {{groups: &g [{wide}]}}\n{}",
        (0..3_000).map(|n| format!("  u{n}: {{groups: *g}}\n")).collect::<String>()
    );
    assert!(refusal(&[("users.yaml", &bomb)]).contains("nests or repeats more"));
    let deep = format!("users: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(load(&[("users.yaml", &deep)]).is_err());
}

#[test]
fn a_document_is_at_most_64_mib() {
    let mut text = b"users: {}\n".to_vec();
    text.resize(MAX_DOCUMENT_BYTES + 1, b'\n');
    let entries = BTreeMap::from([("users.yaml".to_owned(), text)]);
    let source = Source { name: "", entries: &entries };
    let refusal = parse(&[source]).unwrap_err().to_string();
    assert_eq!(refusal, "users.yaml: is larger than 64 MiB");
}

#[test]
fn warnings_are_bounded() {
    let text: String = (0..1_000).map(|n| format!("u{n}:{APR1}\n")).collect();
    let loaded = load(&[("auth", &text)]).unwrap();
    assert_eq!(loaded.warnings.len(), 100);
    assert_eq!(loaded.warnings[99], "and 901 more of these");
}

#[test]
fn a_table_that_makes_every_failing_login_dear_says_so() {
    let many = format!("{{hash: '{BCRYPT_4}'}},").repeat(9);
    let loaded = load(&[("users.yaml", &format!("users: {{a: {{passwords: [{many}]}}}}"))]).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    let told: Vec<String> = loaded.all_warnings().collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("9 x bcrypt cost 4") && told[0].ends_with("make it cheaper"), "{told:?}");
}
