//! Documents that are rings, and documents that must not become one.

use serde_json::json;

use super::*;

// RFC 8037, appendix A.1.
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
// RFC 7517, appendix A.2.
const EC_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const EC_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
const EC_D: &str = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE";

fn oct() -> Value {
    let k = URL_SAFE_NO_PAD.encode([0x5a; 64]);
    json!({"kid": "h", "alg": "HS512", "use": "sig", "kty": "oct", "k": k, "iat": 10, "nbf": 20, "exp": 30})
}

fn ec() -> Value {
    json!({
        "kid": "e", "alg": "ES256", "use": "sig", "kty": "EC", "crv": "P-256",
        "x": EC_X, "y": EC_Y, "d": EC_D, "iat": 11, "nbf": 21
    })
}

fn okp() -> Value {
    json!({
        "kid": "o", "alg": "EdDSA", "use": "sig", "kty": "OKP", "crv": "Ed25519",
        "x": ED_X, "d": ED_D, "iat": 12, "nbf": 22
    })
}

fn document(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// The key with some members replaced, or removed where the value is null.
fn with(mut key: Value, changes: Value) -> Value {
    let members = key.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    key
}

#[test]
fn keys_of_every_kind_are_read_and_written_as_they_were() {
    let keys = [
        with(oct(), json!({"note": {"by": ["an operator", 1.5]}})),
        ec(),
        with(okp(), json!({"key_ops": ["sign", "verify"]})),
        with(okp(), json!({"kid": "public", "d": null, "exp": 99, "nbf": 23})),
    ];
    let set = json!({"keys": keys, "owner": "team"});
    let parsed = parse(set.to_string().as_bytes()).unwrap();
    assert_eq!(parsed.warnings.len(), 1, "{:?}", parsed.warnings);
    let written: Value = serde_json::from_slice(&serialise(&parsed.ring)).unwrap();
    assert_eq!(written, set);

    let shape = |key: &Key| (key.kid().to_string(), key.algorithm(), key.iat(), key.nbf(), key.exp(), key.can_sign());
    let shapes: Vec<_> = parsed.ring.keys().iter().map(shape).collect();
    let row = |kid: &str, algorithm, iat, nbf, exp, signs| (kid.to_owned(), algorithm, iat, nbf, exp, signs);
    assert_eq!(
        shapes,
        [
            row("h", Algorithm::Hs512, 10, 20, Some(30), true),
            row("e", Algorithm::Es256, 11, 21, None, true),
            row("o", Algorithm::EdDsa, 12, 22, None, true),
            row("public", Algorithm::EdDsa, 12, 23, Some(99), false),
        ]
    );
}

#[test]
fn what_is_generated_is_read_again() {
    let keys = Algorithm::ALL.map(|algorithm| Key::fresh(algorithm, 5, 6).with_exp(Some(7000)));
    let ring = KeyRing::new(keys.to_vec()).unwrap();
    let written = serialise(&ring);
    let again = parse(&written).unwrap();
    assert_eq!((again.warnings.len(), serialise(&again.ring)), (0, written));
}

#[test]
fn nothing_is_a_ring_without_keys() {
    for text in ["", "\n", "{\"keys\": []}", " { \"keys\" : [ ] } \n"] {
        assert!(parse(text.as_bytes()).unwrap().ring.keys().is_empty(), "{text:?}");
    }
}

#[test]
fn what_is_missing_has_the_plainest_meaning_and_a_warning() {
    for (changes, iat, nbf) in
        [(json!({"iat": null}), 20, 20), (json!({"nbf": null}), 10, 10), (json!({"iat": null, "nbf": null}), 0, 0)]
    {
        let parsed = parse(&document(&[with(oct(), changes)])).unwrap();
        let key = &parsed.ring.keys()[0];
        assert_eq!((key.iat(), key.nbf(), parsed.warnings.len()), (iat, nbf, 1));
    }
    let parsed = parse(&document(&[with(oct(), json!({"use": null}))])).unwrap();
    assert_eq!(parsed.warnings.len(), 0);
    let parsed = parse(&document(&[with(oct(), json!({"exp": 20}))])).unwrap();
    assert!(parsed.warnings[0].contains("\"h\"") && parsed.warnings[0].contains("never signs"));
}

#[test]
fn one_bad_key_makes_the_document_invalid_and_is_named() {
    let b64 = |length: usize| URL_SAFE_NO_PAD.encode(vec![0x77; length]);
    let cases = [
        ("no alg", with(oct(), json!({"alg": null}))),
        ("unknown alg", with(oct(), json!({"alg": "HS256"}))),
        ("alg none", with(oct(), json!({"alg": "none"}))),
        ("alg in small letters", with(oct(), json!({"alg": "hs512"}))),
        ("alg of another type", with(oct(), json!({"alg": ["HS512"]}))),
        ("use enc", with(oct(), json!({"use": "enc"}))),
        ("use of another type", with(oct(), json!({"use": ["sig"]}))),
        ("key_ops", with(oct(), json!({"key_ops": ["encrypt"]}))),
        ("key_ops of another type", with(oct(), json!({"key_ops": "sign"}))),
        ("no kty", with(oct(), json!({"kty": null}))),
        ("kty of another kind", with(oct(), json!({"kty": "EC"}))),
        ("alg of another kind", with(ec(), json!({"alg": "HS512"}))),
        ("alg of another curve", with(ec(), json!({"alg": "EdDSA"}))),
        ("no secret", with(oct(), json!({"k": null}))),
        ("short secret", with(oct(), json!({"k": b64(63)}))),
        ("padded secret", with(oct(), json!({"k": format!("{}==", b64(64))}))),
        ("secret in base64", with(oct(), json!({"k": format!("{}+/", b64(96))}))),
        ("secret of another type", with(oct(), json!({"k": 7}))),
        ("no y", with(ec(), json!({"y": null}))),
        ("wrong curve", with(ec(), json!({"crv": "P-384"}))),
        ("not on the curve", with(ec(), json!({"x": EC_Y, "y": EC_X}))),
        ("not on the curve, public", with(ec(), json!({"x": EC_Y, "y": EC_X, "d": null}))),
        ("long coordinate", with(ec(), json!({"x": b64(33)}))),
        ("d of another key", with(ec(), json!({"d": ED_D}))),
        ("empty d", with(ec(), json!({"d": ""}))),
        ("d of another type", with(ec(), json!({"d": false}))),
        ("seed of another key", with(okp(), json!({"d": EC_D}))),
        ("wrong OKP curve", with(okp(), json!({"crv": "X25519"}))),
        ("short x", with(okp(), json!({"x": b64(31), "d": null}))),
        ("nbf a float", with(oct(), json!({"nbf": 20.0}))),
        ("nbf a string", with(oct(), json!({"nbf": "20"}))),
        ("negative iat", with(oct(), json!({"iat": -1}))),
        ("exp true", with(oct(), json!({"exp": true}))),
        ("milliseconds", with(oct(), json!({"nbf": 1_700_000_000_000_u64}))),
    ];
    for (name, bad) in cases {
        let bad = with(bad, json!({"kid": "the bad one"}));
        let error = parse(&document(&[okp(), bad.clone()])).unwrap_err().to_string();
        assert!(error.starts_with("key 2 (kid \"the bad one\"): "), "{name}: {error}");
        for member in ["k", "d", "x", "y"] {
            let part = bad.get(member).and_then(Value::as_str).filter(|part| !part.is_empty());
            assert!(part.is_none_or(|part| !error.contains(part)), "{name}: {error}");
        }
    }
    for member in ["exp", "nbf", "iat", "use", "key_ops"] {
        let mut key = oct();
        key[member] = Value::Null;
        let error = parse(&document(&[key])).unwrap_err().to_string();
        assert!(error.contains(member), "null is not absent: {error}");
    }
}

#[test]
fn a_kid_is_a_name_and_stands_once() {
    let error = |keys: &[Value]| parse(&document(keys)).unwrap_err().to_string();
    for kid in [json!(""), json!(5), json!(null), json!("a\nb"), json!("k".repeat(257))] {
        let mut key = oct();
        key["kid"] = kid;
        assert!(error(&[ec(), key]).starts_with("key 2: "));
    }
    assert_eq!(error(&[with(oct(), json!({"kid": null}))]), "key 1: it has no kid");
    assert_eq!(error(&[oct(), with(ec(), json!({"kid": "h"}))]), "two keys have the kid \"h\"");
}

#[test]
fn what_is_no_jwk_set_is_invalid_and_not_repeated() {
    let twice = |text: &str| text.replace("\"kid\"", "\"kid\":\"hunter2\",\"kid\"");
    for text in [
        "hunter2".to_owned(),
        "\"hunter2\"".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        "{\"keys\": {}}".to_owned(),
        "{\"keys\": null}".to_owned(),
        "{\"keys\": [\"hunter2\"]}".to_owned(),
        "{\"keys\": [], \"keys\": []}".to_owned(),
        "{\"keys\": []} hunter2".to_owned(),
        "{\"keys\": [{\"kid\": \"hunter2\"".to_owned(),
        twice(&String::from_utf8(document(&[oct()])).unwrap()),
        " ".repeat(MAX_DOCUMENT + 1),
    ] {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_parsed_document_does_not_print_its_secrets() {
    let parsed = parse(&document(&[oct(), ec(), okp()])).unwrap();
    let printed = format!("{parsed:?}");
    for secret in [oct()["k"].as_str().unwrap(), EC_D, ED_D] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
