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

/// Each bad version counts once: another one with the same error again, the same one when it is written again not.
#[tokio::test]
async fn each_bad_version_counts_once() {
    let setup = Setup::new();
    let others = [setup.issue(30), setup.issue(30)];
    let vestibule = setup.start().await;
    let own = fs::read_to_string(vestibule.path("tls.key")).expect("a key");
    for (round, other) in others.iter().enumerate() {
        reloaded(&vestibule, "certificate", "error", || vestibule.replace("tls.key", &other.key)).await;
        for _ in 0..3 {
            vestibule.replace("tls.key", &other.key);
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
        assert_eq!(count(&vestibule, "certificate", "error").await, (round + 1) as f64);
    }
    let errors: Vec<_> = vestibule.events("reload").into_iter().map(|event| event["error"].clone()).collect();
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0], errors[1], "the error is the same and the version is not");
    // Back to the pair that is in force is no reload.
    vestibule.replace("tls.key", &own);
    reloaded(&vestibule, "certificate", "error", || vestibule.replace("tls.key", "garbage")).await;
    assert_eq!(count(&vestibule, "certificate", "ok").await, 0.0);
}

/// While users are read at the start, nothing watches the certificate yet.
#[tokio::test]
async fn a_pair_that_changes_during_the_start_is_noticed() {
    let mut users = default_users();
    for number in 0..20_000 {
        users["users"][format!("u{number}")] = users["users"]["reader"].clone();
    }
    let setup = Setup::new().users(&users);
    let (next, dir) = (setup.issue(30), setup.path(""));
    let changing = std::thread::spawn({
        let next = next.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_millis(150));
            fs::write(dir.join("tls.crt"), next.certificate).expect("a file");
            fs::write(dir.join("tls.key"), next.key).expect("a file");
        }
    });
    let vestibule = setup.start().await;
    changing.join().expect("both files are written");
    serves(&vestibule, &next).await;
}

/// What is demanded of clients must not fade with a reload, nor with a session from before it (CVE-2024-23656).
#[tokio::test]
async fn versions_protocols_and_client_certificates_stand_after_a_reload() {
    for (version, of_clients) in [("1.2", "required"), ("1.3", "required"), ("1.3", "optional"), ("1.3", "none")] {
        let what = format!("{version}, {of_clients}");
        let setup = Setup::new();
        let next = setup.issue(30);
        let (old_ca, new_ca) = (ClientCa::new(), ClientCa::new());
        let demand = format!(
            "tls: {{minVersion: \"{version}\", clientCa: {}, clientAuth: {of_clients}}}",
            setup.path("clients.crt").display()
        );
        let demand = if of_clients == "none" { format!("tls: {{minVersion: \"{version}\"}}") } else { demand };
        let vestibule = setup.file("clients.crt", &old_ca.certificate).config(&demand).start().await;
        let with = |own: Option<&Pair>, version, protocol: &[u8]| {
            let mut config = vestibule.tls_config(&[version], own);
            config.alpn_protocols = vec![protocol.to_vec()];
            vestibule.client().with_tls(|tls| *tls = config)
        };
        // A round trip: in TLS 1.3 a refusal of the client comes after its side of the handshake.
        let served = async |client: &Client| {
            let Ok(stream) = client.tls_stream().await else { return None };
            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            let is_http2 = protocol.as_deref() == Some(b"h2");
            let mut wire = Wire::new(stream);
            wire.send(if is_http2 { PREFACE } else { b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" }).await;
            // Settings over HTTP/2; whoever is refused gets nothing at all.
            (!wire.some(1).await.is_empty()).then_some(protocol)
        };
        let (old, new, strange) = (old_ca.issue(), new_ca.issue(), ClientCa::new().issue());
        // These remember sessions.
        let resuming = with(Some(&old), &TLS13, b"h2");
        assert!(served(&resuming).await.is_some(), "{what}");
        for round in 0..3 {
            let (good, bad) = if round < 2 { (&old, &new) } else { (&new, &old) };
            for (own, welcome) in [
                (Some(good), true),
                (Some(bad), of_clients == "none"),
                (Some(&strange), of_clients == "none"),
                (None, of_clients != "required"),
            ] {
                for (client_version, spoken) in [(&TLS12, version == "1.2"), (&TLS13, true)] {
                    for protocol in [&b"h2"[..], b"http/1.1"] {
                        let got = served(&with(own, client_version, protocol)).await;
                        let expected = (welcome && spoken).then(|| Some(protocol.to_vec()));
                        assert_eq!(got, expected, "{what}: round {round}, {own:?}", own = own.is_some());
                    }
                }
            }
            let served_by_resumed = served(&resuming).await.is_some();
            assert_eq!(served_by_resumed, round < 2 || of_clients == "none", "{what}: a session, round {round}");
            match round {
                0 => {
                    vestibule.replace("tls.crt", &next.certificate);
                    reloaded(&vestibule, "certificate", "ok", || vestibule.replace("tls.key", &next.key)).await;
                }
                1 if of_clients == "none" => break,
                _ if round == 1 => {
                    vestibule.replace("clients.crt", "garbage");
                    reloaded(&vestibule, "certificate", "ok", || {
                        vestibule.replace("clients.crt", &new_ca.certificate);
                    })
                    .await;
                }
                _ => {}
            }
        }
    }
}
