//! The configuration file: `access` and `throttle` count at once, all else after a restart.

use serde_json::{Value, json};

use super::*;

/// The configuration as it stands, to be changed.
fn config(vestibule: &Vestibule) -> Value {
    let text = fs::read_to_string(vestibule.path("vestibule.yaml")).expect("the configuration");
    serde_json::from_str(&text).expect("written as JSON")
}

#[tokio::test]
async fn rules_groups_and_names_change_at_once() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).start().await;
    let (admin, reader) = (vestibule.token("admin").await, vestibule.token("reader").await);
    let mut connection = vestibule.client().connect().await;
    assert_eq!(connection.send(get("/open")).await.status, 401);
    assert_eq!(connection.send(get("/").bearer(&reader)).await.status, 403);
    let mut next = config(&vestibule);
    next["access"] = json!({
        "rules": [{"path": "/open", "allow": "anyone"}],
        "apiGroups": ["Readers"],
        "identityHeaders": {"user": "Remote-User"},
    });
    vestibule.reload("config", "vestibule.yaml", &next.to_string()).await;
    assert_eq!(connection.send(get("/open")).await.status, 200);
    assert_eq!(connection.send(get("/").bearer(&reader)).await.status, 200);
    assert_eq!(app.last().header("remote-user"), Some("reader"));
    assert_eq!(connection.send(get("/").bearer(&admin)).await.status, 403);
    next["access"]["mode"] = json!("shadow");
    vestibule.reload("config", "vestibule.yaml", &next.to_string()).await;
    assert_eq!(connection.send(get("/").bearer(&admin)).await.status, 200);
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let app = App::start().await;
    let rules = "access: {rules: [{path: /open, allow: anyone}]}";
    let vestibule = Setup::new().upstream(&app).config(rules).start().await;
    let good = config(&vestibule);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut next = good.clone();
        change(&mut next);
        next.to_string()
    };
    for (what, text) in [
        ("no YAML", "access: [".to_owned()),
        ("an empty file", String::new()),
        ("an unknown key", with(&|next| next["access"]["rulez"] = json!([]))),
        ("a rule that says nothing", with(&|next| next["access"]["rules"] = json!([{"path": "/open"}]))),
        (
            "a rule that says two things",
            with(&|next| {
                next["access"]["rules"] = json!([{"path": "/open", "allow": "anyone", "groups": ["a"]}]);
            }),
        ),
        ("another bad part", with(&|next| next["limits"] = json!({"headerBytes": "many"}))),
    ] {
        reloaded(&vestibule, "config", "error", || vestibule.replace("vestibule.yaml", &text)).await;
        assert_eq!(vestibule.client().send(get("/open")).await.status, 200, "{what}");
        assert_eq!(vestibule.client().send(get("/")).await.status, 401, "{what}");
    }
    let event = vestibule.event("reload", |event| event["outcome"] == "error").await;
    assert_eq!(event["what"], "config");
    let closed = with(&|next| next["access"]["rules"] = json!([]));
    vestibule.reload("config", "vestibule.yaml", &closed).await;
    assert_eq!(vestibule.client().send(get("/open")).await.status, 401);
}

#[tokio::test]
async fn the_throttle_changes_at_once_and_the_rest_waits_for_a_restart() {
    let vestibule = Setup::new().config("throttle: {first: 1h, max: 2h, forgetAfter: 3h}").start().await;
    assert_eq!(vestibule.client().login("admin", "wrong").await.status, 401);
    let waiting = vestibule.client().login("admin", "admin-password").await;
    assert_eq!(waiting.status, 429);
    let mut next = config(&vestibule);
    next["throttle"] = json!({"first": "1ms", "max": "2ms", "forgetAfter": "1m", "entries": 77});
    next["tokens"] = json!({"issuer": "another"});
    vestibule.reload("config", "vestibule.yaml", &next.to_string()).await;
    assert_eq!(vestibule.client().login("reader", "wrong").await.status, 401);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let token = vestibule.token("reader").await;
    assert_eq!(decode(&token).1["iss"], "vestibule");
    assert_eq!(vestibule.metrics().await.value("vestibule_throttled_entries_limit"), 77.0);
    vestibule.event("config_warning", |event| event["message"].to_string().contains("restart")).await;
    // Only what cannot be taken over has changed: no reload.
    let before = count(&vestibule, "config", "ok").await;
    next["tokens"] = json!({"issuer": "third"});
    vestibule.replace("vestibule.yaml", &next.to_string());
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(count(&vestibule, "config", "ok").await, before);
}

#[tokio::test]
async fn a_mounted_configuration_is_followed() {
    let app = App::start().await;
    let setup = Setup::new().upstream(&app).config_file("mounted/vestibule.yaml");
    let volume = setup.path("mounted");
    // What `serve` is given is a link into the volume; the text is what the harness writes beside it.
    let text = |open: &str| {
        let mut config = setup.as_configured();
        config["access"] = json!({"rules": [{"path": open, "allow": "anyone"}]});
        config.to_string()
    };
    let texts: Vec<_> = (0..5).map(|version| text(&format!("/v{version}"))).collect();
    publish(&volume, "0", &[("vestibule.yaml", &texts[0])]);
    let vestibule = setup.start().await;
    let mut connection = vestibule.client().connect().await;
    for (version, text) in texts.iter().enumerate() {
        if version > 0 {
            let name = format!("bad{version}");
            let bad = || publish(&volume, &name, &[("vestibule.yaml", &text[..text.len() / 2])]);
            reloaded(&vestibule, "config", "error", bad).await;
            assert_eq!(connection.send(get(&format!("/v{}", version - 1))).await.status, 200, "the last good one");
            let good = || publish(&volume, &version.to_string(), &[("vestibule.yaml", text)]);
            reloaded(&vestibule, "config", "ok", good).await;
        }
        for other in 0..texts.len() {
            let status = connection.send(get(&format!("/v{other}"))).await.status;
            assert_eq!(status, if other == version { 200 } else { 401 }, "version {version}, path /v{other}");
        }
    }
    assert!(!connection.is_closed());
    assert_eq!(count(&vestibule, "config", "ok").await, 4.0);
    assert_eq!(count(&vestibule, "config", "error").await, 4.0);
}

#[tokio::test]
async fn each_bad_version_counts_once() {
    let vestibule = Setup::new().start().await;
    let good = fs::read_to_string(vestibule.path("vestibule.yaml")).expect("the configuration");
    let bad = |limit: &str| good.replacen('{', &format!("{{\"limits\": {{\"headerBytes\": {limit}}},"), 1);
    for (round, text) in [bad("true"), bad("true ")].iter().enumerate() {
        reloaded(&vestibule, "config", "error", || vestibule.replace("vestibule.yaml", text)).await;
        for _ in 0..3 {
            vestibule.replace("vestibule.yaml", text);
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
        assert_eq!(count(&vestibule, "config", "error").await, (round + 1) as f64);
    }
    let errors: Vec<_> = vestibule.events("reload").into_iter().map(|event| event["error"].clone()).collect();
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0], errors[1], "the error is the same and the version is not");
    vestibule.replace("vestibule.yaml", &good);
    reloaded(&vestibule, "config", "error", || vestibule.replace("vestibule.yaml", &bad("false"))).await;
    assert_eq!(count(&vestibule, "config", "ok").await, 0.0, "back to what is in force is no reload");
}
