//! The key ring: which key signs, which ones verify, and what of it anyone may see.

use std::fmt;

use serde_json::{Map, Value, json};

use super::Key;

/// All keys, from the oldest to the newest by `nbf`, then `iat`, then `kid`; no `kid` stands twice.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: Vec<Key>,
    members: Map<String, Value>,
}

/// How many keys are in which state; those past their `exp` are in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyStates {
    /// Their `nbf` has not come.
    pub pending: usize,
    /// The signer: one, or none.
    pub active: usize,
    /// They only verify what was signed with them.
    pub retiring: usize,
}

/// Why keys make no ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidRing {
    /// This `kid` stands twice.
    DuplicateKid(String),
    /// There are more than [`KeyRing::MAX_KEYS`].
    TooMany,
}

impl fmt::Display for InvalidRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateKid(kid) => write!(f, "two keys have the kid {kid:?}"),
            Self::TooMany => write!(f, "there are more than {} keys", KeyRing::MAX_KEYS),
        }
    }
}

impl std::error::Error for InvalidRing {}

impl KeyRing {
    /// A ring holds no more keys than this; their document stays well under a Secret's 1 MiB.
    pub const MAX_KEYS: usize = 1000;

    /// Puts keys in order.
    pub fn new(mut keys: Vec<Key>) -> Result<Self, InvalidRing> {
        if keys.len() > Self::MAX_KEYS {
            return Err(InvalidRing::TooMany);
        }
        keys.sort_by(|a, b| a.kid().cmp(b.kid()));
        if let Some(pair) = keys.windows(2).find(|pair| pair[0].kid() == pair[1].kid()) {
            return Err(InvalidRing::DuplicateKid(pair[0].kid().to_string()));
        }
        // A stable sort: equal times stay in the order of their kids, the same for every reader.
        keys.sort_by_key(|key| (key.nbf(), key.iat()));
        Ok(Self { keys, members: Map::new() })
    }

    /// The same ring with members of its document that mean nothing here and are kept.
    #[must_use]
    pub fn with_members(self, members: Map<String, Value>) -> Self {
        Self { members, ..self }
    }

    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The newest key whose `nbf` has come and whose `exp`, if any, is `ttl` seconds away or more.
    pub fn signer(&self, now: u64, ttl: u64) -> Option<&Key> {
        self.keys.iter().rfind(|key| key.signs(now, ttl))
    }

    /// Since when the signer has been it: its `nbf`.
    pub fn signer_since(&self, now: u64, ttl: u64) -> Option<u64> {
        self.signer(now, ttl).map(Key::nbf)
    }

    /// The key that verifies tokens of this `kid`: one that is not past its `exp`, a pending one too.
    pub fn verifying(&self, kid: &str, now: u64) -> Option<&Key> {
        self.find(kid).filter(|key| !key.is_past(now))
    }

