//! The first certificate: by whoever patches first, where there is none.

use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::cluster::{Faults, Front, Pod, Trail, namespace};
use crate::sidecar::Running;
use crate::support::{get, now};

/// Replicas that begin together.
const REPLICAS: usize = 3;

/// The statuses of the patches of the Secret.
pub(super) fn patches(trail: &Trail) -> Vec<u16> {
    let patches = trail.requests().into_iter().filter(|entry| entry.verb == "patch" && entry.name == TLS);
    patches.map(|entry| entry.status).collect()
}

#[tokio::test]
async fn an_empty_secret_gets_a_certificate_that_clients_verify_by_its_authority() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let account = account(&ns).await;
    let trail = account.trail(&ns);
    let setup = managed(&account.kubeconfig().await).config("log: {level: trace}");
    let running = Running::start(setup).await;
    let vestibule = &running.vestibule;
    assert_eq!(vestibule.admin("/readyz").await, (200, "ready\n".to_owned()));
    let secret = ns.secret(TLS).await;
    let entries: Vec<_> = secret["data"].as_object().expect("entries").keys().cloned().collect();
    assert_eq!(entries, ["ca.crt", "ca.key", "tls.crt", "tls.key"]);

    let client = client(&ns, vestibule).await;
    let token = token(&client).await;
    for client in [client.clone(), client.http2()] {
        assert_eq!(client.send(get("/").bearer(&token)).await.status, 200);
    }
    assert!(served(&client.named("other.example")).await.is_none(), "of the configured hosts alone");
    assert!(served(&vestibule.client()).await.is_none(), "not by who trusts another authority");
    let expiry = vestibule.metrics().await.value("vestibule_tls_certificate_expiry_timestamp_seconds");
    assert!((expiry - (now() + 90 * DAY) as f64).abs() < 600.0, "{expiry}");
    let made = vestibule.events("renewal");
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!((&made[0]["outcome"], &made[0]["reason"]), (&json!("ok"), &json!("first_certificate")), "{made:?}");
    assert_eq!(made[0]["audit"], json!(true));
    let reloads = vestibule.metrics().await.value("vestibule_reloads_total{what=\"certificate\",result=\"ok\"}");
    assert_eq!(reloads, 0.0, "the first one is no reload");
    assert_silent(vestibule, &[text(&ns, "ca.key").await, text(&ns, "tls.key").await]);

    if let Some(trail) = trail {
        let requests = trail.requests().into_iter().filter(|entry| entry.name == TLS);
        let mut seen: Vec<_> = requests.map(|entry| (entry.verb, entry.status)).collect();
        seen.sort_unstable();
        let wanted = [("get", 200), ("patch", 200), ("watch", 200)].map(|(verb, status)| (verb.to_owned(), status));
        assert_eq!(seen, wanted);
        assert!(trail.requests().iter().all(|entry| entry.status < 300), "{:?}", trail.requests());
    }
}

#[tokio::test]
async fn replicas_that_begin_together_agree_on_one_authority() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let account = account(&ns).await;
    let trail = account.trail(&ns);
    let kubeconfig = account.kubeconfig().await;
    let replicas = join_all((0..REPLICAS).map(|_| managed(&kubeconfig).start())).await;
    let first = ns.secret(TLS).await;
    let (bundle, leaf) = (entry(&first, "ca.crt").expect("authorities"), entry(&first, "tls.crt").expect("PEM"));
    assert_eq!(certificates(&bundle).len(), 1);
    for replica in &replicas {
        let client = trusting(replica, &bundle);
        assert_eq!(served(&client).await.as_deref(), Some(&*certificates(&leaf)[0]));
        token(&client).await;
    }
    assert_eq!(ns.secret(TLS).await["data"], first["data"], "nobody writes again");
    if let Some(trail) = trail {
        let patches = patches(&trail);
        println!("{REPLICAS} replicas, a first certificate: patches {patches:?}");
        assert_eq!(patches.iter().filter(|status| **status == 200).count(), 1, "{patches:?}");
        assert!(patches.iter().all(|status| [200, 409].contains(status)), "{patches:?}");
    }
}

/// As the API server wants a Secret of this type: both entries are there, and may be empty.
#[tokio::test]
async fn a_secret_of_type_tls_will_do() {
    let Some(ns) = namespace().await else { return };
    secrets(&ns).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": TLS},
        "data": {"tls.crt": "", "tls.key": ""},
    });
    ns.admin().create(&ns.path("secrets"), &secret).await;
    let running = Running::start(managed(&account(&ns).await.kubeconfig().await)).await;
    token(&client(&ns, &running.vestibule).await).await;
}

#[tokio::test]
async fn users_and_keys_may_be_in_directories() {
    let Some(ns) = namespace().await else { return };
    ns.create_secret(TLS, NONE).await;
    let account = ns.account_of("vestibule", &[TLS], TLS).await;
    let kubeconfig = account.kubeconfig().await;
    let trail = account.trail(&ns);
    let Some(pod) = Pod::new(&kubeconfig) else { return };
    let running = Running::start(for_hosts(pod.hold(Setup::new()), "localhost")).await;
    token(&client(&ns, &running.vestibule).await).await;
    if let Some(trail) = trail {
        let requests = trail.requests();
        assert!(requests.iter().all(|entry| entry.name == TLS), "{requests:?}");
    }
    let missing = for_hosts(Setup::new(), "localhost").variable("KUBECONFIG", "/nowhere").fails().await;
    assert_eq!(missing.code, Some(64));
    assert!(missing.line().contains("tls.managed: kubeconfig"), "{}", missing.line());
}

#[tokio::test]
async fn without_an_api_server_it_waits_and_says_for_which_secret() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let kubeconfig = account(&ns).await.kubeconfig().await;
    let faults = Faults::start(kubeconfig.address).await;
    faults.down().await;
    let setup = managed(&kubeconfig.by_way_of(faults.address)).without_readiness();
    let running = Running::start(setup).await;
    let (status, told) = running.vestibule.admin("/readyz").await;
    assert_eq!(status, 503);
    for words in [
        format!("tls: no certificate of Secret {}/{TLS} yet", ns.name),
        format!("certificate: Secret {}/{TLS} ", ns.name),
    ] {
        assert!(told.contains(&words), "{words} in {told}");
    }
    assert!(served(&running.vestibule.client()).await.is_none());
    let metrics = running.vestibule.metrics().await;
    assert_eq!(metrics.value("vestibule_tls_certificate_expiry_timestamp_seconds"), 0.0);
    assert_eq!(metrics.value("vestibule_tls_handshakes_total{result=\"protocol\"}"), 1.0);
    faults.heal().await;
    running.vestibule.ready().await;
    token(&client(&ns, &running.vestibule).await).await;
}

#[tokio::test]
async fn a_clock_that_is_off_makes_none() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let kubeconfig = account(&ns).await.kubeconfig().await;
    let front = Front::start(&kubeconfig).await;
    front.set_clock(45);
    let running = Running::start(managed(&front.kubeconfig(&kubeconfig)).without_readiness()).await;
    let told = running.vestibule.admin("/readyz").await.1;
    assert!(
        told.contains("tls: no certificate of Secret") && told.contains("so that no certificate is made"),
        "{told}"
    );
    running.vestibule.event("renewal", |line| line["outcome"] == "error").await;
    assert!(front.asked().iter().all(|asked| asked.method == "GET"));
    front.set_clock(0);
    running.vestibule.ready().await;
    token(&client(&ns, &running.vestibule).await).await;
}
