//! Keys that anyone may know (RFC 7517, appendix A; RFC 8037, appendix A), for tokens that inputs only describe.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::json;
use vestibule::auth::keys::KeyRing;
use vestibule::store::keys_document;

const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const EC_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const EC_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
const EC_D: &str = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE";
const SECRET: [u8; 64] = [0x5a; 64];

/// When the key `h` is over; the others are without an end.
pub(crate) const H_EXP: u64 = 2_000_000;

/// `h` is HS512, `e` ES256, `o` EdDSA.
pub(crate) fn ring() -> KeyRing {
    let document = json!({"keys": [
        {"kid": "h", "alg": "HS512", "use": "sig", "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "iat": 0, "nbf": 0, "exp": H_EXP},
        {"kid": "e", "alg": "ES256", "use": "sig", "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "d": EC_D, "iat": 1, "nbf": 1},
        {"kid": "o", "alg": "EdDSA", "use": "sig", "kty": "OKP", "crv": "Ed25519", "x": ED_X, "d": ED_D, "iat": 2, "nbf": 2},
    ]});
    keys_document::parse(document.to_string().as_bytes()).expect("it is a ring").ring
}

/// A signature with the key of that name, whatever is signed.
pub(crate) fn sign(kid: &str, message: &[u8]) -> Option<Vec<u8>> {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("constants are base64url");
    match kid {
        "h" => Some(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, &SECRET), message).as_ref().to_vec()),
        "e" => {
            let public = [&[4][..], &bytes(EC_X), &bytes(EC_Y)].concat();
            let key =
                EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes(EC_D), &public);
            let signature = key.expect("a pair").sign(&SystemRandom::new(), message);
            Some(signature.expect("signing works").as_ref().to_vec())
        }
        "o" => {
            let key = Ed25519KeyPair::from_seed_and_public_key(&bytes(ED_D), &bytes(ED_X)).expect("a pair");
            Some(key.sign(message).as_ref().to_vec())
        }
        _ => None,
    }
}

/// Another implementation's view of the same keys.
pub(crate) fn oracle(kid: &str) -> Option<(Algorithm, DecodingKey)> {
    match kid {
        "h" => Some((Algorithm::HS512, DecodingKey::from_secret(&SECRET))),
        "e" => Some((Algorithm::ES256, DecodingKey::from_ec_components(EC_X, EC_Y).expect("a point"))),
        "o" => Some((Algorithm::EdDSA, DecodingKey::from_ed_components(ED_X).expect("a point"))),
        _ => None,
    }
}
