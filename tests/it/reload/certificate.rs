//! The certificate and its key, as one pair.

use rustls::version::{TLS12, TLS13};

use super::*;

async fn serves(vestibule: &Vestibule, pair: &Pair) {
    eventually("the new certificate", async || (vestibule.served_certificate().await == pair.der()).then_some(()))
        .await;
}

#[tokio::test]
async fn either_half_may_come_first() {
    let app = App::start().await;
    let setup = Setup::new().upstream(&app);
    let (one, two, three) = (setup.issue(30), setup.issue(60), setup.issue(90));
    let vestibule = setup.start().await;
    let token = vestibule.token("admin").await;
    let mut open = vestibule.client().connect().await;
    assert_eq!(open.send(get("/").bearer(&token)).await.status, 200);
    for (pair, certificate_first) in [(&one, true), (&two, false), (&three, true)] {
        let halves = [("tls.crt", &pair.certificate), ("tls.key", &pair.key)];
        let [first, second] = if certificate_first { halves } else { [halves[1], halves[0]] };
        let before = vestibule.served_certificate().await;
        reloaded(&vestibule, "certificate", "error", || vestibule.replace(first.0, first.1)).await;
        assert_eq!(vestibule.served_certificate().await, before, "half a pair changes nothing");
        reloaded(&vestibule, "certificate", "ok", || vestibule.replace(second.0, second.1)).await;
        serves(&vestibule, pair).await;
        // Connections that are open stay so.
        assert_eq!(open.send(get("/").bearer(&token)).await.status, 200);
    }
    let expiry = vestibule.metrics().await.value("vestibule_tls_certificate_expiry_timestamp_seconds");
    assert!((expiry - (now() + 90 * 86_400) as f64).abs() < 3600.0, "{expiry}");
    assert_eq!(count(&vestibule, "certificate", "ok").await, 3.0);
}

#[tokio::test]
async fn bad_pairs_change_nothing() {
    let setup = Setup::new();
    let (good, other) = (setup.issue(30), setup.issue(30));
    let vestibule = setup.start().await;
    let before = vestibule.served_certificate().await;
    for (what, name, text) in [
        ("another pair's key", "tls.key", other.key.as_str()),
        ("no key", "tls.key", "garbage"),
        ("half a key", "tls.key", &other.key[..other.key.len() / 2]),
        ("an empty key", "tls.key", ""),
        ("no certificate", "tls.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        vestibule.replace(name, text);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(vestibule.served_certificate().await, before, "{what}");
    }
    assert!(count(&vestibule, "certificate", "error").await >= 3.0);
    assert_eq!(count(&vestibule, "certificate", "ok").await, 0.0);
    fs::remove_file(vestibule.path("tls.crt")).expect("a file");
    fs::remove_file(vestibule.path("tls.key")).expect("a file");
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(vestibule.served_certificate().await, before);
    vestibule.replace("tls.key", &good.key);
    vestibule.replace("tls.crt", &good.certificate);
    serves(&vestibule, &good).await;
    let log = vestibule.lines().join("\n");
    for secret in [&good.key, &other.key] {
        assert!(!log.contains(secret.lines().nth(1).expect("a key has lines")), "no key in the log");
    }
}

#[tokio::test]
async fn a_mounted_pair_is_followed() {
    let setup = Setup::new();
    let pairs: Vec<_> = (0..4).map(|_| setup.issue(30)).collect();
    let volume = setup.path("mounted");
    let files = |pair: &Pair| [("tls.crt", pair.certificate.clone()), ("tls.key", pair.key.clone())];
    let publish_pair = |version: usize| {
        let files = files(&pairs[version]);
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        publish(&volume, &version.to_string(), &files);
    };
    publish_pair(0);
    let config = format!(
        "tls: {{certificate: {}, key: {}}}",
        volume.join("tls.crt").display(),
        volume.join("tls.key").display()
    );
    let vestibule = setup.config(&config).start().await;
    assert_eq!(vestibule.served_certificate().await, pairs[0].der());
    for (version, pair) in pairs.iter().enumerate().skip(1) {
        publish_pair(version);
        serves(&vestibule, pair).await;
    }
    assert_eq!(count(&vestibule, "certificate", "ok").await, 3.0);
    assert_eq!(count(&vestibule, "certificate", "error").await, 0.0, "the pair is never half there");
}

#[tokio::test]
async fn the_least_version_of_tls_stands_after_a_reload() {
    let setup = Setup::new();
    let next = setup.issue(30);
    let vestibule = setup.config("tls: {minVersion: \"1.3\"}").start().await;
    let with = |version| vestibule.client().with_tls(|tls| *tls = vestibule.tls_config(&[version], None));
    for round in 0..2 {
        assert!(with(&TLS12).tls_stream().await.is_err(), "round {round}");
        assert!(with(&TLS13).tls_stream().await.is_ok(), "round {round}");
        vestibule.replace("tls.crt", &next.certificate);
        vestibule.replace("tls.key", &next.key);
        serves(&vestibule, &next).await;
    }
}
