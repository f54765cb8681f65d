//! The user table.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_new_table_counts_at_once_and_drops_no_connection() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    assert_eq!(count(&vestibule, "users", "ok").await, 0.0, "the first reading is no reload");
    let token = vestibule.token("admin").await;
    let mut connection = vestibule.client().connect().await;
    assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200);
    let mut users = default_users();
    users["users"]["fresh"] = users["users"]["admin"].clone();
    vestibule.users(&users).await;
    assert_eq!(vestibule.client().login("fresh", "admin-password").await.status, 200);
    assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200);
    users["users"]["admin"]["disabled"] = json!(true);
    vestibule.users(&users).await;
    assert_eq!(connection.send(get("/").bearer(&token)).await.status, 401);
    assert!(!connection.is_closed());
    let event = vestibule.event("reload", |event| event["what"] == "users").await;
    assert_eq!(event["outcome"], "ok");
    let metrics = vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_users{state=\"disabled\"}"), 2.0);
    // The same again is no reload.
    vestibule.replace("users/users.yaml", &users.to_string());
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(count(&vestibule, "users", "ok").await, 2.0);
}

#[tokio::test]
async fn a_bad_table_leaves_the_last_good_one() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    let twice = "users: {admin: {passwords: []}, admin: {passwords: []}}";
    for (what, text) in [
        ("no YAML", "users: [unclosed"),
        ("half of it", &default_users().to_string()[..200]),
        ("another shape", "- a\n- b\n"),
        ("a name twice", twice),
        ("an unknown key", "users: {admin: {passwrods: []}}"),
        ("a wrong type", "users: {admin: {disabled: perhaps}}"),
        ("noise", "\0\u{1}\u{2}"),
    ] {
        reloaded(&vestibule, "users", "error", || vestibule.replace("users/users.yaml", text)).await;
        assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200, "{what}");
        assert_eq!(login_status(&vestibule, "two").await, 200, "{what}");
        assert_eq!(vestibule.admin("/readyz").await.0, 200, "{what}");
    }
    let metrics = vestibule.metrics().await;
    assert!(metrics.value("vestibule_store_errors_total{store=\"users\",reason=\"invalid\"}") >= 7.0);
    vestibule.event("store_failed", |event| event["store"] == "users").await;
    vestibule.users(&json!({"users": {"two": default_users()["users"]["two"]}})).await;
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 401);
    vestibule.event("store_recovered", |event| event["store"] == "users").await;
}

#[tokio::test]
async fn a_name_in_two_documents_is_an_error() {
    let vestibule = Setup::new().start().await;
    reloaded(&vestibule, "users", "error", || vestibule.replace("users/more.htpasswd", &htpasswd_line("admin", "x")))
        .await;
    assert_eq!(login_status(&vestibule, "admin").await, 200);
    assert_eq!(vestibule.client().login("admin", "x").await.status, 401);
    reloaded(&vestibule, "users", "ok", || vestibule.replace("users/more.htpasswd", &htpasswd_line("another", "x")))
        .await;
    assert_eq!(vestibule.client().login("another", "x").await.status, 200);
}

/// An empty table is obeyed, a missing directory is not.
#[tokio::test]
async fn nobody_and_nothing_are_two_things() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let token = vestibule.token("admin").await;
    fs::rename(vestibule.path("users"), vestibule.path("users-away")).expect("a rename");
    eventually("a missing directory is told", async || {
        let metrics = vestibule.metrics().await;
        metrics.find("vestibule_store_errors_total{store=\"users\",reason=\"missing\"}").filter(|count| *count > 0.0)
    })
    .await;
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200);
    assert_eq!(login_status(&vestibule, "admin").await, 200);
    fs::rename(vestibule.path("users-away"), vestibule.path("users")).expect("a rename");
    vestibule.event("store_recovered", |event| event["store"] == "users").await;
    for (what, text) in [("no users", "users: {}"), ("an empty file", "")] {
        assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 200, "{what}");
        vestibule.reload("users", "users/users.yaml", text).await;
        assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 401, "{what}");
        vestibule.users(&default_users()).await;
    }
    reloaded(&vestibule, "users", "ok", || {
        fs::remove_file(vestibule.path("users/users.yaml")).expect("a file to remove");
    })
    .await;
    assert_eq!(vestibule.client().send(get("/").bearer(&token)).await.status, 401);
    assert_eq!(vestibule.metrics().await.sum("vestibule_users"), 0.0);
}

