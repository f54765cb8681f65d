//! The log: one JSON object a line, audit events with their fields, and no secret at any level.

use serde_json::{Value, json};

use super::*;

fn parsed(vestibule: &Vestibule) -> Vec<Value> {
    let lines = vestibule.lines();
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test]
async fn every_line_is_one_object() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config("log: {level: trace}").start().await;
    let token = vestibule.token("admin").await;
    for value in ["plain", "quote\"d", "back\\slash", "tab\tbed", "\u{7f}", "{\"event\":\"login\"}"] {
        drop(
            vestibule
                .client()
                .raw(format!("GET /open HTTP/1.1\r\nHost: a\r\nX-Request-Id: {value}\r\nUser-Agent: {value}\r\n\r\n"))
                .await,
        );
    }
    drop(vestibule.client().raw(b"GET /open/\xff\xfe HTTP/1.1\r\nHost: a\r\nX-Request-Id: \xff\xfe\r\n\r\n").await);
    vestibule.client().login("na\u{2028}me\"\n\u{1b}[31m", "x").await;
    vestibule.client().send(get("/a?secret=query").bearer(&token)).await;
    vestibule.event("access", |line| line["path"] == "/a").await;
    let lines = parsed(&vestibule);
    assert!(lines.len() > 10);
    for line in &lines {
        for name in ["timestamp", "level", "event", "message"] {
            assert!(line[name].is_string(), "{name}: {line}");
        }
        assert!(["trace", "debug", "info", "warn", "error"].contains(&line["level"].as_str().expect("text")), "{line}");
        let timestamp = line["timestamp"].as_str().expect("text");
        assert!(timestamp.ends_with('Z') && timestamp.len() >= 20, "{timestamp}");
    }
    // Nobody forges a line.
    let logins = lines.iter().filter(|line| line["event"] == "login").count();
    assert_eq!(logins, 2);
    assert!(!vestibule.lines().join("\n").contains("secret=query"), "the path comes without its query");
}

#[tokio::test]
async fn the_access_log() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let token = vestibule.token("admin").await;
    let call = post("/a?b").bearer(&token).header("x-request-id", "id-1").body("four");
    vestibule.client().http2().send(call).await;
    let line = vestibule.event("access", |line| line["request_id"] == "id-1").await;
    for (name, value) in [
        ("method", json!("POST")),
        ("path", json!("/a")),
        ("status", json!(200)),
        ("outcome", json!("forwarded")),
        ("bytes_in", json!(4)),
        ("bytes_out", json!(5)),
        ("user", json!("admin")),
        ("source", json!("127.0.0.1")),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    let times = line
        .as_object()
        .expect("an object")
        .keys()
        .filter(|name| ["duration", "upstream"].iter().any(|time| name.starts_with(time)));
    assert_eq!(times.count(), 2, "{line}");
    let quiet = Setup::new().upstream(&app).config(OPEN).config("log: {access: false}").start().await;
    quiet.client().send(get("/open")).await;
    quiet.token("admin").await;
    quiet.event("login", |_| true).await;
    assert!(quiet.events("access").is_empty());
}

#[tokio::test]
async fn logins_and_refusals_are_audit_events() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let token = vestibule.token("admin").await;
    let (header, payload) = decode(&token);
    let granted = vestibule.event("login", |line| line["outcome"] == "granted").await;
    for (name, value) in [
        ("user", json!("admin")),
        ("source", json!("127.0.0.1")),
        ("kid", header["kid"].clone()),
        ("jti", payload["jti"].clone()),
    ] {
        assert_eq!(granted[name], value, "{name}: {granted}");
    }
    assert!(granted["request_id"].is_string());
    for (user, password, id, outcome) in [
        ("reader", "wrong", "l-1", "denied"),
        ("reader", "wrong", "l-2", "throttled"),
        ("expired", "expired-password", "l-3", "expired"),
        ("nobody", "x", "l-4", "denied"),
        ("off", "off-password", "l-5", "denied"),
    ] {
        let body = json!({"userName": user, "pwd": password});
        vestibule.client().send(post("/authorize").header("x-request-id", id).json(&body)).await;
        let line = vestibule.event("login", |line| line["request_id"] == id).await;
        assert_eq!((&line["outcome"], &line["source"]), (&json!(outcome), &json!("127.0.0.1")), "{line}");
        assert_eq!(line["user"], user, "{line}");
    }
    let refresh = post("/v1/users/refresh_jwt").bearer(&token).header("x-request-id", "r-1");
    vestibule.client().send(refresh).await;
    let line = vestibule.event("refresh", |line| line["request_id"] == "r-1").await;
    assert_eq!((&line["user"], &line["outcome"]), (&json!("admin"), &json!("granted")));
    for (call, id, outcome) in [
        (get("/x"), "f-1", "unauthenticated"),
        (get("/x").bearer("a.b.c"), "f-2", "unauthenticated"),
        (get("/open//x"), "f-3", "bad_request"),
    ] {
        vestibule.client().send(call.header("x-request-id", id)).await;
        let line = vestibule.event("refusal", |line| line["request_id"] == id).await;
        assert_eq!((&line["outcome"], &line["source"]), (&json!(outcome), &json!("127.0.0.1")), "{line}");
        assert!(line["reason"].is_string());
    }
}

