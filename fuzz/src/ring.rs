//! `keys.jwks`: what is read, written and read again is the same ring; who signs is whom a naive model names; nothing private
//! shows.
//!
//! Input: a line `NOW TTL`, then the document.

use serde_json::{Map, Value};
use vestibule::auth::keys::KeyRing;
use vestibule::store::keys_document::{parse, serialise};

const OWN: [&str; 12] = ["kid", "alg", "use", "kty", "crv", "x", "y", "d", "k", "iat", "nbf", "exp"];

pub(crate) fn run(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(line) = std::str::from_utf8(&data[..end]) else { return };
    let times = line.split(' ').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
    let (Ok([now, ttl]), document) = (times.as_deref(), &data[end + 1..]) else { return };
    let json = serde_json::from_slice::<Value>(document).unwrap_or_default();
    let entries: Vec<Map<String, Value>> =
        json["keys"].as_array().into_iter().flatten().filter_map(Value::as_object).cloned().collect();
    let parsed = match parse(document) {
        Ok(parsed) => parsed,
        Err(error) => return shows_nothing(&error.to_string(), &entries, document),
    };
    let ring = &parsed.ring;
    let printed = format!("{:?} {ring:?}", parsed.warnings);
    shows_nothing(&printed, &entries, document);

    let written = serialise(ring);
    let again = parse(&written).unwrap_or_else(|error| panic!("what is written cannot be read: {error}")).ring;
    assert_eq!(serialise(&again), written);
    assert_eq!(format!("{again:?}"), format!("{ring:?}"));
    says_the_same(ring, &entries);

    let signer = entries
        .iter()
        .filter(|entry| signs(entry, *now, *ttl))
        .max_by_key(|entry| (nbf(entry), iat(entry), kid(entry)));
    assert_eq!(ring.signer(*now, *ttl).map(|key| &**key.kid()), signer.map(kid));
    for entry in &entries {
        let good = time(entry, "exp").is_none_or(|exp| exp > *now);
        assert_eq!(ring.verifying(kid(entry), *now).is_some(), good, "{}", kid(entry));
    }
    public_is_public(ring, &entries, *now);
}

/// Every key is there once, as its entry says, with whatever else it said.
fn says_the_same(ring: &KeyRing, entries: &[Map<String, Value>]) {
    assert_eq!(ring.keys().len(), entries.len());
    let written: Value = serde_json::from_slice(&serialise(ring)).expect("JSON");
    let written = written["keys"].as_array().expect("a list");
    for entry in entries {
        let key = ring.find(kid(entry)).expect("it was read");
        assert_eq!((key.iat(), key.nbf(), key.exp()), (iat(entry), nbf(entry), time(entry, "exp")));
        assert_eq!(key.algorithm().as_str(), entry["alg"]);
        let again = written.iter().find(|again| again["kid"] == entry["kid"]).and_then(Value::as_object);
        let again = again.expect("it was written");
        // The curve's point and the secrets too, but for an `x` or a `d` that does not count for this kind.
        let kept = |entry: &Map<String, Value>| {
            entry
                .iter()
                .filter(|(name, _)| !OWN.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.to_string().len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(again), kept(entry));
        for name in ["kty", "crv", "x", "y", "d", "k"] {
            assert!(entry.get(name).is_none_or(|value| again.get(name) == Some(value)), "{name} of {}", kid(entry));
        }
    }
}

fn public_is_public(ring: &KeyRing, entries: &[Map<String, Value>], now: u64) {
    let mut public: Vec<&str> = entries
        .iter()
        .filter(|entry| entry["alg"] != "HS512" && time(entry, "exp").is_none_or(|exp| exp > now))
        .map(kid)
        .collect();
    public.sort_unstable();
    let Some(text) = ring.public_jwks(now) else { return assert!(public.is_empty()) };
    let served: Value = serde_json::from_str(&text).expect("JSON");
    let mut kids = Vec::new();
    for key in served["keys"].as_array().expect("a list") {
        let key = key.as_object().expect("an object");
        assert!(
            key.keys().all(|name| ["kid", "alg", "use", "kty", "crv", "x", "y"].contains(&name.as_str())),
            "{text}"
        );
        kids.push(kid(key));
    }
    kids.sort_unstable();
    assert_eq!(kids, public);
}

/// No secret of the document is in the text.
fn shows_nothing(text: &str, entries: &[Map<String, Value>], document: &[u8]) {
    let document = String::from_utf8_lossy(document);
    for secret in entries.iter().flat_map(|entry| [entry.get("k"), entry.get("d")]).flatten().filter_map(Value::as_str)
    {
        // One that stands elsewhere too may be a name.
        if secret.len() >= 16 && document.matches(secret).count() == 1 {
            // Nor does it tell anything where the same is said of another secret.
            let other = document.replacen(secret, &"#".repeat(secret.len()), 1);
            assert!(!text.contains(secret) || said(other.as_bytes()).contains(secret), "{text}");
        }
    }
}

fn said(document: &[u8]) -> String {
    match parse(document) {
        Ok(parsed) => format!("{:?} {:?}", parsed.warnings, parsed.ring),
        Err(error) => error.to_string(),
    }
}

fn signs(entry: &Map<String, Value>, now: u64, ttl: u64) -> bool {
    let private = entry["alg"] == "HS512" || entry.contains_key("d");
    let lasts = time(entry, "exp").is_none_or(|exp| exp > now && exp - now >= ttl);
    private && nbf(entry) <= now && lasts
}

fn kid(entry: &Map<String, Value>) -> &str {
    entry["kid"].as_str().expect("it was read")
}

fn iat(entry: &Map<String, Value>) -> u64 {
    time(entry, "iat").or(time(entry, "nbf")).unwrap_or(0)
}

fn nbf(entry: &Map<String, Value>) -> u64 {
    time(entry, "nbf").or(time(entry, "iat")).unwrap_or(0)
}

fn time(entry: &Map<String, Value>, name: &str) -> Option<u64> {
    entry.get(name).and_then(Value::as_u64)
}
