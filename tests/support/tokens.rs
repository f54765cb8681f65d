//! Tokens of any shape, good and bad, made with the ring's own secrets and without Vestibule's code.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is past 1970").as_secs()
}

/// One private key as the ring's document holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Jwk(pub(crate) Value);

impl Jwk {
    /// A new key that has signed for a minute, under a `kid` of the test's own.
    pub(crate) fn fresh(algorithm: &str, kid: &str) -> Self {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let material = match algorithm {
            "HS512" => {
                let mut secret = [0; 64];
                aws_lc_rs::rand::fill(&mut secret).expect("random bytes");
                json!({"kty": "oct", "k": encode(&secret)})
            }
            "ES256" => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                let d = pair.private_key().as_be_bytes().expect("a private half");
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y), "d": encode(d.as_ref())})
            }
            "EdDSA" => {
                let pair = Ed25519KeyPair::generate().expect("a key");
                let seed = pair.seed().and_then(|seed| seed.as_be_bytes()).expect("a seed");
                json!({
                    "kty": "OKP", "crv": "Ed25519",
                    "x": encode(pair.public_key().as_ref()), "d": encode(seed.as_ref()),
                })
            }
            other => panic!("no such algorithm: {other}"),
        };
        let began = now() - 60;
        Self(material).with(&json!({"kid": kid, "alg": algorithm, "use": "sig", "iat": began, "nbf": began}))
    }

    /// The same key with members replaced; `null` removes one.
    pub(crate) fn with(mut self, members: &Value) -> Self {
        for (name, value) in members.as_object().expect("members to replace") {
            self.0[name.as_str()] = value.clone();
        }
        self.0.as_object_mut().expect("a JWK is an object").retain(|_, value| !value.is_null());
        self
    }

    /// The keys of a ring's document.
    pub(crate) fn read_ring(file: &Path) -> Vec<Self> {
        let text = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let set: Value = serde_json::from_slice(&text).expect("a JWK Set");
        set["keys"].as_array().expect("a list of keys").iter().cloned().map(Self).collect()
    }

    /// A ring's document.
    pub(crate) fn ring(keys: &[Self]) -> String {
        json!({"keys": keys.iter().map(|key| &key.0).collect::<Vec<_>>()}).to_string()
    }

    pub(crate) fn kid(&self) -> &str {
        self.0["kid"].as_str().expect("a kid")
    }

    pub(crate) fn algorithm(&self) -> &str {
        self.0["alg"].as_str().expect("an alg")
    }

    /// The header that a token of this key has.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "kid": self.kid()})
    }

    /// A token of this key over these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// A JWS of this key over any texts at all, with this key's own algorithm whatever the header says.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signature(&self, signed: &[u8]) -> Vec<u8> {
        match self.algorithm() {
            "HS512" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, &self.bytes("k")), signed).as_ref().to_vec(),
            "ES256" => {
                let point = [vec![4], self.bytes("x"), self.bytes("y")].concat();
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &self.bytes("d"), &point);
                let signature = pair.expect("a P-256 key").sign(&SystemRandom::new(), signed);
                signature.expect("a signature").as_ref().to_vec()
            }
            "EdDSA" => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(&self.bytes("d"), &self.bytes("x"));
                pair.expect("an Ed25519 key").sign(signed).as_ref().to_vec()
            }
            other => panic!("no such algorithm: {other}"),
        }
    }

    /// A member's bytes.
    pub(crate) fn bytes(&self, member: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(self.0[member].as_str().expect("a string")).expect("base64url")
    }
}

/// What a good token of an operator's for `user` says: no `cred`, five minutes.
pub(crate) fn claims(user: &str) -> Value {
    let now = now();
    json!({
        "jti": "2f1f3ad4-6c5b-4ef1-9e6a-0d4ab6bd0a01",
        "iat": now,
        "sub": user,
        "iss": "vestibule",
        "exp": now + 300,
        "auth_time": now,
        "groups": ["Administrator"],
    })
}

/// Header and claims of a token, nothing of it verified.
pub(crate) fn decode(token: &str) -> (Value, Value) {
    let mut segments = token.split('.');
    let mut next = || {
        let segment = segments.next().unwrap_or_else(|| panic!("no compact JWS: {token}"));
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).expect("base64url")).expect("JSON")
    };
    (next(), next())
}
