//! Users in Secrets: what is changed there is in force at once, and what is wrong there changes nothing.

use serde_json::json;

use crate::cluster::{Cluster, KEYS, USERS, kubectl, named, namespace};
use crate::shell::Shell;
use crate::sidecar::{Running, disable_admin, secrets, sidecar, users_with};
use crate::support::figures::figure;
use crate::support::{argon2, default_users, eventually, htpasswd_line, password_of};

#[tokio::test]
async fn users_log_in_as_soon_as_they_are_added_and_are_refused_as_soon_as_they_are_disabled() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    let trail = account.trail(&ns);
    let running = Running::start(sidecar(&account.kubeconfig().await)).await;
    let token = running.vestibule.token("admin").await;
    assert_eq!(running.status(&token).await, 200);

    let new = json!({"groups": ["Administrator"], "passwords": [{"hash": argon2("new-password")}]});
    running.vestibule.reloaded("users", "ok", ns.set(USERS, &[("users.yaml", users_with("new", &new))])).await;
    assert_eq!(running.login("new", "new-password").await, 200);
    disable_admin(&ns, true).await;
    running.comes_to(&token, 401).await;
    // Every entry counts, and an entry that goes.
    running
        .vestibule
        .reloaded("users", "ok", ns.set(USERS, &[("more.htpasswd", htpasswd_line("late", "late-password"))]))
        .await;
    assert_eq!(running.login("late", "late-password").await, 200);
    running.vestibule.reloaded("users", "ok", ns.unset(USERS, "users.yaml")).await;
    assert_eq!(running.login("two", &password_of("two")).await, 401);
    running.vestibule.reloaded("users", "ok", ns.unset(USERS, "more.htpasswd")).await;
    assert_eq!(running.login("late", "late-password").await, 401);
    assert_eq!(running.vestibule.admin("/readyz").await, (200, "ready\n".to_owned()), "an empty table is obeyed");
    assert_eq!(running.vestibule.events("store_failed"), [] as [serde_json::Value; 0]);

    if let Some(trail) = trail {
        let requests = trail.requests();
        let seen: Vec<_> =
            requests.iter().map(|entry| (entry.verb.as_str(), entry.name.as_str(), entry.status)).collect();
        assert!(seen.iter().all(|(_, _, status)| *status == 200), "{seen:?}");
        assert_eq!(trail.verbs(), ["get", "patch", "watch"], "{seen:?}");
        assert!(seen.len() <= 4, "a watch of each, one read and one patch for the first key: {seen:?}");
        figure("requests of a start with its first key and five changes", format!("{seen:?}"));
    }
}

