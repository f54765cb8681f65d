//! Tokens that verify and, above all, tokens that must not.

use jsonwebtoken as oracle;

use super::super::keys::{Algorithm, Material};
use super::*;

const NOW: u64 = 1_000_000;

fn claims() -> Claims {
    Claims {
        jti: "9f0c5b52-7f1c-4d5e-9a53-0a6a3f3f8f10".to_owned(),
        iat: NOW,
        sub: "apiUser".to_owned(),
        iss: "vestibule".to_owned(),
        exp: NOW + 300,
        auth_time: NOW,
        groups: vec!["Administrator".to_owned()],
        cred: Some("AAAAAAAAAAAAAAAA".to_owned()),
        aud: Vec::new(),
    }
}

fn ring() -> KeyRing {
    let keys = Algorithm::ALL.map(|algorithm| Key::generate(algorithm, algorithm.as_str(), 0, 0));
    KeyRing::new(keys.to_vec()).unwrap()
}

fn expected() -> Expected {
    Expected { issuer: "vestibule".to_owned(), audience: None }
}

fn judge(token: &str, ring: &KeyRing) -> Result<Claims, TokenError> {
    verify(token, ring, NOW, &expected()).map(|verified| verified.claims)
}

/// A token with any header and payload, really signed with `key`.
fn signed(key: &Key, header: &str, payload: &str) -> String {
    let token = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = key.sign(token.as_bytes()).unwrap();
    format!("{token}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn what_is_minted_verifies_and_has_the_header_that_is_promised() {
    let ring = ring();
    for key in ring.keys() {
        let token = mint(key, &claims()).unwrap();
        assert_eq!(judge(&token, &ring), Ok(claims()));
        let header = decode_unverified(&token).unwrap().header;
        let header = header.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let alg = key.algorithm().as_str();
        assert!(header.eq([("alg", alg), ("kid", &**key.kid())]));
    }
}

#[test]
fn another_implementation_reads_our_tokens_and_we_read_its() {
    for key in ring().keys() {
        let jwk: oracle::jwk::Jwk = serde_json::from_value(Value::Object(key.private_jwk())).unwrap();
        let algorithm = match key.algorithm() {
            Algorithm::Hs512 => oracle::Algorithm::HS512,
            Algorithm::Es256 => oracle::Algorithm::ES256,
            Algorithm::EdDsa => oracle::Algorithm::EdDSA,
        };
        let mut validation = oracle::Validation::new(algorithm);
        validation.validate_exp = false;
        let decoding = oracle::DecodingKey::from_jwk(&jwk).unwrap();
        let token = mint(key, &claims()).unwrap();
        let read = oracle::decode::<Value>(&token, &decoding, &validation).unwrap();
        assert_eq!(read.claims, serde_json::to_value(claims()).unwrap());
    }

    let secret = [7; 64];
    let mut header = oracle::Header::new(oracle::Algorithm::HS512);
    header.kid = Some("shared".to_owned());
    let encoding = oracle::EncodingKey::from_secret(&secret);
    let token = oracle::encode(&header, &claims(), &encoding).unwrap();
    let key = Key::new("shared", Material::hs512(&secret).unwrap(), 0, 0);
    assert_eq!(judge(&token, &KeyRing::new(vec![key]).unwrap()), Ok(claims()));
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    let ring = ring();
    for key in ring.keys() {
        let token = mint(key, &claims()).unwrap();
        for at in 0..token.len() {
            for other in ['A', 'x', '-', '.', '=', '\n'] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
                assert!(changed == token || judge(&changed, &ring).is_err(), "{at} {other:?}");
            }
            assert!(judge(&token[..at], &ring).is_err(), "cut at {at}");
        }
        for wrong in [format!("{token}A"), format!("{token}="), format!(" {token}"), format!("{token}.")] {
            assert!(judge(&wrong, &ring).is_err(), "{wrong:?}");
        }
    }
}

