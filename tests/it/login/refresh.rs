//! Refreshing: a good token for a younger one, as long as the session may last.

use serde_json::json;

use super::{REFRESH, assert_answer, text};
use crate::support::*;

async fn refreshed(vestibule: &Vestibule, token: &str) -> Answer {
    vestibule.client().send(post(REFRESH).bearer(token)).await
}

fn assert_refused(answer: &Answer) {
    assert_answer(answer, 401, &json!({"error_code": "unauthorized", "message": "Unauthorized"}));
}

#[tokio::test]
async fn a_token_is_exchanged_under_both_schemes_and_carries_the_login_along() {
    let app = App::start().await;
    let key = Jwk::fresh("HS512", "k1");
    let vestibule = Setup::new().upstream(&app).keys(std::slice::from_ref(&key)).start().await;
    let began = now();
    let old = json!({
        "jti": "old", "iat": began - 100, "sub": "admin", "iss": "vestibule", "exp": began + 100,
        "auth_time": began - 200, "groups": ["Gone"], "cred": credential(&argon2("admin-password")),
    });
    for scheme in ["Bearer", "JWT", "bearer", "jWt"] {
        let call = post(REFRESH).header("authorization", format!("{scheme} {}", key.token(&old)));
        let answer = vestibule.client().send(call).await;
        let body = answer.json();
        let token = text(&body, "access_token");
        assert_answer(&answer, 200, &json!({"access_token": token}));
        let (_, claims) = decode(token);
        let iat = claims["iat"].as_u64().expect("an integer");
        assert!(iat >= began);
        let expected = json!({
            "jti": claims["jti"], "iat": iat, "sub": "admin", "iss": "vestibule", "exp": iat + 300,
            "auth_time": began - 200, "groups": ["Administrator"], "cred": old["cred"],
        });
        assert_eq!(claims, expected);
        assert_ne!(claims["jti"], "old");
        assert_eq!(vestibule.client().send(get("/").bearer(token)).await.status, 200);
    }
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"refresh\",outcome=\"granted\"}"), 4.0);
    let audit = vestibule.event("refresh", |refresh| refresh["outcome"] == "granted").await;
    assert_eq!(audit["user"], "admin");
}

#[tokio::test]
async fn an_operators_token_stays_one_and_a_reader_may_refresh() {
    let key = Jwk::fresh("HS512", "k1");
    let vestibule = Setup::new().keys(std::slice::from_ref(&key)).start().await;
    let answer = refreshed(&vestibule, &key.token(&claims("reader"))).await;
    let (_, claims) = decode(text(&answer.json(), "access_token"));
    assert_eq!((&claims["sub"], claims.get("cred")), (&json!("reader"), None));
}

#[tokio::test]
async fn the_session_bounds_the_chain() {
    let key = Jwk::fresh("HS512", "k1");
    let vestibule = Setup::new().config("tokens: {maxSession: 1h}").keys(std::slice::from_ref(&key)).start().await;
    let of_age = |age: u64| {
        let mut claims = claims("admin");
        claims["auth_time"] = json!(now() - age);
        key.token(&claims)
    };
    let token = of_age(3500);
    let answer = refreshed(&vestibule, &token).await;
    let (_, new) = decode(text(&answer.json(), "access_token"));
    assert_eq!(new["exp"].as_u64(), decode(&token).1["auth_time"].as_u64().map(|time| time + 3600));
    // However long a ttl is asked for.
    let call = post(REFRESH).bearer(&of_age(3000)).body("{\"ttl\": 86400}");
    let (_, new) = decode(text(&vestibule.client().send(call).await.json(), "access_token"));
    assert_eq!(new["exp"].as_u64(), new["auth_time"].as_u64().map(|time| time + 3600));
    assert_refused(&refreshed(&vestibule, &of_age(3600)).await);
    assert_refused(&refreshed(&vestibule, &of_age(86_400)).await);
}

