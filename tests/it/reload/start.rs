//! Stores that are bad at the very start: the process stays, says which, and recovers.

use serde_json::json;

use super::*;

/// Not ready for this reason, and no login is possible.
async fn waits(vestibule: &Vestibule, which: &str) {
    let (status, text) = vestibule.admin("/readyz").await;
    assert_eq!(status, 503, "{text}");
    assert!(text.lines().any(|line| line.contains(which)), "it says which: {text}");
    assert_eq!(vestibule.admin("/livez").await.0, 200);
    let answer = vestibule.client().login("admin", "admin-password").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["status"], 503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(vestibule.client().send(get("/").bearer("a.b.c")).await.status, 401);
}

#[tokio::test]
async fn users_that_are_bad_at_the_start() {
    for (what, text) in [
        ("no YAML", "users: [unclosed"),
        ("another shape", "[]"),
        ("a name twice", "users: {a: {passwords: []}, a: {passwords: []}}"),
    ] {
        let setup = Setup::new().file("users/users.yaml", text).without_readiness();
        let vestibule = setup.start().await;
        waits(&vestibule, "users").await;
        vestibule.event("store_failed", |event| event["store"] == "users").await;
        vestibule.replace("users/users.yaml", &default_users().to_string());
        vestibule.ready().await;
        eventually(&format!("a login: {what}"), async || {
            (vestibule.client().login("admin", "admin-password").await.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_directory_that_is_not_there_yet() {
    for name in ["users", "keys"] {
        let setup = Setup::new().without_readiness();
        fs::remove_dir_all(setup.path(name)).expect("a directory");
        let vestibule = setup.start().await;
        waits(&vestibule, name).await;
        let metrics = vestibule.metrics().await;
        let series = format!("vestibule_store_errors_total{{store=\"{name}\",reason=\"missing\"}}");
        assert!(metrics.value(&series) >= 1.0);
        fs::create_dir(vestibule.path(name)).expect("a directory");
        if name == "users" {
            vestibule.replace("users/users.yaml", &default_users().to_string());
        }
        vestibule.ready().await;
        eventually("a login", async || {
            (vestibule.client().login("admin", "admin-password").await.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn keys_that_are_bad_at_the_start() {
    let key = Jwk::fresh("HS512", "one");
    for (what, text) in [("no JSON", "{"), ("another shape", "[1]"), ("an empty object", "{}")] {
        let setup = Setup::new().file("keys/keys.jwks", text).without_readiness();
        let vestibule = setup.start().await;
        waits(&vestibule, "keys").await;
        assert_eq!(fs::read_to_string(vestibule.path("keys/keys.jwks")).expect("a file"), text, "{what}: not touched");
        vestibule.replace("keys/keys.jwks", &Jwk::ring(std::slice::from_ref(&key)));
        vestibule.ready().await;
        assert_eq!(decode(&vestibule.token("admin").await).0["kid"], "one", "{what}");
    }
}

/// Only keys that verify, or that do not sign yet.
#[tokio::test]
async fn a_ring_without_a_signer() {
    let app = App::start().await;
    let retired = Jwk::fresh("HS512", "retired").with(&json!({"exp": now() + 60}));
    let pending = Jwk::fresh("HS512", "pending").with(&json!({"nbf": now() + 3600}));
    let setup = Setup::new().upstream(&app).keys(&[retired.clone(), pending]).without_readiness();
    // A Secret that is mounted cannot be written, so nobody brings a successor forward.
    let volume = setup.path("mounted");
    let ring = fs::read_to_string(setup.path("keys/keys.jwks")).expect("a ring");
    publish(&volume, "1", &[("keys.jwks", &ring)]);
    let config = format!("store: {{directory: {{keys: {}}}}}", volume.display());
    let vestibule = setup.config(&config).start().await;
    waits(&vestibule, "key").await;
    // What was issued goes on to count.
    assert_eq!(vestibule.client().send(get("/").bearer(&retired.token(&claims("admin")))).await.status, 200);
    let signer = Jwk::fresh("HS512", "signer");
    publish(&volume, "2", &[("keys.jwks", &Jwk::ring(&[retired, signer]))]);
    vestibule.ready().await;
    assert_eq!(decode(&vestibule.token("admin").await).0["kid"], "signer");
}
