//! The login endpoints: what a right password earns, in both dialects and from every kind of store entry.

mod malformed;
mod refresh;
mod refused;
mod throttled;

use serde_json::{Value, json};

use crate::support::*;

const DENSIFY: &str = "/authorize";
const REDIS: &str = "/v1/users/authorize";
const REFRESH: &str = "/v1/users/refresh_jwt";

/// A login with the credentials in the body of each dialect.
fn login_call(path: &str, user: &str, password: &str) -> Call {
    let (name, pwd) = if path == DENSIFY { ("userName", "pwd") } else { ("username", "password") };
    post(path).json(&json!({name: user, pwd: password}))
}

/// Status, content type and caching, and the body.
fn assert_answer(answer: &Answer, status: u16, body: &Value) {
    assert_eq!((answer.status, answer.json()), (status, body.clone()), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no string {member}: {value}"))
}

#[tokio::test]
async fn both_dialects_give_a_token_for_body_and_basic_credentials() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        for path in [DENSIFY, REDIS] {
            for call in [
                login_call(path, "admin", "admin-password"),
                post(path).basic("admin", "admin-password"),
                login_call(path, "admin", "admin-password").basic("admin", "admin-password"),
            ] {
                let answer = client.send(call).await;
                let body = answer.json();
                let token = text(&body, if path == DENSIFY { "apiToken" } else { "access_token" });
                let (_, claims) = decode(token);
                let expires = claims["exp"].as_u64().expect("an integer") * 1000;
                let expected = match path {
                    DENSIFY => json!({"apiToken": token, "expires": expires, "status": 200}),
                    _ => json!({"access_token": token}),
                };
                assert_answer(&answer, 200, &expected);
                assert_eq!(client.send(get("/").bearer(token)).await.status, 200);
            }
        }
    }
    assert!(app.seen().iter().all(|seen| seen.target == "/"), "logins never reach the application");
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"densify\",outcome=\"granted\"}"), 6.0);
    assert_eq!(metrics.value("vestibule_authorize_total{dialect=\"redis\",outcome=\"granted\"}"), 6.0);
    assert_eq!(metrics.value("vestibule_authorize_duration_seconds_count{dialect=\"redis\",outcome=\"granted\"}"), 6.0);
    assert_eq!(metrics.value("vestibule_requests_total{outcome=\"login\",code=\"200\"}"), 12.0);
}

#[tokio::test]
async fn a_token_says_exactly_what_is_promised() {
    let vestibule = Setup::new().start().await;
    let (began, token, ended) = (now(), vestibule.token("admin").await, now());
    let (header, claims) = decode(&token);
    let ring = vestibule.ring();
    assert_eq!(header, json!({"alg": "HS512", "kid": ring[0].kid()}));
    let iat = claims["iat"].as_u64().expect("an integer");
    assert!((began..=ended).contains(&iat), "{claims}");
    let jti = text(&claims, "jti");
    let shape: String = jti.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
    assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    let cred = credential(&argon2("admin-password"));
    let expected = json!({
        "jti": jti, "iat": iat, "sub": "admin", "iss": "vestibule", "exp": iat + 300, "auth_time": iat,
        "groups": ["Administrator"], "cred": cred,
    });
    assert_eq!(claims, expected);
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS512);
    validation.set_issuer(&["vestibule"]);
    let secret = jsonwebtoken::DecodingKey::from_secret(&ring[0].bytes("k"));
    jsonwebtoken::decode::<Value>(&token, &secret, &validation).expect("a token that others can verify");
    let (_, again) = decode(&vestibule.token("admin").await);
    assert_ne!(again["jti"], claims["jti"]);
}

#[tokio::test]
async fn issuer_audience_and_ttl_are_as_configured() {
    let config = "tokens: {issuer: me, audience: you, ttl: 7m, maxTtl: 10m, algorithm: EdDSA}";
    let vestibule = Setup::new().config(config).start().await;
    let (header, claims) = decode(&vestibule.token("admin").await);
    assert_eq!((text(&header, "alg"), text(&claims, "iss"), text(&claims, "aud")), ("EdDSA", "me", "you"));
    assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + 420));
    for (ttl, status) in [(1, 200), (600, 200), (601, 400)] {
        let body = json!({"userName": "admin", "pwd": "admin-password", "ttl": ttl});
        let answer = vestibule.client().send(post(DENSIFY).json(&body)).await;
        assert_eq!(answer.status, status, "{ttl}");
        if status == 200 {
            let (_, claims) = decode(text(&answer.json(), "apiToken"));
            assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + ttl));
        }
    }
}

