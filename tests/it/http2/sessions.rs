//! Resumed sessions and clients' certificates: who is refused, why, and that no session outlives what it began with.

use std::time::Duration;

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};

use super::*;

/// One request on a new connection; `None`: it was refused. With TLS 1.3 the client learns it only from the answer.
async fn ask(vestibule: &Vestibule, tls: &ClientConfig) -> Option<HandshakeKind> {
    let stream = vestibule.client().with_tls(|own| *own = tls.clone()).tls_stream().await.ok()?;
    let mut wire = Wire::new(stream);
    wire.send("GET /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let answer = wire.rest().await;
    assert!(!wire.stream.get_ref().1.is_early_data_accepted(), "a request that can be replayed is never taken");
    answer.starts_with(b"HTTP/1.1 200").then(|| wire.stream.get_ref().1.handshake_kind().expect("a handshake"))
}

async fn with_client_ca(app: &App, ca: &ClientCa, auth: &str) -> Vestibule {
    let setup = Setup::new().file("clients.crt", &ca.certificate).upstream(app).config(OPEN);
    let path = setup.path("clients.crt");
    setup.config(&format!("tls: {{clientCa: {}, clientAuth: {auth}}}", path.display())).start().await
}

#[tokio::test]
async fn each_certificate_is_refused_for_its_own_reason() {
    let app = App::start().await;
    let (ca, stranger) = (ClientCa::new(), ClientCa::new());
    let (day, now) = (86_400, now());
    let cases = [
        (None, "missing"),
        (Some(ca.issue_for(now - 2 * day..now - day, Purpose::Client)), "expired"),
        (Some(ca.issue_for(now - day..now - 1, Purpose::Client)), "expired"),
        (Some(ca.issue_for(now + day..now + 2 * day, Purpose::Client)), "not_yet_valid"),
        (Some(stranger.issue()), "unknown_issuer"),
        (Some(ClientCa::self_signed()), "unknown_issuer"),
        (Some(ca.issue_for(now - day..now + day, Purpose::Server)), "wrong_purpose"),
    ];
    for auth in ["required", "optional"] {
        let vestibule = with_client_ca(&app, &ca, auth).await;
        let mut expected = Vec::new();
        for version in [&TLS12, &TLS13] {
            for (own, reason) in &cases {
                let tls = vestibule.tls_config(&[version], own.as_ref());
                let served = ask(&vestibule, &tls).await.is_some();
                assert_eq!(served, *reason == "missing" && auth == "optional", "{auth} {version:?} {reason}");
                if !served {
                    expected.push(*reason);
                }
            }
            let good = vestibule.tls_config(&[version], Some(&ca.issue()));
            assert_eq!(ask(&vestibule, &good).await, Some(HandshakeKind::Full), "{auth} {version:?}");
        }
        let all = async || (vestibule.events("client_refused").len() == expected.len()).then_some(());
        eventually("a line for each that was refused", all).await;
        let events = vestibule.events("client_refused");
        // Lines of several workers are in no order.
        let mut reasons: Vec<_> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
        reasons.sort_unstable();
        expected.sort_unstable();
        assert_eq!(reasons, expected, "{auth}");
        assert!(events.iter().all(|event| event["source"] == "127.0.0.1" && event["audit"] == true), "{events:?}");
        let handshakes = vestibule.metrics().await.counted("vestibule_tls_handshakes_total");
        let refused = handshakes.iter().find(|(labels, _)| labels.contains("certificate")).expect("a series").1;
        assert_eq!(refused, expected.len() as f64, "{handshakes:?}");
        assert!(handshakes.iter().all(|(labels, _)| labels.contains("ok") || labels.contains("certificate")));
    }
}

#[tokio::test]
async fn a_client_certificate_is_judged_at_every_connection() {
    let app = App::start().await;
    let ca = ClientCa::new();
    let vestibule = with_client_ca(&app, &ca, "required").await;
    let end = now() + 4;
    let short = ca.issue_for(now() - 60..end, Purpose::Client);
    let clients = [&TLS12, &TLS13].map(|version| vestibule.tls_config(&[version], Some(&short)));
    for tls in clients.iter().chain(&clients) {
        assert_eq!(ask(&vestibule, tls).await, Some(HandshakeKind::Full), "no session is kept");
    }
    while now() <= end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for tls in &clients {
        assert_eq!(ask(&vestibule, tls).await, None, "it is over, and with it whatever it began");
    }
    vestibule.event("client_refused", |event| event["reason"] == "expired").await;
}

#[tokio::test]
async fn no_session_outlives_a_change_of_the_authority() {
    let app = App::start().await;
    let (old, new) = (ClientCa::new(), ClientCa::new());
    for auth in ["required", "optional"] {
        let vestibule = with_client_ca(&app, &old, auth).await;
        let (own, next) = (old.issue(), new.issue());
        let clients = [&TLS12, &TLS13].map(|version| vestibule.tls_config(&[version], Some(&own)));
        // Those that have shown no certificate, and those that have.
        let bare = [&TLS12, &TLS13].map(|version| vestibule.tls_config(&[version], None));
        for tls in clients.iter().chain(&clients) {
            assert!(ask(&vestibule, tls).await.is_some(), "{auth}");
        }
        for tls in bare.iter().chain(&bare) {
            assert_eq!(ask(&vestibule, tls).await.is_some(), auth == "optional");
        }
        vestibule.reload("certificate", "clients.crt", &new.certificate).await;
        for tls in &clients {
            assert_eq!(ask(&vestibule, tls).await, None, "{auth}: its authority counts no longer");
        }
        for version in [&TLS12, &TLS13] {
            let tls = vestibule.tls_config(&[version], Some(&next));
            assert_eq!(ask(&vestibule, &tls).await, Some(HandshakeKind::Full), "{auth}");
        }
    }
}

/// The same certificate and the same client: only the process is another one, as after a restart.
#[tokio::test]
async fn a_ticket_is_nothing_to_the_next_process_or_the_next_certificate() {
    let app = App::start().await;
    let first = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut second = Setup::new().upstream(&app).config(OPEN);
    for name in ["tls.crt", "tls.key"] {
        second = second.file(name, &std::fs::read_to_string(first.path(name)).expect("a file"));
    }
    let second = second.start().await;
    for version in [&TLS12, &TLS13] {
        let mut tls = first.tls_config(&[version], None);
        tls.resumption = Resumption::in_memory_sessions(8);
        tls.enable_early_data = true;
        for (process, kinds) in [
            (&first, [HandshakeKind::Full, HandshakeKind::Resumed]),
            (&second, [HandshakeKind::Full, HandshakeKind::Resumed]),
        ] {
            for kind in kinds {
                assert_eq!(ask(process, &tls).await, Some(kind), "{version:?}");
            }
        }
    }
    let tls = first.tls_config(&[&TLS13], None);
    assert_eq!(ask(&first, &tls).await, Some(HandshakeKind::Full));
    assert_eq!(ask(&first, &tls).await, Some(HandshakeKind::Resumed));
    let next = first.renewed();
    first.replace("tls.key", &next.key);
    first.reload("certificate", "tls.crt", &next.certificate).await;
    assert_eq!(ask(&first, &tls).await, Some(HandshakeKind::Full), "a new certificate is shown to everyone");
}
