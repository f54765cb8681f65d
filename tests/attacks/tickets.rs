//! The keys of TLS tickets change with time: what was recorded is not opened by a key that is stolen much later.

use std::fs;

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};

use super::alone;
use super::figures::figure;
use crate::support::*;

/// One request on a new connection.
async fn ask(vestibule: &Vestibule, tls: &ClientConfig) -> Option<HandshakeKind> {
    let mut wire = vestibule.client().with_tls(|own| *own = tls.clone()).wire().await;
    wire.send("GET /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    // With TLS 1.3 a ticket comes behind the handshake, and is there when the answer is.
    assert!(wire.rest().await.starts_with(b"HTTP/1.1 200"));
    wire.stream.get_ref().1.handshake_kind()
}

/// A key makes tickets for six hours, and opens them for six more; then it is gone.
#[tokio::test]
async fn a_ticket_is_worth_nothing_after_its_key_has_gone() {
    let _alone = alone().await;
    let Some(library) = faketime() else { return skipped(NEEDS_FAKETIME) };
    let app = App::start().await;
    let setup = Setup::new().upstream(&app).config("access: {rules: [{path: /open, allow: anyone}]}");
    let setup = setup.file("clock", "+0h");
    let clock = setup.path("clock");
    let vestibule = setup
        .variable("LD_PRELOAD", &library.display().to_string())
        .variable("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .variable("NO_FAKE_STAT", "1")
        .start()
        .await;
    // Clients of their own, as each use of a ticket brings another; their clocks stand still beside the process's.
    let clients: Vec<_> = [&TLS12, &TLS13]
        .into_iter()
        .flat_map(|version| [version; 3])
        .map(|version| {
            let mut tls = vestibule.tls_config(&[version], None);
            tls.resumption = Resumption::in_memory_sessions(8);
            tls
        })
        .collect();
    for tls in &clients {
        assert_eq!(ask(&vestibule, tls).await, Some(HandshakeKind::Full));
    }
    let at = async |hours: &str, expected: HandshakeKind, first: usize| {
        fs::write(&clock, hours).expect("a file");
        for tls in [&clients[first], &clients[first + 3]] {
            assert_eq!(ask(&vestibule, tls).await, Some(expected), "{hours}");
        }
    };
    at("+5h", HandshakeKind::Resumed, 0).await;
    at("+7h", HandshakeKind::Resumed, 1).await;
    at("+14h", HandshakeKind::Full, 2).await;
    figure("TLS tickets: resumed after 5 and 7 hours, and after 14 hours", "4 of 4, 0 of 2");
}
