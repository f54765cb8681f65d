//! Tokens that are no good, by the hundred, for a ring with one key of each algorithm.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::algebra;
use crate::support::{Jwk, claims, now};

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

fn forged(token: impl AsRef<[u8]>, why: impl Into<String>) -> Forged {
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

/// Genuine signatures over headers and forms that are none of a plain compact token.
pub(super) fn misshapen(keys: &[Jwk; 3]) -> Vec<Forged> {
    let mut all = Vec::new();
    let payload = claims("admin").to_string();
    for key in keys {
        let (alg, kid) = (key.algorithm(), key.kid());
        let nested = key.token(&claims("admin"));
        let head = |rest: &str| format!(r#"{{"alg":"{alg}","kid":"{kid}"{rest}}}"#);
        for header in [
            head(r#","crit":["exp"],"exp":1"#),
            head(r#","crit":[]"#),
            head(r#","crit":null"#),
            head(r#","b64":false,"crit":["b64"]"#),
            head(r#","b64":false"#),
            head(r#","zip":"DEF""#),
            head(r#","cty":"JWT""#),
            head(r#","typ":"JWE""#),
            head(r#","typ":1"#),
            head(&format!(r#","kid":"{kid}""#)),
            head(r#","alg":"none""#),
            format!(r#"{{"alg":"none","alg":"{alg}","kid":"{kid}"}}"#),
            format!(r#"{{"\u0061lg":"none","alg":"{alg}","kid":"{kid}"}}"#),
            head(r#","x":"\ud800""#),
            head(r#","x":1e400"#),
            head(&format!(r#","x":{}{}"#, "[".repeat(2000), "]".repeat(2000))),
            format!("\u{feff}{}", head("")),
            head("") + "x",
            head("") + "\0",
            format!("[{}]", head("")),
            format!("\"{kid}\""),
            String::new(),
        ] {
            let why: String = format!("{alg} header {header:?}").chars().take(80).collect();
            all.push(forged(key.sign(&header, &payload), why));
        }
        all.push(forged(key.sign(&head(r#","cty":"JWT""#), &nested), "nested, and said so"));
        all.push(forged(key.sign(&head(""), &nested), "nested"));
        // An unencoded payload is signed as it stands (RFC 7797, section 5.2).
        let [header, body, signature]: [&str; 3] = nested.split('.').collect::<Vec<_>>().try_into().expect("three");
        let flat = json!({"payload": body, "protected": header, "signature": signature});
        let general = json!({"payload": body, "signatures": [{"protected": header, "signature": signature}]});
        let open = json!({"payload": body, "header": key.header(), "signature": signature});
        for json in [flat, general, open] {
            all.push(forged(json.to_string(), "JSON serialisation"));
            all.push(forged(encode(json.to_string()), "JSON serialisation, encoded"));
        }
        all.push(forged(format!("{header}..{signature}"), "a detached payload"));
        all.push(forged(format!(".{body}.{signature}"), "no header"));
        all.push(forged(format!("{header}.{body}."), "no signature"));
        for (token, why) in spellings(header, body, signature) {
            all.push(forged(token, format!("{alg} {why}")));
        }
    }
    for header in [
        json!({"alg": "dir", "enc": "A256GCM", "kid": "h"}),
        json!({"alg": "RSA-OAEP", "enc": "A128CBC-HS256", "kid": "h"}),
        json!({"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2_147_483_647, "p2s": "AAAA", "kid": "h"}),
        json!({"alg": "ECDH-ES", "enc": "A256GCM", "epk": keys[1].0["x"], "kid": "e"}),
        json!({"alg": "dir", "enc": "A256GCM", "zip": "DEF", "kid": "h"}),
    ] {
        let parts = [encode(header.to_string()), encode([1; 32]), encode([2; 12]), encode([3; 99]), encode([4; 16])];
        all.push(forged(parts.join("."), "encrypted"));
        all.push(forged(format!("{}..{}..{}", parts[0], parts[2], parts[4]), "encrypted, with empty parts"));
    }
    for (token, why) in
        [("", "nothing"), (".", "a dot"), ("..", "dots"), ("....", "four dots"), ("undefined", "a word")]
    {
        all.push(forged(token, why));
    }
    all.push(forged("a".repeat(16 * 1024), "16 KiB"));
    all.push(forged("a.".repeat(8 * 1024), "8,192 parts"));
    all.push(forged("a".repeat(20 * 1024), "20 KiB"));
    all
}

/// The same parts, spelled otherwise.
fn spellings(header: &str, body: &str, signature: &str) -> Vec<(Vec<u8>, &'static str)> {
    let whole = format!("{header}.{body}.{signature}");
    // The last character of 64 bytes carries two bits that mean nothing: 86 characters are 516 bits and not 512.
    let last = signature.chars().last().expect("a signature");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).expect("base64url") | 1).expect("not the last one");
    let standard = STANDARD.encode(URL_SAFE_NO_PAD.decode(signature).expect("base64url"));
    let mut all: Vec<(String, &str)> = vec![
        (format!("{header}.{body}.{}{next}", &signature[..signature.len() - 1]), "stray bits"),
        (format!("{header}.{body}.{standard}"), "standard base64 with padding"),
        (format!("{whole}="), "padding"),
        (format!("{whole}=="), "padding of two"),
        (format!("{header}==.{body}.{signature}"), "a padded header"),
        (format!("{header}.{body}=.{signature}"), "a padded payload"),
        (format!("{whole}."), "a dot at the end"),
        (format!(".{whole}"), "a dot before"),
        (format!("{header} .{body}.{signature}"), "a space"),
        (format!("{header}.\t{body}.{signature}"), "a tab"),
        (format!("\"{whole}\""), "quotes"),
        (format!("{whole},{whole}"), "a list"),
        (format!("{whole}, Bearer {whole}"), "a list with schemes"),
        (format!("{whole} {whole}"), "twice"),
        (format!("Bearer {whole}"), "the scheme twice"),
        (whole.replace('.', "%2E"), "escapes"),
        (format!("{whole};x=1"), "a parameter"),
        (format!("{whole}#x"), "a fragment"),
        (whole.to_uppercase(), "capitals"),
    ];
    if standard.contains(['+', '/']) {
        all.push((format!("{header}.{body}.{}", standard.trim_end_matches('=')), "standard base64"));
    }
    let mut all: Vec<_> = all.into_iter().map(|(token, why)| (token.into_bytes(), why)).collect();
    all.push(([b"\xef\xbb\xbf", whole.as_bytes()].concat(), "a byte order mark"));
    all.push(([whole.as_bytes(), b"\xff"].concat(), "bytes that are no text"));
    all
}

/// Genuine signatures over claims that are none.
pub(super) fn misclaimed(keys: &[Jwk; 3]) -> Vec<Forged> {
    let good = claims("admin");
    let text = good.to_string();
    let with = |name: &str, value: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        let rest = claims.to_string();
        format!("{},\"{name}\":{value}}}", &rest[..rest.len() - 1])
    };
    let mut payloads: Vec<(String, String)> = Vec::new();
    for name in ["exp", "iat", "auth_time"] {
        for value in [
            "1e400",
            "-1e400",
            "1e18",
            "18446744073709551616",
            "-0",
            "-1",
            "0.0",
            "1.0",
            "4102444800.0",
            "4102444800.5",
            "4.1024448e9",
            "\"4102444800\"",
            "null",
            "true",
            "[4102444800]",
            "{}",
            "NaN",
            "Infinity",
            "0x7fffffff",
            "07",
            "+1",
            "99999999999999999999999999999999999999",
            "\"\"",
        ] {
            payloads.push((with(name, value), format!("{name} {value}")));
        }
    }
    for value in ["0", "1", &now().to_string()] {
        payloads.push((with("exp", value), format!("exp {value}")));
    }
    // No time is too far off for `nbf` to be looked at.
    for value in ["9223372036854775807", "9223372036854775808", "18446744073709551615", "\"x\"", "null", "1.0"] {
        payloads.push((with("nbf", value), format!("nbf {value}")));
    }
    for value in [
        r#""admin\u0000""#,
        r#""\u0000admin""#,
        r#""admin ""#,
        r#""Admin""#,
        r#""ａdmin""#,
        r#""admin\n""#,
        r#""""#,
        "0",
        "null",
        r#"["admin"]"#,
        r#"{"$ne":null}"#,
        r#""*""#,
        r#""../admin""#,
        r#""\ud800""#,
        r#""admin' OR '1'='1""#,
    ] {
        payloads.push((with("sub", value), format!("sub {value}")));
    }
    for (name, value) in [
        ("iss", r#""vestibule ""#),
        ("iss", r#""Vestibule""#),
        ("iss", r#"["vestibule"]"#),
        ("iss", "null"),
        ("aud", r#""app""#),
        ("aud", r#"[""]"#),
        ("aud", "null"),
        ("aud", "{}"),
        ("groups", "null"),
        ("groups", "\"x\""),
        ("groups", "[0]"),
        ("cred", "null"),
        ("cred", "\"\""),
        ("cred", "\"AAAAAAAAAAAAAAAA\""),
        ("cred", "[]"),
        ("jti", "\"\""),
        ("jti", "null"),
        ("jti", "1"),
        // Twice, in every order and spelling: the other one stands already.
    ] {
        payloads.push((with(name, value), format!("{name} {value}")));
    }
    for twice in [r#"{"sub":"two","#, r#"{"exp":1,"#, r#"{"groups":[],"#, r#"{"\u0073ub":"two","#, r#"{"x":1,"x":1,"#] {
        payloads.push((format!("{twice}{}", &text[1..]), format!("twice: {twice}")));
    }
    for name in ["exp", "iat", "sub", "jti", "iss", "auth_time"] {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        payloads.push((claims.to_string(), format!("no {name}")));
    }
    let deep = |open: &str, close: &str, levels: usize| {
        with("x", &format!("{}1{}", open.repeat(levels), close.repeat(levels)))
    };
    for (payload, why) in [
        (deep("[", "]", 5000), "5,000 levels of lists"),
        (deep("{\"a\":", "}", 1500), "1,500 levels of objects"),
        ("[".repeat(10_000), "10,000 levels without an end"),
        (format!("[{text}]"), "a list"),
        (format!("\u{feff}{text}"), "a byte order mark"),
        (format!("{text}{text}"), "two objects"),
        (format!("{text}\0"), "a NUL at the end"),
        (text.replace(':', ":\u{b}"), "odd white space"),
        (text.replace('"', "'"), "single quotes"),
        (format!("{}, }}", &text[..text.len() - 1]), "a comma at the end"),
        (format!("{text}//"), "a comment"),
        (String::new(), "nothing"),
        ("null".to_owned(), "null"),
        ("{}".to_owned(), "no claims"),
    ] {
        payloads.push((payload, why.to_owned()));
    }
    let mut all = Vec::new();
    for (number, (payload, why)) in payloads.iter().enumerate() {
        // The claims are judged alike whoever signed: each key takes its turn.
        let key = &keys[number % keys.len()];
        all.push(forged(key.sign(&key.header().to_string(), payload), why.as_str()));
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
