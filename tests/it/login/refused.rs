//! Logins that are refused: one answer for all that must not be told apart, and 503 where none can be decided.

use serde_json::json;

use super::{DENSIFY, REDIS, assert_answer, login_call};
use crate::support::*;

/// An answer's bytes as they are to be compared: all but the time of day.
fn comparable(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}")));
    (answer.status, headers.collect(), answer.text().to_owned())
}

#[tokio::test]
async fn unknown_wrong_disabled_and_unusable_are_the_same_byte_for_byte() {
    let mut users = default_users();
    users["users"]["unusable"] = json!({"groups": ["Administrator"], "passwords": [{"hash": "$apr1$abc$def"}]});
    users["users"]["none"] = json!({"groups": ["Administrator"]});
    let vestibule = Setup::new().users(&users).start().await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        // Each in another source's name, so that no throttling comes in between.
        for (path, source) in [(DENSIFY, "127.0.0.2"), (REDIS, "127.0.0.3")] {
            let expected = match path {
                DENSIFY => json!({"message": "Unauthorized", "status": 401}),
                _ => json!({"error_code": "unauthorized", "message": "Unauthorized"}),
            };
            let mut first = None;
            for (user, password) in [
                ("nobody", "admin-password"),
                ("admin", "wrong"),
                ("reader", "admin-password"),
                ("off", "off-password"),
                ("unusable", "any"),
                ("none", "any"),
                ("expired", "wrong"),
                ("two", "two-passwor"),
                ("Admin", "admin-password"),
                ("admin ", "admin-password"),
                ("adm\0in", "admin-password"),
                ("admin\u{1b}[2J\r\n", "admin-password"),
                ("ädmin", "admin-password"),
                ("a,b:c", "admin-password"),
            ] {
                let source = if client.is_http2() { source.replace("0.0", "1.0") } else { source.to_owned() };
                let answer = client.from(&source).send(login_call(path, user, password)).await;
                assert_answer(&answer, 401, &expected);
                assert_eq!(answer.header("www-authenticate"), None, "no browser is to ask for a password");
                let first = first.get_or_insert_with(|| comparable(&answer));
                assert_eq!(comparable(&answer), *first, "{user:?}");
            }
        }
    }
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"densify\",outcome=\"denied\"}"), 28.0);
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"login\",code=\"401\"}"), 56.0);
}

#[tokio::test]
async fn a_name_in_basic_credentials_need_not_be_text() {
    let vestibule = Setup::new().start().await;
    // The bytes ff fe 3a 61.
    let answer = vestibule.client().send(post(DENSIFY).header("authorization", "Basic //46YQ==")).await;
    assert_answer(&answer, 401, &json!({"message": "Unauthorized", "status": 401}));
}

#[tokio::test]
async fn an_expired_password_is_told_only_to_those_who_know_it() {
    let vestibule = Setup::new().start().await;
    let client = vestibule.client();
    for _ in 0..2 {
        let right = client.send(login_call(DENSIFY, "expired", "expired-password")).await;
        assert_answer(&right, 401, &json!({"message": "Password expired", "status": 401}));
        let right = client.send(login_call(REDIS, "expired", "expired-password")).await;
        assert_answer(&right, 401, &json!({"error_code": "password_expired", "message": "Password expired"}));
    }
    let wrong = client.send(login_call(DENSIFY, "expired", "wrong")).await;
    assert_answer(&wrong, 401, &json!({"message": "Unauthorized", "status": 401}));
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"densify\",outcome=\"expired\"}"), 2.0);
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"redis\",outcome=\"expired\"}"), 2.0);
}

#[tokio::test]
async fn an_expired_password_of_a_disabled_user_is_not_told() {
    let expired = json!({"hash": argon2("known"), "expiresAt": "2020-01-01T00:00:00Z"});
    let users = json!({"users": {"gone": {"disabled": true, "passwords": [expired]}}});
    let vestibule = Setup::new().users(&users).start().await;
    let answer = vestibule.client().login("gone", "known").await;
    assert_answer(&answer, 401, &json!({"message": "Unauthorized", "status": 401}));
}

#[tokio::test]
async fn an_empty_table_lets_nobody_in_and_a_full_one_is_not_needed() {
    let vestibule = Setup::new().users(&json!({"users": {}})).start().await;
    let answer = vestibule.client().login("admin", "admin-password").await;
    assert_answer(&answer, 401, &json!({"message": "Unauthorized", "status": 401}));
}

#[tokio::test]
async fn without_a_key_that_signs_logins_get_503() {
    let later = Jwk::fresh("HS512", "later").with(&json!({"nbf": now() + 3600}));
    let vestibule = Setup::new().keys(&[later]).without_readiness().start().await;
    let client = vestibule.client();
    let densify = client.login("admin", "admin-password").await;
    let message = densify.json()["message"].clone();
    assert_answer(&densify, 503, &json!({"message": message, "status": 503}));
    let redis = client.send(login_call(REDIS, "admin", "wrong")).await;
    assert_answer(&redis, 503, &json!({"error_code": "no_signing_key", "message": message}));
    for answer in [densify, redis] {
        let seconds: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds");
        assert!(seconds >= 1);
    }
    let (status, pending) = vestibule.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(pending.contains("sign"), "{pending}");
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"densify\",outcome=\"overloaded\"}"), 1.0);
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"redis\",outcome=\"overloaded\"}"), 1.0);
}

#[tokio::test]
async fn when_the_hashing_queue_is_full_logins_get_503_and_nothing_is_held_against_them() {
    let mut users = default_users();
    users["users"]["slow"] = json!({"groups": [], "passwords": [{"hash": slow_hash()}]});
    let config = "authorize: {hashing: {threads: 1, queue: 1}}";
    let vestibule = Setup::new().users(&users).config(config).start().await;
    let client = vestibule.client();
    // One is hashed, one may wait; each name is another account.
    let names = ["a", "b", "c", "d"];
    let attempts = names.map(|name| {
        let (client, path) = (client.clone(), if name < "c" { DENSIFY } else { REDIS });
        tokio::spawn(async move { client.send(login_call(path, name, "wrong")).await })
    });
    let (mut denied, mut full) = (0, Vec::new());
    for (name, attempt) in names.into_iter().zip(attempts) {
        let answer = attempt.await.expect("no panic");
        match answer.status {
            401 => denied += 1,
            _ => full.push((name, answer)),
        }
    }
    assert!((1..=2).contains(&denied), "{denied} of 4 had their turn");
    for (name, answer) in &full {
        let message = answer.json()["message"].clone();
        let body = match *name {
            "a" | "b" => json!({"message": message, "status": 503}),
            _ => json!({"error_code": "overloaded", "message": message}),
        };
        assert_answer(answer, 503, &body);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let outcomes = vestibule.metrics().await;
    let overloaded =
        |dialect| outcomes.value(&format!("vestibule_authorize_total{{dialect=\"{dialect}\",outcome=\"overloaded\"}}"));
    assert_eq!(overloaded("densify") + overloaded("redis"), full.len() as f64);
    let (name, _) = full[0];
    assert_eq!(client.login(name, "wrong").await.status, 401, "no password was looked at, so none was wrong");
}