/// A refusal of somebody who is known says who it was.
#[tokio::test]
async fn a_forbidden_user_is_named() {
    let vestibule = Setup::new().start().await;
    let token = vestibule.token("reader").await;
    vestibule.client().send(get("/x").bearer(&token)).await;
    let line = vestibule.event("refusal", |line| line["outcome"] == "forbidden").await;
    assert_eq!((&line["user"], &line["jti"]), (&json!("reader"), &decode(&token).1["jti"]), "{line}");
    assert_eq!(line["kid"], decode(&token).0["kid"]);
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_any_level() {
    let app = App::start().await;
    for (algorithm, member) in [("HS512", "k"), ("ES256", "d")] {
        let key = Jwk::fresh(algorithm, "first");
        let mut users = default_users();
        users["users"]["crypt"] = json!({"passwords": [{"hash": bcrypt("crypt-password")}]});
        let hashes: Vec<String> = users["users"]
            .as_object()
            .expect("users")
            .values()
            .flat_map(|user| user["passwords"].as_array().expect("passwords"))
            .map(|password| password["hash"].as_str().expect("a hash").to_owned())
            .collect();
        let setup = Setup::new().upstream(&app).users(&users).keys(std::slice::from_ref(&key));
        let pair = setup.issue(30);
        let vestibule = setup.config("log: {level: trace}").start().await;
        let mut secrets = hashes;
        let mut tokens = Vec::new();
        for user in ["admin", "reader", "two", "crypt"] {
            secrets.push(password_of(user));
            let answer = vestibule.client().login(user, &password_of(user)).await;
            tokens.push(answer.json()["apiToken"].as_str().expect("a token").to_owned());
        }
        for (user, password) in [("admin", "guess-one-1"), ("off", "off-password"), ("expired", "expired-password")] {
            secrets.push(password.to_owned());
            vestibule.client().login(user, password).await;
            let call = post("/v1/users/authorize").basic(user, password);
            vestibule.client().from("127.0.0.2").send(call).await;
        }
        // In every place where a careless client may put one.
        vestibule.client().send(post("/authorize").body("{\"userName\": \"admin\", \"pwd\": \"guess-two-2")).await;
        vestibule.client().send(post("/authorize?pwd=guess-three-3").body("x")).await;
        secrets.extend(["guess-two-2", "guess-three-3"].map(str::to_owned));
        for token in tokens.clone() {
            vestibule.client().send(get("/").bearer(&token)).await;
            vestibule.client().send(get(&format!("/?access_token={token}")).header("cookie", &token)).await;
            vestibule.client().send(post("/v1/users/refresh_jwt").bearer(&token)).await;
            vestibule.client().send(get("/").bearer(&token).bearer(&token)).await;
            vestibule.client().send(get("/").bearer(&token[..token.len() - 2])).await;
            secrets.push(token.split('.').nth(2).expect("a signature")[..40].to_owned());
        }
        secrets.push(key.0[member].as_str().expect("a secret").to_owned());
        secrets.push(pair.key.lines().nth(1).expect("a key has lines").to_owned());
        // Reloads of everything, good and bad.
        vestibule.replace("tls.key", &pair.key);
        vestibule.replace("tls.crt", &pair.certificate);
        vestibule.replace("users/users.yaml", &format!("{}, broken", users));
        vestibule.event("store_failed", |line| line["store"] == "users").await;
        vestibule.replace("keys/keys.jwks", &format!("{}, broken", Jwk::ring(std::slice::from_ref(&key))));
        vestibule.event("store_failed", |line| line["store"] == "keys").await;
        users["users"]["admin"]["passwords"] = json!([{"hash": "$apr1$saltsalt$broken-hash-value"}]);
        vestibule.users(&users).await;
        secrets.push("broken-hash-value".to_owned());
        let next = Jwk::fresh(algorithm, "second");
        vestibule.keys(&[key, next.clone()]).await;
        secrets.push(next.0[member].as_str().expect("a secret").to_owned());
        let lines = vestibule.lines().join("\n");
        for secret in &secrets {
            assert!(!lines.contains(secret.as_str()), "{secret:?} is in the log");
        }
        // Nor in what the admin listener says.
        let (_, metrics) = vestibule.admin("/metrics").await;
        assert!(secrets.iter().all(|secret| !metrics.contains(secret.as_str())));
    }
}
