//! Users, keys and tokens, the same at every run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vestibule::auth::claims::Claims;
use vestibule::auth::keys::{Algorithm, Key, KeyRing};
use vestibule::auth::password::CredentialId;
use vestibule::auth::token::{self, Expected};
use vestibule::auth::users::Users;
use vestibule::store::{keys_document, users_document};

/// Seconds since the epoch, for all that takes the time as an argument.
pub(crate) const NOW: u64 = 1_800_000_000;

/// Who asks: in the middle of the document.
pub(crate) const USER: &str = "user-0500";

const ISSUER: &str = "vestibule";
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
const BCRYPT: &str = "$2y$12$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm";

/// One key of each algorithm: RFC 7515, appendix A.3, and RFC 8037, appendix A.1, know the asymmetric ones.
pub(crate) const KEYS: &str = r#"{"keys": [
    {"kid": "0123456789abcdef", "kty": "oct", "alg": "HS512", "use": "sig", "iat": 1799990000, "nbf": 1799990000,
     "k": "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_QA"},
    {"kid": "123456789abcdef0", "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "iat": 1799980000,
     "nbf": 1799980000, "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"},
    {"kid": "23456789abcdef01", "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "iat": 1799970000,
     "nbf": 1799970000, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
     "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}"#;

pub(crate) fn ring() -> KeyRing {
    keys_document::parse(KEYS.as_bytes()).expect("the document above").ring
}

pub(crate) fn key(algorithm: Algorithm) -> Key {
    let found = ring().keys().iter().find(|key| key.algorithm() == algorithm).cloned();
    found.expect("the document has one of each")
}

pub(crate) fn expected() -> Expected {
    Expected { issuer: ISSUER.to_owned(), audience: None }
}

/// Good for a day from `now`; another one for each number.
pub(crate) fn claims(number: u64, now: u64) -> Claims {
    Claims {
        jti: format!("9f0c5b52-7f1c-4d5e-9a53-{number:012x}"),
        iat: now,
        sub: USER.to_owned(),
        iss: ISSUER.to_owned(),
        exp: now + 86_400,
        auth_time: now,
        groups: vec!["Administrator".to_owned(), "Readers".to_owned()],
        cred: Some(CredentialId::of_stored_hash(HASH).as_str().to_owned()),
        aud: Vec::new(),
    }
}

pub(crate) fn token(key: &Key, number: u64, now: u64) -> String {
    token::mint(key, &claims(number, now)).expect("the keys can sign")
}

/// The entries of a directory with this document of 1,000 users.
pub(crate) fn users_entries() -> BTreeMap<String, Vec<u8>> {
    let mut text = "users:\n".to_owned();
    for number in 0..1000 {
        write!(
            text,
            "  user-{number:04}:\n    groups: [Administrator, Readers]\n    passwords:\n      - hash: \"{HASH}\"\n"
        )
        .expect("a string takes everything");
    }
    BTreeMap::from([("users.yaml".to_owned(), text.into_bytes())])
}

pub(crate) fn htpasswd_entries() -> BTreeMap<String, Vec<u8>> {
    let text: String = (0..1000).map(|number| format!("user-{number:04}:{BCRYPT}\n")).collect();
    BTreeMap::from([("users.htpasswd".to_owned(), text.into_bytes())])
}

pub(crate) fn users(entries: &BTreeMap<String, Vec<u8>>) -> Users {
    let loaded = users_document::parse(&[users_document::Source { name: "", entries }]).expect("a sound document");
    assert!(loaded.warnings.is_empty() && loaded.users.len() == 1000, "{:?}", loaded.warnings);
    loaded.users
}
