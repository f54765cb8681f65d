//! Tokens of keys that nobody has, by the thousand at once: each waits for a key that does not come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::forged::encode;
use crate::alone;
use crate::figures::{figure, long};
use crate::others::Processes;
use crate::support::{
    App, Client, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, WINDOW_UPDATE, fields, frame, get, request_fields,
};

/// Streams that a connection may have open at once.
const STREAMS: u32 = 128;

#[tokio::test]
async fn waiting_for_keys_that_nobody_has_costs_others_nothing() {
    let _alone = alone().await;
    let (connections, turns) = if long() { (20, 100) } else { (4, 8) };
    let app = App::start().await;
    let config = "access: {rules: [{prefix: /open, allow: anyone}]}";
    let mut processes = Processes::start(&app, config, "/open").await;
    let (client, refused) = (processes.attacked.client(), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let thread = std::thread::spawn({
        let (client, refused) = (client.clone(), Arc::clone(&refused));
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let one = |_| tokio::spawn(flood(client.clone(), turns, Arc::clone(&refused)));
                let all: Vec<_> = (0..connections).map(one).collect();
                for one in all {
                    one.await.expect("no panic");
                }
            });
        }
    });
    // Whoever has a token of a key that is there waits for nothing.
    let mut connection = client.connect().await;
    for _ in 0..50 {
        assert_eq!(connection.send(get("/closed").bearer(&processes.token)).await.status, 200);
    }
    processes.rounds_until(|| thread.is_finished()).await;
    thread.join().expect("no panic");
    let took = began.elapsed();
    let (most, peak) = (connections * STREAMS as usize, processes.peak_growth());
    let what = format!("{most} tokens at once of keys that nobody has");
    processes.tell(&what);
    figure(
        &format!("{what}: memory of each, and their rate"),
        format!(
            "{:.1} KiB, {:.0}/s, {} ms of processor in {:.1} s",
            peak as f64 / most as f64 / 1024.0,
            refused.load(Relaxed) as f64 / took.as_secs_f64(),
            processes.cpu().as_millis(),
            took.as_secs_f64()
        ),
    );
    assert_eq!(refused.load(Relaxed), most * turns, "each has its answer");
    assert!(peak < most as u64 * 16 * 1024, "{peak} bytes for {most}");
    drop(connection);
    processes.nothing_is_left(Duration::ZERO).await;
}

/// As many requests at once as the connection may have, again and again.
async fn flood(client: Client, turns: usize, refused: Arc<AtomicUsize>) {
    let mut frames = Frames::connect(&client).await;
    // Room for all answers.
    frames.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
    for turn in 0..turns as u32 {
        for number in 0..STREAMS {
            let stream = 2 * (turn * STREAMS + number) + 1;
            let header = json!({"alg": "HS512", "kid": format!("{stream}")}).to_string();
            let token = format!("Bearer {}.{}.{}", encode(header), encode("{}"), encode("signature"));
            let block = [request_fields("/closed"), fields(&[("authorization", &token)])].concat();
            let request = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
            assert!(frames.send(&request).await, "it is taken");
            // As many at all times as may wait, and not all in one moment.
            sleep(Duration::from_millis(2)).await;
        }
        for _ in 0..STREAMS {
            let answered = loop {
                let next = frames.next().await.expect("an answer");
                assert_ne!(next.kind, GOAWAY, "{next:?}");
                if next.kind == HEADERS {
                    break next;
                }
            };
            assert!(answered.flags & END_HEADERS != 0);
            refused.fetch_add(1, Relaxed);
        }
    }
}
