//! Logins that are no logins: 400, 405 and 413, in each dialect's form.

use http::HeaderValue;
use serde_json::{Value, json};

use super::{DENSIFY, REDIS, REFRESH, assert_answer};
use crate::support::*;

/// The refusal's form: exact but for the sentence, which must be there.
fn assert_malformed(path: &str, answer: &Answer, status: u16, code: &str) {
    let message = answer.json()["message"].clone();
    assert!(message.as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    let body = match path {
        DENSIFY => json!({"message": message, "status": status}),
        _ => json!({"error_code": code, "message": message}),
    };
    assert_answer(answer, status, &body);
}

/// The members' names of a dialect put into a body that is written with Densify's.
fn in_dialect(path: &str, body: &str) -> String {
    if path == DENSIFY { body.to_owned() } else { body.replace("userName", "username").replace("pwd", "password") }
}

#[tokio::test]
async fn bodies_that_are_no_login_get_400() {
    let vestibule = Setup::new().start().await;
    let mut connection = vestibule.client().connect().await;
    let long = format!(r#"{{"userName":"{}","pwd":"b"}}"#, "a".repeat(257));
    let deep = format!(r#"{{"userName":"admin","ttl":{}1{}}}"#, "[".repeat(1900), "]".repeat(1900));
    let bodies = [
        "",
        " ",
        "null",
        "{",
        "[]",
        "\"admin\"",
        "{}",
        "userName=admin&pwd=admin-password",
        r#"{"userName":"admin"}"#,
        r#"{"pwd":"admin-password"}"#,
        r#"{"userName":"","pwd":"admin-password"}"#,
        r#"{"userName":"admin","pwd":""}"#,
        r#"{"userName":null,"pwd":"admin-password"}"#,
        r#"{"userName":["admin"],"pwd":"admin-password"}"#,
        r#"{"userName":1,"pwd":"admin-password"}"#,
        r#"{"userName":"admin","pwd":true}"#,
        r#"{"USERNAME":"admin","PWD":"admin-password"}"#,
        r#"{"userName":"off","userName":"admin","pwd":"admin-password"}"#,
        r#"{"userName":"admin","pwd":"admin-password","pwd":"admin-password"}"#,
        r#"{"userName":"admin","pwd":"admin-password","ttl":60,"ttl":60}"#,
        r#"{"userName":"admin","pwd":"admin-password"}{}"#,
        r#"{"userName":"admin","pwd":"admin-password",}"#,
        r#"{"userName":"\ud800","pwd":"admin-password"}"#,
        "{\"userName\":\"admin\",\"pwd\":\"admin-password\n\"}",
        &long,
        &deep,
    ];
    for path in [DENSIFY, REDIS] {
        for body in bodies {
            let answer = connection.send(post(path).body(in_dialect(path, body))).await;
            assert_malformed(path, &answer, 400, "bad_request");
        }
        let not_utf8 = [in_dialect(path, r#"{"userName":""#).into_bytes(), vec![0xff], b"\"}".to_vec()].concat();
        assert_malformed(path, &connection.send(post(path).body(not_utf8)).await, 400, "bad_request");
    }
    assert_eq!(
        connection.send(post(DENSIFY).basic("admin", "admin-password")).await.status,
        200,
        "nothing was throttled"
    );
    let metrics = vestibule.metrics().await;
    let tried = (bodies.len() + 1) as f64;
    for dialect in ["densify", "redis"] {
        let series = format!("vestibule_authorize_total{{dialect=\"{dialect}\",outcome=\"malformed\"}}");
        assert_eq!(metrics.value(&series), tried);
    }
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"login\",code=\"400\"}"), 2.0 * tried);
}

#[tokio::test]
async fn a_ttl_is_a_whole_number_of_seconds_in_range() {
    let vestibule = Setup::new().start().await;
    let mut connection = vestibule.client().connect().await;
    let huge = "18446744073709551616";
    for path in [DENSIFY, REDIS] {
        for ttl in ["0", "-1", "86401", "1.5", "1.0", "\"300\"", "1e3", "null", "true", "[300]", "{}", huge] {
            let body = in_dialect(path, &format!(r#"{{"userName":"admin","pwd":"admin-password","ttl":{ttl}}}"#));
            let answer = connection.send(post(path).body(body)).await;
            assert_malformed(path, &answer, 400, "bad_request");
        }
        for ttl in [1, 86_400] {
            let body = in_dialect(path, &format!(r#"{{"userName":"admin","pwd":"admin-password","ttl":{ttl}}}"#));
            assert_eq!(connection.send(post(path).body(body)).await.status, 200, "{ttl}");
        }
    }
}

#[tokio::test]
async fn credentials_that_contradict_or_cannot_be_read_get_400() {
    let vestibule = Setup::new().start().await;
    let mut connection = vestibule.client().connect().await;
    for path in [DENSIFY, REDIS] {
        let body = in_dialect(path, r#"{"userName":"admin","pwd":"admin-password"}"#);
        let basic = || post(path).basic("admin", "admin-password");
        for (call, why) in [
            (post(path).body(body.clone()).basic("admin", "other"), "other password"),
            (post(path).body(body.clone()).basic("two", "admin-password"), "other name"),
            (basic().body(in_dialect(path, r#"{"userName":"admin"}"#)), "half in the body"),
            (basic().basic("admin", "admin-password"), "two headers"),
            (basic().bearer("x"), "two headers of different schemes"),
            (basic().body("no JSON"), "a body that is none"),
            (post(path).header("authorization", "Basic"), "no credentials"),
            (post(path).header("authorization", "Basic !!!"), "no base64"),
            (post(path).header("authorization", "Basic YWRtaW4="), "no colon"),
            (post(path).basic("", "admin-password"), "an empty name"),
            (post(path).basic("admin", ""), "an empty password"),
            (post(path).basic(&"a".repeat(257), "b"), "a long name"),
            (post(path).bearer("x"), "another scheme and no body"),
        ] {
            let answer = connection.send(call).await;
            assert_eq!(answer.status, 400, "{path}: {why}");
            assert_malformed(path, &answer, 400, "bad_request");
        }
        let other_scheme = post(path).body(body).bearer("not.a.token");
        assert_eq!(connection.send(other_scheme).await.status, 200, "another scheme is no credentials");
    }
}

#[tokio::test]
async fn bodies_are_at_most_4_kib() {
    let vestibule = Setup::new().start().await;
    for path in [DENSIFY, REDIS] {
        let padded = |length: usize| {
            let login = in_dialect(path, r#"{"userName":"admin","pwd":"admin-password"}"#);
            format!("{login}{}", " ".repeat(length - login.len()))
        };
        for client in [vestibule.client(), vestibule.client().http2()] {
            assert_eq!(client.send(post(path).body(padded(4096))).await.status, 200);
            assert_malformed(path, &client.send(post(path).body(padded(4097))).await, 413, "request_too_large");
            // A length that nobody has announced.
            let (half, rest) = (padded(4097), padded(4097));
            let call = post(path).stream(body(&[&half[..2000], &rest[2000..]], None));
            assert_malformed(path, &client.send(call).await, 413, "request_too_large");
            let (half, rest) = (padded(4096), padded(4096));
            let call = post(path).stream(body(&[&half[..2000], &rest[2000..]], None));
            assert_eq!(client.send(call).await.status, 200);
        }
    }
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"login\",code=\"413\"}"), 8.0);
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"redis\",outcome=\"malformed\"}"), 4.0);
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    let vestibule = Setup::new().config("limits: {headerTimeout: 300ms}").start().await;
    let mut wire = vestibule.client().wire().await;
    wire.send("POST /authorize HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{").await;
    let (head, _) = wire.answer("POST").await;
    assert_eq!(head.status(), 408);
}

#[tokio::test]
async fn other_methods_get_405_and_never_reach_the_application() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        for path in [DENSIFY, REDIS, REFRESH] {
            for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "post", "BREW"] {
                let answer = client.send(Call::new(method, path).bearer(&token)).await;
                assert_malformed(path, &answer, 405, "method_not_allowed");
                assert_eq!(answer.header("allow"), Some("POST"), "{method} {path}");
            }
            let head = client.connect().await.begin(Call::new("HEAD", path)).await.expect("an answer");
            assert_eq!((head.status().as_u16(), &head.headers()["allow"]), (405, &HeaderValue::from_static("POST")));
        }
    }
    assert_eq!(app.seen().len(), 0);
    let refused = "vestibule_requests_total{outcome=\"login\",code=\"405\"}";
    eventually("48 refusals", async || (vestibule.metrics().await.value(refused) == 48.0).then_some(())).await;
    assert_eq!(vestibule.metrics().await.sum("vestibule_requests_total"), 49.0);
}

#[tokio::test]
async fn what_was_sent_is_not_told_again() {
    let vestibule = Setup::new().start().await;
    let secret = "hunter2-a8Zq";
    for body in [
        format!(r#"{{"userName":"admin","pwd":"{secret}"}}"#),
        format!(r#"{{"userName":"admin","pwd":{{"{secret}":1}}}}"#),
        format!(r#"{{"userName":"admin","pwd":"a","{secret}":1,"{secret}":2}}"#),
        secret.to_owned(),
    ] {
        let answer = vestibule.client().send(post(DENSIFY).body(body)).await;
        assert!((400..500).contains(&answer.status) && !answer.text().contains(secret), "{answer:?}");
    }
    let basic = vestibule.client().send(post(DENSIFY).basic("off", secret)).await;
    assert_eq!(basic.json(), json!({"message": "Unauthorized", "status": 401}));
    vestibule.event("login", |login| login["user"] == "off").await;
    let told: Vec<Value> =
        vestibule.lines().into_iter().filter(|line| line.contains(secret)).map(Value::from).collect();
    assert_eq!(told, Vec::<Value>::new());
}
