//! The document that a key ring is kept in, `keys.jwks`: a JWK Set (RFC 7517, section 5).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::auth::json;
use crate::auth::keys::{Algorithm, Key, KeyRing, Material};

/// Bytes of the longest document that is read: what a Secret holds at most.
const MAX_DOCUMENT: usize = 1 << 20;
/// Bytes of the longest `kid`.
const MAX_KID: usize = 256;
/// The first second of the year 10000. A later time is not in seconds.
const YEAR_10000: u64 = 253_402_300_800;

/// A ring, and what its keeper should know about the document.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub ring: KeyRing,
    /// One sentence each, naming the key, never its material.
    pub warnings: Vec<String>,
}

/// Why a document is no key ring: one sentence that names the key by its `kid` or its place, never its material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDocument(String);

impl fmt::Display for InvalidDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidDocument {}

/// Reads a document; one without bytes is a ring without keys.
///
/// A single key that is not understood makes the whole document invalid: the last good ring is safer than a part of
/// a new one, which a rotation would then write back. Each key has `kid`, `alg` (`HS512`, `ES256`, `EdDSA`) and the
/// members of its kind (RFC 7518, section 6; RFC 8037, section 2); without `d` an asymmetric key verifies and never
/// signs. `iat`, `nbf` and `exp` are whole seconds since the epoch. A missing `iat` or `nbf` is read as the other of
/// the two, both missing as 0, with a warning; a missing `use` as `sig`. Other members are kept.
pub fn parse(document: &[u8]) -> Result<Parsed, InvalidDocument> {
    if document.len() > MAX_DOCUMENT {
        return Err(InvalidDocument("the document is larger than 1 MiB".to_owned()));
    }
    let mut warnings = Vec::new();
    if document.trim_ascii().is_empty() {
        let ring = KeyRing::default();
        return Ok(Parsed { ring, warnings });
    }
    let document = json::parse(document).map_err(|error| InvalidDocument(error.to_string()))?;
    let Value::Object(mut members) = document else {
        return Err(InvalidDocument("a JWK Set is a JSON object".to_owned()));
    };
    let Some(Value::Array(entries)) = members.remove("keys") else {
        return Err(InvalidDocument("a JWK Set has an array `keys`".to_owned()));
    };
    let mut keys = Vec::with_capacity(entries.len().min(KeyRing::MAX_KEYS));
    for (index, entry) in entries.into_iter().enumerate() {
        let entry = Entry::new(index, entry)?;
        let name = entry.name.clone();
        let key = entry.parse(&mut warnings).map_err(|why| InvalidDocument(format!("{name}: {why}")))?;
        keys.push(key);
    }
    let ring = KeyRing::new(keys).map_err(|error| InvalidDocument(error.to_string()))?;
    let ring = ring.with_members(members);
    Ok(Parsed { ring, warnings })
}

/// The document of a ring, secrets and all.
pub fn serialise(ring: &KeyRing) -> Vec<u8> {
    let keys = ring.keys().iter().map(|key| Value::Object(key.private_jwk()));
    let mut document = ring.members().clone();
    document.insert("keys".to_owned(), keys.collect());
    Value::Object(document).to_string().into_bytes()
}

/// One key of the set; what has been read of it is removed from its members, and what is left is kept.
struct Entry {
    name: String,
    kid: String,
    members: Map<String, Value>,
}

impl Entry {
    fn new(index: usize, entry: Value) -> Result<Self, InvalidDocument> {
        let place = index + 1;
        let Value::Object(mut members) = entry else {
            return Err(InvalidDocument(format!("key {place}: not a JSON object")));
        };
        let kid = match members.remove("kid") {
            Some(Value::String(kid)) if is_name(&kid) => kid,
            Some(_) => {
                let shape = "kid is a string of 1 to 256 bytes without control characters";
                return Err(InvalidDocument(format!("key {place}: {shape}")));
            }
            None => return Err(InvalidDocument(format!("key {place}: it has no kid"))),
        };
        let name = format!("key {place} (kid {kid:?})");
        Ok(Self { name, kid, members })
    }

