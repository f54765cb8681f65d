//! `keys`: rotating, revoking, and what of the ring is shown.

use std::process::Stdio;

use serde_json::Value;

use super::support::Home;
use crate::support::{Commands, Ran};

/// The algorithms and states, in order.
fn ring(home: &Home) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let list = home.json("keys list -o json");
    list.as_array().expect("a list").iter().map(|key| (text(&key["alg"]), text(&key["state"]))).collect()
}

fn states(home: &Home) -> Vec<String> {
    ring(home).into_iter().map(|(_, state)| state).collect()
}

#[test]
fn the_first_key_signs_at_once_and_its_successor_is_published_once() {
    let home = Home::new();
    let first = home.done("keys rotate");
    let second = home.done("keys rotate");
    assert_eq!(states(&home), ["active", "pending"]);
    let ran = home.run("keys rotate");
    assert_eq!((ran.code, &*ran.out), (0, ""), "{ran:?}");
    assert!(ran.err.contains("nothing to do: a successor is published already"), "{ran:?}");
    assert_eq!(states(&home), ["active", "pending"]);

    let list = home.json("keys list -o json");
    assert_eq!((list[0]["kid"].as_str(), list[1]["kid"].as_str()), (Some(first.trim()), Some(second.trim())));
    // exp = nbf of the successor + maxTtl + 2 x propagation.
    let number = |place: usize, name: &str| list[place][name].as_u64().expect("a number");
    assert_eq!(number(1, "nbf"), number(1, "iat") + 120);
    assert_eq!(number(0, "exp"), number(1, "nbf") + 86_400 + 240);
    assert!(list[1]["exp"].is_null());
}

#[test]
fn no_key_material_is_printed() {
    let home = Home::new();
    for algorithm in ["HS512", "ES256", "EdDSA"] {
        home.done(&format!("keys rotate --algorithm {algorithm} --propagation 1s"));
        std::thread::sleep(std::time::Duration::from_millis(2100));
    }
    let document: Value = serde_json::from_str(&home.read("keys/keys.jwks")).unwrap();
    let keys = document["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    let secrets: Vec<&str> =
        keys.iter().flat_map(|key| ["k", "d"].map(|member| key[member].as_str())).flatten().collect();
    assert_eq!(secrets.len(), 3);
    for arguments in ["keys list", "keys list -o json", "keys rotate --if-due", "keys rotate", "keys revoke x"] {
        let ran = home.run(arguments);
        assert!(!secrets.iter().any(|secret| ran.out.contains(secret) || ran.err.contains(secret)), "{arguments}");
    }
}

#[test]
fn a_rotation_that_is_not_due_is_not_made() {
    let home = Home::new();
    home.done("keys rotate --if-due --algorithm ES256");
    let ran = home.run("keys rotate --if-due");
    assert_eq!((ran.code, &*ran.out), (0, ""), "{ran:?}");
    assert!(ran.err.contains("nothing to do: the next rotation is due at "), "{ran:?}");
    std::thread::sleep(std::time::Duration::from_millis(21_100));
    // Without a word about it, the signer's algorithm stays.
    home.done("keys rotate --if-due --rotate-every 21s --propagation 10s");
    assert_eq!(ring(&home)[1], ("ES256".to_owned(), "pending".to_owned()));
}

#[test]
fn the_configuration_says_which_ring_when_and_how() {
    let home = Home::new();
    let config = "store: {directory: {users: .vestibule/users, keys: other}}\n\
                  tokens: {algorithm: EdDSA}\nkeys: {propagation: 1h}\n";
    home.write("config.yaml", config);
    std::fs::create_dir(home.root().join("other")).unwrap();
    home.done("keys rotate --config .vestibule/config.yaml");
    home.done("keys rotate --config .vestibule/config.yaml");
    assert!(ring(&home).is_empty());
    let list = home.json("keys list --config .vestibule/config.yaml -o json");
    assert_eq!((&list[0]["alg"], list.as_array().map(Vec::len)), (&Value::from("EdDSA"), Some(2)));
    assert_eq!(list[1]["nbf"].as_u64(), list[1]["iat"].as_u64().map(|iat| iat + 3600));
    home.done("keys rotate --config .vestibule/config.yaml --dir .vestibule");
    assert_eq!(ring(&home), [("EdDSA".to_owned(), "active".to_owned())]);
}

#[test]
fn a_revoked_key_is_gone_and_another_one_signs() {
    let home = Home::new();
    let first = home.done("keys rotate");
    let pending = home.done("keys rotate");
    home.done(&format!("keys revoke {first}"));
    let list = home.json("keys list -o json");
    assert_eq!((&list[0]["kid"], &list[0]["state"]), (&Value::from(pending.trim()), &Value::from("active")));
    home.done(&format!("keys revoke {pending}"));
    assert_eq!(states(&home), ["active"]);
    assert_ne!(home.json("keys list -o json")[0]["kid"], pending.trim());
    home.run(&format!("keys revoke {first}")).refused(1, "no key has the kid");
}

#[test]
fn bad_input_is_refused() {
    let home = Home::new().with_key();
    home.write("kubernetes.yaml", "store: {kubernetes: {}}\n");
    for (arguments, code, words) in [
        ("keys rotate --rotate-every often", 64, "`keys.rotateEvery`"),
        ("keys rotate --rotate-every 2m --propagation 1m", 64, "`keys.rotateEvery`"),
        ("keys rotate --config nowhere", 64, "nowhere: cannot be read"),
        (
            "keys rotate --config .vestibule/kubernetes.yaml --kubeconfig nowhere",
            64,
            "kubeconfig: \"nowhere\" cannot be read",
        ),
        ("keys rotate --algorithm none", 64, "is not one of HS512, ES256, EdDSA"),
        ("keys rotate --dir nowhere", 1, "\"nowhere/keys\" is not there"),
        ("keys list --dir nowhere", 1, "\"nowhere/keys\" is not there"),
        ("keys revoke", 64, "<KID> is missing"),
    ] {
        home.run(arguments).refused(code, words);
    }
    assert_eq!(states(&home), ["active"]);
    home.write("keys/keys.jwks", "{\"keys\": [{\"kid\": \"a\", \"alg\": \"none\"}]}");
    for arguments in ["keys list", "keys rotate", "keys revoke a"] {
        home.run(arguments).refused(1, "alg is not one of");
    }
}

#[test]
fn a_mounted_ring_is_read_and_never_written() {
    let home = Home::new().with_key().mounted("keys");
    let before = home.read("keys/keys.jwks");
    assert_eq!(states(&home), ["active"]);
    home.run("keys rotate").refused(1, "cannot be written");
    let kid = home.json("keys list -o json")[0]["kid"].as_str().unwrap().to_owned();
    home.run(&format!("keys revoke {kid}")).refused(1, "cannot be written");
    assert_eq!(home.run("keys rotate --if-due").code, 0);
    assert_eq!(home.read("keys/keys.jwks"), before);
}

#[test]
fn several_that_rotate_at_once_publish_one_successor() {
    let home = Home::new().with_key();
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = home.command("keys rotate");
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
        })
        .collect();
    let ran = children.into_iter().map(|child| Ran::of(child.wait_with_output().expect("the program ends")));
    let printed: Vec<String> = ran
        .map(|ran| {
            assert_eq!(ran.code, 0, "{ran:?}");
            ran.out
        })
        .filter(|out| !out.is_empty())
        .collect();
    assert_eq!(printed.len(), 1, "{printed:?}");
    assert_eq!(states(&home), ["active", "pending"]);
}
