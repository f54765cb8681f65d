//! Genuine signatures over what is no token: other forms, other spellings, claims that are none.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::forged::{Forged, encode, forged};
use crate::support::{Jwk, claims, now};

/// Genuine signatures over headers and forms that are none of a plain compact token.
pub(super) fn forms(keys: &[Jwk; 3]) -> Vec<Forged> {
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
