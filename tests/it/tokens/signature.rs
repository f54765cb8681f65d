//! The form of a token, its key and its signature.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{assert_invalid, assert_unauthorized, with_key};
use crate::support::*;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn what_is_no_compact_jws_is_malformed() {
    let (app, vestibule, key) = with_key("HS512", "{}").await;
    let good = key.token(&claims("admin"));
    let [header, payload, signature]: [&str; 3] =
        good.split('.').collect::<Vec<_>>().try_into().expect("three segments");
    let with_header = |text: &str| key.sign(text, &claims("admin").to_string());
    let mut connection = vestibule.client().connect().await;
    for (token, why) in [
        (String::new(), "empty"),
        (".".to_owned(), "a dot"),
        ("..".to_owned(), "two dots"),
        ("garbage".to_owned(), "one segment"),
        (format!("{header}.{payload}"), "no signature"),
        (format!("{good}."), "a fourth segment"),
        (format!("{header}.{payload}.{signature}.x"), "five"),
        (format!("{good}=="), "padding"),
        (format!("{header}.{payload}.{signature} x"), "a second word"),
        (format!("{good}, {good}"), "a list"),
        (format!("!{good}"), "no base64url"),
        (good.replace('.', "%2e"), "escapes"),
        (format!("{}.{payload}.{signature}", encode("no JSON")), "a header that is none"),
        (with_header("[]"), "a list for a header"),
        (with_header("{\"alg\":\"HS512\"}"), "no kid"),
        (with_header("{\"alg\":\"HS512\",\"kid\":null}"), "a kid that is null"),
        (with_header("{\"alg\":\"HS512\",\"kid\":1}"), "a kid that is a number"),
        (with_header("{\"kid\":\"k1\"}"), "no alg"),
        (with_header("{\"alg\":\"HS512\",\"kid\":\"k2\",\"kid\":\"k1\"}"), "two kids"),
        (
            with_header("{\"alg\":\"HS512\",\"kid\":\"k1\",\"crit\":[\"x\"],\"x\":1}"),
            "an extension that must be understood",
        ),
        (with_header("{\"alg\":\"HS512\",\"kid\":\"k1\",\"b64\":false}"), "an unencoded payload"),
        (with_header("{\"alg\":\"HS512\",\"kid\":\"k1\",\"typ\":\"JOSE\"}"), "another type"),
        ("a".repeat(16 * 1024), "16 KiB of garbage"),
    ] {
        let answer = connection.send(get("/").bearer(&token)).await;
        assert_invalid(&answer, "malformed", why);
    }
    let no_text = connection.send(get("/").header("authorization", b"Bearer \xff\xfe")).await;
    assert_invalid(&no_text, "malformed", "bytes that are no text");
    let alone = connection.send(get("/").header("authorization", "Bearer")).await;
    assert_invalid(&alone, "malformed", "the scheme alone");
    assert_eq!(connection.send(get("/").bearer(&good)).await.status, 200, "the connection goes on");
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn a_token_is_at_most_16_kib_and_is_looked_at_up_to_there() {
    let (_app, vestibule, key) = with_key("HS512", "{}").await;
    let of_length = |length: usize| {
        let sized = |padding: usize| {
            let mut claims = claims("admin");
            claims["padding"] = json!("x".repeat(padding));
            key.token(&claims)
        };
        let mut padding = (length - sized(0).len()) * 3 / 4;
        while sized(padding).len() < length {
            padding += 1;
        }
        sized(padding)
    };
    let (fits, over) = (of_length(16 * 1024 - 2), of_length(16 * 1024 + 1));
    assert!(fits.len() <= 16 * 1024 && over.len() > 16 * 1024, "{} {}", fits.len(), over.len());
    assert_eq!(vestibule.client().send(get("/").bearer(&fits)).await.status, 200);
    assert_invalid(&vestibule.client().send(get("/").bearer(&over)).await, "malformed", "over 16 KiB");
}

#[tokio::test]
async fn a_signature_must_be_the_keys_own_with_its_own_algorithm() {
    for algorithm in ["HS512", "ES256", "EdDSA"] {
        let (app, vestibule, key) = with_key(algorithm, "{}").await;
        let good = key.token(&claims("admin"));
        let (signed, signature) = good.rsplit_once('.').expect("a signature");
        let (header, payload) = signed.split_once('.').expect("a payload");
        let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let flipped = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            format!("{signed}.{}", encode(bytes))
        };
        let named = |alg: &str| key.sign(&json!({"alg": alg, "kid": "k1"}).to_string(), &claims("admin").to_string());
        let unsigned = |alg: &str| {
            let header = encode(json!({"alg": alg, "kid": "k1"}).to_string());
            format!("{header}.{payload}.")
        };
        // What an attacker has: the public half, and a verifier that believes the header.
        let public: Vec<u8> = match algorithm {
            "HS512" => b"k1".to_vec(),
            "ES256" => [vec![4], key.bytes("x"), key.bytes("y")].concat(),
            _ => key.bytes("x"),
        };
        let confused = Jwk(json!({"alg": "HS512", "kid": "k1", "k": encode(public)})).token(&claims("admin"));
        let another_key = Jwk::fresh(algorithm, "k1").token(&claims("admin"));
        let admin_of_reader = format!("{header}.{}.{signature}", encode(claims("two").to_string()));
        let zeros = format!("{signed}.{}", encode([0; 64]));
        let mut connection = vestibule.client().connect().await;
        for (token, why) in [
            (flipped(0), "a bit of the signature"),
            (flipped(bytes.len() - 1), "its last bit"),
            (format!("{signed}.{}", encode(&bytes[..bytes.len() - 1])), "a byte less"),
            (format!("{signed}.{}", encode([bytes.as_slice(), &[0]].concat())), "a byte more"),
            (format!("{signed}."), "an empty signature"),
            (zeros, "zeros"),
            (admin_of_reader, "another payload"),
            (another_key, "another key of the same kid"),
            (confused, "HS512 with the public half"),
            (unsigned("none"), "alg none"),
            (unsigned("None"), "alg None"),
            (unsigned(algorithm), "no signature"),
            (named("none"), "alg none, signed"),
            (named("HS256"), "HS256"),
            (named(if algorithm == "HS512" { "ES256" } else { "HS512" }), "another algorithm of ours"),
            (named(&algorithm.to_lowercase()), "the algorithm in small letters"),
        ] {
            let answer = connection.send(get("/").bearer(&token)).await;
            assert_invalid(&answer, "bad_signature", &format!("{algorithm}: {why}"));
        }
        assert_eq!(app.seen().len(), 0);
        assert_eq!(connection.send(get("/").bearer(&good)).await.status, 200, "{algorithm}");
        // A good token does not make its neighbours good.
        assert_eq!(connection.send(get("/").bearer(&flipped(0))).await.status, 401, "{algorithm}");
    }
}

