//! Tokens that are no good, by the hundred, for a ring with one key of each algorithm.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::algebra;
use crate::support::{Jwk, claims};

/// A token and why it is no good.
pub(super) struct Forged {
    pub(super) token: Vec<u8>,
    pub(super) why: String,
}

/// SubjectPublicKeyInfo of a P-256 key before its point, and of an Ed25519 key before its bytes (RFC 5480, RFC 8410).
const P256_SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn forged(token: impl AsRef<[u8]>, why: impl Into<String>) -> Forged {
    Forged { token: token.as_ref().to_vec(), why: why.into() }
}

/// A token whose claims would let anyone in, before its signature.
fn signed(header: &str) -> String {
    format!("{}.{}", encode(header), encode(claims("admin").to_string()))
}

/// No algorithm, in every spelling, with nothing, with somebody else's and with a random signature.
pub(super) fn unsigned(keys: &[Jwk; 3]) -> Vec<Forged> {
    let mut all = Vec::new();
    for spelling in 0..16_u32 {
        let letter = |(at, letter): (usize, char)| {
            if spelling >> at & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        };
        let alg: String = "none".chars().enumerate().map(letter).collect();
        for key in keys {
            let signed = signed(&json!({"alg": alg, "kid": key.kid()}).to_string());
            let genuine = key.token(&claims("admin"));
            let genuine = genuine.rsplit('.').next().expect("a signature");
            for signature in ["", genuine, &encode([7; 64])] {
                all.push(forged(format!("{signed}.{signature}"), format!("{alg} {}", key.kid())));
            }
            all.push(forged(&signed, format!("{alg}, two parts")));
        }
    }
    for alg in [json!(null), json!(""), json!(0), json!(["none"]), json!({"alg": "none"}), json!("none "), json!(false)]
    {
        all.push(forged(format!("{}.", signed(&json!({"alg": alg, "kid": "h"}).to_string())), format!("alg {alg}")));
    }
    all.push(forged(format!("{}.", signed(r#"{"kid":"h"}"#)), "no alg"));
    all.push(forged(format!("{}.", signed("{}")), "an empty header"));
    all
}

/// HMAC with what anyone knows of the public keys, and with nothing.
pub(super) fn confused(keys: &[Jwk; 3], published: &[u8]) -> Vec<Forged> {
    let [hs512, es256, eddsa] = keys;
    let point = [es256.bytes("x"), es256.bytes("y")].concat();
    let p256 = [STANDARD.decode(P256_SPKI).expect("base64")[..].to_vec(), point.clone()].concat();
    let ed25519 = [ED25519_SPKI.to_vec(), eddsa.bytes("x")].concat();
    let public = |key: &Jwk| key.clone().with(&json!({"d": null, "iat": null, "nbf": null})).0;
    let mut secrets: Vec<(String, Vec<u8>)> = vec![
        ("nothing".to_owned(), Vec::new()),
        ("a zero".to_owned(), vec![0]),
        ("64 zeros".to_owned(), vec![0; 64]),
        ("x||y".to_owned(), point.clone()),
        ("4||x||y".to_owned(), [vec![4], point].concat()),
        ("x of ES256".to_owned(), es256.bytes("x")),
        ("x of EdDSA".to_owned(), eddsa.bytes("x")),
        ("x of EdDSA as text".to_owned(), eddsa.0["x"].as_str().expect("text").into()),
        ("what is published".to_owned(), published.to_vec()),
        ("the kid".to_owned(), b"h".to_vec()),
    ];
    for (name, der) in [("ES256", p256), ("EdDSA", ed25519)] {
        for pem in pems(&der) {
            secrets.push((format!("PEM of {name}"), pem.into_bytes()));
        }
        secrets.push((format!("DER of {name}"), der));
    }
    for key in [es256, eddsa] {
        for text in [public(key).to_string(), format!("{:#}", public(key)), json!({"keys": [public(key)]}).to_string()]
        {
            secrets.push((format!("JWK of {}", key.kid()), text.into_bytes()));
        }
    }
    let mut all = Vec::new();
    let algorithms = [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)];
    for (name, secret) in &secrets {
        for (alg, algorithm) in algorithms {
            for key in [hs512, es256, eddsa] {
                // Once as it is called, once under the name of the key's own algorithm.
                for named in [alg, key.algorithm()] {
                    let signed = signed(&json!({"alg": named, "kid": key.kid()}).to_string());
                    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
                    let why = format!("{alg} with {name}, called {named}, for {}", key.kid());
                    all.push(forged(format!("{signed}.{}", encode(tag)), why));
                }
            }
        }
    }
    // Each key's own signature under the kid of another one, and under every name.
    for key in keys {
        for other in keys {
            for alg in ["HS256", "HS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "PS256", "ES256K"] {
                if (key.kid(), key.algorithm()) != (other.kid(), alg) {
                    let header = json!({"alg": alg, "kid": other.kid()}).to_string();
                    let token = key.sign(&header, &claims("admin").to_string());
                    all.push(forged(token, format!("{}'s signature as {alg} for {}", key.kid(), other.kid())));
                }
            }
        }
    }
    all
}

fn pems(der: &[u8]) -> [String; 4] {
    let base64 = STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64")).collect();
    let pem = |end: &str| format!("-----BEGIN PUBLIC KEY-----{end}{}{end}-----END PUBLIC KEY-----", lines.join(end));
    [pem("\n"), pem("\n") + "\n", pem("\r\n") + "\r\n", lines.concat()]
}

/// Headers that bring a key of their own, or say where one is.
pub(super) fn embedded(keys: &[Jwk; 3], elsewhere: &str) -> Vec<Forged> {
    let mut all = Vec::new();
    for key in keys {
        let own = Jwk::fresh(key.algorithm(), "mine");
        let jwk = own.0.clone();
        let public = own.clone().with(&json!({"d": null, "kid": key.kid()})).0;
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let x5c = STANDARD.encode(certificate.cert.der());
        for extra in [
            json!({"jwk": public}),
            json!({"jwk": jwk, "kid": "mine"}),
            json!({"jwk": jwk, "kid": null}),
            json!({"jku": elsewhere}),
            json!({"jku": elsewhere, "kid": "mine"}),
            json!({"x5u": elsewhere}),
            json!({"x5c": [x5c], "x5t": "AAAA", "x5t#S256": "AAAA"}),
            json!({"jwk": jwk, "jku": elsewhere, "x5u": elsewhere, "x5c": [x5c], "typ": "JWT"}),
            json!({"iss": elsewhere, "kid": format!("{elsewhere}#mine")}),
        ] {
            let mut header = key.header();
            for (name, value) in extra.as_object().expect("members") {
                header[name.as_str()] = value.clone();
            }
            let token = own.sign(&header.to_string(), &claims("admin").to_string());
            all.push(forged(token, format!("{} with {extra}", key.algorithm())));
        }
    }
    all
}

/// Names of keys that are none, signed with what a careless reader would find under them.
pub(super) fn named() -> Vec<Forged> {
    let long = "k".repeat(9000);
    let mut all = Vec::new();
    for kid in [
        json!("../../dev/null"),
        json!("/dev/null"),
        json!("../../../../../../proc/self/environ"),
        json!("keys.jwks"),
        json!("h/../h"),
        json!("h' OR '1'='1"),
        json!("x' UNION SELECT 'AAAA' -- "),
        json!("h; cat /etc/passwd"),
        json!("$(id)"),
        json!("{{7*7}}"),
        json!("${jndi:ldap://127.0.0.1/a}"),
        json!("h\0"),
        json!("\0"),
        json!("h\n"),
        json!(" h"),
        json!("H"),
        json!("\u{2028}"),
        json!("ｈ"),
        json!("__proto__"),
        json!(""),
        json!(long),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(null),
        json!(["h"]),
        json!({"kid": "h"}),
        json!([]),
    ] {
        for secret in [&b""[..], b"AAAA", &[0; 64]] {
            let signed = signed(&json!({"alg": "HS512", "kid": kid}).to_string());
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, secret), signed.as_bytes());
            let why: String = format!("kid {kid}").chars().take(60).collect();
            all.push(forged(format!("{signed}.{}", encode(tag)), why));
        }
    }
    all
}

/// Signatures that a lax library takes.
pub(super) fn degenerate(keys: &[Jwk; 3]) -> Vec<Forged> {
    let mut all = Vec::new();
    let [_, es256, eddsa] = keys;
    let head = |key: &Jwk| signed(&key.header().to_string());
    let order = algebra::P256_ORDER;
    let (mut one, mut over, mut under) = ([0; 32], order, order);
    one[31] = 1;
    over[31] += 1;
    under[31] -= 1;
    let edges = [("0", [0; 32]), ("1", one), ("n-1", under), ("n", order), ("n+1", over), ("2^256-1", [0xff; 32])];
    for (r_name, r) in edges {
        for (s_name, s) in edges {
            let signature = encode([r, s].concat());
            all.push(forged(format!("{}.{signature}", head(es256)), format!("r={r_name}, s={s_name}")));
        }
    }
    let genuine = es256.token(&claims("admin"));
    let (part, signature) = genuine.rsplit_once('.').expect("a signature");
    let raw = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    for (bytes, why) in [
        (algebra::der(&raw), "DER"),
        ([raw[32..].to_vec(), raw[..32].to_vec()].concat(), "s before r"),
        ([vec![0], raw[..32].to_vec(), vec![0], raw[32..].to_vec()].concat(), "33 bytes each"),
        (raw[..32].to_vec(), "r alone"),
        ([raw.clone(), raw.clone()].concat(), "twice"),
        (raw.iter().rev().copied().collect(), "little-endian"),
    ] {
        all.push(forged(format!("{part}.{}", encode(bytes)), format!("ES256: {why}")));
    }
    // Another curve point under the same numbers: a fresh pair has signed.
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    all.push(forged(format!("{part}.{}", encode(&other.public_key().as_ref()[1..])), "ES256: a public key"));

    let genuine = eddsa.token(&claims("admin"));
    let (part, signature) = genuine.rsplit_once('.').expect("a signature");
    let raw = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let mut with_order = raw.clone();
    let moved = algebra::plus_ed25519_order(&raw[32..]);
    with_order[32..].copy_from_slice(&moved);
    all.push(forged(format!("{part}.{}", encode(with_order)), "EdDSA: S + L"));
    for point in algebra::small_order_points() {
        for s in [[0; 32], one] {
            let signature = encode([point, s].concat());
            all.push(forged(format!("{}.{signature}", head(eddsa)), "EdDSA: a point of small order"));
        }
        let signature = encode([&point[..], &raw[32..]].concat());
        all.push(forged(format!("{part}.{signature}"), "EdDSA: R of small order"));
    }
    for key in keys {
        for bytes in [&[0; 64][..], &[0xff; 64], &[0; 63], &[0; 65], &[0; 32], &[0; 1], &[0; 4096]] {
            let signature = encode(bytes);
            all.push(forged(
                format!("{}.{signature}", head(key)),
                format!("{}: {} equal bytes", key.algorithm(), bytes.len()),
            ));
        }
    }
    all
}

/// A genuine token with one character replaced, at every place.
pub(super) fn changed(key: &Jwk, every: usize) -> Vec<Forged> {
    let good = key.token(&claims("admin")).into_bytes();
    let change = |at: usize| {
        [b'A', b'_', b'.', b'=', b'+', b' '].into_iter().filter_map({
            let good = good.clone();
            move |byte| {
                let mut token = good.clone();
                token[at] = byte;
                (token != good).then(|| forged(token, format!("{byte} at {at}")))
            }
        })
    };
    // A space at its end is none of the token.
    (0..good.len() - 1).step_by(every).flat_map(change).collect()
}