#[tokio::test]
async fn an_unusable_hash_costs_its_user_alone() {
    let vestibule = Setup::new().start().await;
    let mut users = default_users();
    users["users"]["two"]["passwords"][0]["hash"] = json!("$apr1$salt$0123456789012345678901");
    users["users"]["admin"]["passwords"][0]["hash"] = json!("{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
    vestibule.users(&users).await;
    assert_eq!(login_status(&vestibule, "two").await, 401, "its first password is none any more");
    assert_eq!(login_status(&vestibule, "admin").await, 401);
    assert_eq!(login_status(&vestibule, "reader").await, 200);
    assert_eq!(vestibule.client().from("127.0.0.2").login("two", "two-new").await.status, 200);
    let warning = vestibule.event("user_unusable", |event| event.to_string().contains("admin")).await;
    assert!(!warning.to_string().contains("2jmj7l5r"), "no hash in the log: {warning}");
    assert_eq!(vestibule.metrics().await.value("vestibule_users{state=\"unusable\"}"), 1.0);
}

#[tokio::test]
async fn a_mounted_secret_is_followed() {
    let setup = Setup::new();
    let volume = setup.path("mounted");
    let text = default_users().to_string();
    publish(&volume, "1", &[("users.yaml", &text)]);
    let config = format!("store: {{directory: {{users: {}}}}}", volume.display());
    let app = App::start().await;
    let vestibule = setup.upstream(&app).config(&config).start().await;
    let token = vestibule.token("admin").await;
    let mut users = default_users();
    for version in 2..6 {
        let disabled = version % 2 == 0;
        users["users"]["admin"]["disabled"] = json!(disabled);
        let text = users.to_string();
        reloaded(&vestibule, "users", "ok", || publish(&volume, &version.to_string(), &[("users.yaml", &text)])).await;
        let status = vestibule.client().send(get("/").bearer(&token)).await.status;
        assert_eq!(status, if disabled { 401 } else { 200 }, "version {version}");
    }
    assert_eq!(vestibule.metrics().await.counted("vestibule_store_errors_total"), []);
}

/// Each bad version counts and is logged once, whatever its error says; what cannot be read at all as well.
#[tokio::test]
async fn each_bad_version_counts_once() {
    let vestibule = Setup::new().start().await;
    for (round, text) in ["- a", "- b"].iter().enumerate() {
        reloaded(&vestibule, "users", "error", || vestibule.replace("users/users.yaml", text)).await;
        for _ in 0..3 {
            vestibule.replace("users/users.yaml", text);
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
        assert_eq!(count(&vestibule, "users", "error").await, (round + 1) as f64);
    }
    // More than is ever read: invalid without a look at it.
    let huge = vestibule.path("users/huge.yaml");
    reloaded(&vestibule, "users", "error", || {
        let file = fs::File::create(&huge).expect("a file");
        file.set_len((64 << 20) + 1).expect("a file with a hole");
    })
    .await;
    for more in 2..5 {
        fs::File::options().append(true).open(&huge).and_then(|file| file.set_len((64 << 20) + more)).expect("a file");
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    assert_eq!(count(&vestibule, "users", "error").await, 3.0);
    let errors: Vec<_> = vestibule.events("store_failed").into_iter().map(|event| event["error"].clone()).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert_eq!(errors[0], errors[1], "the error is the same and the version is not");
}