#[tokio::test]
async fn each_key_of_the_ring_verifies_with_its_own_algorithm_until_it_is_past() {
    let keys = ["HS512", "ES256", "EdDSA"].map(|algorithm| Jwk::fresh(algorithm, algorithm));
    let past = Jwk::fresh("HS512", "past").with(&json!({"exp": now()}));
    let pending = Jwk::fresh("HS512", "pending").with(&json!({"nbf": now() + 600}));
    let app = App::start().await;
    let ring = [&keys[..], &[past.clone(), pending.clone()]].concat();
    let vestibule = Setup::new().upstream(&app).keys(&ring).start().await;
    let mut connection = vestibule.client().connect().await;
    for key in keys.iter().chain([&pending]) {
        let answer = connection.send(get("/").bearer(&key.token(&claims("admin")))).await;
        assert_eq!(answer.status, 200, "{}", key.kid());
    }
    // A replica whose clock is ahead may sign with it already; one that is over signs nothing that counts.
    assert_invalid(&connection.send(get("/").bearer(&past.token(&claims("admin")))).await, "unknown_key", "past");
    // The kid chooses the key; what is signed with another one of the ring is not good.
    let header = keys[0].header().to_string();
    let crossed = keys[2].sign(&header, &claims("admin").to_string());
    assert_invalid(&connection.send(get("/").bearer(&crossed)).await, "bad_signature", "crossed");
}

#[tokio::test]
async fn a_kid_that_nobody_knows_is_refused() {
    let (app, vestibule, _) = with_key("HS512", "{}").await;
    let mut connection = vestibule.client().connect().await;
    for kid in ["k2", "", "../k1", "k1\0", "K1", " k1"] {
        let answer = connection.send(get("/").bearer(&Jwk::fresh("HS512", kid).token(&claims("admin")))).await;
        assert_invalid(&answer, "unknown_key", kid);
    }
    assert_eq!(app.seen().len(), 0);
}

