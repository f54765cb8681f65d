//! What a key signs and verifies with, prepared once, and unprintable.

use std::fmt;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey,
};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Algorithm;

/// Bytes of the shortest HS512 secret (RFC 7518, section 3.2: as long as the hash's output).
const HS512_SECRET: usize = 64;
/// Bytes of a P-256 coordinate and scalar (RFC 7518, section 6.2), and of an Ed25519 key and seed (RFC 8032).
const ELEMENT: usize = 32;

/// A key's secret or key pair. An asymmetric one may lack its private half: then it only verifies.
pub struct Material(Prepared);

// Signing keys go straight to the cryptographic library: prepared here, an HS512 key costs no key schedule and
// an ES256 key no parsing for each token.
enum Prepared {
    Hs512 { key: Box<hmac::Key>, secret: Zeroizing<Vec<u8>> },
    Es256 { private: Option<(EcdsaKeyPair, Zeroizing<Vec<u8>>)>, public: ParsedPublicKey },
    EdDsa { private: Option<(Ed25519KeyPair, Zeroizing<Vec<u8>>)>, public: ParsedPublicKey },
}

/// Why bytes are no key; says nothing of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMaterial(&'static str);

impl fmt::Display for InvalidMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidMaterial {}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({}, redacted)", self.algorithm())
    }
}

impl Material {
    /// An HMAC secret of 64 bytes or more.
    pub fn hs512(secret: &[u8]) -> Result<Self, InvalidMaterial> {
        if secret.len() < HS512_SECRET {
            return Err(InvalidMaterial("an HS512 secret has 64 bytes or more"));
        }
        Ok(Self(Prepared::Hs512 {
            key: Box::new(hmac::Key::new(hmac::HMAC_SHA512, secret)),
            secret: Zeroizing::new(secret.to_vec()),
        }))
    }

