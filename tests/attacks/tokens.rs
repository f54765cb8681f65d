//! Forged tokens, by the thousand and over sockets: none is forwarded, each is refused for a reason of a closed set,
//! and none of them is written to the log.

mod algebra;
mod forged;
mod misshapen;
mod unknown_keys;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::net::TcpListener;

use self::forged::Forged;
use super::alone;
use super::figures::{figure, long};
use super::leaks::Secrets;
use crate::support::*;

/// All that a refused token is ever told.
const REASONS: [&str; 10] = [
    "malformed",
    "unknown_key",
    "bad_signature",
    "bad_claims",
    "expired",
    "wrong_issuer",
    "wrong_audience",
    "user_inactive",
    "password_changed",
    "logged_out",
];

async fn started() -> (App, Vestibule, [Jwk; 3]) {
    let keys = [Jwk::fresh("HS512", "h"), Jwk::fresh("ES256", "e"), Jwk::fresh("EdDSA", "d")];
    let app = App::start().await;
    let setup = Setup::new().upstream(&app).keys(&keys).config("log: {level: trace}");
    let vestibule = setup.start().await;
    (app, vestibule, keys)
}

/// Presents each, on a few connections, for tokens of unknown keys wait; returns the reasons that were given.
async fn refuse_all(client: &Client, all: &[Forged]) -> Vec<String> {
    let parts = all.chunks(all.len().div_ceil(16)).map(|part| refuse_each(client, part));
    futures_util::future::join_all(parts).await.concat()
}

async fn refuse_each(client: &Client, all: &[Forged]) -> Vec<String> {
    let mut connection = client.connect().await;
    let mut reasons = Vec::new();
    for Forged { token, why } in all {
        let value = [b"Bearer ", token.as_slice()].concat();
        let answer = connection.send(get("/").header("authorization", value)).await;
        assert_eq!(answer.status, 401, "{why}: {answer:?}");
        let challenge = answer.header("www-authenticate").expect("a challenge");
        let reason = challenge
            .strip_prefix("Bearer realm=\"vestibule\", error=\"invalid_token\", error_description=\"")
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or_else(|| panic!("{why}: {challenge}"))
            .replace(' ', "_");
        assert!(REASONS.contains(&reason.as_str()), "{why}: {reason}");
        assert_eq!(answer.json(), json!({"message": "Unauthorized", "status": 401}), "{why}");
        if connection.is_closed() {
            connection = client.connect().await;
        }
        reasons.push(reason);
    }
    reasons
}

#[tokio::test]
async fn no_forged_token_is_ever_forwarded() {
    let _alone = alone().await;
    let (app, vestibule, keys) = started().await;
    // Where headers say that keys are: nobody is to go there.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/jwks.json", elsewhere.local_addr().expect("an address"));
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    tokio::spawn(async move {
        while elsewhere.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let published = vestibule.client().send(get("/.well-known/jwks.json")).await.body;
    let every = if long() { 1 } else { 29 };
    let families = [
        ("without a signature", forged::unsigned(&keys), &["bad_signature", "malformed"][..]),
        ("public keys as secrets, crossed keys", forged::confused(&keys, &published), &["bad_signature"]),
        ("keys of their own", forged::embedded(&keys, &url), &["bad_signature", "unknown_key", "malformed"]),
        ("names of keys", forged::named(), &["unknown_key", "malformed"]),
        ("other forms", misshapen::forms(&keys), &["malformed", "unknown_key", "bad_claims", "bad_signature"]),
        (
            "claims",
            misshapen::misclaimed(&keys),
            &["bad_claims", "expired", "wrong_issuer", "wrong_audience", "user_inactive", "password_changed"],
        ),
        ("degenerate signatures", forged::degenerate(&keys), &["bad_signature"]),
        (
            "one character changed",
            keys.iter().flat_map(|key| forged::changed(key, every)).collect(),
            &["malformed", "unknown_key", "bad_signature"],
        ),
    ];
    let genuine = keys.each_ref().map(|key| key.token(&claims("admin")));
    let mut secrets = Secrets::default();
    let mut tried = 0;
    for (family, all, expected) in &families {
        for client in [vestibule.client(), vestibule.client().http2()] {
            let reasons = refuse_all(&client, all).await;
            for (reason, Forged { why, .. }) in reasons.iter().zip(all) {
                assert!(expected.contains(&reason.as_str()), "{family}, {why}: {reason}");
            }
            tried += reasons.len();
            // A good one between the bad ones: they change nothing for it, and it nothing for them.
            let answer = client.send(get("/").bearer(&genuine[tried % 3])).await;
            assert_eq!(answer.status, 200, "{family}");
        }
        figure(&format!("forged tokens: {family}"), all.len());
        for Forged { token, why } in all {
            if token.len() >= 16 && !token.starts_with(b"aaaa") && !token.starts_with(b"a.a.") {
                secrets.add_raw(why, token);
            }
        }
    }
    let forwarded = app.seen().len() - 2 * families.len();
    figure("forged tokens tried, over HTTP/1.1 and HTTP/2", tried);
    figure("forged tokens forwarded", forwarded);
    assert_eq!(forwarded, 0);
    assert_eq!(visits.load(Ordering::Relaxed), 0, "nobody asks for keys where a header says that they are");
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"unauthenticated\",code=\"401\"}"), tried as f64);
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"forwarded\",code=\"200\"}"), 16.0);
    let counted = metrics.counted("vestibule_requests_total");
    assert!(counted.iter().all(|(series, _)| !series.contains("code=\"5")), "{counted:?}");
    let refused = async || (vestibule.events("refusal").len() == tried).then_some(());
    eventually("a line for each", refused).await;
    let found = secrets.found_in(vestibule.lines().join("\n").as_bytes());
    assert!(found.is_empty(), "in the log: {found:#?}");
}

