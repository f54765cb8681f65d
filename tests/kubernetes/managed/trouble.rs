//! What may be wrong with the Secret: the last good certificate stays, and what is wrong is said with its mend.

use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::cluster::namespace;
use crate::sidecar::Running;
use crate::support::{ClientCa, get};

async fn unready(running: &Running, what: &str) {
    eventually(&format!("{what:?} in /readyz"), async || {
        let (status, text) = running.vestibule.admin("/readyz").await;
        (status == 503 && text.contains(what)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_no_good_leaves_the_last_certificate_in_force() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let setup = managed(&account(&ns).await.kubeconfig().await).config("log: {level: trace}");
    let running = Running::start(setup).await;
    let vestibule = &running.vestibule;
    let good = ns.secret(TLS).await;
    let client = client(&ns, vestibule).await;
    let certificate = served(&client).await.expect("a certificate");
    let (leaf, key, ca, ca_key) =
        (text(&ns, "tls.crt").await, text(&ns, "tls.key").await, text(&ns, "ca.crt").await, text(&ns, "ca.key").await);
    let other = LocalCa::create(now()).expect("an authority");
    let issued = other.issue_server(&["localhost"], 90, now()).expect("a certificate");
    let errors = "vestibule_reloads_total{what=\"certificate\",result=\"error\"}";
    let bad: [(&[(&str, &str)], &str); 7] = [
        (&[("tls.crt", &leaf[..leaf.len() / 2])], "or remove tls.crt and tls.key, and new ones are made"),
        (&[("tls.key", &ca_key)], "\"tls.key\" is not that of the first certificate in \"tls.crt\""),
        (&[("tls.crt", &issued.cert_pem), ("tls.key", &issued.key_pem)], "tls.crt is of no authority in ca.crt"),
        (&[("ca.crt", "garbage")], "ca.crt is not whole PEM"),
        (&[("ca.key", &ca_key[..ca_key.len() / 2])], "ca.key is not whole PEM"),
        (&[("ca.key", &other.key_pem())], "ca.key holds a key of no authority in ca.crt"),
        (&[("ca.crt", ""), ("ca.key", "")], "that vestibule has not made"),
    ];
    for (number, (entries, words)) in bad.into_iter().enumerate() {
        ns.set(TLS, entries).await;
        let version = ns.version(TLS).await;
        eventually(words, async || (vestibule.metrics().await.value(errors) == (number + 1) as f64).then_some(()))
            .await;
        let failed = vestibule.event("store_failed", |line| said(line).contains(words)).await;
        assert_eq!((&failed["store"], &failed["reason"]), (&json!("certificate"), &json!("invalid")), "{failed}");
        assert!(said(&failed).contains(&format!("Secret {}/{TLS}", ns.name)), "{failed}");
        assert!(running.notes().await.contains("certificate: last read "), "{words}");
        assert_eq!(served(&client).await.as_ref(), Some(&certificate), "{words}");
        assert_eq!(ns.version(TLS).await, version, "nobody writes over it: {words}");
        ns.patch_secret(TLS, &json!({"data": good["data"]})).await;
        eventually("no note", async || (running.notes().await == "ready\n").then_some(())).await;
    }
    token(&client).await;
    assert!(leaf.starts_with("-----BEGIN") && ca.starts_with("-----BEGIN"));
    assert_silent(vestibule, &[key, ca_key, issued.key_pem, other.key_pem()]);
}

fn said(line: &Value) -> &str {
    line["error"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn keys_that_are_removed_are_made_anew() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let running = Running::start(managed(&account(&ns).await.kubeconfig().await)).await;
    let vestibule = &running.vestibule;
    let bundle = stored(&ns, "ca.crt").await.expect("authorities");
    let before = text(&ns, "tls.crt").await;
    let comes = async |name: &str| {
        ns.unset(TLS, name).await;
        crate::support::eventually_after(std::time::Duration::from_secs(10), name, async || stored(&ns, name).await)
            .await;
    };
    comes("tls.key").await;
    serves(&ns, vestibule).await;
    let leaf = text(&ns, "tls.crt").await;
    assert_ne!(leaf, before);
    assert_eq!(stored(&ns, "ca.crt").await.as_ref(), Some(&bundle), "of the same authority");
    token(&trusting(vestibule, &bundle)).await;

    comes("ca.key").await;
    let both = stored(&ns, "ca.crt").await.expect("authorities");
    assert!(both.starts_with(&bundle) && certificates(&both).len() == 2, "a second one beside it");
    assert_eq!(text(&ns, "tls.crt").await, leaf, "the certificate in use stays");
    token(&trusting(vestibule, &bundle)).await;
    // Its successor is of the authority that has a key.
    comes("tls.crt").await;
    serves(&ns, vestibule).await;
    assert!(served(&trusting(vestibule, &bundle)).await.is_none());
    token(&trusting(vestibule, &both)).await;
}

#[tokio::test]
async fn a_secret_that_is_deleted_keeps_its_certificate_until_it_is_made_anew() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let running = Running::start(managed(&account(&ns).await.kubeconfig().await)).await;
    let bundle = stored(&ns, "ca.crt").await.expect("authorities");
    let client = trusting(&running.vestibule, &bundle);
    let token = token(&client).await;
    ns.delete_secret(TLS).await;
    running.noted(&format!("Secret {}/{TLS} is not there: `kubectl", ns.name)).await;
    assert_eq!(client.send(get("/").bearer(&token)).await.status, 200);

    // Emptied, as a whole new one is: whoever trusted the old authority needs the new one.
    ns.create_secret(TLS, NONE).await;
    eventually("a new authority", async || stored(&ns, "ca.crt").await).await;
    serves(&ns, &running.vestibule).await;
    assert!(served(&client).await.is_none());
    eventually("no note", async || (running.notes().await == "ready\n").then_some(())).await;
}

#[tokio::test]
async fn rights_that_are_missing_are_named_and_used_when_they_come() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    // It may read the Secret, and not patch it.
    let reader = ns.account_of("reader", &[USERS, TLS], KEYS).await;
    let running = Running::start(managed(&reader.kubeconfig().await).without_readiness()).await;
    unready(&running, &format!("tls: no certificate of Secret {}/{TLS} yet: Secret", ns.name)).await;
    unready(&running, &format!("allow `patch` on `secrets` with resourceNames [{TLS}]")).await;
    let failed = running.vestibule.event("renewal", |line| line["outcome"] == "error").await;
    assert_eq!(failed["level"], "error", "{failed}");
    // Another one may.
    let writer = Running::start(managed(&account(&ns).await.kubeconfig().await)).await;
    running.vestibule.ready().await;
    for vestibule in [&running.vestibule, &writer.vestibule] {
        token(&client(&ns, vestibule).await).await;
    }

    let stranger = ns.account_of("stranger", &[USERS], KEYS).await;
    let running = Running::start(managed(&stranger.kubeconfig().await).without_readiness()).await;
    unready(&running, &format!("allow `watch` on `secrets` with resourceNames [{TLS}]")).await;
}

/// A renewal is due while the right to patch is gone: what there is is served on.
#[tokio::test]
async fn a_right_that_is_taken_away_stops_no_connection() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    put(&ns, 100, 70).await;
    let reader = ns.account_of("reader", &[USERS, TLS], KEYS).await;
    let running = Running::start(managed(&reader.kubeconfig().await)).await;
    let client = client(&ns, &running.vestibule).await;
    let token = token(&client).await;
    let failed = running.vestibule.event("renewal", |line| line["outcome"] == "error").await;
    assert!(said(&failed).contains("allow `patch`"), "{failed}");
    assert_eq!(client.send(get("/").bearer(&token)).await.status, 200);
    assert_eq!(running.notes().await, "ready\n");
}

#[tokio::test]
async fn a_secret_that_cannot_be_written_or_is_anothers_is_left_alone() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let kubeconfig = account(&ns).await.kubeconfig().await;
    ns.create_secret(TLS, NONE).await;
    ns.patch_secret(TLS, &json!({"immutable": true})).await;
    let running = Running::start(managed(&kubeconfig).without_readiness()).await;
    unready(&running, "is immutable and cannot be changed").await;
    ns.delete_secret(TLS).await;
    drop(running);

    // As cert-manager keeps one, or anybody.
    let theirs = ClientCa::self_signed();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": TLS},
        "data": {"tls.crt": STANDARD.encode(&theirs.certificate), "tls.key": STANDARD.encode(&theirs.key)},
    });
    let made = ns.admin().create(&ns.path("secrets"), &secret).await;
    let running = Running::start(managed(&kubeconfig).without_readiness()).await;
    unready(&running, "that vestibule has not made: name another Secret").await;
    sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(ns.version(TLS).await, made["metadata"]["resourceVersion"].as_str().expect("a version"));
}
