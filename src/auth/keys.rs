//! One key: an algorithm, the times between which it signs and verifies, and what it does so with.

mod material;
mod ring;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::uuid;

pub use material::{InvalidMaterial, Material};
pub use ring::{InvalidRing, KeyRing, KeyStates};

/// A signature algorithm by its JOSE name (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hs512,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 3] = [Self::Hs512, Self::Es256, Self::EdDsa];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs512 => "HS512",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is not one of `HS512`, `ES256`, `EdDSA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAlgorithm;

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one of HS512, ES256, EdDSA")
    }
}

impl std::error::Error for UnknownAlgorithm {}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name).ok_or(UnknownAlgorithm)
    }
}

/// A key of the ring. Cheap to clone: what it signs with is shared. Times are seconds since the epoch.
#[derive(Clone)]
pub struct Key {
    kid: Arc<str>,
    material: Arc<Material>,
    iat: u64,
    nbf: u64,
    exp: Option<u64>,
    members: Map<String, Value>,
}

impl Key {
    /// A key made at `iat` that signs from `nbf` on, without an end.
    pub fn new(kid: &str, material: Material, iat: u64, nbf: u64) -> Self {
        Self { kid: kid.into(), material: Arc::new(material), iat, nbf, exp: None, members: Map::new() }
    }

    /// A new random key.
    pub fn generate(algorithm: Algorithm, kid: &str, iat: u64, nbf: u64) -> Self {
        Self::new(kid, Material::generate(algorithm), iat, nbf)
    }

    /// A new random key under a name of its own: sixteen random hexadecimal digits.
    pub fn fresh(algorithm: Algorithm, iat: u64, nbf: u64) -> Self {
        Self::generate(algorithm, &uuid::short(), iat, nbf)
    }

    /// The same key, over at `exp`.
    #[must_use]
    pub fn with_exp(self, exp: Option<u64>) -> Self {
        Self { exp, ..self }
    }

    /// The same key, signing from `nbf` on.
    #[must_use]
    pub fn with_nbf(self, nbf: u64) -> Self {
        Self { nbf, ..self }
    }

    /// The same key with members that mean nothing here and are kept for whoever wrote them.
    #[must_use]
    pub fn with_members(self, members: Map<String, Value>) -> Self {
        Self { members, ..self }
    }

    pub fn kid(&self) -> &Arc<str> {
        &self.kid
    }

    pub fn algorithm(&self) -> Algorithm {
        self.material.algorithm()
    }

    pub fn iat(&self) -> u64 {
        self.iat
    }

    pub fn nbf(&self) -> u64 {
        self.nbf
    }

    pub fn exp(&self) -> Option<u64> {
        self.exp
    }

    /// Whether the key has a private half at all.
    pub fn can_sign(&self) -> bool {
        self.material.can_sign()
    }

    /// Whether the key signs at `now`: its `nbf` has come, and its `exp`, if any, is `ttl` seconds away or more.
    pub fn signs(&self, now: u64, ttl: u64) -> bool {
        self.can_sign() && self.nbf <= now && self.outlasts(now, ttl)
    }

    /// Whether the key does not sign yet at `now`, and will when its `nbf` comes.
    pub fn is_pending(&self, now: u64, ttl: u64) -> bool {
        self.can_sign() && self.nbf > now && self.outlasts(self.nbf, ttl)
    }

    /// Whether the key is over: at `exp` it is, as a token is.
    pub fn is_past(&self, now: u64) -> bool {
        self.exp.is_some_and(|exp| exp <= now)
    }

    /// The end of a token that shall end at `exp`: a token never outlives its key.
    pub fn cut(&self, exp: u64) -> u64 {
        self.exp.map_or(exp, |own| own.min(exp))
    }

    /// The signature of `message` in its JOSE form; `None` where the key has no private half.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.material.sign(message)
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.material.verify(message, signature)
    }

    /// The key as a JWK with its secrets (RFC 7517, section 4), for the document that the ring is kept in.
    pub(crate) fn private_jwk(&self) -> Map<String, Value> {
        let mut jwk = self.members.clone();
        jwk.extend(self.described(self.material.private_members()));
        jwk.insert("iat".to_owned(), self.iat.into());
        jwk.insert("nbf".to_owned(), self.nbf.into());
        jwk.extend(self.exp.map(|exp| ("exp".to_owned(), exp.into())));
        jwk
    }

    /// The key as a JWK for anyone: nothing private, nothing unknown; `None` for a symmetric key.
    fn public_jwk(&self) -> Option<Map<String, Value>> {
        Some(self.described(self.material.public_members()?).collect())
    }

    fn described(&self, members: Vec<(&'static str, String)>) -> impl Iterator<Item = (String, Value)> {
        [("kid", self.kid.to_string()), ("alg", self.algorithm().as_str().to_owned()), ("use", "sig".to_owned())]
            .into_iter()
            .chain(members)
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
    }

    fn outlasts(&self, start: u64, ttl: u64) -> bool {
        self.exp.is_none_or(|exp| exp > start && exp - start >= ttl)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("alg", &self.algorithm())
            .field("iat", &self.iat)
            .field("nbf", &self.nbf)
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_go_by_their_exact_jose_names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        for name in ["", "none", "hs512", "HS256", "RS256", "ES512", "EDDSA", " ES256"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name:?}");
        }
    }

    #[test]
    fn a_key_signs_from_nbf_until_a_ttl_before_exp() {
        let key = Key::fresh(Algorithm::Hs512, 90, 100);
        for (now, exp, signs, pending, past) in [
            (99, None, false, true, false),
            (100, None, true, false, false),
            (u64::MAX, None, true, false, false),
            (150, Some(200), true, false, false),
            (190, Some(200), true, false, false),
            (191, Some(200), false, false, false),
            (199, Some(200), false, false, false),
            (200, Some(200), false, false, true),
            (99, Some(110), false, true, false),
            (99, Some(109), false, false, false),
            (50, Some(40), false, false, true),
        ] {
            let key = key.clone().with_exp(exp);
            let found = (key.signs(now, 10), key.is_pending(now, 10), key.is_past(now));
            assert_eq!(found, (signs, pending, past), "now {now}, exp {exp:?}");
        }
        assert!(!key.with_exp(Some(150)).signs(150, 0), "not even with no ttl");
    }

    #[test]
    fn a_token_is_cut_to_its_key() {
        let key = Key::fresh(Algorithm::Hs512, 0, 0);
        assert_eq!(key.cut(500), 500);
        assert_eq!(key.clone().with_exp(Some(400)).cut(500), 400);
        assert_eq!(key.with_exp(Some(600)).cut(500), 500);
    }

    #[test]
    fn nothing_secret_can_be_printed() {
        for algorithm in Algorithm::ALL {
            let mut members = Map::new();
            members.insert("note".to_owned(), "hunter2".into());
            let key = Key::fresh(algorithm, 1, 2).with_members(members);
            let jwk = key.private_jwk();
            let printed = format!("{key:?} {:?}", key.material);
            for name in ["k", "d", "x", "note"] {
                if let Some(secret) = jwk.get(name).and_then(Value::as_str) {
                    assert!(!printed.contains(secret), "{name}: {printed}");
                }
            }
            assert!(printed.contains(&**key.kid()) && printed.contains(algorithm.as_str()));
        }
    }
}
