//! The control plane's own ends: stopped, killed, paused, with another authority; accounts that lose their rights.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::cluster::{KEYS, USERS, User, alone, entry, named, namespace};
use crate::support::eventually;

#[tokio::test]
async fn an_api_server_comes_back_where_it_was_with_what_it_had() {
    let Some(ns) = alone().await else { return };
    ns.create_secret(USERS, &[("entry", "text")]).await;
    let (own, admin) = (ns.cluster.own(), ns.admin());
    let version = ns.version(USERS).await;
    own.stop_api_server().await;
    assert!(admin.try_send("GET", "/version", None).await.is_err(), "nobody listens");
    own.start_api_server().await;
    assert_eq!(ns.version(USERS).await, version);
    assert_eq!(entry(&ns.secret(USERS).await, "entry").as_deref(), Some(&b"text"[..]));
}

#[tokio::test]
async fn a_paused_api_server_says_nothing() {
    let Some(ns) = alone().await else { return };
    let (own, admin) = (ns.cluster.own(), ns.admin());
    own.pause();
    let asked = timeout(Duration::from_millis(300), admin.try_send("GET", "/version", None)).await;
    own.cont();
    assert!(asked.is_err(), "{asked:?}");
    admin.get("/version").await;
}

#[tokio::test]
async fn an_api_server_that_was_killed_comes_back_with_another_authority() {
    let Some(ns) = alone().await else { return };
    let (own, before) = (ns.cluster.own(), ns.account().await.kubeconfig().await);
    own.kill_api_server();
    assert!(before.api().try_send("GET", "/version", None).await.is_err(), "nobody listens");
    own.new_authority();
    own.start_api_server().await;
    assert!(before.api().try_send("GET", "/version", None).await.is_err(), "signed by nobody it knows");
    let after = before.trusting(&own.ca());
    after.api().get("/version").await;
}

#[tokio::test]
async fn an_account_loses_its_rights_and_has_them_back() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(KEYS, &[("entry", "text")]).await;
    let account = ns.account().await;
    let api = account.kubeconfig().await.api();
    let answers = async |status: u16| {
        eventually(&format!("answers of {status}"), async || {
            (api.send("GET", &named(&ns.name, KEYS), None).await.status == status).then_some(())
        })
        .await;
    };
    answers(200).await;
    account.revoke().await;
    answers(403).await;
    account.grant().await;
    answers(200).await;
}

#[tokio::test]
async fn a_token_of_a_test_lives_as_long_as_it_says() {
    let Some(ns) = namespace().await else { return };
    let account = ns.account().await;
    if !account.can_sign() {
        return;
    }
    let kubeconfig = ns.admin().kubeconfig;
    for (seconds, status) in [(30, 404), (-1, 401)] {
        let user = User::Token(account.token_for(seconds));
        let answer = kubeconfig.with_user(user).api().send("GET", &named(&ns.name, KEYS), None).await;
        assert_eq!(answer.status, status, "{seconds} s: {}", answer.text());
    }
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(KEYS, &[("entry", "text")]).await;
    let account = ns.account().await;
    account.kubeconfig().await.api().get(&named(&ns.name, KEYS)).await;
    // The API server remembers for 10 s whose a token is; this one it has not seen.
    let api = account.kubeconfig().await.api();
    ns.delete().await;
    let path = format!("/api/v1/namespaces/{}", ns.name);
    eventually("the namespace's end", async || (ns.admin().send("GET", &path, None).await.status == 404).then_some(()))
        .await;
    // The token was bound to an account that is gone.
    eventually("the token's end", async || {
        (api.send("GET", &named(&ns.name, KEYS), None).await.status == 401).then_some(())
    })
    .await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}});
    assert_eq!(ns.admin().send("POST", &ns.path("secrets"), Some(&secret)).await.status, 404);
}
