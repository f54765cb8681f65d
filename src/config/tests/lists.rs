//! Lists with an item that does not belong there: the one line that names its place, its shape and the mend.

use super::{STORE, Sources, load, stored};
use crate::config::SETTINGS;

const GROUP: &str = "is a group name (visible ASCII without `,` and `:`, at most 256 bytes)";
const SECRET: &str = "is the name of a Secret (small letters, digits, `-` and `.`, at most 253)";
const HOSTS: &str = "tls: {managed: {secret: a, hosts: ";
const DENSIFY: &str = "authorize: {paths: {densify: ";

/// Each list-typed setting as it begins and ends in a file, what its items are, and a mend.
const LISTS: [(&str, &str, &str, &str, &str); 8] = [
    (HOSTS, "}}", "tls.managed.hosts", "is a host name or an IP address", "`tls.managed.hosts: [app.example.org]`"),
    (
        "store: {kubernetes: {users: ",
        "}}",
        "store.kubernetes.users",
        SECRET,
        "`store.kubernetes.users: vestibule-users`",
    ),
    (
        DENSIFY,
        "}}",
        "authorize.paths.densify",
        "is a path that begins with `/`",
        "`authorize.paths.densify: /authorize`",
    ),
    (
        "authorize: {paths: {redis: ",
        "}}",
        "authorize.paths.redis",
        "is a path that begins with `/`",
        "`authorize.paths.redis: /v1/users/authorize`",
    ),
    (
        "authorize: {paths: {refresh: ",
        "}}",
        "authorize.paths.refresh",
        "is a path that begins with `/`",
        "`authorize.paths.refresh: /v1/users/refresh_jwt`",
    ),
    ("access: {apiGroups: ", "}", "access.apiGroups", GROUP, "`access.apiGroups: [Administrator, SaaS_User]`"),
    ("access: {rules: ", "}", "access.rules", "is a mapping", "`{path: /healthz, allow: anyone}`"),
    (
        "trustedProxies: ",
        "",
        "trustedProxies",
        "is a network such as 10.0.0.0/8, or a single address",
        "`trustedProxies: [10.0.0.0/8]`",
    ),
];

fn refusal(text: &str) -> String {
    // A setting of the other store names its own.
    let refused = if text.starts_with("store:") { super::file(text).map(drop) } else { stored(text).map(drop) };
    refused.expect_err(text)
}

#[test]
fn every_list_names_the_item_its_shape_and_the_mend() {
    for (begin, end, key, words, mend) in LISTS {
        for (item, found) in
            [("5", "5"), ("null", "null"), ("true", "true"), ("[a]", "a list"), ("{a: b}", "a mapping")]
        {
            if key == "access.rules" && found == "a mapping" {
                continue;
            }
            let expected = format!("config.yaml: `{key}[0]` {words}; found {found}: write e.g. {mend}");
            assert_eq!(refusal(&format!("{begin}[{item}]{end}")), expected);
        }
    }
}

#[test]
fn no_list_is_left_out() {
    let listed: Vec<&str> =
        SETTINGS.iter().filter(|setting| setting.shape.is_list()).map(|setting| setting.key).collect();
    assert_eq!(listed, LISTS.map(|(_, _, key, _, _)| key));
}

#[test]
fn an_item_of_the_wrong_form_is_named_by_its_place() {
    for (text, message) in [
        (
            "access: {apiGroups: [a, 'b:c']}",
            format!("`access.apiGroups[1]` {GROUP}; found \"b:c\": write e.g. `access.apiGroups: [Administrator, SaaS_User]`"),
        ),
        (
            "trustedProxies: [10.0.0.0/8, 10.0.0.0/33]",
            "`trustedProxies[1]` is a network such as 10.0.0.0/8, or a single address; found \"10.0.0.0/33\": write e.g. `trustedProxies: [10.0.0.0/8]`".to_owned(),
        ),
        (
            "authorize: {paths: {densify: [a]}}",
            "`authorize.paths.densify[0]` must begin with `/`: write e.g. `/admin`".to_owned(),
        ),
        (
            "authorize: {paths: {densify: [/a, /b?c]}}",
            "`authorize.paths.densify[1]` has a query: rules and routes see paths alone; end it before the `?`".to_owned(),
        ),
        (
            "store: {kubernetes: {users: [a, B_c]}}",
            format!("`store.kubernetes.users[1]` {SECRET}; found \"B_c\": write e.g. `store.kubernetes.users: vestibule-users`"),
        ),
        (
            "tls: {managed: {secret: a, hosts: [a.example.org, 'a b']}}",
            "`tls.managed.hosts[1]` is a host name or an IP address; found \"a b\": write e.g. `tls.managed.hosts: [app.example.org]`".to_owned(),
        ),
    ] {
        assert_eq!(refusal(text), format!("config.yaml: {message}"), "{text}");
    }
}

