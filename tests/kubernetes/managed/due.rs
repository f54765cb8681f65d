//! Renewals: at two thirds of a life, of an authority beside its predecessor, and for hosts that are new.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::first::patches;
use super::*;
use crate::cluster::namespace;
use crate::sidecar::Running;
use crate::support::{App, ClientCa, Pair, eventually_after, get};

/// The longest that replicas wait for each other.
const JITTER: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_certificate_is_renewed_at_two_thirds_of_its_life_without_a_connection_being_dropped() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    put(&ns, 100, 70).await;
    let before = ns.secret(TLS).await;
    let (bundle, old_key) = (entry(&before, "ca.crt").expect("authorities"), text(&ns, "tls.key").await);
    let account = account(&ns).await;
    let trail = account.trail(&ns);
    let kubeconfig = account.kubeconfig().await;
    let app = App::start().await;
    let setup = || managed(&kubeconfig).upstream(&app.url).config("log: {level: trace}");
    let replicas = join_all((0..3).map(|_| setup().start())).await;
    let token = token(&trusting(&replicas[0], &bundle)).await;
    let mut open = Vec::new();
    for replica in &replicas {
        let client = trusting(replica, &bundle);
        for client in [client.clone(), client.http2()] {
            open.push(client.connect().await);
        }
    }
    let renewed = eventually_after(JITTER, "a renewal", async || {
        let now = ns.secret(TLS).await;
        (now["data"]["tls.crt"] != before["data"]["tls.crt"]).then_some(now)
    })
    .await;
    for name in ["ca.crt", "ca.key"] {
        assert_eq!(renewed["data"][name], before["data"][name], "{name} stays");
    }
    assert_ne!(renewed["data"]["tls.key"], before["data"]["tls.key"], "another key with each certificate");
    for replica in &replicas {
        serves(&ns, replica).await;
        let client = trusting(replica, &bundle);
        assert_eq!(client.send(get("/").bearer(&token)).await.status, 200, "by what was fetched before");
        let expiry = replica.metrics().await.value("vestibule_tls_certificate_expiry_timestamp_seconds");
        assert!((expiry - (now() + 90 * DAY) as f64).abs() < 600.0, "{expiry}");
        replica.event("reload", |line| line["what"] == "certificate" && line["outcome"] == "ok").await;
        assert_silent(replica, &[old_key.clone(), text(&ns, "tls.key").await, text(&ns, "ca.key").await]);
    }
    for connection in &mut open {
        assert_eq!(connection.send(get("/").bearer(&token)).await.status, 200, "open connections go on");
    }
    // Those who were slower find nothing left to do.
    sleep(JITTER).await;
    assert_eq!(ns.secret(TLS).await["data"], renewed["data"]);
    if let Some(trail) = trail {
        let patches = patches(&trail);
        println!("3 replicas, a renewal: patches {patches:?}");
        assert_eq!(patches.iter().filter(|status| **status == 200).count(), 1, "{patches:?}");
        assert!(patches.iter().all(|status| [200, 409].contains(status)), "{patches:?}");
    }
}

#[tokio::test]
async fn an_authority_is_published_years_before_it_signs() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let ca = put(&ns, 2_600, 10).await;
    let before = ns.secret(TLS).await;
    let running = Running::start(managed(&account(&ns).await.kubeconfig().await)).await;
    let vestibule = &running.vestibule;
    let published = eventually_after(JITTER, "a second authority", async || {
        let now = ns.secret(TLS).await;
        (certificates(&entry(&now, "ca.crt")?).len() == 2).then_some(now)
    })
    .await;
    assert_eq!(published["data"]["tls.crt"], before["data"]["tls.crt"], "the certificate in use stays");
    let both = entry(&published, "ca.crt").expect("authorities");
    assert!(both.starts_with(ca.cert_pem().as_bytes()), "who reads one alone reads the one that signs");
    for bundle in [ca.cert_pem().as_bytes(), &both] {
        assert!(served(&trusting(vestibule, bundle)).await.is_some());
    }
    // The predecessor signs on.
    ns.unset(TLS, "tls.key").await;
    eventually("another certificate", async || stored(&ns, "tls.key").await).await;
    serves(&ns, vestibule).await;
    assert!(
        served(&trusting(vestibule, ca.cert_pem().as_bytes())).await.is_some(),
        "who has not fetched the new one yet"
    );
}