    /// The key of this name, in whatever state.
    pub fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| **key.kid() == *kid)
    }

    pub fn states(&self, now: u64, ttl: u64) -> KeyStates {
        let active = usize::from(self.signer(now, ttl).is_some());
        let present = self.keys.iter().filter(|key| !key.is_past(now));
        let (pending, come): (Vec<&Key>, Vec<&Key>) = present.partition(|key| key.nbf() > now);
        KeyStates { pending: pending.len(), active, retiring: come.len() - active }
    }

    /// The public halves of the ES256 and EdDSA keys that are not past their `exp`, as the JSON text of a JWK Set
    /// (RFC 7517, section 5); `None` where there is no such key.
    pub fn public_jwks(&self, now: u64) -> Option<String> {
        let present = self.keys.iter().filter(|key| !key.is_past(now));
        let keys: Vec<Map<String, Value>> = present.filter_map(Key::public_jwk).collect();
        (!keys.is_empty()).then(|| json!({ "keys": keys }).to_string())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing ")?;
        f.debug_list().entries(&self.keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, Material};
    use super::*;

    fn key(kid: &str, iat: u64, nbf: u64, exp: Option<u64>) -> Key {
        Key::generate(Algorithm::Hs512, kid, iat, nbf).with_exp(exp)
    }

    fn public_only(kid: &str) -> Key {
        let jwk = Key::fresh(Algorithm::EdDsa, 0, 0).private_jwk();
        let x = jwk["x"].as_str().unwrap();
        let x = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, x).unwrap();
        Key::new(kid, Material::eddsa(&x, None).unwrap(), 0, 0)
    }

    #[test]
    fn the_signer_is_the_newest_that_may_sign() {
        let ring = KeyRing::new(vec![
            key("pending", 5, 300, None),
            key("old", 0, 100, Some(400)),
            key("twin b", 7, 200, None),
            key("twin a", 7, 200, None),
            key("z earlier iat", 6, 200, None),
            key("short", 0, 250, Some(290)),
        ])
        .unwrap();
        for (now, ttl, kid) in [
            (99, 10, None),
            (100, 10, Some("old")),
            (200, 10, Some("twin b")),
            (260, 10, Some("short")),
            (280, 10, Some("short")),
            (281, 10, Some("twin b")),
            (300, 10, Some("pending")),
        ] {
            let signer = ring.signer(now, ttl).map(|key| &**key.kid());
            assert_eq!(signer, kid, "at {now}");
            let since = kid.and_then(|kid| ring.find(kid)).map(Key::nbf);
            assert_eq!(ring.signer_since(now, ttl), since, "at {now}");
        }
    }

    #[test]
    fn a_key_without_a_private_half_verifies_and_never_is_the_signer() {
        let ring = KeyRing::new(vec![public_only("public")]).unwrap();
        assert!(ring.signer(10, 1).is_none());
        assert!(ring.verifying("public", 10).is_some());
        assert!(KeyRing::default().signer(10, 1).is_none());
    }

    #[test]
    fn every_key_not_past_its_exp_verifies_and_is_counted() {
        let ring = KeyRing::new(vec![
            key("over", 0, 0, Some(100)),
            key("retiring", 0, 10, Some(105)),
            key("active", 0, 20, None),
            key("pending", 0, 500, None),
            public_only("public"),
        ])
        .unwrap();
        for (kid, now, verifies) in [
            ("over", 99, true),
            ("over", 100, false),
            ("retiring", 100, true),
            ("active", 100, true),
            ("pending", 100, true),
            ("Active", 100, false),
            ("", 100, false),
        ] {
            assert_eq!(ring.verifying(kid, now).is_some(), verifies, "{kid} at {now}");
        }
        let states = |pending, active, retiring| KeyStates { pending, active, retiring };
        assert_eq!(ring.states(100, 10), states(1, 1, 2));
        assert_eq!(ring.states(99, 10), states(1, 1, 3));
        assert_eq!(ring.states(500, 10), states(0, 1, 2));
        assert_eq!(KeyRing::default().states(0, 1), states(0, 0, 0));
    }

    #[test]
    fn a_ring_has_no_two_keys_of_one_name_and_no_thousand_and_first() {
        let twins = vec![key("a", 0, 0, None), key("b", 0, 0, None), key("a", 1, 1, None)];
        let error = KeyRing::new(twins).unwrap_err();
        assert_eq!(error, InvalidRing::DuplicateKid("a".to_owned()));
        let many = (0..=KeyRing::MAX_KEYS).map(|n| key(&n.to_string(), 0, 0, None));
        assert_eq!(KeyRing::new(many.collect()).unwrap_err(), InvalidRing::TooMany);
    }

    #[test]
    fn anyone_may_see_the_public_halves_and_nothing_else() {
        let mut note = Map::new();
        note.insert("note".to_owned(), "hunter2".into());
        let over = Key::generate(Algorithm::Es256, "over", 0, 0).with_exp(Some(50));
        let ring = KeyRing::new(vec![
            key("secret", 0, 0, None),
            Key::generate(Algorithm::Es256, "ec", 1, 2).with_members(note),
            Key::generate(Algorithm::EdDsa, "ed", 1, 900),
            over.clone(),
        ])
        .unwrap();
        let text = ring.public_jwks(100).unwrap();
        let set: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<Vec<&String>> =
            set["keys"].as_array().unwrap().iter().map(|key| key.as_object().unwrap().keys().collect()).collect();
        assert_eq!(names[0], ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(names[1], ["alg", "crv", "kid", "kty", "use", "x"]);
        assert_eq!(names.len(), 2, "no secret key, none that is over");
        assert_eq!(set["keys"][0]["kid"], "ec");
        assert_eq!(set["keys"][1]["crv"], "Ed25519");

        let none = KeyRing::new(vec![key("secret", 0, 0, None), over]).unwrap();
        assert_eq!(none.public_jwks(100), None);
        assert!(none.public_jwks(49).is_some());
    }
}
