//! Tokens: good are exactly those whose signature another implementation accepts and whose claims, as JSON, obey the rules.
//!
//! Input: a line `NOW AUDIENCE|- KEY|raw`, then either a token, or its header and its payload, which are signed with the key.

use std::cell::LazyCell;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vestibule::auth::keys::KeyRing;
use vestibule::auth::token::{Expected, MAX_TOKEN, decode_unverified, mint, names_absent_key, verify};

use crate::json::{Json, is_deep};
use crate::{keys, parts};

const ISSUER: &str = "vestibule";

thread_local! {
    static RING: LazyCell<KeyRing> = LazyCell::new(keys::ring);
}

pub(crate) fn run(data: &[u8]) {
    let Some(mut parts) = parts(data) else { return };
    let mut words = parts.next().unwrap_or_default().split(' ');
    let Some(now) = words.next().and_then(|word| word.parse::<u64>().ok()) else { return };
    let audience = words.next().filter(|audience| *audience != "-");
    let (Some(kid), Some(first)) = (words.next(), parts.next()) else { return };
    let token = match (keys::sign(kid, b""), parts.next()) {
        (Some(_), Some(payload)) => {
            let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(first), URL_SAFE_NO_PAD.encode(payload));
            let signature = keys::sign(kid, signed.as_bytes()).expect("it is a key");
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
        _ => first.to_owned(),
    };
    let Some(expected) = judge(&token, now, audience) else { return };
    let wanted = Expected { issuer: ISSUER.to_owned(), audience: audience.map(str::to_owned) };
    RING.with(|ring| {
        let found = verify(&token, ring, now, &wanted);
        assert_eq!(found.is_ok(), expected, "{found:?}\n{token}\n{}", String::from_utf8_lossy(data));
        let Ok(verified) = found else { return };
        assert!(!names_absent_key(&token, ring) && decode_unverified(&token).is_ok());
        let key = ring.find(&verified.kid).expect("a key of the ring signed it");
        let again = mint(key, &verified.claims).expect("it can sign");
        let again = verify(&again, ring, now, &wanted).map(|verified| verified.claims);
        assert_eq!(again, Ok(verified.claims), "what was read is not what is written");
    });
}

/// Whether the token is good, step by step; `None`: too deep to tell.
fn judge(token: &str, now: u64, audience: Option<&str>) -> Option<bool> {
    let parts: Vec<&str> = token.split('.').collect();
    let decoded: Option<Vec<Vec<u8>>> = parts.iter().map(|part| canonical(part)).collect();
    let Some([header, payload, _]) = decoded.as_deref() else { return Some(false) };
    if is_deep(header) || is_deep(payload) {
        return None;
    }
    let (Some(header), Some(payload)) = (Json::parse(header), Json::parse(payload)) else { return Some(false) };
    Some(token.len() <= MAX_TOKEN && is_signed(&parts, &header, now) && is_good(&payload, now, audience))
}

/// The bytes of a segment in its only spelling.
fn canonical(segment: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).ok()?;
    (URL_SAFE_NO_PAD.encode(&bytes) == segment).then_some(bytes)
}

fn is_signed(parts: &[&str], header: &Json, now: u64) -> bool {
    let typ = header.get("typ").map(|typ| typ.text().map(str::to_lowercase));
    let typ = typ.is_none_or(|typ| typ.is_some_and(|typ| typ == "jwt" || typ == "at+jwt"));
    let kid = header.get("kid").and_then(Json::text).unwrap_or_default();
    let Some((algorithm, key)) = keys::oracle(kid) else { return false };
    let named = header.get("alg").and_then(Json::text) == Some(&format!("{algorithm:?}"));
    let message = format!("{}.{}", parts[0], parts[1]);
    header.is_unique()
        && !["crit", "b64", "cty", "zip"].iter().any(|member| header.has(member))
        && typ
        && named
        && (kid != "h" || now < keys::H_EXP)
        && jsonwebtoken::crypto::verify(parts[2], message.as_bytes(), &key, algorithm).unwrap_or(false)
}

fn is_good(claims: &Json, now: u64, audience: Option<&str>) -> bool {
    let name = |claim| claims.get(claim).and_then(Json::text).filter(|text| !text.is_empty());
    let time = |claim| claims.get(claim).and_then(Json::whole);
    let texts = |value: &Json| match value {
        Json::List(values) => values.iter().map(|value| value.text().map(str::to_owned)).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let audiences = match claims.get("aud") {
        None => Some(Vec::new()),
        Some(Json::Text(one)) => Some(vec![one.clone()]),
        Some(several) => texts(several),
    };
    claims.object().is_some()
        && claims.is_unique()
        && ["jti", "sub", "iss"].iter().all(|claim| name(claim).is_some())
        && ["iat", "exp", "auth_time"].iter().all(|claim| time(claim).is_some())
        && time("exp").is_some_and(|exp| now < exp)
        && claims.get("nbf").is_none_or(|nbf| nbf.whole().is_some_and(|nbf| nbf <= now))
        && name("iss") == Some(ISSUER)
        && claims.get("groups").is_none_or(|groups| texts(groups).is_some())
        && claims.get("cred").is_none_or(|cred| cred.text().is_some())
        && audiences.is_some_and(|all| match audience {
            Some(audience) => all.iter().any(|one| one == audience),
            None => all.is_empty(),
        })
}