#[test]
fn members_of_rules_are_named_by_their_place() {
    for (rule, message) in [
        ("5", "` is a mapping; found 5: write e.g. `{path: /healthz, allow: anyone}`".to_owned()),
        ("{path: 5, allow: anyone}", ".path` is a path; found 5: write e.g. `path: /admin`".to_owned()),
        ("{prefix: [/a], allow: anyone}", ".prefix` is a path; found a list: write e.g. `prefix: /admin`".to_owned()),
        ("{path: a, allow: anyone}", ".path` must begin with `/`: write e.g. `/admin`".to_owned()),
        (
            "{path: /a, allow: all}",
            ".allow` is one of anyone, authenticated; found \"all\": write e.g. `allow: authenticated`".to_owned(),
        ),
        (
            "{path: /a, allow: anyone, methods: GET}",
            ".methods` is a list of methods in capitals, not empty; found \"GET\": write e.g. `methods: [GET]`".to_owned(),
        ),
        (
            "{path: /a, allow: anyone, methods: [GET, post]}",
            ".methods[1]` is a method in capitals; found \"post\": write e.g. `methods: [POST]`".to_owned(),
        ),
        (
            "{path: /a, allow: anyone, methods: [null]}",
            ".methods[0]` is a method in capitals; found null: write e.g. `methods: [GET]`".to_owned(),
        ),
        (
            "{path: /a, allow: anyone, methods: ['GET,PUT']}",
            ".methods[0]` is a method in capitals; found \"GET,PUT\": write e.g. `methods: [GET]`".to_owned(),
        ),
        (
            "{path: /a, groups: Administrator}",
            ".groups` is a list of group names, not empty; found \"Administrator\": write e.g. `groups: [Administrator]`".to_owned(),
        ),
        (
            "{path: /a, groups: [a, {b: c}]}",
            format!(".groups[1]` {GROUP}; found a mapping: write e.g. `groups: [Administrator]`"),
        ),
        ("{path: /a, groups: ['a b']}", format!(".groups[0]` {GROUP}; found \"a b\": write e.g. `groups: [Administrator]`")),
    ] {
        let text = format!("access: {{rules: [{{path: /ok, allow: anyone}}, {rule}]}}");
        assert_eq!(refusal(&text), format!("config.yaml: `access.rules[1]{message}"));
    }
}

#[test]
fn an_item_of_a_flag_or_variable_is_mended_there() {
    let variables = [("VESTIBULE_TRUSTED_PROXIES", "10.0.0.0/8, all")];
    let sources = Sources { file: STORE, variables: &variables, flags: &[] };
    assert_eq!(
        load(&sources).map(drop),
        Err("VESTIBULE_TRUSTED_PROXIES: `trustedProxies[1]` is a network such as 10.0.0.0/8, or a single address; found \"all\": write e.g. `VESTIBULE_TRUSTED_PROXIES='[10.0.0.0/8]'`".to_owned())
    );
    let sources = Sources { file: STORE, variables: &[], flags: &[("access.apiGroups", "a,,b")] };
    let refused = load(&sources).map(drop).expect_err("an empty name");
    assert!(
        refused.starts_with(&format!("--access-api-groups: `access.apiGroups[1]` {GROUP}; found \"\"")),
        "{refused}"
    );
}

#[test]
fn what_looks_like_a_secret_is_not_repeated() {
    for secret in ["$2y$05$abcdef", "$argon2id$v=19$abcdef", "{SSHA}abcdef", "eyJhbGciOiJIUzUxMiJ9.abcdef.x"] {
        for (begin, end, key, _, _) in LISTS {
            let refused = refusal(&format!("{begin}['{secret}\t']{end}"));
            assert!(!refused.contains("abcdef") && refused.contains(&format!("`{key}[0]`")), "{refused}");
        }
        for key in ["workers", "listen", "upstream", "log"] {
            let refused = refusal(&format!("{key}: '{secret}'"));
            assert!(!refused.contains("abcdef") && refused.contains(key), "{refused}");
        }
    }
}
