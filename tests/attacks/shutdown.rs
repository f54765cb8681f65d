//! Clients that connect and ask at the very moment in which the process is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::alone;
use crate::figures::{figure, long};
use crate::support::*;

const OPEN: &str = "access: {rules: [{prefix: /open, allow: anyone}]}";
const ASKING: usize = 16;
const BURST: usize = 8;

/// Each client connects again and again until it is refused. Whoever was connected is answered: none is reset between
/// the last look into the backlog and the listener's end.
#[tokio::test]
async fn whoever_has_connected_is_answered() {
    let _alone = alone().await;
    let app = App::start().await;
    let rounds = if long() { 100 } else { 3 };
    let (mut answered, mut after_the_signal) = (0, 0);
    for _ in 0..rounds {
        let setup = Setup::new().upstream(&app).config(OPEN);
        let mut vestibule = setup.config("shutdown: {delay: 0s, grace: 20s}").start().await;
        let count = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..ASKING {
            let (client, count) = (vestibule.client(), Arc::clone(&count));
            clients.spawn(async move {
                // Several at once, so that some always wait in the backlog.
                let mut waiting = Vec::new();
                while let Ok(stream) = client.tcp_stream().await {
                    waiting.push(stream);
                    if waiting.len() == BURST {
                        answer_all(&client, &mut waiting, &count).await;
                    }
                }
                answer_all(&client, &mut waiting, &count).await;
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = count.load(Relaxed);
        vestibule.signal(Signal::TERM);
        while let Some(client) = clients.join_next().await {
            client.expect("nobody is reset");
        }
        assert_eq!(vestibule.ended().await.code(), Some(0));
        answered += count.load(Relaxed);
        after_the_signal += count.load(Relaxed) - before;
    }
    assert!(answered > 0);
    figure("connections that raced SIGTERM, all answered", format!("{answered} in {rounds} ends"));
    figure("of these, answered after the signal", after_the_signal);
}

/// Keep-alive connections that ask without a pause are told with an answer; none finds its request unanswered.
#[tokio::test]
async fn no_request_on_a_busy_connection_is_lost() {
    let _alone = alone().await;
    let app = App::start().await;
    let rounds = if long() { 100 } else { 3 };
    let mut answered = 0;
    for round in 0..rounds {
        let setup = Setup::new().upstream(&app).config(OPEN);
        let mut vestibule = setup.config("shutdown: {delay: 0s, grace: 20s}").start().await;
        let mut clients = JoinSet::new();
        for number in 0..ASKING {
            let mut wire = vestibule.client().wire().await;
            clients.spawn(async move {
                for asked in 1.. {
                    wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    let (head, _) = wire.answer("GET").await;
                    assert_eq!(head.status(), 200);
                    if head.one("connection") == Some("close") {
                        return asked;
                    }
                    // So that some are idle when it comes.
                    tokio::time::sleep(Duration::from_millis((number % 4) as u64)).await;
                }
                unreachable!("it ends with the process")
            });
        }
        tokio::time::sleep(Duration::from_millis(200 + round as u64 % 10)).await;
        vestibule.signal(Signal::TERM);
        while let Some(client) = clients.join_next().await {
            answered += client.expect("every request is answered, and the last answer says so");
        }
        assert_eq!(vestibule.ended().await.code(), Some(0));
    }
    figure("requests on keep-alive connections over SIGTERM, all answered", format!("{answered} in {rounds} ends"));
}

/// Asks on each connection, of which none has had a handshake yet.
async fn answer_all(client: &Client, waiting: &mut Vec<TcpStream>, count: &AtomicUsize) {
    for stream in waiting.drain(..) {
        let mut wire = Wire::new(client.tls_over(stream).await.expect("who has connected gets a handshake"));
        wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(wire.answer("GET").await.0.status(), 200);
        count.fetch_add(1, Relaxed);
    }
}
