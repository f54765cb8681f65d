//! Protocol and version of TLS, and sessions that are resumed.

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::*;

#[tokio::test]
async fn the_protocol_is_agreed_on_by_alpn() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for (offered, agreed) in [
        ("h2 http/1.1", "h2"),
        ("http/1.1 h2", "h2"),
        ("h2", "h2"),
        ("http/1.1", "http/1.1"),
        ("spdy/3 http/1.1", "http/1.1"),
    ] {
        let client = vestibule.client().with_tls(|tls| {
            tls.alpn_protocols = offered.split(' ').map(|protocol| protocol.as_bytes().to_vec()).collect();
        });
        let stream = client.tls_stream().await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed.as_bytes()), "{offered}");
    }
    // Nothing in common is an error (RFC 7301, section 3.2); nothing offered is HTTP/1.1.
    let client = vestibule.client().with_tls(|tls| tls.alpn_protocols = vec![b"spdy/3".to_vec()]);
    assert!(client.tls_stream().await.is_err());
    let config = vestibule.tls_config(&[&TLS13], None);
    let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
    let tcp = vestibule.client().tcp_stream().await.expect("a connection");
    let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, tcp).await;
    let mut wire = Wire::new(stream.expect("a handshake"));
    wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.answer("GET").await.0.status(), 200);
}

#[tokio::test]
async fn the_least_version_is_kept_to() {
    let app = App::start().await;
    for (least, old_is_good) in [("1.2", true), ("1.3", false)] {
        let config = format!("tls: {{minVersion: \"{least}\"}}");
        let vestibule = Setup::new().upstream(&app).config(OPEN).config(&config).start().await;
        let old = vestibule.client().with_tls(|tls| *tls = vestibule.tls_config(&[&TLS12], None));
        let new = vestibule.client().with_tls(|tls| *tls = vestibule.tls_config(&[&TLS13], None));
        assert_eq!(old.tls_stream().await.is_ok(), old_is_good, "{least}");
        for client in [new.clone(), new.http2()] {
            assert_eq!(client.send(get("/open")).await.status, 200);
        }
        if old_is_good {
            for client in [old.clone(), old.http2()] {
                assert_eq!(client.send(get("/open")).await.status, 200);
            }
        } else {
            eventually("a refused version is counted", async || {
                let metrics = vestibule.metrics().await;
                (metrics.value("vestibule_tls_handshakes_total{result=\"protocol\"}") == 1.0).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for version in [&TLS12, &TLS13] {
        let client = vestibule.client().with_tls(|tls| *tls = vestibule.tls_config(&[version], None));
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut wire = client.wire().await;
            wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(wire.answer("GET").await.0.status(), 200);
            kinds.push(wire.stream.get_ref().1.handshake_kind());
        }
        assert_eq!(kinds[0], Some(HandshakeKind::Full), "{version:?}");
        assert_eq!(kinds[1..], [Some(HandshakeKind::Resumed); 2], "{version:?}");
    }
}