/// A signature of P-256 has a twin, which the standard allows (SEC 1, section 4.1.4) and anyone can make: it says the same of
/// the same claims. So nothing hangs on a token's bytes: what ends one ends the other.
#[tokio::test]
async fn the_twin_of_a_signature_is_worth_what_the_token_is() {
    let _alone = alone().await;
    let (app, vestibule, keys) = started().await;
    let token = keys[1].token(&claims("admin"));
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let twin = algebra::mirrored(&URL_SAFE_NO_PAD.decode(signature).expect("base64url"));
    let twin = format!("{signed}.{}", forged::encode(twin));
    assert_ne!(twin, token);
    let mut connection = vestibule.client().connect().await;
    for token in [&token, &twin] {
        assert_eq!(connection.send(get("/").bearer(token)).await.status, 200);
        assert_eq!(app.last().header("x-forwarded-user"), Some("admin"));
    }
    vestibule.keys(&[keys[0].clone(), keys[2].clone()]).await;
    for token in [&token, &twin] {
        assert_eq!(connection.send(get("/").bearer(token)).await.status, 401);
    }
}

#[tokio::test]
async fn a_good_token_counts_in_one_place_alone() {
    let _alone = alone().await;
    let (app, vestibule, keys) = started().await;
    let token = keys[0].token(&claims("admin"));
    let bearer = format!("Bearer {token}");
    let form = format!("access_token={token}");
    let refused = || {
        vec![
            (get(&format!("/?access_token={token}")), 401, "a query (RFC 6750, section 2.3)"),
            (get(&format!("/?Authorization=Bearer%20{token}")), 401, "a query"),
            (
                post("/").header("content-type", "application/x-www-form-urlencoded").body(form.clone()),
                401,
                "a form (RFC 6750, section 2.2)",
            ),
            (get("/").header("cookie", format!("access_token={token}")), 401, "a cookie"),
            (get("/").header("cookie", format!("Authorization={bearer}")), 401, "a cookie"),
            (get("/").header("proxy-authorization", &bearer), 401, "a proxy's"),
            (get("/").header("x-authorization", &bearer), 401, "another name"),
            (get("/").header("x-forwarded-authorization", &bearer), 401, "another name"),
            (get("/").header("x-access-token", &token), 401, "another name"),
            (get("/").header("authorization_", &bearer), 401, "nearly the name"),
            (get("/").header("sec-websocket-protocol", format!("bearer, {token}")), 401, "a protocol"),
            (get("/").header("authorization", &token), 401, "no scheme"),
            (get("/").header("authorization", format!("Bearer\t{token}")), 401, "a tab for the space"),
            (get("/").header("authorization", format!("Bearer\u{a0}{token}")), 401, "another space"),
            (get("/").header("authorization", format!("Bearer,{token}")), 401, "a comma"),
            (get("/").header("authorization", format!("Bearer={token}")), 401, "a sign"),
            (get("/").header("authorization", format!("Bearer: {token}")), 401, "a colon"),
            (get("/").header("authorization", format!("Bearer token={token}")), 401, "a parameter"),
            (get("/").header("authorization", format!("Bearer \"{token}\"")), 401, "quotes"),
            (get("/").header("authorization", format!("Bearer <{token}>")), 401, "brackets"),
            (get("/").header("authorization", format!("Bearer {token}, Basic YTpi")), 401, "a list"),
            (get("/").header("authorization", format!("Basic YTpi, {bearer}")), 401, "a list, the other way round"),
            (get("/").header("authorization", format!("Bearer Bearer {token}")), 401, "twice the scheme"),
            (get("/").header("authorization", format!("Token {token}")), 401, "another scheme"),
            (get("/").header("authorization", format!("DPoP {token}")), 401, "another scheme"),
            (get("/").header("authorization", format!("Bearerx {token}")), 401, "nearly the scheme"),
            (get("/").header("authorization", format!("\u{fffd}Bearer {token}")), 401, "bytes before it"),
            (get("/").basic("admin", &token), 401, "a password"),
            (get("/").basic(&token, ""), 401, "a name"),
            (get("/").bearer(&token).bearer(&token), 400, "twice"),
            (get("/").header("authorization", "").bearer(&token), 400, "an empty one before"),
            (get("/").bearer(&token).header("authorization", "Basic YTpi"), 400, "another one behind"),
        ]
    };
    let mut tried = 0;
    for client in [vestibule.client(), vestibule.client().http2()] {
        for (call, status, why) in refused() {
            assert_eq!(client.send(call).await.status, status, "{why}");
            tried += 1;
        }
        // Trailers are none of the head.
        let mut trailers = http::HeaderMap::new();
        trailers.insert("authorization", bearer.parse().expect("a header"));
        let call = post("/").header("trailer", "authorization").stream(body(&["x"], Some(trailers)));
        assert_eq!(client.send(call).await.status, 401, "a trailer");
        tried += 1;
    }
    tried += raw_heads(&vestibule, &bearer).await;
    tried += raw_frames(&vestibule, &bearer).await;
    figure("ways to carry a good token that do not count", tried);
    assert_eq!(app.seen().len(), 0);
    for (value, why) in [
        (bearer.clone(), "as it should be"),
        (format!("bearer {token}"), "small letters"),
        (format!("BEARER {token}"), "capitals"),
        (format!("jWt {token}"), "the other scheme"),
        (format!("Bearer   {token}"), "more spaces (RFC 9110, section 11.4)"),
    ] {
        for client in [vestibule.client(), vestibule.client().http2()] {
            assert_eq!(client.send(get("/").header("authorization", &value)).await.status, 200, "{why}");
        }
    }
    assert_eq!(app.seen().len(), 10);
}

