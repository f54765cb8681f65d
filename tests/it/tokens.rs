//! Which tokens let a request through, and what is said to those that do not.

mod claims;
mod present;
mod signature;

use serde_json::{Value, json};

use crate::support::*;

/// The answer to a token that is no good, to the letter.
fn assert_invalid(answer: &Answer, reason: &str, why: &str) {
    let challenge = format!(
        "Bearer realm=\"vestibule\", error=\"invalid_token\", error_description=\"{}\"",
        reason.replace('_', " ")
    );
    assert_unauthorized(answer, &challenge, why);
}

fn assert_unauthorized(answer: &Answer, challenge: &str, why: &str) {
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(challenge)), "{why}");
    assert_eq!(answer.json(), json!({"message": "Unauthorized", "status": 401}), "{why}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{why}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{why}");
}

const NO_TOKEN: &str = "Bearer realm=\"vestibule\"";

/// An application, a Vestibule in front of it, and the one key of its ring.
async fn with_key(algorithm: &str, config: &str) -> (App, Vestibule, Jwk) {
    let key = Jwk::fresh(algorithm, "k1");
    let app = App::start().await;
    let setup = Setup::new().upstream(&app).keys(std::slice::from_ref(&key));
    let vestibule = setup.config(config).start().await;
    (app, vestibule, key)
}

/// Good claims with members replaced; `null` is written as null.
fn changed(members: &Value) -> Value {
    let mut claims = crate::support::claims("admin");
    for (name, value) in members.as_object().expect("members to replace") {
        claims[name.as_str()] = value.clone();
    }
    claims
}

#[tokio::test]
async fn without_a_token_there_is_a_challenge_and_nothing_else() {
    let (app, vestibule, key) = with_key("HS512", "{}").await;
    let token = key.token(&crate::support::claims("admin"));
    for client in [vestibule.client(), vestibule.client().http2()] {
        for (call, why) in [
            (get("/"), "no header"),
            (get("/").basic("admin", "admin-password"), "a password"),
            (get("/").header("authorization", token.as_str()), "no scheme"),
            (get("/").header("authorization", format!("Token {token}")), "another scheme"),
            (get("/").header("authorization", format!("Bearer:{token}")), "a scheme that runs into the token"),
            (get("/").header("authorization", ""), "an empty header"),
            (get("/").header("cookie", format!("access_token={token}")), "a cookie"),
            (get(&format!("/?access_token={token}")), "a query"),
            (get("/").header("proxy-authorization", format!("Bearer {token}")), "a proxy's header"),
            (get("/").header("x-forwarded-user", "admin"), "a claim"),
            (get("/").header("user-agent", "kube-probe/1.36"), "a probe's name"),
            (get("/healthz"), "a probe's path"),
        ] {
            assert_unauthorized(&client.send(call).await, NO_TOKEN, why);
        }
    }
    assert_eq!(app.seen().len(), 0);
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"unauthenticated\",code=\"401\"}"), 24.0);
    assert_eq!(metrics.sum("vestibule_requests_total"), 24.0);
    let refusal = vestibule.event("refusal", |_| true).await;
    assert_eq!((&refusal["reason"], &refusal["source"]), (&json!("no_token"), &json!("127.0.0.1")));
}

/// RFC 9110, section 9.3.2: no content, and the header fields that a GET would have had.
#[tokio::test]
async fn an_answer_to_head_has_no_content_in_either_version() {
    let (app, vestibule, key) = with_key("HS512", "{}").await;
    let token = key.token(&crate::support::claims("admin"));
    for client in [vestibule.client(), vestibule.client().http2()] {
        for (path, token, status) in [("/", None, 401), ("/authorize", None, 405), ("/", Some(&token), 200)] {
            let call = Call::new("HEAD", path);
            let answer = client.send(token.into_iter().fold(call, |call, token| call.bearer(token))).await;
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
            assert!(answer.header("content-length").is_some_and(|length| length != "0"), "{path} {answer:?}");
            assert_eq!(answer.header("www-authenticate"), (status == 401).then_some(NO_TOKEN));
        }
    }
    assert_eq!(app.seen().len(), 2);
}

#[tokio::test]
async fn both_schemes_count_in_any_case() {
    let (app, vestibule, key) = with_key("HS512", "{}").await;
    let token = key.token(&crate::support::claims("admin"));
    for scheme in ["Bearer", "bearer", "BEARER", "JWT", "jwt", "Bearer  "] {
        let answer = vestibule.client().send(get("/").header("authorization", format!("{scheme} {token}"))).await;
        assert_eq!(answer.status, 200, "{scheme}");
        assert_eq!(app.last().header("authorization"), None, "it is not forwarded");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_400_even_if_both_are_good() {
    let (app, vestibule, key) = with_key("HS512", "{access: {rules: [{path: /open, allow: anyone}]}}").await;
    let token = key.token(&crate::support::claims("admin"));
    for client in [vestibule.client(), vestibule.client().http2()] {
        for call in [
            get("/").bearer(&token).bearer(&token),
            get("/").bearer(&token).basic("admin", "admin-password"),
            get("/open").header("authorization", "x").header("authorization", ""),
        ] {
            let answer = client.send(call).await;
            let body = json!({"message": "More than one Authorization header", "status": 400});
            assert_eq!((answer.status, answer.json()), (400, body));
            assert_eq!(answer.header("www-authenticate"), None);
        }
    }
    assert_eq!(app.seen().len(), 0);
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"bad_request\",code=\"400\"}"), 6.0);
}

#[tokio::test]
async fn a_user_outside_the_api_groups_gets_403() {
    let (app, vestibule, _) = with_key("HS512", "{}").await;
    let token = vestibule.token("reader").await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let answer = client.send(get("/").bearer(&token)).await;
        assert_eq!((answer.status, answer.json()), (403, json!({"message": "Forbidden", "status": 403})));
        let challenge = answer.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer realm=\"vestibule\", error=\"insufficient_scope\""), "{challenge}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(app.seen().len(), 0);
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"forbidden\",code=\"403\"}"), 2.0);
}

#[tokio::test]
async fn what_a_bad_token_holds_is_neither_answered_nor_logged() {
    let (_app, vestibule, key) = with_key("HS512", "{}").await;
    let good = key.token(&crate::support::claims("admin"));
    let cut = &good[..good.len() - 1];
    let answer = vestibule.client().send(get("/secret-in-no-query?q=hunter2-q").bearer(cut)).await;
    assert_eq!(answer.status, 401);
    vestibule.client().send(get("/").bearer("hunter2-garbage")).await;
    vestibule.client().send(get("/").bearer(&good)).await;
    eventually("three lines of access", async || (vestibule.events("access").len() == 3).then_some(())).await;
    let signature = cut.rsplit('.').next().expect("a signature");
    let payload = cut.split('.').nth(1).expect("a payload");
    for secret in [signature, payload, "hunter2", key.0["k"].as_str().expect("a secret")] {
        assert!(!vestibule.lines().iter().any(|line| line.contains(secret)), "{secret}");
    }
}