#[tokio::test]
async fn an_authority_that_cannot_cover_a_certificate_hands_over_to_its_successor() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let old = put(&ns, 3_600, 70).await;
    let new = LocalCa::create(now() - 1_100 * DAY).expect("an authority");
    let bundle = format!("{}{}", old.cert_pem(), new.cert_pem());
    ns.set(TLS, &[("ca.crt", &bundle), ("ca.key", &format!("{}{}", old.key_pem(), new.key_pem()))]).await;
    let running = Running::start(managed(&account(&ns).await.kubeconfig().await)).await;
    let client = trusting(&running.vestibule, new.cert_pem().as_bytes());
    eventually_after(JITTER, "a certificate of the successor", async || served(&client).await).await;
    token(&trusting(&running.vestibule, bundle.as_bytes())).await;
    let turned = format!("{}{}", new.cert_pem(), old.cert_pem());
    assert_eq!(text(&ns, "ca.crt").await, turned, "the old one is trusted until its end");
    assert_eq!(text(&ns, "ca.key").await, new.key_pem(), "and signs nothing any more");
}

#[tokio::test]
async fn a_host_that_is_new_gets_a_certificate_before_the_sidecar_is_ready() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let account = account(&ns).await;
    let kubeconfig = account.kubeconfig().await;
    let old = Running::start(managed(&kubeconfig)).await;
    let bundle = stored(&ns, "ca.crt").await.expect("authorities");
    let trail = account.trail(&ns);
    let new = Running::start(for_hosts(sidecar(&kubeconfig), "new.example, '*.apps.example'")).await;
    for name in ["new.example", "one.apps.example", "localhost"] {
        assert!(served(&trusting(&new.vestibule, &bundle).named(name)).await.is_some(), "{name}");
    }
    // The sidecar with the old list serves it as well, and does not take the new names away again.
    serves(&ns, &old.vestibule).await;
    assert!(served(&trusting(&old.vestibule, &bundle).named("new.example")).await.is_some());
    let version = ns.version(TLS).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(ns.version(TLS).await, version, "two lists do not fight");
    if let Some(trail) = trail {
        assert_eq!(patches(&trail), [200]);
    }
}

/// What is demanded of clients stands whichever of the two changes.
#[tokio::test]
async fn clients_certificates_are_judged_before_and_after_a_renewal() {
    let Some(ns) = namespace().await else { return };
    release(&ns).await;
    let (one, two) = (ClientCa::new(), ClientCa::new());
    let setup = managed(&account(&ns).await.kubeconfig().await).file("clients.crt", &one.certificate);
    let file = setup.path("clients.crt");
    let setup = setup.config(&format!("tls: {{clientCa: {}, clientAuth: required}}", file.display()));
    let running = Running::start(setup).await;
    let vestibule = &running.vestibule;
    let welcome = async |own: Option<&Pair>| {
        let authorities = stored(&ns, "ca.crt").await.expect("authorities");
        let mut roots = RootCertStore::empty();
        certificates(&authorities).into_iter().for_each(|authority| roots.add(authority).expect("an authority"));
        let tls = vestibule.tls_config(rustls::ALL_VERSIONS, own);
        let provider = Arc::clone(tls.crypto_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut trusting = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        trusting.client_auth_cert_resolver = Arc::clone(&tls.client_auth_cert_resolver);
        let client = vestibule.client().with_tls(|own| *own = trusting);
        // In TLS 1.3 a refusal of the client comes after its side of the handshake.
        let Ok(mut connection) = client.try_connect().await else { return false };
        connection.try_send(get("/")).await.is_ok()
    };
    let (first, second) = (one.issue(), two.issue());
    for (round, (good, bad)) in [
        ("at first", (&first, &second)),
        ("after a renewal", (&first, &second)),
        ("after another authority", (&second, &first)),
        ("after a renewal since", (&second, &first)),
    ] {
        match round {
            "at first" => {}
            "after another authority" => vestibule.reload("certificate", "clients.crt", &two.certificate).await,
            _ => {
                let renewal = async {
                    ns.unset(TLS, "tls.key").await;
                    eventually("another certificate", async || stored(&ns, "tls.key").await).await;
                };
                vestibule.reloaded("certificate", "ok", renewal).await;
            }
        }
        assert!(welcome(Some(good)).await, "{round}");
        assert!(!welcome(Some(bad)).await, "{round}");
        assert!(!welcome(None).await, "{round}");
    }
}