/// The lines of the document that make Secrets, by kubectl, and what it says of htpasswd: groups come from beside it.
#[tokio::test]
async fn secrets_are_made_and_htpasswd_is_moved_as_the_document_says() {
    const DOCUMENT: &str = include_str!("../../docs/kubernetes.md");
    let Some(ns) = namespace().await else { return };
    let Cluster::Own(_) = ns.cluster else { return };
    let shell = Shell::admin(&ns);
    shell.write("users.yaml", &default_users().to_string());
    shell.write(".htpasswd", &htpasswd_line("late", "late-password"));
    let lines = |secret: &str| {
        let begin = format!("kubectl create secret generic {secret}");
        DOCUMENT.lines().filter(move |line| line.starts_with(&begin)).collect::<Vec<_>>()
    };
    let run = |line: &str| {
        let arguments = line.strip_prefix("kubectl ").expect("a line of kubectl");
        let output = shell.called(&kubectl(), arguments).output().expect("kubectl");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    lines(KEYS).into_iter().for_each(run);
    let kubeconfig = ns.account().await.kubeconfig().await;
    let [yaml, htpasswd] = lines(USERS).try_into().expect("a line for each kind of document");
    run(yaml);
    let running = Running::start(sidecar(&kubeconfig)).await;
    assert_eq!(running.status(&running.vestibule.token("admin").await).await, 200);
    ns.delete_secret(USERS).await;
    running.vestibule.reloaded("users", "ok", async { run(htpasswd) }).await;
    let answer = running.vestibule.client().login("late", "late-password").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["apiToken"].as_str().expect("a token").to_owned();
    assert_eq!(running.status(&token).await, 403, "in no group");
    ns.set(USERS, &[("groups.yaml", "users: {late: {groups: [Administrator]}}")]).await;
    running.comes_to(&token, 200).await;
}

#[tokio::test]
async fn a_secret_that_is_deleted_keeps_its_last_state_until_it_is_made_anew() {
    let Some(ns) = namespace().await else { return };
    let running = Running::in_namespace(&ns).await;
    let token = running.vestibule.token("admin").await;
    ns.delete_secret(USERS).await;
    running.noted("is not there: `kubectl").await;
    assert!(running.notes().await.contains("users: last read "), "it says how old the store is");
    assert_eq!(running.status(&token).await, 200);
    running.vestibule.token("two").await;
    let metrics = running.vestibule.metrics().await;
    assert!(metrics.value("vestibule_store_errors_total{store=\"users\",reason=\"missing\"}") >= 1.0);

    let mut users = default_users();
    users["users"].as_object_mut().expect("users").remove("admin");
    ns.create_secret(USERS, &[("users.yaml", users.to_string())]).await;
    running.comes_to(&token, 401).await;
    running.vestibule.token("two").await;
    assert_eq!(running.notes().await, "ready\n");
}

#[tokio::test]
async fn what_is_no_table_leaves_the_last_one_in_force() {
    let Some(ns) = namespace().await else { return };
    let running = Running::in_namespace(&ns).await;
    let token = running.vestibule.token("admin").await;
    let errors = "vestibule_reloads_total{what=\"users\",result=\"error\"}";
    let bad: [(&[u8], &str); 3] = [
        (b"users: [", "users.yaml"),
        (b"users: {caf\xe9: {}}", "is not UTF-8"),
        (b"users: {admin: {group: [x]}}", "group"),
    ];
    for (number, (document, why)) in bad.into_iter().enumerate() {
        ns.set(USERS, &[("users.yaml", document)]).await;
        eventually("a refusal", async || {
            (running.vestibule.metrics().await.value(errors) == (number + 1) as f64).then_some(())
        })
        .await;
        let failed = running.vestibule.event("store_failed", |line| line["error"].to_string().contains(why)).await;
        assert!(failed["error"].to_string().contains(&format!("Secret {}/{USERS}", ns.name)), "{failed}");
        assert_eq!(running.status(&token).await, 200);
        assert!(running.notes().await.contains("users: last read "));
    }
    disable_admin(&ns, true).await;
    running.comes_to(&token, 401).await;
    assert_eq!(running.notes().await, "ready\n");
}

#[tokio::test]
async fn an_older_version_never_replaces_a_newer_one() {
    let Some(ns) = namespace().await else { return };
    let (running, front) = Running::behind_front(&ns).await;
    let token = running.vestibule.token("admin").await;
    let old = ns.secret(USERS).await;
    disable_admin(&ns, true).await;
    running.comes_to(&token, 401).await;

    for event in ["MODIFIED", "ADDED"] {
        assert_eq!(front.inject(USERS, &json!({"type": event, "object": old})), 1);
    }
    // What comes after it is taken, so it has been looked at.
    let (mut other, mut strange) = (old.clone(), old.clone());
    other["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    strange["metadata"]["resourceVersion"] = json!("x");
    for object in [other, strange] {
        let before = front.asked().len();
        assert_eq!(front.inject(USERS, &json!({"type": "MODIFIED", "object": object})), 1);
        eventually("a read of the present state", async || {
            let asked = front.asked();
            asked[before..].iter().any(|asked| !asked.is_watch && asked.path == named(&ns.name, USERS)).then_some(())
        })
        .await;
        assert_eq!(running.status(&token).await, 401);
    }
    ns.set(USERS, &[("users.yaml", default_users().to_string())]).await;
    running.comes_to(&token, 200).await;
}

#[tokio::test]
async fn several_secrets_are_one_table() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret("staff", &[("users.yaml", default_users().to_string())]).await;
    ns.create_secret("partners", &[("auth", htpasswd_line("partner", "partner-password"))]).await;
    ns.create_secret("ring", &[] as &[(&str, &str)]).await;
    let account = ns.account_of("shop", &["staff", "partners"], "ring").await;
    let store = json!({"kubernetes": {"users": ["staff", "partners"], "keys": "ring", "namespace": ns.name}});
    let running = Running::start(sidecar(&account.kubeconfig().await).store(store)).await;
    let token = running.vestibule.token("admin").await;
    assert_eq!(running.login("partner", "partner-password").await, 200);
    // One that is gone keeps its users, and does not keep the others'.
    ns.delete_secret("partners").await;
    running.noted("partners is not there").await;
    ns.set("staff", &[("users.yaml", users_with("admin", &json!({"disabled": true})))]).await;
    running.comes_to(&token, 401).await;
    assert_eq!(running.login("partner", "partner-password").await, 200);
    // A name that stands twice.
    ns.create_secret("partners", &[("auth", htpasswd_line("two", "partner-password"))]).await;
    let failed = running.vestibule.event("store_failed", |line| line["reason"] == "invalid").await;
    assert!(failed["error"].to_string().contains("partners/auth"), "{failed}");
    assert_eq!(running.login("partner", "partner-password").await, 200);
}

#[tokio::test]
async fn a_kind_of_secret_and_one_that_is_immutable_are_read_as_any_other() {
    let Some(ns) = namespace().await else { return };
    let secret = |name: &str, immutable: bool, data: serde_json::Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "example.org/any", "immutable": immutable, "stringData": data,
        })
    };
    let users = json!({"users.yaml": default_users().to_string()});
    ns.admin().create(&ns.path("secrets"), &secret(USERS, true, users)).await;
    ns.admin().create(&ns.path("secrets"), &secret(KEYS, false, json!({}))).await;
    let running = Running::start(sidecar(&ns.account().await.kubeconfig().await)).await;
    let token = running.vestibule.token("admin").await;
    assert_eq!(running.status(&token).await, 200);
    assert_eq!(ns.secret(KEYS).await["type"], "example.org/any");
    // One that becomes immutable with its last change, and goes.
    let users = users_with("admin", &json!({"disabled": true}));
    ns.delete_secret(USERS).await;
    ns.create_secret(USERS, &[("users.yaml", &users)]).await;
    ns.patch_secret(USERS, &json!({"immutable": true})).await;
    running.comes_to(&token, 401).await;
    running.nothing_is_noted().await;
}
