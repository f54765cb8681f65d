//! What happens to a running sidecar when somebody breaks what it stands on: Secrets made anew, rights that go, a
//! namespace that is deleted, events that are no events.

use serde_json::json;

use crate::cluster::{Cluster, Front, KEYS, USERS, namespace};
use crate::sidecar::{LONGEST_PAUSE, Running, disable_admin, ring, secrets, sidecar};
use crate::support::{Jwk, claims, decode, eventually, eventually_after};

const NONE: &[(&str, &str)] = &[];

#[tokio::test]
async fn a_keys_secret_that_is_made_anew_is_another_ring() {
    let Some(ns) = namespace().await else { return };
    let running = Running::in_namespace(&ns).await;
    let old = running.vestibule.token("admin").await;
    ns.delete_secret(KEYS).await;
    running.noted(&format!("Secret {}/{KEYS} is not there", ns.name)).await;
    assert_eq!(running.status(&old).await, 200, "the last ring stays in force");
    running.vestibule.token("admin").await;
    assert_eq!(ns.admin().send("GET", &ns.path(&format!("secrets/{KEYS}")), None).await.status, 404, "it makes none");

    let other = Jwk::fresh("ES256", "other");
    ns.create_secret(KEYS, &[("keys.jwks", Jwk::ring(std::slice::from_ref(&other)))]).await;
    running.comes_to(&old, 401).await;
    running.nothing_is_noted().await;
    let token = running.vestibule.token("admin").await;
    assert_eq!(decode(&token).0["kid"], "other");
    assert_eq!(running.status(&other.token(&claims("two"))).await, 200);

    // At once, and empty: the first key is made again.
    ns.delete_secret(KEYS).await;
    ns.create_secret(KEYS, NONE).await;
    running.comes_to(&token, 401).await;
    eventually("a first key", async || (ring(&ns).await.len() == 1).then_some(())).await;
    running.vestibule.ready().await;
    let token = running.vestibule.token("admin").await;
    assert_eq!(running.status(&token).await, 200);
    assert_eq!(decode(&token).0["kid"], ring(&ns).await[0].kid());
}

#[tokio::test]
async fn rights_that_are_taken_away_are_told_and_used_again() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let account = ns.account().await;
    let kubeconfig = account.kubeconfig().await;
    let front = Front::start(&kubeconfig).await;
    let running = Running::start(sidecar(&front.kubeconfig(&kubeconfig))).await;
    let token = running.vestibule.token("admin").await;
    account.revoke().await;
    eventually("watches that are refused", async || {
        // What stands is not asked again: a watch notices when it is begun anew.
        for secret in [USERS, KEYS] {
            front.end(secret);
        }
        let notes = running.notes().await;
        let told = |secret: &str| notes.contains(&format!("allow `watch` on `secrets` with resourceNames [{secret}]"));
        (told(USERS) && told(KEYS)).then_some(())
    })
    .await;
    assert_eq!(running.status(&token).await, 200);
    running.vestibule.token("two").await;
    let metrics = running.vestibule.metrics().await;
    for store in ["users", "keys"] {
        let forbidden = format!("vestibule_store_errors_total{{store=\"{store}\",reason=\"forbidden\"}}");
        assert!(metrics.value(&forbidden) >= 1.0, "{forbidden}");
    }
    disable_admin(&ns, true).await;
    assert_eq!(running.status(&token).await, 200, "it may not know");
    account.grant().await;
    eventually_after(LONGEST_PAUSE, "a token that is refused", async || {
        (running.status(&token).await == 401).then_some(())
    })
    .await;
    running.nothing_is_noted().await;
}

#[tokio::test]
async fn a_namespace_that_is_deleted_stops_nobody() {
    let Some(ns) = namespace().await else { return };
    // Elsewhere a namespace goes when its controller has the time.
    let Cluster::Own(_) = ns.cluster else { return };
    let running = Running::in_namespace(&ns).await;
    let token = running.vestibule.token("admin").await;
    ns.delete().await;
    running.noted("users: last read ").await;
    running.noted("keys: last read ").await;
    for _ in 0..20 {
        assert_eq!(running.status(&token).await, 200);
        running.vestibule.token("two").await;
    }
    assert_eq!(running.vestibule.events("panic").len(), 0);
}

#[tokio::test]
async fn an_event_that_is_none_leaves_the_last_table_in_force() {
    let Some(ns) = namespace().await else { return };
    let (running, front) = Running::behind_front(&ns).await;
    let token = running.vestibule.token("admin").await;
    let mut not_base64 = ns.secret(USERS).await;
    not_base64["metadata"]["resourceVersion"] = json!("999999999");
    not_base64["data"]["users.yaml"] = json!("%%%");
    let mut no_text = not_base64.clone();
    no_text["data"]["users.yaml"] = json!(7);
    for event in [
        json!({"type": "MODIFIED", "object": not_base64}),
        json!({"type": "MODIFIED", "object": no_text}),
        json!({"type": "ADDED", "object": {"kind": "Secret"}}),
        json!("MODIFIED"),
    ] {
        let watches = || front.asked().iter().filter(|asked| asked.is_watch).count();
        let before = watches();
        assert_eq!(front.inject(USERS, &event), 1, "{event}");
        eventually_after(LONGEST_PAUSE, "another watch", async || (watches() > before).then_some(())).await;
        eventually("an open watch", async || (front.watches(USERS) == 1).then_some(())).await;
        assert_eq!(running.status(&token).await, 200);
    }
    assert!(!running.vestibule.lines().iter().any(|line| line.contains("%%%")));
    disable_admin(&ns, true).await;
    running.comes_to(&token, 401).await;
    running.nothing_is_noted().await;
}