    fn parse(mut self, warnings: &mut Vec<String>) -> Result<Key, String> {
        let algorithm = self.string("alg")?.parse::<Algorithm>().map_err(|why| format!("alg is {why}"))?;
        match self.members.remove("use") {
            None => {}
            Some(Value::String(usage)) if usage == "sig" => {}
            Some(_) => return Err("use is not `sig`".to_owned()),
        }
        self.check_operations()?;
        let material = self.material(algorithm)?;
        let (iat, nbf, exp) = (self.time("iat")?, self.time("nbf")?, self.time("exp")?);
        if iat.is_none() || nbf.is_none() {
            warnings.push(format!("{}: iat or nbf is missing", self.name));
        }
        let nbf_or_iat = nbf.or(iat).unwrap_or(0);
        let key = Key::new(&self.kid, material, iat.unwrap_or(nbf_or_iat), nbf_or_iat);
        if !key.can_sign() {
            warnings.push(format!("{}: without d it verifies and never signs", self.name));
        }
        if exp.is_some_and(|exp| exp <= key.nbf()) {
            warnings.push(format!("{}: it never signs, exp is not after nbf", self.name));
        }
        Ok(key.with_exp(exp).with_members(self.members))
    }

    fn material(&mut self, algorithm: Algorithm) -> Result<Material, String> {
        let material = match algorithm {
            Algorithm::Hs512 => {
                self.is("kty", "oct", algorithm)?;
                Material::hs512(&self.bytes("k")?)
            }
            Algorithm::Es256 => {
                self.is("kty", "EC", algorithm)?;
                self.is("crv", "P-256", algorithm)?;
                let (x, y, d) = (self.bytes("x")?, self.bytes("y")?, self.private()?);
                Material::es256(&x, &y, d.as_ref().map(|d| d.as_slice()))
            }
            Algorithm::EdDsa => {
                self.is("kty", "OKP", algorithm)?;
                self.is("crv", "Ed25519", algorithm)?;
                let (x, d) = (self.bytes("x")?, self.private()?);
                Material::eddsa(&x, d.as_ref().map(|d| d.as_slice()))
            }
        };
        material.map_err(|why| why.to_string())
    }

    /// `key_ops`, where it stands, must allow what the key is here for (RFC 7517, section 4.3). It is kept.
    fn check_operations(&self) -> Result<(), String> {
        let allowed = match self.members.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|name| name == "sign" || name == "verify"),
            Some(_) => false,
        };
        if allowed { Ok(()) } else { Err("key_ops has neither `sign` nor `verify`".to_owned()) }
    }

    fn string(&mut self, member: &str) -> Result<String, String> {
        match self.members.remove(member) {
            Some(Value::String(string)) => Ok(string),
            Some(_) => Err(format!("{member} is not a string")),
            None => Err(format!("it has no {member}")),
        }
    }

    fn is(&mut self, member: &str, expected: &str, algorithm: Algorithm) -> Result<(), String> {
        if self.string(member)? == expected {
            return Ok(());
        }
        Err(format!("{member} is not `{expected}`, as {algorithm} wants it"))
    }

    fn bytes(&mut self, member: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let text = Zeroizing::new(self.string(member)?);
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes());
        // The decoder's own error quotes a byte.
        bytes.map(Zeroizing::new).map_err(|_| format!("{member} is not base64url without padding"))
    }

    fn private(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        if self.members.contains_key("d") { self.bytes("d").map(Some) } else { Ok(None) }
    }

    fn time(&mut self, member: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.members.remove(member) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(seconds) if seconds < YEAR_10000 => Ok(Some(seconds)),
            Some(_) => Err(format!("{member} is past the year 9999: it is in seconds since the epoch")),
            None => Err(format!("{member} is not a whole number of seconds")),
        }
    }
}

fn is_name(kid: &str) -> bool {
    (1..=MAX_KID).contains(&kid.len()) && !kid.chars().any(char::is_control)
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