#[tokio::test]
async fn a_ttl_may_be_asked_for_and_must_be_in_range() {
    let vestibule = Setup::new().config("tokens: {maxTtl: 1h}").start().await;
    let token = vestibule.token("admin").await;
    let with_body =
        async |body: &str| vestibule.client().send(post(REFRESH).bearer(&token).body(body.to_owned())).await;
    let answer = with_body("{\"ttl\": 60}").await;
    let (_, claims) = decode(text(&answer.json(), "access_token"));
    assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + 60));
    assert_eq!(with_body("{}").await.status, 200);
    for body in ["{\"ttl\": 0}", "{\"ttl\": 3601}", "{\"ttl\": \"60\"}", "{\"ttl\": 1.5}", "[]", "ttl=60", "{"] {
        let answer = with_body(body).await;
        let message = answer.json()["message"].clone();
        assert_answer(&answer, 400, &json!({"error_code": "bad_request", "message": message}));
    }
    let answer = with_body(&" ".repeat(4097)).await;
    let message = answer.json()["message"].clone();
    assert_answer(&answer, 413, &json!({"error_code": "request_too_large", "message": message}));
}

#[tokio::test]
async fn an_expired_password_ends_refreshing_but_not_its_tokens() {
    let app = App::start().await;
    let key = Jwk::fresh("HS512", "k1");
    let vestibule = Setup::new().upstream(&app).keys(std::slice::from_ref(&key)).start().await;
    let mut claims = claims("expired");
    claims["cred"] = json!(credential(&argon2("expired-password")));
    let token = key.token(&claims);
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200);
    assert_refused(&refreshed(&vestibule, &token).await);
}

#[tokio::test]
async fn what_is_no_good_token_is_not_refreshed() {
    let key = Jwk::fresh("HS512", "k1");
    let vestibule = Setup::new().keys(std::slice::from_ref(&key)).start().await;
    let with = |user: &str, member: &str, value: serde_json::Value| {
        let mut claims = claims(user);
        claims[member] = value;
        key.token(&claims)
    };
    let good = key.token(&claims("admin"));
    let client = vestibule.client();
    for (call, why) in [
        (post(REFRESH), "no token"),
        (post(REFRESH).basic("admin", "admin-password"), "a password instead"),
        (post(REFRESH).header("authorization", "Bearer"), "an empty one"),
        (post(REFRESH).header("authorization", good.as_str()), "no scheme"),
        (post(REFRESH).bearer("a.b.c"), "garbage"),
        (post(REFRESH).bearer(&with("admin", "exp", json!(now()))), "expired"),
        (post(REFRESH).bearer(&with("admin", "iss", json!("other"))), "another issuer"),
        (post(REFRESH).bearer(&with("admin", "cred", json!("AAAAAAAAAAAAAAAA"))), "another password"),
        (post(REFRESH).bearer(&key.token(&claims("off"))), "a disabled user"),
        (post(REFRESH).bearer(&key.token(&claims("nobody"))), "an unknown user"),
        (post(REFRESH).bearer(&Jwk::fresh("HS512", "k1").token(&claims("admin"))), "another key"),
        (post(REFRESH).json(&json!({"access_token": good})), "a token in the body"),
    ] {
        let answer = client.send(call).await;
        assert_eq!(answer.status, 401, "{why}");
        assert_refused(&answer);
    }
    let several = client.send(post(REFRESH).bearer(&good).bearer(&good)).await;
    let message = several.json()["message"].clone();
    assert_answer(&several, 400, &json!({"error_code": "bad_request", "message": message}));
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"refresh\",outcome=\"denied\"}"), 12.0);
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"refresh\",outcome=\"malformed\"}"), 1.0);
}

#[tokio::test]
async fn a_refreshed_token_falls_with_the_password_that_the_chain_began_with() {
    let vestibule = Setup::new().start().await;
    let token = vestibule.token("admin").await;
    let next = refreshed(&vestibule, &token).await.json();
    let mut users = default_users();
    users["users"]["admin"]["passwords"] = json!([{"hash": argon2("new")}]);
    vestibule.users(&users).await;
    assert_refused(&refreshed(&vestibule, text(&next, "access_token")).await);
}
