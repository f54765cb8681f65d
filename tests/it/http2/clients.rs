//! Clients' certificates.

use rustls::version::{TLS12, TLS13};

use super::*;

#[tokio::test]
async fn a_certificate_may_be_asked_for() {
    let app = App::start().await;
    let (ca, stranger) = (ClientCa::new(), ClientCa::new());
    let (good, bad) = (ca.issue(), stranger.issue());
    for (auth, without) in [("required", false), ("optional", true)] {
        let setup = Setup::new().file("clients.crt", &ca.certificate);
        let path = setup.path("clients.crt");
        let config = format!("tls: {{clientCa: {}, clientAuth: {auth}}}", path.display());
        let vestibule = setup.upstream(&app).config(OPEN).config(&config).start().await;
        for version in [&TLS12, &TLS13] {
            let served = async |own: Option<&Pair>| {
                let client = vestibule.client().with_tls(|tls| *tls = vestibule.tls_config(&[version], own));
                let Ok(stream) = client.tls_stream().await else { return false };
                let mut wire = Wire::new(stream);
                // With TLS 1.3 the client learns only here that it was refused.
                wire.send("GET /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
                wire.rest().await.starts_with(b"HTTP/1.1 200")
            };
            assert!(served(Some(&good)).await, "{auth} {version:?}");
            assert!(!served(Some(&bad)).await, "{auth} {version:?}: another authority's");
            assert_eq!(served(None).await, without, "{auth} {version:?}: none");
        }
        let refused = if without { 2.0 } else { 4.0 };
        eventually("refused certificates are counted", async || {
            let metrics = vestibule.metrics().await;
            (metrics.value("vestibule_tls_handshakes_total{result=\"certificate\"}") == refused).then_some(())
        })
        .await;
        // A certificate is no token.
        let client = vestibule.client().with_tls(|tls| *tls = vestibule.tls_config(&[&TLS13], Some(&good)));
        assert_eq!(client.send(get("/")).await.status, 401);
    }
}

#[tokio::test]
async fn an_authority_without_certificates_is_a_configuration_error() {
    let setup = Setup::new().file("clients.crt", "nothing");
    let path = setup.path("clients.crt");
    let failed = setup.config(&format!("tls: {{clientCa: {}}}", path.display())).fails().await;
    assert_eq!(failed.code, Some(64));
    assert!(failed.stderr.contains("clientCa"), "{}", failed.stderr);
}