#[tokio::test]
async fn a_ttl_may_come_with_basic_credentials() {
    let vestibule = Setup::new().start().await;
    for path in [DENSIFY, REDIS] {
        let call = post(path).basic("admin", "admin-password").body("{\"ttl\": 86400}");
        let body = vestibule.client().send(call).await.json();
        let (_, claims) = decode(text(&body, if path == DENSIFY { "apiToken" } else { "access_token" }));
        assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + 86_400));
    }
}

#[tokio::test]
async fn a_token_never_outlives_its_key_and_the_answer_says_so() {
    let ends = now() + 1000;
    let key = Jwk::fresh("HS512", "k1").with(&json!({"exp": ends}));
    let vestibule = Setup::new().keys(&[key]).start().await;
    let body = json!({"userName": "admin", "pwd": "admin-password", "ttl": 3600});
    let answer = vestibule.client().send(post(DENSIFY).json(&body)).await.json();
    assert_eq!(decode(text(&answer, "apiToken")).1["exp"], ends);
    assert_eq!(answer["expires"], ends * 1000);
}

#[tokio::test]
async fn a_user_with_two_passwords_has_both_and_the_token_says_which() {
    let vestibule = Setup::new().start().await;
    for password in ["two-password", "two-new"] {
        let answer = vestibule.client().login("two", password).await.json();
        assert_eq!(decode(text(&answer, "apiToken")).1["cred"], credential(&argon2(password)));
    }
}

#[tokio::test]
async fn htpasswd_users_log_in_and_yaml_gives_them_groups() {
    let app = App::start().await;
    let (ann, bob, cy) = ("ann:correct", htpasswd_line("bob", "bob-password"), htpasswd_line("cy", "cy-password"));
    let users = json!({"users": {"bob": {"groups": ["SaaS_User"]}, "cy": {"disabled": true}}});
    let setup = Setup::new().upstream(&app).users(&users);
    // The entry `auth` is htpasswd as well; a comment and an unusable hash hold nobody else up.
    let setup = setup.file("users/auth", &format!("# people\n{bob}\n{cy}"));
    let vestibule = setup.file("users/more.htpasswd", &format!("{}{ann}\n", htpasswd_line("dee", "d:e"))).start().await;
    let client = vestibule.client();
    for (user, password, status) in
        [("bob", "bob-password", 200), ("dee", "d:e", 200), ("cy", "cy-password", 401), ("ann", "correct", 401)]
    {
        assert_eq!(client.send(post(DENSIFY).basic(user, password)).await.status, status, "{user}");
    }
    let body = client.login("bob", "bob-password").await.json();
    let token = text(&body, "apiToken");
    assert_eq!(decode(token).1["groups"], json!(["SaaS_User"]));
    assert_eq!(client.send(get("/").bearer(token)).await.status, 200);
    let metrics = vestibule.metrics().await;
    let users = |state: &str| metrics.value(&format!("vestibule_users{{state=\"{state}\"}}"));
    assert_eq!((users("active"), users("disabled"), users("unusable")), (2.0, 1.0, 1.0));
}

#[tokio::test]
async fn paths_can_be_several_renamed_or_switched_off() {
    let app = App::start().await;
    let paths = "authorize: {paths: {densify: [/authorize, /api/v2/authorize], redis: /login, refresh: null}}";
    let vestibule = Setup::new().upstream(&app).config(paths).start().await;
    let (client, token) = (vestibule.client(), vestibule.token("admin").await);
    assert_eq!(client.send(login_call(DENSIFY, "admin", "admin-password")).await.status, 200);
    assert_eq!(client.send(post("/api/v2/authorize?x=1").basic("admin", "admin-password")).await.status, 200);
    assert_eq!(client.send(login_call("/login", "admin", "admin-password")).await.status, 200);
    assert_eq!(app.seen().len(), 0);
    // What is no login path is the application's, and needs a token like all else.
    for path in [REDIS, REFRESH, "/authorize/", "/Authorize", "//authorize"] {
        assert_eq!(client.send(login_call(path, "admin", "admin-password")).await.status, 401, "{path}");
        assert_eq!(client.send(post(path).bearer(&token)).await.text(), "hello", "{path}");
    }
}
