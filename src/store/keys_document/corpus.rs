//! Signatures and keys that others have collected to catch careless verifiers, read where `VESTIBULE_CORPORA` says.
//!
//! The folder holds `jws/json_web_signature_test.json` and `jws/json_web_key_test.json` of C2SP's wycheproof, and in
//! `jws/rfc7520/` the examples of RFC 7520, section 4.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::auth::token::verify_signature;

/// Valid there, though a character outside the alphabet stands in a segment. A strict reader may refuse them.
const LENIENT: [u64; 2] = [372, 373];

#[test]
fn collected_signatures_are_judged_as_they_should_be() {
    let Some(groups) = groups("json_web_signature_test.json") else {
        return;
    };
    let (mut cases, mut genuine) = (0, 0);
    for group in &groups {
        let key = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        let (seen, accepted) = judge(group, &json!({ "keys": [key] }));
        cases += seen;
        genuine += accepted;
    }
    assert_eq!(cases, 401);
    // HS256, RSA and P-521 are not ours: of what is valid there, two ES256 signatures are left.
    assert_eq!(genuine, 2);
}

#[test]
fn collected_keys_are_judged_as_they_should_be() {
    let Some(groups) = groups("json_web_key_test.json") else {
        return;
    };
    let (mut cases, mut genuine) = (0, 0);
    for group in &groups {
        let set = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        let (seen, accepted) = judge(group, set);
        cases += seen;
        genuine += accepted;
    }
    assert_eq!(cases, 26);
    // The long HS512 key; the others are of algorithms that are not ours.
    assert_eq!(genuine, 1);
}

/// RSA, P-521 and HS256 with a secret of 32 bytes: no key of these is one of ours, whatever it calls itself, and no
/// signature is taken for one of a key of ours that has the same `kid`.
#[test]
fn the_examples_of_rfc_7520_are_refused() {
    let Some(folder) = folder() else {
        return;
    };
    let (mut keys, mut signatures) = (0, 0);
    for entry in std::fs::read_dir(folder.join("rfc7520")).expect("the corpus is there") {
        let file = entry.unwrap().path();
        if file.is_dir() {
            continue;
        }
        let example: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).expect("the corpus is JSON");
        let theirs = &example["input"]["key"];
        for key in theirs.as_array().map_or(std::slice::from_ref(theirs), Vec::as_slice) {
            keys += 1;
            for algorithm in Algorithm::ALL {
                let mut key = key.clone();
                key["alg"] = algorithm.as_str().into();
                assert!(parse(json!({ "keys": [key] }).to_string().as_bytes()).is_err(), "{file:?} {algorithm}");
                let own = Key::generate(algorithm, key["kid"].as_str().unwrap(), 0, 0);
                for output in example["output"].as_object().unwrap().values() {
                    let jws = output.as_str().map_or_else(|| output.to_string(), str::to_owned);
                    assert!(verify_signature(&jws, &own).is_err(), "{file:?} {algorithm}");
                    signatures += 1;
                }
            }
        }
    }
    assert_eq!((keys, signatures), (10, 66));
}

/// How many cases a group has, and how many of them were accepted; each of those must be valid, and each valid one of
/// an algorithm of ours must be among them.
fn judge(group: &Value, set: &Value) -> (usize, usize) {
    let ring = parse(set.to_string().as_bytes()).map_or(KeyRing::default(), |parsed| parsed.ring);
    let algorithms = set["keys"].as_array().unwrap().iter().map(|key| key["alg"].as_str());
    let ours = algorithms.clone().all(|alg| alg.is_some_and(|alg| alg.parse::<Algorithm>().is_ok()));
    let tests = group["tests"].as_array().unwrap();
    let mut accepted = 0;
    for test in tests {
        let id = test["tcId"].as_u64().unwrap();
        let valid = test["result"] == "valid";
        let jws = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
        let passes = ring.keys().iter().any(|key| verify_signature(&jws, key).is_ok());
        assert!(valid || !passes, "case {id} passes: {}", test["comment"]);
        assert!(passes || !valid || !ours || LENIENT.contains(&id), "case {id} is refused: {}", test["comment"]);
        accepted += usize::from(passes);
    }
    (tests.len(), accepted)
}

fn groups(file: &str) -> Option<Vec<Value>> {
    let text = std::fs::read(folder()?.join(file)).expect("the corpus is there");
    let corpus: Value = serde_json::from_slice(&text).expect("the corpus is JSON");
    corpus["testGroups"].as_array().cloned()
}

fn folder() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("VESTIBULE_CORPORA") else {
        eprintln!("SKIPPED: VESTIBULE_CORPORA names no folder, nothing in jws/ is judged");
        return None;
    };
    Some(Path::new(&folder).join("jws"))
}
