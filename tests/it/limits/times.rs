//! How long a client may take.

use std::time::{Duration, Instant};

use super::*;

fn between(took: Duration, least_ms: u64, most_ms: u64) {
    assert!(took >= Duration::from_millis(least_ms) && took < Duration::from_millis(most_ms), "{took:?}");
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let vestibule = Setup::new().config("limits: {headerTimeout: 1s}").start().await;
    let mut wire = vestibule.client().wire().await;
    // Time before the first byte is no head's.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let began = Instant::now();
    let (mut read, mut write) = tokio::io::split(wire.stream);
    let writing = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
            if tokio::io::AsyncWriteExt::write_all(&mut write, &[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut rest = Vec::new();
    drop(within("the end", tokio::io::AsyncReadExt::read_to_end(&mut read, &mut rest)).await);
    between(began.elapsed(), 900, 3000);
    writing.abort();
    // The same for a second request of a connection.
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config("limits: {headerTimeout: 1s}").start().await;
    wire = vestibule.client().wire().await;
    wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.answer("GET").await.0.status(), 200);
    let began = Instant::now();
    wire.send("GET /open HT").await;
    wire.rest().await;
    between(began.elapsed(), 900, 3000);
}

/// The next head may be begun while a request is being served.
#[tokio::test]
async fn a_head_that_was_begun_too_early_is_cut_off() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).config("limits: {headerTimeout: 1s}").start().await;
    let mut wire = vestibule.client().wire().await;
    let began = Instant::now();
    wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\nGET /open HT").await;
    assert_eq!(wire.answer("GET").await.0.status(), 200);
    wire.rest().await;
    between(began.elapsed(), 900, 4000);
}

#[tokio::test]
async fn an_idle_connection_lives_as_long_as_idle_ones_may() {
    let app = App::start().await;
    let limits = "limits: {headerTimeout: 300ms, idleTimeout: 1500ms}";
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(limits).start().await;
    for client in [vestibule.client(), vestibule.client().http2()] {
        let mut connection = client.connect().await;
        for _ in 0..3 {
            assert_eq!(connection.send(get("/open")).await.status, 200);
            tokio::time::sleep(Duration::from_millis(900)).await;
            assert!(!connection.is_closed());
        }
        let began = Instant::now();
        eventually("an idle connection is closed", async || connection.is_closed().then_some(())).await;
        between(began.elapsed(), 200, 3000);
    }
    // A connection that never asks for anything.
    let began = Instant::now();
    assert_eq!(vestibule.client().wire().await.rest().await, b"");
    between(began.elapsed(), 1300, 4000);
    let began = Instant::now();
    Frames::connect(&vestibule.client()).await.drained().await;
    between(began.elapsed(), 1300, 4000);
}

/// However long the application takes, its client is not idle.
#[tokio::test]
async fn waiting_for_the_application_is_not_idling() {
    let app = App::handling(Listening::Http, |_| async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        http::Response::new(full("late"))
    })
    .await;
    let limits = "limits: {headerTimeout: 500ms, idleTimeout: 1s}";
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(limits).start().await;
    let (one, two) = (vestibule.client(), vestibule.client().http2());
    let (one, two) = tokio::join!(one.send(get("/open")), two.send(get("/open")));
    assert_eq!((one.text(), two.text()), ("late", "late"));
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let vestibule = Setup::new().config("limits: {handshakeTimeout: 700ms}").start().await;
    let began = Instant::now();
    let mut wire = Wire::new(vestibule.client().tcp_stream().await.expect("a connection"));
    assert_eq!(wire.rest().await, b"");
    between(began.elapsed(), 600, 3000);
    // Bytes do not prolong it.
    let began = Instant::now();
    let mut wire = Wire::new(vestibule.client().tcp_stream().await.expect("a connection"));
    wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        wire.send([3]).await;
    }
    assert_eq!(wire.rest().await, b"");
    between(began.elapsed(), 600, 3000);
    eventually("both are counted", async || {
        let metrics = vestibule.metrics().await;
        (metrics.value("vestibule_tls_handshakes_total{result=\"timeout\"}") == 2.0).then_some(())
    })
    .await;
}

/// A body may take its time, but a login's may not: its size and its deadline are bounded.
#[tokio::test]
async fn a_logins_body_has_its_time() {
    let vestibule = Setup::new().config("limits: {headerTimeout: 700ms}").start().await;
    let mut wire = vestibule.client().wire().await;
    let began = Instant::now();
    wire.send("POST /authorize HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{\"user").await;
    let rest = wire.rest().await;
    between(began.elapsed(), 600, 4000);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&rest));
}