#[test]
fn the_header_is_read_strictly() {
    let ring = ring();
    let key = ring.find("HS512").unwrap();
    let payload = claims().to_json();
    for (header, error) in [
        (r#"{"alg":"HS512","kid":"HS512"}"#, None),
        (r#"{ "kid":"HS512", "alg":"HS512", "typ":"JWT" }"#, None),
        (r#"{"alg":"HS512","kid":"HS512","typ":"jwt"}"#, None),
        (r#"{"alg":"HS512","kid":"HS512","typ":"AT+JWT","x":1}"#, None),
        (r#"{"alg":"HS512","kid":"HS512","jwk":{"kty":"oct","k":"AA"}}"#, None),
        (r#"{"alg":"HS512","kid":"HS512","typ":"JWE"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"HS512","typ":null}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"HS512","crit":["exp"]}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"HS512","crit":[]}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"HS512","b64":true}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"HS512","cty":"JWT"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"HS512","zip":"DEF"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"HS512","kid":"HS512"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","alg":"none","kid":"HS512"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"HS512","x":1,"x":1}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512"}"#, Some(TokenError::Malformed)),
        (r#"{"kid":"HS512"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":["HS512"],"kid":"HS512"}"#, Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":5}"#, Some(TokenError::Malformed)),
        (r#"["HS512"]"#, Some(TokenError::Malformed)),
        ("", Some(TokenError::Malformed)),
        (r#"{"alg":"HS512","kid":"hs512"}"#, Some(TokenError::UnknownKey)),
        (r#"{"alg":"HS512","kid":""}"#, Some(TokenError::UnknownKey)),
        (r#"{"alg":"none","kid":"HS512"}"#, Some(TokenError::BadSignature)),
        (r#"{"alg":"HS256","kid":"HS512"}"#, Some(TokenError::BadSignature)),
        (r#"{"alg":"hs512","kid":"HS512"}"#, Some(TokenError::BadSignature)),
        (r#"{"alg":"ES256","kid":"HS512"}"#, Some(TokenError::BadSignature)),
        (r#"{"alg":"HS512","kid":"ES256"}"#, Some(TokenError::BadSignature)),
        (r#"{"alg":"ES256","kid":"ES256"}"#, Some(TokenError::BadSignature)),
    ] {
        let found = judge(&signed(key, header, &payload), &ring).err();
        assert_eq!(found, error, "{header}");
    }
}

#[test]
fn the_public_half_of_a_key_is_no_hmac_secret() {
    let ring = ring();
    for kid in ["ES256", "EdDSA"] {
        let jwk = ring.find(kid).unwrap().private_jwk();
        let part = |name: &str| jwk.get(name).map_or(Vec::new(), |x| decode(x.as_str().unwrap()).unwrap());
        let public = [vec![4], part("x"), part("y")].concat();
        for secret in [public.as_slice(), ring.public_jwks(NOW).unwrap().as_bytes()] {
            let mut secret = secret.to_vec();
            secret.resize(secret.len().max(64), 0);
            let forger = Key::new(kid, Material::hs512(&secret).unwrap(), 0, 0);
            let token = mint(&forger, &claims()).unwrap();
            assert_eq!(judge(&token, &ring), Err(TokenError::BadSignature));
        }
    }
}

#[test]
fn the_claims_count_only_after_the_signature_and_then_strictly() {
    let ring = ring();
    let key = ring.find("EdDSA").unwrap();
    let header = r#"{"alg":"EdDSA","kid":"EdDSA"}"#;
    for payload in ["", "{}", "null", r#"{"sub":"a","exp":99999999999}"#] {
        let token = signed(key, header, payload);
        assert_eq!(judge(&token, &ring), Err(TokenError::BadClaims), "{payload}");
        let forged = format!("{}.AAAA", token.rsplit_once('.').unwrap().0);
        assert_eq!(judge(&forged, &ring), Err(TokenError::BadSignature), "{payload}");
    }
    let floats = claims().to_json().replace(&(NOW + 300).to_string(), "1000300.0");
    assert_eq!(judge(&signed(key, header, &floats), &ring), Err(TokenError::BadClaims));
}

#[test]
fn a_token_is_over_at_exp_and_with_its_key() {
    let ring = ring();
    let token = mint(ring.find("HS512").unwrap(), &claims()).unwrap();
    let at = |ring: &KeyRing, now| verify(&token, ring, now, &expected()).err();
    assert_eq!(at(&ring, NOW + 299), None);
    assert_eq!(at(&ring, NOW + 300), Some(TokenError::Expired));
    assert_eq!(at(&ring, u64::MAX), Some(TokenError::Expired));

    let over = ring.find("HS512").unwrap().clone().with_exp(Some(NOW + 100));
    let over = KeyRing::new(vec![over]).unwrap();
    assert_eq!(at(&over, NOW + 99), None);
    assert_eq!(at(&over, NOW + 100), Some(TokenError::UnknownKey));

    let pending = ring.find("HS512").unwrap().clone().with_nbf(NOW + 500);
    assert_eq!(at(&KeyRing::new(vec![pending]).unwrap(), NOW), None, "a pending key verifies");
}

#[test]
fn issuer_and_audience_are_the_ones_expected() {
    let ring = ring();
    let key = ring.find("HS512").unwrap();
    let check = |aud: &[&str], audience: Option<&str>| {
        let aud = aud.iter().map(|&aud| aud.to_owned()).collect();
        let token = mint(key, &Claims { aud, ..claims() }).unwrap();
        let expected = Expected { audience: audience.map(str::to_owned), ..expected() };
        verify(&token, &ring, NOW, &expected).err()
    };
    assert_eq!(check(&[], None), None);
    assert_eq!(check(&["app"], Some("app")), None);
    assert_eq!(check(&["other", "app"], Some("app")), None);
    assert_eq!(check(&[], Some("app")), Some(TokenError::WrongAudience));
    assert_eq!(check(&["App"], Some("app")), Some(TokenError::WrongAudience));
    assert_eq!(check(&["app"], None), Some(TokenError::WrongAudience), "meant for someone else");

    let iss = "Vestibule".to_owned();
    let token = mint(key, &Claims { iss, ..claims() }).unwrap();
    assert_eq!(judge(&token, &ring), Err(TokenError::WrongIssuer));
}

#[test]
fn a_token_has_a_bound_and_three_segments() {
    let ring = ring();
    let key = ring.find("HS512").unwrap();
    let token = |length: usize| {
        let mut claims = claims();
        claims.groups = vec!["g".repeat(length)];
        mint(key, &claims).unwrap()
    };
    let fits = |token: &String| token.len() <= MAX_TOKEN;
    let first_too_long = (11_000..13_000).find(|&length| !fits(&token(length))).unwrap();
    assert!(judge(&token(first_too_long - 1), &ring).is_ok());
    let error = judge(&token(first_too_long), &ring).err();
    assert_eq!(error, Some(TokenError::Malformed));
    for text in ["", ".", "..", "...", "a.b", "a.b.c.d", "é.é.é", "\0.\0.\0"] {
        assert_eq!(judge(text, &ring), Err(TokenError::Malformed), "{text:?}");
        assert_eq!(decode_unverified(text), Err(TokenError::Malformed), "{text:?}");
        assert!(!names_absent_key(text, &ring), "{text:?}");
    }
}

#[test]
fn only_a_kid_that_the_ring_has_never_heard_of_is_worth_reading_again() {
    let ring = ring();
    let stranger = Key::generate(Algorithm::Hs512, "stranger", 0, 0);
    let token = mint(&stranger, &claims()).unwrap();
    assert_eq!(judge(&token, &ring), Err(TokenError::UnknownKey));
    assert!(names_absent_key(&token, &ring));
    let over = KeyRing::new(vec![stranger.with_exp(Some(1))]).unwrap();
    assert_eq!(judge(&token, &over), Err(TokenError::UnknownKey));
    assert!(!names_absent_key(&token, &over));
}

#[test]
fn a_public_half_mints_nothing() {
    let jwk = Key::fresh(Algorithm::EdDsa, 0, 0).private_jwk();
    let x = decode(jwk["x"].as_str().unwrap()).unwrap();
    let key = Key::new("public", Material::eddsa(&x, None).unwrap(), 0, 0);
    assert_eq!(mint(&key, &claims()), Err(CannotSign));
}