#[tokio::test]
async fn a_key_that_is_in_the_store_already_is_found_at_the_first_request() {
    let (_app, vestibule, old) = with_key("HS512", "{}").await;
    let mut connection = vestibule.client().connect().await;
    let new = Jwk::fresh("ES256", "k2");
    let token = new.token(&claims("admin"));
    assert_eq!(connection.send(get("/").bearer(&old.token(&claims("admin")))).await.status, 200);
    vestibule.replace("keys/keys.jwks", &Jwk::ring(&[old, new]));
    assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200, "the ring was written a moment ago");
}

#[tokio::test]
async fn a_revoked_key_ends_its_tokens_on_open_connections() {
    let (app, vestibule, old) = with_key("HS512", "{}").await;
    let token = old.token(&claims("admin"));
    let mut connections = [vestibule.client().connect().await, vestibule.client().http2().connect().await];
    for connection in &mut connections {
        assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200);
    }
    let new = Jwk::fresh("HS512", "k2");
    vestibule.keys(std::slice::from_ref(&new)).await;
    for connection in &mut connections {
        assert_invalid(&connection.send(get("/").bearer(&token)).await, "unknown_key", "revoked");
        assert_eq!(connection.send(get("/").bearer(&new.token(&claims("admin")))).await.status, 200);
    }
    // Another key under the same kid is another key.
    vestibule.keys(&[Jwk::fresh("HS512", "k1"), new]).await;
    assert_invalid(&connections[0].send(get("/").bearer(&token)).await, "bad_signature", "replaced");
    assert_eq!(app.seen().len(), 4);
}

#[tokio::test]
async fn public_keys_are_served_to_anyone_where_there_are_any() {
    let app = App::start().await;
    let (es256, eddsa) = (Jwk::fresh("ES256", "e1"), Jwk::fresh("EdDSA", "e2"));
    let older = Jwk::fresh("HS512", "h1").with(&json!({"iat": now() - 600, "nbf": now() - 600}));
    let setup = Setup::new().upstream(&app).keys(&[es256.clone(), older, eddsa.clone()]);
    let vestibule = setup.start().await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let answer = client.send(get("/.well-known/jwks.json")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/jwk-set+json")));
        let public = |key: &Jwk| {
            let mut members = key.0.as_object().expect("a JWK").clone();
            members.retain(|name, _| !["d", "iat", "nbf"].contains(&name.as_str()));
            Value::Object(members)
        };
        let mut keys = answer.json()["keys"].as_array().expect("a list").clone();
        keys.sort_by_key(|key| key["kid"].to_string());
        assert_eq!(keys, [public(&es256), public(&eddsa)], "no secret, nothing else");
        // A library that knows nothing of us can verify with them.
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&answer.body).expect("a JWK Set");
        let token = vestibule.token("admin").await;
        let kid = jsonwebtoken::decode_header(&token).expect("a header").kid.expect("a kid");
        let jwk = set.find(&kid).expect("the signer");
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
        validation.algorithms = vec![jsonwebtoken::decode_header(&token).expect("a header").alg];
        let key = jsonwebtoken::DecodingKey::from_jwk(jwk).expect("a key");
        jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("a good token");
        let post = client.send(post("/.well-known/jwks.json")).await;
        assert_eq!(post.status, 405);
        assert!(post.header("allow").is_some_and(|allow| allow.contains("GET")));
    }
    assert_eq!(app.seen().len(), 0);
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"open\",code=\"200\"}"), 2.0);
}

#[tokio::test]
async fn with_shared_secrets_alone_that_path_is_the_applications() {
    let (app, vestibule, key) = with_key("HS512", "{}").await;
    let path = "/.well-known/jwks.json";
    let answer = vestibule.client().send(get(path)).await;
    assert_unauthorized(&answer, super::NO_TOKEN, "the application's paths need a token");
    let answer = vestibule.client().send(get(path).bearer(&key.token(&claims("admin")))).await;
    assert_eq!((answer.text(), app.last().target.as_str()), ("hello", path));
}

#[tokio::test]
async fn each_algorithm_makes_a_ring_of_its_own() {
    for algorithm in ["HS512", "ES256", "EdDSA"] {
        let app = App::start().await;
        let vestibule =
            Setup::new().upstream(&app).config(&format!("tokens: {{algorithm: {algorithm}}}")).start().await;
        let ring = vestibule.ring();
        assert_eq!((ring.len(), ring[0].algorithm(), &ring[0].0["use"]), (1, algorithm, &json!("sig")));
        let token = vestibule.token("admin").await;
        assert_eq!(decode(&token).0, ring[0].header());
        assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200);
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(vestibule.path("keys/keys.jwks")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the owner's alone");
    }
}
