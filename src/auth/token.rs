//! Tokens: compact JWS over claims, minted with one key of the ring and verified with the one that `kid` names.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::claims::{Claims, InvalidClaims};
use super::json;
use super::keys::{Key, KeyRing};

/// Bytes of the longest token that is looked at.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Header members by which the payload would be something else than plain claims: an extension that must be
/// understood (RFC 7515, section 4.1.11), one that is not encoded (RFC 7797, section 6), another content type, such as
/// a nested token (RFC 7519, section 5.2), or one that is compressed (RFC 7516, section 4.1.3).
const OTHER_PAYLOADS: [&str; 4] = ["crit", "b64", "cty", "zip"];

/// What the claims must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub issuer: String,
    /// Where there is one, a token must be for it; where there is none, a token must name none
    /// (RFC 7519, section 4.1.3).
    pub audience: Option<String>,
}

/// A token that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub claims: Claims,
    /// The key that signed it.
    pub kid: Arc<str>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenError {
    /// Not a compact JWS with a header that is understood.
    Malformed,
    /// The ring holds no key of that `kid`, or only one that is past its `exp`.
    UnknownKey,
    /// Not signed with that key and its algorithm.
    BadSignature,
    /// A claim is missing or of the wrong type.
    BadClaims,
    Expired,
    WrongIssuer,
    WrongAudience,
}

impl TokenError {
    /// A word of a fixed set, fit for an answer, a log and a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::BadClaims => "bad_claims",
            Self::Expired => "expired",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for TokenError {}

impl From<InvalidClaims> for TokenError {
    fn from(InvalidClaims: InvalidClaims) -> Self {
        Self::BadClaims
    }
}

/// The key has no private half. A key that [`KeyRing::signer`] names always has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotSign;

impl fmt::Display for CannotSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key cannot sign")
    }
}

impl std::error::Error for CannotSign {}

/// A token over `claims`: a compact JWS (RFC 7515, section 7.1) whose header has `alg` and `kid`.
///
/// The claims' `exp` should have been [cut](Key::cut) to the key's.
pub fn mint(key: &Key, claims: &Claims) -> Result<String, CannotSign> {
    let header = json!({ "alg": key.algorithm().as_str(), "kid": **key.kid() }).to_string();
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_json(), &mut token);
    let signature = key.sign(token.as_bytes()).ok_or(CannotSign)?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// Judges a token at `now`: its form, its signature by the key that `kid` names with that key's own algorithm, then
/// its claims. There is no leeway: at `exp` it is over.
pub fn verify(token: &str, ring: &KeyRing, now: u64, expected: &Expected) -> Result<Verified, TokenError> {
    let jws = Compact::parse(token)?;
    let key = ring.verifying(&jws.kid, now).ok_or(TokenError::UnknownKey)?;
    let claims = Claims::parse(&jws.open(key)?, now)?;
    if claims.exp <= now {
        return Err(TokenError::Expired);
    }
    if claims.iss != expected.issuer {
        return Err(TokenError::WrongIssuer);
    }
    let meant = match &expected.audience {
        Some(audience) => claims.aud.contains(audience),
        None => claims.aud.is_empty(),
    };
    if meant { Ok(Verified { claims, kid: Arc::clone(key.kid()) }) } else { Err(TokenError::WrongAudience) }
}

/// The payload of a compact JWS that `key` has signed with its own algorithm, whatever the payload is.
///
/// # Errors
/// [`TokenError::Malformed`]; [`TokenError::UnknownKey`] where the header names another key;
/// [`TokenError::BadSignature`].
pub fn verify_signature(token: &str, key: &Key) -> Result<Vec<u8>, TokenError> {
    let jws = Compact::parse(token)?;
    if *jws.kid != **key.kid() {
        return Err(TokenError::UnknownKey);
    }
    jws.open(key)
}

/// Whether the token is well-formed and names a key that the ring does not hold in any state: it may be newer than
/// the ring.
pub fn names_absent_key(token: &str, ring: &KeyRing) -> bool {
    Compact::parse(token).is_ok_and(|jws| ring.find(&jws.kid).is_none())
}

/// A token taken apart and not judged: to be shown to a person, never a reason to let anything pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Unverified {
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
}

/// Takes a token apart without looking at its signature.
pub fn decode_unverified(token: &str) -> Result<Unverified, TokenError> {
    let (header, payload, signature) = segments(token)?;
    decode(signature)?;
    Ok(Unverified { header: object(header)?, claims: object(payload)? })
}

/// A compact JWS whose header is understood and whose signature nobody has looked at.
struct Compact<'t> {
    alg: String,
    kid: String,
    signed: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> Compact<'t> {
    fn parse(token: &'t str) -> Result<Self, TokenError> {
        let (header, payload, signature) = segments(token)?;
        let mut members = object(header)?;
        if OTHER_PAYLOADS.iter().any(|name| members.contains_key(*name)) {
            return Err(TokenError::Malformed);
        }
        match members.get("typ") {
            None => {}
            Some(Value::String(typ)) if is_jwt(typ) => {}
            Some(_) => return Err(TokenError::Malformed),
        }
        Ok(Self {
            alg: string(members.remove("alg"))?,
            kid: string(members.remove("kid"))?,
            signed: &token[..header.len() + 1 + payload.len()],
            payload,
            signature,
        })
    }

    /// The payload, where this key has signed it. The header's `alg` chooses nothing: it must be the key's.
    fn open(&self, key: &Key) -> Result<Vec<u8>, TokenError> {
        let signature = decode(self.signature)?;
        let genuine = self.alg == key.algorithm().as_str() && key.verify(self.signed.as_bytes(), &signature);
        if genuine { decode(self.payload) } else { Err(TokenError::BadSignature) }
    }
}

fn segments(token: &str) -> Result<(&str, &str, &str), TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Malformed);
    }
    let mut segments = token.split('.');
    match (segments.next(), segments.next(), segments.next(), segments.next()) {
        (Some(header), Some(payload), Some(signature), None) => Ok((header, payload, signature)),
        _ => Err(TokenError::Malformed),
    }
}

/// The one canonical spelling only: no padding, no stray bits (RFC 7515, section 2).
fn decode(segment: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenError::Malformed)
}

fn object(segment: &str) -> Result<Map<String, Value>, TokenError> {
    match json::parse(&decode(segment)?) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(TokenError::Malformed),
    }
}

fn string(member: Option<Value>) -> Result<String, TokenError> {
    match member {
        Some(Value::String(string)) => Ok(string),
        _ => Err(TokenError::Malformed),
    }
}

/// RFC 7519, section 5.1; RFC 9068, section 2.1.
fn is_jwt(typ: &str) -> bool {
    ["JWT", "at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests;