    /// A P-256 key: coordinates and scalar are 32 bytes each, big-endian.
    pub fn es256(x: &[u8], y: &[u8], d: Option<&[u8]>) -> Result<Self, InvalidMaterial> {
        if [Some(x), Some(y), d].into_iter().flatten().any(|part| part.len() != ELEMENT) {
            return Err(InvalidMaterial("x, y and d of a P-256 key have 32 bytes each"));
        }
        // The uncompressed form of SEC 1, section 2.3.3.
        let point = [&[4], x, y].concat();
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
            .map_err(|_| InvalidMaterial("x and y are no point on P-256"))?;
        let private = match d {
            None => None,
            Some(d) => {
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, d, &point)
                    .map_err(|_| InvalidMaterial("d does not belong to x and y"))?;
                Some((pair, Zeroizing::new(d.to_vec())))
            }
        };
        Ok(Self(Prepared::Es256 { private, public }))
    }

    /// An Ed25519 key: public key and seed are 32 bytes each (RFC 8032, section 5.1.5).
    pub fn eddsa(x: &[u8], d: Option<&[u8]>) -> Result<Self, InvalidMaterial> {
        if [Some(x), d].into_iter().flatten().any(|part| part.len() != ELEMENT) {
            return Err(InvalidMaterial("x and d of an Ed25519 key have 32 bytes each"));
        }
        let public = ParsedPublicKey::new(&ED25519, x).map_err(|_| InvalidMaterial("x is no Ed25519 public key"))?;
        let private = match d {
            None => None,
            Some(d) => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(d, x)
                    .map_err(|_| InvalidMaterial("d does not belong to x"))?;
                Some((pair, Zeroizing::new(d.to_vec())))
            }
        };
        Ok(Self(Prepared::EdDsa { private, public }))
    }

    /// A new random key.
    pub(super) fn generate(algorithm: Algorithm) -> Self {
        const WORKS: &str = "key generation only fails without memory or random numbers";
        const VALID: &str = "a key that was just generated is valid";
        match algorithm {
            Algorithm::Hs512 => {
                let mut secret = Zeroizing::new([0; HS512_SECRET]);
                rand::fill(secret.as_mut()).expect(WORKS);
                Self::hs512(secret.as_ref()).expect(VALID)
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(WORKS);
                let (x, y) = pair.public_key().as_ref()[1..].split_at(ELEMENT);
                let d = pair.private_key().as_be_bytes().expect(WORKS);
                Self::es256(x, y, Some(d.as_ref())).expect(VALID)
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate().expect(WORKS);
                let seed = pair.seed().and_then(|seed| seed.as_be_bytes()).expect(WORKS);
                Self::eddsa(pair.public_key().as_ref(), Some(seed.as_ref())).expect(VALID)
            }
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self.0 {
            Prepared::Hs512 { .. } => Algorithm::Hs512,
            Prepared::Es256 { .. } => Algorithm::Es256,
            Prepared::EdDsa { .. } => Algorithm::EdDsa,
        }
    }

    pub(super) fn can_sign(&self) -> bool {
        match &self.0 {
            Prepared::Hs512 { .. } => true,
            Prepared::Es256 { private, .. } => private.is_some(),
            Prepared::EdDsa { private, .. } => private.is_some(),
        }
    }

    /// The signature in the form of RFC 7518, section 3 and RFC 8037, section 3.1; 64 bytes for each algorithm.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Prepared::Hs512 { key, .. } => Some(hmac::sign(key, message).as_ref().to_vec()),
            Prepared::Es256 { private, .. } => {
                let (pair, _) = private.as_ref()?;
                let signature = pair.sign(&SystemRandom::new(), message).ok()?;
                Some(signature.as_ref().to_vec())
            }
            Prepared::EdDsa { private, .. } => {
                let (pair, _) = private.as_ref()?;
                Some(pair.try_sign(message).ok()?.as_ref().to_vec())
            }
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Prepared::Hs512 { key, .. } => {
                let tag = hmac::sign(key, message);
                constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok()
            }
            Prepared::Es256 { public, .. } | Prepared::EdDsa { public, .. } => {
                public.verify_sig(message, signature).is_ok()
            }
        }
    }

    /// The members of the JWK that anyone may see (RFC 7517, RFC 7518, RFC 8037); `None` for a symmetric key.
    pub(super) fn public_members(&self) -> Option<Vec<(&'static str, String)>> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.0 {
            Prepared::Hs512 { .. } => None,
            Prepared::Es256 { public, .. } => {
                let (x, y) = public.as_ref()[1..].split_at(ELEMENT);
                Some(vec![("kty", "EC".to_owned()), ("crv", "P-256".to_owned()), ("x", encode(x)), ("y", encode(y))])
            }
            Prepared::EdDsa { public, .. } => {
                Some(vec![("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", encode(public.as_ref()))])
            }
        }
    }

    /// All members of the JWK, the secret ones among them.
    pub(super) fn private_members(&self) -> Vec<(&'static str, String)> {
        let mut members = self.public_members().unwrap_or_default();
        match &self.0 {
            Prepared::Hs512 { secret, .. } => {
                members.push(("kty", "oct".to_owned()));
                members.push(("k", URL_SAFE_NO_PAD.encode(secret)));
            }
            Prepared::Es256 { private, .. } => {
                members.extend(private.as_ref().map(|(_, d)| ("d", URL_SAFE_NO_PAD.encode(d))));
            }
            Prepared::EdDsa { private, .. } => {
                members.extend(private.as_ref().map(|(_, d)| ("d", URL_SAFE_NO_PAD.encode(d))));
            }
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_only_that_key_verifies_and_only_unchanged() {
        for algorithm in Algorithm::ALL {
            let (key, other) = (Material::generate(algorithm), Material::generate(algorithm));
            let signature = key.sign(b"message").unwrap();
            assert_eq!(signature.len(), 64, "{algorithm}");
            assert!(key.verify(b"message", &signature), "{algorithm}");
            assert!(!key.verify(b"massage", &signature), "{algorithm}");
            assert!(!key.verify(b"message", &signature[..63]), "{algorithm}");
            assert!(!key.verify(b"message", b""), "{algorithm}");
            assert!(!other.verify(b"message", &signature), "{algorithm}");
        }
    }

    #[test]
    fn a_public_half_verifies_and_cannot_sign() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let public = Material::es256(x, y, None).unwrap();
        let signature = pair.sign(&SystemRandom::new(), b"message").unwrap();
        assert!(!public.can_sign() && public.sign(b"message").is_none());
        assert!(public.verify(b"message", signature.as_ref()));

        let pair = Ed25519KeyPair::generate().unwrap();
        let public = Material::eddsa(pair.public_key().as_ref(), None).unwrap();
        assert!(!public.can_sign() && public.sign(b"message").is_none());
        assert!(public.verify(b"message", pair.sign(b"message").as_ref()));
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        let (a, b) = ([7; 32], [9; 32]);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let edwards = Ed25519KeyPair::generate().unwrap();
        let cases = [
            ("short secret", Material::hs512(&[1; 63])),
            ("no secret", Material::hs512(&[])),
            ("not on the curve", Material::es256(&a, &b, None)),
            ("short coordinate", Material::es256(&x[1..], y, None)),
            ("another's scalar", Material::es256(x, y, Some(&a))),
            ("scalar zero", Material::es256(x, y, Some(&[0; 32]))),
            ("scalar too large", Material::es256(x, y, Some(&[0xff; 32]))),
            ("long scalar", Material::es256(x, y, Some(&[1; 33]))),
            ("short public key", Material::eddsa(&a[1..], None)),
            ("another's seed", Material::eddsa(edwards.public_key().as_ref(), Some(&a))),
            ("long seed", Material::eddsa(edwards.public_key().as_ref(), Some(&[1; 33]))),
        ];
        for (name, result) in cases {
            assert!(result.is_err(), "{name}");
        }
    }
}
