//! What the audit log and the API server's metrics say of an account.

use serde_json::json;

use crate::cluster::{Cluster, KEYS, USERS, named, namespace, selected};
use crate::support::eventually;

#[tokio::test]
async fn each_request_of_an_account_is_on_record() {
    let Some(ns) = namespace().await else { return };
    let Cluster::Own(_) = ns.cluster else { return };
    for secret in [USERS, KEYS] {
        ns.create_secret(secret, &[("entry", "text")]).await;
    }
    let account = ns.account().await;
    let api = account.kubeconfig().await.api();
    api.get(&named(&ns.name, KEYS)).await;
    let trail = account.trail(&ns).expect("a cluster of ours");

    api.get(&named(&ns.name, USERS)).await;
    api.get(&selected(&ns.name, USERS)).await;
    let watch = api.watch(&selected(&ns.name, KEYS)).await;
    let refused = api.send("PATCH", &named(&ns.name, USERS), Some(&json!({}))).await;
    assert_eq!(refused.status, 403);
    assert_eq!(api.watch(&selected(&ns.name, "theirs")).await.status, 403);
    drop(watch);

    let seen = eventually("five requests in the audit log", async || {
        let seen = trail.requests();
        (seen.len() >= 5).then_some(seen)
    })
    .await;
    let mut seen: Vec<_> = seen.iter().map(|entry| (entry.verb.as_str(), entry.name.as_str(), entry.status)).collect();
    seen.sort_unstable();
    let wanted = [("get", USERS, 200), ("list", USERS, 200), ("patch", USERS, 403), ("watch", "theirs", 403)];
    for wanted in wanted.into_iter().chain([("watch", KEYS, 200)]) {
        assert_eq!(seen.iter().filter(|&&seen| seen == wanted).count(), 1, "{wanted:?} in {seen:?}");
    }
    assert_eq!(seen.len(), 5, "what was asked before is not of this trail: {seen:?}");
    assert_eq!(trail.verbs(), ["get", "list", "patch", "watch"]);
}

#[tokio::test]
async fn the_api_server_counts_requests() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(USERS, &[("entry", "text")]).await;
    let (admin, gets) = (ns.admin(), [("resource", "secrets"), ("verb", "GET"), ("code", "200")]);
    let before = admin.metric("apiserver_request_total", &gets).await;
    for _ in 0..3 {
        ns.secret(USERS).await;
    }
    assert!(admin.metric("apiserver_request_total", &gets).await >= before + 3.0);
    assert!(admin.metric("process_resident_memory_bytes", &[]).await > 0.0);
}