/// Heads that no library sends; each must end in 400 or 401, or in the connection's end.
async fn raw_heads(vestibule: &Vestibule, bearer: &str) -> usize {
    let heads = [
        format!("Authorization : {bearer}"),
        format!(" Authorization: {bearer}"),
        format!("X: y\r\n Authorization: {bearer}"),
        format!("X: y\r\n\tAuthorization: {bearer}"),
        format!("Authorization:\r\n {bearer}"),
        format!("Authorization: Bearer\r\n {}", bearer.trim_start_matches("Bearer ")),
        format!("Authorization: {bearer}\0"),
        format!("Authorization: \0{bearer}"),
        format!("Authorization\0: {bearer}"),
        format!("Authorization\u{a0}: {bearer}"),
        format!("Authorization: {bearer}\r\nAUTHORIZATION: {bearer}"),
        format!("Authorization: {bearer}\r\nauthorization: Basic YTpi"),
        format!("Authorization: Bearer \u{b}{}", bearer.trim_start_matches("Bearer ")),
        format!("X: y\rAuthorization: {bearer}"),
    ];
    for head in &heads {
        let mut wire = vestibule.client().wire().await;
        wire.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{head}\r\nConnection: close\r\n\r\n")).await;
        let answer = String::from_utf8_lossy(&wire.rest().await).into_owned();
        let status = answer.get(9..12).unwrap_or_default();
        assert!(["400", "401"].contains(&status), "{head:?}: {answer}");
    }
    heads.len()
}

/// The same for HTTP/2: names that are none (RFC 9113, section 8.2), and fields that come apart.
async fn raw_frames(vestibule: &Vestibule, bearer: &str) -> usize {
    let cases: [&[(&str, &str)]; 6] = [
        &[("Authorization", bearer)],
        &[(":authorization", bearer)],
        &[("authorization ", bearer)],
        &[("authorization", bearer), ("authorization", "")],
        &[("authorization", "Bearer"), ("authorization", bearer)],
        &[("authorization", bearer), ("authorization", bearer)],
    ];
    for case in cases {
        let mut frames = Frames::connect(&vestibule.client()).await;
        let block = [request_fields("/"), fields(case)].concat();
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
        while let Some(next) = frames.next().await {
            // An answer, an end of the stream or of the connection; what arrived is counted at the application.
            if next.stream == 1 || next.kind == GOAWAY {
                break;
            }
        }
    }
    cases.len()
}
