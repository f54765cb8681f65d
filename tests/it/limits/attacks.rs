//! Clients that attack: they harm themselves alone.

use super::*;

const MIB: f64 = 1_048_576.0;

/// Another client is served at once, and memory is what it was.
async fn unharmed(vestibule: &Vestibule) {
    for client in [vestibule.client(), vestibule.client().http2()] {
        let began = std::time::Instant::now();
        assert_eq!(client.send(get("/open")).await.status, 200);
        assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    }
    let memory = vestibule.metrics().await.value("process_resident_memory_bytes") / MIB;
    assert!(memory < 80.0, "{memory} MiB");
}

/// CVE-2023-44487: streams that are opened and reset without end.
#[tokio::test]
async fn rapid_resets_end_their_own_connection() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut frames = Frames::connect(&vestibule.client()).await;
    let block = request_fields("/open");
    let mut stream = 1;
    let mut open = true;
    while open && stream < 100_000 {
        let mut burst = Vec::new();
        for _ in 0..100 {
            burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
            burst.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            stream += 2;
        }
        open = frames.send(&burst).await;
        if stream % 1000 == 201 {
            unharmed(&vestibule).await;
        }
    }
    unharmed(&vestibule).await;
    let end = frames.drained().await;
    assert!(!open || end.iter().any(|frame| frame.kind == GOAWAY), "it was told to go away, or cut off");
    assert!(stream < 20_000, "{stream} streams were let through");
    eventually("the connection is gone", async || {
        (vestibule.metrics().await.value("vestibule_connections") == 0.0).then_some(())
    })
    .await;
}

/// CVE-2024-27316: a head without end.
#[tokio::test]
async fn continuations_without_end_end_their_own_connection() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut frames = Frames::connect(&vestibule.client()).await;
    let mut open = frames.send(&frame(HEADERS, END_STREAM, 1, &request_fields("/open"))).await;
    let piece = fields(&[("x-flood", &"y".repeat(200))]).repeat(60);
    let flood = frame(CONTINUATION, 0, 1, &piece).repeat(16);
    let mut sent = 0;
    while open && sent < 64 << 20 {
        open = frames.send(&flood).await;
        sent += flood.len();
    }
    assert!(!open, "64 MiB of one head were taken");
    unharmed(&vestibule).await;
    // The same with small pieces that add up to nothing.
    let mut frames = Frames::connect(&vestibule.client()).await;
    let mut open = frames.send(&frame(HEADERS, END_STREAM, 1, &request_fields("/open"))).await;
    let flood = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
    let mut sent = 0;
    while open && sent < 8 << 20 {
        open = frames.send(&flood).await;
        sent += flood.len();
    }
    assert!(!open, "8 MiB of empty frames were taken");
    unharmed(&vestibule).await;
    assert_eq!(app.seen().len(), 4);
}

/// A head that is begun and never continued is cut off like one over HTTP/1.1.
#[tokio::test]
async fn half_a_head_over_http2_is_cut_off() {
    let app = App::start().await;
    let limits = "limits: {headerTimeout: 500ms, idleTimeout: 2s}";
    let vestibule = Setup::new().upstream(&app).config(OPEN).config(limits).start().await;
    let mut frames = Frames::connect(&vestibule.client()).await;
    frames.send(&frame(HEADERS, END_STREAM, 1, &request_fields("/open"))).await;
    let began = std::time::Instant::now();
    frames.drained().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(app.seen().len(), 0);
}

#[tokio::test]
async fn settings_and_pings_without_end_are_bounded() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    for flood in [frame(SETTINGS, 0, 0, &[]).repeat(1000), frame(PING, 0, 0, &[7; 8]).repeat(1000)] {
        // The answers are not read, so that they pile up somewhere.
        let mut frames = Frames::connect(&vestibule.client()).await;
        let sending = async {
            let mut sent = 0;
            while sent < 32 << 20 && frames.send(&flood).await {
                sent += flood.len();
            }
        };
        drop(tokio::time::timeout(std::time::Duration::from_secs(2), sending).await);
        unharmed(&vestibule).await;
    }
}

#[tokio::test]
async fn a_hundred_slow_clients_do_not_slow_another() {
    let app = App::start().await;
    let vestibule = Setup::new().upstream(&app).config(OPEN).start().await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut wire = vestibule.client().wire().await;
        wire.send("GET /open HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
        slow.push(wire);
    }
    unharmed(&vestibule).await;
    eventually("they alone are left", async || {
        (vestibule.metrics().await.value("vestibule_connections") == 100.0).then_some(())
    })
    .await;
}
